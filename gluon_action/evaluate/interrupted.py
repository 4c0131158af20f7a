"""Scores of what was interrupted, of a test by video and of clips by batch: kept, and taken up by the next command."""
from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..unfinished import Unfinished, packed, stamp_of, take_up, unpacked
from .views import VideoScores

#: The file in the folder of a report.
UNFINISHED = 'scores.unfinished'


def open_unfinished(directory: Path, job: dict[str, Any], overwrite: bool = False) -> Unfinished:
    """Open what an interrupted test left in the folder of its report.

    Parameters
    ----------
    directory : path
    job : dict
        All that scores depend on. Where the report goes, how videos are read and how many work on it does not.
    overwrite : bool
        Drop what another test left.

    Raises
    ------
    UsageError
        When that was another test, and `overwrite` is False.
    """
    return take_up(directory / UNFINISHED, job, overwrite=overwrite, instead='another --save-dir',
                   other='another test, which was interrupted: of other weights, videos or options')


def keep(unfinished: Unfinished, dataset, index: int, score: np.ndarray) -> None:
    """Keep the scores (K,) of a video."""
    sample = dataset.samples[index]
    unfinished.add({'index': index, 'key': sample.key, 'stamp': stamp_of(sample.path),
                    'scores': base64.b64encode(score.astype('<f4').tobytes()).decode()})


def scored_before(unfinished: Unfinished, dataset) -> dict[int, np.ndarray]:
    """Return the scores (K,) by index that an interrupted test left, of videos that are as they were."""
    found: dict[int, np.ndarray] = {}
    for line in unfinished.done:
        index = line.get('index')
        if type(index) is not int or not 0 <= index < len(dataset):
            continue
        sample = dataset.samples[index]
        try:
            scores = np.frombuffer(base64.b64decode(line['scores'], validate=True), '<f4')
        except (ValueError, LookupError, TypeError):
            continue
        if line.get('key') == sample.key and line.get('stamp') == stamp_of(sample.path) and len(scores) \
                and np.isfinite(scores).all() and (not found or len(scores) == len(next(iter(found.values())))):
            found[index] = scores
    return dict(sorted(found.items()))


def joined(dataset, before: dict[int, np.ndarray], left: list[int], scores: VideoScores) -> VideoScores:
    """Return the scores of all videos, of those that were scored before and of those that were left."""
    num_classes = len(next(iter(before.values())))
    if scores.scored.any() and scores.scores.shape[1] != num_classes:
        raise UsageError(f'the interrupted test gave {num_classes} scores a video and the network gives '
                         f'{scores.scores.shape[1]}; pass --overwrite to start anew')
    table = np.full((len(dataset), num_classes), np.nan, np.float32)
    scored = np.zeros(len(dataset), bool)
    for index, score in before.items():
        table[index], scored[index] = score, True
    if left and scores.scored.any():
        table[left], scored[left] = scores.scores, scores.scored
    return dataclasses.replace(scores, keys=[sample.key for sample in dataset.samples],
                               labels=[sample.label for sample in dataset.samples], scores=table, scored=scored)


class KeptClips:
    """What a network says of clips, batch by batch, beginning with what an interrupted command left of the same job.

    Parameters
    ----------
    unfinished : Unfinished
    sizes : sequence of int
        Clips of each batch.
    num_classes : int
        K.
    multi_label : bool
        Whether labels are (N, K), or (N,).

    Attributes
    ----------
    parts : list of (ndarray, ndarray)
        Logits (N, K) and labels, float32, of the batches that are done; a batch may have several parts.
    loss_sum : float
        Sum of the losses of all clips in them.
    batches : int
        How many are done.
    """

    def __init__(self, unfinished: Unfinished, sizes: Sequence[int], num_classes: int, multi_label: bool):
        self._unfinished = unfinished
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.loss_sum, self.batches = 0.0, 0
        found = {}
        for line in unfinished.done:
            batch = line.get('batch')
            if type(batch) is int and 0 <= batch < len(sizes):
                try:
                    found[batch] = _clips_of(line, sizes[batch], (num_classes,) if multi_label else (), num_classes)
                except (ValueError, LookupError, TypeError, AttributeError):
                    continue
        while self.batches in found:
            parts, self.loss_sum = found[self.batches]
            self.parts += parts
            self.batches += 1

    @property
    def clips(self) -> int:
        """How many clips are done."""
        return sum(len(logits) for logits, _ in self.parts)

    def add(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], loss_sum: float = 0.0) -> None:
        """Keep the next batch; `loss_sum` is of all clips so far."""
        self._unfinished.add({
            'batch': self.batches, 'loss_sum': float(loss_sum),
            'parts': [{'clips': len(logits), 'logits': packed(logits, '<f4'), 'labels': packed(labels, '<f4')}
                      for logits, labels in parts]})
        self.parts += parts
        self.loss_sum = loss_sum
        self.batches += 1


def _clips_of(line: dict[str, Any], size: int, label: tuple[int, ...], num_classes: int) -> tuple[list, float]:
    """Read a line of `KeptClips`; raises what it may where somebody else wrote it."""
    parts, loss_sum = [], float(line['loss_sum'])
    for part in line['parts']:
        clips = part['clips']
        if type(clips) is not int or not 0 <= clips <= size:
            raise ValueError('is no number of clips')
        logits = unpacked(part['logits'], '<f4', (clips, num_classes))
        parts.append((logits, unpacked(part['labels'], '<f4', (clips, *label))))
    if sum(len(logits) for logits, _ in parts) != size or not np.isfinite(loss_sum):
        raise ValueError('is no batch of these clips')
    return parts, loss_sum
