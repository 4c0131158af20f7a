"""Networks that PyTorch compiles for training, and whether their gradients are those that it computes without that."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

#: How far the gradients of a compiled network may be from the others, as a share of their norm: in float32, and where
#: it computes in bfloat16. Single parameters may be further off, by a ReLU whose input rounds to the other side of 0.
TOLERANCE, OF_BFLOAT16 = 0.01, 0.1


def compiled(module: torch.nn.Module) -> torch.nn.Module:
    """Return a module in the form that its compiler makes of it at the first call.

    Its random draws are those that it has without. As for any compiled module, inputs of another shape than the first
    one's are compiled for once more.
    """
    return torch.compile(module, options={'fallback_random': True})


def differing(losses: tuple[float, float], gradients: tuple[Sequence[Mapping[str, torch.Tensor]], ...],
              tolerance: float) -> str:
    """Say how a compiled network differs from the same one that is not; empty where it does not.

    Parameters
    ----------
    losses : (float, float)
        Of the same batch, without and with compilation.
    gradients : pair of sequences of mapping of str to Tensor
        For each device, by the names of the parameters.
    tolerance : float
        Largest norm of the difference, as a share of the norm.
    """
    plain, ours = losses
    if not abs(ours - plain) <= tolerance * max(abs(plain), 1e-6):
        return f'the loss is {ours:g} instead of {plain:g}'
    for without, with_it in zip(*gradients):
        if without.keys() != with_it.keys():
            return 'other parameters have gradients'
        names = list(without)
        apart = _norm([with_it[name] - without[name] for name in names])
        share = apart / max(_norm([without[name] for name in names]), 1e-30)
        if not share <= tolerance:
            return f'the gradients are {100 * share:.2g} % off'
    return ''


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor.double())
                                                       for tensor in tensors])))
