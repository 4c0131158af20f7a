"""Names of networks for images, as torchvision and timm publish them for ImageNet."""
from __future__ import annotations

from .family import Family

# A convolution and its batch normalisation, as torchvision's Inceptions name them and GluonCV numbers them.
_PART = '{part:conv=0|bn=1}'
_AUXILIARY = 'auxiliary scores, for training only'

RESNET = Family(
    'timm-resnet', 'ResNet of timm or torchvision', 'resnet*_v1b_*',
    ('conv1.weight', 'bn1.running_mean', 'layer1.0.conv1.weight'),
    (('conv1', 'conv1'), ('bn1', 'bn1'),
     ('layer{stage}.{block}.{layer:*}', 'layer{stage}.{block}.{layer}'),
     ('layer{stage}.{block}.downsample.{n}', 'layer{stage}.{block}.downsample.{n}'),
     ('fc', ('fc', 'output'))))

GOOGLENET = Family(
    'torchvision-googlenet', "torchvision's GoogLeNet", 'inceptionv1_*',
    ('conv1.conv.weight', 'inception3a.branch1.conv.weight'),
    ((f'conv{{n}}.{_PART}', 'conv{n}.{part}'),
     (f'inception{{block:*}}.branch1.{_PART}', 'inception{block}.0.0.{part}'),
     (f'inception{{block:*}}.branch{{branch:2=1|3=2}}.{{n}}.{_PART}', 'inception{block}.{branch}.{n}.{part}'),
     (f'inception{{block:*}}.branch4.1.{_PART}', 'inception{block}.3.1.{part}'),
     ('aux{n}.{any:**}', None, _AUXILIARY),
     ('fc', 'output')))

_STEM = 'Conv2d_1a_3x3=0|Conv2d_2a_3x3=1|Conv2d_2b_3x3=2|Conv2d_3b_1x1=4|Conv2d_4a_3x3=5'
# blocks -> their layers, as GluonCV numbers them: branch, layer in it, and where a branch forks, which tine
_BLOCKS = {
    '5b=7|5c=8|5d=9':
        'branch1x1=0.0|branch5x5_1=1.0|branch5x5_2=1.1|branch3x3dbl_1=2.0|branch3x3dbl_2=2.1|branch3x3dbl_3=2.2|'
        'branch_pool=3.1',
    '6a=10': 'branch3x3=0.0|branch3x3dbl_1=1.0|branch3x3dbl_2=1.1|branch3x3dbl_3=1.2',
    '6b=11|6c=12|6d=13|6e=14':
        'branch1x1=0.0|branch7x7_1=1.0|branch7x7_2=1.1|branch7x7_3=1.2|branch7x7dbl_1=2.0|branch7x7dbl_2=2.1|'
        'branch7x7dbl_3=2.2|branch7x7dbl_4=2.3|branch7x7dbl_5=2.4|branch_pool=3.1',
    '7a=15': 'branch3x3_1=0.0|branch3x3_2=0.1|branch7x7x3_1=1.0|branch7x7x3_2=1.1|branch7x7x3_3=1.2|branch7x7x3_4=1.3',
    '7b=16|7c=17':
        'branch1x1=0.0|branch3x3_1=1.0.0|branch3x3_2a=1.1.0.0|branch3x3_2b=1.1.1.0|branch3x3dbl_1=2.0.0|'
        'branch3x3dbl_2=2.0.1|branch3x3dbl_3a=2.1.0.0|branch3x3dbl_3b=2.1.1.0|branch_pool=3.1',
}

INCEPTION_V3 = Family(
    'torchvision-inception3', "torchvision's Inception v3", 'inceptionv3_*',
    ('Conv2d_1a_3x3.conv.weight', 'Mixed_5b.branch1x1.conv.weight'),
    ((f'{{n:{_STEM}}}.{_PART}', 'features.{n}.{part}'),
     *((f'Mixed_{{n:{blocks}}}.{{layer:{layers}}}.{_PART}', 'features.{n}.{layer}.{part}')
       for blocks, layers in _BLOCKS.items()),
     ('AuxLogits.{any:**}', None, _AUXILIARY),
     ('fc', 'output')))

VGG16 = Family(
    'torchvision-vgg16', "torchvision's or timm's VGG16", 'vgg16_*',
    ('features.0.weight', 'features.28.bias', '{head:classifier.6|head.fc}.weight'),
    (('features.{n}', 'features.{n}'),
     # timm's are convolutions over all places.
     ('{n:classifier.0=31|classifier.3=33|pre_logits.fc1=31|pre_logits.fc2=33}', 'features.{n}'),
     ('{head:classifier.6|head.fc}', 'output')))

FAMILIES = (GOOGLENET, INCEPTION_V3, VGG16, RESNET)
