"""What publishers call the tensors of the zoo's networks: written from the zoo's keys, the other way than importers go.

Each function takes the keys of a network, each parameter once, and returns key -> the publisher's name.
"""
import re

# A block's parts under the names by which they are counted in the zoo's inflated ResNets.
_COUNTED = {'bottleneck.0': 'conv1', 'bottleneck.1': 'bn1', 'bottleneck.3': 'conv2', 'bottleneck.4': 'bn2',
            'bottleneck.6': 'conv3', 'bottleneck.7': 'bn3', 'head.1': 'fc'}
_INCEPTION_V3 = (
    'Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3'.split(),
    *([f'Mixed_{block}.{name}' for name in (
        'branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool').split()]
      for block in ('5b', '5c', '5d')),
    [f'Mixed_6a.{name}' for name in 'branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3'.split()],
    *([f'Mixed_{block}.{name}' for name in (
        'branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 '
        'branch7x7dbl_5 branch_pool').split()] for block in ('6b', '6c', '6d', '6e')),
    [f'Mixed_7a.{name}' for name in 'branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4'
     .split()],
    *([f'Mixed_{block}.{name}' for name in (
        'branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a branch3x3dbl_3b '
        'branch_pool').split()] for block in ('7b', '7c')))


def _by_layer(rename):
    """Names by what `rename` makes of a layer, with PyTorch's names of its parts behind it."""
    def names(keys):
        found = {}
        for key in keys:
            layer, _, part = key.rpartition('.')
            part = {'gamma': 'weight', 'beta': 'bias'}.get(part, part)
            found[key] = f'{rename(layer)}.{part}' if layer else rename(part)
        return found
    return names


def plain(layer):
    """The layer with its parts called conv1, bn1, ... instead of counted."""
    for counted, name in _COUNTED.items():
        layer = re.sub(rf'\b{re.escape(counted)}$', name, layer)
    return layer.replace('bottleneck.8.', 'nonlocal_block.')


@_by_layer
def timm_resnet(layer):
    return 'fc' if layer == 'output' else layer


@_by_layer
def googlenet(layer):
    if layer == 'output':
        return 'fc'
    *rest, kind = layer.split('.')
    kind = ('conv', 'bn')[int(kind)]
    if len(rest) == 1:
        return f'{rest[0]}.{kind}'
    block, branch, place = rest
    return f'{block}.branch{int(branch) + 1}' + ('' if branch == '0' else f'.{place}') + f'.{kind}'


def inception_v3(keys):
    theirs = iter([name for block in _INCEPTION_V3 for name in block])
    found, layer = {}, None
    for key in keys:
        if key.startswith('output.'):
            found[key] = key.replace('output', 'fc')
        elif key.endswith('.0.weight'):
            layer = next(theirs)
            found[key] = f'{layer}.conv.weight'
        else:
            part = key.rpartition('.')[2]
            found[key] = f'{layer}.bn.{({"gamma": "weight", "beta": "bias"}.get(part, part))}'
    assert next(theirs, None) is None
    return found


@_by_layer
def vgg16(layer):
    return {'features.31': 'classifier.0', 'features.33': 'classifier.3', 'output': 'classifier.6'}.get(layer, layer)


@_by_layer
def r2plus1d(layer):
    inside = {'conv1': '0', 'bn1': '1', 'conv2': '3'}
    path = layer.split('.')
    if len(path) == 1:
        return {'conv1': 'stem.0', 'bn1': 'stem.1', 'conv2': 'stem.3', 'bn2': 'stem.4'}.get(layer, layer)
    if path[2] == 'downsample':
        return layer
    convolution = f'{path[0]}.{path[1]}.conv{path[2][-1]}'
    return f'{convolution}.0.{inside[path[3]]}' if path[2].startswith('conv') else f'{convolution}.1'


@_by_layer
def mmaction2_resnet(layer):
    layer = plain(layer)
    found = {'output': 'cls_head.fc_cls', 'fc': 'cls_head.fc_cls', 'conv1': 'backbone.conv1.conv',
             'first_stage.0': 'backbone.conv1.conv', 'bn1': 'backbone.conv1.bn', 'first_stage.1': 'backbone.conv1.bn'}
    if layer in found:
        return found[layer]
    layer = re.sub(r'^res_layers\.(\d)', lambda match: f'layer{int(match[1]) + 1}', layer)
    for ours, theirs in (('theta', 'theta.conv'), ('phi', 'phi.0.conv'), ('g', 'g.0.conv'), ('W', 'conv_out.conv'),
                         ('bn', 'conv_out.bn')):
        if layer.endswith(f'nonlocal_block.{ours}'):
            return 'backbone.' + layer.replace(f'nonlocal_block.{ours}', f'non_local_block.{theirs}')
    layer = re.sub(r'\.conv(\d)$', r'.conv\1.conv', layer)
    layer = re.sub(r'\.bn(\d)$', r'.conv\1.bn', layer)
    return 'backbone.' + layer.replace('downsample.0', 'downsample.conv').replace('downsample.1', 'downsample.bn')


