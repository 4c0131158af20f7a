"""Programs as copies of this process: what is killed, or changes its process for good, needs no interpreter of its own.

MXNet and GluonCV take seconds to import, and a copy has them. What is about the interpreter itself, how it starts or
ends, starts one.
"""
import contextlib
import faulthandler
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from unittest import mock


class Copy:
    """A process that calls a function and ends, at the head of a group of its own; used as `subprocess.Popen` is.

    Its exit code is what the function returns, 0 of None and 1 of an exception. What it prints is one text, or goes to
    the file descriptor `output`.
    """

    def __init__(self, function, *arguments, environment=(), output=None):
        self.returncode = None
        self._output = tempfile.TemporaryFile()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if not self.pid:
            _run(function, arguments, environment, self._output.fileno() if output is None else output)
        with contextlib.suppress(OSError):  # the copy did so itself, and has ended
            os.setpgid(self.pid, self.pid)

    def poll(self):
        """The exit code, or None while it runs."""
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(ProcessLookupError):  # what it started itself: it ends without a word to them
                    os.killpg(self.pid, signal.SIGKILL)
        return self.returncode

    def wait(self, timeout=200):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired('a copy of this process', timeout, self._printed())
            time.sleep(0.002)
        return self.returncode

    def communicate(self, timeout=200):
        """What it printed, when it has ended."""
        self.wait(timeout)
        return self._printed(), None

    def _printed(self):
        self._output.seek(0)
        return self._output.read().decode('utf-8', 'backslashreplace')


def _run(function, arguments, environment, output):
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # What pytest put in their places would keep what is printed to itself.
        faulthandler.disable()
        logging.getLogger().handlers.clear()
        sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))
        with mock.patch.dict(os.environ, environment):
            code = function(*arguments) or 0
    except SystemExit as stopped:
        code = stopped.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
