"""Frames out of video files by number, exactly: PyAV and decord behind one interface.

Each class here has ``name``, ``fps``, ``len()``, ``read(numbers, finish)`` and ``close()``. ``read`` takes ascending
frame numbers and gives what `finish` makes of each frame, uint8 (H, W, 3) RGB, so that a shrunk copy is all that stays
in memory. `VideoReadError` is raised for what no decoder could read, `DecoderTrouble` for what another one might.
"""
from __future__ import annotations

import bisect
import contextlib
import ctypes
import importlib
import logging
import re
from collections.abc import Callable, Iterator

import numpy as np

from ...errors import VideoReadError

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


# Frames that decord returns at once, at full size: this bounds the memory.
_DECORD_BATCH = 16

Finish = Callable[[np.ndarray], np.ndarray]


class DecoderTrouble(Exception):
    """A decoder that is not installed or failed, where another one may succeed."""


class PyavVideo:
    """A file read by PyAV (FFmpeg's libraries).

    Frame number i is the i-th of the file decoded from its start. Where packets carry their
    presentation times, that is the one with the i-th smallest, so a wanted frame is decoded from the last key frame
    before it on, without the frames that no other refers to. Elsewhere everything is decoded, and counted.

    Parameters
    ----------
    path : str
    num_threads : int
        Threads of the decoder.
    """

    name = 'pyav'

    def __init__(self, path: str, num_threads: int = 1):
        self._path = path
        self._av = import_decoder('av', 'av')
        self._num_threads = num_threads
        self._damage = ''
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._container = self._open()
        try:
            self._attach(self._container)
            self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
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
        try:
            for packet in self._container.demux(self._stream):
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

    def _decode_everything(self) -> int:
        """Count the frames by decoding them, and keep them if they are small enough."""
        self._frames, num_frames, num_bytes = [], 0, 0
        for frame in self._decode_run(self._packets_again(), 0, len(self._marks)):
            num_frames += 1
            num_bytes += sum(plane.buffer_size for plane in frame.planes)
            if num_bytes > KEEP_BYTES:
                self._frames = None
            if self._frames is not None:
                self._frames.append(frame)
        return num_frames

    def _cut_short(self) -> str:
        promised = f' of the {self._stream.frames} that it announces' if self._stream.frames else ''
        return f'the file ends or breaks after {max(0, len(self._marks) - 1)} frames{promised}: it was cut short'

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
        pictures = self._decode_runs(self._runs(wanted))
        missing = set(wanted) - set(pictures)
        if missing:  # damaged data, or a key frame that was none: decode everything from the start, skipping nothing
            pictures |= self._decode_runs([(0, len(self._marks) - 1, missing)], thorough=True)
        for number, time in zip(numbers, wanted):
            if time not in pictures:
                cause = f'frame {number} of 0 to {self._length - 1} cannot be decoded'
                raise VideoReadError(self._path, self.name, f'{cause} ({self._damage or "no frame has its time"})')
        return [pictures[time] for time in wanted]

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

    def _decode_runs(self, runs: list[tuple[int, int, set[int]]], thorough: bool = False) -> dict[int, np.ndarray]:
        """Pictures by time. Unless `thorough`, unneeded frames are skipped and damaged ones are left out."""
        pictures: dict[int, np.ndarray] = {}
        packets = self._packets_again()
        for first, last, wanted in runs:
            for frame in self._decode_run(packets, first, last, set() if thorough else wanted):
                if frame.pts not in wanted or (frame.is_corrupt and not thorough):
                    continue
                if frame.is_corrupt:
                    _log.warning('%s: frame %d is damaged, parts of it are guessed', self._path,
                                 bisect.bisect_left(self._times, frame.pts))
                pictures[frame.pts] = self._picture(frame)
        return pictures

    def _decode_run(self, packets: Iterator, first: int, last: int, wanted: set[int] = frozenset()) -> Iterator:
        """Frames of the packets at positions first .. last; with `wanted` times, those and what they refer to.

        As in FFmpeg's own programs, a packet that cannot be decoded is passed over.
        """
        can_skip = wanted and self._context.name in _CAN_SKIP
        self._context.flush_buffers()
        try:
            for position, packet in packets:
                if position >= first:
                    if can_skip:
                        self._context.skip_frame = 'DEFAULT' if packet.pts in wanted else 'NONREF'
                    yield from self._decode(packet)
                if position == last:
                    break
            yield from self._decode(None)
        finally:
            self._context.skip_frame = 'DEFAULT'
            self._context.flush_buffers()

    def _decode(self, packet) -> list:
        try:
            return self._context.decode(packet)
        except self._av.FFmpegError as error:
            self._damage = in_words(error)
            return []

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
            if number in wanted:
                pictures.append(self._picture(frame))
            if number == numbers[-1]:
                return pictures
        raise VideoReadError(self._path, self.name, f'gave {self._length} frames when they were counted, fewer now')

    def _picture(self, frame) -> np.ndarray:
        return self._finish(upright(frame, self._reformatter, self._num_threads))


