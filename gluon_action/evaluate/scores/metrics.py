"""Scores as sums and counts, so that batches, devices and machines add up exactly.

Everything here works on numpy arrays and leaves MXNet alone.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError


class ClassificationMeter:
    """Top-k, per-class accuracy, confusion matrix and loss of single-label classification.

    Every field is a sum or a count: `merge` of the meters of two halves is the meter of the whole, whatever the
    batches were. A video that could not be scored is counted by `add_failures`: it is wrong for every accuracy, but has
    no predicted class and no loss.

    Parameters
    ----------
    num_classes : int
        K.
    top_k : sequence of int
        The k of top-k accuracy; a k above K is K.

    Attributes
    ----------
    expected : int64 ndarray (K,)
        Videos that should have been scored, by true class.
    hits : dict of int to int64 ndarray (K,)
        For each k: videos whose true class is among the k best, by true class.
    confusion : int64 ndarray (K, K)
        Scored videos by true class (row) and predicted class (column).
    loss_sum, loss_count : float, int
        Sum of the losses given to `update`, and how many samples they are of.
    """

    def __init__(self, num_classes: int, top_k: Sequence[int] = (1, 5)):
        if num_classes < 1:
            raise UsageError(f'a meter needs 1 class or more, got {num_classes}')
        self.num_classes = int(num_classes)
        self.expected = np.zeros(num_classes, np.int64)
        self.hits = {int(k): np.zeros(num_classes, np.int64) for k in top_k}
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.loss_sum = 0.
        self.loss_count = 0

    def update(self, scores: np.ndarray, labels: np.ndarray, loss_sum: float | None = None) -> None:
        """Add samples.

        Parameters
        ----------
        scores : float ndarray (N, K)
            Higher is better; logits and probabilities count alike. A NaN is no score: it makes its class the worst.
        labels : int ndarray (N,)
            True classes, 0..K-1.
        loss_sum : float, optional
            Sum of the samples' losses.
        """
        scores = np.asarray(scores)
        labels = check_labels(labels, self.num_classes)
        if scores.shape != (len(labels), self.num_classes):
            raise UsageError(f'scores have shape {scores.shape}, needed is (samples, classes) = '
                             f'({len(labels)}, {self.num_classes})')
        ranks = true_class_ranks(scores, labels)
        np.add.at(self.expected, labels, 1)
        for k, hits in self.hits.items():
            np.add.at(hits, labels[ranks < min(k, self.num_classes)], 1)
        np.add.at(self.confusion, (labels, predicted_classes(scores)), 1)
        if loss_sum is not None:
            self.loss_sum += float(loss_sum)
            self.loss_count += len(labels)

    def add_failures(self, labels: np.ndarray) -> None:
        """Count samples of these true classes that could not be scored."""
        np.add.at(self.expected, check_labels(labels, self.num_classes), 1)

    def merge(self, other: ClassificationMeter) -> ClassificationMeter:
        """Add the counts of another meter of the same classes and k; returns self."""
        if other.num_classes != self.num_classes or set(other.hits) != set(self.hits):
            raise UsageError(f'meters of {self.num_classes} and {other.num_classes} classes, top-{sorted(self.hits)} '
                             f'and top-{sorted(other.hits)}, cannot be added')
        self.expected += other.expected
        self.confusion += other.confusion
        for k, hits in self.hits.items():
            hits += other.hits[k]
        self.loss_sum += other.loss_sum
        self.loss_count += other.loss_count
        return self

    @property
    def n_expected(self) -> int:
        """Samples that should have been scored."""
        return int(self.expected.sum())

    @property
    def n_scored(self) -> int:
        """Samples that were scored."""
        return int(self.confusion.sum())

    def top(self, k: int) -> float:
        """Top-k accuracy over all expected samples, 0..1; NaN without samples."""
        return float(self.hits[k].sum() / self.n_expected) if self.n_expected else float('nan')

    def per_class(self, k: int = 1) -> np.ndarray:
        """Top-k accuracy of each class (K,); NaN where a class has no sample."""
        with np.errstate(invalid='ignore', divide='ignore'):
            return self.hits[k] / self.expected

    def mean_class(self, k: int = 1) -> float:
        """Mean of `per_class` over the classes that have samples."""
        present = self.expected > 0
        return float(self.per_class(k)[present].mean()) if present.any() else float('nan')

    @property
    def loss(self) -> float:
        """Mean loss of the samples that have one; NaN without any."""
        return self.loss_sum / self.loss_count if self.loss_count else float('nan')

    def top_confusions(self, limit: int = 20) -> list[Confusion]:
        """Pairs of classes that are confused most often, most frequent first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        true, predicted = np.nonzero(wrong)
        counts = wrong[true, predicted]
        # Ties go by class number, so that the list is the same on every machine.
        order = np.lexsort((predicted, true, -counts))[:limit]
        return [Confusion(int(true[i]), int(predicted[i]), int(counts[i]),
                          float(counts[i] / self.expected[true[i]])) for i in order]


