"""A confusion matrix that can be read, of 3 classes or of 400."""
from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..scores.metrics import ClassificationMeter

#: Up to so many classes each has a row with its name; of more there is a picture, and a matrix of the worst of them.
MOST_NAMED = 40
#: Classes in the matrix of the worst, and confusions in the list.
WORST, MOST_PAIRS = 25, 20

_MOST_PIXELS = 1500

# Right is blue and wrong vermilion, as the page has them, in light and in dark.
_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)


def confusion(meter: ClassificationMeter, classes: Sequence[str]) -> dict[str, Any] | None:
    """Lay out who was taken for whom.

    Parameters
    ----------
    meter : ClassificationMeter
        Of K classes.
    classes : sequence of str
        Names (K).

    Returns
    -------
    dict or None
        ``matrix`` with names, or a ``picture`` of all with the ``worst`` beside it; ``pairs``. None without a scored
        video.
    """
    there = np.flatnonzero((meter.expected > 0) | (meter.confusion.sum(axis=0) > 0))
    if not meter.n_scored:
        return None
    pairs = [{'true': classes[pair.true], 'predicted': classes[pair.predicted], 'count': pair.count,
              'share': pair.share} for pair in meter.top_confusions(MOST_PAIRS)]
    found = {'pairs': pairs, 'occur': len(there), 'of': meter.num_classes, 'matrix': None, 'picture': None,
             'worst': None}
    if len(there) <= MOST_NAMED:
        return {**found, 'matrix': _matrix(meter, classes, there)}
    worst = _mixed_up(meter)
    return {**found, 'picture': _picture(meter, classes, there) if len(there) <= _MOST_PIXELS else None,
            'worst': _matrix(meter, classes, worst) if len(worst) else None}


def _matrix(meter: ClassificationMeter, classes: Sequence[str], chosen: np.ndarray) -> dict[str, Any]:
    """Rows of cells, true class by predicted class; what was taken for a class that is not chosen is a last column."""
    counts, expected = meter.confusion[np.ix_(chosen, chosen)], meter.expected[chosen]
    others = meter.confusion[chosen].sum(axis=1) - counts.sum(axis=1)
    missing = expected - meter.confusion[chosen].sum(axis=1)
    more = [(name, column) for name, column in (('other classes', others), ('not scored', missing)) if column.any()]
    rows = []
    for place, number in enumerate(chosen):
        total = max(1, int(expected[place]))
        cells = [_cell(int(count), total, place == column) for column, count in enumerate(counts[place])]
        cells += [_cell(int(column[place]), total, False) for _, column in more]
        rows.append({'name': classes[number], 'cells': cells, 'total': int(expected[place])})
    return {'columns': [classes[number] for number in chosen] + [name for name, _ in more], 'rows': rows,
            'names': len(chosen)}


def _cell(count: int, total: int, right: bool) -> dict[str, Any]:
    share = count / total
    # A root scale: a class lost to ten others by 5 % each would be invisible beside a diagonal of 100 %.
    return {'count': count, 'share': share, 'right': right, 'depth': round(min(1., share ** 0.5), 2)}


def _mixed_up(meter: ClassificationMeter) -> np.ndarray:
    """Classes of the pairs that are mixed up most often, in their order."""
    chosen: dict[int, None] = {}
    for pair in meter.top_confusions(4 * WORST):
        if len(chosen.keys() | {pair.true, pair.predicted}) > WORST:
            break
        chosen |= {pair.true: None, pair.predicted: None}
    return np.array(sorted(chosen), np.int64)


def _picture(meter: ClassificationMeter, classes: Sequence[str], there: np.ndarray) -> dict[str, Any]:
    """All classes as a picture of one pixel a cell, and what its cells are, for who points at one."""
    from PIL import Image
    counts = meter.confusion[np.ix_(there, there)]
    shares = counts / np.maximum(meter.expected[there], 1)[:, None]
    pixels = np.zeros((*counts.shape, 4), np.uint8)
    pixels[..., :3] = np.where(np.eye(len(there), dtype=bool)[..., None], _RIGHT, _WRONG)
    pixels[..., 3] = np.where(counts > 0, np.rint(255 * np.clip(np.sqrt(shares), 0.25, 1)), 0)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, 'PNG', optimize=True)
    rows, columns = np.nonzero(counts)
    cells = np.stack([rows, columns, counts[rows, columns]], axis=1)
    return {'uri': 'data:image/png;base64,' + base64.b64encode(data.getvalue()).decode(), 'size': len(there),
            'names': [classes[number] for number in there], 'cells': cells.tolist()}
