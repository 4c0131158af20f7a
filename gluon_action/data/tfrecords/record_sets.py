"""The TFRecord files that a setting names, opened together, and a place in them for messages."""
from __future__ import annotations

import glob
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from ...errors import RecordError, UsageError
from .examples import parse_example
from .features.feature_messages import named
from .framing import RecordFile

_OPENED_AT_A_TIME = 16


def find_records(setting: str) -> list[str]:
    """Files that a folder, a pattern, the name of one file, or several of them with commas between, mean.

    A setting that means files as a whole is not cut at its commas: names of folders and files may have some.

    Returns
    -------
    list of str
        Sorted; each once.

    Raises
    ------
    UsageError
        When one of them means no file.
    """
    whole = os.path.expanduser(setting)
    if os.path.exists(whole) or _matches(whole):
        return _files_of(whole)
    parts = [os.path.expanduser(part.strip()) for part in setting.split(',')]
    return sorted({path for part in parts if part or len(parts) == 1 for path in _files_of(part)})


def open_records(paths: list[str], *, keep_whole: bool = False) -> list[RecordFile]:
    """Open files; `keep_whole` as in `RecordFile`.

    Several are opened at a time: to find where records begin is to wait for a disk, or a network, once a record.

    Raises
    ------
    RecordError
        When files are torn or no TFRecords; all of them are named.
    """
    def opened(path: str) -> RecordFile | RecordError:
        try:
            return RecordFile(path, keep_whole=keep_whole)
        except RecordError as error:
            return error

    with ThreadPoolExecutor(_OPENED_AT_A_TIME) as threads:
        files = list(threads.map(opened, paths))
    bad = [file for file in files if isinstance(file, RecordError)]
    if len(bad) > 1:
        others = '; '.join(map(str, bad[1:]))
        raise RecordError(bad[0].path, bad[0].offset, f'{bad[0].cause}. And of the {len(paths)} files also: {others}')
    if bad:
        raise bad[0]
    return files


def digest_of(files: list[RecordFile]) -> str:
    """SHA-256 of the names of files and of the lengths and checksums of their records, in hex."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f'{os.path.basename(file.path)}\n'.encode('utf-8', 'surrogateescape'))
        digest.update(file.lengths.astype('<i8').tobytes() + file.checksums.astype('<u4').tobytes())
    return digest.hexdigest()


class Where:
    """A record, for messages about it.

    Parameters
    ----------
    file : RecordFile
    number : int
        Of the record in it, from 0.
    """

    def __init__(self, file: RecordFile, number: int):
        self.path, self.offset, self.number = file.path, int(file.offsets[number]), number

    def error(self, cause: str) -> RecordError:
        """The error that something is wrong with the record."""
        return RecordError(self.path, self.offset, f'record {self.number}: {cause}')

    def parsed(self, content: bytes) -> dict:
        """Features of the record, a ``tf.train.Example``, of this content."""
        try:
            return parse_example(content)
        except ValueError as error:
            raise self.error(f'it is not a tf.train.Example: {error}') from error

    def only(self, features: dict, name: str) -> memoryview:
        """Content of a feature that is one string of bytes."""
        if name not in features:
            raise self.error(f'it has no {name!r}, only {named(features)}')
        values = features[name]
        if not isinstance(values, list):
            raise self.error(f'its {name!r} is a list of numbers ({values.dtype}); raw bytes are expected')
        if len(values) != 1:
            raise self.error(f'its {name!r} has {len(values)} strings of bytes, expected one')
        return values[0]


def counted(things, noun: str) -> str:
    """``counted('abc', 'file')`` is '3 files'."""
    plural = {'class': 'classes'}.get(noun, f'{noun}s')
    return f'{len(things)} {noun if len(things) == 1 else plural}'


def _files_of(setting: str) -> list[str]:
    paths = _matches(os.path.join(glob.escape(setting), '*.tfrecord') if os.path.isdir(setting) else setting)
    if paths:
        return paths
    if os.path.isfile(setting):  # a name with brackets in it
        return [setting]
    shown = os.path.join(setting, '*.tfrecord') if os.path.isdir(setting) else setting
    folder = os.path.dirname(shown)
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    there = sorted(os.listdir(folder or '.'))
    holds = f'holds {", ".join(there[:6])}{" ..." * (len(there) > 6)}' if there else 'is empty'
    raise UsageError(f'no file is called {shown}; {folder or "."} {holds}; pass a folder of .tfrecord files or '
                     'a pattern in quotes')


def _matches(pattern: str) -> list[str]:
    return sorted(path for path in glob.glob(pattern) if os.path.isfile(path))
