import copy
import hashlib
import inspect
import json
import os

import numpy as np
import pytest
from gluoncv.data import VideoClsCustom as GluonCVDataset
from gluoncv.data.transforms import video as gluoncv_video
from mxnet.gluon.data import DataLoader
from mxnet.gluon.data.vision.transforms import Compose
from videos import make_broken, read_barcode, write_frames, write_video

from gluon_action import data
from gluon_action.data import VideoClsCustom
from gluon_action.data.reading.clip_reader import FramePlan
from gluon_action.data.reading.sampling import sample_rng
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.somethingsomethingv2 import SomethingSomethingV2
from gluon_action.data.somethingsomethingv2.classification import MIRRORED_LABELS
from gluon_action.data.transforms import video
from gluon_action.errors import AnnotationError, UsageError, VideoReadError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SMALL = dict(new_width=48, new_height=40, target_width=32, target_height=32)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two frame folders and their list, in GluonCV's three columns."""
    root = tmp_path_factory.mktemp('folders')
    write_frames(root / 'walk' / 'a', range(1, 31))
    write_frames(root / 'run' / 'b', range(1, 10))
    (root / 'list.txt').write_text('walk/a 30 0\nrun/b 9 1\n')
    return root


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Three video files of 40, 25 and 12 frames and a list of them."""
    root = tmp_path_factory.mktemp('files')
    for name, num_frames in (('a', 40), ('b', 25), ('c', 12)):
        write_video(root / f'{name}.mp4', num_frames)
    (root / 'list.txt').write_text('a 40 0\nb 25 1\nc 12 2\n')
    return root


def ours(root, transform=None, cls=VideoClsCustom, **options):
    return cls(str(root), str(root / 'list.txt'), transform=transform, **{**SMALL, **options})


def theirs(root, transform, **options):
    return GluonCVDataset(str(root), str(root / 'list.txt'), transform=transform, **{**SMALL, **options})


def assert_equal_items(one, other):
    assert len(one) == len(other) > 0
    for index in range(len(one)):
        (clip, label), (expected, expected_label) = one[index], other[index]
        assert clip.shape == expected.shape and clip.dtype == expected.dtype and label == expected_label
        np.testing.assert_allclose(clip.asnumpy(), expected.asnumpy(), atol=1e-5)


# ---------------------------------------------------------------- parity with GluonCV

@pytest.mark.parametrize('mode', [dict(train=False), dict(test_mode=True)], ids=['val', 'test'])
@pytest.mark.parametrize('num_segments, new_length, new_step', [(1, 1, 1), (3, 1, 1), (7, 1, 1), (1, 4, 2), (2, 3, 2)])
def test_frame_folders_give_what_gluoncv_gives(folders, mode, num_segments, new_length, new_step):
    options = dict(num_segments=num_segments, new_length=new_length, new_step=new_step, **mode)
    assert_equal_items(ours(folders, video.VideoGroupValTransform(32, MEAN, STD), **options),
                       theirs(folders, gluoncv_video.VideoGroupValTransform(32, MEAN, STD), **options))


@pytest.mark.parametrize('mode', [dict(train=False), dict(test_mode=True)], ids=['val', 'test'])
@pytest.mark.parametrize('num_segments, new_length, new_step', [(3, 1, 1), (2, 4, 2)])
def test_video_files_give_what_gluoncv_gives(files, mode, num_segments, new_length, new_step):
    # v2 reads frames in their own size; with v1 GluonCV leaves resizing to decord, which rounds differently.
    options = dict(num_segments=num_segments, new_length=new_length, new_step=new_step, data_aug='v2',
                   video_loader=True, use_decord=True, **mode)
    arguments = dict(crop_size=(32, 32), short_side=40, mean=MEAN, std=STD)
    assert_equal_items(ours(files, video.VideoGroupValTransformV2(**arguments), **options),
                       theirs(files, gluoncv_video.VideoGroupValTransformV2(**arguments), **options))


@pytest.mark.parametrize('new_length, new_step, temporal_jitter', [(1, 1, False), (2, 2, False), (2, 3, True)])
def test_training_clips_are_gluoncvs_for_equal_draws(folders, new_length, new_step, temporal_jitter):
    options = dict(num_segments=2, new_length=new_length, new_step=new_step, temporal_jitter=temporal_jitter)
    one = ours(folders, video.VideoGroupValTransform(32, MEAN, STD), **options)
    other = theirs(folders, gluoncv_video.VideoGroupValTransform(32, MEAN, STD), **options)
    for index in range(len(one)):
        draws = _Draws(sample_rng(0, 5, index).spawn(2)[0])
        other._sample_train_indices = draws.patched(other._sample_train_indices)
        clip, _ = one.load(index, epoch=5)
        np.testing.assert_allclose(clip, other[index][0].asnumpy(), atol=1e-5)
        del other._sample_train_indices


class _Draws:
    """Puts a generator's integers in the place of numpy's global ones."""

    def __init__(self, rng):
        self.rng = rng

    def patched(self, function):
        def with_our_draws(num_frames):
            saved, np.random.randint = np.random.randint, lambda high, size: self.rng.integers(high, size=size)
            try:
                return function(num_frames)
            finally:
                np.random.randint = saved
        return with_our_draws


@pytest.mark.parametrize('source', ['folders', 'files'])
def test_slowfast_frames_are_gluoncvs(request, source):
    root = request.getfixturevalue(source)
    options = dict(train=False, new_length=8, slowfast=True, slow_temporal_stride=4, fast_temporal_stride=2,
                   new_width=0, new_height=0, video_loader=source == 'files', use_decord=source == 'files',
                   data_aug='v2' if source == 'files' else 'v1')
    one = ours(root, video.VideoGroupValTransform(32, MEAN, STD), **options)
    assert one[0][0].shape == (1, 3, 4 + 2, 32, 32)
    # GluonCV never steps onto the last frame; both agree on videos that are long enough.
    other = theirs(root, gluoncv_video.VideoGroupValTransform(32, MEAN, STD), **options)
    np.testing.assert_allclose(one[0][0].asnumpy(), other[0][0].asnumpy(), atol=1e-5)


@pytest.mark.parametrize('new_length', [1, 3])
def test_three_crops_are_laid_out_as_gluoncv_does(folders, new_length):
    options = dict(train=False, num_segments=2, num_crop=3, new_length=new_length, new_width=48, new_height=32)
    ending = [video.VideoToTensor(), video.VideoNormalize(MEAN, STD)]
    expected = [gluoncv_video.VideoToTensor(), gluoncv_video.VideoNormalize(MEAN, STD)]
    assert_equal_items(ours(folders, Compose([video.VideoThreeCrop(32), *ending]), **options),
                       theirs(folders, Compose([gluoncv_video.VideoThreeCrop(32), *expected]), **options))


def test_a_transform_written_for_gluoncv_works(folders):
    transform = gluoncv_video.VideoGroupValTransform(32, MEAN, STD)
    assert_equal_items(ours(folders, transform, train=False, num_segments=3),
                       theirs(folders, transform, train=False, num_segments=3))


def test_arguments_have_gluoncvs_names_and_order():
    expected = list(inspect.signature(GluonCVDataset).parameters)
    assert list(inspect.signature(VideoClsCustom).parameters)[:len(expected)] == expected
    defaults = {name: value.default for name, value in inspect.signature(GluonCVDataset).parameters.items()
                if name not in ('root', 'setting', 'name_pattern', 'target_width', 'target_height')}
    got = {name: inspect.signature(VideoClsCustom).parameters[name].default for name in defaults}
    assert got == defaults


# ---------------------------------------------------------------- what is drawn

def barcodes(clip):
    return [read_barcode(frame.transpose(1, 2, 0)) for frame in clip]


def test_without_a_transform_frames_are_only_transposed(files):
    dataset = ours(files, train=False, num_segments=4, new_width=0, new_height=0)
    clip, label = dataset[0]
    assert (clip.shape, str(clip.dtype), label) == ((4, 3, 64, 96), "<class 'numpy.float32'>", 0)
    assert barcodes(clip.asnumpy()) == [5, 15, 25, 35] and clip.max().asscalar() > 100


def test_a_sample_depends_on_seed_epoch_index_and_view_alone(files):
    flip = Compose([video.VideoRandomHorizontalFlip(), video.VideoToTensor()])
    options = dict(num_segments=3, new_width=48, new_height=40, target_width=48, target_height=40)
    first, second = ours(files, flip, **options), ours(files, flip, **options)
    again = {key: second.load(0, epoch=key[0], view=key[1])[0] for key in [(1, 1), (0, 1), (1, 0), (0, 0)]}
    drawn = [first.load(0, epoch=epoch, view=view)[0] for epoch, view in sorted(again)]
    for clip, key in zip(drawn, sorted(again)):
        np.testing.assert_array_equal(clip, again[key])
    assert len({clip.tobytes() for clip in drawn}) > 1
    other = ours(files, flip, seed=1, **options)
    assert any(other.load(0, epoch=epoch)[0].tobytes() != first.load(0, epoch=epoch)[0].tobytes() for epoch in range(4))


def test_asking_again_is_the_next_epoch(files):
    dataset = ours(files, num_segments=3)
    asked = [dataset[1][0].asnumpy() for _ in range(4)]
    expected = [dataset.load(1, epoch=epoch)[0] for epoch in range(4)]
    np.testing.assert_array_equal(asked, expected)
    assert len({clip.tobytes() for clip in asked}) > 1
    np.testing.assert_array_equal(copy.deepcopy(dataset)[1][0].asnumpy(), dataset.load(1, epoch=4)[0])


def test_gluon_loaders_give_equal_batches_for_any_number_of_workers(files):
    def batches(num_workers):
        loader = DataLoader(ours(files, num_segments=3), batch_size=2, num_workers=num_workers)
        return [clip.asnumpy() for _ in range(2) for clip, _ in loader]
    alone, together = batches(0), batches(2)
    assert len(alone) == len(together) == 4
    for one, other in zip(alone, together):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(alone[:2], alone[2:]))  # the epochs differ


def test_a_deadline_changes_nothing_but_the_deadline(files):
    direct, guarded = ours(files, num_segments=3), ours(files, num_segments=3, timeout=60)
    np.testing.assert_array_equal(direct.load(1, epoch=2)[0], guarded.load(1, epoch=2)[0])


def test_a_video_that_takes_too_long_is_reported_with_its_line(tmp_path):
    os.mkfifo(tmp_path / 'stuck.mp4')  # whoever opens it waits for ever
    (tmp_path / 'list.txt').write_text('stuck.mp4 0\n')
    with pytest.raises(VideoReadError, match='list.txt line 1'):
        ours(tmp_path, timeout=0.5).load(0)


def test_iteration_ends(folders):
    assert [label for _, label in ours(folders)] == [0, 1]
    assert ours(folders)[-1][1] == 1


# ---------------------------------------------------------------- which frames

def test_load_frames_gives_the_frames_before_the_transform(files):
    dataset = ours(files, video.VideoGroupValTransform(32, MEAN, STD), test_mode=True, num_segments=2, new_length=3)
    frames = dataset.load_frames(0)
    assert (frames.shape, frames.dtype) == ((6, 40, 48, 3), np.uint8)
    assert [read_barcode(frame) for frame in frames] == [9, 10, 11, 28, 29, 30]


@pytest.mark.parametrize('data_aug, width, height, expected', [
    ('v1', 48, 40, (40, 48)), ('v1', 0, 40, (64, 96)), ('v1', 0, 0, (64, 96)), ('v2', 48, 40, (64, 96))])
@pytest.mark.parametrize('source', ['folders', 'files'])
def test_only_v1_resizes_before_the_transform(request, source, data_aug, width, height, expected):
    dataset = ours(request.getfixturevalue(source), data_aug=data_aug, new_width=width, new_height=height)
    assert dataset.load_frames(0).shape[1:3] == expected


def test_parts_of_a_file_are_cut_by_time(files, tmp_path):
    setting = tmp_path / 'cuts.csv'
    setting.write_text('path,label,start,end\na.mp4,0,0.4,0.8\na.mp4,1,1.2,\nb.mp4,0,3,4\n')
    dataset = VideoClsCustom(str(files), str(setting), train=False, num_segments=2, new_width=0, new_height=0)
    assert [barcodes(dataset.load(index)[0]) for index in (0, 1)] == [[12, 17], [32, 37]]  # at 25 frames a second
    with pytest.raises(VideoReadError, match=r'from 3 s to 4.0 s holds no frame .*cuts.csv line 4'):
        dataset.load(2)


@pytest.mark.parametrize('start, end, first, last', [
    (0.43, 0.79, 11, 19), (0.41, 0.77, 10, 18), (0.7, '', 18, 39), ('', 0.1, 0, 2), (1.55, 1.6, 39, 39),
    (0.2, 7, 5, 39)])
def test_a_part_begins_and_ends_at_the_frame_nearest_to_its_time(files, tmp_path, start, end, first, last):
    setting = tmp_path / 'cut.csv'
    setting.write_text(f'path,label,start,end\na.mp4,0,{start},{end}\n')
    dataset = VideoClsCustom(str(files), str(setting), train=False, new_length=42, new_width=0, new_height=0)
    frames = barcodes(dataset.load(0)[0][0].transpose(1, 0, 2, 3))  # all of the part; its last one is repeated
    assert frames == [*range(first, last), *[last] * (42 - last + first)]


@pytest.mark.parametrize('options, key', [
    (dict(), 'a.mp4'), (dict(train=False), 'b.mp4'), (dict(test_mode=True), 'b.mp4'),
    (dict(train=False, test_mode=True), 'b.mp4')])
def test_only_training_takes_the_training_split(files, tmp_path, options, key):
    (tmp_path / 'all.csv').write_text('path,label,split\na.mp4,0,train\nb.mp4,1,val\n')
    assert [sample.key for sample in VideoClsCustom(str(files), str(tmp_path / 'all.csv'), **options).samples] == [key]


@pytest.mark.parametrize('decoder', ['auto', 'pyav', 'decord', 'opencv', 'pillow'])
def test_a_decoder_of_files_does_not_keep_folders_from_being_read(folders, files, tmp_path, decoder):
    (tmp_path / 'list.txt').write_text(f'{folders}/walk/a 30 0\n{files}/a.mp4 40 1\n')
    dataset = VideoClsCustom('/', str(tmp_path / 'list.txt'), train=False, decoder=decoder, new_width=0)
    assert barcodes(dataset.load(0)[0]) == [16]
    if decoder in ('auto', 'pyav', 'decord'):
        assert barcodes(dataset.load(1)[0]) == [20]
    else:
        with pytest.raises(UsageError, match='is a file'):
            dataset.load(1)


def test_a_frame_folder_that_is_shorter_than_its_list_says_is_refused(folders, tmp_path):
    setting = tmp_path / 'list.txt'
    setting.write_text('run/b 11 1\n')
    with pytest.raises(VideoReadError, match=r'the list says 11 frames, the folder has 9 \(.*list.txt line 1\)'):
        VideoClsCustom(str(folders), str(setting))[0]


def test_the_list_may_use_a_part_of_a_frame_folder(folders, tmp_path):
    setting = tmp_path / 'list.txt'
    setting.write_text('walk/a 10 0\n')
    dataset = VideoClsCustom(str(folders), str(setting), train=False, num_segments=2, new_width=0, new_height=0)
    assert barcodes(dataset[0][0].asnumpy()) == [3, 8]


@pytest.mark.parametrize('kind', ['missing', 'empty', 'garbage', 'audio_only', 'zero_frames'])
def test_a_video_that_cannot_be_read_is_named_with_list_and_line(files, tmp_path, kind):
    path = make_broken(kind, tmp_path)
    (tmp_path / 'list.txt').write_text(f'{path} 10 0\n')
    with pytest.raises(VideoReadError, match=rf'{kind}.mp4: .*\(.*list.txt line 1\)') as caught:
        VideoClsCustom('/', str(tmp_path / 'list.txt'))[0]
    assert caught.value.path == str(path)


def test_videos_shorter_than_a_clip_still_give_one(tmp_path):
    write_video(tmp_path / 'one.mp4', 1)
    (tmp_path / 'list.txt').write_text('one.mp4 0\n')
    with VideoReader(tmp_path / 'one.mp4', width=48, height=40) as reader:
        picture = reader.read([0])[0].transpose(2, 0, 1)
    for mode in (dict(), dict(train=False), dict(test_mode=True)):
        clip = ours(tmp_path, num_segments=3, new_length=4, new_step=2, **mode)[0][0].asnumpy()
        np.testing.assert_array_equal(clip, np.broadcast_to(picture[None, :, None], (3, 3, 4, 40, 48)))


# ---------------------------------------------------------------- labels

def test_several_labels_become_zeros_and_ones(files):
    (files / 'multi.txt').write_text('a.mp4 0 3\nb.mp4 1\n')
    dataset = VideoClsCustom(str(files), str(files / 'multi.txt'), multi_label=True, num_classes=5)
    label = dataset[0][1]
    assert (label.dtype, label.tolist()) == (np.float32, [1, 0, 0, 1, 0])


def mirroring(prob=1.0):
    return Compose([video.VideoRandomHorizontalFlip(prob), video.VideoCenterCrop(32), video.VideoToTensor()])


def test_mirrored_videos_take_the_label_of_the_mirror_image(files):
    always = ours(files, mirroring(), flip_label_map={0: 2, 2: 0})
    assert [always.load(index)[1] for index in range(3)] == [2, 1, 0]
    never = ours(files, mirroring(0.0), flip_label_map={0: 2, 2: 0})
    assert [never.load(index)[1] for index in range(3)] == [0, 1, 2]
    named = ours(files, mirroring(), flip_label_map={'left': 'right'}, classes=['left', 'right', 'up'])
    assert [named.load(index)[1] for index in range(3)] == [1, 1, 2]


def test_each_label_of_a_mirrored_video_is_that_of_the_mirror_image(files):
    (files / 'multi.txt').write_text('a.mp4 0 1\nb.mp4 0 2\nc.mp4 1 3\n')
    options = dict(multi_label=True, list_format='multi_label', num_classes=4, flip_label_map={0: 2, 2: 0})

    def labels(prob):
        dataset = VideoClsCustom(str(files), str(files / 'multi.txt'), transform=mirroring(prob), **options)
        return [dataset.load(index)[1].tolist() for index in range(3)]
    assert labels(1.0) == [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert labels(0.0) == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize('transform', [mirroring(), video.VideoGroupTrainTransform((32, 32), [1.0], MEAN, STD)])
def test_mirroring_is_refused_where_labels_have_sides(files, transform):
    with pytest.raises(UsageError, match='SomethingSomethingV2: its classes have sides'):
        ours(files, transform, cls=SomethingSomethingV2, video_loader=True)
    mapped = ours(files, transform, cls=SomethingSomethingV2, flip_label_map=MIRRORED_LABELS, video_loader=True)
    assert mapped.flip_label_map == {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
    ours(files, video.VideoGroupValTransform(32, MEAN, STD), cls=SomethingSomethingV2, video_loader=True)


# ---------------------------------------------------------------- presets

PRESETS = [('UCF101', 101, 'ucf101'), ('HMDB51', 51, 'hmdb51'), ('Kinetics400', 400, 'kinetics400'),
           ('Kinetics700', 700, 'kinetics700'), ('SomethingSomethingV2', 174, 'somethingsomethingv2')]


@pytest.mark.parametrize('name, num_classes, module', PRESETS)
def test_presets_have_gluoncvs_places_and_classes(monkeypatch, tmp_path, name, num_classes, module):
    import gluoncv.data
    monkeypatch.delenv('MXNET_HOME', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    dataset = getattr(data, name)(lazy_init=True)
    expected = inspect.signature(getattr(gluoncv.data, name)).parameters
    home = f'{tmp_path}/.mxnet/'
    assert dataset.root.removeprefix(home) == expected['root'].default.split('/.mxnet/')[1]
    assert dataset.setting.removeprefix(home) == expected['setting'].default.split('/.mxnet/')[1]
    assert dataset.reading['name_pattern'] == expected['name_pattern'].default
    assert (dataset.num_classes, len(dataset.classes), len(dataset)) == (num_classes, num_classes, 0)
    assert getattr(data, f'{name}Attr')().num_class == num_classes
    assert getattr(getattr(data, module).classification, name) is type(dataset)


@pytest.mark.parametrize('name, num_classes, module', PRESETS)
def test_presets_validate_on_the_validation_list(name, num_classes, module):
    train, val = getattr(data, name)(lazy_init=True), getattr(data, name)(train=False, lazy_init=True)
    assert 'train' in train.setting and val.setting == train.setting.replace('_train_', '_val_').replace(
        'train_videofolder', 'val_videofolder')


def test_a_preset_whose_list_is_missing_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setenv('MXNET_HOME', str(tmp_path))
    with pytest.raises(AnnotationError, match='datasets/ucf101/ucfTrainTestlist/ucf101_train_split_1_rawframes.txt'):
        data.UCF101()


def test_a_preset_checks_labels_against_its_classes(files):
    (files / 'wrong.txt').write_text('a.mp4 51\n')
    with pytest.raises(AnnotationError, match=r'wrong.txt line 1: label 51 is out of range 0\.\.50'):
        data.HMDB51(str(files), str(files / 'wrong.txt'))
    assert data.HMDB51(str(files), str(files / 'wrong.txt'), num_classes=60).classes is None


def test_a_preset_reads_official_lists(demo_appearance):
    train = data.UCF101(str(demo_appearance.video_dir), str(demo_appearance.ucf_train_list), num_segments=3, **SMALL)
    val = data.UCF101(str(demo_appearance.video_dir), str(demo_appearance.ucf_test_list), train=False, **SMALL)
    assert tuple(train.classes) == tuple(val.classes) == demo_appearance.classes
    assert {sample.label for sample in val.samples} == set(range(len(demo_appearance.classes)))
    assert train[0][0].shape == (3, 3, 40, 48)
    listed = VideoClsCustom(str(demo_appearance.video_dir), str(demo_appearance.train_list))
    assert sorted((s.path, s.label) for s in listed.samples) == sorted((s.path, s.label) for s in train.samples)


def test_official_json_of_something_something(files, tmp_path):
    entry = {'id': 'a', 'template': 'Pulling [something] from left to right'}
    (tmp_path / 'train.json').write_text(json.dumps([entry]))
    dataset = SomethingSomethingV2(str(files), str(tmp_path / 'train.json'))
    assert (dataset.samples[0].label, dataset[0][1]) == (86, 86)


# ---------------------------------------------------------------- arguments that cannot be

@pytest.mark.parametrize('options, message', [
    (dict(modality='depth'), 'modality must be one of rgb, flow'), (dict(is_color=False), 'only colour frames'),
    (dict(data_aug='v9'), 'data_aug must be one of v1'), (dict(use_decord=True, decoder='pyav'), 'contradicts decoder'),
    (dict(num_segments=0), 'num_segments must be 1 or more'), (dict(new_step=0), 'new_step must be 1 or more'),
    (dict(slowfast=True, new_step=2, new_length=32), 'needs new_step=1'),
    (dict(slowfast=True, new_length=8), 'at least slow_temporal_stride 16'),
    (dict(slowfast=True, new_length=32, fast_temporal_stride=3), 'must be a multiple'),
    (dict(flip_label_map={0: 9}), '9 is not one of the 2 classes'),
    (dict(flip_label_map='left'), 'must be a dictionary'),
])
def test_arguments_that_cannot_be_are_refused(folders, options, message):
    with pytest.raises(UsageError, match=message):
        ours(folders, **options)


def test_a_custom_data_set_needs_a_folder_and_a_list():
    with pytest.raises(UsageError, match='VideoClsCustom needs root'):
        VideoClsCustom('videos')


@pytest.mark.parametrize('transform, options, message', [
    ([video.VideoCenterCrop(16), video.VideoToTensor()], {}, r'gives frames of 16x16 .* are 32x32'),
    ([video.VideoCenterCrop(32)], {}, r'must give frames \(n, 3, H, W\)'),
    ([video.VideoThreeCrop(32), video.VideoToTensor()], dict(num_crop=10, new_height=32), 'gives 6 frames, but'),
])
def test_a_transform_that_gives_something_else_is_refused(folders, transform, options, message):
    with pytest.raises(UsageError, match=message):
        ours(folders, Compose(transform), num_segments=2, **options)[0]


def test_a_plan_counts_its_frames():
    assert FramePlan('val', 1, 64, 1, slowfast=True).frames_per_clip == 32 + 4
    assert len(FramePlan('val', 3, 5, 2).indices(100, None)) == 15


def test_the_digest_names_the_list(folders):
    assert ours(folders).list_sha256 == hashlib.sha256((folders / 'list.txt').read_bytes()).hexdigest()


# ---------------------------------------------------------------- clips from the whole video

def test_a_spread_clip_takes_a_frame_of_each_part_of_the_video(files):
    options = dict(new_length=4, clip_sampling='spread', new_width=0, new_height=0, target_width=None,
                   target_height=None)
    assert [read_barcode(frame) for frame in ours(files, train=False, **options).load_frames(0)] == [5, 15, 24, 34]
    training = ours(files, **options)
    drawn = [[read_barcode(frame) for frame in training._read(training.samples[0], sample_rng(0, epoch, 0))]
             for epoch in range(5)]
    assert all(frames == sorted(frames) for frames in drawn) and len(set(map(tuple, drawn))) > 1
    clip, _ = training[2]  # of 12 frames
    assert clip.shape == (1, 3, 4, 64, 96)


@pytest.mark.parametrize('options, got', [
    (dict(num_segments=2), 'num_segments 2'), (dict(new_step=2), 'new_step 2'),
    (dict(temporal_jitter=True), 'temporal_jitter'), (dict(slowfast=True, new_length=32), 'slowfast')])
def test_a_spread_clip_leaves_no_other_choice_of_frames(files, options, got):
    with pytest.raises(UsageError, match=f"clip_sampling 'spread' takes new_length frames.*got {got}"):
        ours(files, clip_sampling='spread', **options)


@pytest.mark.parametrize('num_frames', [7, 40, 64, 300])
@pytest.mark.parametrize('num_clips, new_length, new_step', [(10, 8, 1), (10, 8, 4), (2, 5, 3), (1, 16, 2)])
def test_dense_test_clips_lie_evenly_from_the_first_to_the_last_place(num_frames, num_clips, new_length, new_step):
    last = max(0, num_frames - new_length * new_step)
    starts = np.floor(np.linspace(0, last, num_clips) + 1e-9).astype(int) if num_clips > 1 else [last // 2]
    expected = []
    for start in starts:
        reached = list(range(start, num_frames, new_step))[:new_length]
        expected += reached + [reached[-1]] * (new_length - len(reached))
    plan = FramePlan('test', num_clips, new_length, new_step, clip_sampling='dense')
    assert plan.indices(num_frames, None) == expected


def test_dense_clips_may_start_anywhere_and_overlap(files):
    plan = FramePlan('train', 2, 4, 2, clip_sampling='dense')
    drawn = np.array([plan.indices(12, sample_rng(0, epoch, 0)) for epoch in range(200)]).reshape(200, 2, 4)
    assert (np.diff(drawn) == 2).all() and (drawn[:, 0, 0] <= drawn[:, 1, 0]).all()
    # A clip spans 8 of 12 frames: both of the two start at 0 to 4, where segments would have kept them apart.
    assert {tuple(starts) for starts in drawn[:, :, 0].tolist()} == {(a, b) for b in range(5) for a in range(b + 1)}
    dataset = ours(files, train=False, num_segments=2, new_length=4, new_step=8, clip_sampling='dense', new_width=0,
                   new_height=0, target_width=None, target_height=None)
    assert [read_barcode(frame) for frame in dataset.load_frames(0)] == [2, 10, 18, 26, 6, 14, 22, 30]


def test_dense_slowfast_clips_span_the_video():
    plan = FramePlan('test', 3, 32, 1, slowfast=True, slow_stride=16, fast_stride=4, clip_sampling='dense')
    frames = np.array(plan.indices(101, None)).reshape(3, 10)
    clip = [*range(3, 32, 4), 15, 31]
    assert frames.tolist() == [[start + frame for frame in clip] for start in (0, 34, 69)]


def test_clip_samplings_that_do_not_exist_are_refused(files):
    with pytest.raises(UsageError, match="must be one of consecutive, dense, spread, got 'sparse'"):
        ours(files, clip_sampling='sparse')
