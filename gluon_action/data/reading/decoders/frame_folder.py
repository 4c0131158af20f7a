"""Frames out of a folder of numbered pictures, by OpenCV or Pillow."""
from __future__ import annotations

import bisect
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ....errors import VideoReadError
from ..media.media_file import DecoderTrouble
from .numbered_pictures import NoPictures, NumberedPictures, SameNumber, folder_listings
from .picture_file import PICTURE_LOADERS, Load, PictureTrouble
from .pyav_video import Finish

Part = tuple[int | None, int | None]


class FrameFolder:
    """A folder of pictures that `name_pattern` names, numbered without gaps from 0 or 1, or a part of them.

    Parameters
    ----------
    path : str
    name_pattern : str
        The names, with one ``%d`` or ``%05d`` for the number.
    decoder : {'opencv', 'pillow'}
        Who reads the pictures. OpenCV reads quicker; Pillow is there where OpenCV's libraries are not.
    gray : bool
        Read pictures of one channel, (H, W).
    part : (int or None, int or None), optional
        Take the pictures with numbers from the first to the second, both included; the folder may hold others or not
        begin at 1. None is its lowest or highest number; between two Nones it may also have gaps.
    """

    fps = None

    def __init__(self, path: str, name_pattern: str, decoder: str, gray: bool = False,
                 part: Part | None = None):
        self.name = decoder
        self._path, self._name_pattern = path, name_pattern
        self._load = PICTURE_LOADERS[decoder](gray)
        self._pictures = self._listed()
        numbers = self._pictures.numbers
        self._places = range(len(numbers)) if part is None else self._cut(numbers, *part)
        first, last = numbers[self._places[0]], numbers[self._places[-1]]
        start = min(first, 1) if part is None else first
        num_missing = last - start + 1 - len(self)
        if num_missing and part != (None, None):
            missing = itertools.islice(_gaps(start, (numbers[place] for place in self._places)), 3)
            files = ', '.join(name_pattern % number for number in missing)
            more = f' and {num_missing - 3} more' if num_missing > 3 else ''
            raise VideoReadError(path, self.name, f'frames are missing between its {len(self)}: {files}{more}')

    def __len__(self) -> int:
        return len(self._places)

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Frames of ascending numbers, each through `finish`."""
        return [finish(self._load_one(self._pictures.name(self._places[number]))) for number in numbers]

    def close(self) -> None:
        """Nothing is held open."""

    def _cut(self, numbers: Sequence[int], first: int | None, last: int | None) -> range:
        """Places of the pictures from one number to another."""
        first, last = numbers[0] if first is None else first, numbers[-1] if last is None else last
        if first < numbers[0] or last > numbers[-1] or last < first:
            raise VideoReadError(self._path, self.name, f'frames {first} to {last} were asked for, the folder holds '
                                                        f'{len(numbers)} frames, {numbers[0]} to {numbers[-1]}')
        places = [bisect.bisect_left(numbers, number) for number in (first, last)]
        missing = [number for number, place in zip((first, last), places) if numbers[place] != number]
        if missing:
            raise VideoReadError(self._path, self.name, f'frames {first} to {last} were asked for, and '
                                                        f'{self._name_pattern % missing[0]} is not there')
        return range(places[0], places[1] + 1)

    def _load_one(self, name: str) -> np.ndarray:
        try:
            return self._load(os.path.join(self._path, name))
        except PictureTrouble as trouble:
            raise VideoReadError(self._path, self.name, f'{name} {trouble}') from trouble

    def _listed(self) -> NumberedPictures:
        try:
            return folder_listings.of(self._path, self._name_pattern)
        except OSError as error:
            raise VideoReadError(self._path, self.name, f'the folder cannot be listed: {error.strerror}') from error
        except SameNumber as trouble:
            raise VideoReadError(self._path, self.name, f'{same_number(trouble.numbered)}; remove those that are not '
                                                        'meant, or tell them apart with --name-pattern') from None
        except NoPictures as trouble:
            files = trouble.others
            holds = f'it holds {len(files)} others, such as {min(files)}; --name-pattern names them' if files else \
                'the folder is empty'
            raise VideoReadError(self._path, self.name,
                                 f'no file is named like {self._name_pattern}; {holds}') from None


def _gaps(start: int, numbers: Iterable[int]) -> Iterator[int]:
    """Numbers from `start` on that are missing among ascending ones."""
    for number in numbers:
        yield from range(start, number)
        start = number + 1


def natural_order(name: str) -> tuple:
    """Sort key that puts ``frame_9.jpg`` before ``frame_10.jpg``."""
    parts = re.split('([0-9]+)', name)
    return (*((part, int(number)) for part, number in zip(parts[::2], parts[1::2])), (parts[-1], -1), name)


def same_number(numbered: list[tuple[int | str, str]]) -> str:
    """Say which files of those, each with what it is numbered by, are the same frame."""
    numbered = sorted(numbered)
    number, names = next((one[0], (one[1], other[1])) for one, other in itertools.pairwise(numbered)
                         if one[0] == other[0])
    again = len(numbered) - len(dict(numbered))
    more = f', and {again - 1} more are there twice' if again > 1 else ''
    return f'{names[0]} and {names[1]} are both frame {number}{more}'


def picture_loader(path: str) -> tuple[str, Load]:
    """Name of what reads pictures here, OpenCV or else Pillow, and its function: file -> uint8 (H, W, 3) RGB.

    Raises
    ------
    VideoReadError
        Where neither is installed, about the folder `path`.
    PictureTrouble
        From the function, for a file that is no whole picture.
    """
    causes = []
    for name, loader in PICTURE_LOADERS.items():
        try:
            return name, loader(False)
        except DecoderTrouble as trouble:
            causes.append(str(trouble))
    raise VideoReadError(path, ', '.join(PICTURE_LOADERS), '; '.join(causes))
