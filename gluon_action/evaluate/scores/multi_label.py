"""Scores of samples with several labels, on probabilities: ROC areas, precision, recall, F1 and average precision.

Everything here works on numpy arrays and leaves MXNet alone.
"""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from .metrics import log_softmax, multi_label_scores

#: Log odds beyond this are one bin of `MultiLabelMeter`: probabilities closer to 0 or 1 than 2e-9.
_REACH = 20.
_BINS = 1000


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Metrics of multi-label probabilities, over the classes that count.

    Attributes
    ----------
    auc : float
        Area under the ROC curve of all (sample, class) pairs taken together; NaN where all are of one kind.
    auc_macro : float
        Mean of `auc_per_class` over the classes that have both kinds.
    auc_rounded : float
        The area when probabilities are rounded first, ``(1 + recall - false positive rate) / 2``: what TensorFlow
        programs report that give ``tf.metrics.auc`` hard decisions.
    precision, recall, f1 : float
        Of the decisions, over all pairs; 0 where nothing was decided for, or nothing was there.
    mean_average_precision : float
        See `gluon_action.evaluate.scores.metrics.multi_label_scores`; NaN from `MultiLabelMeter`, which has no
        order.
    auc_per_class, average_precision : float64 ndarray (K,)
        NaN where a class is left out or undefined.
    """

    auc: float
    auc_macro: float
    auc_rounded: float
    precision: float
    recall: float
    f1: float
    mean_average_precision: float
    auc_per_class: np.ndarray
    average_precision: np.ndarray

    def as_numbers(self) -> dict[str, float]:
        """Return the single numbers by name, with ``map`` for the mean average precision."""
        numbers = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[:-2]}
        return {'map' if name == 'mean_average_precision' else name: value for name, value in numbers.items()}


def multi_label_metrics(odds: np.ndarray, targets: np.ndarray, *, decisions: np.ndarray | None = None,
                        counted: np.ndarray | None = None) -> MultiLabelMetrics:
    """Score a whole set, exactly.

    Parameters
    ----------
    odds : float ndarray (N, K)
        Logarithms of the odds: logits of a sigmoid, or `softmax_odds`. A NaN ranks below everything.
    targets : ndarray (N, K)
        Above 0 where the sample carries the label.
    decisions : bool ndarray (N, K), optional
        Labels that are given; by default those of a probability above one half.
    counted : bool ndarray (K,), optional
        Classes that count; all by default.

    Raises
    ------
    UsageError
        When shapes differ, or no class counts.
    """
    odds, targets, decisions, counted = _checked(odds, targets, decisions, counted)
    odds = np.where(np.isnan(odds), -np.inf, odds)
    per_class, precisions = (np.full(len(counted), np.nan) for _ in range(2))
    for k in np.flatnonzero(counted):
        per_class[k] = roc_auc(odds[:, k], targets[:, k])
    ranked = multi_label_scores(odds[:, counted], targets[:, counted], top_k=())
    precisions[counted] = ranked.average_precision
    return _metrics(_counts(targets, decisions), counted, roc_auc(odds[:, counted], targets[:, counted]), per_class,
                    ranked.mean_average_precision, precisions)


def roc_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting half.

    Parameters
    ----------
    scores, targets : ndarray of one shape
        Every entry is one case; positive where the target is above 0.

    Returns
    -------
    float
        0..1; NaN without positives or without negatives.
    """
    positive = np.asarray(targets).ravel() > 0
    scores = np.asarray(scores, np.float64).ravel()
    above, below = scores[positive], np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float('nan')
    # Twice the number of negatives below each positive, as whole numbers: the sum is exact.
    twice = np.searchsorted(below, above, 'left') + np.searchsorted(below, above, 'right')
    return float(int(twice.sum()) / (2 * len(above) * len(below)))


def sigmoid(odds: np.ndarray) -> np.ndarray:
    """Probabilities from logits, in double precision and without overflow."""
    return np.exp(-np.logaddexp(0., -np.asarray(odds, np.float64)))


