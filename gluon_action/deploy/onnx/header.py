"""What an ONNX file says about itself, read without the onnx package and without its weights."""
from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from ...errors import BundleError
from ...wire import fields, message

# Numbers of the fields in onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14


@dataclass(frozen=True)
class OnnxHeader:
    """What stands around the graph of a model.

    Attributes
    ----------
    metadata : dict of str to str
    inputs, outputs : dict of str to list
        Name -> its axes: a number for a length that is fixed, a name for one that is free, None where nothing is said.
    whole : bool
        Whether all weights are in the file itself.
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
        with open(path, 'rb') as file:  # the map is closed with its last view
            return _header(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except ValueError as error:  # mmap refuses empty files with ValueError
        raise BundleError(f'{path}: is no ONNX file, or a damaged one ({error})') from error


def _header(content: memoryview) -> OnnxHeader:
    metadata, inputs, outputs, graphs, whole = {}, {}, {}, 0, True
    for number, value in fields(content):
        if number == _MODEL_METADATA:
            entry = dict(fields(message(value)))
            metadata[_text(entry.get(1))] = _text(entry.get(2))
        elif number == _MODEL_GRAPH:
            graphs += 1
            for kind, part in fields(message(value)):
                if kind == _GRAPH_INITIALIZER:
                    whole = whole and not _is_elsewhere(message(part))
                if kind in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                    name, axes = _value_info(message(part))
                    (inputs if kind == _GRAPH_INPUT else outputs)[name] = axes
    if graphs != 1 or not inputs or not outputs:
        raise ValueError('it holds no graph with inputs and outputs')
    return OnnxHeader(metadata, inputs, outputs, whole)


def _is_elsewhere(tensor: memoryview) -> bool:
    return any(number == _TENSOR_EXTERNAL_DATA or number == _TENSOR_DATA_LOCATION and value != 0
               for number, value in fields(tensor))


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
            axes.append(_text(axis[2]) if 2 in axis else axis.get(1))
    return name, axes


def _text(content: int | memoryview | None) -> str:
    return bytes(message(content)).decode()
