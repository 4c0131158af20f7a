"""What networks begin with that take each feature by itself through a layer between two batch normalisations."""
from __future__ import annotations

from collections.abc import Iterator

from ....nn import RowBatchNorm
from ..network import FeatureNetwork, scopes_of
from .layers import FullyConnected, relu6
from .pooled import by_video


class Branched(FeatureNetwork):
    """``relu6(BN(BN(x) W))`` of all frames, for each feature.

    Statistics are those of all rows of the input, of the zeros behind a video's last frame too: so it is in the
    original, where each video is padded to 300 frames. Layers are numbered as slim does it, those of the frames first.
    """

    draws = False

    def make_branches(self, factor: int) -> None:
        """Make the layers; W of a feature of D numbers is (D, factor * D)."""
        self._branches = []
        with self.name_scope():
            for place, (name, size) in enumerate(self.architecture.features):
                scope, units = scopes_of(self.architecture)[name], factor * size
                layers = (RowBatchNorm(size, unbiased=False), FullyConnected(size, units, biases=False),
                          RowBatchNorm(units, unbiased=False))
                for part, layer in zip((f'{scope}_input_bn', numbered(place), f'{scope}_cluster_bn'), layers):
                    setattr(self, part, layer)
                self._branches.append(layers)

    def make_head(self, place: int) -> str:
        """Return what the layer of a logistic classifier is called, the one behind `place` others."""
        self.head_prefixes = (f'{numbered(place)}.', *FeatureNetwork.head_prefixes[1:])
        return numbered(place)

    def branches(self, F, frames) -> Iterator:
        """Yield for each feature the normalised frames, (NT, D), and what the layer makes of them, (N, T, units)."""
        begin = 0
        for (_, size), (before, layer, behind) in zip(self.architecture.features, self._branches):
            part = F.slice_axis(frames, axis=2, begin=begin, end=begin + size)
            rows = before(F.reshape(part, shape=(-1, size)))
            yield rows, by_video(F, relu6(F, behind(layer(rows))), frames)
            begin += size


def numbered(place: int) -> str:
    """Return what slim calls the fully connected layer behind `place` others."""
    return f'fully_connected_{place}' if place else 'fully_connected'
