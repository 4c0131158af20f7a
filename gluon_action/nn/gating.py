"""Self-gating: channels weighed by what the whole clip shows."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from .composed import Scored


class SelfGating(Scored, gluon.nn.Conv3D):
    """Multiply every channel by ``sigmoid(W a)``, where `a` is the mean over frames and space (arXiv:1712.04851).

    Parameters
    ----------
    channels : int
        Channels C; W is C x C without a bias, and starts near 0, so that all channels start halved.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(channels, 1, in_channels=channels, use_bias=False,
                         weight_initializer=mx.init.Normal(0.01), **kwargs)

    def hybrid_forward(self, F, x, weight):
        """Gate `x`, (N, C, T, H, W)."""
        if self.only_scores:  # all in the layout that the convolutions around it have
            mean = F.Pooling(x, kernel=(1, 1, 1), global_pool=True, pool_type='avg')
            return F.broadcast_mul(x, F.sigmoid(super().hybrid_forward(F, mean, weight)))
        gate = F.sigmoid(super().hybrid_forward(F, F.mean(x, axis=(2, 3, 4), keepdims=True), weight))
        # As a matrix product of (N, C, 1, 1) and (N, C, 1, THW): its gradient is one too. Those of a broadcast product
        # and of a global pooling have no fast path on a CPU, and made up two thirds of S3D-G's training step.
        gated = F.linalg_gemm2(F.reshape(gate, shape=(0, 0, 1, 1)), F.reshape(x, shape=(0, 0, 1, -1)))
        return F.reshape_like(gated, x)
