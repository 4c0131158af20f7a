"""Scores of tagged videos as YouTube-8M counts them: GAP@20, MAP, Hit@1 and PERR, exact for batches of any sizes."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import UsageError

#: Tags of a video that count, its most probable ones.
TOP = 20

#: What the scores are shares of where videos are missing: the labels of these are not known.
UNREAD = 'one that could not be read counts as wrong in Hit@1 and PERR, and not at all in GAP, MAP and loss'

# Marks of an entry: it is a label if tags of equal probability are taken by class, or the wrong ones first, or the
# right ones first.
_HIT, _LOWEST, _HIGHEST = 1, 2, 4


@dataclass(frozen=True)
class VideoTagScoring:
    """How tagged videos are scored; called with the number of batches it makes what `Loop` collects a validation in.

    Attributes
    ----------
    num_classes : int
        K.
    top : int
        Tags of a video that count.
    """

    num_classes: int
    top: int = TOP
    #: The entry of the summary whose highest value is the best.
    best_metric = 'gap'

    def __call__(self, batches: int = 0) -> VideoTagScores:
        """Return what a validation of so many batches is collected in."""
        return VideoTagScores(self, batches)

    @property
    def class_kind(self) -> np.dtype:
        """What numbers of classes are kept as."""
        return np.dtype(np.uint16 if self.num_classes <= 2 ** 16 else np.int32)


class VideoTagScores:
    """What a validation has found so far; see :class:`gluon_action.evaluate.scores.validation.Scores`.

    Kept are the best tags of each video, 140 bytes of them, and sums: a million videos take 140 MB.

    Attributes
    ----------
    expected, count : int
        Videos that should have been scored, and that were. Who adds videos without a `Loop` need not set the first.
    """

    def __init__(self, scoring: VideoTagScoring, batches: int = 0):
        self.scoring, self.batches = scoring, batches
        self.expected = self.count = 0
        self._loss_sum = 0.0
        self._hits = 0
        # Labels found among as many best tags as a video has labels, by that number: whole numbers add up exactly.
        self._found = np.zeros(scoring.num_classes + 1, np.int64)
        self._positives = np.zeros(scoring.num_classes, np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._crowds: list[Crowd] = []

    def add(self, probabilities: np.ndarray, label: np.ndarray, loss_sum: float = 0.0) -> None:
        """Add videos.

        Parameters
        ----------
        probabilities : float ndarray (N, K)
            A NaN ranks below everything.
        label : ndarray (N, K) or (N, M), M > K
            Above 0 where the video has the tag; what stands behind the K labels (a teacher's predictions) is not seen.
        loss_sum : float
            Sum of the videos' losses.

        Raises
        ------
        UsageError
            When shapes differ.
        """
        classes = self.scoring.num_classes
        scores, labels = np.asarray(probabilities), np.asarray(label)
        if scores.ndim != 2 or scores.shape[1] != classes or labels.ndim != 2 or len(labels) != len(scores) \
                or labels.shape[1] < classes:
            raise UsageError(f'probabilities and labels are (videos, {classes}), got {scores.shape} and {labels.shape}')
        if not len(scores):
            return
        scores = np.where(np.isnan(scores), -np.inf, scores)
        labels = labels[:, :classes] > 0
        best, values, crowded = _best(scores, self.scoring.top)
        marks, crowds = _marks(scores, labels, best, values, crowded)
        self._parts.append((values, best.astype(self.scoring.class_kind), marks))
        self._crowds += crowds
        self._hits += int(labels[np.arange(len(labels)), best[:, 0]].sum())
        np.add.at(self._found, labels.sum(axis=1), _found_at_equal_recall(scores, labels, best, values))
        self._positives += labels.sum(axis=0)
        self._loss_sum += loss_sum
        self.count += len(scores)

    def state(self) -> dict[str, np.ndarray]:
        """Return what was found so far, as arrays by name: what `add_state` of others takes.

        Returns
        -------
        dict
            ``values``, ``classes`` and ``marks`` (count, top) of the best tags; ``crowds`` (any, 3); ``found`` (K + 1,)
            and ``positives`` (K,); ``counts`` (3,): videos that were scored, that were expected, and hits; ``loss``
            (1,): the sum.
        """
        top = min(self.scoring.top, self.scoring.num_classes)
        parts = self._parts or [(np.empty((0, top), np.float32), np.empty((0, top), self.scoring.class_kind),
                                 np.empty((0, top), np.uint8))]
        values, classes, marks = (np.concatenate([part[n] for part in parts]) for n in range(3))
        return {'values': values, 'classes': classes, 'marks': marks,
                'crowds': np.array(self._crowds, np.float64).reshape(-1, 3), 'found': self._found.copy(),
                'positives': self._positives.copy(),
                'counts': np.array([self.count, self.expected, self._hits], np.int64),
                'loss': np.array([self._loss_sum])}

    def add_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Add what `state` of other videos returned, to the last bit as if they had been added here."""
        count, expected, hits = state['counts'].tolist()
        if count:
            self._parts.append((state['values'], state['classes'], state['marks']))
        self._crowds += [Crowd(*row) for row in state['crowds'].tolist()]
        self._found += state['found']
        self._positives += state['positives']
        self._hits += hits
        self._loss_sum += float(state['loss'][0])
        self.count += count
        self.expected += expected

    def summary(self) -> dict[str, float]:
        """Return the numbers of all videos by name.

        Returns
        -------
        dict
            ``gap``: global average precision, over the best tags of all videos together, as a part of all labels: the
            mean over all orders of tags that are equally probable, those that compete for a video's last place
            included. ``gap_low`` and ``gap_high``: the least and the most that an order of these gives. ``map``: mean
            over the classes with positives of the average precision among the best tags; ``map_2018``: over all
            classes, where one without positives counts 0, as the evaluation of 2018 has it. ``hit_at_1``: share of the
            videos whose best tag is a label. ``perr``: mean share of labels among as many best tags as a video has
            labels (0 for a video without). These four take the first classes where equally probable ones compete.
            ``loss``, ``count``, ``expected``. A video that was expected and not scored counts as wrong for ``hit_at_1``
            and ``perr``; its labels are not known, so the others are of the videos that were scored.

        Raises
        ------
        UsageError
            When nothing was expected.
        """
        expected = max(self.expected, self.count)
        if not expected:
            raise UsageError('nothing to evaluate: there is no video')
        equal_recall = math.fsum(self._found[1:] / np.arange(1, len(self._found)))
        return {'hit_at_1': self._hits / expected, 'perr': equal_recall / expected, **self._precisions(),
                'loss': self._loss_sum / self.count if self.count else math.nan, 'count': self.count,
                'expected': expected}

    def per_class(self) -> list[dict[str, Any]]:
        """Return of each class how many videos have it, and its average precision among the best tags."""
        precisions = self._class_precisions() if self.count else np.zeros(len(self._positives))
        return [{'positives': positives, 'average_precision': precision}
                for positives, precision in zip(self._positives.tolist(), precisions.tolist())]

    def _class_precisions(self) -> np.ndarray:
        """Average precision of each class (K,); 0 of one without positives."""
        values, classes, marks = (np.concatenate([part[n].ravel() for part in self._parts]) for n in range(3))
        by_class = np.argsort(classes, kind='stable')
        bounds = np.searchsorted(classes[by_class], np.arange(len(self._positives) + 1))
        return np.array([
            average_precision(values[by_class[begin:end]], marks[by_class[begin:end]] & _HIT > 0, positives)
            for begin, end, positives in zip(bounds, bounds[1:], self._positives.tolist())])

    def _precisions(self) -> dict[str, float]:
        if not self.count:
            return dict.fromkeys(('gap', 'gap_low', 'gap_high', 'map', 'map_2018'), 0.0)
        values, marks = (np.concatenate([part[n].ravel() for part in self._parts]) for n in (0, 2))
        found = {'gap': average_precision(values, marks & _HIT > 0, int(self._positives.sum()), self._crowds)}
        for name, mark, order in (('gap_low', _LOWEST, 1), ('gap_high', _HIGHEST, -1)):
            hits = marks & mark > 0
            found[name] = _ordered_precision(hits[np.lexsort((order * hits.astype(np.int8), -values))],
                                             int(self._positives.sum()))
        precisions, there = self._class_precisions(), self._positives > 0
        return found | {'map': float(precisions[there].mean()) if there.any() else 0.0,
                        'map_2018': float(precisions.mean())}


def top_tags(scores: np.ndarray, top: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Return the best classes of each row, best first; of equal ones the first class.

    Only these are sorted, which takes a fifth of the time of sorting all 3,862.

    Parameters
    ----------
    scores : float ndarray (N, K)
        Without NaN.
    top : int

    Returns
    -------
    classes : int64 ndarray (N, min(top, K))
    values : ndarray (N, min(top, K))
        Their scores.
    """
    return _best(scores, top)[:2]


def _best(scores: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `top_tags` returns, and the rows in which others are as good as the last one that was taken."""
    top = min(top, scores.shape[1])
    best = np.argpartition(scores, -top, axis=1)[:, -top:]
    last = np.take_along_axis(scores, best, axis=1).min(axis=1, keepdims=True)
    crowded = np.flatnonzero((scores >= last).sum(axis=1) > top)
    for row in crowded:  # of equal ones the partition takes any
        best[row] = np.argsort(-scores[row], kind='stable')[:top]
    best.sort(axis=1)
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind='stable')
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1), crowded


