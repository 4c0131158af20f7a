"""A Gluon trainer's optimizer state as named arrays and plain numbers, without pickle."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mxnet as mx
import numpy as np

from ..optimizer_state import MOVING_NUMBERS, SCALER_NUMBERS, check_state, state_array


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
               'moving': {key: getattr(optimizer, key) for key in MOVING_NUMBERS if hasattr(optimizer, key)}}
    scaler = getattr(trainer, '_amp_loss_scaler', None)
    if scaler is not None:
        numbers['loss_scaler'] = {key: getattr(scaler, key) for key in SCALER_NUMBERS}
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
