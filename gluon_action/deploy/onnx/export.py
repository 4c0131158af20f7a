"""Networks as ONNX: one file, checked against the network it comes from."""
from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...compute.on_mxnet.tracing import EngineError, run, trace, weights
from ...errors import ModelError, OutputError, UsageError
from ...input_kind import kind_of_shape
from ...model_zoo.i3d import I3D, Head
from ...nn import SameConv3D, SameMaxPool3D
from .graph import OnnxGraph, fold_batch_norms, keep_levels, name_axes, pad_same, shrink_window, simplify

#: Versions of ONNX's operators and of its files: what ONNX Runtime reads since 1.10.
OPSET, IR_VERSION = 13, 8
#: Largest difference between model and network that is let through, as a part of the largest score.
TOLERANCE = 1e-4

#: Bytes of weights that a file can hold: those of a protocol buffer, less some for the graph.
LARGEST = 2 ** 31 - 2 ** 24

# What can be asked for -> the operator that makes probabilities of the logits.
_OUTPUTS = {'logits': None, 'softmax': 'Softmax', 'sigmoid': 'Sigmoid'}


def export_onnx(net, path: str | os.PathLike, *, input_shape: tuple[int, ...],
                input_name: str = 'clip', outputs: str = 'logits',
                metadata: dict[str, str] | None = None) -> dict[str, Any]:
    """Write a network as an ONNX file.

    The model is run in ONNX Runtime and compared with the network. Axes of the input may have any length where the
    model agrees with the network for another length too.

    Parameters
    ----------
    net : HybridBlock
        float32, initialised.
    path : path
        The file, which must not exist; nothing is left of it when the export fails.
    input_shape : tuple of int
        (N, C, H, W) or (N, C, T, H, W), N a multiple of the rows that make one video, or (N, T, D).
    input_name : str
        Name of the input in the model.
    outputs : {'logits', 'softmax', 'sigmoid'}
        The last two add an output ``probabilities`` to ``logits``: of classes that exclude each other, or do not.
        Networks of features give probabilities as they are.
    metadata : dict of str to str, optional
        What the file says about itself.

    Returns
    -------
    dict
        ``model``, ``opset``, ``ir_version``, ``input`` and ``outputs`` with their axes (a name for a length that is
        free), and ``checked``: the shapes of input that were tried, and the difference at the first of them as a part
        of the largest score.

    Raises
    ------
    UsageError
        When the file exists, an argument is invalid, or ONNX is not installed.
    ModelError
        When the network has an operator without a counterpart in ONNX, or the model does not agree with it.
    OutputError
        When the file cannot be written.
    """
    path, input_shape = Path(path), tuple(input_shape)
    _check_request(net, input_shape, input_name, outputs)
    check_packages()
    if path.exists():
        raise UsageError(f'{path} exists; name another file')
    whole = False
    try:
        about = _write_model(net, path, input_shape, input_name, outputs, metadata or {})
        whole = True
    except OSError as error:
        raise OutputError(f'{path}: cannot be written: {error.strerror or error}') from error
    finally:
        if not whole:
            with contextlib.suppress(OSError):
                path.unlink()
    return {'model': called(net), 'opset': OPSET, 'ir_version': IR_VERSION, **about}


def compare(net, session, shape: tuple[int, ...]) -> float:
    """Return how much a model's first output differs from the network's, as a part of the largest number in that.

    Parameters
    ----------
    net : HybridBlock
        Computes as it does outside of training.
    session : onnxruntime.InferenceSession
        Of the model.
    shape : tuple of int
        Of the input, which is drawn from [-1, 1].
    """
    data = np.random.default_rng(0).uniform(-1, 1, shape).astype('float32')
    expected = run(net, data)
    got = session.run(None, {session.get_inputs()[0].name: data})[0]
    if got.shape != expected.shape:
        return float('inf')
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))


def _check_request(net, shape: tuple, input_name: str, outputs: str) -> None:
    of_features = hasattr(net, 'architecture')
    if len(shape) not in ((3,) if of_features else (4, 5)) or not all(isinstance(length, int) and length > 0
                                                                      for length in shape):
        raise UsageError(f'input_shape is {"(N, T, D)" if of_features else "(N, C, H, W) or (N, C, T, H, W)"} in whole '
                         f'numbers from 1, got {shape}')
    rows = rows_per_video(net)
    if shape[0] % rows:
        raise UsageError(f'input_shape {shape} is not a whole number of videos: the network combines {rows} rows '
                         f'(segments x crops); use {rows}')
    if not input_name or input_name in ('logits', 'probabilities', 'features'):
        raise UsageError(f'input_name is the name of an input, and none of the outputs\', got {input_name!r}')
    if outputs not in _OUTPUTS:
        raise UsageError(f'outputs is one of {", ".join(_OUTPUTS)}, got {outputs!r}')
    if outputs != 'logits' and _output_name(net) != 'logits':
        raise UsageError(f'outputs={outputs!r} makes probabilities of logits, but this network gives '
                         f'{_output_name(net)}')
    for name, parameter in net.collect_params().items():
        if np.dtype(parameter.dtype) != np.float32:
            raise UsageError(f"{name} is {np.dtype(parameter.dtype)}; call net.cast('float32') before the export")


def check_packages() -> None:
    """Raise `UsageError` with the cure where something that exporting needs is not installed."""
    for package in ('onnx', 'onnxruntime'):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(f"exporting needs {package} ({error}): pip install 'gluon_action[onnx]'") from error


