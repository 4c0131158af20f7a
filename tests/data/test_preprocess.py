"""What a network is given of a video: the same numbers as in validation, and every field within its range."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gluon_action.data.preprocess import CROP_RATIO, Preprocess, read_size, short_side
from gluon_action.data.transforms import functional, video
from gluon_action.errors import BundleError, UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES = Preprocess(layout='NCHW', offsets=(0,), crop=(24, 24), mean=MEAN, std=STD, resize={'short_side': 28})
CLIPS = replace(FRAMES, layout='NCTHW', offsets=(0, 2, 4, 6))
GREY = 1.01 / 255 / min(STD)  # a grey level, after normalisation


def pictures(count, height=45, width=61, channels=3, low=0):
    return np.random.default_rng(count).integers(low, 256, (count, height, width, channels), 'uint8')


def by_gluoncv(frames, short_side=0, num_crop=1, clip_length=1, mean=MEAN, std=STD):
    """Frame by frame through the transforms that stand under GluonCV's names."""
    crops = {1: video.VideoCenterCrop(24), 3: video.VideoThreeCrop(24), 10: video.VideoTenCrop(24, clip_length)}
    steps = [crops[num_crop], video.VideoToTensor(), video.VideoNormalize(mean, std)]
    for step in [video.ShortSideRescale(short_side), *steps] if short_side else steps:
        frames = step(frames)
    return frames


@pytest.mark.parametrize('data_aug, sides, side', [
    ('v1', (0, 0), 28), ('v2', (30, 0), 30), ('v3', (29, 33), 29), ('v4', (0, 0), 28), ('v2', (0, 0), 28)])
def test_single_frames_look_as_in_validation(data_aug, sides, side):
    frames = pictures(3)
    high, wide = sides
    assert short_side(24, data_aug=data_aug, new_height=high, new_width=wide) == side
    preprocess = replace(FRAMES, resize={'short_side': side})
    seen, wanted = preprocess.apply(frames), by_gluoncv(frames, side)
    np.testing.assert_allclose(seen, wanted, atol=GREY)
    np.testing.assert_array_equal(preprocess.transform(frames), wanted)
    assert seen.dtype == np.float32 and seen.flags.c_contiguous


@pytest.mark.parametrize('height, width', [(45, 61), (61, 45), (24, 24), (300, 301), (28, 33)])
def test_frames_of_any_shape_look_as_in_validation(height, width):
    frames = pictures(2, height, width)
    wanted = by_gluoncv(frames, 28)
    np.testing.assert_allclose(FRAMES.apply(frames), wanted, atol=GREY)
    np.testing.assert_array_equal(FRAMES.transform(frames), wanted)


def test_v1_crops_frames_that_were_brought_to_one_size():
    frames = pictures(2)
    assert read_size('v1', 30, 41) == (30, 41) and short_side(24, data_aug='v1', new_height=30, new_width=41) == 0
    wanted = by_gluoncv(functional.resize(frames, 30, 41))
    seen = replace(FRAMES, resize={'width': 41, 'height': 30})
    np.testing.assert_allclose(seen.apply(frames), wanted, atol=GREY)
    np.testing.assert_array_equal(seen.transform(frames), wanted)


@pytest.mark.parametrize('crops', [1, 3, 10])
@pytest.mark.parametrize('base, length', [(FRAMES, 1), (CLIPS, 4)], ids=['frames', 'clips'])
def test_crops_are_those_of_the_validation(crops, base, length):
    frames = pictures(length)
    side = 24 if crops == 3 else 28
    preprocess = replace(base, crops=crops, resize={'short_side': side})
    wanted = by_gluoncv(frames, side, crops, length)
    np.testing.assert_array_equal(preprocess.transform(frames), wanted)
    wanted = wanted.reshape(crops, length, *wanted.shape[1:]).swapaxes(1, 2)
    np.testing.assert_allclose(preprocess.apply(frames), wanted if length > 1 else wanted[:, :, 0], atol=GREY)


@pytest.mark.parametrize('crops', [1, 3, 10])
@pytest.mark.parametrize('base, length', [(FRAMES, 1), (CLIPS, 4)], ids=['frames', 'clips'])
def test_crops_of_several_segments_keep_the_order_of_gluoncv(crops, base, length):
    frames = pictures(3 * length, 57, 31)
    side = 24 if crops == 3 else 27
    seen = replace(base, crops=crops, resize={'short_side': side}).transform(frames)
    np.testing.assert_array_equal(seen, by_gluoncv(frames, side, crops, length))


