"""Checkpoints of YouTube-8M's TensorFlow networks: of training, of evaluation, and quantized ones."""
from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import ModelError, WeightsError
from ...feature_architecture import Architecture
from ...options import options_of
from ..frame_features import key_of, variables
from ..frame_features.network import NETWORKS
from ..frame_features.stored.model import QUANTS, SPACE
from ..loading.fit import few
from ..registry import model_card
from .conversion import Conversion, Place, Row
from .formats.tensorflow import find_prefix, read_checkpoint, read_shapes
from .training_variables import AVERAGE, among_training_variables

# The scope that the originals build their networks in.
_SCOPE = 'tower/'
# What the name of a variable ends with, which quantize.py of miha-skalic/youtube8mchallenge may have changed -> what
# that of a stored array ends with, the numbers in it, and a note.
_FORMS = {'': ('', (np.float32, np.float64), ''), '_quants': (QUANTS, (np.uint8,), 'numbers of levels'),
          '_space': (SPACE, (np.float32,), 'levels'), 'float16': ('', (np.float16,), 'half precision')}
_LEVELS = (256,)
_STEP = 'global_step'


@dataclass(frozen=True)
class ImportedNetwork:
    """What `read_network` found.

    Attributes
    ----------
    conversion : Conversion
        Arrays as a stored model has them, and what became of every variable.
    step : int
        Steps of its training; 0 where it does not say.
    averaged : bool
        Whether some arrays are moving averages.
    """

    conversion: Conversion
    step: int
    averaged: bool


def read_network(source: str | os.PathLike, architecture: Architecture, *, averages: bool = True) -> ImportedNetwork:
    """Read a checkpoint of miha-skalic/youtube8mchallenge, google/youtube-8m, WILLOW's or linrongc/youtube-8m.

    Names may begin with ``tower/``. What an optimizer leaves is passed over. Quantized variables stay as they are:
    a stored model has them in the same form.

    Parameters
    ----------
    source : str or path
        What the names of its files begin with, one of them, or their folder.
    architecture : Architecture
        Of the network that was trained.
    averages : bool
        Take a variable's moving average where there is one (``/ExponentialMovingAverage``).

    Raises
    ------
    WeightsError
        When it cannot be read, or is not of this architecture; nothing is left out or made up.
    ModelError
        When there is no such network.
    """
    prefix, wanted = find_prefix(source), variables(architecture)
    shapes = read_shapes(prefix)
    taken = [name for name in shapes if averages or not name.endswith(AVERAGE)]
    place = among_training_variables(taken, _placer(wanted))
    placed, rows, strange = {}, [], []
    for name, shape in shapes.items():
        found = place(name) if name in taken else (None, 'moving average, left out')
        if found is None:
            strange.append(name)
            continue
        key, note = found
        if key in placed:
            raise WeightsError(f'{prefix}: {placed[key]} and {name} are both for {key}')
        if key:
            placed[key] = name
        rows.append((name, shape, key, note))
    _check(prefix, architecture, wanted, shapes, placed, strange)
    counters = [name for name in shapes if name.rpartition('/')[2] == _STEP]
    values = read_checkpoint(prefix, {*placed.values(), *counters})
    arrays = {key: _array(prefix, name, values.pop(name), wanted) for key, name in placed.items()}
    step = int(values[counters[0]]) if counters else 0
    return ImportedNetwork(Conversion(str(prefix), f'{architecture.model} of YouTube-8M', arrays, _told(rows)), step,
                           any(name.endswith(AVERAGE) for name in placed.values()))


def _placer(wanted: Collection[str]) -> Place:
    """Return what says of a variable which key of a stored model it is for."""
    def place(name: str) -> tuple[str | None, str] | None:
        variable, form = _read_name(name, wanted)
        return (key_of(variable) + _FORMS[form][0], _FORMS[form][2]) if variable else None
    return place


