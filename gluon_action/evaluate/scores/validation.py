"""Scores of a validation as ranks and sums, so that batches of any size add up exactly."""
from __future__ import annotations

import math

import numpy as np

from ...errors import UsageError
from .metrics import multi_label_scores, true_class_ranks


class Scores:
    """What a validation has found so far.

    Parameters
    ----------
    batches : int
        How many there will be.

    Attributes
    ----------
    expected, count : int
        Samples that should have been scored, and that were.
    """

    #: The entry of the summary whose highest value is the best.
    best_metric = 'top1'

    def __init__(self, batches: int):
        self.batches = batches
        self.expected = self.count = 0
        self._loss_sum = 0.0
        self._right = {1: 0, 5: 0}
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, logits: np.ndarray, label: np.ndarray, loss_sum: float) -> None:
        """Add samples: logits (N, K); labels (N,), or (N, K) where a sample has several."""
        ranks = label_ranks(logits, label)
        self._loss_sum += loss_sum
        self.count += len(ranks)
        for k in self._right:
            self._right[k] += int((ranks < k).sum())
        self._parts.append((logits, label))

    @property
    def logits(self) -> np.ndarray | None:
        """Scores (N, K) of all samples so far, in their order; None before the first."""
        return np.concatenate([logits for logits, _ in self._parts]) if self._parts else None

    def top(self, k: int) -> float:
        """Share of the expected samples whose label is among the `k` best classes (1 or 5), in 0..1."""
        return self._right[k] / max(1, self.expected)

    def summary(self) -> dict[str, float]:
        """See `Loop.validate`.

        Raises
        ------
        UsageError
            When nothing was expected.
        """
        if not self.expected:
            raise UsageError('nothing to validate: the validation list is empty')
        return {'top1': self.top(1), 'top5': self.top(5), 'loss': self._loss_sum / self.count if self.count
                else math.nan, 'count': self.count, 'expected': self.expected}


class LabelScores(Scores):
    """What a validation of samples with several labels has found: the mean average precision too, which is its score.

    Of a sample that could not be read the labels are not known, so it is not in the mean average precision; for
    ``top1`` and ``top5`` it counts as wrong.
    """

    best_metric = 'map'

    def summary(self) -> dict[str, float]:
        """Return ``map`` beside what `Scores` finds; NaN where there is no label."""
        numbers = super().summary()
        if self._parts:
            logits, label = (np.concatenate(parts) for parts in zip(*self._parts))
            numbers['map'] = multi_label_scores(logits, label, top_k=()).mean_average_precision
        return {'map': math.nan, **numbers}


def label_ranks(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """How many classes come before the label's, or before the best of several labels; K where nothing is hit."""
    if label.ndim == 1:
        return true_class_ranks(scores, label.astype(np.int64))
    best_first = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), axis=1, kind='stable')
    hit = np.take_along_axis(label > 0, best_first, axis=1) & ~np.isnan(scores).all(axis=1, keepdims=True)
    return np.where(hit.any(axis=1), hit.argmax(axis=1), scores.shape[1])
