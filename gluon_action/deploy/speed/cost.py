"""What a network costs before it is run: parameters, and multiply-accumulates by layer."""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...compute.graph import Operator
from ...compute.operators import LAYERS, OPERATORS
from ...errors import BundleError, UsageError
from ..onnx.header import check_whole
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
        (N, C, H, W), (N, C, T, H, W) or (N, T, D).
    """
    from ...compute.on_mxnet.tracing import trace
    counted = {op.name: OPERATORS[op.kind].macs(op) for op in trace(net, tuple(shape)).operators
               if op.kind in OPERATORS and OPERATORS[op.kind].macs}
    learnt = (parameter for parameter in net.collect_params().values() if parameter.grad_req != 'null')
    return Cost(sum(math.prod(parameter.shape) for parameter in learnt), counted)


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
    counted = [node for node in model.graph.node if node.op_type in LAYERS]
    parameters = _parameters(model)
    shapes = shapes_in(model, path, shape, [name for node in counted for name in (*node.input[:2], node.output[0])])
    return Cost(parameters, {node.output[0]: LAYERS[node.op_type].macs(_operator(node, shapes)) for node in counted})


def _operator(node, shapes: dict) -> Operator:
    inputs, outputs = tuple(node.input[:2]), tuple(node.output[:1])
    return Operator(node.op_type, outputs[0], {}, inputs, outputs, tuple(shapes[name] for name in inputs),
                    tuple(shapes[name] for name in outputs))


def load_model(path: str | os.PathLike):
    """Return an ``onnx.ModelProto``; `BundleError` where the file is none."""
    onnx = import_onnx()
    check_whole(path)
    try:
        return onnx.load(path)
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except Exception as error:  # protobuf has a class of its own for what it cannot parse
        raise BundleError(f'{path}: is no ONNX file, or a damaged one: {error}') from error


def shapes_in(model, path: str | os.PathLike, shape: Sequence[int],
              names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Run a model once on zeros, and return the shapes of its tensors.

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
