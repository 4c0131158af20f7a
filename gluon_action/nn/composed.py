"""Layers that compute by several operators of MXNet's and are exported as one."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mxnet import gluon


class Composed(gluon.HybridBlock):
    """A layer that is written as several operators, because they are faster or do more than MXNet's one.

    Attributes
    ----------
    composed : bool
        Whether it computes by them, as it does unless `as_operators` says otherwise.
    """

    composed = True


def in_training(F, like):
    """Return 1 in training and 0 otherwise, in the shape of `like`, out of a graph that is the same for both.

    Dropout of ones, with a share of one half, gives 0 or 2 in training, and 1 otherwise.
    """
    return F.BlockGrad(F.square(F.Dropout(F.ones_like(like), p=0.5) - 1))


@contextlib.contextmanager
def as_operators(net: gluon.Block) -> Iterator[None]:
    """Let the composed layers inside `net` be one operator each, as long as this lasts."""
    layers = []
    net.apply(lambda layer: layers.append(layer) if isinstance(layer, Composed) and layer.composed else None)
    for layer in layers:
        layer.composed = False
    try:
        yield
    finally:
        for layer in layers:
            layer.composed = True
