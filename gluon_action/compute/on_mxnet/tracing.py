"""Gluon networks seen from outside: their operators, their weights as NumPy arrays, and what they compute."""
from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import gluon

from ...nn import SizedBlock
from ..graph import Graph, read_graph

#: What MXNet raises where a network does not take an input.
EngineError = mx.MXNetError


def trace(net: gluon.HybridBlock, shape: tuple[int, ...], input_name: str = 'data') -> Graph:
    """Return the operators of a network for an input of a shape; nothing is computed."""
    if isinstance(net, SizedBlock):
        net.plan_for(*shape[2:])
    return read_graph(net(mx.sym.var(input_name)), **{input_name: tuple(shape)})


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
