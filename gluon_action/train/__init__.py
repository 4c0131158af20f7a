"""Training: the loop, schedules, losses, checkpoints and the records of a run."""
from __future__ import annotations

import importlib

_HOMES = {'TrainConfig': 'recipes.config', 'TrainResult': 'run.run',
          'train_recognizer': 'recipes.recognizer', 'Loop': 'loop',
          'TrainingHistory': 'run.history.history_plot', 'LRScheduler': 'lr_scheduler', 'LRSequential': 'lr_scheduler'}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
