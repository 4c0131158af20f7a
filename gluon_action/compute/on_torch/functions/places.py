"""Places in arrays: numbering, picking and ordering; and arrays filled with a number."""
from __future__ import annotations

import torch

from .table import computes, enter_plain, only

enter_plain({'zeros_like': torch.zeros_like, 'ones_like': torch.ones_like})


@computes('_contrib_arange_like')
def arange_like(x, *, axis=None, start=0, step=1, repeat=1, ctx=None):
    """Number the places along an axis."""
    if axis is None:
        raise NotImplementedError('_contrib_arange_like over all axes')
    for name, value, plain in (('start', start, 0), ('step', step, 1), ('repeat', repeat, 1)):
        only('_contrib_arange_like', name, value, None, plain)
    return torch.arange(x.shape[axis], dtype=x.dtype, device=x.device)


@computes('gather_nd')
def gather_nd(x, places):
    """Take what is at places (M, ...), whose first axis counts the axes of the array."""
    return x[tuple(places.long())]


@computes('pick')
def pick(x, places, *, axis=-1, keepdims=False, mode='clip'):
    """Take one number of each row; a place outside is taken for the nearest."""
    only('pick', 'mode', mode, 'clip')
    index = places.long().clamp(0, x.shape[axis] - 1)
    if index.ndim < x.ndim:
        index = index.unsqueeze(axis)
    picked = x.gather(axis, index)
    return picked if keepdims else picked.squeeze(axis)


@computes('argsort')
def argsort(x, *, axis=-1, is_ascend=True, dtype='float32'):
    """Say where the numbers of an axis are in order."""
    only('argsort', 'dtype', dtype, 'float32')
    return torch.sort(x, dim=axis, descending=not is_ascend, stable=True).indices.to(x.dtype)


@computes('_zeros')
def zeros(*, shape, dtype='float32', ctx=None, like):
    """Make an array of zeros on the device and of the type of another."""
    return like.new_zeros(shape)


@computes('_ones')
def ones(*, shape, dtype='float32', ctx=None, like):
    """Make an array of ones on the device and of the type of another."""
    return like.new_ones(shape)
