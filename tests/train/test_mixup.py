import numpy as np
import pytest
from loops import make_loop

from gluon_action.data.loading.loader import Batch
from gluon_action.data.transforms.scaling import Scaling
from gluon_action.errors import UsageError
from gluon_action.train.mixup import CutMix, Mixtures, MixUp


def test_mixup_mixes_samples_and_labels_alike():
    data = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    mixed, label = MixUp(num_classes=5, alpha=1.0)(data, np.arange(5.), np.random.default_rng(1), rows_per_sample=3)
    assert mixed.shape == data.shape and mixed.dtype == label.dtype == np.float32
    assert np.allclose(mixed, np.repeat(label, 3, axis=0), atol=1e-6)
    assert np.allclose(label.sum(axis=1), 1, atol=1e-6) and (label.max(axis=1) < 1).any()


@pytest.mark.parametrize('alpha', (0.2, 1.0, 9.0))
def test_the_weight_of_a_mixture_is_drawn_from_the_beta_distribution_of_alpha(alpha):
    """Both of its arguments are alpha: half of the weights lie below a half, and they spread as they should."""
    rng, mix = np.random.default_rng(4), MixUp(num_classes=2, alpha=alpha)
    found = []
    while len(found) < 400:
        mixed = mix(np.array([[0.], [1.]]), np.array([0, 1]), rng)[1][0]
        if mixed[1] != 0 or mixed[0] != 1:  # a sample that is mixed with itself tells nothing
            found.append(mixed[0])
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert np.var(found) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


def test_mixup_keeps_the_segments_of_a_sample_in_place():
    data = np.array([[0.0], [1.0], [10.0], [11.0]])
    mixed, _ = MixUp(num_classes=2, alpha=1.0)(data, np.array([0, 1]), np.random.default_rng(3), rows_per_sample=2)
    assert np.allclose(mixed[1::2] - mixed[::2], 1, atol=1e-5)


def test_mixup_is_off_from_its_last_epoch_on_and_labels_stay_dense():
    data, label = np.array([[1.0], [2.0]]), np.array([1., 0.])
    mix = MixUp(num_classes=2, alpha=1.0, until_epoch=4)
    same, dense = mix(data, label, np.random.default_rng(0), epoch=4)
    assert (same == data).all() and dense.tolist() == [[0, 1], [1, 0]]
    changed, _ = mix(data, label, np.random.default_rng(0), epoch=3)
    assert not np.allclose(changed, data)


def test_mixup_depends_on_its_generator_alone():
    data, label = np.random.default_rng(0).random((4, 3)), np.arange(4)
    first, second = (MixUp(4)(data, label, np.random.default_rng(7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second))


def test_an_alpha_that_is_not_above_0_is_refused():
    with pytest.raises(UsageError, match='mixup-alpha'):
        MixUp(3, alpha=0)


def test_cutmix_puts_one_rectangle_into_all_frames_and_segments_and_mixes_labels_by_its_area():
    data = np.arange(4, dtype=np.float32).repeat(2)[:, None, None, None, None] * np.ones((1, 3, 5, 12, 20), np.float32)
    rng, seen = np.random.default_rng(2), 0
    for _ in range(20):
        mixed, label = CutMix(4)(data, np.arange(4), rng, rows_per_sample=2)
        assert mixed.shape == data.shape and mixed.dtype == label.dtype == np.float32
        changed = (mixed != data)
        for sample in range(4):
            mask = changed[2 * sample, 0, 0]
            assert (changed[2 * sample:2 * sample + 2] == mask).all()
            assert label[sample, sample] == pytest.approx(1 - mask.mean())
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                assert mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1].all()
                other, = set(mixed[2 * sample][:, :, mask].ravel().tolist())
                assert label[sample, int(other)] == pytest.approx(mask.mean())
                seen += 1
    assert seen > 20


def test_each_batch_is_mixed_in_one_way_and_a_single_way_draws_as_it_would_alone():
    data, label = np.random.default_rng(0).random((4, 3, 8, 8), np.float32), np.arange(4)
    alone = MixUp(4, 0.4)(data, label, np.random.default_rng(3))
    chained = Mixtures(4, [MixUp(4, 0.4)])(data, label, np.random.default_rng(3))
    assert all((one == other).all() for one, other in zip(alone, chained))
    both = Mixtures(4, [MixUp(4, 1.), CutMix(4, 1.)])
    partly = 0
    for seed in range(40):
        mixed, _ = both(data, label, np.random.default_rng(seed))
        same = np.isclose(mixed, data).reshape(4, -1).mean(axis=1)
        partly += bool(((0 < same) & (same < 1)).any())
    assert 5 < partly < 35


def test_classes_count_by_their_weights():
    weights = np.float32([2, 0.5, 1])
    data, label = Mixtures(3, weights=weights)(np.zeros((3, 1)), np.arange(3.), np.random.default_rng(0))
    assert label.dtype == np.float32 and (label == np.diag(weights)).all() and not data.any()


@pytest.mark.parametrize('takes_pixels, mixup, dtype', [
    (True, None, np.uint8), (False, None, np.float32), (True, MixUp(3, 0.4), np.float32)])
def test_pixels_are_scaled_before_they_are_mixed_or_where_the_learner_cannot(takes_pixels, mixup, dtype):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    batch = Batch(pixels, np.array([0, 1, 2, 1], np.float32), [0, 1, 2, 3], [], Scaling(0.5, 0.25))
    loop, seen = make_loop(mixup=mixup), []
    loop.learner.takes_pixels = takes_pixels
    gradients = loop.learner.gradients
    loop.learner.gradients = lambda batch, **more: seen.append(batch) or gradients(batch, **more)
    loop.step(batch)
    assert seen[0].data.dtype == dtype and (seen[0].scaling is None) == (dtype == np.float32)
    if dtype == np.float32:
        assert np.abs(seen[0].data).max() <= 2  # numbers, not levels
