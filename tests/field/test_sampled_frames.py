"""Which frames are taken: the ends of videos, distances, parts of a second, draws that are not repeated."""
import itertools

import numpy as np
import pytest
import videos
from mxnet.gluon.data.vision.transforms import Compose
from timed_videos import write_timed

from gluon_action.data import VideoClsCustom
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.reading.clip_reader import FramePlan
from gluon_action.data.reading.sampling import dense_starts, sample_rng
from gluon_action.data.reading.stream import FrameStream
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.transforms.video import VideoMultiScaleCrop, VideoToTensor
from gluon_action.errors import VideoReadError


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """2 s at 25 frames a second."""
    return write_timed(tmp_path_factory.mktemp('video') / 'a.mp4', np.arange(50) / 25, options={'g': '10', 'bf': '2'})


@pytest.mark.parametrize('sampling, segments, length, seen', [
    ('consecutive', 7, 1, 21), ('dense', 1, 4, 24), ('spread', 1, 4, 24)])
def test_which_frames_of_24_training_ever_sees(sampling, segments, length, seen):
    """Equal parts of whole frames leave out the remainder at the end, by the protocol (open-mmlab/mmaction2#1048)."""
    plan = FramePlan('train', segments, length, 1, clip_sampling=sampling)
    drawn = {number for epoch in range(300) for number in plan.indices(24, sample_rng(0, epoch, 0))}
    assert drawn == set(range(seen))


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_frames_of_a_clip_lie_as_far_apart_as_the_flag_says(video, tmp_path, mode):
    """By a linspace that includes both ends, a stride of 16 comes to 21 (facebookresearch/SlowFast#176)."""
    (tmp_path / 'list.txt').write_text(f'{video} 0\n')
    dataset = VideoClsCustom('', str(tmp_path / 'list.txt'), train=mode == 'train',
                             test_mode=mode == 'test', plan=FramePlan(mode, 3, 4, 8),
                             new_width=0, new_height=0, num_classes=1)
    clips = np.reshape([videos.read_barcode(frame) for frame in dataset.load_frames(0)], (3, 4))
    assert (np.diff(clips) == 8).all() and len(set(clips[:, 0])) == 3


def test_the_last_of_several_clips_ends_with_the_video():
    """Of PySlowFast's it does not (facebookresearch/SlowFast#169)."""
    assert [dense_starts(100, count, 16, 'test')[-1] for count in (2, 3, 10)] == [84] * 3


@pytest.mark.parametrize('start', [0, 0.02, 0.06, 0.1, 0.5, 0.98])
def test_a_part_of_a_second_has_as_many_frames_wherever_it_begins(video, start):
    """At 25 frames a second from 0.02 s on it had 26 (facebookresearch/pytorchvideo#155)."""
    with VideoReader(video) as reader:
        assert len(reader.frames_between(start, start + 1)) == 25


def test_a_part_before_the_first_picture_is_refused(tmp_path):
    """All of the stream came instead (meta-pytorch/torchcodec#567)."""
    path = write_timed(tmp_path / 'late.mp4', 0.8 + np.arange(20) / 25, sound_seconds=1.6)
    (tmp_path / 'list.csv').write_text('video,start,end,label\nlate.mp4,0,0.5,0\n')
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.csv'), num_classes=1)
    with pytest.raises(VideoReadError, match='the part from 0 s to 0.5 s holds no frame'):
        dataset.load_frames(0)
    with VideoReader(path) as reader:
        assert list(reader.frames_between(0, 0.85)) == [0]


def test_frames_that_a_trimmed_file_hides_are_not_announced(tmp_path):
    """Frames were chosen out of 93, of which 12 are shown (vllm-project/vllm#48608)."""
    whole, _ = videos.make_kind('h264_b_frames', tmp_path)
    path = videos.copy_packets(whole, tmp_path / 'trimmed.mp4', earlier=50 / 25)
    with FrameStream(path) as stream:
        assert stream.num_frames == len(list(stream)) == 10
    with VideoReader(path) as reader:
        assert len(reader) == 10


@pytest.mark.parametrize('suffix', ['mkv', 'flv', 'mp4'])
def test_a_browsers_recording_has_no_1000_frames_a_second(tmp_path, suffix):
    """opencv/opencv-python#322, uploadcare/uploadcare-widget#555: `predict` took seconds for as many windows."""
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.1, 60))
    path = write_timed(tmp_path / f'recorded.{suffix}', times, rate=1000, options={'bf': '0'})
    shown = 59 / (times[-1] - times[0])
    with FrameStream(path) as stream:
        assert stream.fps == pytest.approx(shown, rel=0.05) and abs(stream.num_frames - 60) <= 6
        assert [frame.seconds for frame in stream] == pytest.approx(times - times[0], abs=0.002)
    with VideoReader(path) as reader:
        assert reader.fps == pytest.approx(shown, rel=0.05) and reader.ends == pytest.approx(
            reader.begins + times[-1] - times[0] + 1 / shown, abs=0.01)


def test_a_video_that_is_shorter_than_a_clip_is_not_left_out(tmp_path):
    """torchvision's VideoClips drops it without a word (pytorch/vision#2510)."""
    for number, length in enumerate((2, 20, 1)):
        write_timed(tmp_path / f'{number}.mp4', np.arange(length) / 25)
    (tmp_path / 'list.txt').write_text('0.mp4 0\n1.mp4 1\n2.mp4 0\n')
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), train=False, plan=FramePlan('val', 1, 8, 1),
                             new_width=0, new_height=0)
    assert len(dataset) == 3
    assert [[videos.read_barcode(frame) for frame in dataset.load_frames(index)] for index in (0, 2)] == [
        [0, 1, 1, 1, 1, 1, 1, 1], [0] * 8]


def test_what_is_drawn_is_another_for_each_place_in_a_batch_and_each_epoch(tmp_path):
    """Workers that share a seed draw alike, and again in each epoch (pytorch/pytorch#5059, AlbumentationsX#266)."""
    write_timed(tmp_path / 'a.mp4', np.arange(50) / 25)
    write_timed(tmp_path / 'b.mp4', np.arange(50) / 25)
    (tmp_path / 'list.txt').write_text(''.join(f'{"ab"[number % 2]}.mp4 {number % 2}\n' for number in range(8)))
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), train=True, plan=FramePlan('train', 1, 1, 1),
                             new_width=96, new_height=64, target_width=32, target_height=32,
                             transform=Compose([VideoMultiScaleCrop((32, 32), (1, .75)), VideoToTensor()]))
    loader = VideoLoader(dataset, 4, num_workers=2)
    try:
        batches = [np.array(batch.data) for epoch in range(3) for batch in loader.epoch(epoch)]
    finally:
        loader.close()
    for place in range(4):
        assert all((one[place] != other[place]).any() for one, other in itertools.combinations(batches[::2], 2))
    first = batches[0]
    assert all((one != other).any() for one, other in itertools.combinations(first, 2))


def test_a_list_shorter_than_a_batch_is_one_batch(tmp_path):
    """10 videos at a batch size of 32 were none, and every score NaN (dmlc/gluon-cv#1347)."""
    write_timed(tmp_path / 'a.mp4', np.arange(4) / 25)
    (tmp_path / 'list.txt').write_text('a.mp4 0\n')
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), train=False, num_classes=1, new_width=32,
                             new_height=32)
    assert [len(batch.label) for batch in VideoLoader(dataset, 32).epoch(0)] == [1]
