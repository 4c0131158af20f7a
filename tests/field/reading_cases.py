"""Files as people have them, and what every reader of videos should make of them."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import coloured_videos
import joined_videos
import numpy as np
import videos

SIZE = (96, 64)

#: Levels of the quarters of a picture, by the place (x, y) of each.
QUARTERS = {(0, 0): 30, (1, 0): 90, (0, 1): 150, (1, 1): 210}
#: The eight orientations: what is stored at (x, y) is shown at (a x + c y, b x + d y).
MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


def quarters(levels: dict, width: int, height: int) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    for (x, y), level in levels.items():
        picture[y * height // 2:(y + 1) * height // 2, x * width // 2:(x + 1) * width // 2] = level
    return picture


def quarters_in(picture: np.ndarray) -> dict:
    height, width = picture.shape[:2]
    return {(x, y): int(picture[height * (1 + 2 * y) // 4, width * (1 + 2 * x) // 4].mean())
            for x, y in itertools.product((0, 1), repeat=2)}


def write_quarters(path: Path, num_frames: int = 4, options: dict | None = None) -> Path:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'threads': '1', **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
        for _ in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(QUARTERS, *SIZE), format='rgb24')))
        container.mux(stream.encode())
    return path


def moved(a: int, b: int, c: int, d: int) -> dict:
    """The levels where the matrix puts them."""
    places = {(a * x + c * y, b * x + d * y): level for (x, y), level in QUARTERS.items()}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    return {(x - left, y - top): level for (x, y), level in places.items()}


def write_streams(path: Path, sizes: list, default: int | None) -> Path:
    """A video stream of each size, whose frames carry 100 times the stream's number and their own."""
    with av.open(str(path), 'w') as container:
        streams = []
        for size in sizes:
            stream = container.add_stream('libx264', rate=25, options={'threads': '1'})
            stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
            streams.append(stream)
        if default is not None:
            streams[default].disposition = av.stream.Disposition.default
        for number, (which, stream) in itertools.product(range(10), enumerate(streams)):
            frame = videos.barcode_frame(100 * which + number, *sizes[which])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        for stream in streams:
            container.mux(stream.encode())
    return path


#: How files are written that say how long they are, by their names.
ANNOUNCING = {
    'a.mkv': {}, 'a.webm': {'codec': 'libvpx-vp9', 'options': {'deadline': 'realtime', 'cpu-used': '8', 'g': '20'}},
    'a.mp4': {'muxer': {'movflags': 'faststart'}}, 'a.mov': {'muxer': {'movflags': 'faststart'}},
    'a.avi': {'codec': 'mpeg4'}, 'a.flv': {'codec': 'flv'}, 'a.wmv': {'codec': 'wmv2'},
    'a.ivf': {'codec': 'libvpx-vp9', 'options': {'deadline': 'realtime', 'cpu-used': '8'}},
}


def places_of_packets(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos is not None]


def cut(path: Path, share: float, between: bool) -> Path:
    """Leave so much of a file: to a byte within a packet, or to where a packet begins."""
    places, content = places_of_packets(path), path.read_bytes()
    place = places[int(len(places) * share)]
    path.write_bytes(content[:place if between else place + 20])
    return path


class Case(NamedTuple):
    """A situation: how its file is made, what each frame must show, and how that is seen; None must be refused."""

    name: str
    make: Callable[[Path], Path]
    expected: list | None
    seen: Callable[[np.ndarray], Any] = videos.read_barcode


def shows_quarters(levels: dict) -> Callable[[np.ndarray], dict]:
    """A look at a frame that rounds to the nearest of the levels that are possible."""
    def seen(frame: np.ndarray) -> dict:
        return {place: min(levels.values(), key=lambda level: abs(level - found))
                for place, found in quarters_in(frame).items()}
    return seen


def _kind(kind: str) -> Case:
    num_frames = videos.KINDS[kind].get('num_frames', 60)
    return Case(kind.replace('_', ' '), lambda folder: videos.make_kind(kind, folder)[0], list(range(num_frames)))


def _oriented(matrix: tuple) -> Case:
    def make(folder: Path) -> Path:
        return videos.rotate_by_header(write_quarters(folder / 'oriented.mp4'), matrix)
    return Case(f'display matrix {matrix}', make, [moved(*matrix)] * 4, shows_quarters(QUARTERS))


def _cut(name: str, between: bool, share: float = 0.7) -> Case:
    def make(folder: Path) -> Path:
        return cut(videos.write_video(folder / name, 60, **ANNOUNCING[name]), share, between)
    where = 'between packets' if between else 'within a packet'
    return Case(f'{name[2:]} cut {where}' + ' at its end' * (share > 0.9), make, None)


def _edit_list(folder: Path) -> Path:
    return videos.copy_packets(videos.make_kind('h264_b_frames', folder)[0], folder / 'edit.mp4', earlier=7 / 25)


