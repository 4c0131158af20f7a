import importlib
import random as python_random
import threading

import numpy as np
import pytest

from gluon_action.data.preprocess import Preprocess, short_side
from gluon_action.data.transforms import functional as F
from gluon_action.data.transforms import video
from gluon_action.data.transforms.drawing import current_drawing
from gluon_action.errors import GluonActionError, UsageError

# GluonCV imports MXNet, which can be imported once gluon_action is; sorted imports would have it the other way round.
gluoncv_video = importlib.import_module('gluoncv.data.transforms.video')
Compose = importlib.import_module('mxnet.gluon.data.vision.transforms').Compose
MEAN, STD, RATIOS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], [1.0, 0.875, 0.75, 0.66]
AWKWARD_SIZES = [(48, 64), (64, 48), (37, 53), (33, 33), (101, 36)]


def frames_of(height, width, num_frames=3, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8))


class SameDraws:
    """Random functions as GluonCV calls them, fed by the generator that our transforms draw from.

    GluonCV draws the flip before the place of a crop, we draw it last. So the cases below make flips sure or
    impossible, and their draw takes nothing from the generator, except in V4, where it is the last one anyway.
    """

    def __init__(self, rng, random):
        self.rng, self.random = rng, random

    def choice(self, candidates):
        return candidates[self.rng.integers(len(candidates))]

    def uniform(self, low, high):
        return self.rng.uniform(low, high)

    def randint(self, low, high):
        return self.rng.integers(low, high, endpoint=True)


def gluoncv_with_draws(monkeypatch, name, arguments, frames, seed):
    transform, rng = getattr(gluoncv_video, name)(**arguments), np.random.default_rng(seed)
    draws = SameDraws(rng, rng.random if name in ('RandomResizedCrop', 'VideoGroupTrainTransformV4') else lambda: 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(gluoncv_video, 'random', draws)
        if name == 'VideoGroupTrainTransformV3':
            patch.setattr(np, 'random', draws)
        return np.stack(transform(frames))


PAIRS = {
    'VideoMultiScaleCrop': dict(size=(32, 28), scale_ratios=RATIOS),
    'VideoMultiScaleCrop more': dict(size=(40, 40), scale_ratios=RATIOS, more_fix_crop=False, max_distort=2),
    'VideoMultiScaleCrop anywhere': dict(size=(20, 24), scale_ratios=RATIOS, fix_crop=False),
    'RandomResizedCrop': dict(size=(24, 30)),
    'RandomResizedCrop thin': dict(size=(24, 30), scale=(0.9, 1.0), ratio=(2.9, 3.0)),
    'VideoGroupTrainTransform': dict(size=(32, 32), scale_ratios=RATIOS, mean=MEAN, std=STD, prob=0.0),
    'VideoGroupTrainTransform flipped': dict(size=(32, 32), scale_ratios=RATIOS, mean=MEAN, std=STD, prob=1.0),
    'VideoGroupTrainTransformV2': dict(size=(32, 24), short_side=40, scale_ratios=RATIOS, mean=MEAN, std=STD, prob=1.0),
    'VideoGroupTrainTransformV3': dict(crop_size=(32, 24), min_size=36, max_size=50, mean=MEAN, std=STD, prob=1.0),
    'VideoGroupTrainTransformV4': dict(size=(24, 30), mean=MEAN, std=STD, prob=0.0),
}


@pytest.mark.parametrize('size', AWKWARD_SIZES)
@pytest.mark.parametrize('case', PAIRS)
def test_random_transforms_equal_gluoncv_given_equal_draws(monkeypatch, case, size):
    name, frames = case.split()[0], frames_of(*size)
    for seed in range(6):
        ours = getattr(video, name)(**PAIRS[case])(frames, rng=np.random.default_rng(seed))
        theirs = gluoncv_with_draws(monkeypatch, name, PAIRS[case], frames, seed)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6, err_msg=f'seed {seed}')


