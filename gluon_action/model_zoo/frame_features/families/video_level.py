"""Networks of one row of features a video, and the mean of the frames (google/youtube-8m, arXiv:1609.08675)."""
from __future__ import annotations

from ....feature_architecture import Architecture
from ..network import FeatureNetwork, feature_model
from ..parts.classifiers import MOE, Logistic, MixtureOfExperts

_ABOUT = {'family': 'Video level', 'source': 'arXiv:1609.08675'}


class _OfVideos(FeatureNetwork):
    of_frames = draws = False

    def describe(self, F, frames, mask, num_frames):
        """The row of a video is its descriptor."""
        return F.reshape(frames, shape=(-1, self.architecture.width))


@feature_model('LogisticModel', options=(), **_ABOUT)
class LogisticModel(_OfVideos):
    """Logistic regression."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        with self.name_scope():
            self.classifier = Logistic(architecture.width, architecture.num_classes)


@feature_model('MoeModel', options=MOE, **_ABOUT)
class MoeModel(_OfVideos):
    """A mixture of experts."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        with self.name_scope():
            self.classifier = MixtureOfExperts(architecture.width, architecture)


@feature_model('FrameLevelLogisticModel', options=(), **_ABOUT)
class FrameLevelLogisticModel(FeatureNetwork):
    """Logistic regression of the mean of the frames; of a video without any it sees zeros."""

    draws = False

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        with self.name_scope():
            self.classifier = Logistic(architecture.width, architecture.num_classes)

    def hybrid_forward(self, F, x):
        """Score features: the mean is one product, which reads the frames and writes nothing of their size."""
        squares, mask, num_frames = self.measured(F, x)
        shares = F.broadcast_div(mask * F.rsqrt(F.maximum(squares, 1e-12)),
                                 F.expand_dims(F.maximum(num_frames, 1), axis=2))
        mean = F.batch_dot(shares, x, transpose_a=True)
        return self.classifier(F.reshape(mean, shape=(-1, self.architecture.width)))
