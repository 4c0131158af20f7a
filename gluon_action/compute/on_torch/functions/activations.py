"""Functions that follow layers."""
from __future__ import annotations

import torch
from torch.nn import functional

from .table import computes, enter_plain, only

_ACTIVATIONS = {'relu': torch.relu, 'sigmoid': torch.sigmoid, 'tanh': torch.tanh, 'softrelu': functional.softplus,
                'softsign': functional.softsign}
enter_plain({name: _ACTIVATIONS[name] for name in ('relu', 'sigmoid', 'tanh')})


@computes('Activation')
def activation(x, *, act_type):
    """Apply a function by MXNet's name of it."""
    only('Activation', 'act_type', act_type, *_ACTIVATIONS)
    return _ACTIVATIONS[act_type](x)


@computes('LeakyReLU')
def leaky_relu(x, *slopes, act_type='leaky', slope=0.25):
    """Apply a relative of ReLU; GELU is the exact one."""
    only('LeakyReLU', 'act_type', act_type, 'leaky', 'elu', 'selu', 'gelu')
    if act_type == 'gelu':
        return functional.gelu(x)
    if act_type == 'selu':
        return torch.selu(x)
    return functional.leaky_relu(x, slope) if act_type == 'leaky' else functional.elu(x, slope)


@computes('softmax')
def softmax(x, *, axis=-1, temperature=None, use_length=False):
    """Take shares along an axis."""
    only('softmax', 'use_length', use_length, False, None)
    return torch.softmax(x / temperature if temperature else x, axis)


@computes('log_softmax')
def log_softmax(x, *, axis=-1, temperature=None, use_length=False):
    """Take logarithms of shares along an axis."""
    only('log_softmax', 'use_length', use_length, False, None)
    return torch.log_softmax(x / temperature if temperature else x, axis)


@computes('clip')
def clip(x, a_min=None, a_max=None):
    """Bring numbers into a range."""
    return torch.clamp(x, a_min, a_max)
