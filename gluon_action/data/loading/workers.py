"""Forked worker processes that survive hangs and crashes and never outlive their parent.

Decoders hang and crash on files found in the wild (dmlc/decord#269, #375), and only SIGKILL ends a hang inside a C
library. So work on files is done by child processes under a deadline. Nothing here imports MXNet, and the workers do
not touch it.
"""
from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import functools
import gc
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

from ...errors import GluonActionError
from .shared_queue import STARTING, SharedQueue

log = logging.getLogger(__name__)

#: True inside a worker process; what is called there runs directly, since the worker is under a deadline already.
IN_WORKER = False

_START_SECONDS = 60.0   # a fork that copied a held lock hangs before its first task
_TICK_SECONDS = 0.1     # how often a waiting parent looks after its workers
_ATTEMPTS = 2           # a task is tried again once after the death of its worker
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_libc = ctypes.CDLL(None)


class WorkerError(GluonActionError, RuntimeError):
    """A task that failed in a worker process."""


class WorkerTimeout(WorkerError):
    """A task that took longer than its deadline; its worker was killed."""


class WorkerDied(WorkerError):
    """A task during which its worker died, twice."""


class WorkerPool:
    """Runs ``function(*args)`` in forked processes and gives the answers as they come.

    Workers take tasks from one queue by themselves, so they stay busy while the parent computes. Values travel through
    an anonymous memory file: pages are used by what is in flight, and freed when nothing is. Workers ignore Ctrl-C and
    SIGTERM, which a whole group may get (the parent decides), and the kernel kills them when the thread that made the
    pool ends, however it ends.
    The pool belongs to the thread that made it; forks happen only inside its methods, because MXNet stops its engine
    around a fork and no other thread may be computing then.

    Parameters
    ----------
    function : callable
        Called in the workers as it is at the time of the fork.
    num_workers : int
        Processes, 1 or more.
    timeout : float, optional
        Seconds a task may take before its worker is killed and replaced; None waits forever.
    capacity : int
        Tasks that workers can see at a time; more may be submitted and wait in the parent.
    """

    def __init__(self, function: Callable, num_workers: int, *, timeout: float | None = None, capacity: int = 256):
        if num_workers < 1:
            raise ValueError(f'a WorkerPool has at least 1 worker, got {num_workers}')
        self.timeout = timeout
        self.owner = os.getpid()
        self._function = function
        self._queue = SharedQueue(num_workers, capacity)
        self._tasks: dict[int, _Task] = {}
        self._waiting: collections.deque[int] = collections.deque()
        self._done: collections.deque[int] = collections.deque()
        self._free_slots = list(range(capacity))
        self._serial = 0
        self._failed_starts = 0
        self._looked = time.monotonic()
        self._forked = [0.0] * num_workers
        self.pids = [0] * num_workers
        self._finalizer = weakref.finalize(self, _shut, self.owner, self.pids, self._queue)
        for index in range(num_workers):
            self._start(index)

    def __len__(self) -> int:
        """Tasks submitted whose answers were not yet taken."""
        return len(self._tasks)

    def submit(self, key: Hashable, *args: Any) -> None:
        """Queue ``function(*args)``; `key` comes back with the answer."""
        self._serial += 1
        self._tasks[self._serial] = _Task(key, pickle.dumps(args, protocol=5))
        self._waiting.append(self._serial)
        self._hand_out()

    def next(self, place: Callable[[Hashable, int], memoryview | None] | None = None) -> tuple[Hashable, Any]:
        """Wait for any answer.

        Parameters
        ----------
        place : callable, optional
            Given a key and a number of bytes, returns the memory that the first array of the value shall live in, so
            that it is copied once; or None for memory of its own.

        Returns
        -------
        key : hashable
            What `submit` got.
        value
            What the function returned, or the exception instance: its own, `WorkerTimeout`, or `WorkerDied` when the
            worker was killed twice at this task.

        Raises
        ------
        LookupError
            When nothing was submitted.
        WorkerDied
            When workers die again and again before they can take a task.
        """
        if not self._tasks:
            raise LookupError('no task is outstanding; submit one before asking for its answer')
        while not self._done:
            if self._queue.wait(_TICK_SECONDS):
                self._collect()
            if not self._done or time.monotonic() - self._looked > 1:
                self._look_after()
        task = self._tasks.pop(self._done.popleft())
        value = task.error
        if value is None:
            value = self._queue.take_answer(task.slot, place and functools.partial(place, task.key))
        self._free_slots.append(task.slot)
        if not self._tasks:
            self._queue.clear()
        self._hand_out()
        return task.key, value

    def close(self) -> None:
        """Kill the workers and free the memory. Safe to call again."""
        self._finalizer()

    def _hand_out(self) -> None:
        while self._waiting and self._free_slots:
            serial = self._waiting.popleft()
            task = self._tasks[serial]
            task.slot = self._free_slots.pop()  # the one freed last: its pages are there already
            self._queue.put(serial, task.slot, task.args)

    def _collect(self) -> None:
        for serial in self._queue.reports():
            task = self._tasks.get(serial)
            if task is not None and not task.done:
                self._finish(serial)
                self._failed_starts = 0

    def _finish(self, serial: int, error: Exception | None = None) -> None:
        self._tasks[serial].done = True
        self._tasks[serial].error = error
        self._done.append(serial)

    def _look_after(self) -> None:
        """Replace workers that died or missed their deadline."""
        self._looked = time.monotonic()
        for index, pid in enumerate(self.pids):
            if not pid:  # its start failed
                self._start(index)
                continue
            ending = _ending(pid)
            late = self._late_task(index) if ending is None else None
            if late is not None:
                os.kill(pid, signal.SIGKILL)
                ending = _ending(pid, patience=2.0) or 'does not die: it waits for a device'
            if ending is not None:
                self.pids[index] = 0
                self._retire(index, pid, ending, late)
                self._start(index)

    def _late_task(self, index: int) -> int | None:
        serial, since = self._queue.claim_of(index)
        if serial == STARTING:
            return serial if time.monotonic() - self._forked[index] > _START_SECONDS else None
        task = self._tasks.get(serial)
        if task is None or task.done or self.timeout is None or time.monotonic() - since <= self.timeout:
            return None
        return serial

    def _retire(self, index: int, pid: int, ending: str, late: int | None) -> None:
        """Settle the task of a dead worker: it fails, is tried again, or was answered after all."""
        self._collect()
        serial = self._queue.release(index)
        log.warning('data worker %d (pid %d) %s%s; a new one takes its place', index, pid, ending,
                    f': no answer within {self.timeout:g} s' if late and late > 0 else '')
        if serial == STARTING:
            self._failed_starts += 1
            if self._failed_starts > 2 * len(self.pids):
                raise WorkerDied(f'data workers die before their first task (the last one {ending}); '
                                 'use fewer workers (-j, --num_readers), or 0 to read in the main process')
        task = self._tasks.get(serial)
        if task is None or task.done or self._queue.has(serial):
            return
        if serial == late:
            self._finish(serial, WorkerTimeout(f'no answer within {self.timeout:g} s; the reading process was killed'))
        elif late is None and task.attempts == _ATTEMPTS:
            self._finish(serial, WorkerDied(f'the reading process {ending}, {_ATTEMPTS} times'))
        else:
            task.attempts += late is None  # a late worker's next task is not to blame for the kill
            self._queue.put(serial, task.slot, task.args)

    def _start(self, index: int) -> None:
        self._queue.expect(index)
        self._forked[index] = time.monotonic()
        # Nothing may arrive between the fork and the moment the child has its own signal handlers.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                _live(self._function, self._queue, index, self.owner, blocked)
        except OSError as error:
            raise WorkerError(f'cannot start a data worker: {error}; use fewer workers (-j, --num_readers)') from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.pids[index] = pid


