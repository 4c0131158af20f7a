"""The reader gives the very frame that was asked for, from every kind of file, or says why it cannot."""
from __future__ import annotations

import ctypes
import gc
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import videos
from PIL import Image

from gluon_action.data.loading.workers import WorkerTimeout, call_with_deadline
from gluon_action.data.reading.decoders import pyav_video
from gluon_action.data.reading.media.frame_table import long_file
from gluon_action.data.reading.video_reader import VideoReader, resize
from gluon_action.errors import UsageError, VideoReadError

#: Kinds that decord 0.6.0 reads wrongly or not at all; the reason why it is not the first choice.
NOT_DECORD = {'h264_open_gop', 'h264_transport_stream', 'h264_raw_stream', 'mpeg4_avi_b_frames', 'hevc_open_gop', 'av1',
              'vp8_hidden_frames', 'gif'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('videos')


@pytest.fixture(scope='module')
def video(folder):
    """An ordinary H.264 file of 60 frames, 96x64."""
    return videos.make_kind('h264_b_frames', folder)[0]


def numbers_read(reader: VideoReader, indices) -> list[int]:
    return [videos.read_barcode(frame) for frame in reader.read(indices)]


def any_order(length: int) -> list[int]:
    """Every number in random order, then first and last again, and some twice."""
    order = np.random.default_rng(length).permutation(length).tolist()
    return [*order, 0, length - 1, 0, length // 2, length // 2]


def assert_exact(path: Path, length: int, first: int = 0, **arguments):
    with VideoReader(path, **arguments) as reader:
        assert len(reader) == length
        assert numbers_read(reader, any_order(length)) == [first + i for i in any_order(length)]
        for index in any_order(length)[::7]:
            assert numbers_read(reader, [index]) == [first + index]
    for index in {0, length // 3, length - 1}:  # the first thing that a reader does
        with VideoReader(path, **arguments) as reader:
            assert numbers_read(reader, [index]) == [first + index]


@pytest.mark.parametrize('decoder, kind', [
    *(('auto', kind) for kind in videos.KINDS),
    *(('decord', kind) for kind in videos.KINDS if kind not in NOT_DECORD),
])
def test_every_frame_is_the_one_asked_for(folder, decoder, kind):
    path, length = videos.make_kind(kind, folder)
    assert_exact(path, length, decoder=decoder)


@pytest.mark.parametrize('kind', videos.KINDS)
def test_frames_are_exact_in_files_too_large_to_keep_in_memory(folder, kind, monkeypatch):
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', 0)
    path, length = videos.make_kind(kind, folder)
    with VideoReader(path) as reader:
        for indices in (any_order(length), [0, length - 1], [length // 2]):
            assert numbers_read(reader, indices) == indices


def grown_bytes(action) -> int:
    """Bytes by which this process is larger while what `action` returned lives."""
    def resident():
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is kept now
        return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    before = resident()
    held = action()
    grown = resident() - before
    held.close()
    return grown


def write_large(path: Path, kind: str) -> Path:
    """40 frames: 'packets' of 1.6 MB each, uncompressed; 'frames' that can only be counted by decoding, 0.7 MB each."""
    picture = np.random.default_rng(0).integers(0, 255, (480, 1120 if kind == 'packets' else 1000, 3), np.uint8)
    codec, pix_fmt = ('rawvideo', 'bgr24') if kind == 'packets' else ('libx264', 'yuv420p')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options={'preset': 'ultrafast', 'threads': '1'} if
                                      kind == 'frames' else {})
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], pix_fmt
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24').reformat(format=pix_fmt)
        for number in range(40):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize('kind, name', [('packets', 'large.avi'), ('frames', 'large.h264')])
def test_what_is_kept_in_memory_of_a_file_is_bounded(folder, kind, name, monkeypatch):
    path = write_large(folder / name, kind)
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', 5 << 20)
    assert grown_bytes(lambda: VideoReader(path)) < 12e6
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', 100 << 20)
    pyav_video.known_tables.forget(long_file(str(path)))  # a file that is known is not read to be kept
    assert grown_bytes(lambda: VideoReader(path)) > 25e6  # it would be seen


@pytest.mark.parametrize('kind', ['h264_b_frames', 'h264_raw_stream'])
def test_a_small_file_is_read_once(tmp_path, kind, monkeypatch):
    path, _ = videos.make_kind(kind, tmp_path)
    with VideoReader(path) as reader:
        path.unlink()
        if kind == 'h264_raw_stream':  # all of its frames were decoded to count them
            monkeypatch.setattr(pyav_video.PyavVideo, '_decode', None)
        for numbers in ([59, 3], [17], [0, 30]):
            assert numbers_read(reader, numbers) == numbers


def test_shrunk_frames_are_never_in_memory_together_at_full_size(folder, monkeypatch):
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', 0)

    def peak():
        return int(re.search(r'VmHWM:\s*(\d+)', Path('/proc/self/status').read_text())[1]) << 10
    with VideoReader(write_large(folder / 'shrunk.avi', 'packets'), width=8, height=8) as reader:
        reader.read([0, 39])
        Path('/proc/self/clear_refs').write_text('5')  # forget the peak so far
        before = peak()
        assert reader.read(range(40)).shape == (40, 8, 8, 3)
        assert peak() - before < 16e6  # at full size they are 64e6


def test_decord_gives_a_few_frames_at_a_time(video):
    tracemalloc.start()
    try:
        with VideoReader(video, decoder='decord', width=8, height=8) as reader:
            reader.read([0])
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            assert len(reader.read(range(60))) == 60
            assert tracemalloc.get_traced_memory()[1] - before < 40 * 96 * 64 * 3
    finally:
        tracemalloc.stop()


def test_b_frames_packed_into_one_packet_are_told_apart(folder):
    assert_exact(videos.write_packed_avi(folder / 'packed.avi'), 60)


def test_frames_hidden_by_an_edit_list_do_not_count(folder, video):
    assert_exact(videos.copy_packets(video, folder / 'edit.mp4', earlier=7 / 25), 53, first=7)


@pytest.mark.parametrize('kind, suffix, length, first', [
    ('h264_open_gop', 'mkv', 42, 18), ('hevc_open_gop', 'mp4', 44, 16), ('hevc_open_gop', 'mkv', 44, 16),
    ('mpeg4_avi_b_frames', 'avi', 45, 15), ('mpeg4_avi_b_frames', 'mkv', 45, 15)])
def test_a_file_cut_between_frames_that_need_each_other_starts_where_decoding_does(folder, kind, suffix, length, first):
    source, _ = videos.make_kind(kind, folder)
    assert_exact(videos.copy_packets(source, folder / f'cut_{kind}.{suffix}', first_key=2), length, first)


def test_a_broadcast_joined_in_the_middle_starts_where_decoding_does(folder):
    whole = videos.make_kind('h264_transport_stream', folder)[0].read_bytes()
    joined = folder / 'joined.ts'
    joined.write_bytes(whole[len(whole) // 188 // 3 * 188:])
    assert_exact(joined, 41, first=19)
    whole = videos.write_video(folder / 'plain.ts', 60, options={'bf': '0', 'g': '12'}).read_bytes()
    joined.write_bytes(whole[len(whole) // 188 // 3 * 188:])
    assert_exact(joined, 36, first=24)


def test_threads_do_not_change_the_frames(video):
    with VideoReader(video) as one, VideoReader(video, num_threads=4) as four:
        assert (one.read(any_order(60)) == four.read(any_order(60))).all()


@pytest.mark.parametrize('kind', ['h264_b_frames', 'h264_odd_size', 'mpeg4_avi', 'vp9_webm'])
def test_both_decoders_give_the_same_pixels(folder, kind):
    path, _ = videos.make_kind(kind, folder)
    with VideoReader(path) as ours, VideoReader(path, decoder='decord') as theirs:
        assert ours.decoder == 'pyav' and theirs.decoder == 'decord'
        difference = abs(ours.read(range(30)).astype(int) - theirs.read(range(30)))
        # VP9 alone differs, and only in rounding: decord's FFmpeg is older
        assert difference.max() <= (2 if kind == 'vp9_webm' else 0)
        assert ours.fps == theirs.fps == 25


@pytest.mark.parametrize('kind', ['h264_b_frames', 'h264_transport_stream', 'mpeg4_avi', 'mpeg4_avi_b_frames', 'gif',
                                  'h264_raw_stream', 'h264_one_frame'])
def test_times_of_frames_begin_at_0_whatever_the_file_says(folder, kind):
    path, num_frames = videos.make_kind(kind, folder)
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.seconds, np.arange(num_frames) / 25, atol=1e-3)


def test_both_decoders_turn_what_a_phone_filmed_upright(folder, video):
    upright = videos.rotate_by_header(Path(shutil.copy(video, folder / 'upright.mp4')))
    with VideoReader(upright) as ours, VideoReader(upright, decoder='decord') as theirs:
        assert ours.read([5]).shape == (1, 96, 64, 3)
        assert (ours.read([5, 40]) == theirs.read([5, 40])).all()
    with VideoReader(video) as lying:
        assert (np.rot90(lying.read([5])[0], -1) == VideoReader(upright).read([5])[0]).all()


@pytest.mark.parametrize('decoder', ['pyav', 'decord'])
@pytest.mark.parametrize('size', [(340, 256), (50, 40)])
def test_frames_are_resized_as_opencv_does(video, decoder, size):
    with VideoReader(video, decoder=decoder) as native, \
            VideoReader(video, decoder=decoder, width=size[0], height=size[1]) as resized:
        expected = np.stack([cv2.resize(frame, size) for frame in native.read([3, 59])])
        assert (resized.read([3, 59]) == expected).all()


@pytest.mark.parametrize('size', [(340, 256), (50, 40), (96, 64), (7, 90), (1, 1)])
def test_resizing_without_opencv_differs_by_rounding_only(size, monkeypatch):
    frame = videos.barcode_frame(1234, 96, 64)
    expected = resize(frame, *size)
    monkeypatch.setitem(sys.modules, 'cv2', None)
    ours = resize(frame, *size)
    assert ours.dtype == np.uint8 and ours.shape == (size[1], size[0], 3)
    assert abs(ours.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize('decoder', ['auto', 'opencv', 'pillow'])
def test_a_folder_is_read_by_its_numbers(tmp_path, first, decoder):
    videos.write_frames(tmp_path, range(first, first + 12))
    for name in ('notes.txt', 'img_00099.jpg.bak', 'img_00098.jpeg', 'my_img_00097.jpg', 'img_97.jpg'):
        (tmp_path / name).write_text('not a frame')
    with VideoReader(tmp_path, decoder=decoder) as reader:
        assert reader.decoder == ('opencv' if decoder == 'auto' else decoder)
        assert len(reader) == 12 and reader.fps is None and reader.seconds is None
        assert numbers_read(reader, [11, 0, 5, 5]) == [first + 11, first, first + 5, first + 5]


def test_opencv_and_pillow_give_the_same_pixels(tmp_path):
    videos.write_frames(tmp_path, range(1, 4), pattern='%06d.png')
    arguments = dict(name_pattern='%06d.png', width=50, height=40)
    with VideoReader(tmp_path, decoder='opencv', **arguments) as one, \
            VideoReader(tmp_path, decoder='pillow', **arguments) as other:
        assert (one.read([0, 1, 2]) == other.read([0, 1, 2])).all()


@pytest.mark.parametrize('decoder', ['opencv', 'pillow'])
def test_a_picture_of_a_phone_held_upright_is_turned(tmp_path, decoder):
    picture = Image.fromarray(videos.barcode_frame(9, 96, 64))
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned by a quarter, clockwise
    picture.save(tmp_path / 'img_00001.jpg', exif=orientation, quality=95)
    with VideoReader(tmp_path, decoder=decoder) as reader:
        frame = reader.read([0])[0]
    assert frame.shape == (96, 64, 3) and videos.read_barcode(np.rot90(frame)) == 9


def test_a_folder_beyond_its_padding_keeps_its_order(tmp_path):
    videos.write_frames(tmp_path, range(1, 13), pattern='f%01d.jpg')
    with VideoReader(tmp_path, name_pattern='f%01d.jpg') as reader:
        assert numbers_read(reader, range(12)) == list(range(1, 13))


def test_a_name_may_hold_a_percent_sign(tmp_path):
    videos.write_frames(tmp_path, range(1, 4), pattern='100%%_%05d.jpg')
    with VideoReader(tmp_path, name_pattern='100%_%05d.jpg') as reader:
        assert numbers_read(reader, range(3)) == [1, 2, 3]


def test_folders_go_to_pillow_where_opencv_cannot_be_loaded(tmp_path, monkeypatch):
    videos.write_frames(tmp_path, range(1, 4))
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with VideoReader(tmp_path, width=48, height=32) as reader:
        assert reader.decoder == 'pillow' and 'opencv-python-headless' in reader.fallback_cause
        assert numbers_read(reader, [2]) == [3]


@pytest.mark.parametrize('numbers, words', [
    ((1, 2, 5, 6), 'frames are missing between its 4: img_00003.jpg, img_00004.jpg$'),
    ((*range(1, 3), *range(10, 12)), 'img_00003.jpg, img_00004.jpg, img_00005.jpg and 4 more'),
    ((4, 5), 'img_00001.jpg, img_00002.jpg, img_00003.jpg$'),
    ((), 'no file is named like img_%05d.jpg; the folder is empty'),
])
def test_a_folder_with_gaps_says_which_frames_are_missing(tmp_path, numbers, words):
    videos.write_frames(tmp_path, numbers)
    with pytest.raises(VideoReadError, match=words) as caught:
        VideoReader(tmp_path)
    assert caught.value.path == str(tmp_path) and caught.value.decoder == 'opencv'


def test_a_folder_with_other_names_says_what_it_holds(tmp_path):
    videos.write_frames(tmp_path, (1, 2), pattern='frame%03d.png')
    with pytest.raises(VideoReadError, match='it holds 2 others, such as frame001.png'):
        VideoReader(tmp_path)
    with pytest.raises(UsageError, match="'img.jpg' must hold one number"):
        VideoReader(tmp_path, name_pattern='img.jpg')


@pytest.mark.parametrize('decoder', ['opencv', 'pillow'])
def test_a_damaged_picture_is_named(tmp_path, decoder):
    videos.write_frames(tmp_path, (1, 2))
    (tmp_path / 'img_00002.jpg').write_bytes(b'nothing')
    with VideoReader(tmp_path, decoder=decoder) as reader, pytest.raises(VideoReadError, match='img_00002.jpg is not'):
        reader.read([1])


def test_pictures_of_different_sizes_need_one_size(tmp_path):
    videos.write_frames(tmp_path, (1,))
    videos.write_frames(tmp_path, (2,), size=(64, 48))
    words = '64x48 and 96x64.; pass width and height'
    with VideoReader(tmp_path) as reader, pytest.raises(VideoReadError, match=words):
        reader.read([0, 1])
    with VideoReader(tmp_path, width=32, height=32) as reader:
        assert numbers_read(reader, [1, 0]) == [2, 1]


CAUSES = {
    'missing': 'does not exist', 'empty': r'is empty \(0 bytes\)', 'garbage': 'not a video of any known format',
    'moov_missing': r'index \(moov\) is missing or broken: it was cut short',
    'audio_only': 'no video stream, only audio',
    'data_cut': 'breaks after 3[0-9] frames of the 60 that it announces: it was cut short',
    'zero_frames': 'its video stream holds no frame',
}


@pytest.mark.parametrize('kind', videos.BROKEN)
def test_a_broken_file_has_a_cause_in_words(tmp_path, kind):
    path = videos.make_broken(kind, tmp_path)
    with pytest.raises(VideoReadError, match=CAUSES[kind]) as caught:
        VideoReader(path)
    assert caught.value.path == str(path) and str(path) in str(caught.value)
    with pytest.raises(VideoReadError):
        VideoReader(path, decoder='decord').read([0])


def test_how_much_of_a_file_is_whole_is_told(tmp_path):
    path = videos.make_broken('data_cut', tmp_path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    whole = next(number for number, packet in enumerate(packets) if packet.is_corrupt)
    with pytest.raises(VideoReadError, match=f'breaks after {whole} frames of the 60 that it announces'):
        VideoReader(path)


def test_the_causes_of_broken_files_are_distinct(tmp_path):
    causes = set()
    for kind in videos.BROKEN:
        with pytest.raises(VideoReadError) as caught:
            VideoReader(videos.make_broken(kind, tmp_path))
        causes.add(caught.value.cause)
    assert len(causes) == len(videos.BROKEN)


def test_a_song_with_a_cover_is_no_video(tmp_path):
    with pytest.raises(VideoReadError, match='has no video stream, only audio and cover picture'):
        VideoReader(videos.write_song_with_cover(tmp_path / 'song.mp3'))


def test_damage_inside_a_file_is_confined_to_what_it_hits(tmp_path, caplog):
    path = videos.write_video(tmp_path / 'damaged.mp4', 60, options={'g': '12', 'bf': '2'})
    content = bytearray(path.read_bytes())
    content[len(content) // 2:len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert numbers_read(reader, [0, 10, 59]) == [0, 10, 59]
        with pytest.raises(VideoReadError, match=r'frame 3[0-9] of 0 to 59 cannot be decoded \(Invalid data'), \
                caplog.at_level(logging.WARNING):
            reader.read(range(60))
    assert 'damaged, parts of' in caplog.text


class _Damaged:
    """A frame of which parts are missing."""

    is_corrupt, key_frame, rotation, side_data = True, False, 0, ()

    def __init__(self, frame):
        self.frame, self.pts = frame, frame.pts


@pytest.mark.parametrize('always', [False, True])
def test_a_frame_that_comes_out_damaged_is_decoded_again_from_the_start(video, monkeypatch, caplog, always):
    """Its key frame may have been none; from the start of the file it may come out whole."""
    run, picture_of = pyav_video.PyavVideo._decode_run, pyav_video.upright

    def damaged_run(self, packets, first, last, wanted=frozenset()):
        for frame in run(self, packets, first, last, wanted):
            yield _Damaged(frame) if always or first > 0 else frame

    def half_black(frame, *rest):
        if not isinstance(frame, _Damaged):
            return picture_of(frame, *rest)
        return picture_of(frame.frame, *rest) // 2
    with VideoReader(video) as reader:
        expected = reader.read([2, 40, 59])
    monkeypatch.setattr(pyav_video.PyavVideo, '_decode_run', damaged_run)
    monkeypatch.setattr(pyav_video, 'upright', half_black)
    with caplog.at_level(logging.WARNING), VideoReader(video) as reader:
        frames = reader.read([2, 40, 59])
    assert (frames == (expected // 2 if always else expected)).all()
    told = [record.getMessage() for record in caplog.records]
    assert told == [f'{video}: frames 2, 40, 59 are damaged, parts of them are guessed'] * always


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read anything')
def test_a_file_that_may_not_be_read_says_so(tmp_path, video):
    locked = Path(shutil.copy(video, tmp_path / 'locked.mp4'))
    locked.chmod(0)
    with pytest.raises(VideoReadError, match='permission denied'):
        VideoReader(locked)


def test_auto_falls_back_to_decord_and_records_why(video, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, 'av', None)
    with caplog.at_level(logging.WARNING), VideoReader(video) as reader:
        assert reader.decoder == 'decord'
        assert numbers_read(reader, [59, 0]) == [59, 0]
        assert 'pyav: av cannot be loaded' in reader.fallback_cause and 'pip install av' in reader.fallback_cause
    assert reader.fallback_cause in caplog.text and str(video) in caplog.text
    with pytest.raises(VideoReadError, match='cannot be read by pyav: av cannot be loaded'):
        VideoReader(video, decoder='pyav')
    monkeypatch.setitem(sys.modules, 'decord', None)
    with pytest.raises(VideoReadError, match='pyav, decord: pyav: av cannot.*; decord: decord cannot') as caught:
        VideoReader(video)
    assert caught.value.decoder == 'pyav, decord'


def test_a_decoder_that_was_named_and_is_not_installed_is_not_replaced(video, monkeypatch):
    monkeypatch.setitem(sys.modules, 'decord', None)
    with pytest.raises(UsageError, match='by decord, as was asked: decord cannot .*; pip install decord'):
        VideoReader(video, decoder='decord')


@pytest.mark.parametrize('call, words', [
    (lambda path: VideoReader(path, decoder='vlc'), "unknown decoder 'vlc'; there are auto, pyav, decord, opencv"),
    (lambda path: VideoReader(path, width=340), 'both be given or both be 0, got 340 and 0'),
    (lambda path: VideoReader(path, decoder='pillow'), 'is a file, which pillow does not read; use auto, pyav'),
    (lambda path: VideoReader(path.parent, decoder='decord'), 'is a folder, which decord does not read'),
    (lambda path: VideoReader(path).read([]), 'no frame was asked for'),
])
def test_arguments_that_cannot_be_are_named(video, call, words):
    with pytest.raises(UsageError, match=words):
        call(video)


@pytest.mark.parametrize('index', [-1, 60])
def test_a_frame_outside_the_video_is_refused(video, index):
    words = f'frame {index} was asked for, it has 0 to 59'
    with VideoReader(video) as reader, pytest.raises(VideoReadError, match=words):
        reader.read([5, index])


def test_mxnet_can_be_loaded_after_decord(video):
    program = f"""if True:
        import sys
        from gluon_action.data.reading.video_reader import VideoReader
        sys.path.insert(0, {os.path.dirname(videos.__file__)!r})
        from videos import read_barcode
        read = lambda number: read_barcode(VideoReader({str(video)!r}, decoder='decord').read([number])[0])
        print(read(3), 'mxnet' in sys.modules)
        import mxnet
        print(float(mxnet.nd.ones(3).sum().asscalar()), read(4))"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '3 False\n3.0 4\n'), done.stderr


def test_readers_let_go_of_their_files(video):
    def open_files():
        return len(os.listdir('/proc/self/fd'))
    with VideoReader(video) as reader:
        reader.read([0])
    before = open_files()
    for decoder in ('pyav', 'decord'):
        for _ in range(20):
            with VideoReader(video, decoder=decoder) as reader:
                reader.read([30])
    assert open_files() <= before + 1


def test_a_decoder_that_hangs_is_given_up_at_the_deadline(tmp_path):
    pipe = tmp_path / 'endless.mp4'
    os.mkfifo(pipe)  # opening it waits for a writer that never comes
    start = time.monotonic()
    with pytest.raises(WorkerTimeout):
        call_with_deadline(VideoReader, pipe, timeout=1)
    assert time.monotonic() - start < 8


def test_errors_come_out_of_the_deadline_unchanged(tmp_path):
    path = videos.make_broken('garbage', tmp_path)
    with pytest.raises(VideoReadError) as direct:
        VideoReader(path)
    with pytest.raises(VideoReadError) as timed:
        call_with_deadline(VideoReader, path, timeout=30)
    assert str(timed.value) == str(direct.value)
