"""Deep bags of frames: hard (google/youtube-8m, arXiv:1609.08675), soft and gated (antoine77340/Youtube-8M-WILLOW)."""
from __future__ import annotations

from ....feature_architecture import Architecture
from ....nn import Composed, RowBatchNorm, RowScaling
from ..network import FeatureNetwork, feature_model, variable
from ..parts.classifiers import CLASSIFIER, DRAWING, classifier_of
from ..parts.layers import normal, relu6, unit
from ..parts.pooled import Clusters, Hidden, Pooled, by_video, over_frames, share_of

_SOFT = (*DRAWING, *CLASSIFIER, 'dbof_cluster_size', 'dbof_hidden_size', 'dbof_add_batch_norm', 'dbof_relu',
         'fc_dimred', 'softdbof_maxpool')


@feature_model('DbofModel', family='Bag of frames', source='arXiv:1609.08675', options=(
    *DRAWING, *CLASSIFIER, 'dbof_cluster_size', 'dbof_hidden_size', 'dbof_add_batch_norm', 'dbof_pooling_method'))
class DbofModel(FeatureNetwork):
    """All features of a frame on clusters, ReLU6, the largest or the mean over the frames, a hidden layer."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        a = architecture
        with self.name_scope():
            if a.dbof_add_batch_norm:
                self.input_bn = RowScaling(a.width)
            self.clusters = Bag(a.width, a.dbof_cluster_size, batch_norm=a.dbof_add_batch_norm,
                                largest=a.dbof_pooling_method == 'max')
            self.hidden = Hidden(a.dbof_cluster_size, a.dbof_hidden_size, relu=True, batch_norm=a.dbof_add_batch_norm,
                                 start=a.dbof_cluster_size)
            self.classifier = classifier_of(a, a.dbof_hidden_size)
        self.feat_dim = a.dbof_hidden_size

    def describe(self, F, frames, mask, num_frames):
        """Pool, and the hidden layer."""
        affine = self.input_bn(F.reshape(frames, shape=(-1, self.architecture.width))) \
            if self.architecture.dbof_add_batch_norm else ()
        return self.hidden(self.clusters(frames, *affine))


@feature_model('SoftDbofModelLF', family='Bag of frames', source='arXiv:1706.06905', options=_SOFT)
class SoftDbofModelLF(Pooled):
    """Soft bags of the frames of each feature, a hidden layer and a classifier."""

    #: What the frames of a feature that is not audio are put into.
    gated = False

    def __init__(self, architecture: Architecture, **kwargs):
        a = architecture

        def bag(name: str, size: int) -> Clusters:
            clusters = share_of(name, a.dbof_cluster_size, 8)
            if self.gated and clusters == a.dbof_cluster_size:
                return GatedBag(size, clusters, batch_norm=a.dbof_add_batch_norm)
            return SoftBag(size, clusters, batch_norm=a.dbof_add_batch_norm, largest=a.softdbof_maxpool)

        super().__init__(a, bag, scope='DBOF', batch_norm=a.dbof_add_batch_norm, **kwargs)
        self.finish(a.dbof_hidden_size, relu=a.dbof_relu, batch_norm=a.dbof_add_batch_norm, start=a.dbof_cluster_size,
                    hidden=a.fc_dimred)


@feature_model('GatedDbofModelLF', family='Bag of frames', source='arXiv:1706.06905', options=_SOFT)
class GatedDbofModelLF(SoftDbofModelLF):
    """Soft bags that are gated by the largest shares; of audio it is a soft bag as it is."""

    gated = True


class Bag(Clusters):
    """``relu6`` of the projections, the largest or the mean of each over the frames.

    Parameters
    ----------
    size, clusters, batch_norm
        See `Clusters`.
    largest : bool
    """

    def __init__(self, size: int, clusters: int, *, batch_norm: bool, largest: bool, **kwargs):
        super().__init__(size, clusters, batch_norm=batch_norm, **kwargs)
        self.pool = LargestOfFrames() if largest else None

    def hybrid_forward(self, F, frames, scale=None, shift=None, *, cluster_weights, cluster_biases=None):
        """Frames (N, S, D) to (N, K)."""
        x = by_video(F, relu6(F, self.project(F, frames, scale, shift, cluster_weights, cluster_biases)), frames)
        return self.pool(x) if self.pool else F.mean(x, axis=1)


class SoftBag(Clusters):
    """How much of a video is in each cluster: shares added up over the frames, brought to length 1.

    Parameters
    ----------
    size, clusters, batch_norm
        See `Clusters`.
    largest : bool
        Give the largest share of each cluster too, brought to length 1.
    """

    def __init__(self, size: int, clusters: int, *, batch_norm: bool, largest: bool, **kwargs):
        super().__init__(size, clusters, batch_norm=batch_norm, **kwargs)
        self.units = clusters * (2 if largest else 1)
        self.pool = LargestOfFrames() if largest else None

    def hybrid_forward(self, F, frames, scale=None, shift=None, *, cluster_weights, cluster_biases=None):
        """Frames (N, S, D) to (N, K), or (N, 2K)."""
        shares = self.assign(F, frames, scale, shift, cluster_weights, cluster_biases)
        sums = unit(F, F.reshape(over_frames(F, shares), shape=(0, -1)))
        return F.concat(sums, unit(F, self.pool(shares)), dim=1) if self.pool else sums


class GatedBag(Clusters):
    """Shares added up over the frames, gated by the largest: ``sigmoid(BN(m R W)) sum_t a_t``, brought to length 1.

    Parameters
    ----------
    size, clusters, batch_norm
        See `Clusters`.
    """

    def __init__(self, size: int, clusters: int, *, batch_norm: bool, **kwargs):
        super().__init__(size, clusters, batch_norm=batch_norm, **kwargs)
        self.units, self.pool = clusters, LargestOfFrames()
        with self.name_scope():
            variable(self, 'dim_red', (clusters, size), normal(size))
            variable(self, 'cluster_weights_2', (size, clusters), normal(size))
            if batch_norm:
                self.cluster_bn_2 = RowBatchNorm(clusters)
            else:
                variable(self, 'cluster_biases_2', (clusters,), normal(size))

    def hybrid_forward(self, F, frames, scale=None, shift=None, *, cluster_weights, dim_red, cluster_weights_2,
                       cluster_biases=None, cluster_biases_2=None):
        """Frames (N, S, D) to (N, K)."""
        shares = self.assign(F, frames, scale, shift, cluster_weights, cluster_biases)
        gates = F.dot(F.dot(unit(F, self.pool(shares)), dim_red), cluster_weights_2)
        gates = self.cluster_bn_2(gates) if self._normalised else F.broadcast_add(
            gates, F.reshape(cluster_biases_2, shape=(1, -1)))
        return unit(F, F.sigmoid(gates) * F.reshape(over_frames(F, shares), shape=(0, -1)))


class LargestOfFrames(Composed):
    """The largest of each column over the frames, (N, S, K) to (N, K).

    A frame that is drawn twice is largest twice. MXNet's ``max`` gives its gradient to both, in full; here one has it.
    """

    def hybrid_forward(self, F, x):
        """Pool."""
        return F.pick(x, F.argmax(x, axis=1), axis=1) if self.composed else F.max(x, axis=1)
