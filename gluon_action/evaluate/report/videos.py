"""What a network made of every video: right or wrong, how sure it was, and which of the wrong ones to look at first."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..scores.calibration import Calibration, calibrate
from ..scores.files import ScoreFile
from ..scores.metrics import ClassificationMeter, cross_entropy, log_softmax, multi_label_scores, predicted_classes
from ..scores.multi_label import sigmoid
from ..scores.significance import wilson_interval

_MOST_CLASSES = 5000  # confusions of more would take gigabytes


@dataclass(frozen=True)
class VideoResults:
    """What was made of the N videos of a file of scores.

    Attributes
    ----------
    file : ScoreFile
    probabilities : float64 ndarray (N, K)
        NaN where a video was not scored.
    predicted : int64 ndarray (N,)
        The best class; of a video that was not scored it says nothing.
    right : bool ndarray (N,)
        Whether that is the video's class, or one of its classes.
    """

    file: ScoreFile
    probabilities: np.ndarray
    predicted: np.ndarray
    right: np.ndarray

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.file.labels.ndim == 2

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the best class (N,)."""
        return self.probabilities[np.arange(len(self.predicted)), self.predicted]

    @functools.cached_property
    def meter(self) -> ClassificationMeter | None:
        """Hits and confusions; None of videos with several labels, and of more classes than can be told apart."""
        if self.multi_label or len(self.file.classes) > _MOST_CLASSES:
            return None
        file, scored = self.file, self.file.scored
        meter = ClassificationMeter(len(file.classes))
        losses = cross_entropy(file.scores[scored], file.labels[scored], file.kind == 'probabilities')
        meter.update(file.scores[scored], file.labels[scored], float(losses.sum()))
        meter.add_failures(file.labels[~scored])
        return meter

    def calibration(self) -> Calibration:
        """Return how far the probabilities can be believed."""
        scored = self.file.scored
        return calibrate(self.confidence[scored], self.right[scored])

    def truth(self, place: int) -> list[int]:
        """Classes that a video has."""
        label = self.file.labels[place]
        return np.flatnonzero(label).tolist() if self.multi_label else [int(label)]

    def wrong(self) -> np.ndarray:
        """Videos that were scored and are wrong, those first that the network was surest of."""
        places = np.flatnonzero(self.file.scored & ~self.right)
        return places[np.argsort(-self.confidence[places], kind='stable')]

    def classes(self) -> list[dict[str, Any]]:
        """Return how each class fares that has videos, the worst first.

        Returns
        -------
        list of dict
            ``name``, ``total``, ``share``; with one label a video also ``right``, ``low`` and ``high`` (95 %), and
            ``taken_for``, the class that its videos are taken for most often.
        """
        file = self.file
        if self.multi_label:
            found = multi_label_scores(file.scores, file.labels).average_precision
            rows = [{'name': name, 'total': int(total), 'share': float(share)}
                    for name, total, share in zip(file.classes, file.labels.sum(axis=0), found) if total]
            return sorted(rows, key=lambda row: row['share'])
        meter, rows = self.meter, []
        for number in np.flatnonzero(meter.expected) if meter else ():
            right, total = int(meter.hits[1][number]), int(meter.expected[number])
            low, high = wilson_interval(right, total)
            wrong = meter.confusion[number].copy()
            wrong[number] = 0
            rows.append({'name': file.classes[number], 'total': total, 'right': right, 'share': right / total,
                         'low': low, 'high': high, 'taken_for': file.classes[wrong.argmax()] if wrong.any() else None,
                         'taken_for_count': int(wrong.max())})
        return sorted(rows, key=lambda row: (row['share'], row['name']))


def video_results(file: ScoreFile) -> VideoResults:
    """Work out what the scores of a file say of every video."""
    several = file.labels.ndim == 2
    file = dataclasses.replace(file, scored=file.scored & np.isfinite(file.scores).all(axis=1))
    probabilities = np.clip(file.scores, 0, 1)
    if file.kind == 'logits' and len(file.scores):
        with np.errstate(invalid='ignore'):
            probabilities = sigmoid(file.scores) if several else np.exp(log_softmax(file.scores))
    predicted = predicted_classes(file.scores) if len(file.scores) else np.zeros(0, np.int64)
    rows = np.arange(len(predicted))
    right = file.labels[rows, predicted] > 0 if several else file.labels == predicted
    return VideoResults(file, probabilities, predicted, right & file.scored)


def described(results: VideoResults, places: Sequence[int]) -> list[dict[str, Any]]:
    """Say of videos what they show, what they were taken for, and how sure the network was of either."""
    names, found = results.file.classes, []
    for place in places:
        probabilities, truth = results.probabilities[place], results.truth(place)
        predicted = int(results.predicted[place])
        found.append({'key': results.file.keys[place], 'truth': [names[number] for number in truth],
                      'predicted': names[predicted], 'score': float(probabilities[predicted]),
                      'truth_score': float(max((probabilities[number] for number in truth), default=np.nan)),
                      'rank': _rank(results.file.scores[place], truth)})
    return found


def class_counts(samples: Sequence[Any], num_classes: int) -> np.ndarray:
    """Videos of each class (K,); one with several labels counts for each."""
    counts = np.zeros(num_classes, np.int64)
    for sample in samples:
        label = getattr(sample, 'label', None)
        for number in label if isinstance(label, tuple) else () if label is None else (label,):
            if 0 <= number < num_classes:
                counts[number] += 1
    return counts


def data_statistics(sets: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how many videos the lists have of each class.

    Parameters
    ----------
    sets : mapping
        Data sets by what they are for, each with ``samples``, ``num_classes`` and ``classes``.

    Returns
    -------
    dict or None
        ``lists``, a row each; ``classes``, a row each, with its videos in each list, the fewest first. None without a
        list.
    """
    counts = {name: class_counts(data.samples, data.num_classes) for name, data in sets.items()}
    if not counts:
        return None
    lists = []
    for name, data in sets.items():
        found = counts[name]
        lengths = sorted(filter(None, (getattr(sample, 'num_frames', None) for sample in data.samples)))
        lists.append({'name': name, 'videos': len(data.samples), 'classes': int((found > 0).sum()), 'of': len(found),
                      'fewest': int(found.min(initial=found.max(initial=0))), 'most': int(found.max(initial=0)),
                      'median': float(np.median(found)) if len(found) else 0.,
                      'frames': lengths[len(lengths) // 2] if lengths else None})
    first = next(iter(sets.values()))
    most, columns = len(next(iter(counts.values()))), list(counts.values())
    names = first.classes or [f'class {number}' for number in range(most)]
    largest = max(int(column.max(initial=0)) for column in columns) or 1
    rows = [{'name': names[number], 'counts': [int(column[number]) if number < len(column) else 0
                                               for column in columns]} for number in range(min(most, len(names)))]
    return {'lists': lists, 'columns': list(counts), 'largest': largest,
            'classes': sorted(rows, key=lambda row: row['counts'])}


def _rank(scores: np.ndarray, truth: Sequence[int]) -> int | None:
    """Place of the true class among all, from 1."""
    if not truth:
        return None
    return 1 + min(int((scores > scores[number]).sum()) for number in truth)
