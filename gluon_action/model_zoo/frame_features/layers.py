"""Layers with TensorFlow's names and shapes, and how the originals start them."""
from __future__ import annotations

import math

import mxnet as mx
from mxnet import gluon

from .network import variable


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


def unit(F, x, axis: int = 1):
    """Divide by the length along an axis, as tf.nn.l2_normalize."""
    return F.broadcast_mul(x, F.rsqrt(F.maximum(F.sum(F.square(x), axis=axis, keepdims=True), 1e-12)))


def relu6(F, x):
    """Cut off below 0 and above 6."""
    return F.clip(x, 0, 6)
