"""How a process ends when it is told to: Ctrl-C is never lost, and SIGTERM waits for a moment that harms nothing."""
from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

#: Exit code of a command that SIGTERM ended: 128 and the signal's number, as shells have it.
TERMINATED = 128 + signal.SIGTERM


class Terminated(SystemExit):
    """SIGTERM, which schedulers send before they kill. Where nobody catches it, the process exits with `TERMINATED`."""

    def __init__(self):
        super().__init__(TERMINATED)


class _Told:
    """Whether SIGTERM has come, and whether it has to wait."""

    to_end = waits = False


def raising(kind: Callable[[], BaseException]) -> Callable:
    """Return a handler that raises an exception of this kind and makes every signal count.

    An exception that is raised in a ``__del__`` is printed and forgotten, and a process that trains is in that of an
    MXNet array often enough to lose one Ctrl-C in four. There the signal is sent once more.
    """
    def handle(number, frame):
        while frame is not None:
            if frame.f_code.co_name == '__del__':
                again = threading.Timer(0.01, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            frame = frame.f_back
        raise kind()
    return handle


@contextlib.contextmanager
def heeding_termination() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in the block, at once or, where `wait_with_termination` says so, when asked for.

    A handler of the caller's stays, and a thread other than the main one has none.
    """
    own = threading.current_thread() is threading.main_thread()
    if not own or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    at_once = raising(Terminated)

    def handle(number, frame):
        _Told.to_end = True
        if not _Told.waits:
            at_once(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _Told.to_end = False


def wait_with_termination(waits: bool) -> None:
    """Say whether SIGTERM waits from now on until `told_to_end` is asked."""
    _Told.waits = waits


def told_to_end() -> bool:
    """Whether SIGTERM has come."""
    return _Told.to_end
