"""What a model says of a video."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ...data.reading.stream import Skipped
from .segments import Segment
from .windows import Window


class Gap(NamedTuple):
    """Frames in a row that could not be decoded: first and last number, their times in seconds, and the first cause."""

    first: int
    last: int
    start: float
    end: float
    cause: str


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for a video.

    Attributes
    ----------
    source : str
        The video; of a part of it ``video#t=start,end`` or ``video#f=first,last``.
    label, index, score : str, int or None, float
        The class; its number; its mean probability over all windows, or of a majority its share of the windows. Where
        that is below the threshold, `label` is ``'none of these'`` and `index` None.
    probabilities : float32 ndarray (K,)
        The same of all classes.
    windows : list of Window
        In order of time. Each is the mean of `merged` windows: more than 1 only for hours of video.
    merged : int
    skipped : list of Gap
        What could not be decoded.
    labels : list of str
        Names of the classes; their numbers where there are no names.
    protocol : dict
        What the answer depends on: model and its hash, stride, span, vote, threshold, and how many windows and frames
        there were.
    segments : list of Segment
        What is shown from when to when.
    found : list of int
        The classes that are the answer, best first: the best one, or those of several labels that reach the threshold.
    part : (float, float) or None
        When the part begins and ends, where only a part of a video was looked at. This and all other times are seconds
        from the start of the whole video; frames count from the first one of the part.
    """

    source: str
    label: str
    index: int | None
    score: float
    probabilities: np.ndarray
    windows: list[Window]
    merged: int
    skipped: list[Gap]
    labels: list[str]
    protocol: dict[str, Any]
    segments: list[Segment] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    part: tuple[float, float] | None = None

    def of_part(self, offset: float) -> Prediction:
        """Return it as of a part of a video that begins after `offset` seconds, from which times have counted."""
        windows, skipped, segments = (
            [item._replace(start=item.start + offset, end=item.end + offset) for item in items]
            for items in (self.windows, self.skipped, self.segments))
        return replace(self, windows=windows, skipped=skipped, segments=segments,
                       part=(offset, offset + self.duration))

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one that a window or a gap holds."""
        last = max((item.end for item in (*self.windows[-1:], *self.skipped[-1:])), default=0.)
        return max(0., last - (self.part[0] if self.part else 0.))

    def best(self, count: int = 5, probabilities: np.ndarray | None = None) -> list[int]:
        """Return the best classes, best first; of the video, or of a window's probabilities."""
        values = self.probabilities if probabilities is None else probabilities
        order = np.argsort(-values, kind='stable')[:count].tolist()
        if probabilities is None and self.index in order:  # a majority decides draws by the means
            order.sort(key=lambda k: k != self.index)
        return order

    def top(self, count: int = 5, probabilities: np.ndarray | None = None) -> list[tuple[str, float]]:
        """Return name and probability of the classes that `best` returns."""
        values = self.probabilities if probabilities is None else probabilities
        return [(self.labels[k], float(values[k])) for k in self.best(count, probabilities)]

    def as_dict(self, top_k: int = 5) -> dict[str, Any]:
        """Return everything, for JSON; of the windows the best classes only."""
        named = [{'label': name, 'probability': value} for name, value in self.top(top_k)]
        windows = [{'start': window.start, 'end': window.end, 'frame': window.frame,
                    'top': dict(self.top(top_k, window.probabilities))} for window in self.windows]
        return {'path': self.source, 'label': self.label, 'index': self.index, 'score': self.score,
                'found': [self.labels[k] for k in self.found], 'duration': self.duration,
                **({'part': list(self.part)} if self.part else {}), 'top': named,
                'segments': [segment.as_dict() for segment in self.segments],
                'probabilities': self.probabilities.tolist(), 'protocol': self.protocol,
                'skipped': [gap._asdict() for gap in self.skipped], 'windows_merged': self.merged, 'windows': windows}


def merge_gaps(skipped: Sequence[Skipped], fps: float, wanted: Callable[[int], bool]) -> list[Gap]:
    """Join consecutive frames, or those with only unused frames between them, into gaps."""
    gaps: list[Gap] = []
    for number, seconds, cause in skipped:
        end = seconds + 1 / fps
        if gaps and not any(wanted(between) for between in range(gaps[-1].last + 1, number)):
            gaps[-1] = gaps[-1]._replace(last=number, end=end)
        else:
            gaps.append(Gap(number, number, seconds, end, cause))
    return gaps
