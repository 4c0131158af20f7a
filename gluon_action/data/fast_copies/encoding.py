"""One video encoded again: the same frames at the same times, in a form that decodes fast."""
from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import OutputError, VideoReadError
from ...files import cause_of
from ..reading.media.media_file import import_decoder, in_words
from ..reading.stream import FrameStream
from ..reading.stream_inputs import DEFAULT_FPS
from ..reading.video_reader import VideoReader, resize
from .settings import CopySettings

#: Parts of a video at which the frames of a copy are compared with those of its source.
PLACES = (0.1, 0.5, 0.9)
_LATE = 0.01  # seconds by which the two ways of reading may differ: containers round times
# No filter at the edges of blocks, no arithmetic coding: half of what a decoder does. No frame that refers to later
# ones, which would have to be decoded out of order. The preset finds good predictions without many references.
_CODEC = {'preset': 'fast', 'tune': 'fastdecode', 'bf': '0', 'threads': '1', 'colorspace': 'smpte170m',
          'color_primaries': 'smpte170m', 'color_trc': 'smpte170m', 'color_range': 'tv'}


@dataclass(frozen=True)
class Timing:
    """When the frames of a video are shown.

    Attributes
    ----------
    ticks : sequence of int
        Of each frame, from the first one's, in units.
    unit : Fraction
        Seconds, 1 / n.
    begins : float
        Seconds from the start of the file to the first frame.
    fps : float
        Frames per second on average.
    told : bool
        Whether the file tells it; otherwise frames are taken to follow each other at its rate.
    """

    ticks: Sequence[int]
    unit: Fraction
    begins: float
    fps: float
    told: bool

    @classmethod
    def of(cls, reader: VideoReader) -> Timing:
        """Of an opened video."""
        told = reader.ticks
        ticks, unit = told or (range(len(reader)), 1 / _as_fraction(reader.fps or DEFAULT_FPS))
        # MP4 counts in parts of a second.
        return cls([int(tick) * unit.numerator for tick in ticks], Fraction(1, unit.denominator), reader.begins,
                   reader.fps or float(1 / unit), told is not None)

    @property
    def steps(self) -> list[int]:
        """How long each frame is shown, in units; the last one as long as the rate says."""
        last = max(1, round(1 / (self.fps * self.unit))) if self.fps else 1
        return [*(after - before for before, after in itertools.pairwise(self.ticks)), last]


@dataclass(frozen=True)
class Encoded:
    """What was encoded: times and size, and the frames that went in at some numbers, uint8 (H, W, 3)."""

    timing: Timing
    width: int
    height: int
    sound: str
    frames: dict[int, np.ndarray]


def encode(source: str, target: Path, settings: CopySettings, *, note: str = '', most: int | None = None) -> Encoded:
    """Write the frames of a video into an MP4 file; turned and mirrored as they are shown.

    Parameters
    ----------
    source : str
    target : Path
    settings : CopySettings
    note : str
        Goes into the file as its comment.
    most : int, optional
        Frames to take, for a trial.

    Raises
    ------
    VideoReadError
        When a frame cannot be decoded, or the sound not be stored in an MP4 file.
    OutputError
        When `target` cannot be written.
    """
    av = import_decoder('av', 'av')
    if os.path.isdir(source):
        raise VideoReadError(source, 'pyav', 'is a folder of frames, which is no video file; it is left as it is')
    with VideoReader(source, decoder='pyav') as reader:
        timing, num_frames = Timing.of(reader), len(reader)
        height, width = reader.read([0])[0].shape[:2]
    width, height = settings.size_of(width, height)
    wanted = {int(place * num_frames) for place in PLACES}
    steps, kept = dict(zip(timing.ticks, timing.steps)), {}
    copied = settings.sound == 'copy' or timing.begins > 0
    with _writing(av, source, target), contextlib.ExitStack() as opened:
        container = opened.enter_context(av.open(os.fspath(target), 'w', format='mp4', options=_muxing(timing)))
        container.metadata['comment'] = note
        stream = container.add_stream('libx264', rate=_as_fraction(timing.fps), options={
            **_CODEC, 'crf': str(settings.quality), 'g': str(settings.key_frames)})
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        stream.time_base = stream.codec_context.time_base = timing.unit
        sound = _Sound(source, opened.enter_context(_opened(av, source)), container) if copied else None
        late = round(timing.begins / timing.unit) if sound and sound.is_there else 0

        def write(packets) -> None:
            for packet in packets:
                packet.duration = steps[packet.pts - late]
                container.mux(packet)

        for number, picture in _frames_of(source, timing, most, settings.on_damage):
            picture = resize(picture, width, height)
            if number in wanted:
                kept[number] = picture
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
            frame.pts, frame.time_base = timing.ticks[number] + late, timing.unit
            write(stream.encode(frame))
            if sound:
                sound.write_until(float(frame.pts * timing.unit))
        write(stream.encode(None))
        if sound and most is None:
            sound.write_until(float('inf'))
    return Encoded(timing, width, height, 'copied' if sound and sound.is_there else 'none', kept)


