"""The folder of a run belongs to the process that writes it: a second run is told whose it is."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ....errors import OutputError, UsageError
from ....files import cause_of

log = logging.getLogger(__name__)

#: The file in the folder that is locked. It is there while a run writes, and after one that was killed.
LOCK = '.lock'
#: Lock files of this process, by device and number: locks are a process's, and do not stop its other threads.
_HELD: set[tuple[int, int]] = set()


@contextlib.contextmanager
def held(path: str | os.PathLike, flag: str) -> Iterator[None]:
    """Keep other runs out of a folder for as long as the block lasts, or the process, however it ends.

    Parameters
    ----------
    path : path
        Made if it is not there.
    flag : str
        What names the folder.

    Raises
    ------
    UsageError
        When a run writes there; the message says which one, on which machine, since when.
    OutputError
        When the folder cannot be made or written.

    Notes
    -----
    The lock is one of POSIX on a file: the system frees it when its process is gone, workers do not inherit it, and it
    reaches over NFS. Where a file system has no locks, a warning is all there is.
    """
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path, flag)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f'{flag} {path} cannot be written: {cause_of(error)}') from error
    key = _key(descriptor)
    try:
        yield
    finally:
        # Removed while it is locked, so that nobody else's is.
        with contextlib.suppress(OSError):
            (path / LOCK).unlink()
        _HELD.discard(key)
        os.close(descriptor)


def holder(path: str | os.PathLike) -> str:
    """Say who writes to the folder of a run at this moment; empty for nobody."""
    path = Path(path).expanduser()
    if _HELD & {_key(path / LOCK)}:  # asked before it is opened: to close any descriptor of a file frees its locks
        return 'in this process'
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ''
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return _read(descriptor) if error.errno in (errno.EACCES, errno.EAGAIN) else ''
    finally:
        os.close(descriptor)
    return ''


def _locked(path: Path, flag: str) -> int:
    """Return a descriptor of the lock file, locked, with this process in it."""
    while True:
        if _HELD & {_key(path / LOCK)}:  # asked before it is opened: to close any descriptor of a file frees its locks
            raise UsageError(_refusal(path, flag, 'in this process'))
        try:
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except PermissionError as error:
            if not os.path.lexists(path / LOCK):
                raise
            raise OutputError(f'{flag} {path}: {path / LOCK} is of another user: {cause_of(error)}. Remove it when no '
                              'run writes there any more') from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise UsageError(_refusal(path, flag, holder)) from error
            log.warning('%s %s: its file system has no locks (%s); start no second run in it.', flag, path,
                        error.strerror or error)
        if _key(descriptor) == _key(path / LOCK):
            break
        os.close(descriptor)  # the run before has just ended and removed it
    _HELD.add(_key(descriptor))
    about = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': time.strftime('%Y-%m-%d %H:%M:%S')}
    with contextlib.suppress(OSError):  # a full disk, which is no reason not to hold it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)
    return descriptor


def _key(file: int | Path) -> tuple[int, int] | None:
    """Return device and number of an open file, or of one by its name; None where there is none."""
    try:
        found = os.stat(file) if isinstance(file, int) else os.stat(file, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _read(descriptor: int) -> str:
    """Return in words whose a lock is, as far as its file says."""
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        return f'by process {int(about["pid"])} on {about["host"]!s:.80} since {about["since"]!s:.30}'
    except (OSError, ValueError, LookupError, TypeError):
        return 'by another process'


def _refusal(path: Path, flag: str, holder: str) -> str:
    return (f'{flag} {path} is being written by a run: {holder}. Wait until it has ended, end it (on SIGTERM it saves '
            f'its state first), or give another {flag}')