class Crowd(NamedTuple):
    """Tags of a video that are as probable as its last one that counts, more of them than places are left.

    Attributes
    ----------
    score : float
    more : float
        Hits that are expected of those that are drawn, less those of the ones that were taken.
    variance : float
        Of the number of hits: that of a draw without putting back.
    """

    score: float
    more: float
    variance: float

    @classmethod
    def drawn(cls, score: float, taken: int, hits: int, right: int, size: int) -> Crowd:
        """`taken` of `size` tags are drawn, `right` of which are hits; `hits` are those of the ones that were taken."""
        share = right / size
        return cls(score, taken * share - hits, taken * share * (1 - share) * (size - taken) / (size - 1))


def average_precision(scores: np.ndarray, hits: np.ndarray, positives: int, crowds: Sequence[Crowd] = ()) -> float:
    """Return the average precision of a list, the mean over all orders of entries with equal scores.

    Without equal scores it is ``sum over hits of (hits so far / rank) / positives``.

    Parameters
    ----------
    scores : float ndarray (n,)
    hits : bool ndarray (n,)
    positives : int
        All there are, also those that are not in the list; for none of them it is 0, as in the original.
    crowds : sequence of Crowd
        The mean is also over what could have been taken in the place of entries of the list.
    """
    if not positives or not len(scores):
        return 0.0
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], hits[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    sizes = np.diff(np.r_[starts, len(scores)])
    right = np.add.reduceat(hits.astype(np.float64), starts)
    variance = np.zeros_like(right)
    if crowds:
        level, more, spread = np.array(crowds, np.float64).T
        groups = np.searchsorted(-scores[starts], -level)
        np.add.at(right, groups, more)
        np.add.at(variance, groups, spread)
    before = np.cumsum(right) - right
    # Of n equal entries, p of them hits, behind R others with H hits, place j is a hit with probability p / n, and then
    # (j - 1) (p - 1) / (n - 1) of those before it are expected to be: the sum over j of both, over its rank R + j.
    # Where p is drawn, the mean is that with p and p (p - 1) expected; H is drawn apart from it, by other videos.
    inverse = np.add.reduceat(1 / np.arange(1, len(scores) + 1), starts)
    pairs = (right * (right - 1) + variance) / np.maximum(sizes - 1, 1)
    sums = (right * (before + 1) * inverse + pairs * (sizes - (starts + 1) * inverse)) / sizes
    return float(sums.sum() / positives)


def _ordered_precision(hits: np.ndarray, positives: int) -> float:
    if not positives:
        return 0.0
    ranks = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / positives)