def _cut_out(folder: Path) -> Path:
    whole = videos.write_video(folder / 'whole.mp4', 60, options={'bf': '3', 'g': '12', 'sc_threshold': '0'})
    return videos.copy_packets(whole, folder / 'part.mkv', first_key=2)


def _hidden_groups(folder: Path) -> Path:
    whole = videos.write_video(folder / 'whole.mp4', 60, options={'bf': '2', 'g': '10', 'sc_threshold': '0'})
    return videos.copy_packets(whole, folder / 'edit.mp4', earlier=25 / 25)


def _coloured(matrix: str, full: bool, bits: int = 8, codec: str = 'libx264') -> Case:
    def make(folder: Path) -> Path:
        quiet = {'x265-params': 'log-level=none:pools=1'} if codec == 'libx265' else {}
        return coloured_videos.write_colours(folder / 'colours.mp4', matrix, full, codec=codec, bits=bits, **quiet)
    span = 'full' if full else 'limited'
    return Case(f'colours of {matrix}, {span} range, {bits} bits', make, ['right'] * 3,
                coloured_videos.quarters_are(coloured_videos.COLOURS))


def _grey(full: bool) -> Case:
    return Case(f'no colours, {"full" if full else "limited"} range',
                lambda folder: coloured_videos.write_greys(folder / 'greys.mp4', full), ['right'] * 3,
                coloured_videos.quarters_are(coloured_videos.GREYS))


def _joined(name: str, delay: float) -> Case:
    return Case(f'two transport streams joined, {name}',
                lambda folder: joined_videos.joined_transport_streams(folder / 'joined.ts', delay), list(range(80)))


#: Situations out of others' reports, which their tests name.
REPORTED = [
    # PyAV-Org/PyAV#2230, #2149 and #1431, meta-pytorch/torchcodec#1262
    *(_coloured(matrix, full) for matrix in ('BT.601', 'BT.709') for full in (False, True)),
    _coloured('BT.2020', False, 10, 'libx265'),  # PyAV-Org/PyAV#2192: its levels as they are stored
    # Nevcairiel/LAVFilters#623, meta-pytorch/torchcodec#660
    *map(_grey, (False, True)),
    # FFMS/ffms2#258: once with equal times, once with times between those of the first
    _joined('equal times', 0), _joined('times between', 0.1),
    # gpac/gpac#2472
    Case('an MP4 with two sample descriptions',
         lambda folder: joined_videos.mp4_with_two_descriptions(folder / 'two.mp4'), list(range(80))),
    Case('an FLV whose encoder was started again', lambda folder: joined_videos.flv_told_anew(folder / 'two.flv'),
         list(range(80))),
    # meta-pytorch/torchcodec#1502: the key frame of the first frame that is shown is hidden
    Case('an edit list hides key frames', _hidden_groups, list(range(25, 60))),
    # dmlc/decord#310
    Case('ASF', lambda folder: videos.write_video(folder / 'a.asf', 60, codec='wmv2', options={'g': '12'}),
         list(range(60))),
    # meta-pytorch/torchcodec#1339
    Case('HEVC without a container', lambda folder: videos.write_video(
        folder / 'a.hevc', 60, codec='libx265', options={'x265-params': 'keyint=12:bframes=3:log-level=none:pools=1'}),
         list(range(60))),
    Case('interlaced H.264', lambda folder: videos.write_video(
        folder / 'a.mkv', 40, options={'bf': '2', 'g': '12', 'x264-params': 'tff=1'}), list(range(40))),
    Case('interlaced MPEG-2', lambda folder: videos.write_video(
        folder / 'a.mpg', 40, codec='mpeg2video', options={'bf': '2', 'g': '12', 'flags': '+ildct+ilme', 'b': '3M'}),
         list(range(40))),
]

CASES = [
    *map(_kind, videos.KINDS), *map(_oriented, MATRICES),
    Case('the second stream is the default', lambda folder: write_streams(folder / 'a.mp4', [SIZE, (64, 48)], 1),
         list(range(100, 110))),
    Case('the second stream is larger', lambda folder: write_streams(folder / 'a.ts', [(64, 48), SIZE], None),
         list(range(100, 110))),
    Case('an edit list hides frames', _edit_list, list(range(7, 60))),
    Case('cut out at a key frame', _cut_out, list(range(24, 60))),
    Case("DivX's packed frames", lambda folder: videos.write_packed_avi(folder / 'packed.avi'), list(range(60))),
    Case('72 pixels wide', lambda folder: videos.write_video(folder / 'a.mp4', 20, size=(72, 48)), list(range(20))),
    *(_cut(name, False, 0.99) for name in ('a.mkv', 'a.webm', 'a.mp4')),
    *(_cut(name, between) for name, between in itertools.product(ANNOUNCING, (False, True))),
    *REPORTED,
]
