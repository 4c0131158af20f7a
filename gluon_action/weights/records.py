"""What is known of the files of a folder of weights, and locks by which processes wait for each other."""
from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UsageError, WeightsError
from ..files import to_json, write_file
from .index import WeightsFile

RECORDS = 'verified.json'
_LOG = logging.getLogger(__name__)


class Records:
    """What is known of the files of a folder of weights, kept in its ``verified.json``.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / RECORDS

    def sha256(self, name: str) -> str | None:
        """Return the SHA-256 that a file had when it was first verified."""
        return self._read().get(name, {}).get('sha256')

    def files(self) -> list[WeightsFile]:
        """Return every file that is noted, with the SHA-256 that it had then."""
        return [WeightsFile(name, (), f'sha256:{record["sha256"]}') for name, record in self._read().items()]

    def source(self, name: str) -> str:
        """Return the address that a file came from; empty where it was put there by hand."""
        return self._read().get(name, {}).get('from', '')

    def vouch(self, file: WeightsFile) -> bool:
        """Return whether a file is there and unchanged since it was verified against the same digest."""
        record = self._read().get(file.name)
        if record is None:
            return False
        try:
            state = (self._folder / file.name).stat()
        except OSError:
            return False
        # One without a digest is held to what was noted.
        same = file.digest in ('', record['digest'], f'sha256:{record["sha256"]}')
        return same and _noted(state).items() <= record.items()

    def add(self, file: WeightsFile, sha256: str, state: os.stat_result, source: str | None = None) -> None:
        """Note that a file has been verified; a warning says where that cannot be noted, and the file is good still.

        In a folder that is read-only nothing is noted, and nothing said.

        Parameters
        ----------
        file : WeightsFile
        sha256 : str
        state : os.stat_result
            Of the file, from before it was hashed: a change since then is not vouched for.
        source : str, optional
            The address that it came from; by default what is noted already.
        """
        try:
            with locked(self._folder / 'verified.lock', lock_timeout()):
                records = self._read()
                source = records.get(file.name, {}).get('from', '') if source is None else source
                records[file.name] = {'sha256': sha256, **_noted(state), 'digest': file.digest, 'from': source}
                write_file(self._path, to_json(dict(sorted(records.items()))))
        except (OSError, WeightsError) as error:
            if os.access(self._folder, os.W_OK):
                _LOG.warning('%s is verified, but that cannot be noted: %s', file.name, error)

    def forget(self, names: Iterable[str]) -> list[str]:
        """Remove what is noted of files; return the names of those that were noted.

        Raises
        ------
        WeightsError
            When the records cannot be read, or another process holds them.
        OutputError, OSError
            When they cannot be written.
        """
        known = sorted(set(names) & self._read().keys())
        if known:
            with locked(self._folder / 'verified.lock', lock_timeout()):
                write_file(self._path, to_json({name: record for name, record in self._read().items()
                                                if name not in known}))
        return known

    def _read(self) -> dict[str, dict]:
        try:
            text = self._path.read_text()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f'{self._path}: cannot be read: {error}; {self._way_out}') from error
        try:
            return parse_records(text)
        except ValueError as error:
            raise WeightsError(f'{self._path}: is damaged ({error}); {self._way_out}') from error

    _way_out = 'remove it: the files are verified again then, but what was trusted at its first download is not known'


def parse_records(text: str) -> dict[str, dict]:
    """Return file name -> what is noted of it, out of a ``verified.json``; a `ValueError` where it is none."""
    records = json.loads(text)
    if not isinstance(records, dict) or not all(
            isinstance(record, dict) and {'sha256', 'size', 'mtime_ns', 'digest'} <= record.keys()
            for record in records.values()):
        raise ValueError('fields are missing')
    return records


def _noted(state: os.stat_result) -> dict[str, int]:
    # Whoever exchanges the content can set st_mtime, but not st_ctime.
    return {'size': state.st_size, 'mtime_ns': state.st_mtime_ns, 'ctime_ns': state.st_ctime_ns, 'inode': state.st_ino}


def lock_timeout() -> float:
    """Return how many seconds another process is waited for; a `UsageError` where that is no number of seconds."""
    told = os.environ.get('GLUON_MODEL_LOCK_TIMEOUT') or '300'
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise UsageError(f'GLUON_MODEL_LOCK_TIMEOUT: a number of seconds, 0 or more, is wanted, got {told!r}')
    return seconds


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold a lock that one process has at a time; a `WeightsError` names its holder after `timeout` seconds."""
    # The system lets go of the lock when its holder dies, so the file may stay; it says whose it is, or was at last.
    with open(path, 'a+') as file:
        start = time.monotonic()
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - start
                if waited > timeout:
                    file.seek(0)
                    holder = file.read().strip()
                    raise WeightsError(f'another process has held {path} for {timeout:g} s'
                                       + (f' ({holder})' if holder else '') + '; wait until it has finished, or let '
                                       'this one wait longer with GLUON_MODEL_LOCK_TIMEOUT=SECONDS') from None
                if waited > 1 and not told:
                    _LOG.info('waiting for the process that holds %s', path)
                    told = True
                time.sleep(0.1)
        with contextlib.suppress(OSError):  # on a full disk nobody learns who holds it
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f'process {os.getpid()} on {platform.node()}\n'.encode())
        yield
