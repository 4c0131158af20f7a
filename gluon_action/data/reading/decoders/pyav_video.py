"""Frames out of video files by number, exactly, by PyAV.

This and `DecordVideo` have ``name``, ``fps``, ``len()``, ``read(numbers, finish)`` and ``close()``. ``read`` takes
ascending frame numbers and gives what `finish` makes of each frame, uint8 (H, W, 3) RGB, so that a shrunk copy is all
that stays in memory. `VideoReadError` is raised for what no decoder could read, `DecoderTrouble` for what another one
might.
"""
from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from ....errors import VideoReadError
from ..media.damage import tell_damage
from ..media.ffmpeg_log import FfmpegLog
from ..media.frame_table import FrameTable, long_file
from ..media.known_tables import known_tables
from ..media.media_file import (
    DecoderTrouble,
    Orientation,
    Orientations,
    import_decoder,
    in_words,
    picture_stream,
    plausible_rate,
    upright,
    why_not_a_video,
)
from .packet_scan import PacketScan

_log = logging.getLogger(__name__)

#: Bytes of a video's packets that are kept in memory, and of its decoded frames where they are counted; what is
#: larger is read again for every `read`.
KEEP_BYTES = 64 << 20

# Decoders of FFmpeg that read skip_frame before every packet. Others read it when they are opened and then skip for
# good: with libdav1d, AV1 frames that were wanted never came.
_CAN_SKIP = frozenset({'h264', 'hevc', 'mpeg4'})

