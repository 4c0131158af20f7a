"""Segment consensus: the scores of a video's segments become one."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError

KINDS = ('avg', 'max', 'weighted')


class Consensus(gluon.HybridBlock):
    """Combine S x C rows a video into one (Wang et al. 2016, arXiv:1608.00859, section 3.1).

    Parameters
    ----------
    num_segments : int
        Segments S.
    num_crop : int
        Crops C of each segment; rows are ordered with segments outermost. Crops are always averaged, the consensus is
        between segments.
    kind : {'avg', 'max', 'weighted'}
        The paper's three: mean of the segments, largest of them, or their sum under S learned weights, which start at
        1/S, so that an untrained weighted consensus is the average.
    """

    def __init__(self, num_segments: int, num_crop: int = 1, kind: str = 'avg', **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ModelError(f'consensus is one of {", ".join(KINDS)}, got {kind!r}')
        self.kind, self._num_segments, self._num_crop = kind, num_segments, num_crop
        if kind == 'weighted':
            with self.name_scope():
                self.weight = self.params.get('weight', shape=(1, num_segments, 1),
                                              init=mx.init.Constant(1 / num_segments))

    def hybrid_forward(self, F, x, weight=None):
        """Combine (B*S*C, K) to (B, K)."""
        if self.kind == 'avg':
            return F.mean(self._grouped(F, x, self._num_segments * self._num_crop), axis=1)
        if self._num_crop > 1:
            x = F.mean(self._grouped(F, x, self._num_crop), axis=1)
        segments = self._grouped(F, x, self._num_segments)
        if self.kind == 'max':
            return F.max(segments, axis=1)
        return F.sum(F.broadcast_mul(segments, weight), axis=1)

    @staticmethod
    def _grouped(F, x, count):
        # (B*count, K) -> (B, count, K). The extra axis puts K where code 0 copies it, so K need not be known.
        return F.reshape(F.expand_dims(x, axis=1), shape=(-1, count, 0))
