"""Group normalisation with one gamma and beta a channel."""
from __future__ import annotations

from mxnet import gluon


class GroupNorm(gluon.HybridBlock):
    """Normalise each sample over groups of channels (Wu and He 2018, arXiv:1803.08494).

    MXNet's own layer has one gamma and beta a group instead of a channel (apache/mxnet#17139, mended in 2.0 only), and
    GluonCV's cannot be hybridized; this one reads the parameters of GluonCV's.

    Parameters
    ----------
    in_channels : int
        Channels C, a multiple of `num_groups`.
    num_groups : int
        Groups that the channels are divided into.
    epsilon : float
        Added to the variance.
    gamma_initializer, beta_initializer : str or mxnet.init.Initializer
        Start of the scale and of the shift.
    """

    def __init__(self, in_channels: int, num_groups: int = 32, epsilon: float = 1e-5, gamma_initializer='ones',
                 beta_initializer='zeros', **kwargs):
        super().__init__(**kwargs)
        if in_channels % num_groups:
            raise ValueError(f'{in_channels} channels cannot be divided into {num_groups} groups')
        self._num_groups, self._epsilon = num_groups, epsilon
        with self.name_scope():
            self.gamma = self.params.get('gamma', shape=(in_channels,), init=gamma_initializer)
            self.beta = self.params.get('beta', shape=(in_channels,), init=beta_initializer)

    def hybrid_forward(self, F, x, gamma, beta):
        """Normalise `x`, (N, C, H, W)."""
        groups = F.reshape(x, shape=(0, self._num_groups, -1))
        centred = F.broadcast_sub(groups, F.mean(groups, axis=2, keepdims=True))
        variance = F.mean(F.square(centred), axis=2, keepdims=True)
        normed = F.reshape_like(F.broadcast_mul(centred, F.rsqrt(variance + self._epsilon)), x)
        scaled = F.broadcast_mul(normed, F.reshape(gamma, shape=(1, -1, 1, 1)))
        return F.broadcast_add(scaled, F.reshape(beta, shape=(1, -1, 1, 1)))

    def __repr__(self):
        return f'GroupNorm(num_groups={self._num_groups}, in_channels={self.gamma.shape[0]}, eps={self._epsilon})'