def test_values_of_another_range_are_normalised_in_it():
    frames = pictures(2)
    signed = replace(FRAMES, value_range=(-1, 1), mean=(.1, .2, .3), std=(.5, 1, 2), resize={'short_side': 24})
    wanted = by_gluoncv(frames, 24, mean=np.array([1.1, 1.2, 1.3]) / 2, std=np.array([.5, 1, 2]) / 2)
    np.testing.assert_allclose(signed.transform(frames), wanted, atol=1e-5)
    np.testing.assert_allclose(signed.apply(frames), wanted, atol=1e-5)


def test_the_short_side_is_decided_by_the_crop_its_share_and_the_augmentation():
    assert CROP_RATIO == 0.875
    assert [short_side(size) for size in (224, 24, 30, 112)] == [256, 28, 35, 128]
    assert short_side(224, crop_ratio=0.7) == 320 and short_side(224, crops=10) == 256
    for augmentation in ('v2', 'v3', 'v4'):
        sides = dict(data_aug=augmentation, new_height=300, new_width=400)
        assert read_size(augmentation, 300, 400) is None
        assert [short_side(224, crops, **sides) for crops in (1, 3, 10)] == [300, 224, 300]
    assert read_size('v1', 300, 0) is read_size('v1', 0, 300) is None
    three = [short_side(224, 3, new_height=high, new_width=wide) for high, wide in ((224, 300), (300, 224), (256, 340))]
    assert three == [0, 0, 224]  # frames that are as narrow as the crop, and others that must become so
    assert short_side(224, 3, crop_ratio=0.5) == 224


@pytest.mark.parametrize('crops', [1, 3, 10])
@pytest.mark.parametrize('rows, length', [(1, 1), (1, 4), (3, 1)])
def test_crops_of_several_scores_are_those_of_the_test(crops, rows, length):
    """Each score alone, cut view by view as a test does, is what all of them together give."""
    side = 24 if crops == 3 else 28
    preprocess = replace(CLIPS if length > 1 else FRAMES, crops=crops, rows=rows, resize={'short_side': side})
    frames = pictures(2 * rows * length)
    seen = preprocess.apply(frames)
    wanted = []
    for score in np.split(frames, 2):
        small = functional.short_side_rescale(score, side)
        for top, left, mirrored in functional.crop_places(*small.shape[1:3], (24, 24), crops):
            for clip in np.split(small, rows):
                view = functional.crop(clip, top, left, 24, 24)
                wanted.append((functional.horizontal_flip(view) if mirrored else view) / 255.)
    wanted = ((np.stack(wanted) - MEAN) / STD).transpose(0, 4, 1, 2, 3)
    np.testing.assert_allclose(seen, wanted if length > 1 else wanted[:, :, 0], atol=1e-5)
    views = np.stack(list(preprocess.views(preprocess.resized(frames))))
    np.testing.assert_array_equal(preprocess.normalised(views), seen)


def test_views_are_parts_of_the_frames_and_no_copies():
    """25 segments x 10 crops of a video would be ten times its memory."""
    frames = pictures(8)
    preprocess = replace(CLIPS, crops=10, resize={})
    assert all(np.shares_memory(view, frames) for view in preprocess.views(frames, 2))
    order = [view[0, 0, 0].tolist() for view in replace(preprocess, crops=1).views(frames, 2)]
    assert order == [frames[0, 10, 18].tolist(), frames[4, 10, 18].tolist()]
    with pytest.raises(UsageError, match='8 frames are not whole groups of 3 clips of 4 frames'):
        list(preprocess.views(frames, 3))


