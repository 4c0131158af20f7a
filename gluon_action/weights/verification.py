"""Whether a file is the published one: its digests, held against those of the index and of its first download."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .index import Row, WeightsFile
from .records import Records
from .transfer import web_page

#: Bytes that are read at once.
BLOCK = 1 << 20
_NAMES = {'sha256': 'SHA-256', 'sha1': 'SHA-1', 'git-blob': "git's hash of it"}


class Digests:
    """SHA-256 of content that comes in blocks, and what the index knows of it."""

    def __init__(self, file: WeightsFile):
        self._file = file
        self._known = hashlib.sha1() if file.algorithm in ('sha1', 'git-blob') else None
        self._sha256 = hashlib.sha256()

    def begin(self, size: int) -> None:
        """Say how long the content is, before it comes: git's hash begins with that."""
        if self._file.algorithm == 'git-blob':
            self._known.update(b'blob %d\0' % size)

    def update(self, block: bytes) -> None:
        """Take the next block of the content."""
        self._sha256.update(block)
        if self._known:
            self._known.update(block)

    def found(self) -> dict[str, str]:
        """Return algorithm -> digest, in hexadecimal digits, of what came."""
        found = {'sha256': self._sha256.hexdigest()}
        if self._known:
            found[self._file.algorithm] = self._known.hexdigest()
        return found


def digests_of(path: Path, file: WeightsFile) -> tuple[dict[str, str], os.stat_result]:
    """Return algorithm -> digest of what `path` holds, for SHA-256 and what `file` is known by; its state before."""
    digests = Digests(file)
    with open(path, 'rb') as stream:
        state = os.fstat(stream.fileno())
        digests.begin(state.st_size)
        while block := stream.read(BLOCK):
            digests.update(block)
    return digests.found(), state


def named(path: Path, state: os.stat_result) -> os.stat_result:
    """Return the state of a file that got its name just now, where it is the one of `state`: naming sets st_ctime."""
    now = path.stat()
    same = all(getattr(now, name) == getattr(state, name) for name in ('st_size', 'st_mtime_ns', 'st_ino'))
    return now if same else state


def is_published(path: str | os.PathLike, row: Row) -> bool | None:
    """Whether a file is that of a row, by its digest; None where the row has none, or several files."""
    path, file = Path(path), row.files[0]
    if len(row.files) > 1 or not path.is_file() or not file.digest:
        return None
    return digests_of(path, file)[0][file.algorithm].startswith(file.digits)


def differs(file: WeightsFile, found: dict[str, str], records: Records) -> str:
    """Return what speaks against content with these digests; empty when it is the published one."""
    if file.digest and not found[file.algorithm].startswith(file.digits):
        return f'its {_NAMES[file.algorithm]} is {found[file.algorithm]} instead of {file.digits}'
    noted = None if file.whole else records.sha256(file.name)
    if noted and found['sha256'] != noted:
        source = records.source(file.name)
        first = f'it first came from {source}' if source else 'one that had been put there by hand was first taken'
        return (f'its SHA-256 is {found["sha256"]}, and {noted} was noted when {first}; if that one is not wanted any '
                'more, gluon-action models purge MODEL --forget removes it and the note')
    return ''


def is_page(path: Path, file: WeightsFile, records: Records) -> str:
    """Return that a file is a web page, where there is no digest that would tell; empty when it is none."""
    if is_checked(file, records):
        return ''
    with open(path, 'rb') as stream:
        page = web_page(stream.read(BLOCK))
    return f'it is {page}' if page else ''


def is_checked(file: WeightsFile, records: Records) -> bool:
    """Whether anything is known of a file that a download could be held to."""
    return bool(file.digest or records.sha256(file.name))


def expected(file: WeightsFile) -> str:
    """Return digest and size of a file for a message."""
    size = f', {file.bytes:,} bytes' if file.bytes else ''
    return (file.digest or 'no digest is published') + size
