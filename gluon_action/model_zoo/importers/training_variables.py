"""What TensorFlow stores in a checkpoint beside the weights: moving averages and the optimizer's state."""
from __future__ import annotations

from collections.abc import Collection

from .conversion import Place

#: What the name of a moving average ends with, behind that of its variable.
AVERAGE = '/ExponentialMovingAverage'
_SLOTS = {'Momentum', 'Adam', 'Adam_1', 'RMSProp', 'RMSProp_1', 'Adagrad', 'Adadelta', 'Adadelta_1', 'Ftrl', 'Ftrl_1'}
_COUNTERS = {'global_step', 'beta1_power', 'beta2_power'}


def among_training_variables(names: Collection[str], place: Place) -> Place:
    """Return a `place` that knows weights by `place`, and names the rest of a checkpoint of training as unused.

    Where a weight has a moving average, as training with ``tf.train.ExponentialMovingAverage`` leaves it, the average
    is taken instead of the weight: it is what was meant to be evaluated.
    """
    names = set(names)

    def place_all(name: str) -> tuple[str | None, str] | None:
        plain = name.removesuffix(AVERAGE)
        placed = place(plain)
        if placed is None:
            why = _purpose(name, names)
            return (None, why) if why else None
        key, note = placed
        if key and plain == name and name + AVERAGE in names:
            return None, 'its moving average is used instead'
        if key and plain != name:
            return key, '; '.join(filter(None, ('moving average', note)))
        return placed
    return place_all


def _purpose(name: str, names: set[str]) -> str:
    """Return why a variable that is no weight was saved; empty when that is not known."""
    owner, _, last = name.rpartition('/')
    if last in _SLOTS and owner in names:
        return 'slot of the optimizer'
    if last in _COUNTERS:
        return 'counter of steps'
    if name.endswith(AVERAGE) and 'loss' in owner.lower():
        return 'moving average of a loss'
    return ''
