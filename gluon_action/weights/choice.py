"""Which published weights of a model are taken: the best that can be had, or those of a tag; and what is said."""
from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import WeightsError
from .environment import is_address, mirror, weights_root
from .fetch import NotFetchedError, UntrustedError, fetch, packaged, state_of
from .index import Index, Row, WeightsFile
from .records import Records

_log = logging.getLogger(__name__)


def fetch_best(rows: Sequence[Row], root: str | os.PathLike | None = None, *, trust_first_use: bool = False,
               way_out: str = '', towards: str = '') -> tuple[Row, list[Path]]:
    """Return the first of several sets of weights that can be had, and its verified files.

    A line in the log says what is taken, from where, its published score and its licence, and one for each set that was
    passed over, why. A licence that forbids commercial use is said before the download.

    Parameters
    ----------
    rows : sequence of Row
        Of one model, best first.
    root, trust_first_use
        As in `fetch`.
    way_out : str
        What an error ends with.
    towards : str
        The network that they are for, where it is another one.

    Raises
    ------
    WeightsError
        When none can be had: every address and what happened there. Also when it is this machine that refuses, its disk
        or another process that holds a file: no other set is taken then, for the next start would take the first one
        again, with its preparation.
    """
    errors = []
    for row in rows:
        name = f'{row.model} {row.tag}'
        if not row.commercial:
            _log.warning('%s: their licence, %s, does not allow commercial use', name, row.licence)
        try:
            paths = fetch(row, root, trust_first_use=trust_first_use)
        except (NotFetchedError, UntrustedError) as error:
            errors.append((row, error))
            if len(rows) > 1:
                _log.warning('%s is passed over: %s', name, _cause(error))
            continue
        _log.info('%s', _told(row, root, towards))
        return row, paths
    raise WeightsError(_why_none(errors, weights_root(root)) + (f'; {way_out}' if way_out else '')) from errors[-1][1]


def is_at_hand(row: Row, root: str | os.PathLike | None = None) -> bool:
    """Return whether `fetch` need ask no server for weights: they are in the cache, the package, or a folder of them.

    Files in the cache that were put there by hand are verified first.
    """
    place = mirror()
    folder = Path(place) if place and not is_address(place) else None

    def there(file: WeightsFile) -> bool:
        state = state_of(file, root)
        if state == 'not verified':
            state = state_of(file, root, read=True)
        return state in ('verified', 'in the package') or folder is not None and (folder / file.name).is_file()
    return all(map(there, row.files))


def row_by_tag(index: Index, model: str, tag: str, kind: str = 'actions') -> Row:
    """Return the row of a tag, see :meth:`Index.row`; GluonCV's files that the index does not know have a row too.

    Parameters
    ----------
    index : Index
    model : str
    tag : str
        Digits of a hash are checked as far as they are given: all that are known, whoever knows them. GluonCV's name
        begins with the first 8 digits of the SHA-1.
    kind : str
        Kind of a row that the index does not have.

    Raises
    ------
    WeightsError
        When there is none; the closest tag is named.
    """
    digits = tag.lower()
    try:
        row = index.row(model, tag)
    except WeightsError:
        if not 8 <= len(digits) <= 40 or set(digits) - set('0123456789abcdef'):
            raise
        name = f'{model.lower()}-{digits[:8]}'  # the published files are named in small letters
        return Row(model.lower(), digits[:8], 'GluonCV', (WeightsFile(f'{name}.params', (f'mxnet://{name}.zip',),
                                                              f'sha1:{digits}'),), 'params', 'not known', kind=kind)
    return replace(row, files=tuple(
        replace(file, digest=f'{file.algorithm}:{digits}') if file.digits and digits.startswith(file.digits) else file
        for file in row.files))


def _told(row: Row, root: str | os.PathLike | None, towards: str) -> str:
    source = 'the package' if packaged(row.files[0]) else \
        Records(weights_root(root)).source(row.files[0].name) or weights_root(root)
    score = f'published {row.score}' if row.score else 'no published score'
    return f'Weights of {row.model}{towards and f" for {towards}"}: {row.tag}, by {row.publisher}, from {source}; ' \
           f'{score}; licence {row.licence}'


def _cause(error: WeightsError) -> str:
    if not isinstance(error, NotFetchedError):
        return str(error)
    return ', '.join(f'{address}: {cause}' for address, cause in error.causes) + error.differs


def _why_none(errors: list[tuple[Row, WeightsError]], folder: Path) -> str:
    if len(errors) == 1:
        return str(errors[0][1])
    tried = '; '.join(f'{row.tag} ({_cause(error)})' for row, error in errors)
    best = errors[0][0]
    files = ', '.join(f'{file.name} ({file.digest or "no digest is published"})' for file in best.files)
    return f'none of {len(errors)} sets of weights of {best.model} can be had: {tried}; with one from elsewhere, for ' \
           f'instance {files}, put it into {folder}'
