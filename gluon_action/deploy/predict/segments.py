"""Segments of a video: windows in a row that show the same, from when to when."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .windows import Window

#: What an answer is where no class reaches the threshold.
NONE_OF_THESE = 'none of these'
#: What counts as shown of classes that may come together, unless the user says.
SEVERAL_LABELS = 0.5


class Segment(NamedTuple):
    """A part of a video that shows a class.

    Attributes
    ----------
    label, index : str, int
        The class and its number.
    start, end : float
        In seconds from the first frame.
    score : float
        Mean of the class's smoothed probability over the windows, in [0, 1].
    """

    label: str
    index: int
    start: float
    end: float
    score: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return self._asdict()


def segments_of(windows: Sequence[Window], labels: Sequence[str], *, step: int, smooth: float,
                threshold: float | None = None, several: bool = False) -> list[Segment]:
    """Join windows in a row with the same class.

    Probabilities are smoothed first: of each window they become the mean of those whose middles are no further than
    half of `smooth` from its own, before it and after it, so that a change is found where it is, not later. A segment
    ends halfway between the middles of two windows that differ, and where frames between two windows were seen by none.

    Parameters
    ----------
    windows : sequence of Window
        In order of time.
    labels : sequence of str
        Names of the classes, K of them.
    step : int
        Frames from one window to the next, at most.
    smooth : float
        Seconds.
    threshold : float, optional
        Least smoothed probability, in [0, 1]: what stays below is in no segment. By default every window is in one; of
        several labels 0.5.
    several : bool
        Whether classes may come together. Then each has segments of its own, which overlap those of others; otherwise
        the best class of a window counts.

    Returns
    -------
    list of Segment
        By their beginnings.
    """
    if not windows:
        return []
    probabilities = smoothed(windows, smooth)
    cells = _cells(windows, step)
    if several:
        shown = probabilities >= (SEVERAL_LABELS if threshold is None else threshold)
        found = [segment for k in np.flatnonzero(shown.any(axis=0)).tolist()
                 for segment in _runs(np.where(shown[:, k], k, -1), probabilities, cells, labels)]
        return sorted(found, key=lambda segment: (segment.start, segment.index))
    best = probabilities.argmax(axis=1)
    if threshold is not None:
        best = np.where(probabilities.max(axis=1) >= threshold, best, -1)
    return list(_runs(best, probabilities, cells, labels))


def smoothed(windows: Sequence[Window], seconds: float) -> np.ndarray:
    """Return the means float64 (n, K) of the windows within half of so many seconds before and after each of n."""
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    sums = np.zeros((len(windows) + 1, len(windows[0].probabilities)))
    for number, window in enumerate(windows):
        np.add(sums[number], window.probabilities, out=sums[number + 1])
    reach = seconds / 2 + 1e-6
    first = np.searchsorted(middles, middles - reach, 'left')
    last = np.searchsorted(middles, middles + reach, 'right')
    return np.clip((sums[last] - sums[first]) / (last - first)[:, None], 0., 1.)


def _cells(windows: Sequence[Window], step: int) -> list[tuple[float, float]]:
    """The part of time that each window speaks for: they meet halfway unless windows are missing between them."""
    starts, ends = [windows[0].start], []
    for before, after in zip(windows, windows[1:]):
        if after.frame - before.frame > step and after.start > before.end:
            ends.append(before.end)
            starts.append(after.start)
        else:
            halfway = (before.start + before.end + after.start + after.end) / 4
            ends.append(halfway)
            starts.append(halfway)
    return list(zip(starts, [*ends, windows[-1].end]))


def _runs(classes: np.ndarray, probabilities: np.ndarray, cells: Sequence[tuple[float, float]],
          labels: Sequence[str]) -> Iterator[Segment]:
    """Yield the segments of windows whose classes are given, -1 for none."""
    begin = 0
    for number in range(1, len(classes) + 1):
        if number < len(classes) and classes[number] == classes[begin] and cells[number][0] == cells[number - 1][1]:
            continue
        k = int(classes[begin])
        if k >= 0:
            yield Segment(labels[k], k, round(cells[begin][0], 3), round(cells[number - 1][1], 3),
                          float(probabilities[begin:number, k].mean()))
        begin = number
