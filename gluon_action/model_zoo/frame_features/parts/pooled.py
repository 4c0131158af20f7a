"""Networks that pool drawn frames feature by feature: clusters, hidden layer and context gating."""
from __future__ import annotations

from collections.abc import Callable

import mxnet as mx
from mxnet import gluon

from ....feature_architecture import Architecture
from ....nn import RowBatchNorm, RowScaling
from ..network import FeatureNetwork, scopes_of, variable
from .classifiers import classifier_of, without_diagonal
from .layers import normal, relu6, repeated, widened


class Pooled(FeatureNetwork):
    """Frames, normalised over the batch, are pooled for each feature by itself; then come classifier and hidden layer.

    Parameters
    ----------
    architecture : Architecture
    pool : callable
        Makes the layer that pools a feature, of its name and its size; the layer has ``units``, how many numbers it
        gives. It is called with frames (N, S, D) and with scale and shift, (1, D), that normalise them.
    scope : str
        What TensorFlow's scopes of these layers end with, as ``VLAD`` of ``video_VLAD``.
    batch_norm : bool
        Whether frames are normalised.
    """

    def __init__(self, architecture: Architecture, pool: Callable[[str, int], gluon.HybridBlock], *, scope: str,
                 batch_norm: bool, **kwargs):
        super().__init__(architecture, **kwargs)
        self._pools, self.units = [], 0
        with self.name_scope():
            if batch_norm:
                self.input_bn = RowScaling(architecture.width)
            self._normalised = batch_norm
            for name, size in architecture.features:
                layer = pool(name, size)
                setattr(self, f'{scopes_of(architecture)[name]}_{scope}', layer)
                self._pools.append((size, layer))
                self.units += layer.units

    def pooled(self, F, frames):
        """Drawn frames (N, S, D) to what the layers make of their features, (N, `units`)."""
        scale = shift = None
        if self._normalised:
            scale, shift = self.input_bn(F.reshape(frames, shape=(-1, self.architecture.width)))
        parts, begin = [], 0
        for size, layer in self._pools:
            part = dict(begin=begin, end=begin + size)
            affine = [F.slice_axis(one, axis=1, **part) for one in (scale, shift)] if self._normalised else []
            parts.append(layer(F.slice_axis(frames, axis=2, **part), *affine))
            begin += size
        return parts[0] if len(parts) == 1 else F.concat(*parts, dim=1)

    def finish(self, units: int, *, relu: bool, batch_norm: bool, start: int, gating: bool = False,
               remove_diag: bool = False, hidden: bool = True) -> None:
        """Make what follows the pooling: hidden layer of `units`, where there is one, gating, and the classifier."""
        with self.name_scope():
            self.hidden = Hidden(self.units, units, relu=relu, batch_norm=batch_norm, start=start) if hidden else None
            self.feat_dim = units if hidden else self.units
            self.gate = ContextGating(self.feat_dim, self.architecture.width, batch_norm=batch_norm,
                                      remove_diag=remove_diag) if gating else None
            self.classifier = classifier_of(self.architecture, self.feat_dim)

    def describe(self, F, frames, mask, num_frames):
        """Pool, and what `finish` made."""
        x = self.pooled(F, frames)
        for layer in filter(None, (self.hidden, self.gate)):
            x = layer(x)
        return x


class Hidden(gluon.HybridBlock):
    """The hidden layer behind pooled frames: ``relu6(BN(x W))``, ``relu6(x W + b)`` or ``x W + b``.

    Parameters
    ----------
    width, units : int
        Of W.
    relu, batch_norm : bool
        Without ReLU there is no batch normalisation either.
    start : int
        W starts from N(0, 1 / sqrt(start)), b from N(0, 0.01).
    """

    def __init__(self, width: int, units: int, *, relu: bool, batch_norm: bool, start: int, **kwargs):
        super().__init__(**kwargs)
        self._relu, self._normalised = relu, relu and batch_norm
        with self.name_scope():
            variable(self, 'hidden1_weights', (width, units), normal(start))
            if self._normalised:
                self.hidden1_bn = RowBatchNorm(units)
            else:
                variable(self, 'hidden1_biases', (units,), mx.init.Normal(0.01))

    def hybrid_forward(self, F, x, hidden1_weights, hidden1_biases=None):
        """Rows (N, in) to (N, out)."""
        x = F.dot(x, hidden1_weights)
        x = self.hidden1_bn(x) if self._normalised else F.broadcast_add(x, F.reshape(hidden1_biases, shape=(1, -1)))
        return relu6(F, x) if self._relu else x


