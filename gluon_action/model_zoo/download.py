"""Published weight files: downloaded once, verified, shared between processes."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeightsError
from ..files import replacing

REPOSITORY = 'https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/'
_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
_ATTEMPTS = 4
_STALL_SECONDS = 30


def fetch_weights(name: str, tag: str, sha1: str, root: str | os.PathLike | None = None) -> Path:
    """Return the file ``{name}-{tag}.params``, downloading it if it is not there or not whole.

    Parameters
    ----------
    name : str
        Model, or ImageNet network of GluonCV.
    tag : str
        First 8 digits of the SHA-1: part of the file's name.
    sha1 : str
        Hash of the content; all 40 digits, or as many as are known.
    root : str or path, optional
        Folder of weights. By default ``$MXNET_HOME/models``, or ``~/.mxnet/models``.

    Returns
    -------
    Path
        A file whose content has been verified.

    Raises
    ------
    WeightsError
        With the address and the cause, when the download fails. A file that was there before is left alone.

    Notes
    -----
    ``$MXNET_GLUON_REPO`` names another server. A download that breaks is resumed where it stopped, by this call and
    by the next. Processes that want the same file wait for each other (``$GLUON_MODEL_LOCK_TIMEOUT`` seconds, 300).
    """
    folder = weights_root(root)
    path = folder / f'{name}-{tag}.params'
    url = f'{os.environ.get("MXNET_GLUON_REPO", REPOSITORY).rstrip("/")}/gluon/models/{name}-{tag}.zip'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix('.lock'), float(os.environ.get('GLUON_MODEL_LOCK_TIMEOUT', 300))):
            if not path.exists() or not _intact(path, sha1):
                _download(url, path, sha1)
    except WeightsError as error:
        raise WeightsError(f'{path.name} cannot be downloaded from {url}: {error}; with the file from elsewhere, '
                           f'put it at {path}') from error
    except OSError as error:
        raise WeightsError(f'{path}: {error.strerror or error}; name another folder with root= or '
                           'MXNET_HOME') from error
    return path


def weights_root(root: str | os.PathLike | None = None) -> Path:
    """Return the folder of weights: `root`, or ``$MXNET_HOME/models``, or ``~/.mxnet/models``."""
    if root is None:
        root = Path(os.environ.get('MXNET_HOME') or '~/.mxnet', 'models')
    return Path(root).expanduser()


def _intact(path: Path, sha1: str) -> bool:
    digest = hashlib.sha1()
    with open(path, 'rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest().startswith(sha1):
        return True
    _LOG.warning('%s has SHA-1 %s instead of %s: downloading it again', path, digest.hexdigest(), sha1)
    return False


def _download(url: str, path: Path, sha1: str) -> None:
    archive = path.with_suffix('.zip.part')
    resumed = archive.exists()
    try:
        _fetch(url, archive)
        _unpack(archive, path, sha1)
    except _BadContentError as error:
        # A part that another version of the file left behind spoils the whole: only a fresh download is proof.
        archive.unlink(missing_ok=True)
        if not resumed:
            raise
        _LOG.warning('%s: %s; downloading it from the start', path.name, error)
        return _download(url, path, sha1)
    archive.unlink()


class _BadContentError(WeightsError):
    """The downloaded file is not the published one."""


class _BrokenTransferError(Exception):
    """The connection failed in a way that a retry may mend."""


def _fetch(url: str, part: Path) -> None:
    """Append to `part` until it is whole."""
    for attempt in range(_ATTEMPTS):
        try:
            return _fetch_rest(url, part)
        except _BrokenTransferError as error:
            cause = error
            if attempt + 1 < _ATTEMPTS:
                _LOG.warning('%s: %s; going on from byte %d', url, cause, part.stat().st_size if part.exists() else 0)
                time.sleep(0.2 * 2 ** attempt)
    raise WeightsError(f'{cause}, after {_ATTEMPTS} attempts')


def _fetch_rest(url: str, part: Path) -> None:
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={offset}-'} if offset else {})
    try:
        with urllib.request.urlopen(request, timeout=_STALL_SECONDS) as answer:
            if answer.status != 206:  # the server sends everything again
                offset = 0
            length = answer.headers.get('Content-Length')
            total = offset + int(length) if length else None
            _LOG.info('downloading %s%s', url, f' ({total / 1e6:.1f} MB)' if total else '')
            with open(part, 'r+b' if offset else 'wb') as file:
                file.seek(offset)
                while block := answer.read(_BLOCK):
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # we hold more than there is
            part.unlink()
        if error.code == 416 or error.code >= 500:
            raise _BrokenTransferError(f'HTTP {error.code} {error.reason}') from error
        raise WeightsError(f'HTTP {error.code} {error.reason}') from error
    except urllib.error.URLError as error:
        raise WeightsError(f'no connection ({error.reason})') from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _BrokenTransferError(f'the connection broke ({error})') from error
    size = part.stat().st_size
    if total is not None and size < total:
        raise _BrokenTransferError(f'the connection ended after {size} of {total} bytes')


def _unpack(archive: Path, path: Path, sha1: str) -> None:
    """Copy the one member that is wanted out of the archive, under its own name only when its hash is right."""
    digest = hashlib.sha1()
    try:
        with replacing(path) as copy, zipfile.ZipFile(archive) as bundle:
            if path.name not in bundle.namelist():
                raise _BadContentError(f'the archive holds {", ".join(bundle.namelist()[:5]) or "nothing"} '
                                       f'instead of {path.name}')
            with bundle.open(path.name) as member, open(copy, 'wb') as file:
                while block := member.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
            if not digest.hexdigest().startswith(sha1):
                raise _BadContentError(f'its SHA-1 is {digest.hexdigest()} instead of {sha1}')
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _BadContentError(f'what came is not a whole zip archive ({error})') from error


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    # The system lets go of the lock when its holder dies, so the file may stay.
    with open(path, 'a') as file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WeightsError(f'another process has held {path} for {timeout:.0f} s') from None
                time.sleep(0.1)
        yield