@pytest.mark.parametrize('modality', ['rgb', 'flow'])
@pytest.mark.parametrize('length', [1, 3])
@pytest.mark.parametrize('picked', [slice(None), slice(3, 17), slice(0, 40, 7), slice(12, 13)])
@pytest.mark.parametrize('opencv', [True, False])
def test_any_views_are_written_as_they_are_seen(modality, length, picked, opencv, monkeypatch):
    """Whether a frame is normalised once for several crops, or for one."""
    if not opencv:
        monkeypatch.setitem(sys.modules, 'cv2', None)
    base = dict(layout='NCTHW', offsets=tuple(range(length)), crop=(24, 22), crops=10, value_range=(-1, 2))
    preprocess = Preprocess(**base, mean=MEAN, std=STD) if modality == 'rgb' else Preprocess(
        **base, modality='flow', mean=(128 / 255,) * 2, std=(127 / 255,) * 2, flow_bound=20.)
    channels = preprocess.channels
    frames = pictures(4 * length, 30, 41, channels)
    places = preprocess.places(frames, 2)[picked]
    rows = np.full(preprocess.shape(len(places)), np.nan, np.float32)
    preprocess.write(frames, places, rows)
    views = np.stack(list(preprocess.views(frames, 2))[picked]).transpose(0, 4, 1, 2, 3)
    scale, shift = (values.reshape(-1, 1, 1, 1) for values in preprocess.scale_and_shift)
    np.testing.assert_array_equal(rows, views * scale + shift)


@pytest.mark.parametrize('modality, side, times', [('rgb', 41, 4), ('flow', 41, 8), ('rgb', 200, 40)])
def test_what_ten_crops_have_in_common_is_normalised_once(monkeypatch, modality, side, times):
    """Ten small crops of a large frame have little in common, and are normalised each."""
    count, normalise = [], Preprocess._normalise
    monkeypatch.setattr(Preprocess, '_normalise', lambda *args: count.append(args) or normalise(*args))
    channels = 2 if modality == 'flow' else 3
    preprocess = Preprocess(layout='NCTHW', modality=modality, offsets=(0, 1), crop=(24, 24), crops=10,
                            mean=MEAN[:channels], std=STD[:channels], flow_bound=20. if channels == 2 else None)
    preprocess.apply(pictures(4, 30, side, channels))
    assert len(count) == times


def test_clips_keep_their_frames_together():
    frames = pictures(8)
    seen = CLIPS.apply(frames)
    assert seen.shape == CLIPS.shape(2) == (2, 3, 4, 24, 24)
    np.testing.assert_array_equal(seen[1, :, 2], FRAMES.apply(frames[6:7])[0])


def test_flow_keeps_its_two_channels_and_turns_in_the_mirror():
    flow = Preprocess(layout='NCTHW', modality='flow', offsets=(0, 1), crop=(24, 24), crops=10, mean=(128 / 255,) * 2,
                      std=(127 / 255,) * 2, flow_bound=20.)
    seen = flow.apply(pictures(2, 30, 30, 2, low=1))
    assert seen.shape == (10, 2, 2, 24, 24) and abs(seen).max() <= 1 + 1e-6
    np.testing.assert_allclose(seen[5][0], -seen[0][0][..., ::-1], atol=1e-6)
    np.testing.assert_allclose(seen[5][1], seen[0][1][..., ::-1], atol=1e-6)


def test_a_window_may_lie_anywhere():
    frames = pictures(1, 30, 41)
    seen = replace(FRAMES, resize={'width': 41, 'height': 30}, corner=(6, 0)).apply(frames)
    middle = replace(FRAMES, resize={'width': 24, 'height': 24}).apply(frames[:, 6:, :24])
    np.testing.assert_array_equal(seen, middle)


def test_a_window_that_reaches_over_the_edge_is_refused():
    whole = replace(FRAMES, resize={}, corner=(6, 10))
    assert whole.apply(pictures(1, 30, 34)).shape == (1, 3, 24, 24)
    for height, width in ((29, 34), (30, 33)):
        with pytest.raises(UsageError, match=f'frames of {width}x{height} .* hold no crop of 24x24'):
            whole.apply(pictures(1, height, width))


def test_any_range_of_values_comes_out():
    frames = np.array([0, 255], 'uint8').reshape(2, 1, 1, 1).repeat(3, axis=3)
    scaled = Preprocess(layout='NCHW', offsets=(0,), crop=(1, 1), mean=(0, 1, 2), std=(1, 1, 2), value_range=(-1, 3))
    np.testing.assert_allclose(scaled.apply(frames)[..., 0, 0], [[-1, -2, -1.5], [3, 2, 0.5]], rtol=1e-6)


