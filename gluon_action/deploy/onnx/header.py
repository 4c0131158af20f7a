"""What an ONNX file says about itself, read without the onnx package and without its weights."""
from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import BundleError

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
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _header(content)
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except (ValueError, IndexError) as error:  # mmap refuses empty files with ValueError
        raise BundleError(f'{path}: is no ONNX file, or a damaged one ({error})') from error


def _header(content: mmap.mmap) -> OnnxHeader:
    metadata, inputs, outputs, graphs, whole = {}, {}, {}, 0, True
    for number, value in _fields(content, 0, len(content)):
        if number == _MODEL_METADATA:
            entry = dict(_fields(content, *_span(value)))
            metadata[_text(content, entry.get(1))] = _text(content, entry.get(2))
        elif number == _MODEL_GRAPH:
            graphs += 1
            for kind, part in _fields(content, *_span(value)):
                if kind == _GRAPH_INITIALIZER:
                    whole = whole and not _is_elsewhere(content, _span(part))
                if kind in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                    name, axes = _value_info(content, _span(part))
                    (inputs if kind == _GRAPH_INPUT else outputs)[name] = axes
    if graphs != 1 or not inputs or not outputs:
        raise ValueError('it holds no graph with inputs and outputs')
    return OnnxHeader(metadata, inputs, outputs, whole)


def _is_elsewhere(content: mmap.mmap, span: tuple[int, int]) -> bool:
    return any(number == _TENSOR_EXTERNAL_DATA or number == _TENSOR_DATA_LOCATION and value != 0
               for number, value in _fields(content, *span))


def _value_info(content: mmap.mmap, span: tuple[int, int]) -> tuple[str, list]:
    """Name and axes of a ValueInfoProto: type (2), tensor_type (1), shape (2), dim (1), dim_value (1) or name (2)."""
    fields = dict(_fields(content, *span))
    name, axes = _text(content, fields.get(1)), []
    for number in (2, 1, 2):
        if number not in fields:
            return name, axes
        span = _span(fields[number])
        fields = dict(_fields(content, *span))
    for number, value in _fields(content, *span):
        if number == 1:
            axis = dict(_fields(content, *_span(value)))
            axes.append(_text(content, axis[2]) if 2 in axis else axis.get(1))
    return name, axes


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int] | None]]:
    """Yield (number, value) of a message: an integer, the span of what has a length, or None."""
    while start < end:
        key, start = _varint(content, start, end)
        number, kind = key >> 3, key & 7
        value = None
        if kind == 0:
            value, start = _varint(content, start, end)
        elif kind == 2:
            length, start = _varint(content, start, end)
            value = start, start + length
            start += length
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        else:
            raise ValueError(f'byte {start} begins no field')
        if start > end:
            raise ValueError(f'it ends before byte {start}')
        yield number, value


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = content[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
    raise ValueError(f'the number at byte {start} does not end')


def _span(value: int | tuple[int, int] | None) -> tuple[int, int]:
    if not isinstance(value, tuple):
        raise ValueError('a message stands where none can be')
    return value


def _text(content: mmap.mmap, value: int | tuple[int, int] | None) -> str:
    return '' if value is None else content[slice(*_span(value))].decode()
