"""A Gluon network that scores batches on its devices."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import mxnet as mx
import numpy as np

from ...data.loading.shards import shard_bounds
from ...errors import ModelError
from ..scorer import Scorer
from .joined import JoinedNetwork, is_joined
from .memory import numbers_of


class GluonScorer(Scorer):
    """Scores rows of input.

    Parameters
    ----------
    net : callable
        Rows of input to scores, both NDArray.
    contexts : sequence of mxnet.Context
        Devices that share a batch.
    rows : int
        Consecutive rows that the network makes one score of.
    dtype : str
        Of the network's input.
    compiled : bool
        Let networks of the zoo be scored as a `JoinedNetwork` where they can be; False calls them as they are.
    """

    def __init__(self, net: Callable, contexts: Sequence[mx.Context], *, rows: int = 1, dtype: str = 'float32',
                 compiled: bool = True):
        self.contexts, self.rows, self.dtype = list(contexts), rows, dtype
        self.net = JoinedNetwork(net, contexts[0]) if compiled and is_joined(net, contexts, dtype) else net
        self.num_devices = len(self.contexts)
        self._inputs: dict[mx.Context, mx.nd.NDArray] = {}  # the largest so far
        self._lent: list[tuple[mx.nd.NDArray, np.ndarray]] = []

    def __call__(self, data: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to score `data` (R, ...); what is returned waits for the scores (R / rows, K) and gives them."""
        bounds = [(0, len(data))] if len(self.contexts) == 1 else \
            shard_bounds(len(data), len(self.contexts), multiplier=self.rows)
        outputs = [self.net(self._input(data[begin:end], context))
                   for (begin, end), context in zip(bounds, self.contexts)]
        return lambda: np.concatenate([output.asnumpy() for output in outputs])

    def memory(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Lend the memory of two arrays in turns; see `Scorer`. Devices that are no CPU, or several, get copies."""
        if self.dtype != 'float32' or [context.device_type for context in self.contexts] != ['cpu']:
            return None
        array, numbers = self._lent.pop(0) if len(self._lent) > 1 else (None, None)
        if array is None or array.shape != shape:
            array = mx.nd.empty(shape, ctx=self.contexts[0])
            numbers = numbers_of(array)
        mx.base.check_call(mx.base._LIB.MXNDArrayWaitToWrite(array.handle))
        self._lent.append((array, numbers))
        return numbers

    def count_scores(self, data: np.ndarray) -> int:
        """Return how many scores the network makes of `data`.

        Raises
        ------
        ModelError
            When it does not take so many rows, with MXNet's reason.
        """
        try:
            count = self.net(self._input(data, self.contexts[0])).shape[0]
            mx.nd.waitall()
            return count
        except mx.MXNetError as error:
            raise ModelError(str(error).strip().splitlines()[-1]) from error

    def seconds(self, data: np.ndarray, iterations: int, warmup: int = 5) -> float:
        """Time so many forward passes over `data`, which is on the first device already."""
        x = self._input(data, self.contexts[0])
        for n in range(-warmup, iterations):
            if n == 0:
                start = time.perf_counter()
            self.net(x).wait_to_read()
        return time.perf_counter() - start

    def _input(self, data: np.ndarray, context: mx.Context) -> mx.nd.NDArray:
        for array, numbers in self._lent:
            same = numbers.dtype == data.dtype and numbers.shape[1:] == data.shape[1:] and data.flags.c_contiguous
            if same and numbers.ctypes.data == data.ctypes.data:
                return array if len(data) == len(array) else array[:len(data)]
        # Always a copy of what is NumPy's. What MXNet borrows (from_numpy, zero_copy) it gives back by a call into
        # Python from a thread of its engine, and a fork, which holds Python's lock, waits for those threads: both would
        # wait for ever.
        kept = self._inputs.get(context)
        if kept is None or kept.shape[0] < len(data) or kept.shape[1:] != data.shape[1:]:
            kept = self._inputs[context] = mx.nd.empty(data.shape, ctx=context, dtype=self.dtype)
        elif kept.shape != data.shape:
            return mx.nd.array(data, ctx=context, dtype=self.dtype)
        # New memory takes longer to get than to fill. It is filled when what was scored before has been read.
        kept[:] = data
        return kept


def loss_sum(loss: Callable, scores: np.ndarray, label: np.ndarray) -> float:
    """Return the sum of the losses of samples that were scored: both (N, K)."""
    return float(loss(mx.nd, mx.nd.array(scores), mx.nd.array(label), dense=True).sum().asscalar())
