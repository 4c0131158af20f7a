"""Which layers stay in float: those that int8 makes slower here, and those that lose the most accuracy."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..onnx.model import OnnxModel, import_runtime
from ..speed.cost import import_onnx, load_model, onnx_cost, shapes_in
from .quantize import Calibration, Layer

#: A layer is timed when it is at least this part of the model; it is slower when it takes this many times as long, and
#: so many seconds more.
LARGE, SLOWER, SECONDS = 0.02, 1.1, 5e-4


@dataclass(frozen=True)
class Agreement:
    """How closely an int8 model follows its float one.

    Attributes
    ----------
    top1 : float
        Share of the clips that both put into the same class.
    error : float
        Root mean square of the differences of the scores, as a part of how much the scores of float differ from their
        mean over the classes.
    """

    top1: float
    error: float


def agreement(expected: np.ndarray, got: np.ndarray) -> Agreement:
    """Compare scores (n, K) of the same clips."""
    spread = expected - expected.mean(axis=1, keepdims=True)
    error = float(np.sqrt(np.mean((got - expected) ** 2)) / max(float(np.sqrt(np.mean(spread ** 2))), 1e-12))
    same = float(np.mean(expected.argmax(axis=1) == got.argmax(axis=1)))
    return Agreement(same, error if math.isfinite(error) else float('inf'))


def slower_layers(calibration: Calibration, shape: Sequence[int], *, threads: int | None = None) -> dict[str, str]:
    """Time every kind of large layer alone, in float and in int8, and return those that int8 makes slower.

    Parameters
    ----------
    calibration : Calibration
    shape : sequence of int
        Of the input.
    threads : int, optional

    Returns
    -------
    dict of str to str
        Name -> the two times in words.
    """
    model = load_model(calibration.path)
    nodes = {node.output[0]: node for node in model.graph.node}
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    cost = onnx_cost(calibration.path, shape)
    large = [layer for layer in calibration.layers if cost.layers[layer.name] >= LARGE * cost.macs]
    shapes = shapes_in(model, calibration.path, shape,
                       [name for layer in large for name in (nodes[layer.name].input[0], layer.name)])
    seen: dict[tuple, tuple[float, float]] = {}
    slower = {}
    for layer in large:
        node = nodes[layer.name]
        key = (layer.kind, shapes[node.input[0]], shapes[layer.weight],
               *(attribute.SerializeToString() for attribute in node.attribute))
        if key not in seen:
            constants = [arrays[name] for name in node.input[1:] if name]
            seen[key] = tuple(_seconds(make(node, constants, shapes, calibration.convolutional), threads)
                              for make in (_float_layer, _int8_layer))
        in_float, in_int8 = seen[key]
        if in_int8 > max(SLOWER * in_float, in_float + SECONDS):
            slower[layer.name] = f'slower here: {1000 * in_int8:.1f} ms in int8, {1000 * in_float:.1f} ms in float'
    return slower


def most_harmful(calibration: Calibration, layers: Sequence[Layer], batches: Sequence[np.ndarray],
                 expected: np.ndarray, folder: Path, *, threads: int | None = None,
                 on_layer: Callable[[], None] = lambda: None) -> list[tuple[str, float]]:
    """Make every layer int8 alone, and return name and error of the scores, the worst first.

    Parameters
    ----------
    batches, expected : sequence of float32 ndarray, and float32 ndarray (n, K)
        Inputs, and the scores of the float model for them.
    folder : Path
        For the models.
    on_layer : callable
        Called after each.
    """
    errors = []
    for layer in layers:
        calibration.write(folder / 'one.onnx', [layer.name])
        got = scores(OnnxModel(folder / 'one.onnx', threads=threads), batches)
        errors.append((layer.name, agreement(expected, got).error))
        on_layer()
    return sorted(errors, key=lambda entry: -entry[1])


def scores(model: OnnxModel, batches: Collection[np.ndarray]) -> np.ndarray:
    """Scores (n, K) of all batches."""
    return np.concatenate([model.run(batch) for batch in batches])


def _float_layer(node, constants: list, shapes: dict, convolutional: bool):
    onnx = import_onnx()
    kind = onnx.TensorProto.FLOAT
    return _model([node], constants, (node.input[0], kind, shapes[node.input[0]]), (node.output[0], kind))


def _int8_layer(node, constants: list, shapes: dict, convolutional: bool):
    """The layer as it is in an int8 network: between two of its kind, or of a transformer between floats."""
    onnx = import_onnx()
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    array = onnx.numpy_helper.to_array(constants[0])
    axis = 1 if node.op_type == 'MatMul' or node.op_type == 'Gemm' and not _turned(node) else 0
    channels = array.shape[axis]
    extra = {'x_scale': np.float32(0.02), 'x_zero': np.uint8(128), 'y_scale': np.float32(0.02),
             'w': np.random.default_rng(0).integers(-127, 128, array.shape).astype(np.int8),
             'w_scale': np.full(channels, 1e-3, np.float32), 'w_zero': np.zeros(channels, np.int8)}
    if len(constants) > 1:
        extra |= {'b': np.zeros(channels, np.int32), 'b_scale': np.full(channels, 2e-5, np.float32),
                  'b_zero': np.zeros(channels, np.int32)}
    nodes = [make('DequantizeLinear', ['x8', 'x_scale', 'x_zero'], ['x'], name='x'),
             make('DequantizeLinear', ['w', 'w_scale', 'w_zero'], ['wf'], name='wf', axis=axis)]
    if len(constants) > 1:
        nodes.append(make('DequantizeLinear', ['b', 'b_scale', 'b_zero'], ['bf'], name='bf', axis=0))
    layer = onnx.NodeProto()
    layer.CopyFrom(node)
    layer.input[:] = ['x', 'wf', *(['bf'] if len(constants) > 1 else [])]
    layer.output[:] = ['y']
    given, result = ('x8', kinds.UINT8), ('y8', kinds.UINT8)
    nodes.append(layer)
    if convolutional:
        nodes.append(make('QuantizeLinear', ['y', 'y_scale', 'x_zero'], ['y8'], name='y8'))
    else:
        nodes.insert(0, make('QuantizeLinear', ['x_float', 'x_scale', 'x_zero'], ['x8'], name='x8'))
        given, result = ('x_float', kinds.FLOAT), ('y', kinds.FLOAT)
    weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in extra.items()]
    return _model(nodes, weights, (*given, shapes[node.input[0]]), result)


def _turned(node) -> bool:
    return any(attribute.name == 'transB' and attribute.i for attribute in node.attribute)


def _model(nodes: list, weights: list, given: tuple, result: tuple) -> bytes:
    helper = import_onnx().helper
    graph = helper.make_graph(nodes, 'layer', [helper.make_tensor_value_info(*given)],
                              [helper.make_tensor_value_info(*result, None)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8).SerializeToString()


def _seconds(model: bytes, threads: int | None) -> float:
    """Least time of a few runs, since disturbances only add to it."""
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or 0, 3
    session = runtime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    value = session.get_inputs()[0]
    kind = np.uint8 if 'uint8' in value.type else np.float32
    data = {value.name: np.random.default_rng(0).integers(0, 3, value.shape).astype(kind)}
    session.run(None, data)
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        session.run(None, data)
        taken.append(time.perf_counter() - started)
    return min(taken)
