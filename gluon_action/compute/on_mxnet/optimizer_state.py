"""A Gluon trainer's optimizer state as named arrays and plain numbers, without pickle."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mxnet as mx
import numpy as np

from ...errors import CheckpointError

# Numbers that an optimizer changes as it goes, beside its update counts.
_MOVING_NUMBERS = ('m_schedule',)
_SCALER_NUMBERS = ('_loss_scale', '_next_loss_scale', '_unskipped')


def trainer_state(trainer: mx.gluon.Trainer, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything the optimizer has learned: momenta, moments, float32 copies of the weights, update counts.

    Rates and decays are not part of it: they are arguments of the run that resumes.

    Parameters
    ----------
    trainer : mxnet.gluon.Trainer
        One that updates on its devices, not in the key-value store. The devices hold equal states, so those of the
        first are taken.
    names : sequence of str
        A lasting name for each parameter, in the trainer's order. Gluon's own carry counters of the process.

    Returns
    -------
    arrays : dict of str to ndarray
        ``'<name>#<place>'``, copied from the first device.
    numbers : dict
        Fit for JSON.
    """
    optimizer = trainer.optimizer
    states = trainer._updaters[0].states
    arrays = {f'{names[index]}#{place}': leaf.asnumpy() for index in sorted(states)
              for place, leaf in _leaves(states[index])}
    counts = optimizer._all_index_update_counts.get(trainer._contexts[0].device_id, {})
    numbers = {'optimizer': type(optimizer).__name__, 'num_update': optimizer.num_update,
               'counts': {names[index]: count for index, count in sorted(counts.items())},
               'moving': {key: getattr(optimizer, key) for key in _MOVING_NUMBERS if hasattr(optimizer, key)}}
    scaler = getattr(trainer, '_amp_loss_scaler', None)
    if scaler is not None:
        numbers['loss_scaler'] = {key: getattr(scaler, key) for key in _SCALER_NUMBERS}
    return arrays, numbers


def restore_trainer_state(trainer: mx.gluon.Trainer, names: Sequence[str], arrays: dict[str, np.ndarray],
                          numbers: dict[str, Any]) -> None:
    """Put back what `trainer_state` returned, on every device; their number may have changed.

    Raises
    ------
    CheckpointError
        When the state is of another optimizer, of other parameters, or of other shapes.
    """
    optimizer = trainer.optimizer
    check_state(arrays, numbers, names, type(optimizer).__name__)
    indices = {name: index for index, name in enumerate(names)}
    for device, (context, updater) in enumerate(zip(trainer._contexts, trainer._updaters)):
        updater.states.clear()
        updater.states_synced.clear()
        for name in numbers['counts']:
            index = indices[name]
            state = optimizer.create_state_multi_precision(index, trainer._params[index].list_data()[device])
            _fill(state, name, arrays)
            updater.states[index] = state
            updater.states_synced[index] = True
        optimizer._all_index_update_counts[context.device_id] = {
            indices[name]: count for name, count in numbers['counts'].items()}
    optimizer._set_current_context(trainer._contexts[0].device_id)
    optimizer.num_update = numbers['num_update']
    for key, value in numbers['moving'].items():
        setattr(optimizer, key, value)
    scaler = getattr(trainer, '_amp_loss_scaler', None)
    for key, value in numbers.get('loss_scaler', {}).items() if scaler is not None else ():
        setattr(scaler, key, value)


def check_state(arrays: Mapping[str, np.ndarray], numbers: Any, names: Sequence[str], optimizer: str) -> None:
    """Refuse a state that is not of this optimizer and these parameters.

    Parameters
    ----------
    arrays, numbers
        What `trainer_state` returned, or claims to be it.
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
    """Refuse numbers that `trainer_state` never returns: they become attributes of the optimizer."""
    scaler = numbers.get('loss_scaler', {}) if isinstance(numbers, dict) else None
    if not (isinstance(numbers, dict) and isinstance(numbers.get('optimizer'), str)
            and _is_count(numbers.get('num_update')) and isinstance(numbers.get('counts'), dict)
            and all(map(_is_count, numbers['counts'].values())) and _are_known(numbers.get('moving'), _MOVING_NUMBERS)
            and _are_known(scaler, _SCALER_NUMBERS)):
        raise CheckpointError('the optimizer state is damaged: it says other things than its counts of updates; resume '
                              'from another checkpoint, or start from the parameters alone')


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _are_known(values: Any, names: Sequence[str]) -> bool:
    return isinstance(values, dict) and all(
        name in names and type(value) in (int, float) and -1e300 < value < 1e300 for name, value in values.items())


def _leaves(state: Any, place: str = '0') -> Iterator[tuple[str, mx.nd.NDArray]]:
    """Arrays in an optimizer's state of one parameter: None, an array, or tuples of these."""
    if isinstance(state, mx.nd.NDArray):
        yield place, state
    elif isinstance(state, (tuple, list)):
        for i, item in enumerate(state):
            yield from _leaves(item, f'{place}.{i}')


def _fill(state: Any, name: str, arrays: dict[str, np.ndarray]) -> None:
    for place, leaf in _leaves(state):
        leaf[:] = state_array(arrays, name, place, leaf.shape, leaf.dtype)
