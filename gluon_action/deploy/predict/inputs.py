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
from ...data.reading.stream import Frame, FrameStream
from ...data.reading.stream_inputs import DEFAULT_FPS
from ...data.reading.video_reader import VideoReader
from ...errors import UsageError

#: A frame as decoded, and what the network may look at with it: (number, seconds, uint8 (H, W, C)), resized.
Seen = tuple[Frame, list[tuple[int, float, np.ndarray]]]
Wanted = Callable[[int, 'int | None'], bool]


def open_frames(source: str | os.PathLike, preprocess: Preprocess, *, wanted: Wanted, full_size: bool, queue: int = 64,
                fps: float | None = None, method: str = 'tvl1') -> Pictures:
    """Open what fits the source and the model.

    Parameters
    ----------
    source : str or path
        What `FrameStream` takes, or a folder of stored flow.
    preprocess : Preprocess
    wanted : callable
        Takes a frame's number, and how many frames there are or None, and says whether the network may look at it.
    full_size : bool
        Whether all frames are needed as they are.
    queue : int
        Frames that are prefetched.
    fps : float, optional
        Frames per second of a folder.
    method : str
        How flow is computed.
    """
    path = os.fspath(source)
    if preprocess.modality == 'rgb':
        if os.path.isfile(os.path.join(path, MANIFEST)):
            raise UsageError(f'{path}: holds optical flow, and this model looks at pictures; name the video itself')
        return Pictures(path, preprocess, wanted, full_size, queue, fps)
    if _holds_flow(path):
        return StoredFlow(path, preprocess, wanted, fps)
    check_method(method)
    return ComputedFlow(path, preprocess, wanted, full_size, queue, fps, method)


class Pictures:
    """The frames of a stream. Iterating gives `Seen`; the attributes are those of `FrameStream`."""

    def __init__(self, path: str, preprocess: Preprocess, wanted: Wanted, full_size: bool, queue: int,
                 fps: float | None):
        self._preprocess, self._wants, self._full_size = preprocess, wanted, full_size
        self._opened = threading.Event()  # the thread that prefetches asks what is wanted, and may be ahead of this one
        self._stream = FrameStream(path, queue=queue, fps=fps, resize=None if full_size else preprocess.resize,
                                   wanted=None if full_size else self._needed)
        self.fps, self.live, self.num_frames = self._stream.fps, self._stream.live, self._stream.num_frames
        self.skipped = self._stream.skipped
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

    def __init__(self, path: str, preprocess: Preprocess, wanted: Wanted, full_size: bool, queue: int,
                 fps: float | None, method: str):
        super().__init__(path, preprocess, wanted, full_size, queue, fps)
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

    live, dropped = False, 0

    def __init__(self, path: str, preprocess: Preprocess, wanted: Wanted, fps: float | None):
        self._reader = VideoReader(path, modality='flow')
        self._preprocess, self._wanted = preprocess, wanted
        self.fps = float(fps or self._reader.fps or DEFAULT_FPS / self._reader.stride)
        self.num_frames, self.skipped = len(self._reader), []
        told = None if fps else self._reader.seconds
        self._seconds = [number / self.fps for number in range(self.num_frames)] if told is None else told.tolist()

    def __iter__(self) -> Iterator[Seen]:
        for number in range(self.num_frames):
            flow = self._reader.read([number])
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