# Formats with an index of their packets, to which FFmpeg can be sent. In others it searches (MPEG-TS, where times after
# that are not those of the first pass) or guesses.
_HAS_INDEX = frozenset({'mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'avi'})

Finish = Callable[[np.ndarray], np.ndarray]


class _LostTrack(Exception):
    """Packets are not those of the table."""


class PyavVideo:
    """A file read by PyAV (FFmpeg's libraries).

    Frame number i is the i-th of the file decoded from its start. Where packets carry their
    presentation times, that is the one with the i-th smallest, so a wanted frame is decoded from the last key frame
    before it on, without the frames that no other refers to. Elsewhere everything is decoded, and counted.

    At the first look all of a file is read for its `FrameTable`. That of a long file is remembered, and what is read
    later begins at the packet that it needs. That packet and all that follow are compared with the table; where they
    differ, the file is read from its start. Files whose frames can only be counted are read from their start always.

    Parameters
    ----------
    path : str
    num_threads : int
        Threads of the decoder. Of damage that several of them only log nothing is heard.
    on_damage : {'accept', 'skip', 'raise'}
        What `read` does about frames of which parts are guessed, as `tell_damage` does it.
    tables : str, optional
        Folder in which tables of long files are kept too.
    """

    name = 'pyav'

    def __init__(self, path: str, num_threads: int = 1, on_damage: str = 'accept', tables: str | None = None):
        self._path, self._on_damage = path, on_damage
        self._file, self._tables = long_file(path), tables
        self._av = import_decoder('av', 'av')
        self._num_threads = num_threads
        self._log = FfmpegLog(self._av, deaf=num_threads > 1)
        self._damage = ''
        self._complaints: dict[int, str] = {}  # what was said of the packet at a position
        self._guessed: dict[int, str] = {}  # and of the frame with a number, where frames are counted
        self._reformatter, self._orientations = self._av.video.reformatter.VideoReformatter(), Orientations()
        self._packets = self._frames = None
        self._container = self._open()
        try:
            self._attach(self._container)
            self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
            with self._log:
                self._look()
            self.fps = plausible_rate(self.fps, self.seconds)
            if self._length == 0:
                damage = f' that can be decoded ({self._damage})' if self._damage else ''
                raise VideoReadError(path, self.name, f'its video stream holds no frame{damage}')
        except (DecoderTrouble, VideoReadError):
            self.close()
            raise

    def __len__(self) -> int:
        return self._length

    @property
    def seconds(self) -> np.ndarray | None:
        """When each frame is shown, float64 (n,) from the first one's; None where the file does not tell."""
        told = self.ticks
        return None if told is None else told[0] * float(told[1])

    @property
    def ticks(self) -> tuple[np.ndarray, Fraction] | None:
        """The same exactly: int64 (n,) from the first one's, in units of so many seconds."""
        base = self._stream.time_base
        if self._table is None or not base:
            return None
        return self._table.shown_times - self._table.shown_times[0], base

    @property
    def begins(self) -> float:
        """Seconds from the file's start, which may be that of its sound, to its first frame."""
        base, start = self._stream.time_base, self._container.start_time
        if self._table is None or not base or start is None:
            return 0.
        return max(0., float(int(self._table.shown_times[0]) * base) - start / 1e6)

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Frames of ascending numbers, each through `finish`."""
        self._finish = finish
        try:
            with self._log:
                return self._read_in_order(numbers) if self._table is None else self._read_by_time(numbers)
        except self._av.FFmpegError as error:
            raise VideoReadError(self._path, self.name, in_words(error)) from error

    def close(self) -> None:
        """Close the file."""
        # `finish` is bound to the reader: kept, the two would refer to each other until garbage is collected.
        self._packets = self._frames = self._finish = None
        self._container.close()

    def _open(self):
        try:
            return self._av.open(self._path, metadata_errors='replace')
        except self._av.FFmpegError as error:
            raise VideoReadError(self._path, self.name, why_not_a_video(self._path, error)) from error

    def _attach(self, container) -> None:
        """Read from `container` from now on, and set its decoder up."""
        self._container, self._is_unread = container, True
        self._stream = picture_stream(container, self._path)
        self._context = self._stream.codec_context
        if self._context is None:
            raise DecoderTrouble('this build of it has no decoder for the video stream')
        self._context.thread_count = self._num_threads
        self._context.thread_type = 'AUTO' if self._num_threads > 1 else 'SLICE'

    def _recalled(self) -> FrameTable | None:
        table = known_tables.recall(self._file, self._tables)
        return table if table is not None and table.stream == self._stream.index else None

    def _look(self) -> None:
        """Find the table of frames; where they can only be counted, there is none."""
        self._table = self._recalled()
        if self._table is None:
            scan = self._scan()
            self._packets = scan.packets
            if not scan.times_tell_frames():
                self._length = self._decode_everything(scan)
                return
            self._table = FrameTable.of_packets(self._stream.index, scan.marks,
                                                self._container.format.name in _HAS_INDEX)
            known_tables.remember(self._file, self._table, self._tables)
        self._length = len(self._table)

    def _scan(self) -> PacketScan:
        """Read all packets."""
        self._is_unread = False
        return PacketScan(self._path, self.name, self._container, self._stream, self._log, KEEP_BYTES)

    def _decode_everything(self, scan: PacketScan) -> int:
        """Count the frames by decoding them, and keep them if they are small enough."""
        self._frames, num_frames, num_bytes = [], 0, 0
        self._complaints, said, since = {}, '', 0
        for frame in self._decode_run(self._packets_again(), 0, None):
            # A packet's frame comes out with it or a little later; what refers to it, until the next key frame.
            if new := self._complaints:
                self._complaints = {}
                told = [words for position, words in new.items() if not scan.is_lead_in(position)]
                said, since = (told[0], num_frames) if told else (said, since)
            elif frame.key_frame and num_frames > since + 2:
                said = ''
            if said or frame.is_corrupt:
                self._guessed[num_frames] = said
            num_frames += 1
            num_bytes += sum(plane.buffer_size for plane in frame.planes)
            if num_bytes > KEEP_BYTES:
                self._frames = None
            if self._frames is not None:
                self._frames.append(frame)
        return num_frames

    def _read_by_time(self, numbers: list[int]) -> list[np.ndarray]:
        wanted = self._table.shown_times[numbers].tolist()
        pictures, guessed = self._decode_runs(self._table.runs(wanted))
        missing = set(wanted) - set(pictures)
        if missing:  # damaged data, or a key frame that was none: decode everything from the start, skipping nothing
            again, guessed = self._decode_runs([(0, len(self._table.times) - 1, missing)], thorough=True)
            pictures |= again
        self._tell_damage({number: guessed[time] for number, time in zip(numbers, wanted) if time in guessed})
        for number, time in zip(numbers, wanted):
            if time not in pictures:
                cause = f'frame {number} of 0 to {self._length - 1} cannot be decoded'
                raise VideoReadError(self._path, self.name, f'{cause} ({self._damage or "no frame has its time"})')
        return [pictures[time] for time in wanted]

    def _tell_damage(self, causes: dict[int, str]) -> None:
        tell_damage(self._path, self.name, causes, self._on_damage)

    def _decode_runs(self, runs: list[tuple[int, int, set[int]]],
                     thorough: bool = False) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        """Pictures by time, and what was said of those that are guessed in parts.

        Unless `thorough`, unneeded frames are skipped, and what seems damaged is left out: it may only seem so.
        """
        if self._packets is None and self._table.may_seek and not thorough:
            try:
                return self._decode_each(runs, self._sought_packets)
            except (_LostTrack, self._av.FFmpegError) as trouble:
                _log.debug('%s: is read from its start, since seeking failed (%s)', self._path, trouble)
                self._table.may_seek = False
                known_tables.remember(self._file, self._table, self._tables)
        packets = self._packets_again()
        try:
            return self._decode_each(runs, lambda first: packets, thorough)
        except _LostTrack as lost:
            known_tables.forget(self._file, self._tables)
            raise VideoReadError(self._path, self.name, f'has changed since its frames were counted ({lost}); read it '
                                 'again') from lost

    def _decode_each(self, runs: list[tuple[int, int, set[int]]], packets_from: Callable[[int], Iterator],
                     thorough: bool = False) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        pictures, guessed = {}, {}
        for first, last, wanted in runs:
            self._complaints = {}
            for frame in self._decode_run(packets_from(first), first, last, set() if thorough else wanted):
                way = self._orientations.of(frame)
                if frame.pts in wanted:
                    pictures[frame.pts] = self._picture(frame, way)
                    if frame.is_corrupt:
                        guessed[frame.pts] = ''
            guessed |= {time: said for time in wanted if (said := self._said_of(time, first))}
        if not thorough:
            pictures = {time: picture for time, picture in pictures.items() if time not in guessed}
        return pictures, guessed

    def _said_of(self, time: int, first: int) -> str:
        """What the decoder said of a frame, or of one before that it may refer to, when it began at packet `first`.

        Pictures that are shown before that key frame may refer to what was not decoded: they are not meant.
        """
        if not self._complaints:
            return ''
        times, here = self._table.times, self._table.position_of(time)
        last_key = self._table.key_before(here)
        return next((said for position, said in self._complaints.items()
                     if last_key <= position <= here and times[position] >= times[first]), '')

    def _decode_run(self, packets: Iterator, first: int, last: int | None,
                    wanted: set[int] = frozenset()) -> Iterator:
        """Frames of the packets at positions first .. last; with `wanted` times, those and what they refer to.

        As in FFmpeg's own programs, a packet that cannot be decoded is passed over.
        """
        can_skip = wanted and self._context.name in _CAN_SKIP
        may_differ = self._packets is None and self._table is not None
        self._context.flush_buffers()
        position = first
        try:
            for position, packet in packets:
                if position >= first:
                    if may_differ and not self._table.holds(position, packet):
                        raise _LostTrack(f'packet {position} is another one')
                    if can_skip:
                        self._context.skip_frame = 'DEFAULT' if packet.pts in wanted else 'NONREF'
                    yield from self._decode(packet, position)
                if position == last:
                    break
            else:
                if may_differ:
                    raise _LostTrack(f'packet {last} does not come')
            yield from self._decode(None, position)
        finally:
            self._context.skip_frame = 'DEFAULT'
            self._context.flush_buffers()

    def _decode(self, packet, position: int) -> list:
        self._log.forget()  # whatever came between
        try:
            frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            self._damage = in_words(error)
            self._complaints[position] = self._log.damage() or self._damage
            return []
        if said := self._log.damage():
            self._complaints[position] = said
        return frames

    def _packets_again(self) -> Iterator:
        """(position, packet) of all packets in the order of decoding."""
        if self._packets is not None:
            return enumerate(self._packets)
        if not self._is_unread:
            self._container.close()
            self._attach(self._open())
        return enumerate(self._demuxed())

    def _sought_packets(self, first: int) -> Iterator:
        """(position, packet) from this key frame on, or from an earlier one: formats differ in where seeking lands."""
        for time in self._table.seek_times(first):
            self._container.seek(time, stream=self._stream)
            packets = self._demuxed()
            landed = next(packets, None)
            position = -1 if landed is None else self._table.position_of(landed.pts)
            if 0 <= position <= first:
                return enumerate(itertools.chain([landed], packets), position)
        raise _LostTrack(f'no way leads to packet {first}')

    def _demuxed(self) -> Iterator:
        self._is_unread = False
        return (packet for packet in self._container.demux(self._stream) if packet.size)

    def _read_in_order(self, numbers: list[int]) -> list[np.ndarray]:
        frames = self._frames or self._decode_run(self._packets_again(), 0, None)
        wanted, pictures = set(numbers), []
        for number, frame in enumerate(frames):
            way = self._orientations.of(frame)
            if number in wanted:
                pictures.append(self._picture(frame, way))
            if number == numbers[-1]:
                self._tell_damage({number: self._guessed[number] for number in numbers if number in self._guessed})
                return pictures
        raise VideoReadError(self._path, self.name, f'gave {self._length} frames when they were counted, fewer now')

    def _picture(self, frame, way: Orientation) -> np.ndarray:
        return self._finish(upright(frame, way, self._reformatter, self._num_threads))