@dataclass(frozen=True)
class Confusion:
    """Videos of class `true` predicted as class `predicted`: their `count` and `share` of the class."""

    true: int
    predicted: int
    count: int
    share: float


def tells_top5(num_classes: int) -> bool:
    """Whether the best five of so many classes say something: of five or fewer, every video has its own among them."""
    return num_classes > 5


def true_class_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of each sample's true class among its scores, 0 for the best.

    Of equal scores the lower class number comes first. A NaN ranks below everything, a true class scored NaN is last.

    Parameters
    ----------
    scores : float ndarray (N, K)
    labels : int ndarray (N,)

    Returns
    -------
    int ndarray (N,)
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1]) < np.asarray(labels)[:, None]
    ranks = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return np.where(np.isnan(own[:, 0]), scores.shape[1], ranks)


def predicted_classes(scores: np.ndarray) -> np.ndarray:
    """Best class of each row (N,); the lower number of equals, NaN never unless a row has nothing else."""
    return np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)


def check_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels (N,) as integers.

    Raises
    ------
    UsageError
        When a label is not an integer in 0..num_classes-1.
    """
    labels = np.asarray(labels)
    whole = labels.astype(np.int64)
    wrong = (whole != labels) | (whole < 0) | (whole >= num_classes)
    if labels.ndim != 1 or wrong.any():
        got = labels[wrong][:3].tolist() if labels.ndim == 1 else f'shape {labels.shape}'
        raise UsageError(f'labels must be integers in 0..{num_classes - 1}, one a sample, got {got}; does the list '
                         'start at 1? pass --label-base 1')
    return whole


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis, in double precision."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(scores: np.ndarray, labels: np.ndarray, probabilities: bool = False) -> np.ndarray:
    """Negative log likelihood of the true classes (N,).

    Parameters
    ----------
    scores : float ndarray (N, K)
        Logits, or with `probabilities` what a softmax gave.
    labels : int ndarray (N,)
    """
    if probabilities:
        # A float32 softmax can underflow to 0, whose logarithm would make the mean infinite.
        log_p = np.log(np.maximum(np.asarray(scores, np.float64), np.finfo(np.float32).tiny))
    else:
        log_p = log_softmax(scores)
    return -log_p[np.arange(len(labels)), labels]


@dataclass(frozen=True)
class MultiLabelScores:
    """Scores of samples that carry several labels each: mean average precision and hit@k, all in 0..1."""

    mean_average_precision: float
    average_precision: np.ndarray
    hit_at: dict[int, float]


def multi_label_scores(scores: np.ndarray, targets: np.ndarray, top_k: Sequence[int] = (1, 5)) -> MultiLabelScores:
    """Score samples that carry several labels.

    Parameters
    ----------
    scores : float ndarray (N, K)
        A row of NaN is a sample that could not be scored: it is retrieved last by every class and never hit.
    targets : int ndarray (N, K)
        1 where the sample carries the label.
    top_k : sequence of int
        The k of hit@k: one of the k best classes is among the sample's labels.

    Notes
    -----
    Average precision is the mean over a class's positives of the precision at their place in the ranking; classes
    without positives are left out of the mean.
    """
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets) > 0
    missing = np.isnan(scores).all(axis=1)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    precision = np.full(targets.shape[1], np.nan)
    for k in range(targets.shape[1]):
        positives = targets[:, k].sum()
        if positives:
            found = targets[np.argsort(-scores[:, k], kind='stable'), k] & ~np.sort(missing)
            precision[k] = (np.cumsum(found) / np.arange(1, len(found) + 1))[found].sum() / positives
    best = np.argsort(-scores, axis=1, kind='stable')
    hit = np.take_along_axis(targets, best, axis=1) & ~missing[:, None]
    present = precision[~np.isnan(precision)]
    return MultiLabelScores(float(present.mean()) if present.size else float('nan'), precision,
                            {k: float(hit[:, :k].any(axis=1).mean()) for k in top_k})
