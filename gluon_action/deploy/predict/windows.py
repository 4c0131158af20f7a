"""Windows over a stream of frames: which frames make which window, and one prediction from many windows."""
from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import UsageError

VOTES = ('mean', 'majority')
#: Numbers that a `History` keeps at most: 16 MiB of float32.
HISTORY_NUMBERS = 2 ** 22


@dataclass(frozen=True)
class WindowPlan:
    """Which frames each window is made of.

    Attributes
    ----------
    offsets : tuple of int
        Frames of a clip, counted from its first one, in the order in which the network takes them.
    stride : int
        Frames from the start of a clip to that of the next one.
    rows : int
        Consecutive clips that make one window.
    lead_in : bool
        There is a window that ends at frame 0, and at every `stride`-th one after it. As long as fewer frames have
        come than a clip spans, they are spread over it, so that the first ones repeat. Needs ``rows == 1``.

    Raises
    ------
    UsageError
        When a number is out of range.
    """

    offsets: tuple[int, ...]
    stride: int = 1
    rows: int = 1
    lead_in: bool = False

    def __post_init__(self):
        if not self.offsets or min(self.offsets) < 0:
            raise UsageError(f'offsets must be one or more numbers from 0, got {self.offsets}')
        for name in ('stride', 'rows'):
            if getattr(self, name) < 1:
                raise UsageError(f'{name} must be 1 or more, got {getattr(self, name)}')
        if self.lead_in and self.rows > 1:
            raise UsageError(f'lead_in needs windows of one clip, got rows={self.rows}')

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window, both counted."""
        return (self.rows - 1) * self.stride + max(self.offsets) + 1

    @property
    def step(self) -> int:
        """Frames from the start of a window to that of the next one."""
        return self.rows * self.stride

    def first(self, window: int) -> int:
        """Frame at which a window (counted from 0) starts; below 0 in a lead-in."""
        return window * self.step - (self.span - 1 if self.lead_in else 0)

    def frames(self, window: int) -> list[int]:
        """Frame numbers of a window, clip after clip: ``rows * len(offsets)`` of them."""
        return self._from(self.first(window))

    def last(self, num_frames: int) -> list[int]:
        """Frame numbers of the window that ends with the last frame of a video, which is no shorter than a window."""
        return self._from(num_frames - self.span)

    def _from(self, first: int) -> list[int]:
        if first < 0:
            seen = first + self.span - 1
            return [offset * seen // (self.span - 1) for offset in self.offsets]
        return [first + row * self.stride + offset for row in range(self.rows) for offset in self.offsets]

    def wanted(self, number: int, num_frames: int | None = None) -> bool:
        """Whether any window can need a frame. All of the first span are kept, for videos that are shorter.

        Parameters
        ----------
        number : int
        num_frames : int, optional
            Frames of the video, where that is known: then also those of the last window are wanted.
        """
        if self.lead_in or number < self.span:
            return True
        if num_frames is not None and num_frames - self.span <= number < num_frames \
                and number in self.last(num_frames):
            return True
        return any(number >= offset and (number - offset) % self.stride == 0 for offset in self.offsets)

    def padded(self, num_frames: int) -> list[int]:
        """Frame numbers of the one window of a video that is shorter than a window, as training reads it.

        Clips of frames at equal distances repeat the last one that their steps reach; others the last frame.
        """
        equal = len({b - a for a, b in itertools.pairwise(self.offsets)}) <= 1 and self.offsets[0] == 0
        ends = [offset for offset in self.offsets if offset < num_frames] if equal else [num_frames - 1]
        last_start = max(0, num_frames - max(self.offsets) - 1)
        starts = [min(row * self.stride, last_start) for row in range(self.rows)]
        return [start + (offset if offset < num_frames else max(ends)) for start in starts for offset in self.offsets]


class WindowFrames(NamedTuple):
    """The frames of one window: numbers of its first and last, their times in seconds, pictures uint8 (H, W, C)."""

    first: int
    last: int
    start: float
    end: float
    pictures: list[np.ndarray]


class WindowCutter:
    """Cuts a stream of frames into windows, with the frames of one window in memory.

    The last window ends with the last frame, however far from the one before it that is. A frame that is missing is
    replaced by the nearest one of its window. A window of whose frames more than half are missing is left out.

    Parameters
    ----------
    plan : WindowPlan
    fps : float
        Frames per second: how long the last frame of a window is shown.

    Attributes
    ----------
    num_cut, num_left_out : int
        Windows returned, and left out.
    repeated : int
        Frames that the window of a short video repeats; 0 where the video was long enough.
    """

    def __init__(self, plan: WindowPlan, fps: float):
        self.plan, self.fps = plan, fps
        self.num_cut = self.num_left_out = self.repeated = 0
        self._next = 0
        self._numbers: list[int] = []
        self._held: dict[int, tuple[float, np.ndarray]] = {}
        self._last = -1

    def push(self, number: int, seconds: float, picture: np.ndarray) -> list[WindowFrames]:
        """Take the next frame and return the windows that end with it."""
        self._numbers.append(number)
        self._held[number] = seconds, picture
        self._last = number
        cuts = self._complete(number)
        # A video may end here or with the next frame, and its last window with it.
        self._forget(min(self.plan.first(self._next), number - self.plan.span + 1))
        return cuts

    def finish(self, num_frames: int | None = None) -> list[WindowFrames]:
        """Return the windows that are left when the stream has ended.

        Parameters
        ----------
        num_frames : int, optional
            Frames of the stream, with those that could not be decoded; by default as many as came.
        """
        num_frames = max(self._last + 1, num_frames or 0)
        cuts = self._complete(num_frames - 1)
        if self.num_cut or self.num_left_out:
            return cuts + self._cut_end(num_frames)
        if not self._numbers:
            return cuts
        numbers = self.plan.padded(num_frames)
        self.repeated = max(1, self.plan.span - num_frames)
        self.num_cut = 1
        return [self._cut(numbers, 0, num_frames - 1)]

    def _complete(self, last: int) -> list[WindowFrames]:
        cuts = []
        while (end := self.plan.first(self._next) + self.plan.span - 1) <= last:
            numbers = self.plan.frames(self._next)
            self._next += 1
            distinct = set(numbers)
            if 2 * sum(number in self._held for number in distinct) >= len(distinct):
                cuts.append(self._cut(numbers, max(0, end - self.plan.span + 1), end))
            else:
                self.num_left_out += 1
        self.num_cut += len(cuts)
        return cuts

    def _cut_end(self, num_frames: int) -> list[WindowFrames]:
        """Return the window that ends with the last frame, where that is in no other window."""
        seen = self.plan.first(self._next - 1) + self.plan.span
        if seen >= num_frames or not self._numbers or self._numbers[-1] < seen:
            return []
        numbers = self.plan.last(num_frames)
        # What nobody asked for, since it was not known where the video ends, is not lost: the nearest one replaces it.
        lost = {number for number in numbers if self.plan.wanted(number) and number not in self._held}
        if 2 * len(lost) > len(set(numbers)):
            self.num_left_out += 1
            return []
        self.num_cut += 1
        return [self._cut(numbers, max(0, num_frames - self.plan.span), num_frames - 1)]

    def _cut(self, numbers: Sequence[int], first: int, last: int) -> WindowFrames:
        pictures = [self._held[self._nearest(number, first)][1] for number in numbers]
        return WindowFrames(first, last, self._time(first, first), self._time(last, first) + 1 / self.fps, pictures)

    def _nearest(self, number: int, first: int) -> int:
        """The frame that came and is nearest, the earlier one of two; of those from `first` on."""
        if number in self._held:
            return number
        begin = bisect.bisect_left(self._numbers, first)
        place = bisect.bisect(self._numbers, number)
        return min(self._numbers[max(begin, place - 1):place + 1] or self._numbers[-1:],
                   key=lambda other: abs(other - number))

    def _time(self, number: int, first: int) -> float:
        near = self._nearest(number, first)
        return self._held[near][0] + (number - near) / self.fps

    def _forget(self, first: int) -> None:
        """Drop the frames before `first`."""
        place = bisect.bisect_left(self._numbers, first)
        for number in self._numbers[:place]:
            del self._held[number]
        del self._numbers[:place]


class RollingMean:
    """Mean of the last scores without keeping them: ``m = (m * min(i, n - 1) + s) / min(i + 1, n)``.

    It is the mean of all scores as long as they are no more than `length`; later each new one counts 1 / `length`, and
    older ones fade.

    Parameters
    ----------
    length : int
        n, 1 or more.
    """

    def __init__(self, length: int):
        if length < 1:
            raise UsageError(f'rolling must be 1 window or more, got {length}')
        self.length, self._count, self._mean = length, 0, None

    def add(self, scores: np.ndarray) -> np.ndarray:
        """Take scores (K,) and return the mean float32 (K,)."""
        scores = np.asarray(scores, np.float64)
        if self._mean is None:
            self._mean = np.zeros_like(scores)
        old = min(self._count, self.length - 1)
        self._mean = (self._mean * old + scores) / min(self._count + 1, self.length)
        self._count += 1
        return self._mean.astype(np.float32)


class Ballot:
    """One prediction for a video from its windows, by their mean or by the majority of their best classes."""

    def __init__(self, vote: str):
        if vote not in VOTES:
            raise UsageError(f'vote must be one of {", ".join(VOTES)}, got {vote!r}')
        self.vote, self.count, self._sum, self._wins = vote, 0, None, None

    def add(self, probabilities: np.ndarray) -> None:
        """Take the probabilities (K,) of a window."""
        if self._sum is None:
            self._sum, self._wins = np.zeros(len(probabilities)), np.zeros(len(probabilities), np.int64)
        self._sum += probabilities
        self._wins[np.argmax(probabilities)] += 1
        self.count += 1

    def result(self) -> tuple[int, np.ndarray]:
        """Return the winning class and the scores float32 (K,): means, or of a majority shares of the windows.

        Among classes with equally many windows the one with the higher mean wins.
        """
        mean = self._sum / self.count
        if self.vote == 'mean':
            return int(np.argmax(mean)), mean.astype(np.float32)
        index = int(np.lexsort((-mean, -self._wins))[0])
        return index, (self._wins / self.count).astype(np.float32)


class Window(NamedTuple):
    """The prediction of the network for one window.

    Attributes
    ----------
    start, end : float
        When it begins and ends, in seconds.
    frame : int
        Number of its last frame.
    probabilities, rolling : float32 ndarray (K,)
        Its own, and the rolling mean up to it.
    """

    start: float
    end: float
    frame: int
    probabilities: np.ndarray
    rolling: np.ndarray


class History:
    """Windows of a video of any length in bounded memory: when there are too many, neighbours become one, their mean.

    Parameters
    ----------
    limit : int, optional
        Windows to keep at most, 2 or more; by default as many as `HISTORY_NUMBERS` allows, at least 1000.

    Attributes
    ----------
    windows : list of Window
        In order of time. Each is the mean of `merged` windows, the last one of those that are left.
    merged : int
    """

    def __init__(self, limit: int | None = None):
        self.windows: list[Window] = []
        self.merged = 1
        self._limit, self._in_last = limit, 0

    def add(self, window: Window) -> None:
        """Take the next window."""
        if self._limit is None:
            self._limit = max(1000, HISTORY_NUMBERS // (2 * len(window.probabilities)))
        self._limit -= self._limit % 2
        if self._in_last in (0, self.merged):
            if len(self.windows) >= self._limit:
                self._halve()
            self.windows.append(window)
            self._in_last = 1
            return
        self.windows[-1] = _joined(self.windows[-1], window, self._in_last, 1)
        self._in_last += 1

    def _halve(self) -> None:
        self.windows = [_joined(a, b, 1, 1) for a, b in zip(self.windows[::2], self.windows[1::2])]
        self.merged *= 2


def _joined(a: Window, b: Window, weight_a: int, weight_b: int) -> Window:
    mean = (a.probabilities * weight_a + b.probabilities * weight_b) / (weight_a + weight_b)
    return Window(a.start, b.end, b.frame, mean.astype(np.float32), b.rolling)
