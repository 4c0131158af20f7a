"""A network as a CPU scores it fastest: batch normalisations and ReLUs are parts of the convolutions before them."""
from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Sequence

import google_crc32c
import mxnet as mx
import numpy as np
from mxnet import gluon

from ...model_zoo.recognizer import Recognizer
from ...nn import batch_norms, only_scoring
from .memory import numbers_of

_log = logging.getLogger(__name__)

# Each holds the memory of a forward pass.
_KEPT_GRAPHS = 2
# What MXNet and oneDNN say where there is no memory for a graph; there may be some after as many calls.
_SHORT_OF_MEMORY = 'could not create a memory object', 'Failed to allocate', 'bad_alloc', 'out of memory'
_CALLS_UNTIL_MEMORY = 16


def is_joined(net, contexts: Sequence[mx.Context], dtype: str = 'float32') -> bool:
    """Whether a network is one to score as a `JoinedNetwork`: of the zoo, with batch normalisations, on one CPU.

    It computes in float32, by oneDNN, which ``MXNET_MKLDNN_ENABLED=0`` turns off, and has its weights.
    """
    return (isinstance(net, Recognizer) and net.may_be_joined and dtype == 'float32'
            and [context.device_type for context in contexts] == ['cpu'] and bool(batch_norms(net))
            and all(parameter._data and parameter.dtype in (np.float32, 'float32')
                    for parameter in net.collect_params().values())
            and mx.runtime.Features().is_enabled('MKLDNN') and os.environ.get('MXNET_MKLDNN_ENABLED') != '0')


class JoinedNetwork:
    """Scores by graphs in which MXNet has joined the layers of a network, through oneDNN.

    The network itself stays as it is, and with it the graphs that it trains by and that are exported. A graph is made
    for each size of input, and the last few are kept. What MXNet cannot join is computed as the network computes it,
    and the log says so.

    Parameters
    ----------
    net : Recognizer
        With its weights, of which `is_joined` is true. When they are new ones, so are the graphs: see `__call__`.
    context : mxnet.Context
        The CPU.
    """

    def __init__(self, net: Recognizer, context: mx.Context):
        self.net = net
        self._weights = _Weights(net, context)
        self._graphs: dict[tuple[int, ...], gluon.HybridBlock] = {}
        #: Size -> for how many calls more it is scored by the network as it is.
        self._calls_without: dict[tuple[int, ...], float] = {}

    def __call__(self, x: mx.nd.NDArray) -> mx.nd.NDArray:
        """Score rows `x` outside of training.

        Weights that were trained, loaded or set since the last call are seen: convolutions keep a copy of theirs.
        """
        self.net.check_input(x.shape)
        if self._weights.changed():
            self._graphs.clear()
        size = x.shape[1:]
        if self._calls_without.get(size, 0):
            self._calls_without[size] -= 1
            return self.net(x)
        graph = self._graphs.pop(size, None)
        if graph is None:
            while len(self._graphs) >= _KEPT_GRAPHS:
                self._graphs.pop(next(iter(self._graphs)))
            try:
                graph = self._joined(x)
            except mx.MXNetError as error:
                return self._as_it_is(x, error)
        self._graphs[size] = graph
        return graph(x)

    def _joined(self, x: mx.nd.NDArray) -> gluon.HybridBlock:
        with only_scoring(self.net), warnings.catch_warnings():
            # That the type of 'data' is open, and that a network for features does not use its head.
            warnings.simplefilter('ignore')
            if x.ndim == 5:
                self.net.plan_for(*x.shape[2:])
            graph = gluon.SymbolBlock(self.net(mx.sym.var('data')), mx.sym.var('data'),
                                      params=self.net.collect_params())
            graph.optimize_for(x, backend='MKLDNN', static_alloc=True, static_shape=True)
        graph(x).wait_to_read()
        return graph

    def _as_it_is(self, x: mx.nd.NDArray, error: mx.MXNetError) -> mx.nd.NDArray:
        """Score rows that could not be scored joined; what the network cannot score either is its own error."""
        cause = str(error).strip().splitlines()[-1]
        short = any(sign in cause for sign in _SHORT_OF_MEMORY)
        if short:
            self._graphs.clear()
        scores = self.net(x)
        scores.wait_to_read()
        self._calls_without[x.shape[1:]] = _CALLS_UNTIL_MEMORY if short else math.inf
        _log.info('%s the layers of %s for an input of %s, which takes longer so: %s', 'There is not the memory to join'
                  if short else 'MXNet cannot join', type(self.net).__name__, x.shape, cause)
        return scores


class _Weights:
    """The parameters of a network, watched for new values."""

    def __init__(self, net: Recognizer, context: mx.Context):
        self._parameters, self._context = list(net.collect_params().values()), context
        self._seen: list[int] = []

    def changed(self) -> bool:
        """Whether any has another value than at the last call; the first time too. All are read, at memory's speed."""
        now = [google_crc32c.value(numbers_of(parameter.data(self._context))) for parameter in self._parameters]
        changed, self._seen = now != self._seen, now
        return changed
