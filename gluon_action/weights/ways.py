"""The ways in which a file comes from an address: by request, as a copy, out of an archive, by Hugging Face's library.

Each puts the file at ``path``, whole and verified, or raises an `AddressError` and leaves what was there.
"""
from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import WeightsError
from ..files import put_file, replacing, sync
from .addresses import Address, hub_library, hub_server, parts_on_hub
from .index import WeightsFile
from .records import Records
from .transfer import AddressError, check_answers, discard, download, on_terminal
from .verification import BLOCK, Digests, differs, digests_of, is_checked, is_page, named

#: SHA-256 of a file, and the state of it that has that.
Verified = tuple[str, os.stat_result]
_LOG = logging.getLogger(__name__)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def _by_request(file: WeightsFile, path: Path, address: Address, records: Records, progress: bool) -> Verified:
    part = path.with_name(f'{path.name}.part')
    resumed = part.exists()
    download(address.shown, part, size=file.bytes, progress=progress, checked=is_checked(file, records),
             **address.manners)
    digests, state = digests_of(part, file)
    if cause := differs(file, digests, records):
        # A part that another version of the file left behind spoils the whole: only a fresh download is proof.
        discard(part)
        if not resumed:
            raise AddressError(cause)
        _LOG.warning('%s: %s; downloading it from the start', path.name, cause)
        return _by_request(file, path, address, records, progress)
    put_file(part, path)
    discard(part)
    return digests['sha256'], named(path, state)


def _by_copy(file: WeightsFile, path: Path, address: Address, records: Records, progress: bool) -> Verified:
    source = Path(address.shown)
    if not source.is_file():
        raise AddressError('no such file')
    digests = Digests(file)
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
        if cause := differs(file, found, records) or is_page(copy, file, records):
            raise AddressError(cause)
    return found['sha256'], named(path, state)


def _block_of(stream: BinaryIO) -> bytes:
    try:
        return stream.read(BLOCK)
    except OSError as error:  # not of the disk that is written to
        raise AddressError(f'cannot be read: {error.strerror or error}') from error


def _by_archive(file: WeightsFile, path: Path, address: Address, records: Records, progress: bool) -> Verified:
    archive = path.with_suffix('.zip.part')
    resumed = archive.exists()
    try:
        download(address.shown, archive, progress=progress, checked=is_checked(file, records), **address.manners)
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


def _unpack(archive: Path, path: Path, file: WeightsFile, records: Records) -> Verified:
    """Copy the one member that is wanted out of the archive, under its own name only when its hash is right."""
    digests = Digests(file)
    try:
        with replacing(path) as copy, zipfile.ZipFile(archive) as bundle:
            if path.name not in bundle.namelist():
                raise _BadArchiveError(f'the archive holds {", ".join(bundle.namelist()[:5]) or "nothing"} '
                                       f'instead of {path.name}')
            digests.begin(bundle.getinfo(path.name).file_size)
            with bundle.open(path.name) as member, open(copy, 'wb') as target:
                while block := member.read(BLOCK):
                    digests.update(block)
                    target.write(block)
            found, state = digests.found(), copy.stat()
            if cause := differs(file, found, records):
                raise _BadArchiveError(cause)
        return found['sha256'], named(path, state)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise _BadArchiveError(f'what came is not a whole zip archive ({error})') from error


def _by_hub(file: WeightsFile, path: Path, address: Address, records: Records, progress: bool) -> Verified:
    owner, repository, commit, name = parts_on_hub(address.shown)
    hub = hub_library()
    if not importlib.import_module(f'{hub.__name__}.constants').HF_HUB_OFFLINE and not isinstance(
            hub.try_to_load_from_cache(f'{owner}/{repository}', name, revision=commit), str):
        # The library asks a server that is silent for half a minute.
        check_answers(f'{hub_server()}/{owner}/{repository}/resolve/{commit}/{name}')
    cause = ''
    for again in (False, True):
        try:
            with _bars_of(hub, progress):
                source = Path(hub.hf_hub_download(f'{owner}/{repository}', name, revision=commit,
                                                  endpoint=hub_server(), force_download=again))
        except Exception as error:  # of the library, of what it connects with, and of the disk
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise WeightsError(f'the cache of huggingface_hub: {error}; name another folder with '
                                   'HF_HOME') from error
            told = str(error).strip().splitlines() or ['']
            raise AddressError(f'{type(error).__name__}: {told[0]}') from error
        digests, state = digests_of(source, file)
        cause = differs(file, digests, records)
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


WAYS = {'file': _by_request, 'folder': _by_copy, 'zip': _by_archive, 'hub': _by_hub}
