"""The frames of a part of a video in order, for a stream: numbers and times count from the first one of the part."""
from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ...errors import VideoReadError
from .media.media_file import DecoderTrouble
from .part import VideoPart, frames_of
from .sampling import frames_between
from .stream_inputs import DEFAULT_FPS, Item, PictureFolder
from .video_reader import VideoReader

#: Frames that are decoded together, at the first time and later at most, and bytes that these have at most.
_FIRST, _MOST, _BYTES = 4, 64, 64 << 20


class PartOfFile:
    """Frames of a part of a file, sought by their numbers and decoded some at a time.

    Of what is damaged also the frames that refer to it are left out, since whoever seeks decodes it for them.

    Parameters
    ----------
    part : VideoPart
    fps : float, optional
        Instead of what the file says.
    resize : mapping
        Arguments of `VideoReader`.
    wanted : callable, optional
        As in `FrameStream`; what is not wanted is not decoded beside what is.
    num_threads : int
    on_damage : {'skip', 'accept', 'raise'}

    Attributes
    ----------
    offset : float
        Seconds from the start of the video to the first frame of the part.

    Raises
    ------
    VideoReadError
        When the video cannot be opened, or has no such frames.
    """

    def __init__(self, part: VideoPart, fps: float | None, resize: Mapping[str, int],
                 wanted: Callable[[int], bool] | None, num_threads: int, on_damage: str):
        self.path = str(part)
        self._reader = VideoReader(part.path, num_threads=num_threads, on_damage=on_damage, **resize)
        try:
            self._first, self.num_frames = frames_of(part, self._reader, is_folder=False, by_name=False)
            self.fps = float(fps or self._reader.fps or DEFAULT_FPS)
            told = self._reader.seconds
            seconds = np.arange(len(self._reader)) / self.fps if told is None else told
            self.offset = float(seconds[self._first]) + self._reader.begins
        except BaseException:
            self._reader.close()
            raise
        self._seconds = (seconds[self._first:self._first + self.num_frames] - seconds[self._first]).tolist()
        self._wanted, self._most, self._block = wanted or (lambda number: True), _FIRST, {}

    @property
    def name(self) -> str:
        """The decoder."""
        return self._reader.decoder

    def __iter__(self) -> Iterator[Item]:
        for number, seconds in enumerate(self._seconds):
            yield Item(seconds, functools.partial(self._picture, number))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _picture(self, number: int) -> np.ndarray:
        if number not in self._block:
            self._block = self._read(number)
        return self._block.pop(number)

    def _read(self, number: int) -> dict[int, np.ndarray]:
        """Decode a frame, and those that are asked for next."""
        later = (other for other in range(number + 1, self.num_frames) if self._wanted(other))
        numbers = [number, *(other for _, other in zip(range(self._most - 1), later))]
        try:
            frames = self._reader.read([self._first + other for other in numbers])
        except VideoReadError as error:
            if len(numbers) == 1:
                raise DecoderTrouble(error.cause) from error
            self._most = 1  # which of them is damaged, reading them one by one tells
            return self._read(number)
        if self._most > 1:
            self._most = min(_MOST, max(2, _BYTES // frames[0].nbytes))
        return dict(zip(numbers, frames))


class PartOfFolder(PictureFolder):
    """Pictures of a part of a folder, in the natural order of their names.

    Parameters
    ----------
    part : VideoPart
    fps : float, optional

    Attributes
    ----------
    offset : float
        As of `PartOfFile`, at `fps` from the first picture.

    Raises
    ------
    VideoReadError
        When the folder holds no such pictures.
    """

    def __init__(self, part: VideoPart, fps: float | None):
        super().__init__(part.path, fps)
        place = self._numbered(part) if (part.first, part.last) != (None, None) else \
            frames_between(np.arange(self.num_frames) / self.fps, self.num_frames / self.fps, part.start, part.end)
        if not place:
            raise VideoReadError(part.path, self.name, f'the part from {part.start or 0:g} s to {part.end} s holds '
                                 f'none of its {self.num_frames} pictures, at {self.fps:g} a second')
        self.offset = place.start / self.fps
        self._names, self.num_frames = self._names[place.start:place.stop], len(place)

    def _numbered(self, part: VideoPart) -> range:
        numbers = [_number_in(name) for name in self._names] if part.by_name else [*range(1, self.num_frames + 1)]
        first = numbers[0] if part.first is None else part.first
        last = numbers[-1] if part.last is None else part.last
        if first not in numbers or last not in numbers or last < first:
            raise VideoReadError(part.path, self.name, f'frames {first} to {last} were asked for, it has {numbers[0]} '
                                                       f'to {numbers[-1]}')
        return range(numbers.index(first), numbers.index(last) + 1)


def open_part(part: VideoPart, fps: float | None, resize: Mapping[str, int], wanted: Callable[[int], bool] | None,
              num_threads: int, on_damage: str) -> PartOfFile | PartOfFolder:
    """Open a part of whatever its video is; arguments are those of `PartOfFile`."""
    if os.path.isdir(part.path):
        return PartOfFolder(part, fps)
    return PartOfFile(part, fps, resize, wanted, num_threads, on_damage)


def _number_in(name: str) -> int:
    """The last number in the name of a picture; -1 for none."""
    return int((re.findall(r'[0-9]+', os.path.splitext(name)[0]) or ['-1'])[-1])
