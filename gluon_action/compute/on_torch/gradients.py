"""What is added to gradients, and what limits them, between the way back and the update."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


def add_l1(gradients: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], strengths: Sequence[float]) -> None:
    """Add the gradient of ``strength * sum(abs(w))`` to each, in place."""
    for gradient, weight, strength in zip(gradients, weights, strengths):
        if strength:
            gradient.add_(torch.sign(weight), alpha=strength)


def add_l2(gradients: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], factors: Sequence[float]) -> None:
    """Add ``factor * w``, the gradient of ``factor / 2 * sum(w ** 2)``, to each, in place."""
    for gradient, weight, factor in zip(gradients, weights, factors):
        if factor:
            gradient.add_(weight, alpha=factor)


def limit_each(gradients: Sequence[torch.Tensor], limit: float) -> None:
    """Scale each gradient whose norm is larger down to it, in place and without waiting for the device."""
    norms = _norms(gradients)
    factors = limit / norms.clamp_min(limit)
    torch._foreach_mul_(gradients, list(factors.unbind()))


def limit_norm(gradients: Sequence[torch.Tensor], limit: float) -> None:
    """Scale gradients whose norm over all is larger down to it, in place and without waiting for the device.

    Gradients that are not finite are left to the loss, which says so.
    """
    norm = torch.linalg.vector_norm(_norms(gradients))
    factor = torch.where(torch.isfinite(norm), limit / norm.clamp_min(limit), torch.ones_like(norm))
    torch._foreach_mul_(gradients, factor)


def added_up(parts: Sequence[Mapping[str, torch.nn.Parameter]], device: torch.device) -> dict[str, torch.Tensor]:
    """Return the sum of the gradients of several devices' parameters on one of them, in the order of the devices.

    The gradients of that device are added to in place. A parameter that has none anywhere is left out.
    """
    sums: dict[str, torch.Tensor] = {}
    for params in parts:
        for name, param in params.items():
            if param.grad is None:
                continue
            if name in sums:
                sums[name].add_(param.grad.to(device))
            else:
                sums[name] = param.grad if param.device == device else param.grad.to(device, copy=True)
    return sums


def _norms(arrays: Sequence[torch.Tensor]) -> torch.Tensor:
    # In float32 the squares of 60 million small numbers add up to 4 % less than they make.
    return torch.stack(torch._foreach_norm(arrays, dtype=torch.float64))