def _read_name(name: str, wanted: Collection[str]) -> tuple[str, str]:
    """Return the variable of the network that a name stands for, empty for none, and its form of `_FORMS`."""
    plain = name.removeprefix(_SCOPE).removesuffix(AVERAGE)
    for form in _FORMS:
        if plain.endswith(form):
            variable = plain.removesuffix(form)
            for one in (variable, _of_cell(variable)):
                if one in wanted:
                    return one, form
    return '', ''


def _of_cell(name: str) -> str:
    """Return the name of a recurrent cell's variable since TensorFlow 1.2; before, they were named as a layer's."""
    scope, _, last = name.rpartition('/')
    return f'{scope}/{ {"weights": "kernel", "biases": "bias"}.get(last, last)}'


def _check(prefix: Path, architecture: Architecture, wanted: Mapping[str, tuple[int, ...]],
           shapes: Mapping[str, tuple[int, ...]], placed: Mapping[str, str], strange: list[str]) -> None:
    """Raise `WeightsError` unless each variable of the network is there once, in its shape, and nothing else is."""
    faults = []
    for variable, shape in wanted.items():
        for ending, should in (('', shape), (QUANTS, shape), (SPACE, _LEVELS)):
            got = shapes[placed[key_of(variable) + ending]] if key_of(variable) + ending in placed else should
            if got != should:
                faults.append(f'{variable}{ending} is {_by(got)}, by the flags it is {_by(should)}')
    missing = [variable for variable in wanted if key_of(variable) not in placed
               and not {key_of(variable) + QUANTS, key_of(variable) + SPACE} <= placed.keys()]
    if missing:
        faults.append(f'it lacks {len(missing)} of {len(wanted)} variables ({few(missing)})')
    if strange:
        faults.append(f'{len(strange)} variables are not of this network ({few(strange)})')
    if not faults:
        return
    cure = 'pass the flags that it was trained with'
    if missing or strange:
        names = {name.removeprefix(_SCOPE) for name in strange} | wanted.keys() - set(missing)
        changes = _closer(architecture, names)
        cure += f'; its names are those of {" ".join(changes)}' if changes else ''
    shown = faults[:3] + [f'and {len(faults) - 3} more'] * (len(faults) > 3)
    raise WeightsError(f'{prefix}: is not {architecture.model} as the flags make it: {"; ".join(shown)}; {cure}')


def _closer(architecture: Architecture, names: Collection[str]) -> list[str]:
    """Return the flags with which a network has just these variables; none where no few flags do it."""
    best, changed = architecture, set()
    distance = len(variables(architecture).keys() ^ names)
    while distance:
        found = (distance, best, '')
        for name, value in _changes(best):
            try:
                other = replace(best, **{name: value})
                there = len(variables(other).keys() ^ names)
            except ModelError:  # options that contradict each other, sizes that do not divide
                continue
            found = (there, other, name) if there < found[0] else found
        if found[0] == distance:
            return []
        distance, best, name = found
        changed.add(name)
    options = options_of(Architecture)
    return [f'{options[name].flag}={getattr(best, name)}' for name in options
            if name in changed and getattr(best, name) != getattr(architecture, name)]


def _changes(architecture: Architecture) -> Iterable[tuple[str, object]]:
    """Yield options and other values of them that may change which variables there are."""
    options = options_of(Architecture)
    for name in model_card(architecture.model).supports & options.keys():
        value, option = getattr(architecture, name), options[name]
        if isinstance(value, bool):
            yield name, not value
        for choice in option.choices or ():
            if choice != value:
                yield name, choice
    for model, network in NETWORKS.items():
        if model != architecture.model and network.of_frames == architecture.frame_features:
            yield 'model', model


def _array(prefix: Path, name: str, array: np.ndarray, wanted: Collection[str]) -> np.ndarray:
    kinds = _FORMS[_read_name(name, wanted)[1]][1]
    if array.dtype not in kinds:
        raise WeightsError(f'{prefix}: variable {name} holds {array.dtype}, it should be {np.dtype(kinds[0])}')
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _told(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[2] is None, row[0]))


def _by(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape)) or 'one number'
