"""A Gluon network that scores batches by PyTorch."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...data.loading.shards import shard_bounds
from ...nn.frame_draw import set_round
from ..scorer import Scorer
from .devices import Later, placed, telling_of_memory, wait
from .network import TorchNetwork

_LOWER = 'lower --batch-size, which changes no result'


class TorchScorer(Scorer):
    """Scores rows of input.

    Parameters
    ----------
    net : mxnet.gluon.HybridBlock
        With its weights, which are copied.
    devices : sequence of torch.device
        That share a batch.
    rows : int
        Consecutive rows that the network makes one score of.
    rounds : int
        Scores are the mean of so many passes; a network of features draws other frames in each, always the same ones.
    """

    def __init__(self, net, devices: Sequence[torch.device], *, rows: int = 1, rounds: int = 1):
        self.net, self.devices, self.rows, self.num_devices = net, list(devices), rows, len(devices)
        first = TorchNetwork(net, self.devices[0])
        each = [first, *(first.replica(device) for device in self.devices[1:])]
        #: The network on every device, for each round: which frames are drawn is a part of a graph.
        self._rounds = [each, *([network.with_graphs_of_its_own() for network in each] for _ in range(1, rounds))]

    def __call__(self, data: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to score; see `Scorer`."""
        bounds = [(0, len(data))] if len(self.devices) == 1 else \
            shard_bounds(len(data), len(self.devices), multiplier=self.rows)
        with torch.inference_mode(), telling_of_memory(_LOWER):
            scores = [Later(self._scored(place, placed(data[begin:end], device)))
                      for place, ((begin, end), device) in enumerate(zip(bounds, self.devices))]
        return lambda: np.concatenate([part.read() for part in scores])

    def seconds(self, data: np.ndarray, iterations: int, warmup: int = 5) -> float:
        """Time so many forward passes over `data`, which is on the first device already."""
        device = self.devices[0]
        with torch.inference_mode(), telling_of_memory(_LOWER):
            x = placed(data, device)
            for number in range(-warmup, iterations):
                if number == 0:
                    wait([device])
                    start = time.perf_counter()
                self._scored(0, x)
            wait([device])
        return time.perf_counter() - start

    def _scored(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of the scores of all rounds, on one of the devices."""
        if len(self._rounds) == 1:
            return self._rounds[0][place](x)
        total = 0
        for number, networks in enumerate(self._rounds):
            set_round(self.net, number)  # for the graph, where there is none of this round yet
            total = total + networks[place](x)
        return total / len(self._rounds)
