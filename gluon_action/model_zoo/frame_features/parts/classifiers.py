"""Classifiers of descriptors: logistic regression and the mixture of experts."""
from __future__ import annotations

from mxnet import gluon

from ....feature_architecture import Architecture
from ....nn import RowBatchNorm
from ..network import variable
from .layers import FullyConnected, normal


class Logistic(gluon.HybridBlock):
    """``sigmoid(x W + b)``, LogisticModel in video_level_models.py of google/youtube-8m.

    Parameters
    ----------
    width : int
        Numbers of a descriptor.
    classes : int
    l2, bias_l2 : float
        Factors of W and b.
    scope : str
        What TensorFlow calls the layer.
    """

    def __init__(self, width: int, classes: int, *, l2: float = 1e-8, bias_l2: float = 0.,
                 scope: str = 'fully_connected', **kwargs):
        super().__init__(**kwargs)
        self._called = scope
        with self.name_scope():
            setattr(self, scope, FullyConnected(width, classes, l2=l2))
        self.layer.biases.l2_factor = bias_l2

    @property
    def layer(self) -> FullyConnected:
        """W and b."""
        return getattr(self, self._called)

    def hybrid_forward(self, F, x):
        """Descriptors (N, H) to probabilities (N, K)."""
        return F.sigmoid(self.layer(x))


class MixtureOfExperts(gluon.HybridBlock):
    """Each class mixes logistic experts and one that always says no; MoeModel in video_level_models.py.

    Of experts e and gates g of a class, of which the last is the no-sayer's, ``p = sum_m softmax(g)_m sigmoid(e_m)``
    (google/youtube-8m; Jordan and Jacobs 1994). With gating of probabilities ``p sigmoid(BN(p W))``, the first of
    miha-skalic/youtube8mchallenge and antoine77340/Youtube-8M-WILLOW.

    Parameters
    ----------
    width : int
        Numbers of a descriptor.
    architecture : Architecture
        Its ``moe_...`` options, and ``gating_remove_diag``.
    """

    def __init__(self, width: int, architecture: Architecture, **kwargs):
        super().__init__(**kwargs)
        self._mixtures, classes = architecture.moe_num_mixtures, architecture.num_classes
        self._classes, self._low_rank = classes, architecture.moe_low_rank_gating != -1
        self._gated, self._by_input = architecture.moe_prob_gating, architecture.moe_prob_gating_input != 'prob'
        self._remove_diag = architecture.gating_remove_diag
        rank, l2, gates = architecture.moe_low_rank_gating, architecture.moe_l2, classes * (self._mixtures + 1)
        with self.name_scope():
            if self._low_rank:
                self.gates1 = FullyConnected(width, rank, biases=False, l2=l2)
                self.gates2 = FullyConnected(rank, gates, biases=False, l2=l2)
            else:
                self.gates = FullyConnected(width, gates, biases=False, l2=l2)
            self.experts = FullyConnected(width, classes * self._mixtures, l2=l2)
            if self._gated:
                variable(self, 'gating_prob_weights', (width if self._by_input else classes, classes), normal(classes))
                self.gating_prob_bn = RowBatchNorm(classes)

    def hybrid_forward(self, F, x, gating_prob_weights=None):
        """Descriptors (N, H) to probabilities (N, K)."""
        gates = self.gates2(self.gates1(x)) if self._low_rank else self.gates(x)
        shares = F.softmax(F.reshape(gates, shape=(-1, self._mixtures + 1)), axis=1)
        experts = F.sigmoid(F.reshape(self.experts(x), shape=(-1, self._mixtures)))
        mixed = F.sum(F.slice_axis(shares, axis=1, begin=0, end=self._mixtures) * experts, axis=1)
        probabilities = F.reshape(mixed, shape=(-1, self._classes))
        if not self._gated:
            return probabilities
        gates = F.dot(x if self._by_input else probabilities, gating_prob_weights)
        if self._remove_diag:
            gates = without_diagonal(F, gates, probabilities, gating_prob_weights, self._classes)
        return probabilities * F.sigmoid(self.gating_prob_bn(gates))


def without_diagonal(F, product, x, weights, size: int):
    """Return ``x W`` without what each number adds to itself.

    Parameters
    ----------
    product : (N, K)
        ``x W``.
    x : (N, K)
    weights : (K, K)
    size : int
        K.
    """
    # In rows of K + 1 numbers, behind which K zeros make the last one whole, the diagonal is the first column.
    zeros = F.zeros_like(F.slice_axis(weights, axis=0, begin=0, end=1))
    rows = F.reshape(F.concat(weights, zeros, dim=0), shape=(-1, size + 1))
    diagonal = F.slice_axis(rows, axis=1, begin=0, end=1)
    return product - F.broadcast_mul(x, F.reshape(diagonal, shape=(1, -1)))


def classifier_of(architecture: Architecture, width: int, **logistic) -> gluon.HybridBlock:
    """Return the classifier that ``video_level_classifier_model`` names, of descriptors of `width` numbers.

    Parameters
    ----------
    **logistic
        Settings of `Logistic`, if that is the one.
    """
    if architecture.video_level_classifier_model == 'LogisticModel':
        return Logistic(width, architecture.num_classes, **logistic)
    return MixtureOfExperts(width, architecture)


#: Options of `Architecture` that `classifier_of` looks at.
MOE = ('moe_num_mixtures', 'moe_l2', 'moe_low_rank_gating', 'moe_prob_gating', 'moe_prob_gating_input',
       'gating_remove_diag', 'batch_norm_decay')
CLASSIFIER = ('video_level_classifier_model', *MOE)
#: Those that say how frames are drawn.
DRAWING = ('iterations', 'sample_random_frames', 'sample_all')
