"""Self-gating: channels weighed by what the whole clip shows."""
from __future__ import annotations

import math

import mxnet as mx
import numpy as np
from mxnet import gluon

from .composed import Composed, Scored
from .same import SizedBlock


class SelfGating(Composed, Scored, SizedBlock, gluon.nn.Conv3D):
    """Multiply every channel by ``sigmoid(W a)``, where `a` is the mean over frames and space (arXiv:1712.04851).

    Parameters
    ----------
    channels : int
        Channels C; W is C x C without a bias, and starts near 0, so that all channels start halved.
    sized : bool
        Compute in a form that is quicker to learn by on a CPU, but whose compiled graph is for one size of clip and
        fails at another: for networks that are a `SizedBlock`, which have a graph for each size.

    Notes
    -----
    Gradients of a mean, of a global pooling and of a broadcast product have no fast path on a CPU, and were two thirds
    of S3D-G's training step. Those of matrix products have: `a` is one with a vector of equal numbers, and the gate of
    a channel becomes THW of them by another.
    """

    def __init__(self, channels: int, *, sized: bool = False, **kwargs):
        super().__init__(channels=channels, kernel_size=1, in_channels=channels, use_bias=False,
                         weight_initializer=mx.init.Normal(0.01), **kwargs)
        self.composed, self._places = sized, 0

    def _fit(self, size):
        self._places = math.prod(size)
        return size, size

    def forward(self, x, *args):
        """Gate `x`, (N, C, T, H, W), whose size matters to the `sized` form alone."""
        return super().forward(x, *args) if self.composed else gluon.HybridBlock.forward(self, x, *args)

    def hybrid_forward(self, F, x, weight):
        """Gate `x`, (N, C, T, H, W)."""
        if self.only_scores:  # all in the layout that the convolutions around it have
            mean = F.Pooling(x, kernel=(1, 1, 1), global_pool=True, pool_type='avg')
            return F.broadcast_mul(x, self._gate(F, mean, weight))
        if not self.composed:
            gate = self._gate(F, F.mean(x, axis=(2, 3, 4), keepdims=True), weight)
            gated = F.linalg_gemm2(F.reshape(gate, shape=(0, 0, 1, 1)), F.reshape(x, shape=(0, 0, 1, -1)))
            return F.reshape_like(gated, x)
        places, dtype = self._places, np.dtype(self.weight.dtype).name
        # By a power of two, which is exact in every type, while float16 has no sum of so many.
        share = 2. ** -math.ceil(math.log2(places))
        rows = F.reshape(x, shape=(0, 0, -1))  # its other two axes are kept, so that no other size fits
        mean = F.FullyConnected(rows, F.ones(shape=(1, places), dtype=dtype) * share, num_hidden=1, no_bias=True,
                                flatten=False)
        gate = self._gate(F, F.reshape(mean / (share * places), shape=(0, 0, 1, 1, 1)), weight)
        wide = F.FullyConnected(F.reshape(gate, shape=(0, 0, 1)), F.ones(shape=(places, 1), dtype=dtype),
                                num_hidden=places, no_bias=True, flatten=False)
        return F.reshape_like(rows * wide, x)

    def _gate(self, F, mean, weight):
        return F.sigmoid(gluon.nn.Conv3D.hybrid_forward(self, F, mean, weight))
