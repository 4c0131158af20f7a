"""Standard output and error that fail nothing: a full disk, a reader that went away, letters that they cannot write."""
from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from ..printable import PrintableFormatter, printable


class Output:
    """A stream of text whose failures end nobody's work: from the first one on, what is written to it is dropped.

    Letters that its encoding lacks are written as escapes.

    Parameters
    ----------
    stream : file
        What Python calls standard output or error.
    name : str
        What messages call it.
    escapes : bool
        Write control characters as escapes as well, but for line breaks and tabs. Not for what draws bars.
    """

    def __init__(self, stream: TextIO, name: str, escapes: bool = False):
        self._stream, self._name, self._escapes = stream, name, escapes
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, if that can be done; returns its length."""
        if not self.failed:
            with self._bearing():
                self._stream.write(self._fit(text))
        return len(text)

    def writelines(self, lines) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        if not self.failed:
            with self._bearing():
                self._stream.flush()

    def _fit(self, text: str) -> str:
        if self._escapes:
            text = printable(text, lines=True)
        encoding = getattr(self._stream, 'encoding', None) or 'utf-8'
        return text.encode(encoding, 'backslashreplace').decode(encoding)

    @contextlib.contextmanager
    def _bearing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.failed = True
            # What the stream still holds is written once more when Python ends: that has to go somewhere.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            # A reader that went away (`... | head`) wants no more.
            if isinstance(error, OSError) and error.errno != errno.EPIPE and self._name != 'standard error':
                print(f'{self._name} cannot be written to ({error.strerror or error}): what would follow there is '
                      'lost, what goes to files is not', file=sys.stderr)


class ConsoleLog(logging.StreamHandler):
    """Shows the log where `print` writes at that moment, or on standard error where that is told `to_errors`."""

    to_errors = False

    def __init__(self):
        logging.Handler.__init__(self)
        self.setFormatter(PrintableFormatter())

    @property
    def stream(self) -> TextIO | None:
        """Standard output, or standard error where that is closed or meant for what a program reads."""
        return sys.stderr if self.to_errors and sys.stderr else sys.stdout or sys.stderr


@contextlib.contextmanager
def logging_beside(json: bool) -> Iterator[None]:
    """Keep the log off standard output where JSON goes there."""
    before, ConsoleLog.to_errors = ConsoleLog.to_errors, json
    try:
        yield
    finally:
        ConsoleLog.to_errors = before


@contextlib.contextmanager
def bearing_output() -> Iterator[None]:
    """Let standard output and error be such that nothing fails by them."""
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:
        sys.stdout = Output(sys.stdout, 'standard output', escapes=True)
    if sys.stderr is not None:
        sys.stderr = Output(sys.stderr, 'standard error')
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Output):
                stream.flush()
        sys.stdout, sys.stderr = before