def call_with_deadline(function: Callable, *args: Any, timeout: float | None) -> Any:
    """Call ``function(*args)`` in a process that is killed after `timeout` seconds.

    The process is kept for the next call. Inside a worker, or without a timeout, the call is direct.

    Parameters
    ----------
    function : callable
        Importable by name, since it is sent to a running process.
    *args
        Its arguments; they and the value must be picklable.
    timeout : float or None
        Seconds.

    Raises
    ------
    WorkerTimeout
        When it took longer.
    WorkerDied
        When the process died, twice.
    Exception
        What the function raised.
    """
    if IN_WORKER or timeout is None:
        return function(*args)
    pool = getattr(_own, 'pool', None)
    if pool is None or pool.owner != os.getpid():  # a fork inherits the object but not the thread that may use it
        pool = _own.pool = WorkerPool(_apply, 1, capacity=1)
    pool.timeout = timeout
    try:
        pool.submit(None, _here(), function, args)
        _, answer = pool.next()
    except BaseException:
        _own.pool = None
        pool.close()
        raise
    if isinstance(answer, Exception):
        raise answer
    return answer


_own = threading.local()


def _apply(folder: str, function: Callable, args: tuple) -> Any:
    # The process stands where its parent stood when it was forked; relative paths mean where the parent is now.
    if folder:
        os.chdir(folder)
    return function(*args)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder was deleted
        return ''


