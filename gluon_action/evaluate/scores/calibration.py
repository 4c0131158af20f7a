"""Whether probabilities mean what they say: of the predictions made with 80 %, 80 % should be right."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """How often predictions are right, by the probability that they were made with.

    Attributes
    ----------
    counts : int64 ndarray (B,)
        Predictions in each of B equal bins of 0..1.
    confidence, accuracy : float64 ndarray (B,)
        Mean probability of the predicted class, and share of right predictions; NaN in a bin without predictions.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017, arXiv:1706.04599), 0..1; NaN without predictions."""
        return self._mean(np.abs(self.confidence - self.accuracy))

    @property
    def excess(self) -> float:
        """Mean probability less the share of right predictions: above 0 the network is too sure of itself."""
        return self._mean(self.confidence - self.accuracy)

    def _mean(self, values: np.ndarray) -> float:
        total = self.counts.sum()
        return float((self.counts * np.nan_to_num(values)).sum() / total) if total else float('nan')


def calibrate(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> Calibration:
    """Sort predictions into bins by their probability.

    Parameters
    ----------
    confidence : float ndarray (N,)
        Probability of the predicted class, 0..1.
    right : bool ndarray (N,)
    bins : int
        Their number, B.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid='ignore'):
        mean, share = (np.bincount(place, values, bins) / counts for values in (confidence, right))
    return Calibration(counts, mean, share)
