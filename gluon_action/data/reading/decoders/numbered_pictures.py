"""Which numbered pictures a folder holds, listed once by each process: of an hour of frames they are 100,000."""
from __future__ import annotations

import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from ....errors import UsageError

#: Bytes of listings that a process remembers; one whose numbers have no gap takes some hundred.
LISTINGS_BYTES = 32 << 20

_ENTRY_BYTES = 500  # of what is remembered of a folder beside its numbers and names
_SETTLED_NS = 2_000_000_000  # a change in the same tick of a file system's clock would not be seen


class NumberedPictures(NamedTuple):
    """Pictures of a folder.

    Attributes
    ----------
    pattern : str
        Their names, with one ``%05d``.
    numbers : sequence of int
        In ascending order; a range where none is missing.
    names : sequence of str or None
        In the same order; None where the pattern gives them.
    """

    pattern: str
    numbers: Sequence[int]
    names: Sequence[str] | None = None

    def name(self, place: int) -> str:
        """Name of the picture at a place among `numbers`."""
        return self.pattern % self.numbers[place] if self.names is None else self.names[place]


class NoPictures(Exception):
    """A folder without pictures of a pattern; `others` are the files that it holds instead."""

    def __init__(self, others: Sequence[str]):
        super().__init__(others)
        self.others = others


class SameNumber(Exception):
    """A folder with several pictures of one number; `numbered` has (number, name) of all."""

    def __init__(self, numbered: list[tuple[int, str]]):
        super().__init__(numbered)
        self.numbered = numbered


class FolderListings:
    """Listings of the folders that were read last, as long as the folders do not change.

    Parameters
    ----------
    most_bytes : int
        That are kept.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes, self._bytes = most_bytes, 0
        self._known: OrderedDict[tuple[str, str], tuple[tuple, NumberedPictures, int]] = OrderedDict()

    def of(self, folder: str, pattern: str) -> NumberedPictures:
        """Return the pictures of a folder whose names follow a pattern.

        Raises
        ------
        NoPictures, SameNumber
        OSError
            When the folder cannot be listed.
        UsageError
            For a pattern without a number.
        """
        status = os.stat(folder)  # before it is listed: what comes later has another time
        stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
        key = (folder, pattern)
        kept, pictures, size = self._known.pop(key, (None, None, 0))
        self._bytes -= size
        if kept != stamp:
            pictures = list_pictures(folder, pattern)
            size = _ENTRY_BYTES + _bytes_of(pictures)
        if kept == stamp or time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._known[key] = stamp, pictures, size
            self._bytes += size
            while self._bytes > self._most_bytes and self._known:
                self._bytes -= self._known.popitem(last=False)[1][2]
        return pictures


def list_pictures(folder: str, pattern: str) -> NumberedPictures:
    """List a folder; as `FolderListings.of`."""
    parts = re.fullmatch(r'(.*?)%(0?\d*)d(.*)', pattern)
    if not parts:
        raise UsageError(f'name_pattern {pattern!r} must hold one number such as %05d')
    before, width, after = parts.groups()
    name = re.compile(f'{re.escape(before)}([0-9]{{{int(width or 1)},}}){re.escape(after)}')
    files = os.listdir(folder)
    found = sorted((int(match[1]), file) for file in files if (match := name.fullmatch(file)))
    if not found:
        raise NoPictures(files)
    numbers: Sequence[int] = [number for number, _ in found]
    if len(set(numbers)) < len(numbers):
        raise SameNumber(found)
    regular = '%' not in before + after and all(file == pattern % number for number, file in found)
    names = None if regular else [file for _, file in found]
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        numbers = range(numbers[0], numbers[-1] + 1)
    return NumberedPictures(pattern, numbers, names)


def _bytes_of(pictures: NumberedPictures) -> int:
    numbers = 0 if isinstance(pictures.numbers, range) else 40 * len(pictures.numbers)
    return numbers + (sum(8 + sys.getsizeof(name) for name in pictures.names) if pictures.names else 0)


#: What this process knows.
folder_listings = FolderListings(LISTINGS_BYTES)
