"""Moving averages of everything a network consists of, in PyTorch: what is evaluated in place of the last values."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ...errors import CheckpointError, UsageError


class MovingAverages:
    """Exponential moving averages of parameters and of running statistics, as on the first device.

    Parameters
    ----------
    values : sequence of mapping of str to Tensor
        For each device everything that its network consists of, by key in a parameter file. The first one's values are
        the first averages.
    decay : float
        Share of an average that an update keeps, in 0..1: ``average = decay * average + (1 - decay) * value``.

    Attributes
    ----------
    aside : list of dict
        For each device the values that are trained, while the networks hold the averages; else empty.

    Raises
    ------
    UsageError
        For a decay outside 0..1.
    """

    def __init__(self, values: Sequence[Mapping[str, torch.Tensor]], decay: float):
        if not 0 <= decay < 1:
            raise UsageError(f'the share that moving averages keep must be in 0..1, got {decay}')
        self.values, self.decay = values, decay
        self.aside: list[dict[str, torch.Tensor]] = []
        self._averages = {key: value.detach().clone() for key, value in values[0].items()}

    @torch.no_grad()
    def reset(self) -> None:
        """Begin anew: the averages are the values of now."""
        put(self._averages, self.values[0])

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards the value of now. Does not wait for the device."""
        # By the difference: decay and 1 - decay as float32 do not add up to 1.
        torch._foreach_lerp_(list(self._averages.values()), [self.values[0][key] for key in self._averages],
                             1 - self.decay)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the networks hold the averages within the block, on every device."""
        self.aside = [{key: value.detach().clone() for key, value in values.items()} for values in self.values]
        try:
            for values in self.values:
                put(values, self._averages)
            yield
        finally:
            for values, kept in zip(self.values, self.aside):
                put(values, kept)
            self.aside = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the averages by key."""
        return {key: average.cpu().numpy().copy() for key, average in self._averages.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `arrays` returned.

        Raises
        ------
        CheckpointError
            When they are of another network, or of a run that had none.
        """
        if {key: array.shape for key, array in arrays.items()} != {
                key: tuple(average.shape) for key, average in self._averages.items()}:
            raise CheckpointError('the checkpoint is of a run without moving averages, or of another network')
        put(self._averages, {key: torch.tensor(array) for key, array in arrays.items()})


@torch.no_grad()
def put(values: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> None:
    """Give tensors the values of others of the same keys, in place."""
    for key, other in others.items():
        values[key].copy_(other)
