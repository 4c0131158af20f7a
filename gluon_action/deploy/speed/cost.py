"""What a network costs before it is run: parameters, and multiply-accumulates by layer."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import BundleError, UsageError
from ..onnx.model import import_runtime, runtime_errors


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates.

    Attributes
    ----------
    parameters : int
        Numbers that were learnt; in an exported model batch normalisations are part of the convolutions before them.
    layers : dict of str to int
        Multiply-accumulates of each convolution, dense layer and matrix product, by the name of its output.
    """

    parameters: int
    layers: dict[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole network; a FLOP count is about twice as many."""
        return sum(self.layers.values())


def network_cost(net, shape: Sequence[int]) -> Cost:
    """Count what a Gluon network does with an input of a shape, without running it.

    Parameters
    ----------
    net : HybridBlock
        Initialised.
    shape : sequence of int
        (N, C, H, W) or (N, C, T, H, W).
    """
    import mxnet as mx

    from ...nn import SizedBlock
    if isinstance(net, SizedBlock):
        net.plan_for(*shape[2:])
    symbol = net(mx.sym.var('data'))
    internals = symbol.get_internals()
    shapes = dict(zip(internals.list_outputs(), internals.infer_shape(data=tuple(shape))[1]))
    nodes = json.loads(symbol.tojson())['nodes']

    def input_shape(node: dict, place: int) -> tuple[int, ...]:
        source, number, _ = node['inputs'][place]
        name = nodes[source]['name']
        return next(shapes[key] for key in (name, f'{name}_output', f'{name}_output{number}') if key in shapes)

    layers = {}
    for node in nodes:
        count = _MXNET.get(node['op'])
        if count:
            layers[node['name']] = count(math.prod(shapes[f'{node["name"]}_output']), node.get('attrs', {}),
                                         lambda place, node=node: input_shape(node, place))
    learnt = (parameter for parameter in net.collect_params().values() if parameter.grad_req != 'null')
    return Cost(sum(math.prod(parameter.shape) for parameter in learnt), layers)


def onnx_cost(path: str | os.PathLike, shape: Sequence[int]) -> Cost:
    """Count what an ONNX model does with an input of a shape.

    The model is run once on zeros, so that shapes that it works out itself are known.

    Raises
    ------
    UsageError
        When the packages that this takes are not installed.
    BundleError
        When the model cannot be loaded, or does not take the shape.
    """
    model = load_model(path)
    counted = [node for node in model.graph.node if node.op_type in _ONNX]
    parameters = _parameters(model)
    shapes = shapes_in(model, path, shape, [name for node in counted for name in (*node.input[:2], node.output[0])])
    layers = {node.output[0]: _ONNX[node.op_type](node, math.prod(shapes[node.output[0]]), shapes) for node in counted}
    return Cost(parameters, layers)


def load_model(path: str | os.PathLike):
    """Return an ``onnx.ModelProto``; `BundleError` where the file is none."""
    onnx = import_onnx()
    try:
        return onnx.load(path)
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except Exception as error:  # protobuf has a class of its own for what it cannot parse
        raise BundleError(f'{path}: is no ONNX file, or a damaged one: {error}') from error


def shapes_in(model, path: str | os.PathLike, shape: Sequence[int],
              names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Run a model once on zeros, and return the shapes of what flows through it.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed: outputs are added.
    path : path
        For messages.
    shape : sequence of int
        Of its input.
    names : iterable of str
        Weights, or outputs of nodes.

    Raises
    ------
    BundleError
        When it cannot be loaded, or does not take the shape.
    """
    onnx, runtime = import_onnx(), import_runtime()
    known = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    asked = [name for name in dict.fromkeys(names) if name not in known]
    for name in asked:
        model.graph.node.append(onnx.helper.make_node('Shape', [name], [f'{name}::shape']))
        model.graph.output.append(onnx.helper.make_tensor_value_info(f'{name}::shape', onnx.TensorProto.INT64, None))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
        found = session.run([f'{name}::shape' for name in asked],
                            {session.get_inputs()[0].name: np.zeros(tuple(shape), np.float32)})
    except runtime_errors() as error:
        reason = (str(error).splitlines() or [''])[0]
        raise BundleError(f'{path}: cannot compute an input of {" x ".join(map(str, shape))}: {reason}') from error
    return known | {name: tuple(map(int, length)) for name, length in zip(asked, found)}


def import_onnx():
    """Return the package onnx; `UsageError` with the cure where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError(f"reading a model's layers needs onnx ({error}): pip install 'gluon_action[onnx]'") from error
    return onnx


def _parameters(model) -> int:
    """Numbers of the model that are no sizes, no scales of integers and no zero points."""
    from onnx import TensorProto
    passed = {name for node in model.graph.node if node.op_type in ('QuantizeLinear', 'DequantizeLinear')
              for name in node.input[1:]}
    quantized = {node.input[0] for node in model.graph.node if node.op_type == 'DequantizeLinear'}
    # Single numbers are those of formulas.
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.name not in passed
               and math.prod(tensor.dims) > 1 and (tensor.data_type == TensorProto.FLOAT or tensor.name in quantized))


def _symbols_convolution(size: int, attributes: dict, shape) -> int:
    return size * math.prod(shape(1)[1:])


def _symbols_dense(size: int, attributes: dict, shape) -> int:
    return size * shape(1)[1]


def _symbols_product(size: int, attributes: dict, shape) -> int:
    return size * shape(0)[-2 if attributes.get('transpose_a') in ('True', '1') else -1]


# Operator -> function of the numbers of its output, its attributes, and a function that gives the shape of an input.
_MXNET = {'Convolution': _symbols_convolution, 'FullyConnected': _symbols_dense, 'batch_dot': _symbols_product,
          '_linalg_gemm2': _symbols_product, 'dot': _symbols_product}


def _convolution(node, size: int, shapes: dict) -> int:
    return size * math.prod(shapes[node.input[1]][1:])


def _dense(node, size: int, shapes: dict) -> int:
    turned = any(attribute.name == 'transA' and attribute.i for attribute in node.attribute)
    return size * shapes[node.input[0]][0 if turned else 1]


def _product(node, size: int, shapes: dict) -> int:
    return size * shapes[node.input[0]][-1]


# Operator -> function of the node, the numbers of its output, and all shapes.
_ONNX = {'Conv': _convolution, 'Gemm': _dense, 'MatMul': _product}
