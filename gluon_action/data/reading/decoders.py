"""Frames out of video files by number, exactly, by PyAV.

This and `DecordVideo` have ``name``, ``fps``, ``len()``, ``read(numbers, finish)`` and ``close()``. ``read`` takes
ascending frame numbers and gives what `finish` makes of each frame, uint8 (H, W, 3) RGB, so that a shrunk copy is all
that stays in memory. `VideoReadError` is raised for what no decoder could read, `DecoderTrouble` for what another one
might.
"""
from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterator

import numpy as np

from ...errors import VideoReadError
from .damage import tell_damage
from .ffmpeg_log import FfmpegLog
from .media_file import (
    ENDED_EARLY,
    DecoderTrouble,
    Extent,
    Orientation,
    Orientations,
    import_decoder,
    in_words,
    picture_stream,
    upright,
    why_not_a_video,
)

_log = logging.getLogger(__name__)

#: Bytes of a video's packets that are kept in memory, and of its decoded frames where they are counted; what is
#: larger is read again for every `read`.
KEEP_BYTES = 64 << 20

# VP8 stores frames that are never shown in packets of their own (show_frame, RFC 6386 section 9.1), so its packets
# cannot be counted as frames.
HIDES_FRAMES = frozenset({'vp8'})

# Decoders of FFmpeg that read skip_frame before every packet. Others read it when they are opened and then skip for
# good: with libdav1d, AV1 frames that were wanted never came.
_CAN_SKIP = frozenset({'h264', 'hevc', 'mpeg4'})

Finish = Callable[[np.ndarray], np.ndarray]


