"""The log of a test as a file beside its report."""
from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import OutputError
from ..printable import PrintableFormatter


@contextlib.contextmanager
def log_file(directory: Path, name: str) -> Iterator[None]:
    """Copy what the package logs into a file of a folder as well.

    Raises
    ------
    OutputError
        When it cannot be made.
    """
    if not name:
        yield
        return
    try:
        handler = _LogFile(directory / name, mode='w', encoding='utf-8')
    except OSError as error:
        raise OutputError(f'--logging-file {directory / name}: cannot be written: {error.strerror}') from error
    handler.setFormatter(PrintableFormatter())
    package = logging.getLogger('gluon_action')
    level = package.level
    package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk ends, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log ends here."""
        cause = sys.exc_info()[1]
        self.setLevel(logging.CRITICAL + 1)
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError):
            stream.close()
        print(f'{self.baseFilename}: cannot be written ({cause}); the log ends here', file=sys.stderr)
