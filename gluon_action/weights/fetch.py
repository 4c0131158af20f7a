"""Published weight files: fetched once from the first address that has them, verified, shared between processes."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib
import json
import logging
import os
import platform
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from ..errors import OutputError, UsageError, WeightsError
from ..files import put_file, replacing, sync, to_json, write_file
from .environment import is_address, mirror, offline, weights_root
from .index import Row, WeightsFile
from .transfer import AddressError, check_answers, discard, download, on_terminal, read_small, web_page

#: Where GluonCV and MXNet published. The project is retired: it may not answer, so nobody waits long for it.
REPOSITORY = 'https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/'
#: Files that the package brings.
PACKAGED = Path(__file__).with_name('files')
RECORDS = 'verified.json'
_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
_LARGEST_RECORDS = 4 << 20
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_PATIENCE_WITH_THE_RETIRED = 5.
_OTHER_FOLDER = 'name another folder with MXNET_HOME, --root of gluon-action models, or root= in Python'


class NotFetchedError(WeightsError):
    """A file that no address gave.

    Attributes
    ----------
    file : WeightsFile
    path : Path
        Where to put it.
    causes : list of (str, str)
        Address and what happened there.
    there : str
        What speaks against the file that is at `path`; empty where there is none.
    """

    def __init__(self, file: WeightsFile, path: Path, causes: list[tuple[str, str]], there: str):
        self.file, self.path, self.causes, self.there = file, path, causes, there
        tried = ', nor from '.join(f'{address}: {cause}' for address, cause in causes)
        super().__init__(f'{file.name} cannot be downloaded from {tried}{self.differs}; with the file from elsewhere '
                         f'({_expected(file)}), put it at {path}')

    @property
    def differs(self) -> str:
        """A clause about the file that is in its place and is another one; empty where there is none."""
        return f'; {self.path} is there, but {self.there}' if self.there else ''


class UntrustedError(WeightsError):
    """Files that nothing is known of to check a download against, and nobody said that they are to be trusted."""


#: SHA-256 of a file, and the state of it that has that.
_Verified = tuple[str, os.stat_result]
#: Called with a file, an address that was asked for it, and what happened there; empty when it gave the file.
Hear = Callable[[WeightsFile, str, str], None]


def fetch(row: Row, root: str | os.PathLike | None = None, *, trust_first_use: bool = False, progress: bool = True,
          own_copy: bool = False, hear: Hear | None = None) -> list[Path]:
    """Return the files of a set of weights, downloading what is not there or not whole.

    Parameters
    ----------
    row : Row
        The set.
    root : str or path, optional
        Folder of weights. By default ``$MXNET_HOME/models``, or ``~/.mxnet/models``.
    trust_first_use : bool
        Take a file whose publisher gives no digest as it comes the first time.
    progress : bool
        Draw a bar on a terminal.
    own_copy : bool
        Put a copy of every file into the folder. Otherwise what is on Hugging Face is left to `huggingface_hub` and its
        cache, where that is installed, and what this package brings is used where it is.
    hear : callable, optional
        See `Hear`.

    Returns
    -------
    list of Path
        Files whose content has been verified, in the row's order.

    Raises
    ------
    NotFetchedError
        With every address and what happened there, when a file is not available. A file that was there before is left
        alone.
    UntrustedError
        When nothing is known of a file to check it against, and `trust_first_use` does not say that it is to be taken.
    WeightsError
        When it is this machine that refuses: its disk, another process that holds the file, damaged records.
    UsageError
        When ``$GLUON_MODEL_LOCK_TIMEOUT`` is no number of seconds.

    Notes
    -----
    ``$GLUON_ACTION_REPO``, a folder or an address, is asked first for a file of the same name, and for the hash of one
    whose publisher gives no digest: whoever made the mirror has trusted it. ``$MXNET_GLUON_REPO``
    names another server of GluonCV's files, ``$HF_ENDPOINT`` one of Hugging Face's. With ``$GLUON_ACTION_OFFLINE``
    only folders and that mirror are asked. A download that breaks is resumed where it stopped, by this call and by the
    next. Processes that want the same file wait for each other (``$GLUON_MODEL_LOCK_TIMEOUT`` seconds, 300).

    ``verified.json`` in the folder notes what has been verified, so that a file which has not changed since is not read
    again, and the SHA-256 of each file's first good download: where the index knows only its beginning, or nothing of
    it, later downloads are held to that, also after the file itself was removed.
    """
    folder = weights_root(root)
    records = Records(folder)
    files = [file if _is_checked(file, records) else _as_mirrored(file) for file in row.files]
    strangers = [file.name for file in files if not _is_checked(file, records)]
    if strangers and not trust_first_use:
        there = [str(folder / name) for name in strangers if (folder / name).exists()]
        raise UntrustedError(f'{", ".join(strangers)}: {row.publisher} gives no digest that a download could be '
                             'checked against; pass --trust-first-use (trust_first_use=True) to take '
                             + (f'{", ".join(there)}, put there already' if len(there) == len(strangers) else
                                'what comes') + ', which later downloads are held to')
    return [_fetch_file(file, folder, records, progress, own_copy, hear or (lambda *_: None)) for file in files]


def state_of(file: WeightsFile, root: str | os.PathLike | None = None, *, read: bool = False) -> str:
    """Return what is in the cache of a file: ``'verified'``, ``'not there'``, ``'not verified'``, or what is wrong.

    Of one that this package brings it is ``'in the package'``, where the folder has no copy of its own.

    Parameters
    ----------
    file : WeightsFile
    root : str or path, optional
        As in `fetch`.
    read : bool
        Hash the file, however it was verified before, and note the result; without, a file that was not verified or has
        changed since is ``'not verified'``.

    Raises
    ------
    WeightsError
        When the file cannot be read.
    """
    folder = weights_root(root)
    path, records = folder / file.name, Records(folder)
    if not path.exists():
        return 'in the package' if packaged(file) else 'not there'
    if not read:
        return 'verified' if records.vouch(file) else 'not verified'
    noted = records.sha256(file.name)
    if not file.digest and noted is None:
        return 'not verified'
    try:
        found, state = _digests(path, file)
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    if cause := _wrong(file, found, records):
        return cause
    records.add(file, found['sha256'], state)
    return 'verified'


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
            with _locked(self._folder / 'verified.lock', _lock_timeout()):
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
            with _locked(self._folder / 'verified.lock', _lock_timeout()):
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
            return _parsed(text)
        except ValueError as error:
            raise WeightsError(f'{self._path}: is damaged ({error}); {self._way_out}') from error

    _way_out = 'remove it: the files are verified again then, but what was trusted at its first download is not known'


def _parsed(text: str) -> dict[str, dict]:
    records = json.loads(text)
    if not isinstance(records, dict) or not all(
            isinstance(record, dict) and {'sha256', 'size', 'mtime_ns', 'digest'} <= record.keys()
            for record in records.values()):
        raise ValueError('fields are missing')
    return records


def _as_mirrored(file: WeightsFile) -> WeightsFile:
    """Return a file without a digest with the one that it had when the mirror was made, where that is known."""
    repository = mirror()
    if not repository:
        return file
    try:
        told = read_small(f'{repository.rstrip("/")}/{RECORDS}', limit=_LARGEST_RECORDS).decode() \
            if is_address(repository) else Path(repository, RECORDS).read_text()
        record = _parsed(told).get(file.name)
    except (AddressError, OSError, ValueError) as error:
        _LOG.warning('%s does not tell the hash of %s: %s: %s', repository, file.name, RECORDS, error)
        return file
    return replace(file, digest=f'sha256:{record["sha256"]}') if record else file


def _noted(state: os.stat_result) -> dict[str, int]:
    # Whoever exchanges the content can set st_mtime, but not st_ctime.
    return {'size': state.st_size, 'mtime_ns': state.st_mtime_ns, 'ctime_ns': state.st_ctime_ns, 'inode': state.st_ino}


@dataclass(frozen=True)
class _Address:
    """Where a file may be had: `shown` is what messages say."""

    shown: str
    way: str  # 'file', 'folder', 'zip' or 'hub'
    retired: bool = False

    @property
    def manners(self) -> dict[str, float]:
        """How long, and how often, it is waited for."""
        return {'patience': _PATIENCE_WITH_THE_RETIRED, 'attempts': 1} if self.retired else {}


def _addresses(file: WeightsFile, hub: bool) -> list[_Address]:
    repository = mirror()
    first = []
    if is_address(repository):
        first.append(_Address(f'{repository.rstrip("/")}/{quote(file.name)}', 'file'))
    elif repository:
        first.append(_Address(str(Path(repository, file.name)), 'folder'))
    return first + [_address(url, hub) for url in file.urls]


def _address(url: str, hub: bool) -> _Address:
    scheme, rest = url.split('://', 1)
    if scheme == 'mxnet':
        server = os.environ.get('MXNET_GLUON_REPO')
        return _Address(f'{(server or REPOSITORY).rstrip("/")}/gluon/models/{rest}', 'zip', retired=not server)
    if scheme == 'hf':
        if hub and _hub() and not offline():
            return _Address(url, 'hub')
        owner, repository, commit, path = _parts_on_hub(url)
        return _Address(f'{_hub_server()}/{owner}/{repository}/resolve/{commit}/{path}', 'file')
    if scheme == 'package':
        return _Address(str(PACKAGED / rest), 'folder')
    if scheme == 'file':
        return _Address(unquote(urlsplit(url).path), 'folder')
    return _Address(url, 'file')


def _parts_on_hub(url: str) -> tuple[str, str, str, str]:
    owner, rest = url.removeprefix('hf://').split('/', 1)
    repository, rest = rest.split('@', 1)
    return owner, repository, *rest.split('/', 1)


def _hub_server() -> str:
    return os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        return None
    return huggingface_hub


def _fetch_file(file: WeightsFile, folder: Path, records: Records, progress: bool, own_copy: bool,
                hear: Hear) -> Path:
    path = folder / file.name
    if not own_copy and (shipped := packaged(file)):
        return shipped
    if records.vouch(file):
        return path
    try:
        if path.exists() and not os.access(folder, os.W_OK) and not (
                _wrong(file, _digests(path, file)[0], records) or _is_page(path, file, records)):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix('.lock'), _lock_timeout()):
            if records.vouch(file):
                return path
            there = ''
            if path.exists():
                digests, state = _digests(path, file)
                there = _wrong(file, digests, records) or _is_page(path, file, records)
                if not there:
                    records.add(file, digests['sha256'], state)
                    return path
                _LOG.warning('%s: %s: %s', path, there,
                             'looking for it elsewhere' if offline() else 'downloading it again')
            return _from_somewhere(file, path, records, there, progress, not own_copy, hear)
    except OutputError as error:
        raise WeightsError(f'{error}; {_OTHER_FOLDER}') from error
    except OSError as error:
        raise WeightsError(f'{path}: {error.strerror or error}; {_OTHER_FOLDER}') from error


def packaged(file: WeightsFile) -> Path | None:
    """Return where this package has a file, verified; it is used there, so that an unwritable home does not matter.

    None where it has none; a `WeightsError` where it is not whole.
    """
    path = next((PACKAGED / url.removeprefix('package://') for url in file.urls if url.startswith('package://')), None)
    if path is not None and not (path.is_file() and _digests(path, file)[0][file.algorithm] == file.digits):
        raise WeightsError(f'{path}: is not the file that belongs there ({_expected(file)}); install the package again')
    return path


def _from_somewhere(file: WeightsFile, path: Path, records: Records, there: str, progress: bool, hub: bool,
                    hear: Hear) -> Path:
    causes = []
    for address in _addresses(file, hub):
        try:
            sha256, state = _WAYS[address.way](file, path, address, records, progress)
        except AddressError as error:
            causes.append((address.shown, str(error)))
            hear(file, *causes[-1])
            continue
        hear(file, address.shown, '')
        records.add(file, sha256, state, address.shown)
        return path
    raise NotFetchedError(file, path, causes, there)


def _by_request(file: WeightsFile, path: Path, address: _Address, records: Records, progress: bool) -> _Verified:
    part = path.with_name(f'{path.name}.part')
    resumed = part.exists()
    download(address.shown, part, size=file.bytes, progress=progress, checked=_is_checked(file, records),
             **address.manners)
    digests, state = _digests(part, file)
    if cause := _wrong(file, digests, records):
        # A part that another version of the file left behind spoils the whole: only a fresh download is proof.
        discard(part)
        if not resumed:
            raise AddressError(cause)
        _LOG.warning('%s: %s; downloading it from the start', path.name, cause)
        return _by_request(file, path, address, records, progress)
    put_file(part, path)
    discard(part)
    return digests['sha256'], _named(path, state)


def _by_copy(file: WeightsFile, path: Path, address: _Address, records: Records, progress: bool) -> _Verified:
    source = Path(address.shown)
    if not source.is_file():
        raise AddressError('no such file')
    digests = _Digests(file)
    try:
        stream = open(source, 'rb')
    except OSError as error:
        raise AddressError(f'cannot be read: {error.strerror or error}') from error
    with stream, replacing(path) as copy:
        digests.begin(os.fstat(stream.fileno()).st_size)
        # What is hashed is what is written: the source may be exchanged meanwhile.
        with open(copy, 'wb') as target:
            while block := _block_of(stream):
                digests.update(block)
                target.write(block)
        found, state = digests.found(), copy.stat()
        if cause := _wrong(file, found, records) or _is_page(copy, file, records):
            raise AddressError(cause)
    return found['sha256'], _named(path, state)


def _block_of(stream: BinaryIO) -> bytes:
    try:
        return stream.read(_BLOCK)
    except OSError as error:  # not of the disk that is written to
        raise AddressError(f'cannot be read: {error.strerror or error}') from error


def _by_archive(file: WeightsFile, path: Path, address: _Address, records: Records, progress: bool) -> _Verified:
    archive = path.with_suffix('.zip.part')
    resumed = archive.exists()
    try:
        download(address.shown, archive, progress=progress, checked=_is_checked(file, records), **address.manners)
        verified = _unpack(archive, path, file, records)
    except _BadArchiveError as error:
        discard(archive)
        if not resumed:
            raise
        _LOG.warning('%s: %s; downloading it from the start', path.name, error)
        return _by_archive(file, path, address, records, progress)
    discard(archive)
    return verified


class _BadArchiveError(AddressError):
    """The downloaded archive does not hold the published file."""


def _unpack(archive: Path, path: Path, file: WeightsFile, records: Records) -> _Verified:
    """Copy the one member that is wanted out of the archive, under its own name only when its hash is right."""
    digests = _Digests(file)
    try:
        with replacing(path) as copy, zipfile.ZipFile(archive) as bundle:
            if path.name not in bundle.namelist():
                raise _BadArchiveError(f'the archive holds {", ".join(bundle.namelist()[:5]) or "nothing"} '
                                       f'instead of {path.name}')
            digests.begin(bundle.getinfo(path.name).file_size)
            with bundle.open(path.name) as member, open(copy, 'wb') as target:
                while block := member.read(_BLOCK):
                    digests.update(block)
                    target.write(block)
            found, state = digests.found(), copy.stat()
            if cause := _wrong(file, found, records):
                raise _BadArchiveError(cause)
        return found['sha256'], _named(path, state)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise _BadArchiveError(f'what came is not a whole zip archive ({error})') from error


def _by_hub(file: WeightsFile, path: Path, address: _Address, records: Records, progress: bool) -> _Verified:
    owner, repository, commit, name = _parts_on_hub(address.shown)
    hub = _hub()
    if not importlib.import_module(f'{hub.__name__}.constants').HF_HUB_OFFLINE and not isinstance(
            hub.try_to_load_from_cache(f'{owner}/{repository}', name, revision=commit), str):
        # The library asks a server that is silent for half a minute.
        check_answers(f'{_hub_server()}/{owner}/{repository}/resolve/{commit}/{name}')
    cause = ''
    for again in (False, True):
        try:
            with _bars_of(hub, progress):
                source = Path(hub.hf_hub_download(f'{owner}/{repository}', name, revision=commit,
                                                  endpoint=_hub_server(), force_download=again))
        except Exception as error:  # of the library, of what it connects with, and of the disk
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise WeightsError(f'the cache of huggingface_hub: {error}; name another folder with '
                                   'HF_HOME') from error
            told = str(error).strip().splitlines() or ['']
            raise AddressError(f'{type(error).__name__}: {told[0]}') from error
        digests, state = _digests(source, file)
        cause = _wrong(file, digests, records)
        if not cause:
            break
        _LOG.warning('%s in the cache of huggingface_hub: %s', source, cause)
    else:
        raise AddressError(cause)
    # The library keeps the file; a second copy of so many bytes serves nobody.
    link = path.with_name(f'.{path.name}.{os.getpid()}')
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    os.replace(link, path)
    sync(path.parent)
    return digests['sha256'], state


@contextlib.contextmanager
def _bars_of(hub, wanted: bool) -> Iterator[None]:
    """Let the library draw its bars where ours are drawn: it draws them into files too."""
    utils = importlib.import_module(f'{hub.__name__}.utils')
    if (wanted and on_terminal()) or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


_WAYS = {'file': _by_request, 'folder': _by_copy, 'zip': _by_archive, 'hub': _by_hub}


class _Digests:
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
        self._sha256.update(block)
        if self._known:
            self._known.update(block)

    def found(self) -> dict[str, str]:
        found = {'sha256': self._sha256.hexdigest()}
        if self._known:
            found[self._file.algorithm] = self._known.hexdigest()
        return found


def _digests(path: Path, file: WeightsFile) -> tuple[dict[str, str], os.stat_result]:
    """Return algorithm -> digest of what `path` holds, for SHA-256 and what `file` is known by; its state before."""
    digests = _Digests(file)
    with open(path, 'rb') as stream:
        state = os.fstat(stream.fileno())
        digests.begin(state.st_size)
        while block := stream.read(_BLOCK):
            digests.update(block)
    return digests.found(), state


def _named(path: Path, state: os.stat_result) -> os.stat_result:
    """Return the state of a file that got its name just now, where it is the one of `state`: naming sets st_ctime."""
    now = path.stat()
    same = all(getattr(now, name) == getattr(state, name) for name in ('st_size', 'st_mtime_ns', 'st_ino'))
    return now if same else state


def is_published(path: str | os.PathLike, row: Row) -> bool | None:
    """Whether a file is that of a row, by its digest; None where the row has none, or several files."""
    path, file = Path(path), row.files[0]
    if len(row.files) > 1 or not path.is_file() or not file.digest:
        return None
    return _digests(path, file)[0][file.algorithm].startswith(file.digits)


_NAMES = {'sha256': 'SHA-256', 'sha1': 'SHA-1', 'git-blob': "git's hash of it"}


def _wrong(file: WeightsFile, found: dict[str, str], records: Records) -> str:
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


def _is_page(path: Path, file: WeightsFile, records: Records) -> str:
    """Return that a file is a web page, where there is no digest that would tell; empty when it is none."""
    if _is_checked(file, records):
        return ''
    with open(path, 'rb') as stream:
        page = web_page(stream.read(_BLOCK))
    return f'it is {page}' if page else ''


def _is_checked(file: WeightsFile, records: Records) -> bool:
    return bool(file.digest or records.sha256(file.name))


def _expected(file: WeightsFile) -> str:
    size = f', {file.bytes:,} bytes' if file.bytes else ''
    return (file.digest or 'no digest is published') + size


def _lock_timeout() -> float:
    told = os.environ.get('GLUON_MODEL_LOCK_TIMEOUT') or '300'
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1
    if not seconds >= 0:
        raise UsageError(f'GLUON_MODEL_LOCK_TIMEOUT: a number of seconds, 0 or more, is wanted, got {told!r}')
    return seconds


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
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
