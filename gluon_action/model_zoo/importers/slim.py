"""Names of I3D, S3D and S3D-G in TensorFlow's slim (tensorflow/models, research/slim/nets/i3d.py and s3dg.py)."""
from __future__ import annotations

import re
from collections.abc import Collection

from .conversion import Names
from .training_variables import among_training_variables

_NAME = re.compile(r'InceptionV1/(.+?)/((?:temporal/|self_gating/transformer_W/)?(?:weights|biases)|BatchNorm/\w+)')
_PARTS = {'weights': 'conv.weight', 'BatchNorm/beta': 'bn.beta', 'BatchNorm/moving_mean': 'bn.running_mean',
          'BatchNorm/moving_variance': 'bn.running_var', 'temporal/weights': 'temporal.weight',
          'temporal/biases': 'temporal.bias', 'self_gating/transformer_W/weights': 'gating.weight'}
_HEAD_PARTS = {'weights': 'weight', 'biases': 'bias'}
# slim's blocks call this unit as they call those of all other blocks; slim's 2-D network and DeepMind do not.
_UNIT = 'Mixed_5b.Branch_2.Conv3d_0b_3x3'
_UNIT_HERE = 'Mixed_5b.Branch_2.Conv3d_0a_3x3'


def recognises(names: Collection[str]) -> bool:
    """Return whether a checkpoint has such names."""
    return any(name.startswith('InceptionV1/Conv2d_1a_7x7/') for name in names)


def names(found: Collection[str]) -> Names:
    """Return the mapping of names to parameters."""
    return Names("slim's Inception-v1 for clips", 's3dg_*, and i3d_* where nothing is separable or gated',
                 among_training_variables(found, _place), constants={'.bn.gamma': 1.}, from_tensorflow=True)


def _place(name: str) -> tuple[str | None, str] | None:
    match = _NAME.fullmatch(name)
    if not match:
        return None
    unit = match[1].replace('Conv2d_', 'Conv3d_').replace('/', '.')
    part = (_HEAD_PARTS if unit.startswith('Logits.') else _PARTS).get(match[2])
    if part is None:
        return None
    return (f'{_UNIT_HERE}.{part}', 'named as by DeepMind') if unit == _UNIT else (f'{unit}.{part}', '')
