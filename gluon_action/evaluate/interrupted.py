"""Scores of a test that was interrupted: kept while it runs, and taken up by the next one."""
from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..unfinished import Unfinished, stamp_of
from .views import VideoScores


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
    unfinished = Unfinished(directory / 'scores.unfinished', job)
    if unfinished.exists and not unfinished.same:
        if not overwrite:
            raise UsageError(f'{unfinished.path}: is of another test, which was interrupted: of other weights, videos '
                             'or options; pass --overwrite to drop it, or another --save-dir')
        unfinished.remove()
    return unfinished


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
