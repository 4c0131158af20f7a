"""I3D, S3D-G and S3D written down again with NumPy in float64: what the networks of the zoo are compared with."""
from __future__ import annotations

import numpy as np

#: Stages in order: convolution (kernel, stride), pooling (window, stride), or an inception block.
STAGES = (
    ('Conv3d_1a_7x7', 'unit', (2, 2, 2)),
    ('MaxPool3d_2a_3x3', (1, 3, 3), (1, 2, 2)),
    ('Conv3d_2b_1x1', 'unit', (1, 1, 1)),
    ('Conv3d_2c_3x3', 'unit', (1, 1, 1)),
    ('MaxPool3d_3a_3x3', (1, 3, 3), (1, 2, 2)),
    *((f'Mixed_{block}', 'mixed', None) for block in ('3b', '3c')),
    ('MaxPool3d_4a_3x3', (3, 3, 3), (2, 2, 2)),
    *((f'Mixed_{block}', 'mixed', None) for block in ('4b', '4c', '4d', '4e', '4f')),
    ('MaxPool3d_5a_2x2', (2, 2, 2), (2, 2, 2)),
    *((f'Mixed_{block}', 'mixed', None) for block in ('5b', '5c')),
)
BRANCHES = (('Conv3d_0a_1x1',), ('Conv3d_0a_1x1', 'Conv3d_0b_3x3'), ('Conv3d_0a_1x1', 'Conv3d_0b_3x3'),
            ('Conv3d_0b_1x1',))


def tensorflow_same(length, kernel, stride):
    """TensorFlow's own rule (tf.nn, "Notes on padding"), which is written differently from the package's."""
    total = kernel - stride if length % stride == 0 else kernel - length % stride
    total = max(total, 0)
    return total // 2, total - total // 2


def halfway(length, kernel, stride):
    return kernel // 2, kernel // 2


def windows(x, kernel, stride, padding, value):
    """Pad `x` (N, C, T, H, W) and yield the place of each tap and what it sees, with `stride`."""
    x = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)
    counts = [(length - size) // step + 1 for length, size, step in zip(x.shape[2:], kernel, stride)]
    for tap in np.ndindex(*kernel):
        yield tap, x[(slice(None), slice(None), *(slice(at, at + (count - 1) * step + 1, step)
                                                  for at, count, step in zip(tap, counts, stride)))]


def conv(x, weight, stride=(1, 1, 1), bias=None, rule=tensorflow_same):
    weight = np.asarray(weight, np.float64)
    kernel = weight.shape[2:]
    padding = [rule(*axis) for axis in zip(x.shape[2:], kernel, stride)]
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    seen = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3, 4))
    seen = seen[:, :, ::stride[0], ::stride[1], ::stride[2]]
    # One frame at a time, so that its windows fit into memory.
    frames = [np.tensordot(seen[:, :, frame], weight, axes=((1, 4, 5, 6), (1, 2, 3, 4)))
              for frame in range(seen.shape[2])]
    result = np.moveaxis(np.stack(frames, axis=1), -1, 1)
    return result if bias is None else result + np.asarray(bias, np.float64)[:, None, None, None]


def max_pool(x, kernel, stride, rule=tensorflow_same):
    padding = [rule(*axis) for axis in zip(x.shape[2:], kernel, stride)]
    result = None
    for _, seen in windows(x, kernel, stride, padding, -np.inf):
        result = seen if result is None else np.maximum(result, seen)
    return result


def average_pool(x, kernel):
    seen = [part for _, part in windows(x, kernel, (1, 1, 1), [(0, 0)] * 3, 0)]
    return sum(seen) / len(seen)


def batch_norm(x, arrays, name):
    gamma, beta, mean, var = (np.asarray(arrays[f'{name}.{key}'], np.float64)[:, None, None, None]
                              for key in ('gamma', 'beta', 'running_mean', 'running_var'))
    return (x - mean) / np.sqrt(var + 1e-3) * gamma + beta


def unit(x, arrays, name, stride, rule):
    weight = arrays[f'{name}.conv.weight']
    separable = f'{name}.temporal.weight' in arrays
    x = conv(x, weight, (1, *stride[1:]) if separable else stride, rule=rule)
    x = np.maximum(batch_norm(x, arrays, f'{name}.bn'), 0)
    if separable:
        x = conv(x, arrays[f'{name}.temporal.weight'], (stride[0], 1, 1), arrays.get(f'{name}.temporal.bias'), rule)
        if f'{name}.temporal_bn.beta' in arrays:
            x = batch_norm(x, arrays, f'{name}.temporal_bn')
        x = np.maximum(x, 0)
    if f'{name}.gating.weight' in arrays:
        gate = conv(x.mean(axis=(2, 3, 4), keepdims=True), arrays[f'{name}.gating.weight'])
        x = x / (1 + np.exp(-gate))
    return x


def mixed(x, arrays, name, rule):
    outputs = []
    for number, names in enumerate(BRANCHES):
        branch = max_pool(x, (3, 3, 3), (1, 1, 1)) if number == 3 else x
        for each in names:
            if (name, number, each) == ('Mixed_5b', 2, 'Conv3d_0b_3x3'):
                each = 'Conv3d_0a_3x3'
            branch = unit(branch, arrays, f'{name}.Branch_{number}.{each}', (1, 1, 1), rule)
        outputs.append(branch)
    return np.concatenate(outputs, axis=1)


def forward(clips, arrays, torch=False):
    """Return every stage of I3D, S3D-G or S3D (`torch` for torchvision's paddings), the logits last.

    Parameters
    ----------
    clips : array (N, C, T, H, W)
    arrays : dict
        Key of the zoo's network -> array. Which network it is shows in the keys.

    Returns
    -------
    dict
        Name of the endpoint -> float64 array; 'Logits' is (N, K).
    """
    rule = halfway if torch else tensorflow_same
    x, outputs = np.asarray(clips, np.float64), {}
    for name, kind, stride in STAGES:
        if kind == 'unit':
            x = unit(x, arrays, name, stride, rule)
        elif kind == 'mixed':
            x = mixed(x, arrays, name, rule)
        elif torch:
            window = tuple(min(size, length + size // 3 * 2) for size, length in zip(kind, x.shape[2:]))
            x = max_pool(x, window, stride, lambda length, kernel, step: (kernel // 3,) * 2)
        else:
            x = max_pool(x, kind, stride)
        outputs[name] = x
    pooled = average_pool(x, tuple(min(pair) for pair in zip((2, 7, 7), x.shape[2:])))
    head = 'Logits.Conv3d_0c_1x1'
    outputs['Logits'] = conv(pooled, arrays[f'{head}.weight'], bias=arrays[f'{head}.bias']).mean(axis=(2, 3, 4))
    return outputs


def random_parameters(net, seed=0):
    """Give `net` random parameters that keep the size of activations, statistics included, and return them by key."""
    rng = np.random.RandomState(seed)
    arrays = {}
    for key, parameter in net._collect_params_with_prefix().items():
        shape = parameter.shape
        if key.endswith('running_var'):
            array = rng.uniform(0.5, 2, shape)
        elif key.endswith('.gamma'):
            array = np.ones(shape) if parameter.grad_req == 'null' else rng.uniform(0.5, 1.5, shape)
        elif key.endswith('.weight'):
            array = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            array = rng.normal(0, 0.2, shape)
        arrays[key] = array.astype(np.float32)
        parameter.set_data(arrays[key])
    return arrays
