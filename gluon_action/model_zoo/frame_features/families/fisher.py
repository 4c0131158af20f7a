"""NetFV: Fisher vectors of drawn frames with clusters that are learnt (Miech et al. 2017, arXiv:1706.06905)."""
from __future__ import annotations

import math

from ....feature_architecture import Architecture
from ..network import feature_model, variable
from ..parts.classifiers import CLASSIFIER, DRAWING
from ..parts.layers import NormalAround, normal, unit, unit_columns, widened
from ..parts.pooled import Clusters, Pooled, of_each_number, over_frames, share_of, weighed


@feature_model('NetFVModelLF', family='NetFV', source='arXiv:1706.06905', options=(
    *DRAWING, *CLASSIFIER, 'fv_cluster_size', 'fv_hidden_size', 'fv_relu', 'fv_couple_weights', 'fv_coupling_factor',
    'netvlad_add_batch_norm', 'gating'))
class NetFVModelLF(Pooled):
    """Fisher vectors of each feature, a hidden layer, context gating and a classifier."""

    def __init__(self, architecture: Architecture, **kwargs):
        a = architecture
        super().__init__(a, lambda name, size: Fisher(
            size, share_of(name, a.fv_cluster_size, 2), batch_norm=a.netvlad_add_batch_norm,
            coupling=a.fv_coupling_factor if a.fv_couple_weights else None), scope='FV',
            batch_norm=a.netvlad_add_batch_norm, **kwargs)
        # The original's context gating of NetFV does not read --gating_remove_diag, which is its classifier's here.
        self.finish(a.fv_hidden_size, relu=a.fv_relu, batch_norm=a.netvlad_add_batch_norm, start=a.fv_cluster_size,
                    gating=a.gating)


class Fisher(Clusters):
    """First and second order statistics of the frames of each cluster, by shares a.

    With centres c and ``s = r * r + 1e-6`` of the deviations r, ``(sum_t a x - A c) / s`` and
    ``(sum_t a x x - 2 c sum_t a x + A c c) / (s s) - A``, where ``A = sum_t a``. The first is brought to length 1 for
    each cluster, then both for all: the original's code flattens the second before it could be, unlike the first.

    Parameters
    ----------
    size, clusters, batch_norm
        See `Clusters`.
    coupling : float or None
        Centres are this times the cluster weights; None gives them weights of their own.
    """

    def __init__(self, size: int, clusters: int, *, batch_norm: bool, coupling: float | None, **kwargs):
        super().__init__(size, clusters, batch_norm=batch_norm, **kwargs)
        self.units, self._coupling = 2 * size * clusters, coupling
        variable(self, 'covar_weights', (size, clusters), NormalAround(1, 1 / math.sqrt(size)))
        if coupling is None:
            variable(self, 'cluster_weights2', (1, size, clusters), normal(size))

    def hybrid_forward(self, F, frames, scale=None, shift=None, *, cluster_weights, covar_weights,
                       cluster_weights2=None, cluster_biases=None):
        """Frames (N, S, D) to (N, 2DK)."""
        shares = self.assign(F, frames, scale, shift, cluster_weights, cluster_biases)
        first, second = (F.batch_dot(x, shares, transpose_a=True) for x in (frames, F.square(frames)))
        share = of_each_number(F, over_frames(F, shares), first)
        # With p = scale / s and q = (shift - c) / s a frame is p x + q from a centre, measured by the deviation.
        spread = F.square(covar_weights) + 1e-6
        centres = self._coupling * cluster_weights if self._coupling is not None else F.reshape(
            cluster_weights2, shape=(self.size, -1))
        p = (1 if scale is None else widened(F, scale, spread)) / spread
        q = ((0 if scale is None else widened(F, shift, spread)) - centres) / spread
        second = weighed(F, second, F.square(p)) + weighed(F, first, 2 * p * q) + weighed(F, share, F.square(q) - 1)
        first = weighed(F, first, p) + weighed(F, share, q)
        first = unit_columns(F, F.reshape(first, shape=(0, self.size, -1)), together=True)
        return F.concat(F.reshape(first, shape=(0, -1)), unit(F, second), dim=1)
