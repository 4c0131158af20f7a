"""Training on mixtures of two videos: weighted sums, and a part of one in the other; and classes that count more."""
from __future__ import annotations

from collections.abc import Sequence
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
            raise UsageError(f'{self.flag} must be above 0, got {self.alpha}')

    #: What the command line calls `alpha`.
    flag = '--mixup-alpha'

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
        label = dense(label, self.num_classes)
        if self.until_epoch is not None and epoch >= self.until_epoch:
            return data, label
        weight = float(rng.beta(self.alpha, self.alpha))
        partner = rng.permutation(len(label))
        samples = data.reshape((-1, rows_per_sample, *data.shape[1:]))
        mixed, weight = self._mix(samples, samples[partner], weight, rng)
        return mixed.reshape(data.shape), weight * label + (1 - weight) * label[partner]

    def _mix(self, samples: np.ndarray, others: np.ndarray, weight: float,
             rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Mix samples (N, rows, ..., H, W); return them with the weight that the first labels keep."""
        mixed = weight * samples
        mixed += (1 - weight) * others
        return mixed, weight


@dataclass(frozen=True)
class CutMix(MixUp):
    """Training on samples of which a rectangle is another's (Yun et al. 2019, arXiv:1905.04899); parameters of `MixUp`.

    The rectangle is the same in all frames and segments of a clip. Labels are mixed by the area that it has: at the rim
    it is cut off.
    """

    alpha: float = 1.
    flag = '--cutmix-alpha'

    def _mix(self, samples, others, weight, rng):
        height, width = samples.shape[-2:]
        tall, wide = (round(side * (1 - weight) ** 0.5) for side in (height, width))
        middle, centre = int(rng.integers(height)), int(rng.integers(width))
        top, bottom = (min(height, max(0, side)) for side in (middle - tall // 2, middle - tall // 2 + tall))
        left, right = (min(width, max(0, side)) for side in (centre - wide // 2, centre - wide // 2 + wide))
        mixed = samples.copy()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


@dataclass(frozen=True)
class Mixtures:
    """One of several mixtures for each batch, drawn with equal chances; and factors of the classes' labels.

    Parameters
    ----------
    num_classes : int
    mixtures : sequence of MixUp
    weights : ndarray (K,), optional
        What the label of each class counts in the loss, see `data.loading.epoch_order.class_weights`.
    """

    num_classes: int
    mixtures: Sequence[MixUp] = ()
    weights: np.ndarray | None = None

    def __call__(self, data, label, rng, *, epoch: int = 0, rows_per_sample: int = 1):
        """Mix a batch, see `MixUp`."""
        if self.mixtures:
            # A single one draws what it would draw alone.
            number = int(rng.integers(len(self.mixtures))) if len(self.mixtures) > 1 else 0
            data, label = self.mixtures[number](data, label, rng, epoch=epoch, rows_per_sample=rows_per_sample)
        label = dense(label, self.num_classes)
        return data, label if self.weights is None else label * self.weights


def dense(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels (N,) as weights (N, K); those are returned as they are."""
    return np.eye(num_classes, dtype=np.float32)[label.astype(np.int64)] if label.ndim == 1 else label
