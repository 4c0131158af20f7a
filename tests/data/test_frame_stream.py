"""A stream gives every frame once, in order and with its time, whatever is wrong with some, and ends cleanly."""
from __future__ import annotations

import contextlib
import gc
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import videos

from gluon_action.data.reading import stream as frame_stream
from gluon_action.data.reading.stream import FrameStream
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import UsageError, VideoReadError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('streams')


@pytest.fixture(scope='module')
def video(folder):
    """An ordinary H.264 file of 60 frames, 96x64, 25 a second."""
    return videos.make_kind('h264_b_frames', folder)[0]


def streamed(path: Path, **arguments) -> tuple[list[int], list[float], list[int], FrameStream]:
    """Numbers that the stream says, times, numbers that the pictures carry, and the stream."""
    with FrameStream(path, **arguments) as stream:
        frames = list(stream)
    return ([frame.number for frame in frames], [round(frame.seconds, 3) for frame in frames],
            [videos.read_barcode(frame.picture) for frame in frames], stream)


@pytest.mark.parametrize('kind', [kind for kind in videos.KINDS if kind != 'av1'])
def test_every_frame_comes_once_in_order_and_on_time(folder, kind):
    path, length = videos.make_kind(kind, folder)
    numbers, seconds, carried, stream = streamed(path)
    assert numbers == carried == list(range(length))
    assert seconds == [round(number / 25, 3) for number in range(length)]
    assert stream.skipped == [] and stream.dropped == 0 and stream.fps == 25
    assert stream.num_frames == (None if kind == 'h264_raw_stream' else length)


def test_b_frames_packed_into_one_packet_are_told_apart(folder):
    numbers, _, carried, stream = streamed(videos.write_packed_avi(folder / 'packed.avi'))
    assert numbers == carried == list(range(60)) and not stream.skipped


@pytest.mark.parametrize('kind, suffix', [
    ('h264_open_gop', 'mkv'), ('hevc_open_gop', 'mp4'), ('mpeg4_avi_b_frames', 'avi')])
def test_numbers_are_those_of_the_reader_in_a_file_that_was_cut(folder, kind, suffix):
    cut = videos.copy_packets(videos.make_kind(kind, folder)[0], folder / f'cut_{kind}.{suffix}', first_key=2)
    numbers, seconds, carried, stream = streamed(cut)
    with VideoReader(cut) as reader:
        assert carried == [videos.read_barcode(frame) for frame in reader.read(numbers)]
        assert len(numbers) == len(reader)
    assert seconds[0] == 0 and not stream.skipped


def test_frames_hidden_by_an_edit_list_do_not_count(folder, video):
    numbers, seconds, carried, stream = streamed(videos.copy_packets(video, folder / 'edit.mp4', earlier=7 / 25))
    assert (numbers, carried) == (list(range(53)), list(range(7, 60))) and seconds[:2] == [0, 0.04]
    assert not stream.skipped


@pytest.mark.parametrize('options', [{'bf': '0', 'g': '10', 'crf': '18'}, {'bf': '2', 'g': '10', 'crf': '18'}])
def test_frames_that_cannot_be_decoded_are_left_out_and_the_others_keep_number_and_time(folder, options):
    good = videos.write_video(folder / f'good{options["bf"]}.mp4', 60, options=options)
    bad = videos.overwrite_packets(good, folder / f'bad{options["bf"]}.mp4', {20, 21, 22})
    numbers, seconds, carried, stream = streamed(bad)
    mended = range(20, 24)  # what refers to them and came out all the same is the decoder's guess
    assert [number for number in carried if number not in mended][-36:] == list(range(24, 60))
    assert numbers[:19] == carried[:19] == list(range(19)) and len(numbers) == 57
    assert seconds == [round(number / 25, 3) for number in numbers]
    assert sorted([*numbers, *(frame.number for frame in stream.skipped)]) == list(range(60))
    assert all(round(frame.seconds, 3) == round(frame.number / 25, 3) and frame.cause for frame in stream.skipped)


@pytest.mark.parametrize('lost', [7, 0, 29])
def test_damage_to_a_key_frame_costs_no_more_than_the_frames_up_to_the_next(folder, lost):
    good = videos.write_video(folder / 'good_intra.avi', 30, codec='mjpeg', pix_fmt='yuvj420p')
    bad = videos.overwrite_packets(good, folder / 'bad_intra.avi', {lost}, bytes(10))
    numbers, seconds, carried, stream = streamed(bad)
    assert numbers == carried == [number for number in range(30) if number != lost]
    assert seconds == [number / 25 for number in numbers] and [frame.number for frame in stream.skipped] == [lost]


