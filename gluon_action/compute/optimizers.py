"""The optimizers by name. One more is a row here; what computes it is loaded when it is asked for."""
from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError


@dataclass(frozen=True)
class Optimizer:
    """An update rule.

    Attributes
    ----------
    on_mxnet : str
        Its class, a subclass of ``mxnet.optimizer.Optimizer``, as ``'module:name'``.
    on_torch : str
        The same rule in PyTorch, a subclass of ``compute.on_torch.optimizers.Rule``; empty where there is none.
    momentum : bool
        Whether it takes a momentum.
    """

    on_mxnet: str
    on_torch: str = ''
    momentum: bool = False

    def make(self, **options) -> Any:
        """Return MXNet's optimizer with these options."""
        return _named(self.on_mxnet)(**options)


_ADAM, _TORCH = 'gluon_action.compute.on_mxnet.adam', 'gluon_action.compute.on_torch.optimizers'

OPTIMIZERS = {
    'sgd': Optimizer('mxnet.optimizer:SGD', f'{_TORCH}:SGD', momentum=True),
    'nag': Optimizer('mxnet.optimizer:NAG', f'{_TORCH}:NAG', momentum=True),
    # MXNet's Adam scales epsilon with the step, and it has no AdamW.
    'adam': Optimizer(f'{_ADAM}:Adam', f'{_TORCH}:Adam'),
    'adamw': Optimizer(f'{_ADAM}:AdamW', f'{_TORCH}:AdamW'),
}


def rule_on_torch(name: str, **options) -> Any:
    """Return the rule of an optimizer in PyTorch with these options.

    Raises
    ------
    UsageError
        For an optimizer that only MXNet has.
    """
    if not (name in OPTIMIZERS and OPTIMIZERS[name].on_torch):
        known = ', '.join(name for name, row in OPTIMIZERS.items() if row.on_torch)
        raise UsageError(f'--optimizer {name}: only MXNet has its rule, and --engine torch has {known}; take one of '
                         'these, or --engine mxnet')
    return _named(OPTIMIZERS[name].on_torch)(**options)


def check_limits(*, clip_grad: float = 0, clip_norm: float = 0, clip_each: float = 0) -> None:
    """Refuse a limit of gradients that is none.

    Raises
    ------
    UsageError
        For a negative one.
    """
    if clip_grad < 0:
        raise UsageError(f'--clip-grad must be 0 (no limit) or more, got {clip_grad}')
    if clip_norm < 0:
        raise UsageError(f'--clip-norm must be 0 (no limit) or more, got {clip_norm}')
    if clip_each < 0:
        raise UsageError(f"the limit of each parameter's gradient must be 0 (none) or more, got {clip_each}")


def takes_momentum(name: str) -> bool:
    """Whether an optimizer has a momentum to choose; those of MXNet that are not listed here get none."""
    return name in OPTIMIZERS and OPTIMIZERS[name].momentum


def _named(place: str) -> Any:
    module, _, name = place.partition(':')
    return getattr(importlib.import_module(module), name)
