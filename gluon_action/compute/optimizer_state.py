"""What checkpoints hold of an optimizer, whatever the engine: named arrays and plain numbers, checked before use."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import CheckpointError

#: Numbers that an optimizer of MXNet's changes as it goes, beside its update counts, and those of a scaler of losses.
MOVING_NUMBERS = ('m_schedule',)
SCALER_NUMBERS = ('_loss_scale', '_next_loss_scale', '_unskipped')


def check_state(arrays: Mapping[str, np.ndarray], numbers: Any, names: Sequence[str], optimizer: str) -> None:
    """Refuse a state that is not of this optimizer and these parameters.

    Parameters
    ----------
    arrays, numbers
        What an engine returned, or claims to be it.
    names : sequence of str
        Of the parameters that are trained.
    optimizer : str
        What MXNet calls it.

    Raises
    ------
    CheckpointError
    """
    _check_numbers(numbers)
    if numbers['optimizer'] != optimizer:
        raise CheckpointError(f'the optimizer state is of {numbers["optimizer"]}, this run uses {optimizer}; use the '
                              'same, or start from the parameters alone')
    unknown = sorted(({key.rsplit('#', 1)[0] for key in arrays} | set(numbers['counts'])) - set(names))
    if unknown:
        raise CheckpointError(f'the optimizer state holds {unknown[:3]}, which this run does not train; '
                              f'resume with the arguments of the run that saved it')


def state_array(arrays: Mapping[str, np.ndarray], name: str, place: str, shape: tuple[int, ...],
                dtype: type) -> np.ndarray:
    """Return what an optimizer remembers of the parameter `name` in one place of its state.

    Raises
    ------
    CheckpointError
        When it is not there, or of another shape or type.
    """
    saved = arrays.get(f'{name}#{place}')
    if saved is None or saved.shape != shape or saved.dtype != dtype:
        got = 'nothing' if saved is None else f'{saved.dtype} {saved.shape}'
        raise CheckpointError(f'the optimizer state of {name} is {got}, this run needs {np.dtype(dtype)} {shape}; '
                              'resume with the arguments of the run that saved it')
    return saved


def _check_numbers(numbers: Any) -> None:
    """Refuse numbers that an engine never returns: they become attributes of the optimizer."""
    scaler = numbers.get('loss_scaler', {}) if isinstance(numbers, dict) else None
    if not (isinstance(numbers, dict) and isinstance(numbers.get('optimizer'), str)
            and _is_count(numbers.get('num_update')) and isinstance(numbers.get('counts'), dict)
            and all(map(_is_count, numbers['counts'].values())) and _are_known(numbers.get('moving'), MOVING_NUMBERS)
            and _are_known(scaler, SCALER_NUMBERS)):
        raise CheckpointError('the optimizer state is damaged: it says other things than its counts of updates; resume '
                              'from another checkpoint, or start from the parameters alone')


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _are_known(values: Any, names: Sequence[str]) -> bool:
    return isinstance(values, dict) and all(
        name in names and type(value) in (int, float) and -1e300 < value < 1e300 for name, value in values.items())
