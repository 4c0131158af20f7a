"""One file from one address: resumed where it stopped, asked for again, and told apart from what is no file.

`pooch` fetches and verifies too; it neither resumes a part nor asks a second time when a connection breaks in the
middle of a file.
"""
from __future__ import annotations

import contextlib
import errno
import http.client
import json
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ..errors import OutputError, WeightsError
from ..files import output_errors, space_left, write_file
from .environment import may_be_asked

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
_ATTEMPTS = 4
_PAUSE = 0.2
_STALL_SECONDS = 30
_AGENT = {'User-Agent': 'gluon-action'}
_BUSY = (408, 425, 429)
_PAGE = re.compile(rb'\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b', re.I | re.S)


class AddressError(WeightsError):
    """An address that does not give the file; another one may."""


class _BrokenTransferError(Exception):
    """The connection failed in a way that a retry may mend."""


def download(url: str, part: Path, *, size: int | None = None, patience: float = _STALL_SECONDS,
             attempts: int = _ATTEMPTS, progress: bool = True, checked: bool = True) -> None:
    """Append to `part` until it is whole.

    Parameters
    ----------
    url : str
        Address, ``http`` or ``https``.
    part : Path
        What is there of the file; beside it is noted which version on the server it belongs to.
    size : int, optional
        Bytes that the file must have.
    patience : float
        Seconds to wait for a connection, or for the next bytes.
    attempts : int
        How often the server is asked when it is busy or the connection breaks.
    progress : bool
        Draw a bar on a terminal.
    checked : bool
        Whether the whole is compared with a hash afterwards. Otherwise a part is gone on with only where it is known to
        be of the version that the address has now: nothing else would tell that two files were put together.

    Raises
    ------
    AddressError
        When the address does not give the file, with the cause; the part stays where going on with it makes sense.
    OutputError
        When the disk refuses; of a full disk the part is given back.
    """
    for attempt in range(attempts):
        try:
            return _download_rest(url, part, size, patience, progress, checked)
        except _BrokenTransferError as error:
            cause = error
            if attempt + 1 < attempts:
                _LOG.warning('%s: %s; going on from byte %d', url, cause, _size(part))
                time.sleep(_PAUSE * 2 ** attempt)
    raise AddressError(f'{cause}, after {attempts} attempts' if attempts > 1 else str(cause))


def on_terminal() -> bool:
    """Return whether somebody watches: bars are drawn for nobody else."""
    return sys.stderr is not None and sys.stderr.isatty()