def _write_model(net, path: Path, shape: tuple[int, ...], input_name: str, outputs: str, metadata: dict) -> dict:
    """Write the model and return what is known of it."""
    import onnx
    run(net, np.zeros(shape, np.float32))  # says clearly what is wrong with a shape
    try:
        graph = OnnxGraph(trace(net, shape, input_name), weights(net))
    except NotImplementedError as error:
        raise ModelError(f'{called(net)} has no counterpart in ONNX: {error}') from error
    _rewrite(graph, net)
    keep_levels(graph, getattr(net, 'levels', {}))
    size = sum(array.nbytes for array in graph.weights.values())
    if size > LARGEST:
        raise ModelError(f'{called(net)} has {size:,} bytes of weights, and an ONNX file holds {LARGEST:,}; quantize '
                         'it first')
    graph.name_output(_output_name(net))
    if _OUTPUTS[outputs]:
        graph.add_output(_OUTPUTS[outputs], 'probabilities', **({'axis': -1} if outputs == 'softmax' else {}))
    model = graph.model(called(net), {input_name: shape}, ir_version=IR_VERSION, producer_name='gluon_action',
                        producer_version=__version__, opset_imports=[onnx.helper.make_opsetid('', OPSET)])
    del graph  # its weights, which are the model's now
    tried = _free_axes(net, model, shape)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    difference = compare(net, _session(str(path)), shape)
    if not difference <= TOLERANCE:
        raise ModelError(f'the exported model differs from the network by {difference:.1e} of its largest score, more '
                         f'than {TOLERANCE}, so it is not kept')
    kind = kind_of_shape(shape)
    return {'input': {'name': input_name, 'layout': kind.layout if kind else None, 'dtype': 'float32',
                      'shape': _axes(model.graph.input[0]), 'rows_per_video': rows_per_video(net)},
            'outputs': [{'name': output.name, 'shape': _axes(output)} for output in model.graph.output],
            'checked': {'input_shapes': [list(shape), *map(list, tried)], 'difference': difference}}


def _rewrite(graph: OnnxGraph, net) -> None:
    layers = []
    net.apply(layers.append)
    simplify(graph)
    windows = {f'{layer.name}_fwd': layer._kwargs['kernel'] for layer in layers if isinstance(layer, SameConv3D)}
    windows |= {f'{layer.name}_fwd': layer.window for layer in layers if isinstance(layer, SameMaxPool3D)}
    pad_same(graph, windows)
    fold_batch_norms(graph)
    if isinstance(net, I3D):  # its only average over windows is the head's, which shrinks in small clips
        for node in [node for node in graph.nodes if node.op_type == 'AveragePool']:
            shrink_window(graph, node.output[0], Head.WINDOW)


def _free_axes(net, model, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Name the axes of the model that may have any length, and return the shapes that showed it."""
    layout = kind_of_shape(shape).layout
    groups = [{layout.index(axis) for axis in axes} for axes in ('N', 'T', 'HW') if axes[0] in layout]
    lengths = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    _state_axes(net, model, shape, lengths, set.union(*groups))
    session = _session(model.SerializeToString())
    free, shapes = set(), []
    for axes in [set.union(*groups), *groups]:
        if axes <= free:
            continue
        for other in _other_shapes(net, shape, axes):
            if _agrees(net, session, other):
                free |= axes
                shapes.append(other)
                break
    _state_axes(net, model, shape, lengths, free)
    return shapes


def _other_shapes(net, shape: tuple[int, ...], axes: set[int]) -> list[tuple[int, ...]]:
    # Odd lengths where the shape is even, so that padding differs. Less is less work. Where that is too little, twice
    # as much: a layer that fits one size only may round smaller differences away.
    less = [length - length // 4 - 1 if length >= 8 else length + 1 for length in shape]
    more = [2 * length + 1 for length in shape]
    less[0] = more[0] = shape[0] + rows_per_video(net)
    return list(dict.fromkeys(tuple(other if axis in axes else length for axis, (other, length)
                                    in enumerate(zip(others, shape))) for others in (less, more)))


def _agrees(net, session, shape: tuple[int, ...]) -> bool:
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime
    refusals = (EngineError, ModelError, runtime.Fail, runtime.InvalidArgument, runtime.RuntimeException)
    try:
        return compare(net, session, shape) <= TOLERANCE
    except refusals:
        return False


def _state_axes(net, model, shape: tuple[int, ...], output: list[int], free: set[int]) -> None:
    videos = rows_per_video(net) > 1
    called = {'N': 'rows' if videos else 'batch', 'C': 'channels', 'T': 'frames', 'D': 'features', 'H': 'height',
              'W': 'width'}
    names = [called[axis] for axis in kind_of_shape(shape).layout]
    name_axes(model.graph.input[0], [name if axis in free else length
                                     for axis, (name, length) in enumerate(zip(names, shape))])
    # Behind the first two axes an output has those of the input, subsampled, or none.
    names = ['videos' if videos and len(output) == 2 else names[0], '', *(f'output_{name}' for name in names[2:])]
    for value in model.graph.output:
        name_axes(value, [name if name and axis in free else length
                          for axis, (name, length) in enumerate(zip(names, output))])


def _session(model: str | bytes):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # sizes that it cannot take are tried on purpose
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def _axes(value) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _output_name(net) -> str:
    stops = getattr(net, 'final_endpoint', 'Logits') != 'Logits'
    return 'features' if stops or getattr(net, 'feat_ext', False) else getattr(net, 'output_name', 'logits')


def rows_per_video(net) -> int:
    """Return how many rows of input a network makes one score of."""
    return getattr(net, 'num_segments', 1) * getattr(net, 'num_crop', 1)


def called(net) -> str:
    """Return the name of a network."""
    card = getattr(net, 'card', None)
    return card.name if card else type(net).__name__
