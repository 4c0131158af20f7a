"""Several passes over the same videos, each of which looks at other frames of them."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ...nn.frame_draw import set_round

# What MXNet 1.9.1 keeps of a compiled graph in its block.
_GRAPH = ('_cached_graph', '_cached_op', '_cached_op_args')


class Rounds:
    """The mean of what a network says in several passes, each of which draws other frames, always the same ones.

    Parameters
    ----------
    net : HybridBlock
        Of features; hybridized, and not changed any more.
    rounds : int
    """

    def __init__(self, net: gluon.HybridBlock, rounds: int):
        self.net, self.rounds = net, rounds
        self._layers: list = []
        net.apply(self._layers.append)
        self._graphs: list[list[dict]] = [[] for _ in range(rounds)]

    def __call__(self, x: mx.nd.NDArray) -> mx.nd.NDArray:
        """Score features: (N, T, D) to probabilities (N, K)."""
        total = None
        for number in range(self.rounds):
            set_round(self.net, number)
            for layer, graph in zip(self._layers, self._graphs[number]):  # compiled once a round, not once a batch
                vars(layer).update(graph)
            found = self.net(x)
            self._graphs[number] = [{name: vars(layer)[name] for name in _GRAPH if name in vars(layer)}
                                    for layer in self._layers]
            total = found if total is None else total + found
        return total / self.rounds
