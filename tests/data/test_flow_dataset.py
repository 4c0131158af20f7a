"""Optical flow as a data set: read from the videos' own lists, cropped, mirrored and batched like pictures."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from flows import write_flow_pictures, write_moving_video
from mxnet.gluon.data.vision.transforms import Compose
from videos import read_barcode, write_frames, write_video

from gluon_action.data import VideoClsCustom, VideoLoader, VideoReader
from gluon_action.data.by_name import open_dataset, train_transform
from gluon_action.data.flow.extraction import FlowSettings, extract_flow
from gluon_action.data.flow.find_videos import find_videos
from gluon_action.data.flow.methods import MEAN, STD, compute_flow, dequantize, quantize, to_gray
from gluon_action.data.preprocess import Preprocess, short_side
from gluon_action.data.transforms import functional as F
from gluon_action.data.transforms import video
from gluon_action.errors import AnnotationError, UsageError, VideoReadError
from gluon_action.evaluate.views import score_videos

QUICK = FlowSettings('farneback', short_side=0, image_format='png')
BARE = dict(train=False, new_width=0, new_height=0)


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    """Flow of two videos of 11 and 5 frames, each image of which carries its number, and the list of the videos."""
    root = tmp_path_factory.mktemp('stored')
    write_flow_pictures(root / 'walk/a', 10)
    write_flow_pictures(root / 'run/b', 4)
    (root / 'list.txt').write_text('walk/a.mp4 11 0\nrun/b.avi 5 1\n')
    return root


@pytest.fixture(scope='module')
def moving(tmp_path_factory):
    """Videos that go right and left, the second one not extracted, a list, and the folder of their flow."""
    root = tmp_path_factory.mktemp('moving')
    write_moving_video(root / 'videos/right/a.mp4', (2, 0), 8)
    write_moving_video(root / 'videos/left/b.mp4', (-2, 0), 8)
    (root / 'list.txt').write_text('right/a.mp4 8 1\nleft/b.mp4 8 0\n')
    extract_flow({'right/a': str(root / 'videos/right/a.mp4')}, root / 'flow', QUICK, num_workers=0)
    return root


def flow_set(root, setting=None, **options):
    return VideoClsCustom(str(root), str(setting or root / 'list.txt'), modality='flow', **{**BARE, **options})


def looks(length, **fields):
    """What a network of clips makes of flow."""
    return Preprocess(layout='NCTHW', modality='flow', offsets=tuple(range(length)), crop=(32, 32), mean=MEAN,
                      std=STD, flow_bound=20., **fields)


def numbers(clip):
    """The numbers from 1 of the flow in a clip (..., 2, T, H, W) or (n, 2, H, W)."""
    x = clip[..., 0, :, 0, 0] if clip.ndim == 5 else clip[:, 0, 0, 0]
    return (x.astype(int) - 128).tolist()


# ---------------------------------------------------------------- shapes and frames

@pytest.mark.parametrize('options, shape', [
    (dict(), (1, 2, 32, 40)), (dict(num_segments=3), (3, 2, 32, 40)), (dict(new_length=4), (1, 2, 4, 32, 40)),
    (dict(num_segments=2, new_length=3, new_step=2), (2, 2, 3, 32, 40)),
    (dict(new_length=4, new_width=50, new_height=36), (1, 2, 4, 36, 50))])
def test_clips_have_two_channels(stored, options, shape):
    clip, label = flow_set(stored, **options)[0]
    assert (clip.shape, label) == (shape, 0)
    x, y = np.moveaxis(clip.asnumpy(), 1, 0)
    assert (y == 100).all() and x.min() > 128 and x.max() <= 128 + 10  # whole pictures of one value, resized or not


@pytest.mark.parametrize('crops, make', [(1, video.VideoCenterCrop), (3, video.VideoThreeCrop),
                                         (10, video.VideoTenCrop)])
@pytest.mark.parametrize('new_length', [1, 3])
def test_every_crop_has_two_channels(stored, crops, make, new_length):
    transform = Compose([make((32, 24)), video.VideoToTensor(), video.VideoNormalize(MEAN, STD)])
    clip, _ = flow_set(stored, num_segments=2, num_crop=crops, new_length=new_length, transform=transform).load(0)
    assert clip.shape == ((2 * crops, 2, 32, 24) if new_length == 1 else (2 * crops, 2, new_length, 32, 24))
    assert clip.dtype == np.float32 and np.abs(clip).max() <= 1


def test_a_clip_is_of_images_that_follow_each_other(stored):
    assert numbers(flow_set(stored, new_length=10).load(0)[0]) == [[*range(1, 11)]]
    assert numbers(flow_set(stored, num_segments=2, new_length=2, new_step=2).load(0)[0]) == [[2, 4], [6, 8]]
    frames = flow_set(stored, num_segments=5).load_frames(0)
    assert frames.dtype == np.uint8 and frames[0, 0, 0].tolist() == [130, 100]


def test_pictures_and_flow_of_equal_draws_start_at_equal_frames(tmp_path):
    write_frames(tmp_path / 'v', range(1, 42))
    write_flow_pictures(tmp_path / 'flow/v', 40)
    (tmp_path / 'list.txt').write_text('v 41 0\n')
    options = dict(num_segments=1, new_length=1, new_width=0, new_height=0)
    rgb = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), **options)
    flow = VideoClsCustom(str(tmp_path / 'flow'), str(tmp_path / 'list.txt'), modality='flow', **options)
    shown = [read_barcode(rgb.load(0, epoch=epoch)[0][0].transpose(1, 2, 0)) for epoch in range(20)]
    moves = [numbers(flow.load(0, epoch=epoch)[0])[0] for epoch in range(20)]
    assert np.abs(np.subtract(shown, moves)).max() <= 1 and len(set(shown)) > 5


def test_a_sample_depends_on_seed_epoch_and_index_alone(stored):
    transform = train_transform('v1', 24, MEAN, STD)
    one, other = (flow_set(stored, train=True, num_segments=2, new_length=2, transform=transform) for _ in range(2))
    drawn = [one.load(0, epoch=epoch)[0] for epoch in range(4)]
    for epoch in (3, 0):
        np.testing.assert_array_equal(other.load(0, epoch=epoch)[0], drawn[epoch])
    assert len({clip.tobytes() for clip in drawn}) > 1


@pytest.mark.parametrize('data_aug', ['v1', 'v2', 'v3', 'v4'])
def test_augmentations_and_validation_work_on_flow(moving, data_aug):
    sides = dict(new_height=40, new_width=48)
    made = flow_set(moving / 'flow', moving / 'list.txt', train=True, new_length=4, data_aug=data_aug, **sides,
                    transform=train_transform(data_aug, 32, MEAN, STD, **sides, flip_prob=0))
    side = short_side(32, data_aug=data_aug, **sides)
    assert side == (0 if data_aug == 'v1' else 40)
    resize = {'short_side': side} if side else {}
    seen = flow_set(moving / 'flow', moving / 'list.txt', new_length=4, data_aug=data_aug, **sides,
                    transform=looks(4, resize=resize).transform)
    for clip in (made.load(0)[0], seen.load(0)[0]):
        assert clip.shape == (1, 2, 4, 32, 32)
        assert abs(np.median(clip[0, 0]) * 20 - 2) < 0.2  # resizing leaves the pixels that it was extracted in
        assert abs(np.median(clip[0, 1])) * 20 < 0.1


def test_loaders_make_batches_of_flow_and_count_what_is_missing(moving):
    dataset = flow_set(moving / 'flow', moving / 'list.txt', new_length=3,
                       transform=looks(3, resize={'short_side': 37}).transform)
    with VideoLoader(dataset, 2, last='keep', on_error='skip', max_skip_share=1.) as loader:
        batch, = loader.epoch(0)
        assert batch.data.shape == (1, 2, 3, 32, 32)
        assert [failure.key for failure in batch.failures] == ['left/b.mp4']


# ---------------------------------------------------------------- mirrors

def test_the_mirror_negates_x_exactly_and_leaves_y():
    clip = np.random.default_rng(0).integers(1, 256, (3, 6, 8, 2), dtype=np.uint8)
    before, mirrored = clip.copy(), F.horizontal_flip(clip)
    np.testing.assert_array_equal(dequantize(mirrored)[..., 0], -dequantize(clip)[:, :, ::-1, 0])
    np.testing.assert_array_equal(mirrored[..., 1], clip[:, :, ::-1, 1])
    np.testing.assert_array_equal(F.horizontal_flip(mirrored), clip)
    np.testing.assert_array_equal(clip, before)
    assert (F.horizontal_flip(np.full((1, 2, 2, 2), 128, np.uint8)) == 128).all()


def test_floats_are_negated_as_they_are_and_a_foreign_0_counts_as_1():
    flow = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(F.horizontal_flip(flow), flow[:, :, ::-1] * np.float32([-1, 1]))
    assert F.opposite(np.array([0, 1, 127, 128, 129, 255], np.uint8)).tolist() == [255, 255, 129, 128, 127, 1]


def test_all_ways_to_mirror_agree():
    clip = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 2), dtype=np.uint8)
    expected = F.to_tensor(F.horizontal_flip(clip), MEAN, STD)
    np.testing.assert_array_equal(F.to_tensor(clip, MEAN, STD, flip=True), expected)
    plain = Compose([video.VideoRandomHorizontalFlip(1.0), video.VideoToTensor(), video.VideoNormalize(MEAN, STD)])
    np.testing.assert_allclose(plain(clip), expected, atol=1e-6)
    group = video.VideoGroupTrainTransform((20, 20), [1.0], MEAN, STD, prob=1.0, fix_crop=True, more_fix_crop=False)
    for seed in range(5):
        cropped = F.crop(clip, *group.multi_scale_crop.draw(20, 24, np.random.default_rng(seed)))
        np.testing.assert_array_equal(group(clip, rng=np.random.default_rng(seed)),
                                      F.to_tensor(F.horizontal_flip(cropped), MEAN, STD))
    ten = F.ten_crop(clip, (16, 16), clip_length=4).reshape(10, 4, 16, 16, 2)
    for one, other in zip(ten[:5], ten[5:]):
        np.testing.assert_array_equal(other, F.horizontal_flip(one))


@pytest.mark.parametrize('method', ['farneback', 'tvl1'])
def test_mirrored_flow_is_the_flow_of_the_mirrored_video(moving, method):
    with VideoReader(moving / 'videos/right/a.mp4') as reader:
        before, after = (to_gray(frame) for frame in reader.read([0, 1]))
    flow = quantize(compute_flow(before, after, method), 4.0)
    other = quantize(compute_flow(before[:, ::-1].copy(), after[:, ::-1].copy(), method), 4.0)
    difference = np.abs(F.horizontal_flip(flow[None])[0].astype(int) - other)[8:-8, 8:-8]
    assert np.median(other[..., 0]) < 80 and np.median(difference) <= 1 and difference.mean() < 3


def test_labels_with_sides_are_mapped_for_flow_too(stored):
    transform = Compose([video.VideoRandomHorizontalFlip(1.0), video.VideoToTensor()])
    assert flow_set(stored, transform=transform, flip_label_map={0: 1}).load(0)[1] == 1
    with pytest.raises(UsageError, match='classes have sides'):
        flow_set(stored, transform=transform, flip_label_map='forbid')


def test_scoring_over_crops_mirrors_flow_as_a_mirror_does(moving):
    dataset = flow_set(moving / 'flow', moving / 'list.txt', test_mode=True, new_length=3, num_segments=2)
    def directions(views):
        assert views.shape[1:] == (2, 3, 32, 32)
        return views.mean(axis=(2, 3, 4)) * 20

    one, ten = (score_videos(directions, dataset, looks(3, crops=crops), batch_size=3, indices=[0]).scores[0]
                for crops in (1, 10))
    np.testing.assert_allclose(one, (2, 0), atol=0.2)
    np.testing.assert_allclose(ten, (0, 0), atol=0.2)  # half of the ten go left


# ---------------------------------------------------------------- which folder a list means

def test_one_list_serves_pictures_and_flow(moving):
    rgb = VideoClsCustom(str(moving / 'videos'), str(moving / 'list.txt'), **BARE)
    flow = flow_set(moving / 'flow', moving / 'list.txt')
    assert [s.key for s in rgb.samples] == [s.key for s in flow.samples] and rgb.list_sha256 == flow.list_sha256
    assert [s.path for s in flow.samples] == [str(moving / 'flow' / name) for name in ('right/a', 'left/b')]
    assert (rgb[0][0].shape, flow[0][0].shape) == ((1, 3, 64, 80), (1, 2, 64, 80))


def test_a_folder_of_videos_is_the_list_of_their_flow(moving, tmp_path):
    flow = flow_set(moving / 'flow', moving / 'videos')
    assert [(s.path, s.label) for s in flow.samples] == [(str(moving / 'flow/left/b'), 0),
                                                         (str(moving / 'flow/right/a'), 1)]
    for split in ('train', 'val'):
        write_video(_folder(tmp_path / f'videos/{split}/jump') / 'v.mp4', 2)
    found = find_videos([tmp_path / 'videos'])
    assert sorted(found) == ['train/jump/v', 'val/jump/v']
    for train, split in ((True, 'train'), (False, 'val')):
        assert [s.path for s in flow_set(tmp_path / 'flow', tmp_path / 'videos', train=train).samples] == \
            [str(tmp_path / 'flow' / split / 'jump/v')]


def _folder(path):
    path.mkdir(parents=True)
    return path


def assert_moves(dataset, speed):
    """The first clip is flow of a video that goes `speed` pixels a frame to the right."""
    clip = dataset[0][0].asnumpy()
    assert clip.shape == (1, 2, 64, 80)
    x, y = (np.median(channel) for channel in clip[0])
    assert abs((x - 128) * 20 / 127 - speed) < 0.2 and abs(y - 128) <= 1


def test_official_lists_find_flow_where_extraction_puts_it(tmp_path):
    videos, flow = tmp_path / 'videos', tmp_path / 'flow'
    write_moving_video(videos / 'Run/v_Run_g01_c01.mp4', (3, 0), num_frames=3)
    (tmp_path / 'classInd.txt').write_text('1 Run\n2 Walk\n')
    (tmp_path / 'trainlist01.txt').write_text('Run/v_Run_g01_c01.avi 1\n')  # named .avi, kept as .mp4
    write_moving_video(videos / 'high_jump/abc_000001_000011.mp4', (-2, 0), num_frames=3)
    (tmp_path / 'kinetics.csv').write_text('label,youtube_id,time_start,time_end,split\nhigh jump,abc,1,11,validate\n')
    for setting, name, speed in (('trainlist01.txt', 'Run/v_Run_g01_c01', 3),
                                 ('kinetics.csv', 'high_jump/abc_000001_000011', -2)):
        extract_flow(find_videos([tmp_path / setting], str(videos)), flow, QUICK, num_workers=0)
        dataset = flow_set(flow, tmp_path / setting)
        assert [sample.path for sample in dataset.samples] == [str(flow / name)]
        assert_moves(dataset, speed)


def test_absolute_paths_are_looked_for_below_the_flow_folder(moving, tmp_path):
    setting = tmp_path / 'list.txt'
    setting.write_text(f'{moving}/videos/right/a.mp4 0\n')
    extract_flow(find_videos([setting]), tmp_path / 'flow', QUICK, num_workers=0)
    assert_moves(flow_set(tmp_path / 'flow', setting), 2)


def test_a_path_above_the_flow_folder_is_refused(stored, tmp_path):
    (tmp_path / 'list.txt').write_text('../a.mp4 0\n')
    with pytest.raises(AnnotationError, match='list.txt line 1: ../a.mp4 lies outside the data folder'):
        flow_set(stored, tmp_path / 'list.txt')


def test_missing_flow_fails_by_name_with_the_command_that_makes_it(moving):
    flow = flow_set(moving / 'flow', moving / 'list.txt')
    with pytest.raises(VideoReadError) as caught:
        flow.load(1)
    told = str(caught.value)
    assert told.startswith(f'{moving}/flow/left/b: ') and 'list.txt line 2' in told
    assert (f'gluon-action extract-flow {moving}/list.txt --data-dir FOLDER_OF_VIDEOS --out {moving}/flow makes all '
            'that is missing') in told
    with pytest.raises(VideoReadError, match=f'extract-flow {moving}/videos --out'):
        flow_set(moving / 'flow', moving / 'videos').load(0)
    guarded = flow_set(moving / 'flow', moving / 'list.txt', timeout=30)
    with pytest.raises(VideoReadError, match='its optical flow is not there'):
        guarded.load(1)


def test_the_count_of_a_list_limits_folders_of_frames_and_not_files(stored, tmp_path):
    setting = tmp_path / 'list.txt'
    setting.write_text('walk/a 5 0\nrun/b.avi 2 1\nrun/b 99 1\n')
    dataset = flow_set(stored, setting, new_length=10)
    assert numbers(dataset.load(0)[0]) == [[1, 2, 3, 4, *[4] * 6]]
    assert numbers(dataset.load(1)[0])[0][:4] == [1, 2, 3, 4] and numbers(dataset.load(2)[0])[0][:4] == [1, 2, 3, 4]


@pytest.mark.parametrize('list_format, text, images', [
    ('auto', 'v 8 0', [1, 2, 3]),  # from frame 1 to 3, 3 to 5 and 5 to 7; frame 8 has no partner
    ('auto', 'v 9 0', [1, 2, 3, 4]), ('auto', 'v 2 0', [1]), ('auto', 'v.mp4 3 0', list(range(1, 11))),
    ('epic', 'P01,v,5,10,0', [3, 4]), ('epic', 'P01,v,1,21,0', list(range(1, 11))), ('epic', 'P01,v,7,8,0', [4]),
    ('epic', 'P01,v,20,21,0', [10])])
def test_flow_of_every_second_frame_is_counted_in_frames_of_the_video(tmp_path, list_format, text, images):
    for folder in (tmp_path / 'v', tmp_path / 'P01/v'):
        write_flow_pictures(folder, 10)
        (folder / 'flow.json').write_text(json.dumps({'num_flows': 10, 'stride': 2}))
    header = 'participant_id,video_id,start_frame,stop_frame,action_class\n' if list_format == 'epic' else ''
    (tmp_path / 'list.txt').write_text(f'{header}{text}\n')
    dataset = flow_set(tmp_path, new_length=12, list_format=list_format)
    assert numbers(dataset.load(0)[0]) == [[*images, *images[-1:] * (12 - len(images))]]


@pytest.mark.parametrize('first, last', [(1, 22), (0, 22)])
def test_frames_behind_the_last_flow_are_refused(tmp_path, first, last):
    write_flow_pictures(tmp_path / 'P01/v', 10)
    (tmp_path / 'P01/v/flow.json').write_text(json.dumps({'num_flows': 10, 'stride': 2}))
    (tmp_path / 'list.txt').write_text(f'participant_id,video_id,start_frame,stop_frame,action_class\n'
                                       f'P01,v,{first},{last},0\n')
    with pytest.raises(VideoReadError, match=rf'frames 1 to {last} were asked for, it has 1 to 21'):
        flow_set(tmp_path).load(0)


def test_parts_of_a_video_are_cut_by_time_where_extraction_noted_the_rate(moving, stored, tmp_path):
    setting = tmp_path / 'cuts.csv'
    setting.write_text('path,label,start,end\nright/a.mp4,0,0.2,0.5\n')  # at 10 frames a second
    dataset = flow_set(moving / 'flow', setting, new_length=3)
    with VideoReader(moving / 'flow/right/a', modality='flow') as reader:
        np.testing.assert_array_equal(dataset.load_frames(0), reader.read([2, 3, 4]))
    setting.write_text('path,label,start,end\nwalk/a.mp4,0,0.2,0.5\n')
    with pytest.raises(VideoReadError, match='has no frame rate'):
        flow_set(stored, setting).load(0)


# ---------------------------------------------------------------- folders of flow

@pytest.mark.parametrize('decoder', ['auto', 'opencv', 'pillow', 'pyav'])
def test_any_decoder_reads_the_pictures(stored, decoder):
    assert numbers(flow_set(stored, decoder=decoder, new_length=10).load(0)[0]) == [[*range(1, 11)]]


@pytest.mark.parametrize('pattern, given', [('flow_%s_%05d.jpg', None), ('flow_%s_%05d.png', None),
                                            ('%s_%d.bmp', '%s_%d.bmp')])
def test_pictures_of_other_programs_are_read(tmp_path, pattern, given):
    write_flow_pictures(tmp_path / 'v', 3, pattern=pattern)
    (tmp_path / 'list.txt').write_text('v.mp4 0\n')
    assert numbers(flow_set(tmp_path, new_length=3, name_pattern=given).load(0)[0]) == [[1, 2, 3]]


def test_a_jpegs_0_is_read_as_1(tmp_path):
    for axis in 'xy':
        (tmp_path / 'v').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'v' / f'flow_{axis}_00001.png'), np.zeros((8, 8), np.uint8))
    with VideoReader(tmp_path / 'v', modality='flow') as reader:
        assert (reader.read([0]) == 1).all()
    np.savez(tmp_path / 'v' / 'flow.npz', flow=np.full((1, 8, 8, 2), (0, 7), np.uint8))
    with VideoReader(tmp_path / 'v', modality='flow') as reader:
        assert (reader.read([0]) == (1, 7)).all()


def _damage(folder, kind):
    if kind == 'y_missing':
        (folder / 'flow_y_00003.png').unlink()
    elif kind == 'last_y_missing':
        (folder / 'flow_y_00004.png').unlink()
    elif kind == 'empty':
        for path in folder.iterdir():
            path.unlink()
    elif kind == 'no_picture':
        (folder / 'flow_x_00002.png').write_bytes(b'garbage')
    elif kind == 'other_size':
        cv2.imwrite(str(folder / 'flow_x_00002.png'), np.zeros((4, 4), np.uint8))
    elif kind == 'fewer':
        (folder / 'flow.json').write_text(json.dumps({'num_flows': 9}))
    elif kind == 'manifest':
        (folder / 'flow.json').write_text('{')
    elif kind == 'array':
        (folder / 'flow.npz').write_bytes(b'garbage')
    elif kind == 'wrong_array':
        np.savez(folder / 'flow.npz', flow=np.zeros((3, 4, 4, 3), np.uint8))
    elif kind == 'pickle':
        np.savez(folder / 'flow.npz', flow=np.array([{}], object))


@pytest.mark.parametrize('kind, message', [
    ('y_missing', 'frames are missing between its 3: flow_y_00003.png'),
    ('last_y_missing', 'it holds 4 pictures for x and 3 for y'), ('empty', 'no file is named like flow_x_%05d.jpg'),
    ('no_picture', 'flow_x_00002.png is not a picture'), ('other_size', 'another size for x than for y'),
    ('fewer', 'flow.json says 9 images, there are 4'), ('manifest', 'flow.json cannot be read'),
    ('array', 'flow.npz cannot be read'), ('wrong_array', r'must hold flow as uint8 \(T, H, W, 2\)'),
    ('pickle', 'flow.npz cannot be read')])
def test_damaged_flow_is_named_with_what_is_wrong(tmp_path, kind, message):
    _damage(write_flow_pictures(tmp_path / 'v', 4), kind)
    (tmp_path / 'list.txt').write_text('v.mp4 0\n')
    with pytest.raises(VideoReadError, match=rf'/v: .*{message}.*list.txt line 1'):
        flow_set(tmp_path, new_length=4).load(0)


def test_a_file_is_no_flow(tmp_path):
    write_video(tmp_path / 'v.mp4', 2)
    with pytest.raises(VideoReadError, match='is a file; flow is read from a folder'):
        VideoReader(tmp_path / 'v.mp4', modality='flow')


def test_a_pattern_of_flow_needs_an_axis(stored):
    with pytest.raises(UsageError, match='must hold one %s'):
        flow_set(stored, name_pattern='flow_%05d.jpg').load(0)


@pytest.mark.parametrize('options, message', [
    (dict(short_side=8, width=4, height=4), 'short_side must be 0 or more, and 0 beside width'),
    (dict(short_side=-1), 'short_side must be 0'), (dict(modality='audio'), 'modality must be one of rgb, flow')])
def test_readers_refuse_what_cannot_be(stored, options, message):
    with pytest.raises(UsageError, match=message):
        VideoReader(stored / 'walk/a', **{'modality': 'flow', **options})


def test_the_short_side_of_frames_and_flow_can_be_asked_for(stored, moving):
    with VideoReader(stored / 'walk/a', modality='flow', short_side=16) as reader:
        np.testing.assert_array_equal(reader.read([4, 0]), np.broadcast_to([[[[133, 100]]], [[[129, 100]]]],
                                                                           (2, 16, 20, 2)))
    with VideoReader(moving / 'videos/right/a.mp4', short_side=128) as reader, \
            VideoReader(moving / 'videos/right/a.mp4') as native:
        expected = np.stack([cv2.resize(frame, (160, 128)) for frame in native.read([0, 3])])
        np.testing.assert_array_equal(reader.read([0, 3]), expected)


# ---------------------------------------------------------------- by name

def test_presets_look_for_flow_in_a_folder_of_its_own(monkeypatch, tmp_path):
    from gluon_action import data
    monkeypatch.setenv('MXNET_HOME', str(tmp_path))
    for name, place in (('UCF101', 'ucf101'), ('Kinetics400', 'kinetics400'),
                        ('SomethingSomethingV2', 'somethingsomethingv2')):
        for train in (True, False):
            dataset = getattr(data, name)(train=train, modality='flow', lazy_init=True)
            assert dataset.root == f'{tmp_path}/datasets/{place}/flow'


def test_custom_data_are_opened_as_flow(stored):
    dataset = open_dataset('custom', train=False, setting=str(stored / 'list.txt'), data_dir=str(stored),
                           modality='flow', new_width=0, new_height=0)
    clip, label = dataset.load(1)
    assert clip.shape == (1, 2, 32, 40) and dataset.channels == 2 and label == 1
    assert numbers(clip) == [3] and (clip[:, 1] == 100).all()  # the middle one of 4
