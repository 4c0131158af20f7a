"""The input of a network in a stream: pictures, or optical flow that is computed on the fly or was stored."""
from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np

from ...data.flow.folder import ARRAY, MANIFEST
from ...data.flow.methods import check_method, compute_flow, flow_colors, quantize, to_gray
from ...data.preprocess import Preprocess
from ...data.reading.part import VideoPart, frames_of
from ...data.reading.stream import Frame, FrameStream
from ...data.reading.stream_inputs import DEFAULT_FPS
from ...data.reading.video_reader import VideoReader
from ...errors import UsageError

#: A frame as decoded, and what the network may look at with it: (number, seconds, uint8 (H, W, C)), resized.
Seen = tuple[Frame, list[tuple[int, float, np.ndarray]]]
Wanted = Callable[[int, 'int | None'], bool]


def name_of_source(source: str | os.PathLike | VideoPart | np.ndarray) -> str:
    """Return what results and messages call a video; `UsageError` for what is none."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 4 or source.shape[3] != 3 or not source.size:
            raise UsageError(f'frames in memory must be uint8 (T, H, W, 3), RGB in 0..255, got {source.dtype} '
                             f'{source.shape}')
        return f'{len(source)} frames in memory'
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError('a video is the name of a file, a folder of pictures, a camera or an address, or frames in '
                         f'memory as a NumPy array uint8 (T, H, W, 3), got a {type(source).__name__}')
    return str(source) if isinstance(source, VideoPart) else os.fspath(source)


def open_frames(source: str | os.PathLike | VideoPart | np.ndarray, preprocess: Preprocess, *, wanted: Wanted,
                full_size: bool, queue: int = 64, fps: float | None = None, method: str = 'tvl1',
                on_damage: str = 'skip') -> Pictures:
    """Open what fits the source and the model.

    Parameters
    ----------
    source : str, path, VideoPart, or uint8 ndarray (T, H, W, 3)
        What `FrameStream` takes, or a folder of stored flow or a part of one, or frames in memory.
    preprocess : Preprocess
    wanted : callable
        Takes a frame's number, and how many frames there are or None, and says whether the network may look at it.
    full_size : bool
        Whether all frames are needed as they are.
    queue : int
        Frames that are prefetched.
    fps : float, optional
        Frames per second of a folder or an array.
    method : str
        How flow is computed.
    on_damage : {'skip', 'accept', 'raise'}
        As in `FrameStream`. Stored flow is never guessed: what cannot be read of it is an error.
    """
    path = '' if isinstance(source, np.ndarray) else os.fspath(source)
    if not isinstance(source, (np.ndarray, VideoPart)):
        source = path
    if preprocess.modality == 'rgb':
        if path and os.path.isfile(os.path.join(path, MANIFEST)):
            raise UsageError(f'{path}: holds optical flow, and this model looks at pictures; name the video itself')
        return Pictures(source, preprocess, wanted, full_size, queue, fps, on_damage)
    if path and _holds_flow(path):
        return StoredFlow(source, preprocess, wanted, fps)
    check_method(method)
    return ComputedFlow(source, preprocess, wanted, full_size, queue, fps, on_damage, method)


class FramesInMemory:
    """Frames uint8 (T, H, W, 3) with the attributes of a `FrameStream`."""

    live, endless, dropped, offset = False, False, 0, 0.

    def __init__(self, frames: np.ndarray, fps: float | None):
        if fps is not None and not 0 < fps < float('inf'):
            raise UsageError(f'fps must be a number above 0, got {fps}')
        self.fps, self.num_frames, self.skipped = float(fps or DEFAULT_FPS), len(frames), []
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(number, number / self.fps, picture) for number, picture in enumerate(self._frames))

    def close(self) -> None:
        """Nothing is held open."""


class Pictures:
    """The frames of a stream. Iterating gives `Seen`; the attributes are those of `FrameStream`."""

    def __init__(self, source: str | VideoPart | np.ndarray, preprocess: Preprocess, wanted: Wanted, full_size: bool,
                 queue: int, fps: float | None, on_damage: str):
        full_size = full_size or isinstance(source, np.ndarray)
        self._preprocess, self._wants, self._full_size = preprocess, wanted, full_size
        self._opened = threading.Event()  # the thread that prefetches asks what is wanted, and may be ahead of this one
        if isinstance(source, np.ndarray):
            self._stream = FramesInMemory(source, fps)
        else:
            self._stream = FrameStream(source, queue=queue, fps=fps, resize=None if full_size else preprocess.resize,
                                       wanted=None if full_size else self._needed, on_damage=on_damage)
        self.fps, self.live, self.num_frames = self._stream.fps, self._stream.live, self._stream.num_frames
        self.endless = self._stream.endless
        self.skipped, self.offset = self._stream.skipped, self._stream.offset
        self._opened.set()

    @property
    def dropped(self) -> int:
        """Frames of a live source that were dropped because they were not taken in time."""
        return self._stream.dropped

    def __iter__(self) -> Iterator[Seen]:
        for frame in self._stream:
            yield frame, self._look(frame)

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *exception) -> None:
        self._stream.close()

    def _needed(self, number: int) -> bool:
        return self._wanted(number)

    def _wanted(self, number: int) -> bool:
        self._opened.wait()
        return self._wants(number, self.num_frames)

    def _look(self, frame: Frame) -> list[tuple[int, float, np.ndarray]]:
        return [(frame.number, frame.seconds, self._small(frame.picture))] if self._needed(frame.number) else []

    def _small(self, picture: np.ndarray) -> np.ndarray:
        return self._preprocess.resized(picture[None])[0] if self._full_size else picture


class ComputedFlow(Pictures):
    """Optical flow from each frame to the next, at the size that the network's frames are resized to."""

    def __init__(self, source: str | VideoPart | np.ndarray, preprocess: Preprocess, wanted: Wanted, full_size: bool,
                 queue: int, fps: float | None, on_damage: str, method: str):
        super().__init__(source, preprocess, wanted, full_size, queue, fps, on_damage)
        self._method = method
        self._before: tuple[Frame, np.ndarray] | None = None

    def _needed(self, number: int) -> bool:
        return self._wanted(number) or number > 0 and self._wanted(number - 1)

    def _wanted(self, number: int) -> bool:
        self._opened.wait()
        return self._wants(number, self.num_frames and self.num_frames - 1)  # from each frame to the next

    def _look(self, frame: Frame) -> list[tuple[int, float, np.ndarray]]:
        if not self._needed(frame.number):
            return []
        before, self._before = self._before, (frame, to_gray(self._small(frame.picture)))
        if before is None or before[0].number + 1 != frame.number or not self._wanted(before[0].number):
            return []
        flow = compute_flow(before[1], self._before[1], self._method)
        return [(before[0].number, before[0].seconds, quantize(flow, self._preprocess.flow_bound))]


