"""Training on weighted pairs of samples."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError


@dataclass(frozen=True)
class MixUp:
    """Training on weighted pairs of samples and their labels (Zhang et al. 2018, arXiv:1710.09412).

    Parameters
    ----------
    num_classes : int
        K.
    alpha : float
        The weight of a batch is drawn from Beta(alpha, alpha); above 0.
    until_epoch : int, optional
        Epochs from this one on, counted from 0, are not mixed.
    """

    num_classes: int
    alpha: float = 0.2
    until_epoch: int | None = None

    def __post_init__(self):
        if not self.alpha > 0:
            raise UsageError(f'--mixup-alpha must be above 0, got {self.alpha}')

    def __call__(self, data: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, epoch: int = 0,
                 rows_per_sample: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Mix a batch with itself in another order.

        Parameters
        ----------
        data : (N * rows_per_sample, ...)
            The rows of a sample stay together, segment with segment.
        label : (N,) class numbers or (N, K) weights
        rng : numpy.random.Generator
        epoch : int
            Decides whether mixing is still on.
        rows_per_sample : int

        Returns
        -------
        data : as it came in
        label : (N, K)
            Also where nothing is mixed, so that the loss is the same operator throughout a run.
        """
        if label.ndim == 1:
            label = np.eye(self.num_classes, dtype=np.float32)[label.astype(np.int64)]
        if self.until_epoch is not None and epoch >= self.until_epoch:
            return data, label
        weight = float(rng.beta(self.alpha, self.alpha))
        partner = rng.permutation(len(label))
        samples = data.reshape((-1, rows_per_sample, *data.shape[1:]))
        mixed = weight * samples
        mixed += (1 - weight) * samples[partner]
        return mixed.reshape(data.shape), weight * label + (1 - weight) * label[partner]
