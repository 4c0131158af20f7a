"""A Gluon network that scores batches by PyTorch."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...data.loading.shards import shard_bounds
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
    """

    def __init__(self, net, devices: Sequence[torch.device], *, rows: int = 1):
        self.devices, self.rows, self.num_devices = list(devices), rows, len(devices)
        first = TorchNetwork(net, self.devices[0])
        self._networks = [first, *(first.replica(device) for device in self.devices[1:])]

    def __call__(self, data: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to score; see `Scorer`."""
        bounds = [(0, len(data))] if len(self.devices) == 1 else \
            shard_bounds(len(data), len(self.devices), multiplier=self.rows)
        with torch.inference_mode(), telling_of_memory(_LOWER):
            scores = [Later(network(placed(data[begin:end], network.device)))
                      for (begin, end), network in zip(bounds, self._networks)]
        return lambda: np.concatenate([part.read() for part in scores])

    def seconds(self, data: np.ndarray, iterations: int, warmup: int = 5) -> float:
        """Time so many forward passes over `data`, which is on the first device already."""
        network = self._networks[0]
        with torch.inference_mode(), telling_of_memory(_LOWER):
            x = placed(data, network.device)
            for number in range(-warmup, iterations):
                if number == 0:
                    wait([network.device])
                    start = time.perf_counter()
                network(x)
            wait([network.device])
        return time.perf_counter() - start
