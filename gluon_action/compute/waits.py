"""Where the time of a run goes: how long its process waited for samples, and how long for the devices."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar('Item')


class Waits:
    """Counts the seconds that this process has waited.

    Devices compute while it waits for samples, so neither number is how long something took. Which of the two ends a
    run sooner is told by their relation: where devices were waited for, samples had come before they were wanted; where
    that was next to nothing, the devices had run out of work.

    Attributes
    ----------
    data, devices : float
        Seconds.
    """

    def __init__(self):
        self.data = self.devices = 0.

    def for_data(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counting the time until each is there."""
        items = iter(items)
        while True:
            started = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.data += time.perf_counter() - started
            yield item

    @contextlib.contextmanager
    def for_devices(self) -> Iterator[None]:
        """Count the time of a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.devices += time.perf_counter() - started
