"""Normalisations, and dropout: what differs between training and evaluation."""
from __future__ import annotations

import math

import torch
from torch.nn import functional

from .shared_statistics import normalise_shared
from .table import computes, only


@computes('BatchNorm')
def batch_norm(x, gamma, beta, mean, variance, *, eps=1e-3, momentum=0.9, fix_gamma=True, use_global_stats=False,
               axis=1, output_mean_var=False, training=False, shared=False):
    """Normalise the channels of (N, C, ...); in training the running mean and variance are changed in place.

    As MXNet does on a CPU, and other than PyTorch's own layer, it keeps the biased variance of the batch; `momentum` is
    the share that is kept of the old. With `output_mean_var` the result is three: also the mean that was subtracted,
    and what was multiplied by, both without gradients. In training `shared` takes the statistics over the batches of
    all processes of PyTorch's default group.
    """
    only('BatchNorm', 'axis', axis, 1)
    if fix_gamma:
        gamma = None
    if not training or use_global_stats:
        out = functional.batch_norm(x, mean, variance, gamma, beta, False, 0., eps)
        return (out, mean.clone(), torch.rsqrt(variance + eps)) if output_mean_var else out
    count = math.prod(x.shape) // x.shape[1]
    if shared:
        out, batch_mean, batch_variance = normalise_shared(x, gamma, beta, eps)
    elif count == 1:  # PyTorch refuses it: all that is left of one number is beta
        batch_mean, batch_variance = x.detach().flatten(), torch.zeros_like(variance)
        shape = (1, -1, *[1] * (x.ndim - 2))
        out = (x - x) + beta.view(shape) if gamma is None else (x - x) * gamma.view(shape) + beta.view(shape)
    else:
        # With arrays of its own: what PyTorch was given it must find unchanged on the way back.
        batch_mean, unbiased = torch.zeros_like(mean), torch.zeros_like(variance)
        out = functional.batch_norm(x, batch_mean, unbiased, gamma, beta, True, 1., eps)
        batch_variance = unbiased * ((count - 1) / count)
    with torch.no_grad():
        mean.lerp_(batch_mean.to(mean.dtype), 1 - momentum)
        variance.lerp_(batch_variance, 1 - momentum)
    return (out, batch_mean, torch.rsqrt(batch_variance + eps)) if output_mean_var else out


@computes('LayerNorm')
def layer_norm(x, gamma, beta, *, axis=-1, eps=1e-5):
    """Normalise one axis."""
    if axis % x.ndim == x.ndim - 1:
        return functional.layer_norm(x, x.shape[-1:], gamma, beta, eps)
    return functional.layer_norm(x.movedim(axis, -1), (x.shape[axis],), gamma, beta, eps).movedim(-1, axis)


@computes('Dropout')
def dropout(x, *, p=0.5, axes=(), mode='training', training=False):
    """Zero a random share `p`, and scale up the rest; along `axes` all share one fate."""
    only('Dropout', 'mode', mode, 'training', 'always')
    if p == 0 or not training and mode == 'training':
        return x
    if not axes:
        return functional.dropout(x, p, True)
    shape = [1 if place in axes else length for place, length in enumerate(x.shape)]
    return x * functional.dropout(x.new_ones(shape), p, True)
