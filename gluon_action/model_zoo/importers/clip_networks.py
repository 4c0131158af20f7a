"""Names of networks for clips, as torchvision, mmaction2, pytorchvideo and others publish them."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..i3d import LAYERS
from .family import Family

_STAGES = '|'.join(f'{number}={name}' for number, name in enumerate(LAYERS))
# A convolution and its batch normalisation, or two of them: in space, then through time.
_UNIT = '0.0=conv|0.1=bn|1.0=temporal|1.1=temporal_bn|0=conv|1=bn'
_BRANCHES = ('branch0=Branch_0.Conv3d_0a_1x1|branch1.0=Branch_1.Conv3d_0a_1x1|branch1.1=Branch_1.Conv3d_0b_3x3|'
             'branch2.0=Branch_2.Conv3d_0a_1x1|branch2.1=Branch_2.Conv3d_0b_3x3|branch3.1=Branch_3.Conv3d_0b_1x1')

S3D = Family(
    'torchvision-s3d', "torchvision's S3D", 's3d_*', ('features.0.0.0.weight', 'features.5.branch0.0.weight'),
    # The network's name for this unit is DeepMind's, who spell it unlike the others.
    ((f'features.14.branch2.1.{{unit:{_UNIT}}}', 'Mixed_5b.Branch_2.Conv3d_0a_3x3.{unit}'),
     (f'features.{{stage:{_STAGES}}}.{{branch:{_BRANCHES}}}.{{unit:{_UNIT}}}', '{stage}.{branch}.{unit}'),
     (f'features.{{stage:{_STAGES}}}.{{unit:{_UNIT}}}', '{stage}.{unit}'),
     ('classifier.1', 'Logits.Conv3d_0c_1x1')))

_R2PLUS1D = (
    ('stem.{n:0=conv1|1=bn1|3=conv2|4=bn2}', '{n}'),
    ('layer{stage}.{block}.conv{n}.0.{layer:0=conv1|1=bn1|3=conv2}', 'layer{stage}.{block}.conv{n}.{layer}'),
    ('layer{stage}.{block}.conv{n}.1', 'layer{stage}.{block}.bn{n}'),
    ('layer{stage}.{block}.downsample.{n}', 'layer{stage}.{block}.downsample.{n}'),
    ('fc', 'fc'))
_R2PLUS1D_SIGNATURE = ('stem.0.weight', 'layer1.0.conv1.0.0.weight')
_SECOND_OF_A_STAGE = 'layer2.0.conv2.0.0.weight'


def _is_of_ig65m(variables: Mapping[str, np.ndarray], params: Mapping) -> bool:
    """Return whether the second convolution of a stage has as many channels inside as those that follow it."""
    following = variables.get('layer2.1.conv1.0.0.weight')
    return following is not None and variables[_SECOND_OF_A_STAGE].shape[0] == following.shape[0]


R2PLUS1D = Family('torchvision-r2plus1d', "torchvision's R(2+1)D", 'r2plus1d_resnet18_*', _R2PLUS1D_SIGNATURE,
                  _R2PLUS1D)
IG65M = Family(
    'ig65m', 'R(2+1)D trained on IG-65M', 'r2plus1d_ig65m_*', (*_R2PLUS1D_SIGNATURE, _SECOND_OF_A_STAGE), _R2PLUS1D,
    fits=_is_of_ig65m,
    # Theirs is the variance plus 0.001, the network's the variance plus 0.00001.
    changes=(('running_var', lambda variance: variance + np.float32(1e-3 - 1e-5), "with their epsilon's difference"),))

_C3D = 'conv1a=conv1|conv2a=conv2|conv3a|conv3b|conv4a|conv4b|conv5a|conv5b'

# Names for frames and for clips are the same; which network is meant is seen by its own.
_MMACTION2_RESNET = (
    ('backbone.conv1.conv', ('conv1', 'first_stage.0')), ('backbone.conv1.bn', ('bn1', 'first_stage.1')),
    ('backbone.layer{stage}.{block}.conv{n}.{layer:conv|bn}',
     ('layer{stage}.{block}.{layer}{n}', 'res_layers.{stage-1}.{block}.{layer}{n}')),
    ('backbone.layer{stage}.{block}.downsample.{n:conv=0|bn=1}',
     ('layer{stage}.{block}.downsample.{n}', 'res_layers.{stage-1}.{block}.downsample.{n}')),
    # Places are pooled before they are looked at: a network without sub_sample has no such keys.
    ('backbone.layer{stage}.{block}.non_local_block.{layer:g|phi}.0.conv',
     'res_layers.{stage-1}.{block}.nonlocal_block.sub_{layer}.0'),
    ('backbone.layer{stage}.{block}.non_local_block.{layer:theta.conv=theta|conv_out.conv=W|conv_out.bn=bn}',
     'res_layers.{stage-1}.{block}.nonlocal_block.{layer}'),
    ('cls_head.fc_cls', ('output', 'fc')))

MMACTION2_RESNET_2D = Family(
    'mmaction2-resnet2d', "mmaction2's ResNet for frames", 'resnet*_v1b_* and c2d_*', ('backbone.conv1.conv.weight',),
    _MMACTION2_RESNET, fits=lambda variables, params: variables['backbone.conv1.conv.weight'].ndim == 4)
MMACTION2_RESNET_3D = Family(
    'mmaction2-resnet3d', "mmaction2's ResNet for clips",
    'i3d_*resnet* and slowonly_*, and with sub_sample=True for i3d_nl5_*', ('backbone.conv1.conv.weight',),
    _MMACTION2_RESNET, constants={'nonlocal_block.W.bias': 0.},
    changes=((r'nonlocal_block\.theta\.(weight|bias)', lambda array: array * np.float32(array.shape[0] ** 0.5),
              'times the root of its channels, by which the network divides'),))
MMACTION2_C3D = Family(
    'mmaction2-c3d', "mmaction2's C3D", 'c3d_*', ('conv1a.conv.weight',),
    ((f'{{layer:{_C3D}}}.conv', '{layer}'), ('{layer:fc6|fc7}', '{layer}'), ('cls_head.fc_cls', 'fc8')),
    prefix='backbone.')

_PATHWAYS = '{pathway:0=slow|1=fast}'
_LATERALS = '0=lateral_p1|1=lateral_res2|2=lateral_res3|3=lateral_res4'


def _pytorchvideo_blocks(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Return the rules for the residual blocks of a stage."""
    theirs, ours = f'{theirs}.res_blocks.{{block}}', f'{ours}.{{block}}'
    return ((f'{theirs}.branch1_{{n:conv=0|norm=1}}', f'{ours}.downsample.{{n}}'),
            (f'{theirs}.branch2.{{layer:conv|norm=bn}}_{{n:a=1|b=2|c=3}}', f'{ours}.{{layer}}{{n}}'))


