"""Multi-head self-attention over one axis of tokens, and the parts of a transformer's block around it."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError


class Linear(gluon.nn.Dense):
    """A dense layer on the last axis that starts with weights of standard deviation 0.02, as in ViT."""

    def __init__(self, in_units: int, units: int, weight_initializer=None, **kwargs):
        # ViT's truncated normal cuts off at 2, a hundred standard deviations: it is the normal distribution.
        super().__init__(units, in_units=in_units, flatten=False,
                         weight_initializer=weight_initializer or mx.init.Normal(0.02), **kwargs)


class Attention(gluon.HybridBlock):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762), as ViT has it.

    Parameters
    ----------
    dim : int
        Width D of a token.
    heads : int
        Heads; they divide D.
    axis : int
        Axis of the input along which tokens attend to each other; every index of the axes before the last that are
        not this one is a sequence of its own.
    ndim : int
        Axes of the input; the last is D.

    Raises
    ------
    ModelError
        When the heads do not divide D.
    """

    def __init__(self, dim: int, heads: int, *, axis: int = 1, ndim: int = 3, **kwargs):
        super().__init__(**kwargs)
        if dim % heads:
            raise ModelError(f'a width of {dim} cannot be divided into {heads} heads')
        self._heads, self._scale = heads, (dim // heads) ** -0.5
        rest = [other for other in range(ndim - 1) if other != axis]
        # Axes of (..., 3 * heads, D / heads) -> (rest, 3 * heads, axis, D / heads), and of the result back again.
        self._inwards = (*rest, ndim - 1, axis, ndim)
        self._outwards = tuple(self._inwards.index(place) for place in range(ndim + 1))
        self._part, self._keep = ndim - 2, (0,) * (ndim - 1)
        with self.name_scope():
            self.qkv = Linear(dim, 3 * dim, prefix='qkv_')
            self.proj = Linear(dim, dim, prefix='proj_')

    def hybrid_forward(self, F, x):
        """Let the tokens (..., D) of each sequence attend to each other."""
        parts = F.reshape(self.qkv(x), shape=(*self._keep, 3 * self._heads, -1))
        query, key, value = F.SliceChannel(F.transpose(parts, axes=self._inwards), num_outputs=3, axis=self._part)
        shares = F.softmax(F.linalg_gemm2(query, key, transpose_b=True, alpha=self._scale), axis=-1)
        seen = F.transpose(F.linalg_gemm2(shares, value), axes=self._outwards)
        return self.proj(F.reshape(seen, shape=(*self._keep, -1)))


class MLP(gluon.HybridBlock):
    """Two dense layers with an exact GELU between them, on the last axis."""

    def __init__(self, dim: int, hidden: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.fc1 = Linear(dim, hidden, prefix='fc1_')
            self.fc2 = Linear(hidden, dim, prefix='fc2_')

    def hybrid_forward(self, F, x):
        """Tokens (..., D) to tokens (..., D)."""
        return self.fc2(F.LeakyReLU(self.fc1(x), act_type='gelu'))
