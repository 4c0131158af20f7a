"""NeXtVLAD: VLAD of groups of a widened frame (Lin et al. 2018, arXiv:1811.05014; linrongc/youtube-8m)."""
from __future__ import annotations

import math

import mxnet as mx
from mxnet import gluon

from ....errors import ModelError
from ....feature_architecture import Architecture
from ....nn import RowBatchNorm
from ..network import FeatureNetwork, feature_model, scopes_of, variable
from ..parts.classifiers import CLASSIFIER, classifier_of
from ..parts.layers import FullyConnected, unit_columns
from ..parts.pooled import by_video, over_frames, share_of

OPTIONS = ('nextvlad_cluster_size', 'nextvlad_hidden_size', 'groups', 'expansion', 'drop_rate', 'gating_reduction',
           'l2_penalty', *CLASSIFIER)


@feature_model('NeXtVLADModel', options=OPTIONS, family='NeXtVLAD', source='arXiv:1811.05014')
class NeXtVLADModel(FeatureNetwork):
    """NeXtVLAD of each feature, dropout, a normalised layer without activation, and a gate in two layers.

    Audio has half of the clusters and groups. All frames are looked at; statistics are those of all rows of the input,
    padding too, as in the original.
    """

    draws = False

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        with self.name_scope():
            self.clusters = Vectors(architecture)
            self.hidden = GatedLayer(self.clusters.units, architecture.nextvlad_hidden_size,
                                     architecture.gating_reduction)
            self.drop = gluon.nn.Dropout(architecture.drop_rate)
            self.classifier = classifier_of(architecture, architecture.nextvlad_hidden_size,
                                            l2=architecture.l2_penalty, bias_l2=architecture.l2_penalty)

    def describe(self, F, frames, mask, num_frames):
        """Pool the features and put them through the layer."""
        return self.hidden(self.drop(self.clusters(frames, mask)))


class Vectors(gluon.HybridBlock):
    """`NeXtVLAD` of all features.

    Parameters
    ----------
    architecture : Architecture
    scope : str
        What TensorFlow's scopes end with.

    Attributes
    ----------
    units : int
        Numbers that it gives.
    """

    def __init__(self, architecture: Architecture, scope: str = 'VLAD', **kwargs):
        super().__init__(**kwargs)
        self._layers, a = [], architecture
        with self.name_scope():
            for name, size in a.features:
                layer = NeXtVLAD(size, share_of(name, a.nextvlad_cluster_size, 2), share_of(name, a.groups, 2),
                                 a.expansion)
                setattr(self, f'{scopes_of(a)[name]}_{scope}', layer)
                self._layers.append((size, layer))
        self.units = sum(layer.units for _, layer in self._layers)

    def hybrid_forward(self, F, frames, mask):
        """Frames (N, T, D) and a mask (N, T, 1) to (N, units)."""
        parts, begin = [], 0
        for size, layer in self._layers:
            parts.append(layer(F.slice_axis(frames, axis=2, begin=begin, end=begin + size), mask))
            begin += size
        return parts[0] if len(parts) == 1 else F.concat(*parts, dim=1)


