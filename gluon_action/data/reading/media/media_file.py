"""A file as PyAV opens it: which stream is the video, which way up its pictures are, whether all of it is there."""
from __future__ import annotations

import functools
import importlib
import os
import re
from typing import NamedTuple

import numpy as np

from ....errors import VideoReadError
from ....files import open_file
from .ffmpeg_log import FfmpegLog

#: What FFmpeg says of a Matroska file that ends within an element.
ENDED_EARLY = 'File ended prematurely'

# Formats whose header says how long the file is; of others FFmpeg's duration is an estimate out of what is there.
_ANNOUNCING = frozenset({'matroska', 'webm', 'mov', 'mp4', 'avi', 'flv', 'asf', 'ivf', 'nut', 'mxf', 'rm', 'wtv'})


class DecoderTrouble(Exception):
    """A decoder that is not installed or failed, where another one may succeed."""


class DecoderMissing(DecoderTrouble):
    """A decoder that is not installed."""


def import_decoder(module: str, package: str):
    """Import a decoder's module, or raise `DecoderMissing` with the package that brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise DecoderMissing(f'{package} cannot be loaded ({error}); pip install {package}') from error


def picture_stream(container, path: str):
    """The stream of a container opened by PyAV that players show; `VideoReadError` where there is no video.

    Of several it is the one that the file marks as the default, and of several such the largest; the first of equals.
    """
    pictures = import_decoder('av', 'av').stream.Disposition
    # The cover of a song is a video stream of one picture, and layers of another stream are nothing by themselves.
    no_video = pictures.attached_pic | pictures.timed_thumbnails | pictures.dependent
    streams = [stream for stream in container.streams.video if not stream.disposition & no_video]
    if not streams:
        kinds = sorted({'cover picture' if stream.type == 'video' else stream.type for stream in container.streams})
        raise VideoReadError(path, 'pyav', f'has no video stream, only {" and ".join(kinds) or "nothing"}')

    def rank(stream) -> tuple[bool, int]:
        size = stream.codec_context  # None without a decoder
        return bool(stream.disposition & pictures.default), size.width * size.height if size else 0
    return max(streams, key=rank)


def upright(frame, way: Orientation, reformatter, num_threads: int = 1) -> np.ndarray:
    """A frame decoded by PyAV as uint8 (H, W, 3) RGB, turned and mirrored that way, on black.

    It may be a view of the decoder's own memory, whose rows may be padded: copy it to keep it or to write to it.
    """
    if _may_be_transparent(frame.format.name):
        picture = on_black(_pixels(frame, reformatter, num_threads, 'rgba', 4))
    else:
        picture = _pixels(frame, reformatter, num_threads, 'rgb24', 3)
    return picture if way == UPRIGHT else np.ascontiguousarray(way.applied(picture))


def _pixels(frame, reformatter, num_threads: int, form: str, channels: int) -> np.ndarray:
    """uint8 (H, W, C), a view of the memory of the frame in that format."""
    packed = reformatter.reformat(frame, format=form, threads=num_threads)
    rows = np.frombuffer(packed.planes[0], np.uint8).reshape(packed.height, -1)
    return rows[:, :channels * packed.width].reshape(packed.height, packed.width, channels)


@functools.cache
def _may_be_transparent(form: str) -> bool:
    described = import_decoder('av', 'av').VideoFormat(form)
    return described.has_palette or any(component.is_alpha for component in described.components)


class Orientation(NamedTuple):
    """One of eight: mirrored at the main diagonal, then upside down, then left to right."""

    transposed: bool
    rows_reversed: bool
    columns_reversed: bool

    def applied(self, picture: np.ndarray) -> np.ndarray:
        """A view of a picture (H, W, C) the right way up."""
        turned = picture.swapaxes(0, 1) if self.transposed else picture
        return turned[::-1 if self.rows_reversed else 1, ::-1 if self.columns_reversed else 1]


UPRIGHT = Orientation(False, False, False)
_QUARTERS = (UPRIGHT, Orientation(True, True, False), Orientation(False, True, True), Orientation(True, False, True))


class Orientations:
    """Which way up the frames of one decoder are to be shown, asked for each of them in the order they come out.

    A phone that is held upright stores pictures on their side, and a front camera mirrored ones, and the file has a
    display matrix, which FFmpeg hands on with every frame. Where the stream itself has a message, it comes with a key
    frame and holds until the next (ITU-T H.264, D.2.27).
    """

    def __init__(self):
        self._now, self._turn = UPRIGHT, None

    def of(self, frame) -> Orientation:
        """Of the next frame."""
        turn = frame.rotation
        # To ask for the whole matrix ties a frame to itself, so that it stays in memory until garbage is collected:
        # that is done for the first frame and where the angle changes.
        if turn != self._turn and (self._turn is None or frame.key_frame or turn):
            self._now, self._turn = orientation(frame), turn
        return self._now


def orientation(frame) -> Orientation:
    """How a frame says it is to be shown, to the nearest quarter turn."""
    try:
        matrix = next((data for data in frame.side_data if data.type.name == 'DISPLAYMATRIX'), None)
    except ValueError:  # PyAV 18 refuses the whole list for one kind that it does not know; then mirroring is not told
        return _QUARTERS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return UPRIGHT
    # A point (x, y) is shown at (a x + c y, b x + d y) (FFmpeg's libavutil/display.h, after ISO/IEC 14496-12).
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, b < 0, c < 0)
    return Orientation(False, d < 0, a < 0)


def on_black(picture: np.ndarray) -> np.ndarray:
    """RGBA uint8 (H, W, 4) as RGB over black, uint8 (H, W, 3)."""
    alpha = picture[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(picture[..., :3])
    return ((picture[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


class Extent:
    """How far the packets of a video reach, counted while they are read, and whether it is one video all along.

    Attributes
    ----------
    starts_again : bool
        Times go back: one recording was appended to another, as ``cat`` appends transport streams. They no longer tell
        the order of frames.
    changes : bool
        The decoder is told anew how the pictures are coded, once, at a packet in the middle: what is decoded after that
        one was left out, or before it when it was not, is wrong. Recordings that were joined without being encoded
        again are so in FLV and MP4.
    """

    def __init__(self, header: bytes | None = None):
        self.packets, self._start, self._end, self._last, self._longest = 0, None, None, None, 0
        self.starts_again, self.changes, self._header = False, False, bytes(header or b'')

    def add(self, packet) -> None:
        """Count a packet; the empty one after the last is none."""
        time, before = packet.dts if packet.pts is None else packet.pts, self._last
        if time is not None:
            end = time + (packet.duration or 0)
            self._start = time if self._start is None or time < self._start else self._start
            self._end = end if self._end is None or end > self._end else self._end
        elif not packet.size:
            return
        self.packets += 1
        self._last = packet.dts
        self.starts_again |= before is not None and packet.dts is not None and packet.dts < before
        if packet.is_keyframe and packet.has_sidedata('new_extradata'):  # to ask of every packet would cost too much
            self.changes |= bytes(packet.get_sidedata('new_extradata')) != self._header
        if before is not None and packet.dts is not None and packet.dts - before > self._longest:
            self._longest = packet.dts - before

    def cut_short(self, container, stream, ended_early: bool) -> str:
        """Say that a file, read to its end, ends before it says itself, with both durations; nothing where it does not.

        Parameters
        ----------
        container, stream
            As PyAV opened them.
        ended_early : bool
            Whether FFmpeg said `ENDED_EARLY`.
        """
        own, announced = seconds_of_stream(container, stream), self._announced(container, stream)
        if announced is None or self._end is None:
            return 'the file ends or breaks here: it was cut short' if ended_early else ''
        start, end, longest = (float(time * stream.time_base) for time in (self._start, self._end, self._longest))
        if ended_early:
            pass
        elif 'mov' in container.format.name and stream.frames:  # its index is exact, and edit lists leave parts out
            if self.packets >= len(stream.index_entries):
                return ''
        else:
            # Durations are rounded, and how long the last frame is shown is not always told.
            slack = max(2 * longest, 0.01 * announced, 0.1)
            if announced - max(end, end - start) <= slack:
                return ''
            if own is None and not _lacks_more(container, announced - max(slack, 0.5)):
                return ''
        return (f'the file ends after {end - min(0., start):.2f} s of the {announced:.2f} s that it announces: it was '
                'cut short')

    def reached(self, container, stream) -> str:
        """How far a file that broke was read, as ``1.20 s of 2.40 s``; nothing where it does not say how long it is."""
        announced = self._announced(container, stream)
        if announced is None or self._end is None:
            return ''
        return f'{float((self._end - min(0, self._start)) * stream.time_base):.2f} s of {announced:.2f} s'

    def _announced(self, container, stream) -> float | None:
        own = seconds_of_stream(container, stream)
        if own is not None or not _announces(container):
            return own
        if container.duration is None:
            return _seconds_in_asf(container.name) if container.format.name == 'asf' else None
        return container.duration / 1e6


def plausible_rate(told: float, seconds: np.ndarray | None) -> float:
    """Frames per second as a file says it, unless the times of its frames (ascending, in seconds) say another rate.

    What browsers record says 1000, since its times are in milliseconds.
    """
    if seconds is None or len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return told
    shown = (len(seconds) - 1) / float(seconds[-1] - seconds[0])
    return shown if abs(told - shown) > 0.1 * shown else told


def seconds_of_stream(container, stream) -> float | None:
    """Seconds that the file says this stream to last; None where it says nothing, or only of all streams together."""
    if not _announces(container):
        return None
    if 'matroska' in container.format.name and (tag := stream.metadata.get('DURATION')):
        # libavformat and mkvmerge write it, as hours:minutes:seconds.
        said = re.fullmatch(r'(\d+):(\d+):(\d+(?:\.\d+)?)', tag.strip())
        return int(said[1]) * 3600 + int(said[2]) * 60 + float(said[3]) if said else None
    if container.format.name == 'avi' and stream.frames and stream.time_base:
        return float(stream.frames * stream.time_base)
    return None


def _seconds_in_asf(path: str) -> float | None:
    """The duration in the header of a WMV, which FFmpeg ignores where the file is not as large as it says."""
    if not os.path.isfile(path):
        return None
    with open_file(path) as file:
        head = file.read(1 << 16)
    # The file properties object (ASF specification, 3.2): size, file's id, size and date, packets, play duration in
    # 100 ns, send duration, preroll in ms, flags, of which the first says that all of this is unknown.
    place = head.find(bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365'))
    values = head[place + 16 + 8 + 16 + 24:place + 16 + 8 + 16 + 24 + 28]
    if place < 0 or len(values) < 28 or values[24] & 1:
        return None
    played, preroll = int.from_bytes(values[:8], 'little') / 1e7, int.from_bytes(values[16:24], 'little') / 1e3
    return played - preroll if 0 < played - preroll < 1e7 else None


def _announces(container) -> bool:
    return bool(_ANNOUNCING & set(container.format.name.split(',')))


def _lacks_more(container, announced: float) -> bool:
    """Whether no stream of a file lasts until `announced` seconds, which the file itself says and FFmpeg did not guess.

    Only where the video ends early this is looked up, in the file opened again: sound may continue after the pictures.
    """
    if not os.path.isfile(container.name):
        return False
    av = import_decoder('av', 'av')
    with FfmpegLog(av) as log, av.open(container.name, metadata_errors='replace') as again:
        if log.says('Estimating duration from bitrate'):
            return False
        return all(packet.pts is None or float((packet.pts + (packet.duration or 0)) * packet.time_base) < announced
                   for packet in again.demux())


def why_not_a_video(path: str, error: Exception) -> str:
    """What is wrong with a file that FFmpeg cannot open."""
    try:
        with open_file(path) as file:
            is_mp4 = file.read(12)[4:8] == b'ftyp'
    except OSError as trouble:  # it went away meanwhile, or is a device
        return f'cannot be opened ({trouble.strerror})'
    if is_mp4:
        return f'an mp4 whose index (moov) is missing or broken: it was cut short ({in_words(error)})'
    return f'not a video of any known format ({in_words(error)})'


def in_words(error: Exception) -> str:
    """The first telling line of a decoder's message, without its source lines and addresses."""
    text = getattr(error, 'strerror', None) or str(error)
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return re.sub(r'^((\[[0-9:]+\] )?\S+\.cc:[0-9]+: )+', '', line.strip())