def test_slowfast_spans_what_its_two_pathways_reach():
    offsets = (1, 3, 5, 7, 3, 7)
    assert replace(CLIPS, offsets=offsets).span == 8 and FRAMES.span == 1


def test_cutting_resized_frames_is_applying():
    frames = pictures(4)
    np.testing.assert_array_equal(CLIPS.cut(CLIPS.resized(frames)), CLIPS.apply(frames))


def test_without_opencv_pictures_are_the_same_to_a_grey_level():
    code = """
import sys
for name in ('cv2', 'mxnet', 'gluoncv', 'matplotlib', 'PIL', 'onnx', 'onnxruntime', 'tqdm', 'av'):
    sys.modules[name] = None
import json
import numpy as np
from gluon_action.deploy.bundle import format
from gluon_action.data.preprocess import Preprocess
preprocess = Preprocess.from_json(json.loads(sys.argv[1]))
sys.stdout.buffer.write(preprocess.apply(np.random.default_rng(4).integers(0, 256, (4, 45, 61, 3), 'uint8')).tobytes())
"""
    answer = subprocess.run([sys.executable, '-c', code, json.dumps(CLIPS.to_json())], capture_output=True,
                            cwd=Path(__file__).parents[2])
    assert answer.returncode == 0, answer.stderr.decode()
    seen = np.frombuffer(answer.stdout, 'float32').reshape(CLIPS.shape(1))
    np.testing.assert_allclose(seen, CLIPS.apply(pictures(4)), atol=GREY)


@pytest.mark.parametrize('preprocess', [FRAMES, CLIPS, replace(FRAMES, resize={}, rows=3, activation='sigmoid')])
def test_json_gives_the_record_back(preprocess):
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize('field, value, allowed', [
    ('layout', 'NHWC', 'NCHW or NCTHW'), ('layout', ['NCHW'], 'NCHW or NCTHW'), ('modality', 'audio', 'rgb or flow'),
    ('activation', 'relu', 'softmax or sigmoid'),
    ('offsets', [], 'one or more whole numbers'), ('offsets', [-1], 'from 0 to 99999'),
    ('offsets', [100_000], 'from 0 to 99999'), ('offsets', [0.5], 'a list of whole numbers'),
    ('offsets', [True], 'a list of whole numbers'), ('offsets', 3, 'a list of whole numbers'),
    ('rows', 0, 'from 1 to 1000'), ('rows', 1.0, 'from 1 to 1000'), ('rows', True, 'from 1 to 1000'),
    ('stride', 0, 'a whole number from 1'), ('stride', '2', 'a whole number from 1'),
    ('resize', {'short_side': 0}, 'whole numbers from 1 to 8192'), ('resize', {'width': 9}, "'height': h"),
    ('resize', {'short_side': 9000}, 'to 8192'), ('resize', [28], 'short_side'), ('resize', None, 'short_side'),
    ('resize', {'short_side': 20}, 'crop 24x24 must fit into frames whose resize.short_side is 20'),
    ('resize', {'width': 24, 'height': 23}, 'crop 24x24 must fit'),
    ('crop', [24], 'height, width'), ('crop', [0, 24], 'from 1 to 8192'), ('crop', 24, 'a list of whole numbers'),
    ('crops', 5, '1, 3 or 10'), ('crops', True, '1, 3 or 10'), ('crops', 3, 'resize.short_side must be 24, got 28'),
    ('value_range', [1, 0], 'low less than high'), ('value_range', [0], 'low, high'),
    ('value_range', [0, float('inf')], 'a list of finite numbers'),
    ('mean', [0, 0], '3 numbers within'), ('mean', [0, 0, float('nan')], 'a list of finite numbers'),
    ('mean', [0, 0, 10 ** 400], 'a list of finite numbers'), ('mean', [0, 0, 1e7], 'within -1e6..1e6'),
    ('std', [1, 1, 0], 'within 1e-6..1e6'), ('std', [1, 1, -1], 'within 1e-6..1e6'), ('std', [1, 1, None], 'finite'),
    ('corner', [0], 'null, or with one crop'), ('corner', [-1, 0], 'from 0 to 8192'), ('corner', 0, 'whole numbers'),
    ('flow_bound', 20, 'null for rgb'), ('modality', 'flow', 'one a channel of flow')])