def _marks(scores: np.ndarray, labels: np.ndarray, best: np.ndarray, values: np.ndarray,
           crowded: np.ndarray) -> tuple[np.ndarray, list[Crowd]]:
    """Return which of the best tags are labels, under each choice of those that are as good as the last: uint8."""
    hits = np.take_along_axis(labels, best, axis=1)
    marks, crowds = hits * np.uint8(_HIT | _LOWEST | _HIGHEST), []
    for row in crowded:
        level, taken = scores[row] == values[row, -1], np.flatnonzero(values[row] == values[row, -1])
        right = int((labels[row] & level).sum())
        wrong = int(level.sum()) - right
        place = np.arange(len(taken))
        marks[row, taken] = hits[row, taken] * _HIT + (place >= wrong) * _LOWEST + (place < right) * _HIGHEST
        crowds.append(Crowd.drawn(values[row, -1], len(taken), int(hits[row, taken].sum()), right, right + wrong))
    return marks, crowds


def _found_at_equal_recall(scores: np.ndarray, labels: np.ndarray, best: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how many of each row's labels are among as many best classes of it; a score of 0 does not count."""
    counts = labels.sum(axis=1)
    wanted = (np.arange(best.shape[1]) < counts[:, None]) & (values > 0)
    found = (np.take_along_axis(labels, best, axis=1) & wanted).sum(axis=1)
    for row in np.flatnonzero(counts > best.shape[1]):
        more = np.argsort(-scores[row], kind='stable')[:counts[row]]
        found[row] = (labels[row, more] & (scores[row, more] > 0)).sum()
    return found
