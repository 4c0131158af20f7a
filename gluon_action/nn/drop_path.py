"""Stochastic depth: in training, a residual path is left out for some samples."""
from __future__ import annotations

from mxnet import gluon


class DropPath(gluon.nn.Dropout):
    """Zero a whole path for a random share of the rows, and scale it up for the others (arXiv:1603.09382).

    Parameters
    ----------
    rate : float
        Share of the rows that lose the path in training, in [0, 1). Nothing happens outside of training.
    row_axes : tuple of int
        Axes that count rows: all numbers of one row share their fate.
    ndim : int
        Axes of the input.
    """

    def __init__(self, rate: float, row_axes: tuple[int, ...] = (0,), ndim: int = 3, **kwargs):
        super().__init__(rate, axes=tuple(axis for axis in range(ndim) if axis not in row_axes), **kwargs)
