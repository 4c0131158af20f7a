"""Published weight files: fetched once from the first address that has them, verified, shared between processes."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import OutputError, WeightsError
from .addresses import PACKAGED, addresses
from .environment import is_address, mirror, offline, weights_root
from .index import Row, WeightsFile
from .records import RECORDS, Records, lock_timeout, locked, parse_records
from .transfer import AddressError, read_small
from .verification import differs, digests_of, expected, is_checked, is_page
from .ways import WAYS

_LOG = logging.getLogger(__name__)
_LARGEST_RECORDS = 4 << 20
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
                         f'({expected(file)}), put it at {path}')

    @property
    def differs(self) -> str:
        """A clause about the file that is in its place and is another one; empty where there is none."""
        return f'; {self.path} is there, but {self.there}' if self.there else ''


class UntrustedError(WeightsError):
    """Files that nothing is known of to check a download against, and nobody said that they are to be trusted."""


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
    files = [file if is_checked(file, records) else _as_mirrored(file) for file in row.files]
    strangers = [file.name for file in files if not is_checked(file, records)]
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
        found, state = digests_of(path, file)
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    if cause := differs(file, found, records):
        return cause
    records.add(file, found['sha256'], state)
    return 'verified'


def _as_mirrored(file: WeightsFile) -> WeightsFile:
    """Return a file without a digest with the one that it had when the mirror was made, where that is known."""
    repository = mirror()
    if not repository:
        return file
    try:
        told = read_small(f'{repository.rstrip("/")}/{RECORDS}', limit=_LARGEST_RECORDS).decode() \
            if is_address(repository) else Path(repository, RECORDS).read_text()
        record = parse_records(told).get(file.name)
    except (AddressError, OSError, ValueError) as error:
        _LOG.warning('%s does not tell the hash of %s: %s: %s', repository, file.name, RECORDS, error)
        return file
    return replace(file, digest=f'sha256:{record["sha256"]}') if record else file


def _fetch_file(file: WeightsFile, folder: Path, records: Records, progress: bool, own_copy: bool,
                hear: Hear) -> Path:
    path = folder / file.name
    if not own_copy and (shipped := packaged(file)):
        return shipped
    if records.vouch(file):
        return path
    try:
        if path.exists() and not os.access(folder, os.W_OK) and not (
                differs(file, digests_of(path, file)[0], records) or is_page(path, file, records)):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix('.lock'), lock_timeout()):
            if records.vouch(file):
                return path
            there = ''
            if path.exists():
                digests, state = digests_of(path, file)
                there = differs(file, digests, records) or is_page(path, file, records)
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
    if path is not None and not (path.is_file() and digests_of(path, file)[0][file.algorithm] == file.digits):
        raise WeightsError(f'{path}: is not the file that belongs there ({expected(file)}); install the package again')
    return path


def _from_somewhere(file: WeightsFile, path: Path, records: Records, there: str, progress: bool, hub: bool,
                    hear: Hear) -> Path:
    causes = []
    for address in addresses(file, hub):
        try:
            sha256, state = WAYS[address.way](file, path, address, records, progress)
        except AddressError as error:
            causes.append((address.shown, str(error)))
            hear(file, *causes[-1])
            continue
        hear(file, address.shown, '')
        records.add(file, sha256, state, address.shown)
        return path
    raise NotFetchedError(file, path, causes, there)
