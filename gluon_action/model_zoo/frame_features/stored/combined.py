"""Several networks of features as one: their probabilities added up."""
from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
from mxnet import gluon


class CombinedNetwork(gluon.HybridBlock):
    """A weighted sum of the probabilities of networks that take the same input.

    Parameters
    ----------
    networks : sequence of FeatureNetwork
        Each of features (N, T, D) to probabilities (N, K).
    weights : sequence of float
        Of each network.

    Attributes
    ----------
    num_classes : int
        K.
    architecture : Architecture
        The first network's: input and classes are the same for all.
    levels : dict
        As of `FeatureNetwork`.
    """

    output_name = 'probabilities'
    card = None

    def __init__(self, networks: Sequence[gluon.HybridBlock], weights: Sequence[float]):
        super().__init__()
        self.networks, self.weights = list(networks), [float(weight) for weight in weights]
        self.architecture, self.num_classes = networks[0].architecture, networks[0].num_classes
        self.levels = {name: levels for network in networks for name, levels in network.levels.items()}
        for number, network in enumerate(self.networks):
            self.register_child(network, f'member{number}')

    def forward(self, x, *args):
        """Score features: (N, T, D) to probabilities (N, K)."""
        if isinstance(x, mx.nd.NDArray):  # each network compiles a graph of its own
            return self.hybrid_forward(mx.nd, x)
        return super().forward(x, *args)

    def hybrid_forward(self, F, x):
        """Add up what the networks say."""
        total = self.networks[0](x) * self.weights[0]
        for network, weight in zip(self.networks[1:], self.weights[1:]):
            total = total + network(x) * weight
        return total