class StoredFlow:
    """Optical flow of a folder that ``gluon-action extract-flow`` made; as decoded it is shown in colours."""

    live, endless, dropped = False, False, 0

    def __init__(self, source: str | VideoPart, preprocess: Preprocess, wanted: Wanted, fps: float | None):
        self._reader = VideoReader(source, modality='flow')
        self._preprocess, self._wanted = preprocess, wanted
        self.fps = float(fps or self._reader.fps or DEFAULT_FPS / self._reader.stride)
        self._first, self.num_frames = frames_of(source, self._reader, is_folder=True, by_name=False) \
            if isinstance(source, VideoPart) else (0, len(self._reader))
        self.skipped = []
        told = None if fps else self._reader.seconds
        seconds = np.arange(len(self._reader)) / self.fps if told is None else told
        first = float(seconds[self._first]) if self._first else 0.
        # Those of a part count from the start of the file that the flow was made of, as its bounds do.
        self.offset = first + self._reader.begins if isinstance(source, VideoPart) else 0.
        self._seconds = (seconds[self._first:self._first + self.num_frames] - first).tolist()

    def __iter__(self) -> Iterator[Seen]:
        for number in range(self.num_frames):
            flow = self._reader.read([self._first + number])
            seconds, wanted = self._seconds[number], self._wanted(number, self.num_frames)
            seen = [(number, seconds, self._preprocess.resized(flow)[0])] if wanted else []
            yield Frame(number, seconds, flow_colors(flow[0])), seen

    def __enter__(self) -> StoredFlow:
        return self

    def __exit__(self, *exception) -> None:
        self._reader.close()


def _holds_flow(path: str) -> bool:
    if not os.path.isdir(path):
        return False
    with contextlib.suppress(OSError):  # what opens it will say why
        return any(name in (MANIFEST, ARRAY) or name.startswith('flow_x_') for name in os.listdir(path))
    return False
