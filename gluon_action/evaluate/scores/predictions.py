"""Predictions of clips as files: a table for spreadsheets, and JSON with their protocol."""
from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files import to_json, write_file
from .clip_scores import ClipScoring


def write_predictions(folder: str | os.PathLike, keys: Sequence[str], classes: Sequence[str] | None,
                      logits: np.ndarray, labels: np.ndarray, scoring: ClipScoring,
                      about: dict[str, Any]) -> list[Path]:
    """Write ``predictions.csv`` and ``predictions.json``.

    Parameters
    ----------
    folder : path
        Exists.
    keys : sequence of str
        Names of the clips (N).
    classes : sequence of str, optional
        Names of the classes (K); their numbers by default.
    logits : (N, K)
    labels : (N, K) or (N,)
        NaN where a clip has none; then the truth is left out.
    scoring : ClipScoring
        Makes probabilities and decisions of the logits.
    about : dict
        What the JSON says beside the clips: protocol and weights.

    Returns
    -------
    list of Path
        The table and the JSON.

    Raises
    ------
    OutputError
        When one cannot be written.
    """
    names = list(classes or map(str, range(logits.shape[1])))
    probabilities, decisions = scoring.predicted(logits)
    labelled = ~np.isnan(labels).reshape(len(labels), -1).any(axis=1)
    if labels.ndim == 1:
        labels = np.arange(len(names)) == labels[:, None]
    clips = []
    for place, key in enumerate(keys):
        clips.append({'clip': key, 'class_ids': decisions[place].tolist(),
                      'probabilities': _short(probabilities[place]), 'logits': _short(logits[place])})
        if labelled[place]:
            clips[-1]['truth'] = labels[place].astype(np.int64).tolist()
    about = {**about, 'classes': names}
    if labelled.any():
        error = np.abs(probabilities - labels)[labelled].mean(axis=0)
        about['mean_absolute_error'] = dict(zip(names, map(float, error)))
    paths = [Path(folder, 'predictions.csv'), Path(folder, 'predictions.json')]
    write_file(paths[0], _table(clips, names, labelled.any()))
    write_file(paths[1], to_json({**about, 'clips': clips}))
    return paths


def _table(clips: Sequence[dict], names: Sequence[str], with_truth: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    parts = {'class_id': 'class_ids', 'probability': 'probabilities', 'logit': 'logits'}
    if with_truth:
        parts['truth'] = 'truth'
    writer.writerow(['clip', *(f'{part} {name}' for part in parts for name in names)])
    for clip in clips:
        writer.writerow([clip['clip'], *(value for part in parts.values()
                                         for value in clip.get(part, [''] * len(names)))])
    return text.getvalue()


def _short(values: np.ndarray) -> list[float]:
    # As many digits as a float32 has.
    return [float(f'{value:.8g}') for value in values]
