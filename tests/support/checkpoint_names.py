"""Variables of others' networks, written down from their architectures: name -> (key of the zoo's network, shape)."""
import numpy as np

# Outputs of the blocks: branch 0; branch 1, first and second; branch 2, first and second; branch 3.
BLOCKS = {'3b': (64, 96, 128, 16, 32, 32), '3c': (128, 128, 192, 32, 96, 64), '4b': (192, 96, 208, 16, 48, 64),
          '4c': (160, 112, 224, 24, 64, 64), '4d': (128, 128, 256, 24, 64, 64), '4e': (112, 144, 288, 32, 64, 64),
          '4f': (256, 160, 320, 32, 128, 128), '5b': (256, 160, 320, 32, 128, 128), '5c': (384, 192, 384, 48, 128, 128)}
CHANNELS = ('beta', 'moving_mean', 'moving_variance')


def units(channels, stem_frames=7, width=lambda channels: channels, blocks=tuple(BLOCKS)):
    """(path, kernel, channels before and after, whether it ends a branch) of every convolution, the logits last."""
    yield 'Conv3d_1a_7x7', (stem_frames, 7, 7), channels, width(64), False
    yield 'Conv3d_2b_1x1', (1, 1, 1), width(64), width(64), False
    yield 'Conv3d_2c_3x3', (3, 3, 3), width(64), width(192), True
    before = width(192)
    for block in blocks:
        zero, one_a, one_b, two_a, two_b, three = map(width, BLOCKS[block])
        third = 'Conv3d_0a_3x3' if block == '5b' else 'Conv3d_0b_3x3'
        for branch, name, size, *widths, last in (
                (0, 'Conv3d_0a_1x1', 1, before, zero, True), (1, 'Conv3d_0a_1x1', 1, before, one_a, False),
                (1, 'Conv3d_0b_3x3', 3, one_a, one_b, True), (2, 'Conv3d_0a_1x1', 1, before, two_a, False),
                (2, third, 3, two_a, two_b, True), (3, 'Conv3d_0b_1x1', 1, before, three, True)):
            yield f'Mixed_{block}/Branch_{branch}/{name}', (size,) * 3, *widths, last
        before = zero + one_b + two_b + three
    yield 'Logits/Conv3d_0c_1x1', (1, 1, 1), before, None, False


def deepmind(prefix, channels, classes, *, statistics=lambda width: (width,), momentum=False, blocks=tuple(BLOCKS)):
    """Those of DeepMind's I3D, or of one of these blocks; keys of slots are None."""
    found = {}
    for unit, kernel, before, after, _ in units(channels, blocks=blocks):
        key = unit.replace('/', '.')
        if after is None:
            found[f'{unit}/conv_3d/w'] = f'{key}.weight', (*kernel, before, classes)
            found[f'{unit}/conv_3d/b'] = f'{key}.bias', (classes,)
            continue
        found[f'{unit}/conv_3d/w'] = f'{key}.conv.weight', (*kernel, before, after)
        for name, ours in zip(CHANNELS, ('beta', 'running_mean', 'running_var')):
            found[f'{unit}/batch_norm/{name}'] = f'{key}.bn.{ours}', statistics(after)
    slots = {f'{name}/Momentum': (None, shape) for name, (key, shape) in found.items() if 'running' not in key}
    return {prefix + name: value for name, value in {**found, **(slots if momentum else {})}.items()}


