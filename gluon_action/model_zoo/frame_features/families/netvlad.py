"""NetVLAD and LightVLAD of drawn frames (Miech et al. 2017, arXiv:1706.06905; Arandjelovic et al. 2016)."""
from __future__ import annotations

from ....feature_architecture import Architecture
from ..network import feature_model, variable
from ..parts.classifiers import CLASSIFIER, DRAWING
from ..parts.layers import normal, unit_columns, widened
from ..parts.pooled import Clusters, Pooled, of_each_number, over_frames, share_of, weighed


@feature_model('NetVLADModelLF', family='NetVLAD', source='arXiv:1706.06905', options=(
    *DRAWING, *CLASSIFIER, 'netvlad_cluster_size', 'netvlad_hidden_size', 'netvlad_relu', 'netvlad_add_batch_norm',
    'lightvlad', 'gating'))
class NetVLADModelLF(Pooled):
    """NetVLAD of each feature, a hidden layer, context gating and a classifier."""

    def __init__(self, architecture: Architecture, **kwargs):
        a = architecture
        super().__init__(a, lambda name, size: VLAD(
            size, share_of(name, a.netvlad_cluster_size, 2), centres=not a.lightvlad,
            batch_norm=a.netvlad_add_batch_norm), scope='VLAD', batch_norm=a.netvlad_add_batch_norm, **kwargs)
        self.finish(a.netvlad_hidden_size, relu=a.netvlad_relu, batch_norm=a.netvlad_add_batch_norm,
                    start=a.netvlad_cluster_size, gating=a.gating, remove_diag=a.gating_remove_diag)


class VLAD(Clusters):
    """What is left of frames when the centres of their clusters are taken away, summed up by shares (NetVLAD).

    ``V_dk = sum_t a_tk (x_td - c_dk)``, each cluster's brought to length 1, then all together; without the centres c
    it is LightVLAD, or NetRVLAD.

    Parameters
    ----------
    size, clusters, batch_norm
        See `Clusters`.
    centres : bool
        Whether there is c.
    """

    def __init__(self, size: int, clusters: int, *, centres: bool, batch_norm: bool, **kwargs):
        super().__init__(size, clusters, batch_norm=batch_norm, **kwargs)
        self.units = size * clusters
        if centres:
            variable(self, 'cluster_weights2', (1, size, clusters), normal(size))

    def hybrid_forward(self, F, frames, scale=None, shift=None, *, cluster_weights, cluster_weights2=None,
                       cluster_biases=None):
        """Frames (N, S, D) to (N, DK)."""
        shares = self.assign(F, frames, scale, shift, cluster_weights, cluster_biases)
        sums = F.batch_dot(frames, shares, transpose_a=True)
        shift = 0 if scale is None else widened(F, shift, cluster_weights)
        if cluster_weights2 is not None:
            shift = shift - F.reshape(cluster_weights2, shape=(self.size, -1))
        # Of x scale + shift - c, which are of frames only what their sums are.
        vlad = F.reshape(sums, shape=(0, -1)) if scale is None else weighed(F, sums, widened(F, scale, cluster_weights))
        if scale is not None or cluster_weights2 is not None:
            vlad = vlad + weighed(F, of_each_number(F, over_frames(F, shares), sums), shift)
        return F.reshape(unit_columns(F, F.reshape(vlad, shape=(0, self.size, -1)), together=True), shape=(0, -1))
