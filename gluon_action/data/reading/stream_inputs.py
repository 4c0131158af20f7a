"""Where a stream of frames comes from: a folder of pictures, or whatever PyAV decodes."""
from __future__ import annotations

import heapq
import itertools
import logging
import os
import re
import select
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import VideoReadError
from ..lists.folders.file_kinds import IMAGE_EXTENSIONS
from .decoders.frame_folder import natural_order, picture_loader, same_number
from .decoders.packet_scan import HIDES_FRAMES
from .decoders.picture_file import PictureTrouble
from .media.ffmpeg_log import FfmpegLog
from .media.media_file import (
    ENDED_EARLY,
    DecoderTrouble,
    Extent,
    Orientations,
    import_decoder,
    in_words,
    picture_stream,
    plausible_rate,
    upright,
    why_not_a_video,
)

_log = logging.getLogger(__name__)

#: Frames per second of what does not say: folders of pictures and raw streams.
DEFAULT_FPS = 25.0

# A rate from which on a file is looked into before it is believed, and how many packets of it.
_HIGH_RATE, _FIRST_PACKETS = 240, 100

_NEEDS_DAMAGED = 'needs a frame that is damaged'


class Item(NamedTuple):
    """A frame that is not decoded yet: its time, and the function that decodes it.

    The function raises `DecoderTrouble` if nothing comes out, or it is None where that is known before; `cause` says
    why. A frame with both is damaged, and parts of it are guessed.
    """

    seconds: float
    picture: Callable[[], np.ndarray] | None
    cause: str = ''


class PictureFolder:
    """Pictures of a folder in the natural order of their names."""

    def __init__(self, path: str, fps: float | None):
        self.path = path
        self.fps = fps or DEFAULT_FPS
        self.name, self._load = picture_loader(path)
        try:
            names = os.listdir(path)
        except OSError as error:
            raise VideoReadError(path, self.name, f'the folder cannot be listed: {error.strerror}') from error
        self._names = sorted((name for name in names if name.lower().endswith(IMAGE_EXTENSIONS)), key=natural_order)
        if not self._names:
            holds = f'only {len(names)} others, such as {min(names)}' if names else 'nothing'
            raise VideoReadError(path, self.name, f'holds no pictures ({", ".join(IMAGE_EXTENSIONS)}), {holds}')
        self.num_frames = len(self._names)
        if len(set(numbered := [_numbered_by(name) for name in self._names])) < self.num_frames:
            raise VideoReadError(path, self.name, f'{same_number([*zip(numbered, self._names)])}; keep one of them')
        if missing := num_missing(self._names):
            _log.warning('%s: by their numbers %d pictures are missing between its %d; they are taken one after the '
                         'other, so times run early after a gap', path, missing, self.num_frames)

    def __iter__(self) -> Iterator[Item]:
        for number, name in enumerate(self._names):
            yield Item(number / self.fps, lambda name=name: self._picture(name))

    def close(self) -> None:
        """Nothing is held open."""

    def _picture(self, name: str) -> np.ndarray:
        try:
            return self._load(os.path.join(self.path, name))
        except PictureTrouble as trouble:
            raise DecoderTrouble(f'{name} {trouble}') from trouble


def _numbered_by(name: str) -> str:
    """A name without its extension and the zeros before its numbers: pictures that share it are one frame twice."""
    return re.sub(r'(?<![0-9])0+(?=[0-9])', '', os.path.splitext(name)[0])


