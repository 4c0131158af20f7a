"""Layers that have two forms: several operators of MXNet's or one, and one for learning or for scoring alone."""
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


class Scored(gluon.HybridBlock):
    """A layer that computes the same in a quicker way where nothing is to be learnt.

    Attributes
    ----------
    only_scores : bool
        Whether it computes so, as it does while a network is `only_scoring`.
    """

    only_scores = False


def as_operators(net: gluon.Block) -> contextlib.AbstractContextManager[None]:
    """Let the composed layers inside `net` be one operator each, as long as this lasts."""
    return _set(net, Composed, 'composed', False)


def only_scoring(net: gluon.Block) -> contextlib.AbstractContextManager[None]:
    """Let the layers inside `net` have their form for scoring, as long as this lasts; symbols that are traced keep it.

    Gradients cannot be computed through it: see `BatchNorm`.
    """
    return _set(net, Scored, 'only_scores', True)


@contextlib.contextmanager
def _set(net: gluon.Block, kind: type, name: str, value: bool) -> Iterator[None]:
    layers = []
    net.apply(lambda layer: layers.append(layer) if isinstance(layer, kind) and getattr(layer, name) != value else None)
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, name, not value)
