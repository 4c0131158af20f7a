"""Work that is interrupted, by Ctrl-C or by SIGTERM, before it does something for the n-th time."""
import contextlib
import os
import signal

import pytest


@contextlib.contextmanager
def counted(kind, name, stop_at=None, by=signal.SIGINT):
    """Count the calls of a method; before the one of number `stop_at` (from 0) the process is told to end."""
    calls, method = [], getattr(kind, name)

    def watched(self, *args, **options):
        if len(calls) == stop_at:
            if by == signal.SIGINT:
                raise KeyboardInterrupt
            os.kill(os.getpid(), by)
        calls.append(args)
        return method(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, name, watched)
        yield calls
