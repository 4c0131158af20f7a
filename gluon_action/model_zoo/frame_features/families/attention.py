"""Attention over the frames of a video (miha-skalic/youtube8mchallenge)."""
from __future__ import annotations

from ....feature_architecture import Architecture
from ..network import feature_model
from ..parts.branches import Branched, numbered
from ..parts.classifiers import Logistic
from ..parts.layers import FullyConnected
from ..parts.pooled import by_video


@feature_model('attention_frames_v0', options=('batch_norm_decay',), family='Attention',
               source='miha-skalic/youtube8mchallenge')
class AttentionFrames(Branched):
    """A sum of the frames of each feature, weighed by a softmax over all rows of a linear score of the frame.

    The score is of the normalised frame, not of what the layer makes of it. Rows behind the last frame have their
    share of the weight, as in the original. The classifier is logistic regression whatever is asked for.
    """

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        self.make_branches(2)
        self._scores, features = [], architecture.features
        with self.name_scope():
            for place, (_, size) in enumerate(features):
                score = FullyConnected(size, 1, biases=False)
                setattr(self, numbered(len(features) + place), score)
                self._scores.append(score)
            self.classifier = Logistic(2 * architecture.width, architecture.num_classes,
                                       scope=self.make_head(2 * len(features)))

    def describe(self, F, frames, mask, num_frames):
        """Weigh the frames."""
        parts = []
        for score, (rows, x) in zip(self._scores, self.branches(F, frames)):
            weights = F.softmax(by_video(F, score(rows), frames), axis=1)
            parts.append(F.reshape(F.batch_dot(weights, x, transpose_a=True), shape=(0, -1)))
        return parts[0] if len(parts) == 1 else F.concat(*parts, dim=1)
