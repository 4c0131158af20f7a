"""Networks as ONNX: one file, smaller than MXNet writes it, checked against the network it comes from."""
from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon

from ... import __version__
from ...errors import ModelError, OutputError, UsageError
from ...model_zoo.i3d import I3D, Head
from ...nn import SameConv3D, SameMaxPool3D, SizedBlock, batch_norms
from .graph import Graph, fold_batch_norms, name_axes, pad_same, shrink_window, simplify

#: MXNet 1.9.1 writes operators of this version of ONNX.
OPSET, IR_VERSION = 13, 8
#: Largest difference between model and network that is let through, as a part of the largest score.
TOLERANCE = 1e-4

# What can be asked for -> the operator that makes probabilities of the logits.
_OUTPUTS = {'logits': None, 'softmax': 'Softmax', 'sigmoid': 'Sigmoid'}


def export_onnx(net: gluon.HybridBlock, path: str | os.PathLike, *, input_shape: tuple[int, ...],
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
        (N, C, H, W) or (N, C, T, H, W), N a multiple of the rows that make one video.
    input_name : str
        Name of the input in the model.
    outputs : {'logits', 'softmax', 'sigmoid'}
        The last two add an output ``probabilities`` to ``logits``: of classes that exclude each other, or do not.
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
        When the file exists, an argument cannot be, or ONNX is not installed.
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
            for left in (path, _draft(path)):
                with contextlib.suppress(OSError):
                    left.unlink()
    return {'model': called(net), 'opset': OPSET, 'ir_version': IR_VERSION, **about}


def compare(net: gluon.HybridBlock, session, shape: tuple[int, ...]) -> float:
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
    expected = net(mx.nd.array(data, ctx=_context(net))).asnumpy()
    got = session.run(None, {session.get_inputs()[0].name: data})[0]
    if got.shape != expected.shape:
        return float('inf')
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))


def _check_request(net, shape: tuple, input_name: str, outputs: str) -> None:
    if len(shape) not in (4, 5) or not all(isinstance(length, int) and length > 0 for length in shape):
        raise UsageError(f'input_shape is (N, C, H, W) or (N, C, T, H, W) in whole numbers from 1, got {shape}')
    rows = rows_per_video(net)
    if shape[0] % rows:
        raise UsageError(f'input_shape {shape} is not a whole number of videos: the network combines {rows} rows '
                         f'(segments x crops); use {rows}')
    if not input_name or input_name in ('logits', 'probabilities', 'features'):
        raise UsageError(f'input_name is the name of an input, and none of the outputs\', got {input_name!r}')
    if outputs not in _OUTPUTS:
        raise UsageError(f'outputs is one of {", ".join(_OUTPUTS)}, got {outputs!r}')
    if outputs != 'logits' and _output_name(net) != 'logits':
        raise UsageError(f'outputs={outputs!r} makes probabilities of logits, but this network gives features')
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


def _draft(path: Path) -> Path:
    return path.with_name(f'.{path.name}-of-mxnet')


def _write_model(net, path: Path, shape: tuple[int, ...], input_name: str, outputs: str, metadata: dict) -> dict:
    """Write the model and return what is known of it."""
    import onnx
    if isinstance(net, SizedBlock):
        net.plan_for(*shape[2:])
    net(mx.nd.zeros(shape, ctx=_context(net)))  # says clearly what is wrong with a shape
    mx.nd.waitall()  # a weight that is read while oneDNN puts it into its own order comes out mixed up
    model = _mxnets_model(net, shape, input_name, _draft(path))
    graph = Graph(model, _weights(net))
    _rewrite(graph, net)
    graph.name_output(_output_name(net))
    if _OUTPUTS[outputs]:
        graph.add_output(_OUTPUTS[outputs], 'probabilities', **({'axis': -1} if outputs == 'softmax' else {}))
    graph.write_back()
    del graph  # its weights, which are the model's now
    tried = _free_axes(net, model, shape)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    difference = compare(net, _session(str(path)), shape)
    if not difference <= TOLERANCE:
        raise ModelError(f'the exported model differs from the network by {difference:.1e} of its largest score, more '
                         f'than {TOLERANCE}, so it is not kept')
    return {'input': {'name': input_name, 'layout': 'NCHW' if len(shape) == 4 else 'NCTHW', 'dtype': 'float32',
                      'shape': _axes(model.graph.input[0]), 'rows_per_video': rows_per_video(net)},
            'outputs': [{'name': output.name, 'shape': _axes(output)} for output in model.graph.output],
            'checked': {'input_shapes': [list(shape), *map(list, tried)], 'difference': difference}}


