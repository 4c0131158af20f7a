"""Rows of features: what clips become, by video their mean, by window the mean of those in it, or each a row."""
from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

import numpy as np

from ...errors import UsageError

#: The value of ``--window`` that makes a row of each clip.
EACH_CLIP = 'clip'
#: Seconds by which times may be rounded: so little of a video does not need a window of its own.
_ROUNDED = 1e-3


class Rows(NamedTuple):
    """Features float32 (n, ...), and when each row begins and ends, in seconds float64 (n,)."""

    values: np.ndarray
    start: np.ndarray
    end: np.ndarray


class Rule(Protocol):
    """What makes rows of the clips of one video, which come in the order of time."""

    def add(self, start: float, end: float, values: np.ndarray) -> None:
        """Take the features (...) of the next clip, and when it begins and ends in seconds."""

    def rows(self) -> Rows:
        """Return the rows when all clips have come, of which there is one at least."""


class OneRow:
    """The whole video as one row, the mean of its clips."""

    def __init__(self):
        self._sum, self._count, self._start, self._end = 0., 0, None, 0.

    def add(self, start: float, end: float, values: np.ndarray) -> None:
        """See `Rule`."""
        self._start = start if self._start is None else self._start
        self._sum, self._count, self._end = self._sum + values.astype(np.float64), self._count + 1, end

    def rows(self) -> Rows:
        """See `Rule`."""
        return Rows((self._sum / self._count).astype(np.float32)[None], np.array([self._start]), np.array([self._end]))


class RowOfEachClip:
    """Each clip as a row."""

    def __init__(self):
        self._clips: list[tuple[float, float, np.ndarray]] = []

    def add(self, start: float, end: float, values: np.ndarray) -> None:
        """See `Rule`."""
        self._clips.append((start, end, values.astype(np.float32)))

    def rows(self) -> Rows:
        """See `Rule`."""
        start, end, values = zip(*self._clips)
        return Rows(np.stack(values), np.array(start), np.array(end))


class RowOfEachWindow:
    """Windows of equal length as rows: each the mean of the clips whose middle lies in it.

    A window that holds the middle of no clip, as at the beginning of a video whose clips are long, takes the clip whose
    middle is nearest to its own. Only the windows that the next clip may lie in are in memory as sums.

    Parameters
    ----------
    window : float
        Seconds that one lasts.
    stride : float
        Seconds from the start of one to that of the next. The first one that reaches the end of the video is the last,
        and ends there.

    Raises
    ------
    UsageError
        When they are not above 0.
    """

    def __init__(self, window: float, stride: float):
        for flag, value in (('--window', window), ('--stride', stride)):
            if not 0 < value < float('inf'):
                raise UsageError(f'{flag} must be a number of seconds above 0, got {value}')
        self._window, self._stride = window, stride
        self._opened, self._end = 0, 0.
        self._open: deque[_Window] = deque()
        self._done: list[_Window] = []
        self._last: tuple[float, np.ndarray] | None = None

    def add(self, start: float, end: float, values: np.ndarray) -> None:
        """See `Rule`."""
        middle, self._end = (start + end) / 2, max(self._end, end)
        while self._opened * self._stride <= middle:
            self._open_next()
        while self._open and self._open[0].end <= middle:
            self._close((middle, values))
        for window in self._open:
            window.add(values)
        self._last = middle, values

    def rows(self) -> Rows:
        """See `Rule`."""
        end = self._end - _ROUNDED
        while not self._opened or (self._opened - 1) * self._stride + self._window < end > self._opened * self._stride:
            self._open_next()
        while self._open:
            self._close(self._last)
        reached = (number for number, window in enumerate(self._done, 1) if window.end >= end)
        kept = self._done[:next(reached, None)]
        return Rows(np.stack([window.mean for window in kept]), np.array([window.start for window in kept]),
                    np.array([min(window.end, self._end) for window in kept]))

    def _open_next(self) -> None:
        start = self._opened * self._stride
        self._open.append(_Window(start, start + self._window))
        self._opened += 1

    def _close(self, following: tuple[float, np.ndarray]) -> None:
        """Finish the first window that is open; `following` is the clip after those that lie in it."""
        window = self._open.popleft()
        if not window.count:
            centre = (window.start + window.end) / 2
            near = [clip for clip in (self._last, following) if clip is not None]
            window.add(min(near, key=lambda clip: abs(clip[0] - centre))[1])
        window.settle()
        self._done.append(window)


class _Window:
    def __init__(self, start: float, end: float):
        self.start, self.end, self.count, self.mean = start, end, 0, None
        self._sum = 0.

    def add(self, values: np.ndarray) -> None:
        self._sum, self.count = self._sum + values.astype(np.float64), self.count + 1

    def settle(self) -> None:
        self.mean, self._sum = (self._sum / self.count).astype(np.float32), None
