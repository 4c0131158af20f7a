"""Moving averages of everything a network consists of, in PyTorch."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..averages import MovingAverages


class TorchAverages(MovingAverages):
    """`MovingAverages` of the tensors of a network.

    Parameters
    ----------
    values : sequence of mapping of str to Tensor
        For each device everything that its network consists of, by key in a parameter file. The first one's values are
        the first averages.
    decay : float
    """

    def __init__(self, values: Sequence[Mapping[str, torch.Tensor]], decay: float):
        self.values = values
        super().__init__(decay)

    @torch.no_grad()
    def update(self):
        """Move every average towards the value of now."""
        # By the difference: decay and 1 - decay as float32 do not add up to 1.
        torch._foreach_lerp_(list(self._averages.values()), [self.values[0][key] for key in self._averages],
                             1 - self.decay)

    def _values(self):
        return self.values

    def _copied(self, values):
        return {key: value.detach().clone() for key, value in values.items()}

    def _put(self, device, values):
        put(self.values[device], values)

    @staticmethod
    def _read(array):
        return array.cpu().numpy().copy()

    @staticmethod
    def _fill(array, values):
        array.copy_(torch.tensor(values))


@torch.no_grad()
def put(values: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> None:
    """Give tensors the values of others of the same keys, in place."""
    for key, other in others.items():
        values[key].copy_(other)