class PyavVideo:
    """A file read by PyAV (FFmpeg's libraries).

    Frame number i is the i-th of the file decoded from its start. Where packets carry their
    presentation times, that is the one with the i-th smallest, so a wanted frame is decoded from the last key frame
    before it on, without the frames that no other refers to. Elsewhere everything is decoded, and counted.

    Parameters
    ----------
    path : str
    num_threads : int
        Threads of the decoder. Of damage that several of them only log nothing is heard.
    on_damage : {'accept', 'skip', 'raise'}
        What `read` does about frames of which parts are guessed, as `tell_damage` does it.
    """

    name = 'pyav'

    def __init__(self, path: str, num_threads: int = 1, on_damage: str = 'accept'):
        self._path, self._on_damage = path, on_damage
        self._av = import_decoder('av', 'av')
        self._num_threads = num_threads
        self._log = FfmpegLog(self._av, deaf=num_threads > 1)
        self._damage = ''
        self._complaints: dict[int, str] = {}  # what was said of the packet at a position
        self._guessed: dict[int, str] = {}  # and of the frame with a number, where frames are counted
        self._reformatter, self._orientations = self._av.video.reformatter.VideoReformatter(), Orientations()
        self._container = self._open()
        try:
            self._attach(self._container)
            self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
            with self._log:
                self._scan()
                self._times = self._time_table()
                self._length = len(self._times) or self._decode_everything()
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
        base = self._stream.time_base
        return (np.array(self._times) - self._times[0]) * float(base) if self._times and base else None

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Frames of ascending numbers, each through `finish`."""
        self._finish = finish
        with self._log:
            return self._read_by_time(numbers) if self._times else self._read_in_order(numbers)

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
        self._container = container
        self._stream = picture_stream(container, self._path)
        self._context = self._stream.codec_context
        if self._context is None:
            raise DecoderTrouble('this build of it has no decoder for the video stream')
        self._context.thread_count = self._num_threads
        self._context.thread_type = 'AUTO' if self._num_threads > 1 else 'SLICE'

    def _scan(self) -> None:
        """Read all packets: time, key frame or not, shown or not; keep them if they are small enough."""
        self._packets, self._marks, num_bytes = [], [], 0
        self._extent = Extent()
        try:
            for packet in self._container.demux(self._stream):
                self._extent.add(packet)
                if not packet.size:
                    continue
                self._marks.append((packet.pts, packet.is_keyframe, not packet.is_discard))
                num_bytes += packet.size
                if packet.is_corrupt and self._container.format.name != 'mpegts':  # there a gap in the reception
                    raise VideoReadError(self._path, self.name, self._cut_short())
                if num_bytes > KEEP_BYTES:
                    self._packets = None
                if self._packets is not None:
                    self._packets.append(packet)
        except self._av.FFmpegError as error:
            raise VideoReadError(self._path, self.name, f'{self._cut_short()} ({in_words(error)})') from error
        if cause := self._extent.cut_short(self._container, self._stream, self._log.says(ENDED_EARLY)):
            raise VideoReadError(self._path, self.name, cause)

    def _decode_everything(self) -> int:
        """Count the frames by decoding them, and keep them if they are small enough."""
        self._frames, num_frames, num_bytes = [], 0, 0
        self._complaints, said, since = {}, '', 0
        for frame in self._decode_run(self._packets_again(), 0, len(self._marks)):
            # A packet's frame comes out with it or a little later; what refers to it, until the next key frame.
            if new := self._complaints:
                self._complaints = {}
                told = [words for position, words in new.items() if not self._is_lead_in(position)]
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

    def _is_lead_in(self, position: int) -> bool:
        """Whether a packet is shown, or stored, before the first key frame, and so may refer to what is not there."""
        key = next((place for place, (_, is_key, _) in enumerate(self._marks) if is_key), 0)
        time, begin = self._marks[position][0], self._marks[key][0]
        return position < key or None not in (time, begin) and time < begin

    def _cut_short(self) -> str:
        promised = f' of the {self._stream.frames} that it announces' if self._stream.frames else ''
        reached = self._extent.reached(self._container, self._stream)
        return (f'the file ends or breaks after {max(0, len(self._marks) - 1)} frames{promised}: it was cut short'
                + f' to {reached}' * bool(reached))

    def _time_table(self) -> list[int]:
        """Times of the shown frames in ascending order; empty when they cannot tell frames apart."""
        times = [time for time, _, _ in self._marks]
        if not times or None in times or len(set(times)) < len(times) or self._context.name in HIDES_FRAMES:
            return []
        # A file that was cut out of another may begin with frames that refer to what is no longer there (an open group
        # of pictures): FFmpeg drops them, so that times and decoded frames would not match.
        if not self._marks[0][1] or min(times) < times[0]:
            return []
        # AVI has no presentation times: FFmpeg guesses them with B-frames, and wrongly where DivX or XviD packed two
        # frames into one packet (its filter mpeg4_unpack_bframes describes them).
        if self._container.format.name == 'avi' and self._context.has_b_frames:
            return []
        self._position = {time: position for position, time in enumerate(times)}
        self._keys = [position for position, (_, is_key, _) in enumerate(self._marks) if is_key]
        return sorted(time for time, _, shown in self._marks if shown)

    def _read_by_time(self, numbers: list[int]) -> list[np.ndarray]:
        wanted = [self._times[number] for number in numbers]
        pictures, guessed = self._decode_runs(self._runs(wanted))
        missing = set(wanted) - set(pictures)
        if missing:  # damaged data, or a key frame that was none: decode everything from the start, skipping nothing
            again, guessed = self._decode_runs([(0, len(self._marks) - 1, missing)], thorough=True)
            pictures |= again
        self._tell_damage({number: guessed[time] for number, time in zip(numbers, wanted) if time in guessed})
        for number, time in zip(numbers, wanted):
            if time not in pictures:
                cause = f'frame {number} of 0 to {self._length - 1} cannot be decoded'
                raise VideoReadError(self._path, self.name, f'{cause} ({self._damage or "no frame has its time"})')
        return [pictures[time] for time in wanted]

    def _tell_damage(self, causes: dict[int, str]) -> None:
        tell_damage(self._path, self.name, causes, self._on_damage)

    def _runs(self, wanted: list[int]) -> list[tuple[int, int, set[int]]]:
        """Ranges of packets to decode, in order and disjoint: first, last, and the times wanted of each."""
        runs: list[tuple[int, int, set[int]]] = []
        for key, last, time in sorted((self._key_before(time), self._position[time], time) for time in wanted):
            if runs and key <= runs[-1][1]:
                first, end, times = runs[-1]
                runs[-1] = (first, max(end, last), times | {time})
            else:
                runs.append((key, last, {time}))
        return runs

    def _key_before(self, time: int) -> int:
        """Position of the last key frame that is both decoded and shown no later than the frame of this time."""
        keys = self._keys[:bisect.bisect_right(self._keys, self._position[time])]
        return next((key for key in reversed(keys) if self._marks[key][0] <= time), 0)

    def _decode_runs(self, runs: list[tuple[int, int, set[int]]],
                     thorough: bool = False) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        """Pictures by time, and what was said of those that are guessed in parts.

        Unless `thorough`, unneeded frames are skipped, and what seems damaged is left out: it may only seem so.
        """
        pictures, guessed = {}, {}
        packets = self._packets_again()
        for first, last, wanted in runs:
            self._complaints = {}
            for frame in self._decode_run(packets, first, last, set() if thorough else wanted):
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
        here, begin = self._position[time], self._marks[first][0]
        last_key = self._keys[bisect.bisect_right(self._keys, here) - 1] if self._keys else 0
        return next((said for position, said in self._complaints.items()
                     if last_key <= position <= here and self._marks[position][0] >= begin), '')

    def _decode_run(self, packets: Iterator, first: int, last: int, wanted: set[int] = frozenset()) -> Iterator:
        """Frames of the packets at positions first .. last; with `wanted` times, those and what they refer to.

        As in FFmpeg's own programs, a packet that cannot be decoded is passed over.
        """
        can_skip = wanted and self._context.name in _CAN_SKIP
        self._context.flush_buffers()
        position = first
        try:
            for position, packet in packets:
                if position >= first:
                    if can_skip:
                        self._context.skip_frame = 'DEFAULT' if packet.pts in wanted else 'NONREF'
                    yield from self._decode(packet, position)
                if position == last:
                    break
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
        if self._packets is None:
            # Not by av_seek_frame: where it lands differs between formats, and for AVI and MPEG-TS the times after it
            # are not those of the first pass.
            self._container.close()
            self._attach(self._open())
            return enumerate(packet for packet in self._container.demux(self._stream) if packet.size)
        return enumerate(self._packets)

    def _read_in_order(self, numbers: list[int]) -> list[np.ndarray]:
        frames = self._frames or self._decode_run(self._packets_again(), 0, len(self._marks))
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