def test_a_field_out_of_range_is_named_with_its_value_and_what_is_allowed(field, value, allowed):
    with pytest.raises(BundleError) as caught:
        Preprocess.from_json({**CLIPS.to_json(), 'layout': 'NCTHW', field: value}, 'bundle/preprocess.json')
    message = str(caught.value)
    assert 'bundle/preprocess.json: ' in message and allowed in message
    assert field in message or field == 'modality'


def test_more_than_one_frame_needs_a_time_axis():
    with pytest.raises(UsageError, match='offsets must be one number for the layout NCHW'):
        replace(CLIPS, layout='NCHW')


def test_frames_that_no_memory_holds_are_refused():
    assert replace(CLIPS, resize={'short_side': 28}).picture_bytes == 4 * 3 * 28 * 28
    assert replace(CLIPS, rows=3, resize={'short_side': 28}).picture_bytes == 3 * 4 * 3 * 28 * 28
    assert replace(CLIPS, rows=2, resize={'width': 30, 'height': 41}).picture_bytes == 2 * 4 * 3 * 30 * 41
    assert replace(CLIPS, rows=2, resize={}).picture_bytes == 0
    with pytest.raises(UsageError, match='resize .* makes 301989888 bytes of the frames of one score'):
        replace(CLIPS, rows=6, resize={'short_side': 2048})  # of 5 rows they would be allowed
    assert replace(CLIPS, rows=5, resize={'short_side': 2048}).picture_bytes == 251658240
    with pytest.raises(UsageError, match='resize .* makes 805306368 bytes of the frames of one score'):
        replace(CLIPS, resize={'short_side': 8192})


def test_a_row_that_no_memory_holds_is_refused():
    with pytest.raises(UsageError, match='more than the 268435456 allowed'):
        replace(CLIPS, offsets=tuple(range(100)), crop=(4096, 4096), resize={})


@pytest.mark.parametrize('values, message', [
    ([], 'must hold an object'), ({'layout': 'NCHW'}, "lacks 'offsets'"),
    ({**CLIPS.to_json(), 'brightness': 1}, "has unknown 'brightness'")])
def test_json_of_something_else_is_refused(values, message):
    with pytest.raises(BundleError, match=message):
        Preprocess.from_json(values)


@pytest.mark.parametrize('frames, message', [
    (pictures(3), r'3 frames are not whole scores of 1 x 4 frames'), (pictures(0), '0 frames'),
    (pictures(4).astype('float32'), 'must be uint8'), (pictures(4, channels=2), r'must be uint8 \(n, H, W, 3\) of rgb'),
    (pictures(4, 24, 23), 'frames of 23x24 .* hold no crop of 24x24'),
    (pictures(4, 10, 10), 'frames of 10x10 .* hold no crop of 24x24')])
def test_frames_that_make_no_input_are_refused(frames, message):
    with pytest.raises(UsageError, match=message):
        replace(CLIPS, resize={}).apply(frames)


def test_the_options_of_a_test_say_how_frames_are_prepared():
    from gluon_action.evaluate.options.config import TestConfig
    from gluon_action.model_zoo import model_card
    plain = TestConfig(input_size=32).preprocess(None)
    assert (plain.mean, plain.std, plain.value_range, plain.modality) == (MEAN, STD, (0, 1), 'rgb')
    assert (plain.layout, plain.offsets, plain.crop, plain.resize, plain.crops) == ('NCHW', (0,), (32, 32), {}, 1)
    assert TestConfig(new_length=3, new_step=2).preprocess(None).shape(1) == (1, 3, 3, 224, 224)
    assert TestConfig(input_5d=True).preprocess(None).shape(1) == (1, 3, 1, 224, 224)
    assert TestConfig(three_crop=True).preprocess(None).resize == {'short_side': 224}
    assert TestConfig(new_height=0, new_width=0, crop_ratio=0.5).preprocess(None, rows=2).resize == {'short_side': 448}
    assert TestConfig(multi_label=True, num_crop=10).preprocess(None).activation == 'sigmoid'
    flow = TestConfig(new_length=8).preprocess(model_card('i3d_flow_custom'))
    assert (flow.layout, flow.modality, flow.channels, flow.flow_bound) == ('NCTHW', 'flow', 2, 20)
