"""Gluon networks seen from outside: their operators, their weights as NumPy arrays, and what they compute."""
from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import gluon

from ...nn import Composed, LayerNorm, SelfGating, SizedBlock
from ..graph import Graph, read_graph

#: What MXNet raises where a network does not take an input.
EngineError = mx.MXNetError


def trace(net: gluon.HybridBlock, shape: tuple[int, ...], input_name: str = 'data', *, training: bool = False) -> Graph:
    """Return the operators of a network for an input of a shape; nothing is computed.

    Parameters
    ----------
    training : bool
        Trace what the network trains by, where that differs from what it is exported as: random frames, and statistics
        of other kinds (see `Composed`). Dropout and batch normalisation are there in both.
    """
    if isinstance(net, SizedBlock):
        net.plan_for(*shape[2:])
    x = mx.sym.var(input_name)
    # A network that leaves as operators says so in its own forward, which is passed by.
    symbol = gluon.HybridBlock.forward(net, x) if training and _trains_otherwise(net) else net(x)
    return read_graph(symbol, **{input_name: tuple(shape)})


def _trains_otherwise(net: gluon.HybridBlock) -> bool:
    layers = []
    net.apply(lambda layer: layers.append(layer) if isinstance(layer, Composed) else None)
    # These two compute the same by either form, and elsewhere the plain one is faster.
    return not all(isinstance(layer, LayerNorm | SelfGating) for layer in layers)


def weights(net: gluon.HybridBlock) -> dict[str, np.ndarray]:
    """Return all parameters by their names in the graph."""
    mx.nd.waitall()  # a weight that is read while oneDNN puts it into its own order comes out mixed up
    device = _device(net)
    return {parameter.name: parameter.data(device).asnumpy() for parameter in net.collect_params().values()}


def run(net: gluon.HybridBlock, *inputs: np.ndarray) -> np.ndarray:
    """Return what a network computes of its inputs outside of training, on the device where it is."""
    device = _device(net)
    return net(*(mx.nd.array(data, ctx=device) for data in inputs)).asnumpy()


def _device(net: gluon.HybridBlock) -> mx.Context:
    return next(iter(net.collect_params().values())).list_ctx()[0]
