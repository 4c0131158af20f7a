"""Frames out of video files by number, by decord: for what PyAV has no decoder for, or whoever asks for it."""
from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from ....errors import VideoReadError
from ..media.ffmpeg_log import FfmpegLog
from ..media.media_file import (
    ENDED_EARLY,
    DecoderTrouble,
    Extent,
    import_decoder,
    in_words,
    orientation,
    picture_stream,
)
from .pyav_video import Finish

# Formats that it seeks to the wrong frames in; of ASF dmlc/decord#310 tells.
_SHOWN_WRONGLY = {'mpegts': 'MPEG-TS', 'asf': 'WMV and ASF'}

# Frames that decord returns at once, at full size: this bounds the memory.
_DECORD_BATCH = 16


class DecordVideo:
    """A file read by decord, unless it is known to show it wrongly.

    Version 0.6.0 gives wrong frames for MPEG-TS, ASF, AVI with B-frames, edit lists, open groups of pictures and
    recordings that were joined, turns what is mirrored, reads the half that is there of a file that was cut short,
    repeats others in place of damaged ones (dmlc/decord#119 describes that it does), and cannot open GIF or raw
    streams. All but the damage PyAV finds by looking through the packets, as decord does itself when it opens a file,
    and by the first frame. On some files ``get_batch`` never returns and only SIGKILL ends it (dmlc/decord#269, #375):
    call it under a deadline.

    Parameters
    ----------
    path : str
    num_threads : int
        Threads of the decoder.

    Raises
    ------
    DecoderTrouble
        When PyAV should read it.
    VideoReadError
        When it holds no frame.
    """

    name = 'decord'

    def __init__(self, path: str, num_threads: int = 1):
        self._path = path
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
        if cause := _shown_wrongly(path):
            self.close()
            raise DecoderTrouble(cause)

    def __len__(self) -> int:
        return self._length

    @property
    def seconds(self) -> np.ndarray:
        """When each frame is shown, float64 (n,) from the first one's."""
        shown = self._shown(range(self._length))
        return np.sort(shown) - shown.min()

    @property
    def begins(self) -> float:
        """Seconds from the file's start, which may be that of its sound, to its first frame; 0 where PyAV is absent."""
        try:
            av = import_decoder('av', 'av')
        except DecoderTrouble:
            return 0.
        try:
            with av.open(self._path, metadata_errors='replace') as container:
                start = container.start_time
        except av.FFmpegError:
            return 0.
        return 0. if start is None else max(0., float(self._shown([0])[0]) - start / 1e6)

    def _shown(self, numbers: Sequence[int]) -> np.ndarray:
        try:
            return np.array(self._reader.get_frame_timestamp(list(numbers)), np.float64)[:, 0]
        except self._errors as error:
            raise DecoderTrouble(in_words(error)) from error

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


def _shown_wrongly(path: str) -> str:
    """Why decord should not read a file; empty where nothing speaks against it, or PyAV cannot tell."""
    try:
        av = import_decoder('av', 'av')
    except DecoderTrouble:
        return ''
    try:
        with av.open(path, metadata_errors='replace') as container:
            stream = picture_stream(container, path)
            if stream.codec_context is None:
                return ''
            if len(container.streams.video) > 1:
                return 'it may read another of the video streams than players show'
            form = container.format.name
            if form in _SHOWN_WRONGLY or form == 'avi' and stream.codec_context.has_b_frames:
                return f'it gives wrong frames of {_SHOWN_WRONGLY.get(form, "AVI with B-frames")}'
            with FfmpegLog(av) as log:
                return _packets_speak_against(container, stream, log)
    except (av.FFmpegError, VideoReadError):
        return ''


def _packets_speak_against(container, stream, log: FfmpegLog) -> str:
    extent, frame, key = Extent(stream.codec_context.extradata), None, None
    for packet in container.demux(stream):
        extent.add(packet)
        if frame is None:
            frame = next(iter(stream.codec_context.decode(packet)), None)
        if packet.is_discard:
            return 'it shows what an edit list leaves out'
        if extent.changes or extent.starts_again:
            return 'it gives wrong frames of recordings that were joined'
        if packet.is_keyframe:
            key = packet.pts
        if packet.is_keyframe and not _begins_anew(packet, stream.codec_context) or (
                None not in (key, packet.pts) and packet.pts < key):
            return 'it gives wrong frames where groups of pictures are open'
    if frame is not None and sum(orientation(frame)) % 2:
        return 'it does not mirror pictures'
    return extent.cut_short(container, stream, log.says(ENDED_EARLY))


def _begins_anew(packet, context) -> bool:
    """Whether nothing after a key frame refers to what is before it: of H.264 and HEVC, whether it is an IDR."""
    if context.name not in ('h264', 'hevc'):
        return True
    data, header = bytes(packet), context.extradata or b''
    kinds = (5,) if context.name == 'h264' else (19, 20)
    shift, mask = (0, 31) if context.name == 'h264' else (1, 63)
    if header[:1] == b'\1' and len(header) > 22:  # units with their lengths before them (ISO/IEC 14496-15)
        width, place = (header[4 if context.name == 'h264' else 21] & 3) + 1, 0
        while place + width < len(data):
            if data[place + width] >> shift & mask in kinds:
                return True
            place += width + int.from_bytes(data[place:place + width], 'big')
        return False
    return any(unit and unit[0] >> shift & mask in kinds for unit in data.split(b'\0\0\1')[1:])