FIXED = {
    'VideoToTensor': dict(),
    'VideoToTensor other': dict(max_intensity=1.0),
    'VideoCenterCrop': dict(size=31),
    'VideoCenterCrop uneven': dict(size=(30, 33)),
    'ShortSideRescale': dict(short_side=41),
    'ShortSideRescale smaller': dict(short_side=20),
    'VideoTenCrop': dict(size=(30, 32)),
    'VideoGroupValTransform': dict(size=32, mean=MEAN, std=STD),
    'VideoGroupValTransform uneven': dict(size=(33, 30), mean=MEAN, std=STD, max_intensity=128.0),
    'VideoGroupValTransformV2': dict(crop_size=(31, 28), short_side=40, mean=MEAN, std=STD),
}


@pytest.mark.parametrize('size', AWKWARD_SIZES)
@pytest.mark.parametrize('case', FIXED)
def test_other_transforms_equal_gluoncv(case, size):
    name, frames = case.split()[0], frames_of(*size)
    ours = getattr(video, name)(**FIXED[case])(frames)
    theirs = np.stack(getattr(gluoncv_video, name)(**FIXED[case])(frames))
    assert ours.dtype == (np.float32 if theirs.dtype == np.float64 else np.uint8)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', [(32, 50), (50, 32), (32, 33), (32, 32)])
def test_three_crops_equal_gluoncv(size):
    frames = frames_of(*size)
    ours = video.VideoThreeCrop(32)(frames)
    np.testing.assert_array_equal(ours, np.stack(gluoncv_video.VideoThreeCrop(32)(frames)))


