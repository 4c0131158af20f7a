"""Memory for batches that forked processes fill in place, used again when nobody holds it."""
from __future__ import annotations

import contextlib
import math
import mmap
import os
import weakref

import numpy as np


class SharedRows:
    """Arrays of one shape in memory that is shared with processes forked later.

    What a worker computes is then where the batch needs it: writing float32 pixels of 224 x 224 to a queue and reading
    them again takes three times as long as writing them here, and features of 300 frames are five times as many bytes
    as their file holds.

    Parameters
    ----------
    shape : tuple of int or None
        Of each array. None: `decide` tells it, before anything else is asked for.
    spare : int
        Arrays whose pages are kept while nobody holds them, between `lend` and `rest`.
    dtype
        Of the arrays.
    """

    def __init__(self, shape: tuple[int, ...] | None, spare: int, dtype=np.float32):
        self.shape, self.dtype, self._spare = None, np.dtype(dtype), spare
        self._store = os.memfd_create('gluon_action rows')
        weakref.finalize(self, os.close, self._store)
        self._count = 0
        # Each holds twice as many arrays as the one before, since each takes a descriptor in every process.
        self._maps: dict[int, mmap.mmap] = {}
        self._free = _Free()
        if shape is not None:
            self.decide(shape)

    def decide(self, shape: tuple[int, ...]) -> None:
        """Tell the shape where it was not known; it stays what it is after the first time."""
        if self.shape is None:
            self.shape, self._size = tuple(shape), math.prod(shape)
            num_bytes = max(1, self.dtype.itemsize * self._size)
            self._stride = -(-num_bytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY

    def lend(self) -> tuple[int, np.ndarray]:
        """An array that nobody holds, and its number; it is free again when the last view of it is gone.

        What is in it is left over from before.
        """
        number = self._free.take()
        if number is None:
            number, self._count = self._count, self._count + 1
            arrays_of_maps = (2 << _map_of(number)) - 1
            os.ftruncate(self._store, arrays_of_maps * self._stride)  # pages are used by what is written
        self._free.most = self._spare
        memory, begin = self._place(number)
        flat = self._flat(number)
        weakref.finalize(flat, self._free.give_back, number, memory, begin, self._stride, os.getpid()).atexit = False
        return number, flat.reshape(self.shape)  # views hold the array that owns the memory, which is `flat`

    def at(self, number: int) -> np.ndarray:
        """The array of a number, in a worker process."""
        return self._flat(number).reshape(self.shape)

    def rest(self) -> None:
        """Free the pages of what nobody holds, and of the others when nobody holds them any more."""
        self._free.most = 0
        for number in self._free.empty():
            _empty(*self._place(number), self._stride)

    def _flat(self, number: int) -> np.ndarray:
        memory, begin = self._place(number)
        return np.frombuffer(memory, self.dtype, self._size, begin)

    def _place(self, number: int) -> tuple[mmap.mmap, int]:
        """Return the map that an array is in, and the byte at which it begins."""
        place = _map_of(number)
        arrays, first = 1 << place, (1 << place) - 1
        if place not in self._maps:
            self._maps[place] = mmap.mmap(self._store, arrays * self._stride, offset=first * self._stride)
        return self._maps[place], (number - first) * self._stride


def _map_of(number: int) -> int:
    return (number + 1).bit_length() - 1


class _Free:
    """Numbers of the arrays that nobody holds; it must not keep the `SharedRows` alive.

    Attributes
    ----------
    most : int
        Of how many the pages are kept.
    """

    def __init__(self):
        self.most = 0
        self._filled: list[int] = []
        self._emptied: list[int] = []

    def take(self) -> int | None:
        """Return the one that came back last, as its pages are there already; None where there is none."""
        numbers = self._filled or self._emptied
        return numbers.pop() if numbers else None

    def give_back(self, number: int, memory: mmap.mmap, begin: int, size: int, owner: int) -> None:
        """Take an array that nobody holds any more. What a fork does not need, the process that lent it may."""
        if os.getpid() != owner:
            return
        if len(self._filled) < self.most:
            self._filled.append(number)
        else:
            _empty(memory, begin, size)
            self._emptied.append(number)

    def empty(self) -> list[int]:
        """Return the numbers of those whose pages were kept, which the caller empties."""
        numbers, self._filled = self._filled, []
        self._emptied += numbers
        return numbers


def _empty(memory: mmap.mmap, begin: int, size: int) -> None:
    with contextlib.suppress(OSError):  # a system that cannot lets it be used again
        memory.madvise(mmap.MADV_REMOVE, begin, size)