def _frames_of(source: str, timing: Timing, most: int | None, on_damage: str) -> Iterator[tuple[int, np.ndarray]]:
    """(number, picture) of all frames, or a `VideoReadError` about the first that is not what the table says."""
    expected, total = 0, len(timing.ticks)
    with FrameStream(source, on_damage='accept' if on_damage == 'accept' else 'skip') as frames:
        for number, seconds, picture in frames:
            if number != expected or number == total:
                break
            told = float(timing.ticks[number] * timing.unit)
            if timing.told and abs(seconds - told) > _LATE:
                raise VideoReadError(source, 'pyav', f'its times contradict each other: frame {number} is shown at '
                                                     f'{told:.3f} s or {seconds:.3f} s')
            yield number, picture
            expected += 1
            if expected == most:
                return
        if frames.skipped:
            cause = f'frame {frames.skipped[0].number} cannot be decoded ({frames.skipped[0].cause})'
            raise VideoReadError(source, 'pyav', cause)
        if expected < total or number == total:
            raise VideoReadError(source, 'pyav', f'has {total} frames, and {number + 1} when it is read in order')


class _Sound:
    """The sound of a video, which goes into another file as it is."""

    def __init__(self, source: str, given, target):
        self._target = target
        stream = next(iter(given.streams.audio), None)
        self.is_there = stream is not None
        self._packets, self._next = iter(()), None
        if self.is_there:
            try:
                self._stream = target.add_stream_from_template(stream)
            except ValueError as error:
                raise _not_in_mp4(source, error) from error
            self._start = round((given.start_time or 0) / 1e6 / stream.time_base)
            self._packets = (packet for packet in given.demux(stream) if packet.size and packet.dts is not None)

    def write_until(self, seconds: float) -> None:
        """Write what is heard up to this time."""
        while True:
            packet = self._next or next(self._packets, None)
            self._next = packet
            if packet is None or float((packet.dts - self._start) * packet.time_base) > seconds:
                return
            packet.dts -= self._start
            packet.pts = packet.dts if packet.pts is None else packet.pts - self._start
            packet.stream = self._stream
            self._target.mux(packet)
            self._next = None


def _muxing(timing: Timing) -> dict[str, str]:
    """The index comes first, where a reader looks for it, and a late beginning is not rounded to milliseconds."""
    return {'movflags': 'faststart', 'movie_timescale': str(min(timing.unit.denominator, 1 << 30))}


def _opened(av, source: str):
    return av.open(source, metadata_errors='replace')


@contextlib.contextmanager
def _writing(av, source: str, target: Path) -> Iterator[None]:
    """Tell what the disk refuses from what the video does not allow."""
    try:
        yield
    except (OutputError, VideoReadError):
        raise
    except av.FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT):
            raise OutputError(f'{target}: cannot be written: {cause_of(error)}') from error
        raise _not_in_mp4(source, error) from error


def _not_in_mp4(source: str, error: Exception) -> VideoReadError:
    return VideoReadError(source, 'pyav', f'cannot be stored in an MP4 file: {in_words(error)}; sound that it does not '
                                          'take is left out with --sound drop')


def _as_fraction(rate: float) -> Fraction:
    """A rate as encoders write it: 29.97 is 30000/1001."""
    return Fraction(rate).limit_denominator(1001)
