"""Names of I3D, S3D and S3D-G in checkpoints of TensorFlow: DeepMind's and slim's."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .conversion import Place
from .family import Family
from .training_variables import among_training_variables

_STATISTICS = 'beta|moving_mean=running_mean|moving_variance=running_var'
_STREAMS = {'RGB': 3, 'Flow': 2}
_CONSTANTS = {'.bn.gamma': 1.}


def _of_one_stream(place: Place, variables: Mapping[str, np.ndarray], params: Mapping) -> Place:
    """Of two streams in one file a network takes its own.

    The published files are of one stream each: ``RGB/inception_i3d/...`` or ``Flow/inception_i3d/...``, without any
    prefix for Kinetics600.
    """
    streams = {name.partition('/')[0] for name in variables} & _STREAMS.keys()
    stem = params.get('Conv3d_1a_7x7.conv.weight')
    channels = stem.shape[1] if stem else None
    other = {stream for stream in streams if _STREAMS[stream] != channels} if len(streams) > 1 else set()

    def place_one(name: str) -> tuple[str | None, str] | None:
        placed = place(name)
        return (None, 'of the other stream') if placed and name.partition('/')[0] in other else placed
    return among_training_variables(variables, place_one)


def _objection(variables: Mapping[str, np.ndarray]) -> str:
    images = np.ndim(variables.get('InceptionV1/Conv2d_1a_7x7/weights', 0)) == 4
    return "slim's Inception-v1 for images: its filters have no frames; what can be imported is the network for clips" \
        if images else ''


def _deepminds(start: str) -> tuple[tuple[str, str], ...]:
    return ((f'{start}Logits.{{layer:*}}.conv_3d.{{part:w=weight|b=bias}}', 'Logits.{layer}.{part}'),
            (f'{start}{{unit:**}}.conv_3d.w', '{unit}.conv.weight'),
            (f'{start}{{unit:**}}.batch_norm.{{part:{_STATISTICS}}}', '{unit}.bn.{part}'))


DEEPMIND = Family(
    'deepmind-i3d', "DeepMind's I3D", 'i3d_rgb_* and i3d_flow_*', ('{any:**}Conv3d_1a_7x7.conv_3d.w',),
    (*_deepminds('{stream:RGB|Flow}.inception_i3d.'), *_deepminds('')),
    from_tensorflow=True, constants=_CONSTANTS, refine=_of_one_stream)

# A unit's tensors, of which the logits have two only.
_LOGITS = '{part:weights=weight|biases=bias}'
_PART = ('{part:weights=conv.weight|temporal.weights=temporal.weight|temporal.biases=temporal.bias|'
         'self_gating.transformer_W.weights=gating.weight|BatchNorm.beta=bn.beta|'
         'BatchNorm.moving_mean=bn.running_mean|BatchNorm.moving_variance=bn.running_var}')

SLIM = Family(
    'slim', "slim's Inception-v1 for clips", 's3dg_*, and i3d_* where nothing is separable or gated',
    ('InceptionV1.Conv2d_1a_7x7.weights',),
    ((f'InceptionV1.Logits.Conv2d_{{unit:*}}.{_LOGITS}', 'Logits.Conv3d_{unit}.{part}'),
     # slim's blocks call this unit as they call those of all other blocks; slim's 2-D network and DeepMind do not.
     (f'InceptionV1.Mixed_5b.Branch_2.Conv2d_0b_3x3.{_PART}', 'Mixed_5b.Branch_2.Conv3d_0a_3x3.{part}',
      'named as by DeepMind'),
     (f'InceptionV1.Mixed_{{block:*}}.{{branch:*}}.Conv2d_{{unit:*}}.{_PART}',
      'Mixed_{block}.{branch}.Conv3d_{unit}.{part}'),
     (f'InceptionV1.Conv2d_{{unit:*}}.{_PART}', 'Conv3d_{unit}.{part}')),
    from_tensorflow=True, constants=_CONSTANTS, objection=_objection,
    refine=lambda place, variables, params: among_training_variables(variables, place))

FAMILIES = (DEEPMIND, SLIM)
