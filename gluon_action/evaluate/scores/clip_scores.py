"""What a validation of clips collects: the logits of all, and the scores that they give."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UsageError
from .metrics import multi_label_scores
from .multi_label import MultiLabelMeter, best_class, multi_label_metrics, sigmoid, softmax_odds


@dataclass(frozen=True)
class ClipScoring:
    """How clips are scored; called with the number of batches it makes what `Loop` collects a validation in.

    Attributes
    ----------
    num_classes : int
        K.
    multi_label : bool
        Whether labels are independent (sigmoid) or exclude each other (softmax).
    counted : bool ndarray (K,), optional
        Classes that count; all by default.
    """

    num_classes: int
    multi_label: bool = True
    counted: np.ndarray | None = None

    @property
    def best_metric(self) -> str:
        """The entry of the summary whose highest value is the best."""
        return 'map' if self.multi_label else 'top1'

    def __call__(self, batches: int) -> ClipScores:
        """Return what a validation of so many batches is collected in."""
        return ClipScores(self, batches)

    def meter(self) -> MultiLabelMeter:
        """Return a meter for a stream of batches; see `given` for what it is updated with."""
        return MultiLabelMeter(self.num_classes, self.counted)

    def given(self, logits: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log odds, targets and decisions, (N, K) each.

        Parameters
        ----------
        logits : (N, K)
        label : (N, K) of zeros and ones, or (N,) class numbers
        """
        if label.ndim == 1:
            label = np.arange(self.num_classes) == label[:, None]
        odds = np.asarray(logits, np.float64) if self.multi_label else softmax_odds(logits)
        return odds, label > 0, odds > 0 if self.multi_label else best_class(logits)

    def predicted(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and decisions, zeros and ones, for logits (N, K)."""
        odds, _, decisions = self.given(logits, np.zeros_like(logits))
        return sigmoid(odds), decisions.astype(np.uint8)


class ClipScores:
    """What a validation has found so far; see :class:`gluon_action.evaluate.scores.validation.Scores`.

    Attributes
    ----------
    parts : list of (ndarray, ndarray)
        Logits (N, K) and labels that were added.
    loss_sum : float
        Of all of them.
    """

    def __init__(self, scoring: ClipScoring, batches: int):
        self.scoring, self.batches = scoring, batches
        self.expected = self.count = 0
        self.loss_sum = 0.0
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, logits: np.ndarray, label: np.ndarray, loss_sum: float) -> None:
        """Add samples: logits (N, K); labels (N,), or (N, K) where a sample has several."""
        self.parts.append((logits, label))
        self.loss_sum += loss_sum
        self.count += len(logits)

    @property
    def logits(self) -> np.ndarray | None:
        """Logits (N, K) of all samples so far, in their order; None before the first."""
        return np.concatenate([logits for logits, _ in self.parts]) if self.parts else None

    @property
    def labels(self) -> np.ndarray | None:
        """Labels (N,) or (N, K) of the same."""
        return np.concatenate([label for _, label in self.parts]) if self.parts else None

    def summary(self) -> dict[str, float]:
        """Numbers of the validation by name.

        Raises
        ------
        UsageError
            When nothing was expected.
        """
        if not self.expected:
            raise UsageError('nothing to evaluate: there is no clip')
        numbers = {'loss': self.loss_sum / self.count if self.count else math.nan, 'count': self.count,
                   'expected': self.expected}
        if not self.count:
            return numbers
        logits, label = (np.concatenate(parts) for parts in zip(*self.parts))
        odds, targets, decisions = self.scoring.given(logits, label)
        numbers |= multi_label_metrics(odds, targets, decisions=decisions, counted=self.scoring.counted).as_numbers()
        if not self.scoring.multi_label:
            hits = multi_label_scores(logits, targets).hit_at
            numbers |= {f'top{k}': hits[k] * self.count / self.expected for k in hits}
        return numbers

    def per_class(self) -> list[dict[str, Any]]:
        """Return positives, area under the ROC curve and average precision of each class."""
        logits, label = (np.concatenate(parts) for parts in zip(*self.parts))
        odds, targets, decisions = self.scoring.given(logits, label)
        found = multi_label_metrics(odds, targets, decisions=decisions, counted=self.scoring.counted)
        return [{'positives': int(targets[:, k].sum()), 'auc': float(found.auc_per_class[k]),
                 'average_precision': float(found.average_precision[k])} for k in range(odds.shape[1])]
