"""Files and folders written safely: under another name first, synced, then renamed; and sealed by their SHA-256."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import OutputError


def write_file(path: str | os.PathLike, content: str | bytes | Iterable[str], *, durable: bool = True) -> None:
    """Write a file atomically: under a temporary name, then renamed; the old one is kept on failure.

    Parameters
    ----------
    path : path
        Its folder exists.
    content : str, bytes or iterable of str
        Text is stored as UTF-8; names of files that are no UTF-8 keep their bytes. Of an iterable one piece after the
        other, so that not all need be in memory.
    durable : bool
        Wait until it is on disk.

    Raises
    ------
    OutputError
    """
    with replacing(path, durable=durable) as part:
        with part.open('wb') as file:
            for piece in [content] if isinstance(content, (str, bytes)) else content:
                file.write(piece.encode('utf-8', 'surrogateescape') if isinstance(piece, str) else piece)


@contextlib.contextmanager
def replacing(path: str | os.PathLike, *, durable: bool = True, hint: str = '') -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; the file replaces `path` on success and is removed on failure.

    Parameters
    ----------
    path : path
    durable : bool
        Wait until it is on disk.
    hint : str
        Goes behind the message of an error.

    Raises
    ------
    OutputError
        When the disk refuses, here or inside the block.
    """
    path = Path(path)
    with output_errors(path, hint):
        part = new_part(path)
    try:
        with output_errors(path, hint):
            yield part
            put_file(part, path, durable=durable)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def part_name(path: Path) -> Path:
    """Return a name beside `path`, hidden, that nobody can know: in a folder of several people a link may lie there."""
    return path.with_name(f'.{path.name}.{os.getpid()}{int.from_bytes(os.urandom(5)):013d}')


def new_part(path: Path) -> Path:
    """Make an empty file of a `part_name` to write to, never through a link, and return its path.

    Raises
    ------
    OSError
        When it cannot be made.
    """
    part = part_name(path)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    return part


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a file to read its bytes; what is none is refused at once.

    Raises
    ------
    OSError
        When it cannot be opened, or is a folder, or a pipe or device, which would be waited for or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, 'rb')
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, 'a pipe or a device is no file; write what comes out of it to one', os.fspath(path))


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises
    ------
    ValueError
        For all that is none: other text, bytes that are no text, lists in lists without end.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def put_file(part: Path, path: Path, *, durable: bool = True) -> None:
    """Give a finished file its name; it is on disk before it has it."""
    if durable:
        sync(part)
    os.replace(part, path)
    if durable:
        sync(path.parent)


def put_folder(part: Path, folder: Path, *, durable: bool = True) -> None:
    """Give a finished folder its name; an older folder of this name is moved aside first and removed last."""
    if durable:
        for path in [*part.iterdir(), part]:
            sync(path)
    old = folder.with_name(f'.part-old-{folder.name}-{os.getpid()}')
    replaces = folder.exists()
    if replaces:
        os.rename(folder, old)
    os.rename(part, folder)
    if durable:
        sync(folder.parent)
    if replaces:
        shutil.rmtree(old)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, which gets that name when all is written, and is removed on failure.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    part = folder.with_name(f'.part-{folder.name}-{os.getpid()}')
    try:
        with output_errors(folder):
            part.mkdir(parents=True)
            yield part
            put_folder(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def output_errors(path: str | os.PathLike, hint: str = '') -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `OutputError` that names it.

    Parameters
    ----------
    path : path
    hint : str
        Goes behind the cause.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f'{path}: cannot be written: {cause_of(error)}{hint}') from error


def cause_of(error: OSError) -> str:
    """Return what the system says of an error; of a disk without room, in plain words too."""
    said = error.strerror or str(error)
    full = {errno.ENOSPC: 'the disk is full', errno.EDQUOT: 'the quota of the disk is used up'}.get(error.errno)
    return f'{said}: {full}' if full else said


def check_folder_takes_files(folder: str | os.PathLike) -> None:
    """Check that a folder can be made and written to, before the work whose result it will hold.

    Raises
    ------
    OSError
        When it cannot be made or written to.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # several machines that train together may share the folder
        pass


def space_left(path: Path) -> str:
    """Free space of a disk in parentheses, for messages; '' where it is unknown."""
    try:
        return f' ({shutil.disk_usage(path).free / 1e6:.1f} MB are free)'
    except OSError:
        return ''


# Of what JSON allows inside texts: what acts on terminals, and what UTF-8 cannot hold (bytes of names of files).
_ESCAPED = re.compile('[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')


def to_json(value: Any, indent: int | None = 2) -> str:
    """Return JSON that every reader takes, readable and in UTF-8; a number that is not finite becomes null.

    Parameters
    ----------
    value
    indent : int, optional
        None puts all into one line.
    """
    text = json.dumps(finite(value), indent=indent, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f'\\u{ord(found[0]):04x}', text) + '\n'


def finite(value: Any) -> Any:
    """Return `value` as JSON can hold it: numbers of NumPy as Python's, those that are not finite as None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, 'dtype') and hasattr(value, 'item') and getattr(value, 'ndim', 1) == 0:
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hex."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


def describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the seal of files of a folder: name -> ``bytes`` and ``sha256``."""
    return {name: {'bytes': (folder / name).stat().st_size, 'sha256': file_sha256(folder / name)} for name in names}


class Changed(Exception):
    """A file that is not what its seal says.

    Attributes
    ----------
    what : {'bytes', 'sha256'}
    found, expected
        Of `what`.
    """

    def __init__(self, what: str, found: Any, expected: Any):
        super().__init__(what, found, expected)
        self.what, self.found, self.expected = what, found, expected


def check_sealed(path: Path, expected: dict[str, Any]) -> None:
    """Compare a file with what `describe` said of it; its size first, which costs nothing.

    Raises
    ------
    Changed
    OSError
        When it cannot be read.
    """
    size = path.stat().st_size
    if size != expected.get('bytes'):
        raise Changed('bytes', size, expected.get('bytes'))
    digest = file_sha256(path)
    if digest != expected.get('sha256'):
        raise Changed('sha256', digest, expected.get('sha256'))
