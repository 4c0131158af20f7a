import numpy as np
import pytest

from gluon_action.data.by_name import train_transform
from gluon_action.data.transforms import rand_augment as operations
from gluon_action.data.transforms.augmentation import VideoRandAugment, VideoRandomErasing
from gluon_action.data.transforms.drawing import drawing_from
from gluon_action.data.transforms.rand_augment import erase, rand_augment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def clip():
    """Four frames that are the same."""
    frame = np.random.default_rng(3).integers(30, 220, (24, 32, 3), dtype=np.uint8)
    return np.stack([frame] * 4)


@pytest.mark.parametrize('number', range(len(operations._OPERATIONS)))
def test_an_operation_does_the_same_to_all_frames_and_nothing_at_magnitude_0(clip, number):
    apply = operations._OPERATIONS[number]
    changed = apply(clip, 0.7)
    assert changed.dtype == np.uint8 and changed.shape == clip.shape and (changed != clip).any()
    assert (changed == changed[:1]).all()
    if apply is not operations._stretch:
        assert (apply(clip, 0.) == clip).all()


def test_operations_are_what_they_are_called(clip):
    named = dict(zip(('stretch', 'colour', 'contrast', 'brightness', 'sharpness', 'posterise', 'solarise'),
                     operations._OPERATIONS))
    stretched = named['stretch'](clip, 1.)
    assert stretched.min() == 0 and stretched.max() == 255
    grey = named['colour'](clip, -1.).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 0.1 * np.ptp(clip.astype(int), axis=-1).max() + 2
    assert np.allclose(named['brightness'](clip, -0.5), clip * 0.55, atol=0.51)
    assert named['contrast'](clip, -1.).std() < 0.2 * clip.std()
    assert set((named['posterise'](clip, 1.) % 16).ravel()) == {0}
    assert (named['solarise'](clip, 1.) == 255 - clip).all()
    moved = operations._OPERATIONS[9](clip, 0.5)
    assert (moved[:, :, 8:] == clip[:, :, :-8])[:, :, 1:].mean() > 0.9 or (moved == 128).any()


def test_what_is_drawn_depends_on_the_generator(clip):
    first, same, other = (rand_augment(clip, np.random.default_rng(seed), 9.) for seed in (1, 1, 2))
    assert (first == same).all() and (first != other).any()


def test_erasing_puts_the_same_noise_into_all_frames():
    clip = np.full((5, 3, 40, 40), 7, np.float32)
    erased = erase(clip, np.random.default_rng(0), 1.)
    changed = (erased != 7).any(axis=(0, 1))
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1].all()
    assert 0.01 < changed.mean() < 0.4 and (erased == erased[:1]).all() and (clip == 7).all()
    assert erase(clip, np.random.default_rng(0), 0.) is clip
    often = np.mean([erase(clip, np.random.default_rng(seed), 0.3) is not clip for seed in range(300)])
    assert often == pytest.approx(0.3, abs=0.1)


def test_normalised_frames_come_back_as_they_were_where_nothing_is_changed(clip, monkeypatch):
    from gluon_action.data.transforms.functional import to_tensor
    monkeypatch.setattr(operations, '_OPERATIONS', (lambda clip, amount: clip,))
    tensor = to_tensor(clip, MEAN, STD)
    assert (VideoRandAugment(MEAN, STD, 9.)(tensor, rng=np.random.default_rng(0)) == tensor).all()


def test_training_augments_a_clip_once_and_only_when_asked(clip):
    def drawn(**options):
        transform = train_transform('v1', 16, MEAN, STD, flip_prob=0., **options)
        with drawing_from(np.random.default_rng(5)):
            return transform(clip)
    plain = drawn()
    for options in ({'rand_augment': 9.}, {'random_erasing': 1.}):
        augmented = drawn(**options)
        assert augmented.shape == plain.shape and augmented.dtype == np.float32 and (augmented != plain).any()
        assert (augmented == augmented[:1]).all()
    assert VideoRandomErasing(1.).flips is False
