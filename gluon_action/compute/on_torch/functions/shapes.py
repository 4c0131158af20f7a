"""The same numbers in other shapes, and parts of arrays."""
from __future__ import annotations

import torch
from torch.nn import functional

from .table import computes, only


@computes('Reshape')
def reshape(x, *, shape, reverse=False):
    """Give another shape, in which 0 copies a length and -1 takes what is left."""
    only('Reshape', 'reverse', reverse, False)
    if min(shape) < -1:
        raise NotImplementedError(f'Reshape to {shape}: of the codes there are 0 and -1 only')
    return x.reshape([length or x.shape[place] for place, length in enumerate(shape)])


@computes('reshape_like')
def reshape_like(x, like, *, lhs_begin=None, lhs_end=None, rhs_begin=None, rhs_end=None):
    """Give the axes `lhs_begin` to `lhs_end` the lengths of the other array's axes `rhs_begin` to `rhs_end`."""
    begin, end = (lhs_begin or 0) % (x.ndim + 1), x.ndim if lhs_end is None else lhs_end
    if lhs_begin is not None and lhs_begin < 0:
        begin = lhs_begin + x.ndim
    end = end + x.ndim if end < 0 else end
    return x.reshape(*x.shape[:begin], *like.shape[rhs_begin:rhs_end], *x.shape[end:])


@computes('transpose')
def transpose(x, *, axes=None):
    """Put the axes into another order, by default the reverse."""
    return x.permute(axes or tuple(range(x.ndim))[::-1])


@computes('expand_dims')
def expand_dims(x, *, axis):
    """Insert an axis of length 1."""
    return x.unsqueeze(axis)


@computes('squeeze')
def squeeze(x, *, axis=None):
    """Leave out axes of length 1."""
    return x.squeeze() if axis is None else x.squeeze(axis)


@computes('Flatten')
def flatten(x):
    """Make one axis of all but the first."""
    return x.flatten(1)


@computes('Concat')
def concat(*arrays, dim=1):
    """Put arrays behind each other."""
    return torch.cat(arrays, dim)


@computes('stack')
def stack(*arrays, axis=0):
    """Put arrays along an axis of their own."""
    return torch.stack(arrays, axis)


@computes('SliceChannel')
def split(x, *, num_outputs, axis=1, squeeze_axis=False):
    """Cut into equal parts; one alone is no tuple."""
    parts = x.unbind(axis) if squeeze_axis else x.chunk(num_outputs, axis)
    return parts if num_outputs > 1 else parts[0]


@computes('slice')
def slice_axes(x, *, begin, end, step=None):
    """Take a part of the first axes."""
    steps = step or (None,) * len(begin)
    if min(every or 1 for every in steps) < 0:
        raise NotImplementedError(f'slice with step {step}')
    return x[tuple(map(slice, begin, end, steps))]


@computes('slice_axis')
def slice_axis(x, *, axis, begin, end):
    """Take a part of an axis."""
    return x[(slice(None),) * (axis % x.ndim) + (slice(begin, end),)]


@computes('reverse')
def reverse(x, *, axis):
    """Turn axes round."""
    return x.flip(axis)


@computes('broadcast_axis')
def broadcast_axis(x, *, axis=(), size=()):
    """Repeat axes of length 1."""
    axes, sizes = ((value,) if isinstance(value, int) else value for value in (axis, size))
    lengths = [-1] * x.ndim
    for place, length in zip(axes, sizes):
        lengths[place] = length
    return x.expand(lengths)


@computes('broadcast_to')
def broadcast_to(x, *, shape):
    """Repeat axes of length 1 up to a shape, in which 0 keeps a length."""
    return x.expand([length or -1 for length in shape])


@computes('Pad')
def pad(x, *, mode='constant', pad_width, constant_value=0.):
    """Put numbers around an array, given for each axis as before and after."""
    only('Pad', 'mode', mode, 'constant', 'edge', 'reflect')
    pairs = list(zip(pad_width[::2], pad_width[1::2]))[::-1]  # PyTorch begins with the last axis
    if mode == 'constant':
        return functional.pad(x, [width for pair in pairs for width in pair], value=constant_value)
    widths = [width for pair in pairs[:-2] for width in pair]
    return functional.pad(x, widths, 'replicate' if mode == 'edge' else mode)


@computes('_copy')
def copy(x):
    """Give back what comes in."""
    return x


@computes('BlockGrad')
def block_grad(x):
    """Give back what comes in, without its gradient."""
    return x.detach()


@computes('Cast')
def cast(x, *, dtype):
    """Bring to another type of numbers."""
    return x.to(getattr(torch, dtype))
