"""Video action recognition on MXNet/Gluon: models, data, training and testing.

Importing this package is enough to make ``import mxnet`` work afterwards; MXNet itself is loaded when a part that
needs it is first used, so that ``--help`` is instant and thread counts can still be chosen.
"""
from __future__ import annotations

import importlib

from . import engine

__version__ = '0.1.0'
#: What one calls without looking for its module: name -> the module.
_FUNCTIONS = {'check_data': 'evaluate.data_check.check', 'extract_features': 'deploy.layer_features.extraction'}
__all__ = ['compute', 'data', 'deploy', 'engine', 'errors', 'evaluate', 'model_zoo', 'nn', 'train', 'utils',
           *_FUNCTIONS]

engine.prepare()


def __getattr__(name: str):
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f'{__name__}.{_FUNCTIONS[name]}'), name)
    if name in __all__:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
