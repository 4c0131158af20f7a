"""Memory of batches, used again when nobody holds it: fresh pages cost as much as copying the pixels into them."""
from __future__ import annotations

import contextlib
import mmap
import weakref

import numpy as np

_HUGE_BYTES = 4 << 20  # from here on NumPy asks for large pages too


class BatchMemory:
    """Arrays whose memory comes back by itself when the last view of them is gone.

    Parameters
    ----------
    spare : int
        Arrays of one size that are kept while nobody holds them, between `lend` and `rest`.
    """

    def __init__(self, spare: int):
        self._spare = spare
        self._free = _Free()

    def lend(self, num_bytes: int) -> np.ndarray:
        """An array uint8 (num_bytes,) that nobody else holds; what is in it may be left over from before.

        A view of it, a memoryview, or a tensor of another library that shares it keeps it from being lent again.
        """
        self._free.keep(num_bytes, self._spare)
        memory = self._free.memories.pop() if self._free.memories else _fresh(num_bytes)
        flat = np.frombuffer(memory, np.uint8, num_bytes)  # views refer to it, as it does not own the memory
        weakref.finalize(flat, self._free.give_back, memory, num_bytes).atexit = False
        return flat

    def rest(self) -> None:
        """Keep nothing, neither now nor of what comes back, until `lend` is called again."""
        self._free.keep(0, 0)


class _Free:
    """What nobody holds; it must not keep the `BatchMemory` alive."""

    def __init__(self):
        self.memories: list[mmap.mmap] = []
        self._num_bytes = self._most = 0

    def keep(self, num_bytes: int, most: int) -> None:
        """Keep memory of this size from now on, and so much of it at most."""
        if num_bytes != self._num_bytes:
            self.memories.clear()
        self._num_bytes, self._most = num_bytes, most

    def give_back(self, memory: mmap.mmap, num_bytes: int) -> None:
        """Take memory that nobody holds any more."""
        if num_bytes == self._num_bytes and len(self.memories) < self._most:
            self.memories.append(memory)


def _fresh(num_bytes: int) -> mmap.mmap:
    memory = mmap.mmap(-1, max(1, num_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if num_bytes >= _HUGE_BYTES:
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
