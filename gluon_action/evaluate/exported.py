"""A network in a file that something else than MXNet runs."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..compute.scorer import Scorer
from ..data.preprocess import Preprocess


@dataclass(frozen=True)
class Exported(Scorer):
    """A network that MXNet does not run, and what it takes.

    Attributes
    ----------
    run : callable
        Views float32 (V, C, [T,] H, W) to scores (V / rows, K), both ndarray.
    path : Path
        Its file.
    precision : str
        ``'float32'`` or ``'int8'``.
    preprocess : Preprocess
        How views are made for it of whole videos.
    num_classes : int
    classes : list of str or None
    """

    run: Callable[[np.ndarray], np.ndarray]
    path: Path
    precision: str
    preprocess: Preprocess
    num_classes: int
    classes: list[str] | None

    def __call__(self, views: np.ndarray) -> Callable[[], np.ndarray]:
        """Score views; what is returned gives the scores."""
        scores = self.run(views)
        return lambda: scores

    def seconds(self, views: np.ndarray, iterations: int, warmup: int = 5) -> float:
        """Time so many forward passes over `views`."""
        for n in range(-warmup, iterations):
            if n == 0:
                start = time.perf_counter()
            self.run(views)
        return time.perf_counter() - start
