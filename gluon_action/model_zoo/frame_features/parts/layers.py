"""Layers with TensorFlow's names and shapes, how the originals start them, and arithmetic that is fast on a CPU.

Sums over axes and numbers that are repeated along them are written as matrix products: MXNet's reductions, and the
gradients of its broadcasting operators, which are reductions, take ten times as long on a CPU.
"""
from __future__ import annotations

import math

import mxnet as mx
from mxnet import gluon

from ..network import variable


class FullyConnected(gluon.HybridBlock):
    """``x W + b`` of rows, as slim.fully_connected: W (in, out) by Glorot's rule, b from 0.

    Parameters
    ----------
    width, units : int
        Of W.
    biases : bool
        Whether there is b.
    l2 : float
        Factor of L2 regularization of W.
    init : mxnet.init.Initializer, optional
        Of W.
    """

    def __init__(self, width: int, units: int, *, biases: bool = True, l2: float = 0.,
                 init: mx.init.Initializer | None = None, **kwargs):
        super().__init__(**kwargs)
        variable(self, 'weights', (width, units), init or glorot(), l2)
        if biases:
            variable(self, 'biases', (units,), mx.init.Zero())

    def hybrid_forward(self, F, x, weights, biases=None):
        """Rows (M, in) to (M, out)."""
        product = F.dot(x, weights)
        return product if biases is None else F.broadcast_add(product, F.reshape(biases, shape=(1, -1)))


def glorot() -> mx.init.Initializer:
    """Return Glorot's rule, uniform: what slim starts weights by."""
    return mx.init.Xavier(rnd_type='uniform', factor_type='avg', magnitude=3)


def normal(size: int) -> mx.init.Initializer:
    """Return N(0, 1 / sqrt(size)), as the originals start weights that get their numbers from `size` others."""
    return mx.init.Normal(1 / math.sqrt(size))


@mx.init.register
class NormalAround(mx.init.Initializer):
    """N(mean, sigma)."""

    def __init__(self, mean: float, sigma: float):
        super().__init__(mean=mean, sigma=sigma)
        self._mean, self._sigma = mean, sigma

    def _init_weight(self, _, array):
        mx.random.normal(self._mean, self._sigma, out=array)


def unit(F, x):
    """Divide rows (N, C) by their lengths, as tf.nn.l2_normalize."""
    ones = F.ones_like(F.slice_axis(x, axis=0, begin=0, end=1))
    return x * F.dot(_inverse(F, F.dot(F.square(x), ones, transpose_b=True)), ones)


def unit_columns(F, x, together: bool = False):
    """Divide the columns of (N, D, K) by their lengths, and then, if `together`, all numbers of a row by theirs."""
    ones = F.ones_like(F.slice_axis(x, axis=2, begin=0, end=1))
    squares = F.batch_dot(ones, F.square(x), transpose_a=True)
    inverse = _inverse(F, squares)
    if together:
        lengths = F.sum(squares * F.square(inverse), axis=2, keepdims=True)
        inverse = F.broadcast_mul(inverse, _inverse(F, lengths))
    return x * F.batch_dot(ones, inverse)


def _inverse(F, squares):
    """Return what vectors are multiplied by to have length 1; a vector that is hardly there stays short."""
    return F.rsqrt(F.maximum(squares, 1e-12))


def repeated(F, row, rows):
    """A row (1, C) as often as there are `rows` (N, ...): (N, C)."""
    return F.dot(F.ones_like(F.slice_axis(rows, axis=1, begin=0, end=1)), row)


def widened(F, numbers, weights):
    """Numbers (1, D) next to each other as often as `weights` (D, K) have columns: (D, K)."""
    return F.dot(numbers, F.ones_like(F.slice_axis(weights, axis=0, begin=0, end=1)), transpose_a=True)


def relu6(F, x):
    """Cut off below 0 and above 6."""
    return F.clip(x, 0, 6)
