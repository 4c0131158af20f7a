"""Frames out of a folder of numbered pictures, by OpenCV or Pillow."""
from __future__ import annotations

import itertools
import os
import re

import numpy as np

from ...errors import UsageError, VideoReadError
from .decoders import Finish
from .media_file import DecoderTrouble
from .picture_file import PICTURE_LOADERS, Load, PictureTrouble

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
        names = self._numbered_names()
        numbers = sorted(names)
        if part is not None:
            numbers = self._cut(numbers, *part)
        start = min(numbers[0], 1) if part is None else numbers[0]
        missing = sorted(set(range(start, numbers[-1])) - set(numbers)) if part != (None, None) else []
        if missing:
            files = ', '.join(name_pattern % number for number in missing[:3])
            more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
            raise VideoReadError(path, self.name, f'frames are missing between its {len(numbers)}: {files}{more}')
        self._files = [names[number] for number in numbers]

    def __len__(self) -> int:
        return len(self._files)

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Frames of ascending numbers, each through `finish`."""
        return [finish(self._load_one(self._files[number])) for number in numbers]

    def close(self) -> None:
        """Nothing is held open."""

    def _cut(self, numbers: list[int], first: int | None, last: int | None) -> list[int]:
        first, last = numbers[0] if first is None else first, numbers[-1] if last is None else last
        if first < numbers[0] or last > numbers[-1] or last < first:
            raise VideoReadError(self._path, self.name, f'frames {first} to {last} were asked for, the folder holds '
                                                        f'{len(numbers)} frames, {numbers[0]} to {numbers[-1]}')
        missing = [number for number in (first, last) if number not in numbers]
        if missing:
            raise VideoReadError(self._path, self.name, f'frames {first} to {last} were asked for, and '
                                                        f'{self._name_pattern % missing[0]} is not there')
        return [number for number in numbers if first <= number <= last]

    def _load_one(self, name: str) -> np.ndarray:
        try:
            return self._load(os.path.join(self._path, name))
        except PictureTrouble as trouble:
            raise VideoReadError(self._path, self.name, f'{name} {trouble}') from trouble

    def _numbered_names(self) -> dict[int, str]:
        parts = re.fullmatch(r'(.*?)%(0?\d*)d(.*)', self._name_pattern)
        if not parts:
            raise UsageError(f'name_pattern {self._name_pattern!r} must hold one number such as %05d')
        before, width, after = parts.groups()
        name = re.compile(f'{re.escape(before)}([0-9]{{{int(width or 1)},}}){re.escape(after)}')
        try:
            files = os.listdir(self._path)
        except OSError as error:
            raise VideoReadError(self._path, self.name, f'the folder cannot be listed: {error.strerror}') from error
        found = [(int(match[1]), file) for file in files if (match := name.fullmatch(file))]
        names = dict(found)
        if not names:
            holds = f'it holds {len(files)} others, such as {min(files)}; --name-pattern names them' if files else \
                'the folder is empty'
            raise VideoReadError(self._path, self.name, f'no file is named like {self._name_pattern}; {holds}')
        if len(names) < len(found):
            raise VideoReadError(self._path, self.name, f'{same_number(found)}; remove those that are not meant, or '
                                                        'tell them apart with --name-pattern')
        return names


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
