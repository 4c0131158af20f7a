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
        self._kept = [0]  # what `_give_back` keeps at most, which must not keep this object
        self._store = os.memfd_create('gluon_action rows')
        weakref.finalize(self, os.close, self._store)
        self._maps: dict[int, mmap.mmap] = {}
        self._free: list[int] = []
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
        if not self._free:
            number = len(self._maps)
            os.ftruncate(self._store, (number + 1) * self._stride)
            self._free.append(number)
        number = self._free.pop()
        self._kept[0] = self._spare
        flat = self._flat(number)
        weakref.finalize(flat, _give_back, self._free, number, self._maps[number], self._kept).atexit = False
        return number, flat.reshape(self.shape)  # views hold the array that owns the memory, which is `flat`

    def at(self, number: int) -> np.ndarray:
        """The array of a number, in a worker process."""
        return self._flat(number).reshape(self.shape)

    def rest(self) -> None:
        """Free the pages of what nobody holds, and of the others when nobody holds them any more."""
        self._kept[0] = 0
        for number in tuple(self._free):
            _empty(self._maps[number])

    def _flat(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = mmap.mmap(self._store, self._stride, offset=number * self._stride)
        return np.frombuffer(self._maps[number], self.dtype, self._size)


def _give_back(free: list[int], number: int, memory: mmap.mmap, kept: list[int]) -> None:
    if len(free) < kept[0]:
        free.append(number)  # which is lent next: its pages are there already
    else:
        _empty(memory)
        free.insert(0, number)


def _empty(memory: mmap.mmap) -> None:
    with contextlib.suppress(OSError):  # a system that cannot lets it be used again
        memory.madvise(mmap.MADV_REMOVE)