def softmax_odds(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the odds of each class under a softmax over the last axis: its `sigmoid` is the softmax."""
    log_p = log_softmax(logits)
    best = log_p.argmax(axis=-1)[..., None]
    # 1 - p loses all digits for the best class, so sum the other probabilities instead.
    others = np.where(np.arange(log_p.shape[-1]) == best, -np.inf, log_p)
    with np.errstate(divide='ignore'):
        rest = np.log(-np.expm1(log_p))
    np.put_along_axis(rest, best, np.logaddexp.reduce(others, axis=-1, keepdims=True), axis=-1)
    return log_p - rest


def best_class(logits: np.ndarray) -> np.ndarray:
    """Decisions where a sample has one label: True at the best class of each row (N, K)."""
    logits = np.asarray(logits)
    best = np.where(np.isnan(logits), -np.inf, logits).argmax(axis=1)
    return np.arange(logits.shape[1]) == best[:, None]


class MultiLabelMeter:
    """The same scores of a stream, in bounded memory: all but average precision, which needs the order of all samples.

    Every field is a count: `merge` of the meters of two halves is the meter of the whole. Areas come from histograms of
    the log odds, 0.04 wide; two cases within one bin count as a tie, so an area is off by at most half the share of
    the pairs that are.

    Parameters
    ----------
    num_classes : int
        K.
    counted : bool ndarray (K,), optional
        Classes that count; all by default.

    Attributes
    ----------
    positives, negatives : int64 ndarray (K, bins)
        Cases by class and log odds.
    """

    def __init__(self, num_classes: int, counted: np.ndarray | None = None):
        self.counted = _mask(counted, num_classes)
        self.positives = np.zeros((num_classes, _BINS), np.int64)
        self.negatives = np.zeros((num_classes, _BINS), np.int64)
        self._counts = np.zeros((3, num_classes), np.int64)

    def update(self, odds: np.ndarray, targets: np.ndarray, decisions: np.ndarray | None = None) -> None:
        """Add samples; the arguments are those of `multi_label_metrics`."""
        odds, targets, decisions, _ = _checked(odds, targets, decisions, self.counted)
        within = np.clip(np.where(np.isnan(odds), -_REACH, odds), -_REACH, _REACH) / _REACH
        place = np.minimum((within + 1) * (_BINS / 2), _BINS - 1).astype(np.int64)
        classes = np.broadcast_to(np.arange(odds.shape[1]), odds.shape)
        np.add.at(self.positives, (classes[targets], place[targets]), 1)
        np.add.at(self.negatives, (classes[~targets], place[~targets]), 1)
        self._counts += _counts(targets, decisions)[:3]

    def merge(self, other: MultiLabelMeter) -> MultiLabelMeter:
        """Add the counts of another meter of the same classes; returns self."""
        if not np.array_equal(self.counted, other.counted):
            raise UsageError(f'meters of {len(self.counted)} and {len(other.counted)} classes, of which '
                             f'{self.counted.sum()} and {other.counted.sum()} count, cannot be added')
        self.positives += other.positives
        self.negatives += other.negatives
        self._counts += other._counts
        return self

    def metrics(self) -> MultiLabelMetrics:
        """Return the scores so far."""
        per_class = np.array([_binned_auc(*pair) if use else np.nan
                              for *pair, use in zip(self.positives, self.negatives, self.counted)])
        auc = _binned_auc(self.positives[self.counted].sum(axis=0), self.negatives[self.counted].sum(axis=0))
        counts = np.vstack([self._counts, self.negatives.sum(axis=1) - self._counts[1]])
        return _metrics(counts, self.counted, auc, per_class, float('nan'), np.full(len(self.counted), np.nan))


def _binned_auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    pairs = int(positives.sum()) * int(negatives.sum())
    twice = 2 * (np.cumsum(negatives) - negatives) + negatives
    return int((positives * twice).sum()) / (2 * pairs) if pairs else float('nan')


def _metrics(counts, counted, auc, per_class, mean_precision, precisions) -> MultiLabelMetrics:
    hit, false, missed, rest = (int(row[counted].sum()) for row in counts)
    precision, recall = hit / max(1, hit + false), hit / max(1, hit + missed)
    defined = per_class[~np.isnan(per_class)]
    both = hit + missed and false + rest
    return MultiLabelMetrics(
        auc=auc, auc_macro=float(defined.mean()) if defined.size else float('nan'),
        auc_rounded=(1 + recall - false / (false + rest)) / 2 if both else float('nan'),
        precision=precision, recall=recall, f1=2 * hit / max(1, 2 * hit + false + missed),
        mean_average_precision=mean_precision, auc_per_class=per_class, average_precision=precisions)


def _counts(targets: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """True positives, false positives, false negatives and true negatives by class: int64 (4, K)."""
    return np.stack([(targets & decisions).sum(axis=0), (~targets & decisions).sum(axis=0),
                     (targets & ~decisions).sum(axis=0), (~targets & ~decisions).sum(axis=0)])


def _checked(odds, targets, decisions, counted) -> tuple[np.ndarray, ...]:
    odds, targets = np.asarray(odds, np.float64), np.asarray(targets) > 0
    decisions = odds > 0 if decisions is None else np.asarray(decisions, bool)
    if odds.ndim != 2 or not odds.shape == targets.shape == decisions.shape:
        raise UsageError(f'scores, labels and decisions are (samples, classes), got {odds.shape}, {targets.shape} and '
                         f'{decisions.shape}')
    return odds, targets, decisions, _mask(counted, odds.shape[1])


def _mask(counted, num_classes: int) -> np.ndarray:
    counted = np.ones(num_classes, bool) if counted is None else np.asarray(counted, bool)
    if counted.shape != (num_classes,) or not counted.any():
        raise UsageError(f'the classes that count are {num_classes} yes or no, at least one of them yes, got '
                         f'{counted.sum()} of shape {counted.shape}')
    return counted