def _weights(net) -> dict[str, np.ndarray]:
    device = _context(net)
    weights = {parameter.name: parameter.data(device).asnumpy() for parameter in net.collect_params().values()}
    # The operator takes 1 whatever is stored, and ONNX what is stored.
    return weights | {layer.gamma.name: np.ones(layer.gamma.shape, np.float32) for layer in batch_norms(net)
                      if layer._kwargs['fix_gamma']}


def _mxnets_model(net, shape: tuple[int, ...], input_name: str, path: Path):
    """Return what MXNet makes of the network, without its weights, under the version that it really writes."""
    import onnx
    from mxnet import onnx as exporter
    parameters = {parameter.name: _Blank(parameter.shape) for parameter in net.collect_params().values()}
    try:
        with _exporting():
            exporter.export_model(net(mx.sym.var(input_name)), parameters, [shape], np.float32, str(path))
    except (AttributeError, NotImplementedError) as error:
        raise ModelError(f'{called(net)} has no counterpart in ONNX: {error}') from error
    graph = onnx.load(path).graph
    path.unlink()
    graph.name = called(net)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', OPSET)], ir_version=IR_VERSION,
                                  producer_name='gluon_action', producer_version=__version__)


@dataclass(frozen=True)
class _Blank:
    """What MXNet's exporter asks of a parameter; an array that takes no memory."""

    shape: tuple[int, ...]
    dtype: type = np.float32

    def asnumpy(self) -> np.ndarray:
        return np.broadcast_to(self.dtype(0), self.shape)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Let MXNet's exporter label its operators rightly, keep quiet, and leave weights out."""
    import onnx
    from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph
    converters = MXNetGraph.registry_[OPSET]
    plain = MXNetGraph.registry_[OPSET - 1]['null']

    def declare(node, **known):
        # MXNet makes a Python number of every weight, 32 bytes each, and four copies: gigabytes for a VGG. All weights
        # are inputs of its graph anyway.
        if known['is_input']:
            return plain(node, **known)
        array = known['weights'][node['name']]
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        return [onnx.helper.make_tensor_value_info(node['name'], kind, array.shape)], (array.dtype,)

    # Operators are labelled with the newest version that the onnx package knows, and are checked by that.
    checker, quiet = onnx.checker.DEFAULT_CONTEXT, logging.root.manager.disable
    before = checker.ir_version, checker.opset_imports
    logging.disable(logging.INFO)  # the exporter tells the name of its draft
    try:
        checker.ir_version, checker.opset_imports = IR_VERSION, {'': OPSET}
        converters['null'] = declare
        yield
    finally:
        del converters['null']
        logging.disable(quiet)
        checker.ir_version, checker.opset_imports = before


def _rewrite(graph: Graph, net) -> None:
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
    image = len(shape) - 2
    groups = [{0}, {image, image + 1}] if len(shape) == 4 else [{0}, {2}, {image, image + 1}]
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
    refusals = (mx.MXNetError, ModelError, runtime.Fail, runtime.InvalidArgument, runtime.RuntimeException)
    try:
        return compare(net, session, shape) <= TOLERANCE
    except refusals:
        return False


def _state_axes(net, model, shape: tuple[int, ...], output: list[int], free: set[int]) -> None:
    videos = rows_per_video(net) > 1
    names = ['rows' if videos else 'batch', 'channels', *(['frames'] if len(shape) == 5 else []), 'height', 'width']
    name_axes(model.graph.input[0], [name if axis in free else length
                                     for axis, (name, length) in enumerate(zip(names, shape))])
    # Behind the first two axes an output has those of the input, subsampled, or none.
    names = ['videos' if videos and len(output) == 2 else names[0], '', *(f'output_{name}' for name in names[2:])]
    for value in model.graph.output:
        name_axes(value, [name if axis in free else length for axis, (name, length) in enumerate(zip(names, output))])


def _session(model: str | bytes):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # sizes that it cannot take are tried on purpose
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def _axes(value) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _output_name(net) -> str:
    stops = getattr(net, 'final_endpoint', 'Logits') != 'Logits'
    return 'features' if stops or getattr(net, 'feat_ext', False) else 'logits'


def rows_per_video(net) -> int:
    """Return how many rows of input a network makes one score of."""
    return getattr(net, 'num_segments', 1) * getattr(net, 'num_crop', 1)


def called(net) -> str:
    """Return the name of a network."""
    card = getattr(net, 'card', None)
    return card.name if card else type(net).__name__


def _context(net) -> mx.Context:
    return next(iter(net.collect_params().values())).list_ctx()[0]
