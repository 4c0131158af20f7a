"""A queue of tasks shared with forked processes, any of which may be killed at any instruction."""
from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import pickle
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: What a worker's claim reads when it is not the serial number of a task.
STARTING, IDLE = -1, 0


class SharedQueue:
    """What a parent and its workers share: tasks in order, who has claimed which, and a store of arguments and answers.

    A task stays in the store until its answer is taken, and a claim is written before the queue moves on, so a worker
    can be killed at any instruction without a task being lost. The lock is a POSIX record lock: the kernel releases it
    when its holder dies.
    """

    _STRIDE = 1 << 36  # address space of a slot in the (sparse) store; costs nothing until written
    _REPORT = struct.Struct('<q')

    def __init__(self, num_workers: int, capacity: int):
        self._wake = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self._reports, self._say = os.pipe()
        self._store = os.memfd_create('gluon_action')
        words = np.frombuffer(mmap.mmap(-1, 8 * (2 + 2 * num_workers + 2 * capacity)), np.int64)
        self._ends, self._claims, self._since, ring = np.split(words, [2, 2 + num_workers, 2 + 2 * num_workers])
        self._ring = ring.reshape(capacity, 2)
        self._poll = select.poll()
        self._poll.register(self._reports, select.POLLIN)

    # The parent's side.

    def put(self, serial: int, slot: int, args: bytes) -> None:
        """Queue a task: pickled arguments under a serial number above 0, in a slot that nobody uses."""
        _write_pieces(self._store, slot * self._STRIDE, [args])
        with self._lock():
            tail = self._ends[1]
            self._ring[tail % len(self._ring)] = serial, slot
            self._ends[1] = tail + 1
        os.eventfd_write(self._wake, 1)

    def wait(self, seconds: float) -> bool:
        """Whether a report comes within so many seconds."""
        return bool(self._poll.poll(seconds * 1000))

    def reports(self) -> list[int]:
        """Serial numbers of the tasks answered since the last call."""
        # Writes of this size to a pipe are atomic, so reads are whole records.
        data = os.read(self._reports, 4096 * self._REPORT.size) if self.wait(0) else b''
        return [serial for serial, in self._REPORT.iter_unpack(data)]

    def take_answer(self, slot: int, place: Callable[[int], memoryview | None] | None = None) -> Any:
        """The value that a worker stored, in private memory, or its first array where ``place(nbytes)`` says."""
        data, *buffers = _read_pieces(self._store, slot * self._STRIDE + self._STRIDE // 2, place)
        return pickle.loads(data, buffers=buffers)

    def expect(self, index: int) -> None:
        """Note that a worker is being forked."""
        self._claims[index] = STARTING

    def claim_of(self, index: int) -> tuple[int, float]:
        """A worker's task (or `STARTING`, `IDLE`) and when it took it, in seconds of the monotonic clock."""
        with self._lock():
            return int(self._claims[index]), self._since[index] / 1e9

    def release(self, index: int) -> int:
        """Clear the claim of a dead worker and return it."""
        serial, _ = self.claim_of(index)
        self._claims[index] = IDLE
        os.eventfd_write(self._wake, 1)  # it may have died with a wake-up taken and no task
        return serial

    def has(self, serial: int) -> bool:
        """Whether a task waits in the queue or is claimed."""
        with self._lock():
            queued = [self._ring[i % len(self._ring)][0] for i in range(*self._ends)]
            return serial in queued or serial in self._claims

    def clear(self) -> None:
        """Free the store; only when no task is outstanding."""
        os.ftruncate(self._store, 0)

    def close(self) -> None:
        """Close the descriptors of this process."""
        for descriptor in (self._wake, self._reports, self._say, self._store):
            os.close(descriptor)

    # The workers' side.

    def claim(self, index: int) -> tuple[int, int] | None:
        """Wait for a task and take it: serial number and slot; None when another worker was quicker."""
        os.eventfd_read(self._wake)
        with self._lock():
            head, tail = self._ends
            if head == tail:
                return None
            serial, slot = self._ring[head % len(self._ring)]
            self._since[index] = time.monotonic_ns()
            self._claims[index] = serial
            self._ends[0] = head + 1
            return int(serial), int(slot)

    def arguments(self, slot: int) -> tuple:
        """What the task is called with."""
        return pickle.loads(_read_pieces(self._store, slot * self._STRIDE)[0])

    def answer(self, index: int, serial: int, slot: int, value: Any) -> None:
        """Store a value, report it, and be idle."""
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        _write_pieces(self._store, slot * self._STRIDE + self._STRIDE // 2, [data, *(each.raw() for each in buffers)])
        os.write(self._say, self._REPORT.pack(serial))
        self._claims[index] = IDLE

    def ready(self, index: int) -> None:
        """Note that a forked worker runs."""
        self._claims[index] = IDLE

    @contextlib.contextmanager
    def _lock(self):
        fcntl.lockf(self._store, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._store, fcntl.LOCK_UN)


def _write_pieces(descriptor: int, offset: int, pieces: list) -> None:
    """Write byte strings, each with its length before all of them."""
    head = struct.pack(f'<{len(pieces) + 1}q', len(pieces), *map(len, pieces))
    for piece in (head, *pieces):
        view = memoryview(piece)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written


def _read_pieces(descriptor: int, offset: int, place: Callable[[int], memoryview | None] | None = None) -> list:
    count, = struct.unpack('<q', os.pread(descriptor, 8, offset))
    sizes = struct.unpack(f'<{count}q', os.pread(descriptor, 8 * count, offset + 8))
    offset += 8 * (count + 1)
    pieces = []
    for number, size in enumerate(sizes):
        piece = place(size) if place and number == 1 else None  # the first one after the pickle itself
        if piece is None:
            piece = np.empty(size, np.uint8)
        view = memoryview(piece)
        while view:
            got = os.preadv(descriptor, [view], offset)
            if not got:
                raise EOFError(f'the store ends at {offset}')
            view, offset = view[got:], offset + got
        pieces.append(piece)
    return pieces