def slim(classes, *, gated=True, separable=True, width=lambda channels: channels, fifth='Conv2d_0b_3x3'):
    """Those of slim's S3D-G, or with neither gates nor separable filters of its I3D."""
    found = {}
    for unit, kernel, before, after, last in units(3, 3 if separable else 7, width):
        key, splits = unit.replace('/', '.'), separable and kernel == (3, 3, 3)
        name = f'InceptionV1/{unit.replace("Conv3d_", "Conv2d_")}'
        name = name.replace('Mixed_5b/Branch_2/Conv2d_0a_3x3', f'Mixed_5b/Branch_2/{fifth}')
        if after is None:
            found[f'{name}/weights'] = f'{key}.weight', (*kernel, before, classes)
            found[f'{name}/biases'] = f'{key}.bias', (classes,)
            continue
        found[f'{name}/weights'] = f'{key}.conv.weight', (1 if splits else kernel[0], *kernel[1:], before, after)
        for theirs, ours in zip(CHANNELS, ('beta', 'running_mean', 'running_var')):
            found[f'{name}/BatchNorm/{theirs}'] = f'{key}.bn.{ours}', (after,)
        if splits:
            found[f'{name}/temporal/weights'] = f'{key}.temporal.weight', (3, 1, 1, after, after)
            found[f'{name}/temporal/biases'] = f'{key}.temporal.bias', (after,)
        if gated and last:
            found[f'{name}/self_gating/transformer_W/weights'] = f'{key}.gating.weight', (1, 1, 1, after, after)
    return found


def torchvision(classes):
    """Those of torchvision's S3D."""
    stages = dict(zip(('Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3', *BLOCKS),
                      (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15)))
    inside = {'Branch_0/Conv3d_0a_1x1': 'branch0', 'Branch_1/Conv3d_0a_1x1': 'branch1.0',
              'Branch_1/Conv3d_0b_3x3': 'branch1.1', 'Branch_2/Conv3d_0a_1x1': 'branch2.0',
              'Branch_2/Conv3d_0b_3x3': 'branch2.1', 'Branch_2/Conv3d_0a_3x3': 'branch2.1',
              'Branch_3/Conv3d_0b_1x1': 'branch3.1'}
    found = {}
    for unit, kernel, before, after, _ in units(3):
        if after is None:
            found['classifier.1.weight'] = 'Logits.Conv3d_0c_1x1.weight', (classes, before, *kernel)
            found['classifier.1.bias'] = 'Logits.Conv3d_0c_1x1.bias', (classes,)
            continue
        stage, _, rest = unit.removeprefix('Mixed_').partition('/')
        name = f'features.{stages[stage]}.' + (f'{inside[rest]}.' if rest else '')
        key, (frames, height, across) = unit.replace('/', '.'), kernel
        parts = [('', 'conv', 'bn', (after, before, frames, height, across))]
        if frames > 1:
            parts = [('0.', 'conv', 'bn', (after, before, 1, height, across)),
                     ('1.', 'temporal', 'temporal_bn', (after, after, frames, 1, 1))]
        for number, conv, norm, shape in parts:
            found[f'{name}{number}0.weight'] = f'{key}.{conv}.weight', shape
            for theirs, ours in (('weight', 'gamma'), ('bias', 'beta'), ('running_mean', 'running_mean'),
                                 ('running_var', 'running_var')):
                found[f'{name}{number}1.{theirs}'] = f'{key}.{norm}.{ours}', (after,)
            found[f'{name}{number}1.num_batches_tracked'] = None, ()
    return found


def random_values(names, seed=0):
    """Values for all of them that keep activations at their size."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, (key, shape) in names.items():
        value = rng.standard_normal(shape, dtype=np.float32)
        if key and key.endswith('weight'):
            taps = np.prod(shape) / max(shape[-1] if name.endswith(('w', 'weights')) else shape[0], 1)
            value *= np.float32(np.sqrt(2 / taps))
        elif key and key.endswith(('running_var', 'gamma')):
            value = np.float32(0.5) + np.abs(value)
        elif key:
            value *= np.float32(0.2)
        values[name] = value if shape else np.int64(7)
    return values


def expected(names, values):
    """What the zoo's network should hold, by key; TensorFlow's filters are (T, H, W, C, K)."""
    arrays = {}
    for name, (key, shape) in names.items():
        if key:
            theirs = name.endswith(('conv_3d/w', 'weights'))
            arrays[key] = np.moveaxis(values[name], (4, 3), (0, 1)) if theirs else values[name].reshape(
                shape if key.endswith('weight') else -1)
    return arrays
