"""Names of DeepMind's I3D checkpoints (Sonnet, github.com/google-deepmind/kinetics-i3d)."""
from __future__ import annotations

import re
from collections.abc import Collection

from .conversion import Names, Place
from .training_variables import among_training_variables

_NAME = re.compile(r'(?:(RGB|Flow)/inception_i3d/)?(.+)/(conv_3d/[wb]|batch_norm/(?:beta|moving_mean|moving_variance))')
_PARTS = {'conv_3d/w': 'conv.weight', 'batch_norm/beta': 'bn.beta', 'batch_norm/moving_mean': 'bn.running_mean',
          'batch_norm/moving_variance': 'bn.running_var'}
_HEAD_PARTS = {'conv_3d/w': 'weight', 'conv_3d/b': 'bias'}
_STREAMS = {'RGB': 3, 'Flow': 2}


def recognises(names: Collection[str]) -> bool:
    """Return whether a checkpoint has such names."""
    return any(name.endswith('Conv3d_1a_7x7/conv_3d/w') for name in names)


def names(found: Collection[str], channels: int | None) -> Names:
    """Return what the names mean to a network for `channels` channels; of two streams in one file it takes its own.

    The published files are of one stream each: ``RGB/inception_i3d/...`` or ``Flow/inception_i3d/...``, without any
    prefix for Kinetics600.
    """
    streams = {match[1] for match in map(_NAME.fullmatch, found) if match}
    other = {stream for stream in streams if stream and _STREAMS[stream] != channels} if len(streams) > 1 else set()
    return Names("DeepMind's I3D", 'i3d_rgb_* and i3d_flow_*', among_training_variables(found, _place(other)),
                 constants={'.bn.gamma': 1.}, from_tensorflow=True)


def _place(other: set[str]) -> Place:
    def place(name: str) -> tuple[str | None, str] | None:
        match = _NAME.fullmatch(name)
        if not match:
            return None
        stream, unit, part = match.groups()
        if stream in other:
            return None, 'of the other stream'
        part = (_HEAD_PARTS if unit.startswith('Logits/') else _PARTS).get(part)
        return part and (f'{unit.replace("/", ".")}.{part}', '')
    return place
