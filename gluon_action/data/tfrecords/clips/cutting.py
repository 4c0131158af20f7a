"""Clips cut out of videos: cropped, resized, and read by worker processes in the order of the request."""
from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import UsageError, VideoReadError
from ...loading.workers import WorkerError, WorkerPool, WorkerTimeout
from ...reading.video_reader import VideoReader, resize

#: (path, frame numbers) of a clip.
Wanted = tuple[str, list[int]]

_GROUP_BYTES = 32 << 20  # of clips that are read at a time: neighbours share the frames on the way to them
_AHEAD = 2               # groups that may be read for each worker before they are taken


@dataclass(frozen=True)
class CropSettings:
    """How frames are cropped and resized.

    Parameters
    ----------
    height, width : int
        Size that it is resized to.
    crop : tuple of 4 int, optional
        Left, top, width and height, in pixels of the video, of what is taken of it before.
    decoder : str
        As in `VideoReader`.

    Raises
    ------
    UsageError
        When a size is invalid.
    """

    height: int = 224
    width: int = 224
    crop: tuple[int, int, int, int] | None = None
    decoder: str = 'auto'

    def __post_init__(self):
        if min(self.height, self.width) < 1:
            raise UsageError(f'--size must be 1 or more, got {self.height} x {self.width}')
        if self.crop is not None and (min(self.crop) < 0 or min(self.crop[2:]) < 1):
            raise UsageError('--crop takes left, top, width and height, the first two 0 or more and the others 1 or '
                             f'more, got {",".join(map(str, self.crop))}')

    def __call__(self, frame: np.ndarray, path: str, decoder: str) -> np.ndarray:
        """Cut uint8 (H, W, 3) of the video at `path`."""
        if self.crop is not None:
            left, top, width, height = self.crop
            if top + height > frame.shape[0] or left + width > frame.shape[1]:
                raise VideoReadError(path, decoder, f'its frames are {frame.shape[1]}x{frame.shape[0]}, which has no '
                                     f'{width}x{height} (width x height) at ({left}, {top}); change --crop')
            frame = frame[top:top + height, left:left + width]
        return resize(np.ascontiguousarray(frame), self.width, self.height)


def cut_clips(wanted: Sequence[Wanted], cut: CropSettings, *, num_workers: int = 1,
              timeout: float | None = None) -> Iterator[np.ndarray | VideoReadError]:
    """Read clips.

    Parameters
    ----------
    wanted : sequence of (str, list of int)
        Path and frame numbers of each clip; clips of a video that follow each other are read together.
    cut : CropSettings
    num_workers : int
        Processes; 0 reads in this one, without a time limit.
    timeout : float, optional
        Seconds that reading one clip may take.

    Yields
    ------
    uint8 ndarray (T, height, width, 3), or VideoReadError
        In the order of `wanted`, whatever the number of processes.
    """
    groups = _groups(wanted, cut)
    read = _ClipReader(cut)
    if not num_workers or not groups:
        for path, clips in groups:
            yield from read(path, clips)
        read.close()
        return
    most = max(len(clips) for _, clips in groups)
    pool = WorkerPool(read, min(num_workers, len(groups)), timeout=timeout and timeout * most)
    try:
        for (path, clips), answer in zip(groups, _in_order(pool, groups, _AHEAD * num_workers)):
            if isinstance(answer, WorkerTimeout):
                answer = VideoReadError(path, cut.decoder, f'a clip was not read within {timeout:g} s, so it was given '
                                        'up; --timeout allows more')
            elif isinstance(answer, WorkerError):
                answer = VideoReadError(path, cut.decoder, str(answer))
            elif isinstance(answer, Exception):
                raise answer
            yield from [answer] * len(clips) if isinstance(answer, VideoReadError) else answer
    finally:
        pool.close()


def _groups(wanted: Sequence[Wanted], cut: CropSettings) -> list[tuple[str, list[list[int]]]]:
    """Clips that follow each other in one video, as many as fit into `_GROUP_BYTES`."""
    groups = []
    for path, clips in itertools.groupby(wanted, key=lambda clip: clip[0]):
        frames = [frames for _, frames in clips]
        size = max(1, _GROUP_BYTES // (3 * cut.height * cut.width * len(frames[0])))
        groups += [(path, frames[first:first + size]) for first in range(0, len(frames), size)]
    return groups


def _in_order(pool: WorkerPool, tasks: Sequence[tuple], ahead: int) -> Iterator:
    """Answers in the order of the tasks, of which at most `ahead` more than were answered are under way."""
    answers, submitted = {}, 0
    for number in range(len(tasks)):
        while submitted < min(len(tasks), number + ahead):
            pool.submit(submitted, *tasks[submitted])
            submitted += 1
        while number not in answers:
            key, answer = pool.next()
            answers[key] = answer
        yield answers.pop(number)


class _ClipReader:
    """Reads clips of one video after the other, which stays open for the next clips of it."""

    def __init__(self, cut: CropSettings):
        self._cut = cut
        self._video: _CutVideo | None = None

    def __call__(self, path: str, clips: list[list[int]]) -> list[np.ndarray | VideoReadError]:
        try:
            frames = self._opened(path).read([number for clip in clips for number in clip])
        except VideoReadError as error:
            self.close()
            if len(clips) == 1:
                return [error]
            return [self(path, [clip])[0] for clip in clips]  # the others may be whole
        return list(frames.reshape(len(clips), -1, *frames.shape[1:]))

    def _opened(self, path: str) -> VideoReader:
        if self._video is None or self._video.path != path:
            self.close()
            self._video = _CutVideo(path, self._cut)
        return self._video

    def close(self) -> None:
        """Close the video."""
        if self._video is not None:
            self._video.close()
            self._video = None


class _CutVideo(VideoReader):
    """A video whose frames are cropped as they are decoded, so that they are never in memory in full size together."""

    def __init__(self, path: str, cut: CropSettings):
        self._cut = cut
        super().__init__(path, decoder=cut.decoder)

    def _finish(self, frame: np.ndarray) -> np.ndarray:
        return self._cut(frame, self.path, self.decoder)
