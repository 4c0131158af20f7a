"""The optimizers by name. One more is a row here; what computes it is loaded when it is asked for."""
from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Optimizer:
    """An update rule.

    Attributes
    ----------
    on_mxnet : str
        Its class, a subclass of ``mxnet.optimizer.Optimizer``, as ``'module:name'``.
    momentum : bool
        Whether it takes a momentum.
    """

    on_mxnet: str
    momentum: bool = False

    def make(self, **options) -> Any:
        """Return MXNet's optimizer with these options."""
        module, _, name = self.on_mxnet.partition(':')
        return getattr(importlib.import_module(module), name)(**options)


_ADAM = 'gluon_action.compute.on_mxnet.adam'

OPTIMIZERS = {
    'sgd': Optimizer('mxnet.optimizer:SGD', momentum=True),
    'nag': Optimizer('mxnet.optimizer:NAG', momentum=True),
    # MXNet's Adam scales epsilon with the step, and it has no AdamW.
    'adam': Optimizer(f'{_ADAM}:Adam'),
    'adamw': Optimizer(f'{_ADAM}:AdamW'),
}


def takes_momentum(name: str) -> bool:
    """Whether an optimizer has a momentum to choose; those of MXNet that are not listed here get none."""
    return name in OPTIMIZERS and OPTIMIZERS[name].momentum
