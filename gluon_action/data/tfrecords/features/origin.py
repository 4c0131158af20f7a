"""What features in record files came through: the backbone and the PCA that the manifests beside the files name."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ....errors import UsageError
from ....files import open_file, parse_json

log = logging.getLogger(__name__)

#: What is added to the name of a result, a file or a folder, for that of the file that says what it was made of.
MANIFEST = '.manifest.json'
#: What the settings of an extraction call what features come through, and what messages call it.
THROUGH = {'backbone': 'backbone', 'pca': 'PCA', 'audio': 'audio network'}


def origin_of(paths: Sequence[str]) -> dict[str, Any]:
    """Return what the features of record files came through.

    Parameters
    ----------
    paths : sequence of str
        Files; ``FILE.manifest.json``, or that of their folder, says what they were made of. Those without one, such as
        YouTube-8M's own, say nothing.

    Returns
    -------
    dict
        Those of `THROUGH` that are known; empty where nobody says.

    Raises
    ------
    UsageError
        When two files say that they came through others.
    """
    there: dict[str, set[str]] = {}
    said: dict[str, dict[str, Any]] = {}
    for path in paths:
        folder = os.path.dirname(path)
        for result in (path, folder):
            place, name = os.path.split(f'{result}{MANIFEST}')
            if place not in there:
                there[place] = _names_in(place)
            if name in there[place]:
                if result not in said:
                    said[result] = _said_by(f'{result}{MANIFEST}')
                break
    return common_origin(said.items())


def common_origin(said: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the one origin that several features have, each of which may know a part of it.

    Parameters
    ----------
    said : iterable of (str, mapping)
        What to call each, and its origin.

    Raises
    ------
    UsageError
        When two differ.
    """
    common: dict[str, tuple[str, Any]] = {}
    for name, origin in said:
        for key, value in origin.items():
            first, known = common.setdefault(key, (name, value))
            if known != value:
                raise UsageError(f'{name}: features came through another {THROUGH.get(key, key)} than those of {first} '
                                 f'({_difference(value, known)}), so their numbers do not mean the same; extract all '
                                 'of them through one, or name only what goes together')
    return {key: value for key, (_, value) in common.items()}


def _said_by(path: str) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            settings = parse_json(file.read())['settings']
        return {key: settings[key] for key in THROUGH if settings.get(key)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning('%s: cannot be read (%s), so it is not known which PCA the features came through', path, error)
        return {}


def _names_in(folder: str) -> set[str]:
    try:
        return {name for name in os.listdir(folder or '.') if name.endswith(MANIFEST)}
    except OSError:
        return set()


def _difference(value: Any, known: Any) -> str:
    if isinstance(value, dict) and isinstance(known, dict):
        key = next(key for key in [*value, *known] if value.get(key) != known.get(key))
        return f'{key} {value.get(key)!s:.16} instead of {known.get(key)!s:.16}'
    return f'{value!s:.40} instead of {known!s:.40}'
