"""GluonCV's public helper names, re-exported from where they live here. Nothing inside the package imports this."""
from __future__ import annotations

import importlib

_HOMES = {
    'makedirs': 'gluoncv.utils',
    'LRScheduler': 'gluon_action.train.lr_scheduler', 'LRSequential': 'gluon_action.train.lr_scheduler',
    'TrainingHistory': 'gluon_action.train.run.history.history_plot',
    'split_and_load': 'gluon_action.data.dataloader', 'split_data': 'gluon_action.data.dataloader',
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
