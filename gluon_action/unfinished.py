"""What is done of a long job, kept in a file while it runs, and the shares of it: who interrupts it loses nothing."""
from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError, UsageError
from .files import open_file, to_json
from .signals import Terminated, heeding_termination

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """The inputs ``index``, ``index + count``, ... (the first is number 1): the share of one of `count` processes."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``, I from 1 to N.

        Raises
        ------
        UsageError
        """
        found = re.fullmatch(r'(\d+)/(\d+)', text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f'--shard {text}: must be I/N with I from 1 to N, such as 1/8 to 8/8; of a Slurm array '
                             '--array=1-8 it is $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT')
        return cls(int(found[1]), int(found[2]))

    def of(self, num_inputs: int) -> range:
        """Indices of its inputs, from 0."""
        return range(self.index - 1, num_inputs, self.count)

    def __str__(self) -> str:
        return f'{self.index}/{self.count}'


class Unfinished:
    """Results that are finished, one a line, in a file that is there as long as the job is not done.

    A line is in the hands of the system as soon as it is added: killing the process does not take it away. A last line
    that is torn is dropped. Where the disk is full, the job continues without the file, and says so once.

    Parameters
    ----------
    path : path
        Its folder exists once `add` is called.
    job : mapping, optional
        All that the results depend on, as JSON; the file of another job is never continued. None only looks at what
        there is.

    Attributes
    ----------
    exists : bool
        Whether there is such a file.
    same : bool
        Whether it is of this job.
    """

    def __init__(self, path: str | os.PathLike, job: Mapping[str, Any] | None = None):
        self.path = Path(path)
        self._job = None if job is None else hashlib.sha256(to_json(job).encode()).hexdigest()
        self._stream = None
        self._begin = self._end = 0  # of the results that were finished before
        header = None
        try:
            with open_file(self.path) as stream:
                self.exists = True
                for line in stream:
                    value = _value(line)
                    if value is None:
                        break
                    if header is None:
                        header, self._begin = value, len(line)
                    self._end += len(line)
        except FileNotFoundError:
            self.exists = False
        except OSError as error:
            raise OutputError(f'{self.path}: cannot be read: {error.strerror or error}; remove it to start anew') \
                from error
        self.same = header is not None and self._job in (None, header.get('job'))

    @property
    def done(self) -> list[dict[str, Any]]:
        """What was finished before, in the order in which it was added.

        Others may have written the file: whoever uses it checks what it says.
        """
        return [value for _, value in self.lines()]

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield what was finished before as `done` has it, one by one, each with its place for `at`."""
        if not self.same:
            return
        place = self._begin
        with open_file(self.path) as stream:
            stream.seek(place)
            while place < self._end:
                line = stream.readline()
                value = _value(line)
                if value is None:  # somebody else has written to it since
                    return
                yield place, value
                place += len(line)

    def at(self, place: int) -> dict[str, Any]:
        """Return the result that lies at a place of the file."""
        with open_file(self.path) as stream:
            stream.seek(place)
            return json.loads(stream.readline())

    def add(self, result: Mapping[str, Any]) -> int | None:
        """Keep a result, which JSON can hold; returns its place for `at`, None where it cannot be kept."""
        if self._stream is _Nowhere:
            return None
        try:
            if self._stream is None:
                self._stream = self._open()
            return _write(self._stream, result)
        except OSError as error:
            _log.warning('%s: cannot be written (%s); if this is interrupted now, it starts anew',
                         self.path, error.strerror or error)
            self.close()
            self._stream = _Nowhere
            return None

    def close(self) -> None:
        """Keep the file for the next time."""
        if self._stream is not None:
            self._stream.close()

    def remove(self) -> None:
        """The job is done, or starts anew."""
        self.close()
        self._stream, self._begin, self._end, self.exists, self.same = None, 0, 0, False, False
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f'{self.path}: cannot be removed: {error.strerror or error}') from error

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


def take_up(path: str | os.PathLike, job: Mapping[str, Any], *, overwrite: bool, other: str,
            instead: str) -> Unfinished:
    """Open what is done of a job, and drop what is of another one if that is asked for.

    Parameters
    ----------
    path, job
        See `Unfinished`.
    overwrite : bool
        Drop what another job left.
    other, instead : str
        What that job is called, and what else than dropping it can be done, for the message.

    Raises
    ------
    UsageError
        When it is of another job, and `overwrite` is False.
    """
    unfinished = Unfinished(path, job)
    if unfinished.exists and not unfinished.same:
        if not overwrite:
            raise UsageError(f'{unfinished.path}: is of {other}; pass --overwrite to drop it, or {instead}')
        unfinished.remove()
    return unfinished


@contextlib.contextmanager
def kept(unfinished: Unfinished, others: str) -> Iterator[None]:
    """Work on a job: whoever ends it, by Ctrl-C or SIGTERM, is told that the same command resumes with the `others`."""
    with contextlib.closing(unfinished), heeding_termination():
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            _log.info('Interrupted. What was scored is kept: the same command resumes with the other %s.', others)
            raise


def packed(array: np.ndarray, kind: str) -> str:
    """Return an array as text for a line: its numbers of this `kind`, such as ``'<f4'``, compressed."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array, kind).tobytes(), 1)).decode()


def unpacked(text: Any, kind: str, shape: Sequence[int]) -> np.ndarray:
    """Return the array of this shape that `packed` made a text of.

    Raises
    ------
    ValueError
        When the text is none of such an array. No more memory is taken than the array has.
    """
    size = np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(text, validate=True), size + 1)
    except (TypeError, zlib.error) as error:
        raise ValueError(f'is no array: {error}') from error
    if len(content) != size or not unpacker.eof:  # at whose end its checksum was compared
        raise ValueError(f'is no array of {size} bytes')
    return np.frombuffer(content, kind).reshape(shape)


def _value(line: bytes) -> dict[str, Any] | None:
    """Return what a whole line holds; None for one that is torn, or of something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if line.endswith(b'\n') and isinstance(value, dict) else None


def _write(stream, value: Mapping[str, Any]) -> int:
    """Add a line, or nothing: a part of one, all that a disk may have room for, would hide every later line.

    Returns where the line begins.
    """
    line, end = to_json(value, indent=None).encode(), stream.tell()
    if stream.write(line) != len(line):
        stream.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return end


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
