"""Frames of a file, a folder of pictures, a camera or an address in order, prefetched by a thread."""
from __future__ import annotations

import collections
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...errors import DamagedVideoError, UsageError, VideoReadError
from ..transforms.functional import short_side_size
from .media.damage import check_on_damage, tell_damage
from .media.media_file import DecoderTrouble
from .part import VideoPart
from .part_frames import open_part
from .stream_inputs import DecodedFile, PictureFolder
from .video_reader import is_readable_folder, resize

#: Bytes of pictures that wait at most, however few that are: 64 frames of 4K would be 1.6 GB.
QUEUE_BYTES = 64 << 20
_LIVE = ('rtsp', 'rtsps', 'rtmp', 'rtmps', 'rtp', 'udp', 'srt', 'tcp')


class Frame(NamedTuple):
    """One frame: its number from 0, when it is shown in seconds from the first one's, and uint8 (H, W, 3) RGB."""

    number: int
    seconds: float
    picture: np.ndarray


class Skipped(NamedTuple):
    """A frame that could not be decoded; its number and time stay empty."""

    number: int
    seconds: float
    cause: str


class FrameStream:
    """The frames of a video in order, however long it is, with a bounded number of them in memory.

    A thread prefetches frames. A frame that is damaged or cannot be decoded is left out and listed in `skipped`; the
    others keep their numbers and times. Frames that refer to it come as the decoder conceals the damage.

    Parameters
    ----------
    source : str, path or VideoPart
        A video file; a folder of pictures, taken in the natural order of their names; a camera such as
        ``/dev/video0``; an address (``rtsp://``, ``http://`` ...); ``-`` for a video on standard input. Of a part of a
        file or a folder, numbers and times count from the first frame in it.
    queue : int
        Frames that wait at most; fewer where they are so large that they would take more than `QUEUE_BYTES`.
    resize : dict, optional
        ``{'short_side': n}`` or ``{'width': w, 'height': h}``, done by the thread, so that small pictures wait.
    wanted : callable, optional
        Takes a frame's number, returns whether it is wanted. The others are decoded, since later ones refer to them,
        but neither converted nor resized; pictures of a folder are not even read. It is called by the thread, which
        keeps a stream alive that it refers to: close that one.
    fps : float, optional
        Frames per second of a folder or a file without times; by default what the file says, else 25.
    live : bool, optional
        Whether the source produces frames while nobody reads: then the oldest waiting frame is dropped for a new one,
        and counted in `dropped`. By default true of cameras and of addresses that stream (not of http). Of files and
        folders nothing is ever dropped.
    num_threads : int
        Threads of the decoder. One, because a network computes at the same time.
    timeout : float
        Seconds to wait for an address to answer or to send more.
    on_damage : {'skip', 'accept', 'raise'}
        What to do about damage: leave out the frames that it hits, take those that come out with parts guessed and
        warn of them at the end, or stop.

    Attributes
    ----------
    fps : float
        Frames per second on average.
    num_frames : int or None
        Frames that the source announces, for a progress bar; not to be relied on.
    endless : bool
        Whether nobody knows where it ends: a camera, an address that streams, a pipe that does not announce its frames.
    offset : float
        Seconds from the start of the video to the first frame of a part; 0 of a whole one.
    skipped : list of Skipped
        Frames that could not be decoded so far, prefetched ones included.
    dropped : int
        Frames of a live source that nobody took in time.

    Raises
    ------
    VideoReadError
        When the source cannot be opened; from iteration when it holds no frame or a connection breaks.
    DamagedVideoError
        From iteration, with `on_damage` 'raise'.
    UsageError
        When an argument is invalid.

    Examples
    --------
    >>> with FrameStream('holiday.mp4', resize={'short_side': 256}) as frames:
    ...     for number, seconds, picture in frames:
    ...         show(picture)
    """

    def __init__(self, source: str | os.PathLike, *, queue: int = 64, resize: Mapping[str, int] | None = None,
                 wanted: Callable[[int], bool] | None = None, fps: float | None = None, live: bool | None = None,
                 num_threads: int = 1, timeout: float = 10.0, on_damage: str = 'skip'):
        if queue < 1:
            raise UsageError(f'queue must be 1 or more frames, got {queue}')
        if fps is not None and not 0 < fps < float('inf'):
            raise UsageError(f'fps must be a number above 0, got {fps}')
        check_on_damage(on_damage)
        self.path = os.fspath(source)
        kind = _kind(self.path)
        if live and kind in ('file', 'folder'):
            raise UsageError(f'live: {self.path} is a {kind}, which waits; leave it out')
        self.live = kind == 'live' if live is None else live
        finish = _resizer(resize or {})
        if isinstance(source, VideoPart):
            frames = open_part(source, fps, resize or {}, wanted, max(1, num_threads), on_damage)
        elif kind == 'folder':
            frames = PictureFolder(self.path, fps)
        else:
            frames = DecodedFile(self.path, fps, max(1, num_threads), timeout, self.live)
        self.fps, self.num_frames, self.offset = frames.fps, frames.num_frames, getattr(frames, 'offset', 0.)
        self.endless = self.live or kind == 'waits' and self.num_frames is None
        self._queue, self.skipped = _Queue(queue, self.live), []
        # The thread knows the queue, not this object: one that is forgotten is collected, and that ends the thread.
        self._thread = threading.Thread(target=_prefetch, name=f'frames of {self.path}', daemon=True,
                                        args=(frames, self._queue, self.skipped, wanted, finish, on_damage))
        self._end = weakref.finalize(self, _end, self._queue, self._thread)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return self._queue.take()

    @property
    def dropped(self) -> int:
        """Frames of a live source that nobody took in time."""
        return self._queue.dropped

    def close(self) -> None:
        """End the thread and close the source at once; safe to call again."""
        self._end()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _Queue:
    """Frames between the thread and the consumer, bounded in number and bytes."""

    def __init__(self, limit: int, drops: bool):
        self._limit, self._drops = limit, drops
        self._frames: collections.deque[Frame] = collections.deque()
        self._bytes, self._ended, self._error = 0, False, None
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, frame: Frame) -> None:
        """Add a frame, waiting for room, or making it where frames may be dropped."""
        with self._changed:
            while self._is_full(frame) and not self._ended:
                if self._drops:
                    self._bytes -= self._frames.popleft().picture.nbytes
                    self.dropped += 1
                else:
                    self._changed.wait()
            if not self._ended:
                self._frames.append(frame)
                self._bytes += frame.picture.nbytes
                self._changed.notify_all()

    def take(self) -> Frame:
        """Wait for the next frame; StopIteration after the last, or the error that ended the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= frame.picture.nbytes
                self._changed.notify_all()
                return frame
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration

    def end(self, error: BaseException | None = None, forget: bool = False) -> None:
        """No more frames; with `forget` not even those that wait."""
        with self._changed:
            if not self._ended:
                self._error = error
            self._ended = True
            if forget:
                self._frames.clear()
                self._error = None
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        return self._ended

    def _is_full(self, frame: Frame) -> bool:
        waiting = len(self._frames)
        return waiting >= self._limit or waiting > 0 and self._bytes + frame.picture.nbytes > QUEUE_BYTES


def _prefetch(source, queue: _Queue, skipped: list[Skipped], wanted: Callable | None, finish: Callable,
              on_damage: str) -> None:
    """Prefetch frames: the body of the thread."""
    try:
        num_good, damaged = 0, {}
        for number, item in enumerate(source):
            if queue.ended:
                break
            try:
                if item.picture is None or item.cause and on_damage != 'accept':
                    raise DecoderTrouble(item.cause)
                if item.cause:
                    damaged[number] = item.cause
                if wanted is None or wanted(number):
                    picture = finish(item.picture())
                    queue.put(Frame(number, item.seconds, picture if picture.base is None else picture.copy()))
                num_good += 1
            except DecoderTrouble as trouble:
                if on_damage == 'raise':
                    raise DamagedVideoError(f'{source.path}: frame {number} at {item.seconds:.2f} s: {trouble}; '
                                            '--on-damage skip leaves out what is damaged') from trouble
                skipped.append(Skipped(number, item.seconds, str(trouble)))
        if not num_good and not queue.ended:
            why = f' that can be decoded ({skipped[0].cause})' if skipped else ''
            raise VideoReadError(source.path, source.name, f'it holds no frame{why}')
        tell_damage(source.path, source.name, damaged, 'accept')
    except Exception as error:  # whatever it is, it belongs to whoever waits for the next frame
        queue.end(error)
    finally:
        source.close()
        queue.end()


def _end(queue: _Queue, thread: threading.Thread) -> None:
    queue.end(forget=True)
    if thread is not threading.current_thread():  # collecting garbage may happen in any thread
        # Not for ever: a camera or an address may keep the thread waiting; it ends when that does.
        thread.join(timeout=1.0)


def _kind(path: str) -> str:
    """'folder', 'file', 'live' (produces frames while nobody reads) or 'waits' (pipes, http)."""
    if '://' in path:
        return 'live' if path.split('://')[0].lower() in _LIVE else 'waits'
    if path == '-':
        return 'waits'
    if is_readable_folder(path, 'auto'):
        return 'folder'
    mode = os.stat(path).st_mode
    return 'file' if stat.S_ISREG(mode) else 'live' if stat.S_ISCHR(mode) else 'waits'


def _resizer(size: Mapping[str, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that resizes a picture as `FrameStream` was told."""
    if not size:
        return lambda picture: picture
    if set(size) not in ({'short_side'}, {'width', 'height'}) or any(
            not isinstance(side, int) or side < 1 for side in size.values()):
        raise UsageError("resize must be {'short_side': n} or {'width': w, 'height': h} with integers of 1 or more, "
                         f'got {dict(size)}')
    if 'short_side' not in size:
        return lambda picture: resize(picture, size['width'], size['height'])

    def by_short_side(picture: np.ndarray) -> np.ndarray:
        height, width = short_side_size(*picture.shape[:2], size['short_side'])
        return resize(picture, width, height)
    return by_short_side