def test_a_file_that_was_cut_short_gives_what_it_holds_and_says_so(folder):
    numbers, _, carried, stream = streamed(videos.make_broken('data_cut', folder))
    assert numbers == carried == list(range(len(numbers))) and len(numbers) > 20
    assert len(stream.skipped) == 1 and 'cut short' in stream.skipped[0].cause


@pytest.mark.parametrize('kind', [kind for kind in videos.BROKEN if kind != 'data_cut'])
def test_what_holds_no_frame_is_an_error_that_names_the_file(folder, kind):
    path = videos.make_broken(kind, folder)
    with pytest.raises(VideoReadError, match=str(path)):
        streamed(path)


def write_at_times(path: Path, times) -> Path:
    """A video whose frames are shown at these milliseconds."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'threads': '1', 'bf': '2', 'g': '12'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(videos.barcode_frame(number, 96, 64), format='rgb24')
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_of_a_variable_rate_have_their_own_times(folder):
    times = [0, 33, 66, 500, 540, 1500, 1517, 1534, 3000]
    numbers, seconds, carried, _ = streamed(write_at_times(folder / 'phone.mp4', times))
    assert numbers == carried == list(range(9))
    np.testing.assert_allclose(seconds, np.array(times) / 1000, atol=0.0011)


def test_a_video_of_a_phone_held_upright_is_turned(folder, video):
    turned = folder / 'turned.mp4'
    turned.write_bytes(video.read_bytes())
    with FrameStream(videos.rotate_by_header(turned)) as stream, VideoReader(turned) as reader:
        picture = next(stream).picture
        assert picture.shape == (96, 64, 3) and picture.flags.c_contiguous
        assert (picture == reader.read([0])[0]).all()


@pytest.mark.parametrize('resize', [{'short_side': 32}, {'width': 40, 'height': 30}, {}])
def test_pictures_are_those_of_the_reader(folder, video, resize):
    with FrameStream(video, resize=resize) as stream, VideoReader(video, **resize) as reader:
        assert (np.stack([frame.picture for frame in stream]) == reader.read(range(60))).all()


def test_a_time_without_units_is_counted_with_the_given_rate(folder):
    _, seconds, _, stream = streamed(videos.make_kind('h264_raw_stream', folder)[0], fps=50)
    assert stream.fps == 50 and seconds[:3] == [0, 0.02, 0.04] and len(seconds) == 60


@pytest.mark.parametrize('pattern', ['frame_%010d.jpg', 'img_%05d.png', '%d.bmp', 'a10_%d_x.jpg'])
def test_pictures_of_a_folder_come_in_natural_order(tmp_path, pattern):
    videos.write_frames(tmp_path, range(7, 13), pattern=pattern)
    (tmp_path / 'notes.txt').write_text('no picture')
    numbers, seconds, carried, stream = streamed(tmp_path)
    assert numbers == list(range(6)) and carried == list(range(7, 13)) and stream.num_frames == 6
    assert seconds == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert streamed(tmp_path, fps=60)[1][:2] == [0, round(1 / 60, 3)]


def test_a_damaged_picture_of_a_folder_is_left_out(tmp_path):
    videos.write_frames(tmp_path, range(1, 6))
    (tmp_path / 'img_00003.jpg').write_bytes(b'no picture')
    numbers, seconds, carried, stream = streamed(tmp_path)
    assert numbers == [0, 1, 3, 4] and carried == [1, 2, 4, 5] and seconds == [0, 0.04, 0.12, 0.16]
    assert [(frame.number, frame.seconds) for frame in stream.skipped] == [(2, 0.08)]
    assert 'img_00003.jpg' in stream.skipped[0].cause


@pytest.mark.parametrize('numbers, missing', [([*range(1, 6), *range(9, 12)], 3), (range(0, 50, 5), 0),
                                              ([0, 5, 10, 20], 1), ([7], 0), (range(1, 4), 0)])
def test_numbers_that_are_missing_in_a_folder_are_told(tmp_path, caplog, numbers, missing):
    videos.write_frames(tmp_path, numbers)
    with caplog.at_level('WARNING'):
        assert streamed(tmp_path)[0] == list(range(len(numbers)))
    assert (f'{missing} pictures are missing between its {len(numbers)}' in caplog.text) == bool(missing)


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / 'notes.txt').write_text('no picture')
    with pytest.raises(VideoReadError, match=r'holds no pictures .*only 1 others, such as notes\.txt'):
        FrameStream(tmp_path)


def test_frames_that_nobody_wants_are_not_converted(video, tmp_path, monkeypatch):
    from gluon_action.data.reading import stream_inputs as frame_sources
    converted = []
    convert = frame_sources.upright
    monkeypatch.setattr(frame_sources, 'upright', lambda frame, *rest: converted.append(1) or convert(frame, *rest))
    numbers, seconds, carried, _ = streamed(video, wanted=lambda number: number % 10 == 3)
    assert numbers == carried == [3, 13, 23, 33, 43, 53] and seconds[0] == 0.12 and len(converted) == 6
    videos.write_frames(tmp_path, range(5), pattern='%d.jpg')
    (tmp_path / '1.jpg').write_bytes(b'no picture')
    numbers, _, carried, stream = streamed(tmp_path, wanted=lambda number: number != 1)
    assert numbers == carried == [0, 2, 3, 4] and not stream.skipped
    for source in (video, tmp_path):  # it holds frames, if none that is wanted
        assert streamed(source, wanted=lambda number: False)[0] == []


def test_an_error_of_the_callers_own_function_reaches_the_caller(video):
    def wanted(number):
        raise KeyError('mine')
    for wait in (False, True):
        with FrameStream(video, wanted=wanted) as stream, pytest.raises(KeyError, match='mine'):
            if wait:
                for thread in decoding_threads():
                    thread.join(10)
            next(stream)


def test_an_error_that_comes_after_the_end_reaches_nobody(video):
    asked, closing = threading.Event(), threading.Event()

    def wanted(number):
        asked.set()
        closing.wait()
        raise KeyError('too late')
    stream = FrameStream(video, wanted=wanted)
    assert asked.wait(10)
    threading.Timer(0.1, closing.set).start()
    stream.close()
    assert list(stream) == []


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith('frames of')]


def test_closing_ends_a_thread_that_waits_for_room(video):
    stream = FrameStream(video, queue=2)
    next(stream)
    time.sleep(0.1)  # now the queue is full
    start = time.monotonic()
    stream.close()
    assert time.monotonic() - start < 0.5 and not decoding_threads()
    assert list(stream) == []
    stream.close()


def test_a_forgotten_stream_leaves_no_thread(video):
    stream = FrameStream(video, queue=2)
    next(stream)
    assert decoding_threads()
    del stream
    gc.collect()
    assert not decoding_threads()


def test_a_program_that_stops_in_the_middle_ends_at_once(video):
    code = ('import sys\nfrom gluon_action.data.reading.stream import FrameStream\n'
            'stream = FrameStream(sys.argv[1], queue=2)\nprint(next(stream).number)')
    answer = subprocess.run([sys.executable, '-c', code, str(video)], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, '0\n', '')


def test_the_thread_decodes_no_further_ahead_than_the_queue_holds(video, monkeypatch):
    asked = []
    with FrameStream(video, queue=3, wanted=lambda number: asked.append(number) or True) as stream:
        time.sleep(0.2)
        assert len(asked) <= 4
        assert len(list(stream)) == 60
    del asked[:]
    monkeypatch.setattr(frame_stream, 'QUEUE_BYTES', 2 * 96 * 64 * 3)
    with FrameStream(video, wanted=lambda number: asked.append(number) or True) as stream:
        time.sleep(0.2)
        assert len(asked) <= 3
        for _ in range(30):
            next(stream)
        until = time.monotonic() + 10
        while len(asked) < 33 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(asked) == 33  # no fewer later on, either
        assert len(list(stream)) == 30


def test_memory_stays_flat_over_thousands_of_frames(folder):
    path = folder / 'long.avi'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mjpeg', rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuvj420p'
        frame = av.VideoFrame.from_ndarray(videos.barcode_frame(5, 160, 120), format='rgb24')
        packet = bytes((stream.encode(frame) + stream.encode())[0])
        for number in range(6000):  # 345 MB of pictures
            fresh = av.Packet(packet)
            fresh.pts = fresh.dts = number
            fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 25), stream, True
            container.mux(fresh)

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FrameStream(path, queue=16) as stream:
        for frame in stream:
            if frame.number == 500:
                before = peak()
        assert frame.number == 5999
    assert peak() - before < 8 << 10  # KiB


@pytest.mark.parametrize('queue, bytes', [(5, 1 << 30), (64, 5.5 * 96 * 64 * 3)])
def test_a_live_source_hands_out_the_latest_frames_and_counts_the_others(tmp_path, monkeypatch, queue, bytes):
    monkeypatch.setattr(frame_stream, 'QUEUE_BYTES', bytes)
    pipe = tmp_path / 'camera'
    os.mkfifo(pipe)
    feed = threading.Thread(target=lambda: pipe.write_bytes(
        videos.make_kind('h264_transport_stream', tmp_path)[0].read_bytes()), daemon=True)
    feed.start()
    with FrameStream(pipe, live=True, queue=queue) as stream:
        feed.join(10)
        time.sleep(0.3)
        frames = list(stream)
    assert [frame.number for frame in frames] == list(range(55, 60)) and stream.dropped == 55
    assert [videos.read_barcode(frame.picture) for frame in frames] == list(range(55, 60))
    assert round(frames[0].seconds, 3) == 2.2


def test_ctrl_c_ends_waiting_for_standard_input_that_sends_nothing():
    code = """import threading, os, signal
