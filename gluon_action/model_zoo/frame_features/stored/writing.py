"""Writing a stored model: networks that can be added up, their weights, and the two files."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import OutputError, UsageError
from ....feature_architecture import Architecture
from ....files import describe, to_json, write_file
from ...loading.params_file import replace_arrays
from .prefix import FORMAT, check_new, files_of

#: How far the sum of weights that are given, rounded as they may be, may be from one.
SUM_TOLERANCE = 1e-4


def write_stored(prefix: str | os.PathLike, members: Sequence[tuple[Architecture, Mapping[str, np.ndarray]]],
                 weights: Sequence[float] | None = None, *, about: Mapping[str, Any] | None = None,
                 overwrite: bool = False) -> Path:
    """Write a stored model.

    Parameters
    ----------
    prefix : path
        Of the two files; its folder is made.
    members : sequence of (Architecture, mapping of str to ndarray)
        Arrays float32 or float16, or quantized, see `QUANTS`.
    weights : sequence of float, optional
        One for each member, which sum to one; equal ones by default.
    about : mapping, optional
        For the description.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path
        The prefix.

    Raises
    ------
    UsageError
        When files are there, weights are not as many as members or do not sum to one, or members differ in what they
        take.
    OutputError
        When it cannot be written.
    """
    weights = check_weights(weights, len(members))
    check_common(members[0][0], [architecture for architecture, _ in members])
    prefix = Path(prefix).expanduser()
    if not overwrite:
        check_new(prefix, 'the prefix')
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{prefix.parent}: cannot be made: {error.strerror or error}') from error
    params, description = files_of(prefix)
    many = len(members) > 1
    replace_arrays(params, {f'member{number}.{key}' if many else key: array
                            for number, (_, arrays) in enumerate(members) for key, array in arrays.items()})
    # The description is last: it vouches for the parameters.
    write_file(description, to_json({
        'format': FORMAT,
        'members': [{'architecture': architecture.to_json(), 'weight': weight}
                    for (architecture, _), weight in zip(members, weights)],
        'about': dict(about or {}),
        'params': describe(params.parent, [params.name])[params.name]}))
    return prefix


def check_weights(weights: Sequence[float] | None, count: int, flag: str = '--weights') -> list[float]:
    """Return the weights of so many members: equal ones for None. Rounded ones are scaled to sum to one.

    Raises
    ------
    UsageError
        When they are not as many, not finite and at least 0, or do not sum to one.
    """
    if not count:
        raise UsageError('a stored model has at least one member, got none')
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise UsageError(f'{flag}: there are {count} models and {len(weights)} weights; give one weight for each model')
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise UsageError(f'{flag}: each is a number of 0 or more, got {", ".join(f"{weight:g}" for weight in weights)}')
    total = math.fsum(weights)
    if abs(total - 1) > SUM_TOLERANCE:
        scaled = ' '.join(f'{weight / total:.4f}' for weight in weights) if total else ''
        raise UsageError(f'{flag}: sum to {total:g}, they must sum to 1' + (f'; scaled they are {scaled}' if scaled
                                                                            else ''))
    return [weight / total for weight in weights]


def check_common(first: Architecture, others: Sequence[Architecture], names: Sequence[str] | None = None) -> None:
    """Raise `UsageError` where networks do not take the same input or score other classes.

    Parameters
    ----------
    first : Architecture
    others : sequence of Architecture
    names : sequence of str, optional
        What to call `others`, of which the first is `first`.
    """
    wanted = input_of(first)
    for number, other in enumerate(others):
        for option, value in input_of(other).items():
            if value != wanted[option]:
                here, there = (names[number], names[0]) if names else (f'member {number}', 'member 0')
                raise UsageError(f'{here}: has {option}={value!r}, and {there} has {wanted[option]!r}; models that are '
                                 'added up take the same input and score the same classes')


def input_of(architecture: Architecture) -> dict[str, Any]:
    """Return what networks must have in common to be one model: what they take, and which classes they score."""
    return {'feature_names': architecture.feature_names, 'feature_sizes': architecture.feature_sizes,
            'frame_features': architecture.frame_features, 'frames': architecture.length,
            'num_classes': architecture.num_classes}