def num_missing(names: Sequence[str]) -> int:
    """Count the numbers left out between pictures, in steps of the smallest distance; 0 where names do not tell."""
    matches = [re.fullmatch(r'(.*?)([0-9]+)([^0-9]*)', name) for name in names]
    if not all(matches) or len({match.group(1, 3) for match in matches}) > 1:
        return 0
    steps = [int(after[2]) - int(before[2]) for before, after in itertools.pairwise(matches)]
    least = min(steps, default=0)
    return sum(step // least - 1 for step in steps) if least > 0 else 0


class DecodedFile:
    """Frames that PyAV decodes, in the order in which they are shown.

    A frame is missed when its packet was decoded, frames that are shown later came out, and the decoder complained
    before: packets that hold no frame of their own exist in healthy videos as well.
    """

    name = 'pyav'

    def __init__(self, path: str, fps: float | None, num_threads: int, timeout: float, live: bool):
        self.path, self._live, self._num_threads = path, live, num_threads
        try:
            self._av = import_decoder('av', 'av')
        except DecoderTrouble as trouble:
            raise VideoReadError(path, self.name, str(trouble)) from trouble
        self._container = self._open(timeout)
        try:
            self._stream = picture_stream(self._container, path)
            self._context = self._stream.codec_context
            if self._context is None:
                raise VideoReadError(path, self.name, 'this build of it has no decoder for the video stream')
        except VideoReadError:
            self._container.close()
            raise
        self._context.thread_count = num_threads
        self._context.thread_type = 'AUTO' if num_threads > 1 else 'SLICE'
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self.fps = float(fps or self._rate())
        self.num_frames = self._announced()
        self._waiting: list[int] | None = [] if self._context.name not in HIDES_FRAMES else None
        self._first_key: int | None = None
        self._log = FfmpegLog(self._av, deaf=num_threads > 1)
        self._orientations, self._ends_early = Orientations(), False
        self._complaints: dict[int, str] = {}
        self._complaint = ''  # about the frame that comes next, where times do not tell which
        self._damaged = False
        self._start: int | None = None
        self._next_seconds = 0.0

    def __iter__(self) -> Iterator[Item]:
        broken, extent = '', Extent(self._context.extradata)
        for packet in self._packets():
            if isinstance(packet, str):
                reached = extent.reached(self._container, self._stream)
                broken = packet + f' after {reached}' * bool(reached)
                break
            extent.add(packet)
            if packet.size:
                self._expect(packet)
                yield from self._shown(packet)
        yield from self._shown(None)
        yield from self._missed(None)
        if not broken and not self._live:
            broken = extent.cut_short(self._container, self._stream, self._ends_early)
        if broken and self._live:
            raise VideoReadError(self.path, self.name, broken)
        if broken:
            yield self._item(None, None, broken)

    def close(self) -> None:
        """Close the source."""
        self._container.close()

    def _open(self, timeout: float):
        options, form = {}, None
        if self.path.startswith('rtsp'):
            options = {'rtsp_transport': 'tcp'}  # over UDP lost packets are the rule
        elif self.path.startswith('/dev/video'):
            form = 'video4linux2,v4l2'
        limit = timeout if '://' in self.path else None
        place = 'pipe:0' if self.path == '-' else self.path
        try:
            if self.path == '-':
                select.select([0], [], [])  # Ctrl-C ends this, but not FFmpeg's waiting for who has sent nothing yet
            return self._av.open(place, format=form, options=options, timeout=limit, metadata_errors='replace')
        except (self._av.FFmpegError, OSError) as error:
            regular = os.path.isfile(self.path)
            cause = why_not_a_video(self.path, error) if regular else f'cannot be opened ({in_words(error)})'
            raise VideoReadError(self.path, self.name, cause) from error

    def _rate(self) -> float:
        told = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if told >= _HIGH_RATE and os.path.isfile(self.path):
            try:
                with self._av.open(self.path, metadata_errors='replace') as again:
                    stream = again.streams[self._stream.index]
                    packets = itertools.islice(again.demux(stream), _FIRST_PACKETS)
                    times = sorted(float(packet.pts * stream.time_base) for packet in packets if packet.pts is not None)
                told = plausible_rate(told, np.array(times))
            except (self._av.FFmpegError, OSError) as error:
                _log.debug('%s: its rate is taken as it says: %s', self.path, error)
        return told or DEFAULT_FPS

    def _announced(self) -> int | None:
        if self._stream.frames:
            # Of an MP4 that was trimmed without encoding, all samples are counted, and an edit list hides some.
            shown = 'mov' in self._container.format.name and sum(
                not entry.is_discard for entry in self._stream.index_entries)
            return shown or self._stream.frames
        if self._stream.duration and self._stream.time_base:
            return round(self._stream.duration * self._stream.time_base * self.fps)
        return round(self._container.duration / 1e6 * self.fps) if self._container.duration else None

    def _packets(self) -> Iterator:
        """Packets; for a truncated file the last item is a text that says so."""
        packets = self._container.demux(self._stream)
        try:
            while True:
                with self._log:
                    packet = next(packets, None)
                self._ends_early |= self._log.says(ENDED_EARLY)
                if packet is None:
                    return
                if packet.is_corrupt and packet.size and self._container.format.name != 'mpegts' and not self._live:
                    yield 'the file ends or breaks here: it was cut short'
                    return
                yield packet
        except (self._av.FFmpegError, OSError) as error:
            yield f'{"the connection broke" if self._live else "the file ends or breaks here"} ({in_words(error)})'

    def _expect(self, packet) -> None:
        """Remember when the frame of a packet is to be shown."""
        if self._waiting is None or packet.is_discard:
            return
        if packet.pts is None or self._container.format.name == 'avi' and self._context.has_b_frames:
            self._waiting = None  # times are absent, or guessed
            return
        if self._first_key is None and packet.is_keyframe:
            self._first_key = packet.pts
        # What a file begins with may refer to frames that were cut off: it is not missed.
        if self._first_key is not None and packet.pts >= self._first_key:
            heapq.heappush(self._waiting, packet.pts)

    def _shown(self, packet) -> Iterator[Item]:
        """Frames decoded from a packet (None: the last ones), each after those that are missing before it."""
        try:
            with self._log:
                frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            self._damaged = True
            if self._waiting is not None and packet is not None:
                self._complaints[packet.pts] = in_words(error)
            elif packet is not None:
                yield self._item(None, None, in_words(error))
            return
        if said := self._log.damage():
            self._hear(said, packet)
        for frame in frames:
            cause = self._complaints.get(frame.pts) or self._complaint
            self._complaint = ''
            yield from self._missed(frame.pts)
            if frame.is_corrupt and not cause:
                self._damaged, cause = True, 'is damaged; parts of it would be guessed'
            way = self._orientations.of(frame)
            yield self._item(frame.pts, lambda frame=frame, way=way: upright(
                frame, way, self._reformatter, self._num_threads), cause)

    def _hear(self, said: str, packet) -> None:
        """Remember what the decoder said of a packet, unless it may refer to what came before the file."""
        if self._waiting is None:
            self._complaint = said
        elif packet is not None and self._first_key is not None and packet.pts >= self._first_key:
            self._damaged = True
            self._complaints[packet.pts] = said

    def _missed(self, until: int | None) -> Iterator[Item]:
        """Frames that should have been decoded before time `until` (None: at all) and were not."""
        while self._waiting and (until is None or self._waiting[0] <= until):
            time = heapq.heappop(self._waiting)
            cause = self._complaints.pop(time, _NEEDS_DAMAGED)
            if time != until and self._damaged:
                yield self._item(time, None, cause)

    def _item(self, time: int | None, picture: Callable | None, cause: str = '') -> Item:
        """Return the frame with its time in seconds from the first one; times never decrease."""
        seconds = self._next_seconds
        if time is not None and self._stream.time_base:
            if self._start is None:
                self._start = time - round(seconds / self._stream.time_base)
            at = float((time - self._start) * self._stream.time_base)
            if at > seconds - 0.999 / self.fps:
                seconds = at
        self._next_seconds = seconds + 1 / self.fps
        return Item(seconds, picture, cause)
