"""Pooling, and sums, means and extremes along axes."""
from __future__ import annotations

import torch
from torch.nn import functional

from .table import computes, only

_LARGEST = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_LARGEST_OF_ALL = {1: functional.adaptive_max_pool1d, 2: functional.adaptive_max_pool2d,
                   3: functional.adaptive_max_pool3d}


@computes('Pooling')
def pooling(x, *, kernel=(), pool_type='max', global_pool=False, pooling_convention='valid', stride=None, pad=None,
            count_include_pad=True, layout=None):
    """Take the maximum or the mean of windows, or of everything."""
    only('Pooling', 'pool_type', pool_type, 'max', 'avg')
    only('Pooling', 'layout', layout, None, 'NCW', 'NCHW', 'NCDHW')
    only('Pooling', 'pooling_convention', pooling_convention, 'valid', 'full')
    axes = x.ndim - 2
    if global_pool:
        return x.mean(tuple(range(2, x.ndim)), keepdim=True) if pool_type == 'avg' else _LARGEST_OF_ALL[axes](x, 1)
    stride, pad, full = stride or (1,) * axes, pad or (0,) * axes, pooling_convention == 'full'
    if full and any(_begins_behind(*axis) for axis in zip(x.shape[2:], kernel, stride, pad)):
        raise NotImplementedError('Pooling with windows that begin behind the input, which PyTorch leaves out')
    if pool_type == 'max':
        if axes > 1 and x.device.type == 'cpu' and not torch.compiler.is_compiling():
            return _LargestOnCPU.apply(x, kernel, stride, pad, full)
        return _LARGEST[axes](x, kernel, stride, pad, ceil_mode=full)
    counts_all = count_include_pad in (None, True)
    if axes == 3 and not full and any(length < window for length, window in zip(x.shape[2:], kernel)):
        # PyTorch compares windows with what is not padded yet, in three axes alone.
        around = [width for one in reversed(pad) for width in (one, one)]
        means = _MEAN[3](functional.pad(x, around), kernel, stride)
        return means if counts_all else means / _MEAN[3](functional.pad(torch.ones_like(x), around), kernel, stride)
    return _MEAN[axes](x, kernel, stride, pad, full, counts_all)


class _LargestOnCPU(torch.autograd.Function):
    """The maximum of windows, number by number, in the layouts that PyTorch's code for CPUs is quicker in.

    That is channels last on the way there, which takes a fifth of the time or less, and channels first on the way back.
    Frames whose channels lie last stay so.
    """

    @staticmethod
    def forward(ctx, x, kernel, stride, pad, full):
        layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        largest, places = _LARGEST[x.ndim - 2](x.contiguous(memory_format=layout), kernel, stride, pad, ceil_mode=full,
                                               return_indices=True)
        ctx.save_for_backward(x, places.contiguous())
        ctx.settings = kernel, stride, pad, (1,) * len(kernel), full
        return largest if x.ndim == 4 and x.is_contiguous(memory_format=layout) else largest.contiguous()

    @staticmethod
    def backward(ctx, gradient):
        x, places = ctx.saved_tensors
        x, gradient = x.contiguous(), gradient.contiguous()
        backward = torch.ops.aten.max_pool2d_with_indices_backward if x.ndim == 4 else \
            torch.ops.aten.max_pool3d_with_indices_backward
        return backward(gradient, x, *ctx.settings, places), None, None, None, None


def _begins_behind(length: int, window: int, stride: int, pad: int) -> bool:
    """Whether the last window of an axis, where their number is rounded up, has nothing but padding."""
    return -(-(length + 2 * pad - window) // stride) * stride >= length + pad


def _axes(x, axis, exclude: bool) -> tuple[int, ...]:
    """Return the axes that are meant, all of them where none is named."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis or ())
    axes = {place % x.ndim for place in axes}
    if exclude and axes:
        return tuple(place for place in range(x.ndim) if place not in axes)
    return tuple(sorted(axes)) or tuple(range(x.ndim))


def _with_an_axis(result):
    """Return an array of one axis where none is left: MXNet has no arrays without axes."""
    return result.reshape(1) if result.ndim == 0 else result


@computes('sum')
def total(x, *, axis=None, keepdims=False, exclude=False):
    """Add up."""
    return _with_an_axis(x.sum(_axes(x, axis, exclude), keepdim=keepdims))


@computes('mean')
def mean(x, *, axis=None, keepdims=False, exclude=False):
    """Take the mean."""
    return _with_an_axis(x.mean(_axes(x, axis, exclude), keepdim=keepdims))


@computes('max')
def largest(x, *, axis=None, keepdims=False, exclude=False):
    """Take the largest number. Each of several that are the largest gets the whole gradient, as in MXNet."""
    return _extreme(x, x.detach().amax(_axes(x, axis, exclude), keepdim=True), axis, keepdims, exclude)


@computes('min')
def smallest(x, *, axis=None, keepdims=False, exclude=False):
    """Take the smallest number; gradients as of the largest."""
    return _extreme(x, x.detach().amin(_axes(x, axis, exclude), keepdim=True), axis, keepdims, exclude)


def _extreme(x, extreme, axis, keepdims: bool, exclude: bool):
    axes = _axes(x, axis, exclude)
    value = extreme if keepdims else extreme.squeeze(axes)
    if torch.is_grad_enabled() and x.requires_grad:
        # Zero, with the gradient of the sum of all that are equal to it.
        value = value + torch.where(x.detach() == extreme, x - x.detach(), 0).sum(axes, keepdim=keepdims)
    return _with_an_axis(value)


@computes('prod')
def product_of(x, *, axis=None, keepdims=False, exclude=False):
    """Multiply."""
    result = x
    for place in reversed(_axes(x, axis, exclude)):
        result = result.prod(place, keepdim=keepdims)
    return _with_an_axis(result)


@computes('argmax')
def argmax(x, *, axis=None, keepdims=False):
    """Say where the largest number is, as a number of the array's own type."""
    return torch.argmax(x, axis, keepdim=keepdims).to(x.dtype)
