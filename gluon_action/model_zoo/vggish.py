"""VGGish, which makes 128 numbers of each second of sound (Hershey et al. 2017, arXiv:1609.09430)."""
from __future__ import annotations

import os
from collections.abc import Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from ..errors import WeightsError
from .importers import read_variables
from .loading.fit import few

#: Layers in order: name here, in tensorflow/models, and in the port to PyTorch.
_LAYERS = (
    ('conv1', 'conv1', 'features.0'), ('conv2', 'conv2', 'features.3'),
    ('conv3_1', 'conv3/conv3_1', 'features.6'), ('conv3_2', 'conv3/conv3_2', 'features.8'),
    ('conv4_1', 'conv4/conv4_1', 'features.11'), ('conv4_2', 'conv4/conv4_2', 'features.13'),
    ('fc1_1', 'fc1/fc1_1', 'embeddings.0'), ('fc1_2', 'fc1/fc1_2', 'embeddings.2'), ('fc2', 'fc2', 'embeddings.4'))
_POOLED = ('conv1', 'conv2', 'conv3_2', 'conv4_2')


class VGGish(gluon.HybridBlock):
    """Convolutions over pieces of log mel spectrograms.

    Parameters
    ----------
    widths : sequence of int
        Channels of the convolutions and widths of the dense layers, in order; the last is D.

    Notes
    -----
    Pieces (N, 96, 64) go in, embeddings (N, D) come out, before any activation: as tensorflow/models has it.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 256, 512, 512, 4096, 4096, 128)):
        super().__init__()
        self.feat_dim = widths[-1]
        for (name, *_), width in zip(_LAYERS, widths):
            layer = gluon.nn.Conv2D(width, 3, padding=1) if name.startswith('conv') else gluon.nn.Dense(width)
            setattr(self, name, layer)

    def hybrid_forward(self, F, x):
        """Embed pieces."""
        x = F.expand_dims(x, 1)
        for name, *_ in _LAYERS[:6]:
            x = F.relu(getattr(self, name)(x))
            if name in _POOLED:
                x = F.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type='max')
        x = F.flatten(F.transpose(x, (0, 2, 3, 1)))  # channels last, as the dense layer was trained
        return self.fc2(F.relu(self.fc1_2(F.relu(self.fc1_1(x)))))


def load_vggish(source: str | os.PathLike, ctx=None) -> VGGish:
    """Return the network with its published weights.

    Parameters
    ----------
    source : path
        A checkpoint of TensorFlow with the names of tensorflow/models (``vggish/conv1/weights`` ...), a file of
        PyTorch with those of its port (``features.0.weight`` ...), or parameters of this network.
    ctx : list of mxnet.Context, optional

    Raises
    ------
    WeightsError
        When it cannot be read, or is of another network.
    """
    variables = read_variables(source)
    arrays: dict[str, np.ndarray] = {}
    for names in _LAYERS:
        for part in ('weight', 'bias'):
            found = [name for name in variables if _is(name, names, part)]
            if len(found) != 1:
                raise WeightsError(f'{source}: is not of VGGish: {len(found)} variables are the {part} of {names[0]}, '
                                   f'in {few(variables)}')
            arrays[f'{names[0]}.{part}'] = _ours(variables[found[0]], found[0])
    _check_chain(source, arrays)
    net = VGGish([len(arrays[f'{name}.bias']) for name, *_ in _LAYERS])
    for key, parameter in net._collect_params_with_prefix().items():
        parameter.shape = arrays[key].shape
        parameter.initialize(ctx=ctx)
        parameter.set_data(mx.nd.array(arrays[key]))
    net.hybridize()
    return net


def _is(name: str, names: Sequence[str], part: str) -> bool:
    ours, slim, port = names
    slim = f'{slim}/{"weights" if part == "weight" else "biases"}'
    return name in (f'vggish/{slim}', slim, f'{port}.{part}', f'{ours}.{part}')


def _ours(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array as Gluon has it: output before input, before height and width."""
    if name.endswith('/weights'):
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array, np.float32)


def _check_chain(source: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    widths = [1, *(len(arrays[f'{name}.bias']) for name, *_ in _LAYERS)]
    for (name, *_), before, width in zip(_LAYERS, widths, widths[1:]):
        shape = (width, before, 3, 3) if name.startswith('conv') else (
            width, 6 * 4 * before if name == 'fc1_1' else before)
        if arrays[f'{name}.weight'].shape != shape:
            raise WeightsError(f'{source}: is not of VGGish: the weight of {name} is {arrays[f"{name}.weight"].shape}, '
                               f'it should be {shape}')
