"""What an ONNX file says about itself, read without the onnx package and without its weights."""
from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from ...errors import BundleError
from ...files import open_file
from ...wire import fields, message

# Numbers of the fields in onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INPUT, _GRAPH_OUTPUT = 11, 12
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
# Where tensors are: kind of message -> number of a field -> kind of its message. Initializers are the least of it: a
# Constant has a tensor as an attribute, a sparse one is two, an If or a Loop brings graphs, and functions and training
# have nodes of their own.
_INSIDE = {
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'function': {7: 'node', 11: 'attribute'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'}}
_DEEPEST = 64  # graphs in graphs, counted in messages


@dataclass(frozen=True)
class OnnxHeader:
    """What stands around the graph of a model.

    Attributes
    ----------
    metadata : dict of str to str
    inputs, outputs : dict of str to list
        Name -> its axes: a number for a length that is fixed, a name for one that is free, None where nothing is said.
    whole : bool
        Whether all tensors are in the file itself: weights, constants, and those of the branches of an If.
    """

    metadata: dict[str, str]
    inputs: dict[str, list[int | str | None]]
    outputs: dict[str, list[int | str | None]]
    whole: bool = True


def read_header(path: str | os.PathLike) -> OnnxHeader:
    """Read the header of an ONNX file; weights are skipped, so that it takes no time.

    Raises
    ------
    BundleError
        When it cannot be read or is no ONNX file.
    """
    try:
        with open_file(path) as file:  # the map is closed with its last view
            return _header(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except ValueError as error:  # mmap refuses empty files with ValueError
        raise BundleError(f'{path}: is no ONNX file, or a damaged one ({error})') from error


def _header(content: memoryview) -> OnnxHeader:
    metadata, inputs, outputs, graphs = {}, {}, {}, 0
    for number, value in fields(content):
        if number == _MODEL_METADATA:
            entry = dict(fields(message(value)))
            metadata[_text(entry.get(1))] = _text(entry.get(2))
        elif number == _MODEL_GRAPH:
            graphs += 1
            for kind, part in fields(message(value)):
                if kind in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                    name, axes = _value_info(message(part))
                    (inputs if kind == _GRAPH_INPUT else outputs)[name] = axes
    if graphs != 1 or not inputs or not outputs:
        raise ValueError('it holds no graph with inputs and outputs')
    return OnnxHeader(metadata, inputs, outputs, not _is_elsewhere(content))


def _is_elsewhere(model: memoryview) -> bool:
    """Whether a tensor anywhere in a model says that its numbers are in another file."""
    waiting = [('model', model, 0)]
    while waiting:
        kind, content, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError('its graphs hold graphs without end')
        inside = _INSIDE.get(kind, {})
        for number, value in fields(content):
            if number in inside:
                waiting.append((inside[number], message(value), depth + 1))
            elif kind == 'tensor' and (number == _TENSOR_EXTERNAL_DATA or number == _TENSOR_DATA_LOCATION and value):
                return True
    return False


def check_whole(path: str | os.PathLike) -> None:
    """Refuse a model that keeps numbers in other files, which are whatever lies there, and whosever.

    Raises
    ------
    BundleError
        Also where it cannot be read or is no ONNX file.
    """
    if not read_header(path).whole:
        raise BundleError(f'{path}: keeps numbers in another file, which nothing answers for; save it as one file '
                          'with onnx.save(onnx.load(path), path)')


def _value_info(info: memoryview) -> tuple[str, list]:
    """Name and axes of a ValueInfoProto: type (2), tensor_type (1), shape (2), dim (1), dim_value (1) or name (2)."""
    part = dict(fields(info))
    name, axes = _text(part.get(1)), []
    for number in (2, 1, 2):
        if number not in part:
            return name, axes
        info = message(part[number])
        part = dict(fields(info))
    for number, value in fields(info):
        if number == 1:
            axis = dict(fields(message(value)))
            length = axis.get(1)
            if isinstance(length, memoryview):
                raise ValueError('an axis is no number')
            axes.append(_text(axis[2]) if 2 in axis else length)
    return name, axes


def _text(content: int | memoryview | None) -> str:
    return bytes(message(content)).decode()
