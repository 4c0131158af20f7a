"""Of a long file the table of frames is kept: a part of it costs no more than that part, and is as exact as ever."""
from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import videos
from timed_videos import write_long, write_timed

from gluon_action.data import VideoClsCustom
from gluon_action.data.reading.decoders import pyav_video
from gluon_action.data.reading.media import frame_table, known_tables
from gluon_action.data.reading.media.frame_table import FrameTable, LongFile, long_file
from gluon_action.data.reading.media.known_tables import FrameTables
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import OutputError, VideoReadError

#: Kinds of files whose frames can only be counted, by decoding all of them, each time.
COUNTED = {'h264_raw_stream', 'mpeg4_avi_b_frames', 'vp8_hidden_frames'}
#: Kinds in which a part is sought; in others packets are passed over to get there, and only the first look is spared.
SOUGHT = {'h264_b_frames', 'h264_long_gop', 'h264_b_pyramid', 'h264_open_gop', 'h264_intra_refresh', 'h264_all_intra',
          'h264_odd_size', 'hevc_open_gop', 'av1', 'mpeg4_avi', 'mpeg4_avi_odd_size', 'mjpeg_avi', 'vp9_webm',
          'vp9_alt_ref', 'h264_one_frame', 'h264_two_frames', 'mpeg4_one_frame', 'vp9_one_frame'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('tables')


@pytest.fixture(scope='module')
def long_video(folder):
    return write_long(folder / 'long.mp4')


@pytest.fixture
def tables(monkeypatch):
    """Tables of this test alone, in which every file counts as long, and no packet is kept in memory."""
    known = FrameTables(1 << 20)
    monkeypatch.setattr(pyav_video, 'known_tables', known)
    monkeypatch.setattr(pyav_video, 'KEEP_BYTES', 0)
    monkeypatch.setattr(frame_table, 'LONG_BYTES', 1)
    return known


@pytest.fixture
def looks(monkeypatch):
    """Paths of the files that were looked at as a whole, and of all that were opened."""
    scan, opened = pyav_video.PyavVideo._scan, av.open
    seen, opens = [], []
    monkeypatch.setattr(pyav_video.PyavVideo, '_scan', lambda self: (seen.append(self._path), scan(self))[1])
    monkeypatch.setattr(av, 'open', lambda path, *a, **k: (opens.append(path), opened(path, *a, **k))[1])
    return seen, opens


def numbers_read(reader: VideoReader, indices) -> list[int]:
    return [videos.read_barcode(frame) for frame in reader.read(indices)]


def bytes_read(action) -> int:
    def so_far():
        return int(Path('/proc/self/io').read_text().split('rchar: ')[1].split()[0])
    before = so_far()
    action()
    return so_far() - before


def read_one(path, number: int) -> int:
    with VideoReader(path) as reader:
        return numbers_read(reader, [number])[0]


def assert_exact(path, length: int, first: int = 0) -> None:
    """All frames in any order, and a quarter of them alone, by readers that remember the file."""
    with VideoReader(path) as reader:
        assert len(reader) == length
    order = np.random.default_rng(length).permutation(length).tolist()
    with VideoReader(path) as reader:
        assert len(reader) == length
        assert numbers_read(reader, order) == [first + number for number in order]
        for number in order[::4]:
            assert numbers_read(reader, [number]) == [first + number]
    for number in {0, length // 3, length - 1}:
        with VideoReader(path) as reader:
            assert numbers_read(reader, [number, length - 1]) == [first + number, first + length - 1]


@pytest.mark.parametrize('kind', videos.KINDS)
def test_frames_are_exact_by_a_remembered_table(folder, kind, tables, looks):
    path, length = videos.make_kind(kind, folder)
    with VideoReader(path) as reader:
        seconds = reader.seconds
    assert_exact(path, length)
    table = tables.recall(long_file(path))
    assert (table is None) == (kind in COUNTED)
    assert kind in COUNTED or looks[0] == [str(path)] and table.may_seek == (kind in SOUGHT)
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(reader.seconds, seconds)


def broadcast(folder):
    whole = videos.make_kind('h264_transport_stream', folder)[0].read_bytes()
    path = folder / 'joined.ts'
    path.write_bytes(whole[len(whole) // 188 // 3 * 188:])
    return path, 41, 19


def edited(folder):
    return videos.copy_packets(videos.make_kind('h264_b_frames', folder)[0], folder / 'edit.mp4', earlier=7 / 25), 53, 7


def cut_open(suffix):
    def make(folder):
        source, _ = videos.make_kind('hevc_open_gop', folder)
        return videos.copy_packets(source, folder / f'cut.{suffix}', first_key=2), 44, 16
    return make


def rewritten(name, **muxer):
    """The packets of an ordinary file in another container, or as another muxer writes them."""
    def make(folder):
        source, length = videos.make_kind('h264_b_frames', folder)
        path = folder / name
        with av.open(str(source)) as given, av.open(str(path), 'w', options=muxer) as written:
            stream = written.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    written.mux(packet)
        return path, length, 0
    return make


MADE = {
    'packed AVI': lambda folder: (videos.write_packed_avi(folder / 'packed.avi'), 60, 0),
    'edit list': edited, 'broadcast joined': broadcast, 'cut mp4': cut_open('mp4'), 'cut mkv': cut_open('mkv'),
    'sound beside': lambda folder: (write_timed(folder / 'sound.mp4', np.arange(60) / 25, sound_seconds=2.4,
                                                options={'bf': '2', 'g': '12'}), 60, 0),
    'late pictures': lambda folder: (write_timed(folder / 'late.mkv', 0.8 + np.arange(60) / 25, sound_seconds=3,
                                                 options={'bf': '2', 'g': '12'}), 60, 0),
    'fragments': rewritten('fragments.mp4', movflags='frag_keyframe+empty_moov'),
    'fragments with index': rewritten('sidx.mp4', movflags='dash+global_sidx'),
    'no cues': rewritten('live.mkv', live='1'), 'flv': rewritten('b_frames.flv'), 'mov': rewritten('b_frames.mov'),
    'program stream': lambda folder: (videos.write_video(folder / 'v.mpg', 60, codec='mpeg2video'), 60, 0),
    'mpeg-ts': rewritten('b_frames.ts'),
}


@pytest.mark.parametrize('kind', MADE)
def test_frames_are_exact_in_files_that_are_hard_to_seek_in(tmp_path, kind, tables, looks):
    path, length, first = MADE[kind](tmp_path)
    looks[0].clear()
    assert_exact(path, length, first)
    assert looks[0] == [str(path)] or tables.recall(long_file(path)) is None


def test_frames_of_equal_bytes_and_size_are_told_apart(tmp_path, tables):
    """A picture that stands still: packets differ only in where they lie and when they are shown."""
    path = tmp_path / 'still.avi'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mjpeg', rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuvj420p'
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(videos.barcode_frame(number // 39, 96, 64), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        assert numbers_read(reader, [38, 39]) == [0, 1]
    assert [read_one(path, number) for number in (39, 38, 0)] == [1, 0, 0]


def test_a_part_of_a_long_file_costs_what_it_is_long(long_video, looks, monkeypatch):
    monkeypatch.setattr(pyav_video, 'known_tables', FrameTables(1 << 20))
    size = long_video.stat().st_size
    assert size > frame_table.LONG_BYTES
    assert bytes_read(lambda: read_one(long_video, 150)) > size
    for number in (0, 7, 150, 299):
        assert bytes_read(lambda number=number: read_one(long_video, number)) < 12 * size / 300 + 200_000
        assert read_one(long_video, number) == number
    assert looks[0] == [str(long_video)]


def test_a_file_is_opened_once_at_the_first_look(long_video, looks, monkeypatch):
    monkeypatch.setattr(pyav_video, 'known_tables', FrameTables(1 << 20))
    for keep in (0, 64 << 20):
        monkeypatch.setattr(pyav_video, 'KEEP_BYTES', keep)
        monkeypatch.setattr(pyav_video, 'known_tables', FrameTables(1 << 20))
        looks[1].clear()
        with VideoReader(long_video) as reader:
            assert numbers_read(reader, [299, 3]) == [299, 3] and numbers_read(reader, [100]) == [100]
        assert len(looks[1]) == 1
        with VideoReader(long_video) as reader:
            assert numbers_read(reader, [299, 3]) == [299, 3] and numbers_read(reader, [100]) == [100]
        assert len(looks[1]) == 2


@pytest.mark.parametrize('kind', ['h264_transport_stream', 'h264_b_frames'])
def test_a_file_that_is_known_is_opened_once_for_a_part(folder, kind, tables, looks):
    path, _ = videos.make_kind(kind, folder)
    assert read_one(path, 30) == 30
    looks[1].clear()
    assert read_one(path, 31) == 31 and looks[1] == [str(path)]


def test_a_table_of_another_stream_is_not_used(folder, tables, looks):
    """As one that was kept beside a list by a version that took another stream for the video."""
    path, _ = videos.make_kind('h264_b_frames', folder)
    assert read_one(path, 30) == 30
    table = tables.recall(long_file(path))
    table.stream = 1
    tables.remember(long_file(path), table)
    assert read_one(path, 31) == 31 and looks[0] == [str(path)] * 2


def test_short_files_are_not_remembered(folder, looks):
    path, _ = videos.make_kind('h264_b_frames', folder)
    for _ in range(2):
        assert read_one(path, 30) == 30
    assert looks[0] == [str(path)] * 2


def test_a_file_that_was_written_anew_is_looked_at_again(tmp_path, tables, looks):
    path = videos.write_video(tmp_path / 'v.mp4', 60)
    assert read_one(path, 59) == 59
    videos.write_video(path, 40, options={'bf': '0'})
    assert read_one(path, 39) == 39 and len(looks[0]) == 2
    with pytest.raises(VideoReadError, match='frame 59 was asked for, it has 0 to 39'):
        read_one(path, 59)


@pytest.mark.parametrize('suffix', ['mp4', 'ts'])
def test_another_file_of_the_same_size_and_time_is_found_out(tmp_path, tables, suffix):
    path = videos.write_video(tmp_path / f'v.{suffix}', 60, options={'g': '12'})
    assert read_one(path, 59) == 59
    before, size = path.stat(), path.stat().st_size
    other = videos.write_video(tmp_path / f'other.{suffix}', 50, options={'g': '10', 'crf': '30'}).read_bytes()
    assert len(other) < size
    with open(path, 'r+b') as file:
        file.write(other + b'\0' * (size - len(other)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(VideoReadError, match='has changed since its frames were counted .*; read it again'):
        read_one(path, 40)
    assert read_one(path, 40) == 40


def test_where_seeking_misleads_the_file_is_read_from_its_start(folder, tables, monkeypatch):
    path, _ = videos.make_kind('h264_b_frames', folder)
    assert read_one(path, 30) == 30
    seek = FrameTable.seek_times
    monkeypatch.setattr(FrameTable, 'seek_times', lambda self, position: [10 ** 9 for _ in seek(self, position)])
    assert read_one(path, 31) == 31
    assert not tables.recall(long_file(path)).may_seek
    monkeypatch.setattr(FrameTable, 'seek_times', None)  # which is not tried again
    assert read_one(path, 32) == 32


def test_packets_that_differ_after_seeking_are_not_decoded(folder, tables, monkeypatch):
    """As times in AVI and MPEG-TS may: the right frame comes all the same."""
    path, _ = videos.make_kind('h264_b_frames', folder)
    assert read_one(path, 30) == 30
    sought = pyav_video.PyavVideo._sought_packets

    def shifted(self, first):
        for position, packet in sought(self, first):
            packet.pts += 512
            yield position, packet
    monkeypatch.setattr(pyav_video.PyavVideo, '_sought_packets', shifted)
    assert read_one(path, 31) == 31 and not tables.recall(long_file(path)).may_seek


def test_where_packets_end_early_after_seeking_the_file_is_read_from_its_start(folder, tables, monkeypatch):
    path, _ = videos.make_kind('h264_b_frames', folder)
    assert read_one(path, 30) == 30
    sought = pyav_video.PyavVideo._sought_packets
    monkeypatch.setattr(pyav_video.PyavVideo, '_sought_packets', lambda *args: itertools.islice(sought(*args), 2))
    assert read_one(path, 35) == 35 and not tables.recall(long_file(path)).may_seek


FILE = LongFile('a.mp4', 1, 2, 3000, 4)


def a_table(num_packets=500, seed=0, largest=1 << 20) -> FrameTable:
    rng = np.random.default_rng(seed)
    times = rng.permutation(num_packets) * 512 - 1000
    sizes = rng.integers(1, largest, num_packets)
    offsets = np.cumsum(sizes + 7) + 48
    keys, shown = rng.random(num_packets) < 0.1, rng.random(num_packets) < 0.95
    keys[:1] = True
    return FrameTable(1, times, offsets, sizes, keys, shown, True)


@pytest.mark.parametrize('differing', [{}, {'pts': 3}, {'pts': None}, {'pos': 7}, {'pos': None}, {'size': 9},
                                       {'is_keyframe': False}, {'is_discard': True}])
def test_a_packet_is_the_one_of_the_table_if_all_is_equal(differing):
    table = FrameTable(0, *np.array([[512, 1024], [48, 900], [852, 77]]), *np.array([[1, 1], [1, 1]], bool), True)
    packet = SimpleNamespace(**{'pts': 1024, 'pos': 900, 'size': 77, 'is_keyframe': True, 'is_discard': False,
                                **differing})
    assert table.holds(1, packet) == (not differing)
    assert not table.holds(0, packet) and not table.holds(2, packet)


@pytest.mark.parametrize('table', [a_table(), a_table(1), a_table(9, largest=1 << 40)])
def test_a_table_survives_being_packed(table):
    again = FrameTable.unpack(table.pack(FILE), FILE)
    for name in ('times', '_offsets', '_sizes', '_keys', '_shown'):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert (len(again), again.stream, again.may_seek) == (len(table), table.stream, table.may_seek)


def test_a_table_takes_few_bytes_a_frame():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1000, 4000, 90000)
    table = FrameTable(0, np.arange(90000) * 512, np.cumsum(sizes) + 300, sizes, np.arange(90000) % 250 == 0,
                       np.ones(90000, bool), True)
    assert len(table.pack(FILE)) < 4 * 90000


def test_a_damaged_table_is_refused_in_words():
    whole = a_table(300).pack(FILE)
    rng = np.random.default_rng(0)
    for number in range(600):
        spoilt = bytearray(whole)
        if number % 3 == 0:
            del spoilt[int(rng.integers(len(spoilt))):]
        else:
            at = int(rng.integers(200 if number % 3 == 1 else len(spoilt)))
            spoilt[at] ^= int(rng.integers(1, 256))
        try:
            assert isinstance(FrameTable.unpack(bytes(spoilt), FILE), FrameTable)
        except ValueError as error:
            assert str(error)
    head = json.loads(whole.partition(b'\n')[0])
    for lie in ({'num_packets': 1 << 61}, {'num_packets': -1}, {'num_packets': 0}, {'num_packets': True},
                {'first': [1]}, {'first': None}, {'width': 3}, {'bytes': 1}, {'mtime_ns': 5}, {'table_of_frames': 2}):
        with pytest.raises(ValueError):
            FrameTable.unpack(json.dumps({**head, **lie}).encode() + b'\n' + whole.partition(b'\n')[2], FILE)
    for nothing in (b'', b'\n', b'[]\n', b'[' * 5000, b'{"a": ' * 5000):
        with pytest.raises(ValueError):
            FrameTable.unpack(nothing, FILE)


def test_the_memory_for_tables_is_bounded_and_the_last_ones_stay():
    tables = FrameTables(100_000)
    files = [FILE._replace(inode=number) for number in range(60)]
    for number, file in enumerate(files):
        tables.remember(file, a_table(1000, seed=number))
        assert tables.recall(files[0]) is not None  # what is used stays
    assert tables._bytes <= 100_000 and tables._bytes == sum(map(len, tables._packed.values()))
    assert tables.recall(files[-1]) is not None and tables.recall(files[1]) is None


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A long video, its list, and a function that opens the list as another process would, which remembers nothing."""
    videos.write_video(tmp_path / 'a.mp4', 60, options={'g': '12'})
    (tmp_path / 'list.txt').write_text('a.mp4 60 0\n')
    monkeypatch.setattr(frame_table, 'LONG_BYTES', 1)

    def frames_of_list():
        monkeypatch.setattr(pyav_video, 'known_tables', FrameTables(1 << 20))
        return VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), train=False, new_width=0, new_height=0,
                              frame_tables=True, video_loader=True).load_frames(0)
    return tmp_path, frames_of_list


def test_tables_are_kept_beside_the_list_if_asked(kept, looks):
    folder, frames_of_list = kept
    first = frames_of_list()
    assert len(looks[0]) == 1 and len(os.listdir(folder / 'list.txt.frames')) == 1
    assert (frames_of_list() == first).all() and len(looks[0]) == 1
    moved = folder / 'elsewhere'
    moved.mkdir()
    shutil.move(folder / 'a.mp4', moved / 'a.mp4')
    (moved / 'a.mp4').rename(folder / 'a.mp4')
    assert (frames_of_list() == first).all() and len(looks[0]) == 1  # it is the same file
    os.utime(folder / 'a.mp4', ns=(0, time.time_ns()))
    assert (frames_of_list() == first).all() and len(looks[0]) == 2  # it may be another one


def test_a_damaged_table_beside_a_list_is_made_again(kept, looks, caplog):
    folder, frames_of_list = kept
    first = frames_of_list()
    path, = (folder / 'list.txt.frames').iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with caplog.at_level(logging.WARNING):
        assert (frames_of_list() == first).all()
    assert 'a.mp4: the table of its frames in' in caplog.text and 'it is made again' in caplog.text
    assert len(looks[0]) == 2 and path.read_bytes() == whole


def test_tables_that_cannot_be_written_are_told(kept, caplog, monkeypatch):
    folder, frames_of_list = kept
    (folder / 'list.txt.frames').write_text('in the way')
    with pytest.raises(OutputError, match='list.txt.frames: cannot be written: .*; --frame-tables needs a list beside'):
        frames_of_list()
    (folder / 'list.txt.frames').unlink()

    def full(*_, **__):
        raise OutputError('disk full')
    monkeypatch.setattr(known_tables, 'write_file', full)
    with caplog.at_level(logging.WARNING):
        assert len(frames_of_list()) == 1
    assert 'tables of frames are not kept: disk full' in caplog.text
