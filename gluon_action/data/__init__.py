"""Videos in, batches out: lists, readers, sampling, transforms, data sets and loaders.

Names are loaded when they are first used, so that the parts without MXNet can be used without it.
"""
from __future__ import annotations

import importlib

_HOMES = {
    'UCF101': 'ucf101', 'UCF101Attr': 'ucf101', 'HMDB51': 'hmdb51', 'HMDB51Attr': 'hmdb51',
    'Kinetics400': 'kinetics400', 'Kinetics400Attr': 'kinetics400',
    'Kinetics700': 'kinetics700', 'Kinetics700Attr': 'kinetics700',
    'SomethingSomethingV1': 'somethingsomethingv1', 'SomethingSomethingV2': 'somethingsomethingv2',
    'SomethingSomethingV2Attr': 'somethingsomethingv2', 'EpicKitchens': 'epic_kitchens',
    'VideoClsCustom': 'video_dataset', 'VideoLoader': 'loading.loader', 'VideoReader': 'reading.video_reader',
    'read_annotations': 'lists.annotations', 'make_demo': 'demo.make',
}
_MODULES = ('by_name', 'dataloader', 'demo', 'epic_kitchens', 'flow', 'hmdb51', 'kinetics400', 'kinetics700', 'lists',
            'loading', 'reading', 'somethingsomethingv1', 'somethingsomethingv2', 'tfrecords', 'transforms', 'ucf101',
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