def test_normalize_equals_gluoncv_and_takes_single_numbers():
    tensor = video.VideoToTensor()(frames_of(21, 23))
    theirs = np.stack(gluoncv_video.VideoNormalize(MEAN, STD)(list(tensor)))
    np.testing.assert_allclose(video.VideoNormalize(MEAN, STD)(tensor), theirs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(video.VideoNormalize(0.5, 0.25)(tensor), (tensor - 0.5) / 0.25, rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', [(256, 340), (340, 256), (240, 320), (37, 53), (224, 224), (2, 3)])
@pytest.mark.parametrize('max_distort', [0, 1, 2, 9])
def test_multi_scale_candidates_equal_gluoncvs(size, max_distort):
    theirs = gluoncv_video.VideoMultiScaleCrop((224, 224), RATIOS)
    sizes = F.multi_scale_sizes(*size, RATIOS, max_distort)
    assert sizes == theirs.fillCropSize(RATIOS, max_distort, *size)
    for more in (False, True):
        for crop in sizes:
            assert F.multi_scale_offsets(*size, *crop, more) == theirs.fillFixOffset(more, *size, *crop)


def test_multi_scale_crop_draws_every_candidate_and_place():
    draw = video.VideoMultiScaleCrop((224, 224), RATIOS).draw
    rng = np.random.default_rng(0)
    drawn = {draw(256, 340, rng) for _ in range(5000)}
    expected = {(*place, *size) for size in F.multi_scale_sizes(256, 340, RATIOS)
                for place in F.multi_scale_offsets(256, 340, *size)}
    assert drawn == expected


def test_v3_can_draw_the_last_place():
    """GluonCV's np.random.randint leaves it out."""
    transform = video.VideoGroupTrainTransformV3((8, 8), 10, 10, 0.0, 1.0, prob=0)
    frames = frames_of(10, 10)
    last = F.to_tensor(np.stack(frames)[:, 2:, 2:])
    assert any(np.array_equal(transform(frames, rng=np.random.default_rng(seed)), last) for seed in range(40))


def test_one_decision_holds_for_all_frames_of_a_clip():
    frames = [frames_of(48, 64, 1)[0]] * 5
    for name in ('VideoGroupTrainTransform', 'VideoGroupTrainTransformV3', 'VideoGroupTrainTransformV4'):
        clip = getattr(video, name)(**{**PAIRS[name], 'prob': 0.5})(frames, rng=np.random.default_rng(1))
        assert all(np.array_equal(frame, clip[0]) for frame in clip)


def test_arrays_and_lists_give_the_same_and_the_input_stays():
    frames = frames_of(48, 64)
    clip = np.stack(frames)
    for name, arguments in [(case.split()[0], {**PAIRS, **FIXED}[case]) for case in {**PAIRS, **FIXED}]:
        transform = getattr(video, name)(**arguments)
        np.testing.assert_array_equal(transform(clip, rng=np.random.default_rng(2)),
                                      transform(frames, rng=np.random.default_rng(2)))
        np.testing.assert_array_equal(clip, np.stack(frames_of(48, 64)))


def test_compositions_draw_from_the_generator_around_them():
    steps = [video.VideoMultiScaleCrop((32, 32), RATIOS), video.VideoRandomHorizontalFlip(), video.VideoToTensor(),
             video.VideoNormalize(MEAN, STD)]
    frames = frames_of(48, 64)

    def draw(seed):
        with video.drawing_from(np.random.default_rng(seed)):
            return Compose(steps)(frames)

    np.testing.assert_array_equal(draw(3), draw(3))
    assert len({draw(seed).tobytes() for seed in range(8)}) > 4
    whole = video.VideoGroupTrainTransform((32, 32), RATIOS, MEAN, STD)
    np.testing.assert_allclose(draw(3), whole(frames, rng=np.random.default_rng(3)), rtol=0, atol=1e-6)


def test_without_a_generator_numpys_seed_decides():
    transform, frames = video.VideoMultiScaleCrop((32, 32), RATIOS), frames_of(48, 64)
    results = []
    for _ in range(2):
        np.random.seed(5)
        python_random.seed()
        results.append([transform(frames) for _ in range(4)])
    np.testing.assert_array_equal(*results)
    assert len({result.tobytes() for result in results[0]}) > 1


def test_generators_of_other_threads_are_apart():
    seen = {}

    def work(seed):
        with video.drawing_from(np.random.default_rng(seed)):
            barrier.wait()
            seen[seed] = current_drawing().rng.random()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {seed: np.random.default_rng(seed).random() for seed in range(4)}


@pytest.mark.parametrize('prob', [0.0, 0.5, 1.0])
def test_a_drawing_tells_whether_the_clip_was_mirrored(prob):
    clip = np.stack(frames_of(40, 40))
    for name in ('VideoRandomHorizontalFlip', 'VideoGroupTrainTransformV3'):
        arguments = dict(crop_size=40, min_size=40, max_size=40, mean=MEAN, std=STD) if 'Group' in name else {}
        transform = getattr(video, name)(prob=prob, **arguments)
        assert transform.flips == (prob > 0)
        for seed in range(6):
            with video.drawing_from(np.random.default_rng(seed)) as drawing:
                result = transform(clip)
            expected = clip[:, :, ::-1] if drawing.flipped else clip
            expected = F.to_tensor(expected, MEAN, STD) if 'Group' in name else expected
            np.testing.assert_array_equal(result, expected)
            assert drawing.flipped in ({0.0: [False], 1.0: [True]}.get(prob, [False, True]))


@pytest.mark.parametrize('clip_length, num_segments', [(1, 3), (4, 1), (4, 3)])
@pytest.mark.parametrize('name, num_crop', [('VideoTenCrop', 10), ('VideoThreeCrop', 3)])
def test_crops_of_a_clip_are_not_mixed_along_time(name, num_crop, clip_length, num_segments):
    """Frames carry their number in every pixel; their column in the third channel tells crops apart."""
    frames = np.empty((num_segments * clip_length, 32, 50, 3), np.uint8)
    frames[..., 0] = np.arange(len(frames))[:, None, None]
    frames[..., 1:] = np.arange(50)[:, None]
    with video.drawing_from(np.random.default_rng(0), clip_length=clip_length):
        crops = getattr(video, name)(32)(frames)
    if name == 'VideoTenCrop':
        np.testing.assert_array_equal(crops, video.VideoTenCrop(32, clip_length=clip_length)(frames))
    clips = crops.reshape(-1, clip_length, *crops.shape[1:])  # the data set's (S * C, T, ...)
    assert len(clips) == num_segments * num_crop
    numbers = clips[:, :, 0, 0, 0].astype(int)
    assert (numbers - numbers[:, :1] == np.arange(clip_length)).all() and (numbers[:, 0] % clip_length == 0).all()
    assert (clips[:, :, 0, 0, 1] == clips[:, :1, 0, 0, 1]).all()
    assert sorted(numbers[:, 0] // clip_length) == sorted([*range(num_segments)] * num_crop)


def test_floats_and_other_channel_counts_are_normalised_too():
    rng = np.random.default_rng(0)
    for channels in (1, 3, 4, 5):  # 2 are optical flow: test_flow_dataset.py
        clip = rng.integers(0, 256, (2, 9, 11, channels), dtype=np.uint8)
        mean, std = rng.random(channels), rng.random(channels) + 0.5
        expected = (clip.transpose(0, 3, 1, 2) / 255 - mean[:, None, None]) / std[:, None, None]
        for flip in (False, True):
            wanted = expected[..., ::-1] if flip else expected
            for values in (clip, clip.astype(np.float32), clip.astype(np.float64)):
                np.testing.assert_allclose(F.to_tensor(values, mean, std, flip=flip), wanted, rtol=0, atol=2e-6)
        assert F.resize(clip, 5, 7).shape == (2, 5, 7, channels)


@pytest.mark.parametrize('transform', [
    video.VideoCenterCrop(40), video.VideoTenCrop(40), video.VideoGroupValTransform(40, MEAN, STD),
    video.VideoGroupValTransformV2((40, 40), 36, MEAN, STD), video.VideoGroupTrainTransformV3(40, 36, 36, MEAN, STD)])
def test_frames_smaller_than_the_crop_name_the_cure(transform):
    with pytest.raises(UsageError, match=r'40x40 crop.*--new-width and --new-height, or with ShortSideRescale'):
        transform(frames_of(30, 64))


def test_three_crops_that_span_no_side_are_refused():
    with pytest.raises(UsageError, match='span one side.*64x48'):
        video.VideoThreeCrop(32)(frames_of(48, 64))


@pytest.mark.parametrize('frames', [[], [np.zeros((4, 5, 3)), np.zeros((5, 4, 3))], np.zeros((4, 5, 3))])
def test_what_is_no_clip_is_refused(frames):
    with pytest.raises(UsageError, match='a clip'):
        video.VideoToTensor()(frames)


def test_a_missing_opencv_names_the_command_that_mends_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'cv2', None)
    F.opencv.cache_clear()
    try:
        with pytest.raises(GluonActionError, match='pip uninstall -y opencv-python opencv-python-headless && pip inst'):
            F.resize(np.stack(frames_of(8, 8)), 4, 4)
    finally:
        F.opencv.cache_clear()


def test_every_name_of_gluoncv_is_here():
    assert set(gluoncv_video.__all__) | {'VideoThreeCrop'} <= set(video.__all__)


def test_colours_change_alike_in_all_frames_and_not_too_much():
    from gluon_action.data.by_name import train_transform
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    picture = np.random.default_rng(0).integers(40, 200, (40, 48, 3), dtype=np.uint8)
    clip = np.stack([picture] * 3)
    drawn = []
    for strength in (0, 1, 5):
        with video.drawing_from(np.random.default_rng(1)):
            drawn.append(train_transform('v1', 32, mean, std, color_jitter=strength)(clip))
    plain, jittered, strong = drawn
    assert jittered.shape == plain.shape and jittered.dtype == np.float32
    assert (jittered == jittered[:1]).all()  # the crop is one, so what differs would be the colours
    near, far = (float(np.abs((other - plain) * std[:, None, None]).mean()) for other in (jittered, strong))
    assert 0.002 < near < 0.08 and near < far


@pytest.mark.parametrize('size, ratio, side', [(30, 0.875, 35), (32, 0.875, 37), (24, 0.9, 27), (28, 0.875, 32)])
def test_what_a_crop_is_cut_from_is_no_smaller_than_its_share(size, ratio, side):
    frames = np.stack(frames_of(61, 83))
    expected = F.to_tensor(F.center_crop(np.stack(video.ShortSideRescale(side)(frames)), (size, size)), MEAN, STD)
    resize = {'short_side': short_side(size, data_aug='v2', crop_ratio=ratio)}
    looks = Preprocess(layout='NCHW', offsets=(0,), crop=(size, size), mean=MEAN, std=STD, resize=resize)
    got = looks.transform(frames)
    np.testing.assert_allclose(np.asarray(got), expected, atol=1e-5)
