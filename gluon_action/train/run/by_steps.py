"""Training by steps: the loop's epochs become stretches of batches, which run on over the epochs of the data."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import UsageError


class StepLoader:
    """Stretches of `steps` batches, each an epoch for `Loop.fit`, cut from a loader that is begun over and over.

    Batch `n` of the run, from 0, is batch ``n % len(loader)`` of epoch ``n // len(loader)`` of the data, whatever the
    stretches are. Workers go on reading ahead between two stretches, while the loop validates and saves.

    Parameters
    ----------
    loader : VideoLoader
        Training batches.
    steps : int
        Batches of a stretch.
    total : int, optional
        Batches of the whole run, where the last stretch ends; by default there is no end.
    origin : (int, int)
        A stretch, and the batch of the run that it starts with: where a run goes on that had other stretches before.

    Raises
    ------
    UsageError
        When there is nothing to train on, or a number cannot be.
    """

    def __init__(self, loader, steps: int, *, total: int | None = None, origin: tuple[int, int] = (0, 0)):
        if not len(loader):
            raise UsageError('there is nothing to train on: the data set makes no batch')
        if steps < 1 or total is not None and total < 1:
            raise UsageError(f'a run has 1 step or more and is looked at every 1 step or more, got {total} and {steps}')
        self.loader, self.steps, self.total, self.origin = loader, steps, total, origin
        self._stream: Iterator[Any] | None = None
        self._next = -1

    def __len__(self) -> int:
        """Batches of a stretch that is not cut short."""
        return self.steps

    @property
    def dataset(self):
        """The data set of the loader."""
        return self.loader.dataset

    @property
    def stretches(self) -> float:
        """Stretches of the whole run, counted from 0 like epochs; infinite without an end."""
        if self.total is None:
            return float('inf')
        stretch, batch = self.origin
        return stretch + max(0, -(-(self.total - batch) // self.steps))

    def start_of(self, stretch: int) -> int:
        """The batch of the run, from 0, that a stretch starts with."""
        return self.origin[1] + (stretch - self.origin[0]) * self.steps

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Any]:
        """Iterate over the batches of a stretch from `start_batch` on."""
        first = self.start_of(epoch) + start_batch
        end = self.start_of(epoch + 1)
        if self.total is not None:
            end = min(end, self.total)
        if self._stream is None or first != self._next:
            self._stream, self._next = self._endless(first), first
        while self._next < end:
            batch = next(self._stream)
            self._next += 1
            yield batch

    def _endless(self, first: int) -> Iterator[Any]:
        epoch, batch = divmod(first, len(self.loader))
        while True:
            yield from self.loader.epoch(epoch, batch)
            epoch, batch = epoch + 1, 0