from gluon_action.data.reading.stream import FrameStream
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    FrameStream('-')
except KeyboardInterrupt:
    print('ended')
"""
    with subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        try:
            program.wait(30)
            assert program.stdout.read() == b'ended\n'
        finally:
            program.kill()


def test_a_video_comes_through_standard_input(folder):
    content = videos.make_kind('h264_transport_stream', folder)[0].read_bytes()
    code = "from gluon_action.data.reading.stream import FrameStream\nprint(len(list(FrameStream('-'))))"
    answer = subprocess.run([sys.executable, '-c', code], input=content, capture_output=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (0, b'60\n'), answer.stderr


@contextlib.contextmanager
def served(content: bytes, length: int | None = None) -> Iterator[str]:
    """Address of a server that has `content` at /x.ts and announces `length` bytes of it."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == '/x.ts' else 404)
            self.send_header('Content-Length', str(length or len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def log_message(self, *arguments):
            """Say nothing."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


def test_a_video_comes_from_an_address(folder):
    content = videos.make_kind('h264_transport_stream', folder)[0].read_bytes()
    with served(content) as address:
        assert streamed(address + 'x.ts')[0] == list(range(60))
        with pytest.raises(VideoReadError, match='nothing.mp4: cannot be read by pyav: cannot be opened'):
            FrameStream(address + 'nothing.mp4')


def test_a_connection_that_breaks_is_an_error_of_a_live_source_and_an_end_of_another(folder):
    content = videos.make_kind('h264_transport_stream', folder)[0].read_bytes()
    with served(content, 2 * len(content)) as address:
        numbers, _, _, stream = streamed(address + 'x.ts')
        assert len(numbers) >= 59 and 'ends or breaks here' in stream.skipped[-1].cause
        got = []
        with FrameStream(address + 'x.ts', live=True) as live, pytest.raises(VideoReadError, match='connection broke'):
            for frame in live:
                got.append(frame.number)
        assert got == numbers


def test_an_address_that_does_not_answer_is_given_up():
    import socket
    with socket.create_server(('127.0.0.1', 0)) as server:
        start = time.monotonic()
        with pytest.raises(VideoReadError, match='cannot be opened'):
            FrameStream(f'http://127.0.0.1:{server.getsockname()[1]}/x.mp4', timeout=0.3)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize('arguments, message', [
    ({'queue': 0}, 'queue must be 1 or more frames, got 0'), ({'fps': 0}, 'fps must be a number above 0'),
    ({'resize': {'width': 3}}, "got {'width': 3}"), ({'resize': {'short_side': 0}}, 'integers of 1 or more'),
    ({'live': True}, 'is a file, which waits')])
def test_arguments_that_cannot_be_are_refused(video, arguments, message):
    with pytest.raises(UsageError, match=message):
        FrameStream(video, **arguments)


def test_pillow_reads_folders_where_opencv_is_not_installed(tmp_path):
    videos.write_frames(tmp_path, range(3))
    code = ("import sys\nfrom pathlib import Path\nsys.modules['cv2'] = None\n"
            'from gluon_action.data.reading.stream import FrameStream\n'
            'print([frame.picture.shape for frame in FrameStream(sys.argv[1])])\n'
            "print([name for name in ('mxnet', 'gluoncv', 'matplotlib') if name in sys.modules])")
    answer = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert answer.stdout.splitlines() == [str([(64, 96, 3)] * 3), '[]'], answer.stderr
    code = code.replace("'cv2']", "'PIL'] = sys.modules['cv2']")
    neither = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert 'pip install opencv-python-headless' in neither.stderr and 'pip install pillow' in neither.stderr
