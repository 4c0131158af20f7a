"""Batch normalisation by the statistics of a batch that several processes share."""
from __future__ import annotations

import torch
import torch.distributed as together
from torch.autograd.function import once_differentiable


def normalise_shared(x, gamma, beta, eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise the channels of (N, C, ...) by mean and biased variance over the rows of every process.

    Parameters
    ----------
    x : Tensor
    gamma, beta : Tensor or None
        (C,) each.
    eps : float

    Returns
    -------
    out : Tensor
        Of the shape and type of `x`. Its gradients are those of the sum of all processes' losses: of gamma and beta
        each process has its own share, to be added up as those of other parameters are.
    mean, variance : Tensor
        (C,) each, the same in every process, without gradients.

    Notes
    -----
    All processes have to call it in the same order, and so do their ways back. Variances are combined by the
    distances of the means (Chan et al. 1979), for squares that are added up lose the digits of small variances.
    """
    return _Shared.apply(x, gamma, beta, eps)


class _Shared(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        axes, shape = _axes(x), _like_channels(x)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        variance, mean = torch.var_mean(wide, axes, correction=0)
        count, mean, variance = _combined(wide.numel() // wide.shape[1], mean, variance)
        factor = torch.rsqrt(variance + eps)
        normal = (wide - mean.view(shape)) * factor.view(shape)
        ctx.save_for_backward(normal, factor, gamma)
        ctx.count, ctx.has_beta = count, beta is not None
        ctx.mark_non_differentiable(mean, variance)
        out = normal if gamma is None else normal * gamma.view(shape)
        return (out if beta is None else out + beta.view(shape)).to(x.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, given, *_):
        normal, factor, gamma = ctx.saved_tensors
        axes, shape = _axes(normal), _like_channels(normal)
        wide = given.to(normal.dtype)
        own = torch.stack([wide.sum(axes), (wide * normal).sum(axes)])
        every = own.clone()
        together.all_reduce(every)
        of_ones, of_normal = (every / ctx.count).unbind()
        scale = factor if gamma is None else factor * gamma
        of_x = scale.view(shape) * (wide - of_ones.view(shape) - normal * of_normal.view(shape))
        return of_x.to(given.dtype), None if gamma is None else own[1], own[0] if ctx.has_beta else None, None


def _combined(count: int, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return count, mean and biased variance over all processes, given those of this one."""
    own = torch.cat([mean, variance, mean.new_tensor([count])])
    every = [torch.empty_like(own) for _ in range(together.get_world_size())]
    together.all_gather(every, own)
    every = torch.stack(every)
    counts, channels = every[:, -1:], len(mean)
    means, variances = every[:, :channels], every[:, channels:-1]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return total, mean, (counts * (variances + (means - mean).square())).sum(0) / total


def _axes(x: torch.Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _like_channels(x: torch.Tensor) -> list[int]:
    return [1, -1, *[1] * (x.ndim - 2)]
