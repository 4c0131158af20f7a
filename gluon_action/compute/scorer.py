"""What scores rows of input, whatever the engine; arrays are NumPy's on both sides."""
from __future__ import annotations

import abc
from collections.abc import Callable

import numpy as np


class Scorer(abc.ABC):
    """Scores rows of input on one device or several.

    Attributes
    ----------
    num_devices : int
        Devices that share a batch.
    """

    num_devices: int = 1

    @abc.abstractmethod
    def __call__(self, data: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to score `data` float32 (R, ...); what is returned waits for the scores (R / rows, K), gives them."""

    def memory(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Where to write the rows of a batch, float32 of `shape`, that are scored without being copied.

        They may be fewer in the end, the first ones. The memory is that of another batch after two calls more, and what
        was begun before the last call must have been read by then. None where it does not matter.
        """
        return None

    @abc.abstractmethod
    def seconds(self, data: np.ndarray, iterations: int, warmup: int = 5) -> float:
        """Time so many forward passes over `data`."""
