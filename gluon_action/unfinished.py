"""What is done of a long job, kept in a file while it runs: whoever interrupts it loses nothing that was finished."""
from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import OutputError
from .files import open_file, to_json

_log = logging.getLogger(__name__)


class Unfinished:
    """Results that are finished, one a line, in a file that is there as long as the job is not done.

    A line is in the hands of the system as soon as it is added: killing the process does not take it away. A last line
    that is torn is dropped. Where the disk is full, the job goes on without the file, and says so once.

    Parameters
    ----------
    path : path
        Its folder exists once `add` is called.
    job : mapping, optional
        All that the results depend on, as JSON; the file of another job is never continued. None only looks at what
        there is.

    Attributes
    ----------
    done : list of dict
        What was finished before, in the order in which it was added. Others may have written the file: whoever uses it
        checks what it says.
    exists : bool
        Whether there is such a file.
    same : bool
        Whether it is of this job; `done` is empty otherwise.
    """

    def __init__(self, path: str | os.PathLike, job: Mapping[str, Any] | None = None):
        self.path = Path(path)
        self._job = None if job is None else hashlib.sha256(to_json(job).encode()).hexdigest()
        self._stream = None
        self._end = 0
        try:
            with open_file(self.path) as stream:
                content = stream.read()
            self.exists = True
        except FileNotFoundError:
            content, self.exists = b'', False
        except OSError as error:
            raise OutputError(f'{self.path}: cannot be read: {error.strerror or error}; remove it to start anew') \
                from error
        lines = self._read(content)
        self.same = bool(lines) and self._job in (None, lines[0].get('job'))
        self.done = lines[1:] if self.same else []

    def add(self, result: Mapping[str, Any]) -> None:
        """Keep a result, which JSON can hold."""
        if self._stream is _Nowhere:
            return
        try:
            if self._stream is None:
                self._stream = self._open()
            _write(self._stream, result)
        except OSError as error:
            _log.warning('%s: cannot be written (%s); if this is interrupted now, it starts anew',
                         self.path, error.strerror or error)
            self.close()
            self._stream = _Nowhere

    def close(self) -> None:
        """Keep the file for the next time."""
        if self._stream is not None:
            self._stream.close()

    def remove(self) -> None:
        """The job is done, or starts anew."""
        self.close()
        self._stream, self._end, self.done, self.exists, self.same = None, 0, [], False, False
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f'{self.path}: cannot be removed: {error.strerror or error}') from error

    def _read(self, content: bytes) -> list[dict[str, Any]]:
        lines = []
        for line in content.splitlines(keepends=True):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not line.endswith(b'\n') or not isinstance(value, dict):
                break
            lines.append(value)
            self._end += len(line)
        return lines

    def _open(self):
        # Not through a link that somebody else put there.
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
        stream = os.fdopen(os.open(self.path, flags, 0o666), 'wb', buffering=0)
        try:
            stream.truncate(self._end if self.same else 0)
            stream.seek(0, os.SEEK_END)
            if not self.same:
                _write(stream, {'job': self._job})
        except OSError:
            stream.close()
            raise
        return stream


def _write(stream, value: Mapping[str, Any]) -> None:
    """Add a line, or nothing: a part of one, all that a disk may have room for, would hide every later line."""
    line, end = to_json(value, indent=None).encode(), stream.tell()
    if stream.write(line) != len(line):
        stream.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Nowhere:
    """Where there is no room any more."""

    @staticmethod
    def close() -> None:
        """Nothing is open."""


def stamp_of(path: str | os.PathLike) -> list[int] | None:
    """Return what changes when a file does, bytes and time of the last change; None where there is none.

    Of a folder, as of frames, it is how many files it holds, and the newest time of theirs.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as items:
                times = [item.stat(follow_symlinks=False).st_mtime_ns for item in items]
            return [len(times), max(times, default=0)]
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
