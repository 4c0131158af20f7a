"""Inflation: weights of networks for images become weights of networks for clips (arXiv:1705.07750, section 2.4)."""
from __future__ import annotations

import numpy as np
from mxnet import gluon

from ...errors import ModelError, WeightsError

MODES = ('average', 'centre')

# What GluonCV's ImageNet networks were trained with, for pixels in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# GluonCV's GoogLeNet -> DeepMind's names, for the stages of one unit and for the inception blocks.
_STEM = {'conv1': 'Conv3d_1a_7x7', 'conv2': 'Conv3d_2b_1x1', 'conv3': 'Conv3d_2c_3x3'}
_BLOCKS = {'inception3a': 'Mixed_3b', 'inception3b': 'Mixed_3c', 'inception4a': 'Mixed_4b', 'inception4b': 'Mixed_4c',
           'inception4c': 'Mixed_4d', 'inception4d': 'Mixed_4e', 'inception4e': 'Mixed_4f', 'inception5a': 'Mixed_5b',
           'inception5b': 'Mixed_5c'}

# A gamma smaller than this switches its channel off: what is left is the constant relu(beta).
_NO_GAMMA = 1e-5


def inflate(weight: np.ndarray, taps: int, mode: str = 'average') -> np.ndarray:
    """Give a filter for images `taps` frames.

    Parameters
    ----------
    weight : array (O, I, H, W)
        Filters.
    taps : int
        Frames T that the result sees.
    mode : {'average', 'centre'}
        The filter divided by T in every frame, or as it is in the middle frame and zero in the others. On a clip of one
        repeated image both answer as the filter does on the image; 'average' only where the filter does not reach over
        the ends of the clip, where padding is seen instead.

    Returns
    -------
    array (O, I, T, H, W)

    Raises
    ------
    ModelError
        For another mode.
    """
    if mode not in MODES:
        raise ModelError(f'weights are inflated by {" or ".join(MODES)}, got {mode!r}')
    weight = np.asarray(weight)[:, :, None]
    if mode == 'average':
        return np.repeat(weight / taps, taps, axis=2)
    inflated = np.zeros((*weight.shape[:2], taps, *weight.shape[3:]), weight.dtype)
    inflated[:, :, taps // 2] = weight[:, :, 0]
    return inflated


def inflate_parameters(flat: dict[str, np.ndarray], net: gluon.Block, mode: str = 'average',
                       new: tuple[str, ...] = ('nonlocal',)) -> dict[str, np.ndarray]:
    """Return parameters for the body of a network for clips from those of the same network for images.

    Parameters
    ----------
    flat : dict
        Key -> array, of the whole network for images, in the order of its layers, as ``save_parameters`` writes them.
    net : Block
        Network for clips with the same layers in the same order; heads may differ. Its shapes are known.
    mode : {'average', 'centre'}
        As in `inflate`.
    new : tuple of str
        Parts of the names of parameters that the network for images has not; they are left out.

    Returns
    -------
    dict
        Key of `net` -> array; nothing for the head and for what is new.

    Raises
    ------
    WeightsError
        When a layer has no counterpart of the same kind and shape.
    """
    targets = _layers_of(net, new)
    sources = list(flat.items())[:len(targets)]
    inflated = {}
    for (key, shape), (source, array) in zip(targets.items(), sources):
        array = np.asarray(array)
        if key.rsplit('.', 1)[-1] != source.rsplit('.', 1)[-1] or _of_images(shape) != array.shape:
            raise WeightsError(f'{source} {array.shape} cannot be inflated to {key} {shape}: the networks do not have '
                               'the same layers in the same order')
        inflated[key] = inflate(array, shape[2], mode) if len(shape) == 5 else array
    left = [source for source in list(flat)[len(targets):] if source.endswith(('.gamma', '.running_var'))]
    if len(sources) < len(targets) or left:
        raise WeightsError(f'{len(flat)} arrays for images do not match the {len(targets)} of a body for clips')
    return inflated


def _layers_of(net: gluon.Block, new: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return key -> shape of the body's parameters, each once: GluonCV's blocks know some by several names."""
    heads = getattr(net, 'head_prefixes', ())
    shapes, seen = {}, set()
    for key, parameter in net._collect_params_with_prefix().items():
        head = key.startswith(heads) if heads else 'dense' in parameter.name
        if id(parameter) not in seen and not head and not any(part in parameter.name for part in new):
            seen.add(id(parameter))
            shapes[key] = tuple(parameter.shape)
    return shapes


def _of_images(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] + shape[3:] if len(shape) == 5 else shape


def inception_v1_to_i3d(flat: dict[str, np.ndarray], stem_channels: int = 3, mode: str = 'average',
                        mean: tuple[float, ...] = IMAGENET_MEAN,
                        std: tuple[float, ...] = IMAGENET_STD) -> dict[str, np.ndarray]:
    """Return parameters of :class:`gluon_action.model_zoo.i3d.I3D` from those of GluonCV's GoogLeNet.

    Parameters
    ----------
    flat : dict
        Key -> array, as GluonCV's ``googlenet`` saves them.
    stem_channels : {3, 2}
        Channels that the I3D takes: of RGB, or of flow, whose filters are the mean of those for red, green and blue.
    mode : {'average', 'centre'}
        As in `inflate`.
    mean, std : tuple of 3 float
        What the images were normalised with; pixels of clips are normalised to [-1, 1].

    Returns
    -------
    dict
        Key of the I3D -> array; the logits for the classes of `flat` too, where it has them.

    Notes
    -----
    I3D's batch normalisation has no gamma. Nothing is lost by that, since ReLU, pooling and concatenation pass a
    positive factor on: ``relu(gamma x + beta) = |gamma| relu(sign(gamma) x + beta / |gamma|)``, where the sign goes
    into the filter and the running mean, and ``|gamma|`` into the filters of the next layer.

    Two things do differ. Convolution and pooling with stride 2 see an image of even size one pixel further to the right
    and below, as SAME padding has it, than GluonCV's symmetric padding of the stem. And what lies beyond the border of
    the image is grey, not ImageNet's mean colour.
    """
    filters, shift = _stem(np.asarray(flat['conv1.0.weight'], np.float64), stem_channels, mean, std)
    flat = {**flat, 'conv1.0.weight': filters, 'conv1.1.running_mean': np.asarray(flat['conv1.1.running_mean']) - shift}
    arrays: dict[str, np.ndarray] = {}
    gains = np.ones(filters.shape[1])
    for source, name in _STEM.items():
        taps = {'Conv3d_1a_7x7': 7, 'Conv3d_2b_1x1': 1, 'Conv3d_2c_3x3': 3}[name]
        gains = _unit(flat, source, arrays, name, gains, taps, mode)
    for source, name in _BLOCKS.items():
        ends = []
        for branch in range(4):
            first = 1 if branch == 3 else 0  # behind a pooling
            unit = 'Conv3d_0b_1x1' if branch == 3 else 'Conv3d_0a_1x1'
            end = _unit(flat, f'{source}.{branch}.{first}', arrays, f'{name}.Branch_{branch}.{unit}', gains, 1, mode)
            if branch in (1, 2):
                unit = 'Conv3d_0a_3x3' if (name, branch) == ('Mixed_5b', 2) else 'Conv3d_0b_3x3'
                end = _unit(flat, f'{source}.{branch}.1', arrays, f'{name}.Branch_{branch}.{unit}', end, 3, mode)
            ends.append(end)
        gains = np.concatenate(ends)
    if 'output.weight' in flat:
        arrays['Logits.Conv3d_0c_1x1.weight'] = (np.asarray(flat['output.weight']) * gains)[:, :, None, None, None]
        arrays['Logits.Conv3d_0c_1x1.bias'] = np.asarray(flat['output.bias'])
    return {key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}


def _stem(weight: np.ndarray, channels: int, mean, std) -> tuple[np.ndarray, np.ndarray | float]:
    """Return the first filters for values in [-1, 1], and what they miss of the response."""
    mean, std = np.asarray(mean), np.asarray(std)
    if channels != len(mean):
        # No motion is 0 where the mean colour was 0, so there is nothing to make up for.
        return np.repeat(weight.sum(axis=1, keepdims=True) / channels, channels, axis=1), 0.
    # A pixel is (x + 1) / 2, and was normalised to (pixel - mean) / std.
    return (weight * (0.5 / std)[:, None, None],
            (weight.sum(axis=(2, 3)) * ((0.5 - mean) / std)).sum(axis=1))


def _unit(flat: dict, source: str, arrays: dict, name: str, gains: np.ndarray, taps: int, mode: str) -> np.ndarray:
    """Convert convolution and normalisation of one unit, and return the factor that its output lacks, by channel."""
    weight = np.asarray(flat[f'{source}.0.weight'], np.float64)
    gamma, beta, moving_mean, moving_var = (np.asarray(flat[f'{source}.1.{statistic}'], np.float64) for statistic
                                            in ('gamma', 'beta', 'running_mean', 'running_var'))
    off = np.abs(gamma) < _NO_GAMMA
    sign = np.where(off, 0., np.sign(gamma))
    lacks = np.where(off, 1., np.abs(gamma))
    weight = weight * gains[:, None, None] * sign[:, None, None, None]
    arrays[f'{name}.conv.weight'] = inflate(weight, taps, mode)
    arrays[f'{name}.bn.gamma'] = np.ones_like(gamma)
    arrays[f'{name}.bn.beta'] = beta / lacks
    arrays[f'{name}.bn.running_mean'] = moving_mean * sign
    arrays[f'{name}.bn.running_var'] = moving_var
    return lacks
