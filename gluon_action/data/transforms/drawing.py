"""The random generator of transforms, set from outside, and a record of what they drew: one decision a clip."""
from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def drawing_from(rng: np.random.Generator, *, clip_length: int = 1) -> Iterator[Drawing]:
    """Make every transform called inside draw from `rng`.

    Parameters
    ----------
    rng : numpy.random.Generator
        For one sample, so that what it gets does not depend on other samples, workers or their order.
    clip_length : int
        Frames of a clip, for transforms that make several crops and must keep a clip's frames together.

    Yields
    ------
    Drawing
        Its `flipped` tells afterwards whether the clip was mirrored, so that a label can be mapped.
    """
    drawing = Drawing(rng, clip_length)
    token = _current.set(drawing)
    try:
        yield drawing
    finally:
        _current.reset(token)


@dataclasses.dataclass
class Drawing:
    """The draws for one clip."""

    rng: np.random.Generator
    clip_length: int = 1
    flipped: bool = False

    def flip(self, prob: float) -> bool:
        """Draw whether to mirror the clip, and note it."""
        flip = bool(self.rng.random() < prob)
        self.flipped ^= flip
        return flip


def current_drawing() -> Drawing:
    """The drawing set by `drawing_from`; without one, a new one seeded from numpy's global state."""
    drawing = _current.get()
    return drawing or Drawing(np.random.default_rng(np.random.randint(2**32, dtype=np.uint64)))


_current: contextvars.ContextVar[Drawing | None] = contextvars.ContextVar('drawing', default=None)
