"""Videos in, batches out: lists, readers, sampling, transforms, data sets and loaders.

Names are loaded when they are first used, so that the parts without MXNet can be used without it.
"""
from __future__ import annotations

import importlib

from .by_name import PRESETS

_HOMES = {
    **{name: module for module, name in PRESETS.items()},
    **{f'{PRESETS[module]}Attr': module for module in ('ucf101', 'hmdb51', 'kinetics400', 'kinetics700',
                                                       'somethingsomethingv2')},  # where GluonCV has such a name
    'VideoClsCustom': 'video_dataset', 'VideoLoader': 'loading.loader', 'VideoReader': 'reading.video_reader',
    'read_annotations': 'lists.annotations', 'make_demo': 'demo.make',
}
_MODULES = (*PRESETS, 'by_name', 'dataloader', 'demo', 'flow', 'lists', 'loading', 'reading', 'tfrecords', 'transforms',
            'video_custom', 'video_dataset')
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
    if name in _MODULES:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
