"""Names of torchvision's S3D (torchvision/models/video/s3d.py)."""
from __future__ import annotations

import re
from collections.abc import Collection

from ..i3d import LAYERS
from .conversion import Names

_STAGES = dict(enumerate(LAYERS))
_BATCH_NORM = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'running_mean', 'running_var': 'running_var'}
# A convolution and its batch normalisation, or two of them: in space, then through time.
_UNIT = re.compile(r'(?:([01])\.)?([01])\.(\w+)')
_BRANCHES = {'branch0': 'Branch_0.Conv3d_0a_1x1', 'branch1.0': 'Branch_1.Conv3d_0a_1x1',
             'branch1.1': 'Branch_1.Conv3d_0b_3x3', 'branch2.0': 'Branch_2.Conv3d_0a_1x1',
             'branch2.1': 'Branch_2.Conv3d_0b_3x3', 'branch3.1': 'Branch_3.Conv3d_0b_1x1'}
_NAME = re.compile(r'features\.(\d+)\.(?:(branch0|branch[12]\.[01]|branch3\.1)\.)?((?:[01]\.)?[01]\.\w+)')


def recognises(names: Collection[str]) -> bool:
    """Return whether a file has such names."""
    return 'features.0.0.0.weight' in names and any(name.startswith('features.5.branch0.') for name in names)


def names() -> Names:
    """Return the mapping of names to parameters."""
    return Names("torchvision's S3D", 's3d_*', _place, constants={}, from_tensorflow=False)


def _place(name: str) -> tuple[str | None, str] | None:
    if name.endswith('.num_batches_tracked'):
        return None, 'counter of steps'
    if name in ('classifier.1.weight', 'classifier.1.bias'):
        return f'Logits.Conv3d_0c_1x1.{name.rpartition(".")[2]}', ''
    match = _NAME.fullmatch(name)
    stage = match and _STAGES.get(int(match[1]))
    if not stage:
        return None
    unit = stage if match[2] is None else f'{stage}.{_BRANCHES[match[2]]}'
    # The network's name for this unit is DeepMind's, who spell it unlike the others.
    unit = unit.replace('Mixed_5b.Branch_2.Conv3d_0b_3x3', 'Mixed_5b.Branch_2.Conv3d_0a_3x3')
    part = _part(*_UNIT.fullmatch(match[3]).groups())
    return part and (f'{unit}.{part}', '')


def _part(convolution: str | None, layer: str, what: str) -> str | None:
    """Return the key inside a unit of, say, ('1', '0', 'weight'): the second convolution, its filters."""
    through_time = convolution == '1'
    if layer == '0':
        return {'weight': 'temporal.weight' if through_time else 'conv.weight'}.get(what)
    return what in _BATCH_NORM and f'{"temporal_bn" if through_time else "bn"}.{_BATCH_NORM[what]}' or None
