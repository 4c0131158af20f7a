"""Reading a stored model, every byte of which is checked."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import UsageError, WeightsError
from ....feature_architecture import Architecture
from ....files import Changed, check_sealed, open_file, parse_json
from ...loading.params_file import read_arrays
from .model import QUANTS, SPACE, Member, StoredModel
from .prefix import FORMAT, NAME, files_of, prefix_of


def read_stored(path: str | os.PathLike, who: str = '') -> StoredModel:
    """Read a stored model and check every byte of it.

    Parameters
    ----------
    path : path
        A prefix, one of its files, or a train_dir, of which `NAME` is meant.
    who : str
        The flag that named it, for messages.

    Raises
    ------
    WeightsError
        When it is missing, torn, changed, or another kind of file.
    """
    prefix = prefix_of(path)
    params, description = files_of(prefix)
    called = f'{who} {prefix}'.strip()
    if not (params.is_file() and description.is_file()):
        raise WeightsError(f'{called}: {_what_is_missing(prefix, params, description)}')
    try:
        with open_file(description) as file:
            about = parse_json(file.read())
        members, seal = about['members'], about['params']
        if about['format'] != FORMAT:
            raise WeightsError(f'{description}: is of format {about["format"]}, this program reads {FORMAT}')
        check_sealed(params, seal)
        arrays = read_arrays(params)
        found = [Member(Architecture.from_json(member['architecture'], description), part,
                        float(member['weight']))
                 for member, part in zip(members, _parts(arrays, len(members)), strict=True)]
        extra = about.get('about', {})
        _check_members(found, extra)
    except Changed as change:
        raise WeightsError(f'{params}: is not what {description.name} vouches for ({change.what} {change.found} '
                           f'instead of {change.expected}): it was cut, changed or belongs to another model; write '
                           'it again') from change
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise WeightsError(f'{called}: is no stored model, or a damaged one ({type(error).__name__}: {error}); write '
                           'it again') from error
    return StoredModel(prefix, found, extra, seal['sha256'])


def _check_members(members: Sequence[Member], about: Any) -> None:
    if not isinstance(about, dict):
        raise ValueError('what it says of itself is no object')
    for number, member in enumerate(members):
        if not 0 <= member.weight < math.inf:
            raise ValueError(f'member {number} has the weight {member.weight}')
        for key, array in member.arrays.items():
            space = member.arrays.get(key.removesuffix(QUANTS) + SPACE)
            if key.endswith(QUANTS) and (array.dtype != np.uint8 or space is None or space.ndim != 1
                                         or array.size and int(array.max()) >= len(space)):
                raise ValueError(f'{key} are no numbers of levels that are stored')


def _parts(arrays: Mapping[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    if count == 1:
        return [dict(arrays)]
    parts: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    for key, array in arrays.items():
        number, _, name = key.removeprefix('member').partition('.')
        parts[int(number)][name] = array
    return parts


def _what_is_missing(prefix: Path, params: Path, description: Path) -> str:
    if Path(f'{prefix}.index').is_file() or Path(f'{prefix}.meta').is_file():
        return ('is a checkpoint of TensorFlow; scripts/youtube8m/import_checkpoint.py makes a train_dir of it that '
                'can be named here')
    there = next((path.name for path in (params, description) if path.is_file()), None)
    if there:
        missing = description if there == params.name else params
        return f'there is a {there}, but no {missing.name} beside it; copy both files'
    if prefix.name == NAME and (prefix.parent / 'checkpoints').is_dir():
        return (f'the run has no {NAME} yet; scripts/youtube8m/eval.py --train_dir={prefix.parent} --run_once '
                '--build_only writes it')
    return (f'there is no stored model; {params.name} and {description.name} are what eval, quantize and '
            'graph_ensemble write')