def discard(part: Path) -> None:
    """Remove a part and the note on its version."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def web_page(start: bytes) -> str:
    """Return what content that begins so is, where that is a web page; empty of others."""
    if not _PAGE.match(start):
        return ''
    title = re.search(rb'<title[^>]*>(.*?)</title>', start, re.I | re.S)
    return 'a web page' + (f' "{" ".join(title[1].decode("utf-8", "replace").split())}"' if title else '')


def read_small(url: str, *, limit: int, patience: float = 10) -> bytes:
    """Return the content of an address, at most `limit` bytes.

    Raises
    ------
    AddressError
        When it does not answer, answers with a web page, or with more.
    """
    try:
        with _answer(url, {}, patience) as answer:
            content = b''
            while len(content) <= limit and (more := _read(answer, _BLOCK)):
                content += more
    except _BrokenTransferError as error:
        raise AddressError(str(error)) from error
    if len(content) > limit:
        raise AddressError(f'it has more than {limit:,} bytes')
    _refuse_page(answer, content)
    return content


def check_answers(url: str, *, patience: float = 10) -> None:
    """Ask an address once, for those who would ask a silent one again and again.

    Raises
    ------
    AddressError
        When nothing answers there; an answer that is a refusal is one.
    """
    try:
        with _answer(url, {}, patience):
            pass
    except _HttpStatusError:
        pass
    except _BrokenTransferError as error:
        raise AddressError(str(error)) from error


def _download_rest(url: str, part: Path, size: int | None, patience: float, progress: bool, checked: bool) -> None:
    offset, version = _size(part), _version_of(part, url)
    if offset and not (checked or version):
        _LOG.info('%s: whether what is there is of the same version is not known; downloading it from the start', url)
        discard(part)
        offset = 0
    if size is not None and offset == size:
        return
    headers = {}
    if offset:
        headers['Range'] = f'bytes={offset}-'
        if version:
            headers['If-Range'] = version
    try:
        with _answer(url, headers, patience) as answer:
            offset = _start_of(answer, offset, part, version)
            length = answer.headers.get('Content-Length', '')
            total = offset + int(length) if length.isdecimal() else None
            if size is not None and total not in (None, size):
                discard(part)
                raise AddressError(f'it has {total:,} bytes there instead of {size:,}')
            _LOG.info('downloading %s%s', url, f' ({total / 1e6:.1f} MB)' if total else '')
            first = _read(answer, _BLOCK)
            if not offset:
                _refuse_page(answer, first)
            with _on_disk(part):
                # Under a name that the next attempt finds again, so others may know it: never through a link.
                file = open(part, 'r+b' if offset else 'wb',
                            opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))
                _note_version(part, url, answer)  # of what is in the file now, not of what was there before
            with file, _bar(part, offset, total, progress) as bar:
                file.seek(offset)
                block = first
                while block:
                    with _on_disk(part):
                        file.write(block)
                        file.flush()
                    bar(len(block))
                    block = _read(answer, _BLOCK)
    except _HttpStatusError as error:
        if error.code == 416 and offset:  # nothing comes behind what we hold
            if error.whole == offset or error.whole is None and checked:
                return  # whoever called hashes it: most likely it is the file
            discard(part)
            return _download_rest(url, part, size, patience, progress, checked)
        if error.code in _BUSY or error.code >= 500:
            raise _BrokenTransferError(str(error)) from error
        raise AddressError(str(error)) from error
    if total is not None and _size(part) < total:
        raise _BrokenTransferError(f'the connection ended after {_size(part)} of {total} bytes')


class _HttpStatusError(AddressError):
    """An answer that is none; `whole` is how many bytes the file has, where that is told."""

    def __init__(self, code: int, cause: str, told: str):
        super().__init__(cause)
        length = re.fullmatch(r'bytes \*/(\d+)', told)
        self.code, self.whole = code, int(length[1]) if length else None


@contextlib.contextmanager
def _answer(url: str, headers: dict[str, str], patience: float) -> Iterator[http.client.HTTPResponse]:
    _check_may_be_asked(url)
    try:
        request = urllib.request.Request(url, headers={**_AGENT, **headers})
        answer = urllib.request.build_opener(_Redirects).open(request, timeout=patience)
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            raise AddressError(f'HTTP {error.code}: it leads in a circle, or to no address') from error
        raise _HttpStatusError(error.code, f'HTTP {error.code} {error.reason}',
                               error.headers.get('Content-Range', '')) from error
    except urllib.error.URLError as error:
        raise AddressError(f'no connection ({error.reason})') from error
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _BrokenTransferError(f'the connection broke ({error})') from error
    except ValueError as error:
        raise AddressError(f'it is no address ({error})') from error
    with answer:
        yield answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where an address leads, to whom that may be asked."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_may_be_asked(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_may_be_asked(url: str) -> None:
    if not may_be_asked(url):
        raise AddressError('GLUON_ACTION_OFFLINE is set')


def _read(answer: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return answer.read(size)
    except (OSError, http.client.HTTPException) as error:  # an OSError of the network: nothing is written here
        raise _BrokenTransferError(f'the connection broke ({error})') from error


def _start_of(answer: http.client.HTTPResponse, offset: int, part: Path, version: str) -> int:
    """Return which byte of the file comes first."""
    if answer.status != 206:  # the server sends everything again
        return 0
    told = re.match(r'bytes (\d+)-', answer.headers.get('Content-Range', ''))
    if told and int(told[1]) != offset:
        discard(part)
        raise _BrokenTransferError(f'byte {told[1]} came instead of {offset}')
    if version and answer.headers.get('ETag', version) != version:  # some pass If-Range over
        discard(part)
        raise _BrokenTransferError('the rest of another version came')
    return offset


def _refuse_page(answer: http.client.HTTPResponse, start: bytes) -> None:
    page = web_page(start)
    if page or answer.headers.get_content_type() == 'text/html':
        raise AddressError(f"{page or 'a web page'} came instead of the file: a proxy's login, or a page of "
                           f'{answer.geturl()} that has to be opened in a browser first')


def _note(part: Path) -> Path:
    return part.with_name(f'{part.name}.version')


def _version_of(part: Path, url: str) -> str:
    try:
        noted = json.loads(_note(part).read_text())
        return noted['version'] if noted['url'] == url else ''
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def _note_version(part: Path, url: str, answer: http.client.HTTPResponse) -> None:
    # A weak tag promises no equal bytes, which is what If-Range asks for.
    version = answer.headers.get('ETag', '')
    if not version or version.startswith('W/'):
        _note(part).unlink(missing_ok=True)
    else:
        write_file(_note(part), json.dumps({'url': url, 'version': version}), durable=False)


@contextlib.contextmanager
def _on_disk(part: Path) -> Iterator[None]:
    try:
        with output_errors(part, space_left(part.parent)):
            yield
    except OutputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                discard(part)
        raise


@contextlib.contextmanager
def _bar(part: Path, offset: int, total: int | None, wanted: bool) -> Iterator:
    """Yield what is called with the number of bytes that have come."""
    if not wanted or not on_terminal():
        yield lambda count: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    with tqdm(total=total, initial=offset, unit='B', unit_scale=True, desc=part.name.removesuffix('.part')) as bar:
        yield bar.update


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
