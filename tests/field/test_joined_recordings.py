"""Recordings that were joined without being encoded again, and pictures that change in size: what else is true of them.

That every frame comes out right, by every decoder and in both ways of reading, `test_reading` tries.
"""
import importlib.util

import joined_videos
import numpy as np
import pytest
import videos
from timed_videos import write_timed

from gluon_action.data import VideoClsCustom
from gluon_action.data.reading.decoders import pyav_video
from gluon_action.data.reading.stream import FrameStream
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import VideoReadError


def test_times_of_joined_recordings_go_on(tmp_path):
    """Those of the second begin again in the file (FFMS/ffms2#258)."""
    path = joined_videos.joined_transport_streams(tmp_path / 'joined.ts', 0.1)
    with FrameStream(path) as stream:
        seconds = [frame.seconds for frame in stream]
    np.testing.assert_allclose(seconds, np.arange(80) / 25, atol=0.05)
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.seconds, np.arange(80) / 25, atol=0.05)


@pytest.mark.skipif(importlib.util.find_spec('decord') is None, reason='decord is not installed')
def test_decord_leaves_joined_recordings_to_pyav(tmp_path):
    with VideoReader(joined_videos.flv_told_anew(tmp_path / 'two.flv'), decoder='decord') as reader:
        assert reader.decoder == 'pyav' and 'recordings that were joined' in reader.fallback_cause


@pytest.mark.parametrize('kept', [1 << 26, 300_000, 0])  # all; packets, but not all frames; nothing
def test_joined_recordings_are_read_back_and_forth(tmp_path, monkeypatch, kept):
    """A decoder that was told anew how pictures are coded cannot go back (gpac/gpac#2472)."""
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', kept)
    for path in (joined_videos.mp4_with_two_descriptions(tmp_path / 'two.mp4'),
                 joined_videos.flv_told_anew(tmp_path / 'two.flv')):
        with VideoReader(path) as reader:
            for number in (70, 5, 79, 0, 41, 39):
                assert videos.read_barcode(reader.read([number])[0]) == number
        counted = pyav_video.PyavVideo(str(path))
        assert counted.seconds is None  # who begins at a later key frame, by its time, lacks the header
        counted.close()


def test_a_header_that_is_only_repeated_changes_nothing(tmp_path):
    """Encoders of live streams send it with key frames: the file is still read from these on."""
    path = write_timed(tmp_path / 'a.flv', np.arange(40) / 25, options={'g': '10', 'bf': '0', 'sc_threshold': '0'})
    content = path.read_bytes()
    header = next(tag for tag in joined_videos.tags_in(content) if tag[0] == 9 and tag[12] == 0)
    path.write_bytes(joined_videos.with_tag_before(content, header, 21))
    reader = pyav_video.PyavVideo(str(path))
    assert reader.seconds is not None and len(reader) == 40
    assert videos.read_barcode(reader.read([35], np.copy)[0]) == 35
    reader.close()


@pytest.mark.parametrize('kept', [1 << 26, 200_000])
@pytest.mark.parametrize('name', ['a.hevc', 'a.mp4'])
def test_a_frame_near_the_end_leaves_none_behind_for_the_next_read(tmp_path, monkeypatch, name, kept):
    """HEVC's decoder gave the last one again after going back (meta-pytorch/torchcodec#1339).

    With 200 kB no more than ten of its frames are kept, but all packets are.
    """
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', kept)
    path = videos.write_video(tmp_path / name, 60, codec='libx265', options={
        'x265-params': 'keyint=3:bframes=2:log-level=none:pools=1'})
    with VideoReader(path) as reader:
        for number in (58, 10, 59, 0, 30, 1):
            assert videos.read_barcode(reader.read([number])[0]) == number


# ---------------------------------------------------------------- pictures that change in size

@pytest.fixture(scope='module')
def of_two_sizes(tmp_path_factory):
    return joined_videos.of_two_sizes(tmp_path_factory.mktemp('sizes') / 'a.webm')


def test_pictures_of_two_sizes_come_as_they_are(of_two_sizes):
    """meta-pytorch/torchcodec#312, PyAV-Org/PyAV#3"""
    with FrameStream(of_two_sizes) as stream:
        frames = [frame.picture for frame in stream]
    assert [frame.shape[:2] for frame in frames] == [(64, 96)] * 20 + [(96, 64)] * 20
    assert [videos.read_barcode(frame) for frame in frames] == list(range(40))
    with VideoReader(of_two_sizes) as reader:
        for number in range(39, -1, -3):
            assert videos.read_barcode(reader.read([number])[0]) == number
        with pytest.raises(VideoReadError, match='its frames differ in size .64x96 and 96x64.; pass width and height'):
            reader.read([0, 39])


@pytest.mark.parametrize('decoder', ['pyav', 'decord'])
def test_a_clip_of_pictures_of_two_sizes_has_one(of_two_sizes, tmp_path, decoder):
    (tmp_path / 'list.txt').write_text(f'{of_two_sizes} 0\n')
    dataset = VideoClsCustom('', str(tmp_path / 'list.txt'), new_length=40, new_width=72, new_height=60, num_classes=1,
                             decoder=decoder)
    assert [videos.read_barcode(frame) for frame in dataset.load_frames(0)] == list(range(40))