class NeXtVLAD(gluon.HybridBlock):
    """Differences of the groups of widened frames from the clusters' centres, weighed by assignment and attention.

    ``x' = x We + be``; attention of group g is ``sigmoid(x' Wa + ba)_g``, 0 behind the last frame; its assignment the
    softmax over clusters of ``BN(x' Wc)``. All groups share the centres (equations 4 to 7 of the paper).

    Parameters
    ----------
    size : int
        Numbers D of the feature.
    clusters, groups : int
        K and G.
    expansion : int
        x' has ``expansion * D`` numbers, which G divides.

    Attributes
    ----------
    units : int
        Numbers that it gives: a group's times K.

    Raises
    ------
    ModelError
        When the groups do not divide the widened frame.
    """

    def __init__(self, size: int, clusters: int, groups: int, expansion: int, **kwargs):
        super().__init__(**kwargs)
        wide = expansion * size
        if wide % groups:
            raise ModelError(f'--groups: a feature of {size} numbers, {expansion} times as wide (--expansion), cannot '
                             f'be divided into {groups} groups')
        self._size, self._clusters, self._group = size, clusters, wide // groups
        self.units = self._group * clusters
        with self.name_scope():
            self.fully_connected = FullyConnected(size, wide, init=He())
            self.fully_connected_1 = FullyConnected(wide, groups, init=He())
            variable(self, 'cluster_weights', (wide, groups * clusters), He())
            self.cluster_bn = RowBatchNorm(groups * clusters, unbiased=False)
            variable(self, 'cluster_weights2', (1, self._group, clusters), He())
            self.vlad_bn = RowBatchNorm(self.units, unbiased=False)

    def hybrid_forward(self, F, frames, mask, cluster_weights, cluster_weights2):
        """Frames (N, T, D) and a mask (N, T, 1) to (N, units)."""
        rows = self.fully_connected(F.reshape(frames, shape=(-1, self._size)))
        attention = F.broadcast_mul(by_video(F, F.sigmoid(self.fully_connected_1(rows)), frames), mask)
        shares = by_video(F, self.cluster_bn(F.dot(rows, cluster_weights)), frames)
        # From here on a group of a frame counts as a frame: (N, TG, ...).
        shares = F.softmax(F.reshape(shares, shape=(0, -1, self._clusters)), axis=2)
        shares = F.broadcast_mul(shares, F.reshape(attention, shape=(0, -1, 1)))
        parts = F.reshape(by_video(F, rows, frames), shape=(0, -1, self._group))
        sums = F.batch_dot(parts, shares, transpose_a=True)
        vectors = sums - F.broadcast_mul(over_frames(F, shares), cluster_weights2)
        return self.vlad_bn(F.reshape(unit_columns(F, vectors), shape=(0, -1)))


class GatedLayer(gluon.HybridBlock):
    """``h sigmoid(relu(BN(h V)) U)`` of ``h = BN(x W)``, as squeeze and excitation (arXiv:1709.01507) without biases.

    Parameters
    ----------
    width, units : int
        Of W.
    reduction : int
        V is (units, units / reduction).
    """

    def __init__(self, width: int, units: int, reduction: int, **kwargs):
        super().__init__(**kwargs)
        few = units // reduction
        if not few:
            raise ModelError(f'--gating_reduction {reduction} leaves nothing of the {units} units of '
                             '--nextvlad_hidden_size')
        with self.name_scope():
            variable(self, 'hidden1_weights', (width, units), He())
            self.hidden1_bn = RowBatchNorm(units, unbiased=False)
            variable(self, 'gating_weights_1', (units, few), He())
            self.gating_bn = RowBatchNorm(few)
            variable(self, 'gating_weights_2', (few, units), He())

    def hybrid_forward(self, F, x, hidden1_weights, gating_weights_1, gating_weights_2):
        """Rows (N, width) to (N, units)."""
        hidden = self.hidden1_bn(F.dot(x, hidden1_weights))
        gates = F.dot(F.relu(self.gating_bn(F.dot(hidden, gating_weights_1))), gating_weights_2)
        return hidden * F.sigmoid(gates)


@mx.init.register
class He(mx.init.Initializer):
    """A normal distribution, cut off at 2 deviations, of variance 2.6 / in (slim.variance_scaling_initializer).

    Cut off, its variance is about 2 / in, as He et al. 2015, arXiv:1502.01852, have it.
    """

    def _init_weight(self, _, array):
        within = math.erf(2 ** 0.5)
        deviation = math.sqrt(2.6 / math.prod(array.shape[:-1]))
        drawn = mx.nd.random.uniform(-within, within, shape=array.shape, ctx=array.context)
        array[:] = mx.nd.erfinv(drawn) * (deviation * 2 ** 0.5)