class DecordVideo:
    """A file read by decord.

    Version 0.6.0 gives wrong frames for MPEG-TS, AVI with B-frames, edit lists and open groups of pictures, repeats
    others in place of damaged ones (dmlc/decord#119 describes that it does), and cannot open GIF or raw streams. On
    some files ``get_batch`` never returns and only SIGKILL ends it (dmlc/decord#269, #375): call it under a deadline.

    Parameters
    ----------
    path : str
    num_threads : int
        Threads of the decoder.
    """

    name = 'decord'

    def __init__(self, path: str, num_threads: int = 1):
        with _symbols_kept_apart():
            decord = import_decoder('decord', 'decord')
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError, OSError)
        try:
            self._reader = decord.VideoReader(path, num_threads=num_threads)
            self._length = len(self._reader)
            self.fps = float(self._reader.get_avg_fps())
        except self._errors as error:
            raise DecoderTrouble(in_words(error)) from error
        if self._length == 0:
            raise VideoReadError(path, self.name, 'its video stream holds no frame')

    def __len__(self) -> int:
        return self._length

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Frames of ascending numbers, each through `finish`."""
        frames = []
        try:
            for first in range(0, len(numbers), _DECORD_BATCH):
                batch = self._reader.get_batch(numbers[first:first + _DECORD_BATCH]).asnumpy()
                frames += [finish(frame) for frame in batch]
        except self._errors as error:
            raise DecoderTrouble(in_words(error)) from error
        return frames

    def close(self) -> None:
        """Close the file."""
        self._reader = None


def import_decoder(module: str, package: str):
    """Import a decoder's module, or raise `DecoderTrouble` with the package that brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise DecoderTrouble(f'{package} cannot be loaded ({error}); pip install {package}') from error


def picture_stream(container, path: str):
    """The stream of a container opened by PyAV that holds the video; `VideoReadError` where there is none."""
    cover = import_decoder('av', 'av').stream.Disposition.attached_pic  # of a song: a video stream of one picture
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kinds = sorted({'cover picture' if stream.type == 'video' else stream.type for stream in container.streams})
        raise VideoReadError(path, 'pyav', f'has no video stream, only {" and ".join(kinds) or "nothing"}')
    return streams[0]


def upright(frame, reformatter, num_threads: int = 1) -> np.ndarray:
    """A frame decoded by PyAV as uint8 (H, W, 3) RGB, rotated as its metadata says.

    It is a view of the decoder's own memory, whose rows may be padded: copy it to keep it or to write to it. A phone
    that is held upright stores pictures on their side and the rotation as metadata; decord applies it as well.
    """
    rgb = reformatter.reformat(frame, format='rgb24', threads=num_threads)
    rows = np.frombuffer(rgb.planes[0], np.uint8).reshape(rgb.height, -1)
    picture = rows[:, :3 * rgb.width].reshape(rgb.height, rgb.width, 3)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


@contextlib.contextmanager
def _symbols_kept_apart() -> Iterator[None]:
    """Load libraries without offering their symbols to others.

    decord loads its library with RTLD_GLOBAL (dmlc/decord#361) and so offers its own copy of dmlc-core to the whole
    process; MXNet, loaded later, binds to it and crashes during the import.
    """
    offered = ctypes.RTLD_GLOBAL
    ctypes.RTLD_GLOBAL = ctypes.RTLD_LOCAL
    try:
        yield
    finally:
        ctypes.RTLD_GLOBAL = offered


def why_not_a_video(path: str, error: Exception) -> str:
    """What is wrong with a file that FFmpeg cannot open."""
    with open(path, 'rb') as file:
        is_mp4 = file.read(12)[4:8] == b'ftyp'
    if is_mp4:
        return f'an mp4 whose index (moov) is missing or broken: it was cut short ({in_words(error)})'
    return f'not a video of any known format ({in_words(error)})'


def in_words(error: Exception) -> str:
    """The first telling line of a decoder's message, without its source lines and addresses."""
    text = getattr(error, 'strerror', None) or str(error)
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return re.sub(r'^((\[[0-9:]+\] )?\S+\.cc:[0-9]+: )+', '', line.strip())
