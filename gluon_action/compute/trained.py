"""Which parameters of a Gluon network learn, and at which shares of rate and weight decay, whatever the engine."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

_SPARED = re.compile('(beta|gamma|bias)$')


def choose_parameters(params: Mapping[str, Any], chosen: Iterable[str] | None, *, accumulate: int,
                      l1: float = 0, amp: bool = False) -> dict[str, Any]:
    """Return the parameters to train, by name, ready to gather the gradients of `accumulate` batches.

    Parameters
    ----------
    params : mapping of str to mxnet.gluon.Parameter
        All of the network's, from `unique_parameters`.
    chosen : iterable of str, optional
        Keys of those to train; all by default. Frozen ones (``grad_req='null'``) are left out in any case.
    accumulate : int
    l1, amp
        As in a learner; checked against each other.

    Raises
    ------
    UsageError
        When nothing is left to train, or a number is invalid.
    """
    if accumulate < 1:
        raise UsageError(f'--accumulate must be 1 or more, got {accumulate}')
    if l1 < 0 or l1 and amp:
        raise UsageError('an L1 term cannot be negative' + ', and mixed precision scales the gradients that it would '
                         'be added to' * amp + f', got {l1}')
    wanted = set(params if chosen is None else chosen)
    trained = {name: params[name] for name in sorted(params) if params[name].grad_req != 'null' and name in wanted}
    if not trained:
        raise UsageError('nothing to train: every parameter is frozen')
    for param in trained.values():
        param.grad_req = 'add' if accumulate > 1 else 'write'
    return trained


@dataclass(frozen=True)
class Multipliers:
    """Factors of learning rate and weight decay of one parameter."""

    lr_mult: float
    wd_mult: float


def multipliers_of(param: Any, no_wd: bool = False) -> Multipliers:
    """Return the factors of a parameter; with `no_wd` beta, gamma and bias are spared the weight decay."""
    return Multipliers(param.lr_mult, 0. if no_wd and _SPARED.search(param.name) else param.wd_mult)
