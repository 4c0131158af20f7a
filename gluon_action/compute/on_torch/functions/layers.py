"""Layers with weights, and products of matrices."""
from __future__ import annotations

import torch
from torch.nn import functional

from .table import computes, only

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@computes('Convolution')
def convolution(x, weight, bias=None, *, kernel, stride=None, dilate=None, pad=None, num_group=1, layout=None):
    """Convolve (N, C, ...)."""
    only('Convolution', 'layout', layout, None, 'NCW', 'NCHW', 'NCDHW')
    return _CONVOLUTIONS[len(kernel)](x, weight, bias, stride or 1, pad or 0, dilate or 1, num_group)


@computes('FullyConnected')
def fully_connected(x, weight, bias=None, *, flatten=True):
    """Multiply rows by a weight (units, D)."""
    return functional.linear(x.flatten(1) if flatten else x, weight, bias)


@computes('_linalg_gemm2', 'batch_dot')
def product(a, b, *, transpose_a=False, transpose_b=False, alpha=1.0, axis=-2):
    """Multiply the matrices of the last two axes."""
    only('_linalg_gemm2', 'axis', axis, -2)
    a, b = a.mT if transpose_a else a, b.mT if transpose_b else b
    if alpha != 1:
        a = a * alpha
    # Of columns and rows, as in self-gating, every number is one product, and no matrices need to be copied.
    return a * b if a.shape[-1] == 1 else torch.matmul(a, b)


@computes('dot')
def dot(a, b, *, transpose_a=False, transpose_b=False):
    """Multiply two matrices."""
    if a.ndim != 2 or b.ndim != 2:
        raise NotImplementedError('dot of anything but two matrices')
    return torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)