@dataclasses.dataclass
class _Task:
    key: Hashable
    args: bytes
    slot: int = -1
    attempts: int = 1
    done: bool = False
    error: Exception | None = None


def _live(function: Callable, queue: SharedQueue, index: int, parent: int, mask: set) -> NoReturn:
    """Work until killed; runs in the child and never returns into the parent's frames."""
    try:
        _settle(parent, mask)
        queue.ready(index)
        while True:
            claimed = queue.claim(index)
            if claimed is not None:
                _work(function, queue, index, *claimed)
                gc.collect(1)  # decoders tie their frames into cycles, which Python would leave until there are many
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _settle(parent: int, mask: set) -> None:
    global IN_WORKER
    IN_WORKER = True
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # By default glibc gives the memory of every large array back to the system, and the next clip pays for new pages:
    # a third of the time of a clip of 16 frames.
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    gc.freeze()  # the collector would write to, and so copy, every page shared with the parent
    os.environ['OPENCV_FOR_THREADS_NUM'] = '1'  # one process a core; for an OpenCV imported later
    if 'cv2' in sys.modules:
        # 0 leaves the thread pool alone; 1 would wait for threads of it that the fork did not copy.
        sys.modules['cv2'].setNumThreads(0)


def _work(function: Callable, queue: SharedQueue, index: int, serial: int, slot: int) -> None:
    try:
        queue.answer(index, serial, slot, function(*queue.arguments(slot)))
    except BaseException as error:
        queue.answer(index, serial, slot, _portable(error))


def _portable(error: BaseException) -> Exception:
    """The exception itself if it survives the way to the parent, else its words."""
    note = 'In a worker process:\n' + ''.join(traceback.format_exception(error))
    if isinstance(error, Exception):
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            log.debug('%s cannot be pickled', type(error).__name__)
        else:
            error.add_note(note)
            return error
    words = WorkerError(f'{type(error).__name__}: {error}')
    words.add_note(note)
    return words


def _ending(pid: int, patience: float = 0.0) -> str | None:
    """How a child ended, in words; None while it lives."""
    until = time.monotonic() + patience
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 'is gone'
        if found:
            break
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return f'was killed by {signal.Signals(os.WTERMSIG(status)).name}'
    return f'exited with {os.waitstatus_to_exitcode(status)}'


def _shut(owner: int, pids: list[int], queue: SharedQueue) -> None:
    if os.getpid() == owner:
        alive = [pid for pid in pids if pid]
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in alive:
            _ending(pid, patience=2.0)
        pids[:] = [0] * len(pids)
        queue.clear()  # a process forked since holds the store open
    queue.close()