class ContextGating(gluon.HybridBlock):
    """``x sigmoid(BN(x W))``, context gating (Miech et al. 2017, arXiv:1706.06905, equation 6).

    Parameters
    ----------
    units : int
        H; W is (H, H).
    width : int
        Numbers D of a frame.
    batch_norm : bool
        False: a bias of H numbers from N(0, 1 / sqrt(D)). The original stops at that, having made one as long as the
        clusters are many, so there is nothing to be equal to.
    remove_diag : bool
        Units do not look at themselves.
    """

    def __init__(self, units: int, width: int, *, batch_norm: bool, remove_diag: bool, **kwargs):
        super().__init__(**kwargs)
        self._units, self._normalised, self._remove_diag = units, batch_norm, remove_diag
        with self.name_scope():
            variable(self, 'gating_weights_2', (units, units), normal(units))
            if batch_norm:
                self.gating_bn = RowBatchNorm(units)
            else:
                variable(self, 'gating_biases', (units,), normal(width))

    def hybrid_forward(self, F, x, gating_weights_2, gating_biases=None):
        """Gate rows (N, H)."""
        gates = F.dot(x, gating_weights_2)
        if self._remove_diag:
            gates = without_diagonal(F, gates, x, gating_weights_2, self._units)
        gates = self.gating_bn(gates) if self._normalised else F.broadcast_add(
            gates, F.reshape(gating_biases, shape=(1, -1)))
        return x * F.sigmoid(gates)


class Clusters(gluon.HybridBlock):
    """Projections of frames on clusters, normalised; pooling layers are made of them.

    Parameters
    ----------
    size : int
        Numbers D of the feature.
    clusters : int
        K.
    batch_norm : bool
        False: biases of K numbers from N(0, 1 / sqrt(D)).
    """

    def __init__(self, size: int, clusters: int, *, batch_norm: bool, **kwargs):
        super().__init__(**kwargs)
        self.size, self.clusters, self._normalised = size, clusters, batch_norm
        with self.name_scope():
            variable(self, 'cluster_weights', (size, clusters), normal(size))
            if batch_norm:
                self.cluster_bn = RowBatchNorm(clusters)
            else:
                variable(self, 'cluster_biases', (clusters,), normal(size))

    def project(self, F, frames, scale, shift, cluster_weights, cluster_biases):
        """Frames (N, S, D), to be normalised by scale and shift, to rows (NS, K)."""
        rows = F.reshape(frames, shape=(-1, self.size))
        if scale is None:
            product = F.dot(rows, cluster_weights)
        else:
            # (x scale + shift) W without writing the frames once more; they are most of what there is.
            product = F.dot(rows, cluster_weights * widened(F, scale, cluster_weights))
            product = product + repeated(F, F.dot(shift, cluster_weights), rows)
        return self.cluster_bn(product) if self._normalised else F.broadcast_add(
            product, F.reshape(cluster_biases, shape=(1, -1)))

    def assign(self, F, frames, *given):
        """Frames (N, S, D) and what `project` is given to the share of each in each cluster, (N, S, K)."""
        return by_video(F, F.softmax(self.project(F, frames, *given), axis=1), frames)


def by_video(F, rows, frames):
    """Rows (NS, K) as (N, S, K), of the frames (N, S, D) that they were made of."""
    return F.reshape_like(rows, frames, lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2)


def over_frames(F, x):
    """Sums of (N, S, K) over the frames, (N, 1, K)."""
    return F.batch_dot(F.ones_like(F.slice_axis(x, axis=2, begin=0, end=1)), x, transpose_a=True)


def weighed(F, sums, weights):
    """Numbers (N, D, K), each multiplied by its own of `weights` (D, K): (N, DK)."""
    flat = F.reshape(sums, shape=(0, -1))
    return flat * repeated(F, F.reshape(weights, shape=(1, -1)), flat)


def of_each_number(F, share, sums):
    """What a cluster has of a video, (N, 1, K), for each number of its sums (N, D, K): as these."""
    return F.batch_dot(F.ones_like(F.slice_axis(sums, axis=2, begin=0, end=1)), share)


def share_of(feature: str, clusters: int, part: int) -> int:
    """Clusters of a feature: all of them, but of audio a part."""
    return max(clusters // part, 1) if feature.removeprefix('mean_') == 'audio' else clusters