PYTORCHVIDEO_SLOWFAST = Family(
    'pytorchvideo-slowfast', "pytorchvideo's SlowFast", 'slowfast_*',
    ('blocks.0.multipathway_blocks.0.conv.weight',),
    ((f'blocks.0.multipathway_blocks.{_PATHWAYS}.{{layer:conv|norm=bn}}', '{pathway}_{layer}1'),
     *_pytorchvideo_blocks(f'blocks.{{stage}}.multipathway_blocks.{_PATHWAYS}', '{pathway}_res{stage+1}'),
     (f'blocks.{{lateral:{_LATERALS}}}.multipathway_fusion.{{n:conv_fast_to_slow=0|norm=1}}', '{lateral}.{n}'),
     ('blocks.6.proj', 'fc')))
PYTORCHVIDEO_SLOW = Family(
    'pytorchvideo-slow', "pytorchvideo's Slow", 'slowonly_*', ('blocks.0.conv.weight', 'blocks.5.proj.weight'),
    (('blocks.0.{n:conv=0|norm=1}', 'first_stage.{n}'),
     *_pytorchvideo_blocks('blocks.{stage}', 'res_layers.{stage-1}'),
     ('blocks.5.proj', 'fc')))
# Behind the first stage a pooling has a number of its own.
PYTORCHVIDEO_I3D = Family(
    'pytorchvideo-i3d', "pytorchvideo's I3D", 'i3d_8x8_resnet50_*', ('blocks.0.conv.weight', 'blocks.6.proj.weight'),
    (('blocks.0.{n:conv=0|norm=1}', 'first_stage.{n}'),
     *_pytorchvideo_blocks('blocks.{stage:1=0|3=1|4=2|5=3}', 'res_layers.{stage}'),
     ('blocks.6.proj', 'fc')))

FAMILIES = (S3D, IG65M, R2PLUS1D, MMACTION2_C3D, MMACTION2_RESNET_2D, MMACTION2_RESNET_3D, PYTORCHVIDEO_SLOWFAST,
            PYTORCHVIDEO_I3D, PYTORCHVIDEO_SLOW)