@_by_layer
def mmaction2_c3d(layer):
    if layer == 'fc8':
        return 'cls_head.fc_cls'
    return f'backbone.{layer}' + {'conv1': 'a', 'conv2': 'a'}.get(layer, '') + ('.conv' if 'conv' in layer else '')


_TRANSFORMER = {'attn.qkv': 'attention.attention.qkv', 'attn.proj': 'attention.output.dense',
                'temporal_attn.qkv': 'temporal_attention.attention.qkv',
                'temporal_attn.proj': 'temporal_attention.output.dense', 'temporal_norm1': 'temporal_layernorm',
                'temporal_fc': 'temporal_dense', 'norm1': 'layernorm_before', 'norm2': 'layernorm_after',
                'mlp.fc1': 'intermediate.dense', 'mlp.fc2': 'output.dense'}


@_by_layer
def hugging_face(layer):
    block = re.match(r'blocks\.(\d+)\.(.*)', layer)
    if block:
        return f'timesformer.encoder.layer.{block[1]}.{_TRANSFORMER[block[2]]}'
    return {'cls_token': 'timesformer.embeddings.cls_token', 'pos_embed': 'timesformer.embeddings.position_embeddings',
            'time_embed': 'timesformer.embeddings.time_embeddings', 'norm': 'timesformer.layernorm',
            'patch_embed.proj': 'timesformer.embeddings.patch_embeddings.projection', 'head': 'classifier'}[layer]


def mmaction2_timesformer(keys):
    keys = list(keys)
    divided = any('temporal_fc' in key for key in keys)
    inside = {'mlp.fc1': 'ffns.0.layers.0.0', 'mlp.fc2': 'ffns.0.layers.1'}
    if divided:
        inside |= {'temporal_norm1': 'attentions.0.norm', 'temporal_attn.qkv': 'attentions.0.attn.in_proj',
                   'temporal_attn.proj': 'attentions.0.attn.out_proj', 'temporal_fc': 'attentions.0.temporal_fc',
                   'norm1': 'attentions.1.norm', 'attn.qkv': 'attentions.1.attn.in_proj',
                   'attn.proj': 'attentions.1.attn.out_proj', 'norm2': 'ffns.0.norm'}
    else:
        inside |= {'norm1': 'norms.0', 'norm2': 'norms.1', 'attn.qkv': 'attentions.0.attn.in_proj',
                   'attn.proj': 'attentions.0.attn.out_proj'}

    @_by_layer
    def names(layer):
        block = re.match(r'blocks\.(\d+)\.(.*)', layer)
        if block:
            return f'backbone.transformer_layers.layers.{block[1]}.{inside[block[2]]}'
        return {'head': 'cls_head.fc_cls', 'patch_embed.proj': 'backbone.patch_embed.projection'}.get(
            layer, f'backbone.{layer}')
    return {key: name.replace('in_proj.', 'in_proj_') for key, name in names(keys).items()}


def _pytorchvideo(layer, stages, head):
    layer = plain(layer)
    if layer == 'fc':
        return head
    if layer.startswith('first_stage.'):
        return f'blocks.0.{("conv", "norm")[int(layer[-1])]}'
    stage, rest = re.match(r'res_layers\.(\d)\.(.*)', layer).groups()
    return f'blocks.{stages[int(stage)]}.res_blocks.{_pytorchvideo_block(rest)}'


def _pytorchvideo_block(rest):
    number, part = rest.split('.', 1)
    if part.startswith('downsample'):
        return f'{number}.branch1_{("conv", "norm")[int(part[-1])]}'
    return f'{number}.branch2.{part[:-1].replace("bn", "norm")}_{"abc"[int(part[-1]) - 1]}'


@_by_layer
def pytorchvideo_slow(layer):
    return _pytorchvideo(layer, (1, 2, 3, 4), 'blocks.5.proj')


@_by_layer
def pytorchvideo_i3d(layer):
    return _pytorchvideo(layer, (1, 3, 4, 5), 'blocks.6.proj')


@_by_layer
def pytorchvideo_slowfast(layer):
    if layer == 'fc':
        return 'blocks.6.proj'
    if layer.startswith('lateral'):
        name, part = layer.split('.')
        stage = {'lateral_p1': 0, 'lateral_res2': 1, 'lateral_res3': 2, 'lateral_res4': 3}[name]
        return f'blocks.{stage}.multipathway_fusion.{("conv_fast_to_slow", "norm")[int(part)]}'
    pathway, rest = layer.split('_', 1)
    number = int(pathway == 'fast')
    if '.' not in rest:
        return f'blocks.0.multipathway_blocks.{number}.{rest[:-1].replace("bn", "norm")}'
    stage, rest = rest.split('.', 1)
    return f'blocks.{int(stage[-1]) - 1}.multipathway_blocks.{number}.res_blocks.{_pytorchvideo_block(rest)}'
