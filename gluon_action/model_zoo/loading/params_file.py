"""MXNet's parameter files (``.params``), read and written as arrays of NumPy."""
from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...errors import WeightsError
from ...files import open_file, replacing, space_left

# A file: its magic number, 0, how many arrays; the arrays; how many names; the names, each after its length.
_FILE, _ARRAY = 0x112, 0xF993FAC9
# An array: its magic number, how it is stored, its axes, its device, its type, its numbers. Versions before had no word
# on how it is stored (the second), or nothing but axes of 32 bits (without magic number: the third).
_ARRAY_OF_NUMPY, _ARRAY_BEFORE = 0xF993FACA, 0xF993FAC8
_DENSE, _ON_CPU = 0, (1, 0)
_DTYPES = dict(enumerate(map(np.dtype, ('float32', 'float64', 'float16', 'uint8', 'int32', 'int8', 'int64', 'bool'))))
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_BFLOAT16 = 12
_MOST_AXES, _MOST_NUMBERS = 32, 1 << 60


def read_parameters(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return what a parameter file holds, by key, without the ``basenet.`` of GluonCV's older TSN files.

    Raises
    ------
    WeightsError
        When it is missing, torn, or another kind of file.
    """
    others = 'gluon-action import-weights makes one of those of TensorFlow and PyTorch'
    if not Path(path).is_file():
        checkpoint = Path(path).is_dir() or Path(f'{path}.index').is_file()
        raise WeightsError(f'{path}: no such file of parameters' + f'; {others}' * checkpoint)
    try:
        arrays = read_arrays(path)
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    except ValueError as error:
        raise WeightsError(f'{path}: not a file of parameters, or a torn one ({error}); {others}') from error
    if not any('.' in key for key in arrays):
        raise WeightsError(f'{path}: has no keys of layers; it must come from save_parameters, not from export or '
                           'save_params')
    return {key.removeprefix('basenet.'): array for key, array in arrays.items()}


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; by their number where they have none.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it is torn or another kind of file.
    """
    with open_file(path) as stream:
        try:
            file = _Reader(stream.read())
        except MemoryError as error:
            raise ValueError('it is larger than the memory that is free') from error
    magic, _, count = file.numbers('<QQQ')
    if magic != _FILE:
        raise ValueError('it does not begin as one')
    arrays = [file.array() for _ in range(count)]
    names = [file.text() for _ in range(*file.numbers('<Q'))]
    if names and len(names) != count:
        raise ValueError(f'it has {len(names)} names for {count} arrays')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'it has two arrays of the name {twice!r}')
    return dict(zip(names or map(str, range(count)), arrays))


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name; the bytes are those that MXNet writes on a CPU.

    Raises
    ------
    OSError
        When not all of it could be written.
    """
    with open(path, 'wb') as file:
        file.write(struct.pack('<QQQ', _FILE, 0, len(arrays)))
        for array in arrays.values():
            file.write(struct.pack(f'<IiI{array.ndim}qiii', _ARRAY, _DENSE, array.ndim, *array.shape, *_ON_CPU,
                                   _NUMBERS[array.dtype]))
            file.write(np.ascontiguousarray(array).data)
        file.write(struct.pack('<Q', len(arrays)))
        for name in map(str.encode, arrays):
            file.write(struct.pack('<Q', len(name)) + name)


def replace_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays so that `path` is either what it was or whole.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    path = Path(path)
    with replacing(path, hint=space_left(path.parent)) as part:
        write_arrays(part, arrays)


class _Reader:
    """Takes values from the front of a file's bytes.

    Raises ValueError where they end too early, before memory is asked for.
    """

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def text(self) -> str:
        return str(self._take(*self.numbers('<Q')), 'utf-8')

    def array(self) -> np.ndarray:
        shape = self._shape()
        *_, kind = self.numbers('<iii')
        if kind == _BFLOAT16:  # the upper halves of float32
            return (self._values(np.dtype('uint16'), shape).astype(np.uint32) << 16).view(np.float32)
        if kind not in _DTYPES:
            raise ValueError(f'it holds an array of the unknown type {kind}')
        return self._values(_DTYPES[kind], shape)

    def _shape(self) -> tuple[int, ...]:
        magic, = self.numbers('<I')
        if magic in (_ARRAY, _ARRAY_OF_NUMPY) and self.numbers('<i') != (_DENSE,):
            raise ValueError('it holds a sparse array')
        axes, size = (self.numbers('<I')[0], 'q') if magic in (_ARRAY, _ARRAY_OF_NUMPY, _ARRAY_BEFORE) else (magic, 'I')
        if not (0 < axes <= _MOST_AXES or axes == 0 and magic == _ARRAY_OF_NUMPY):
            raise ValueError(f'it holds an array of {axes} axes')
        shape = self.numbers(f'<{axes}{size}')
        if min(shape, default=0) < 0 or math.prod(side for side in shape if side) > _MOST_NUMBERS:
            raise ValueError(f'it holds an array of the shape {shape}')
        return shape

    def _values(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self._take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    def _take(self, size: int) -> memoryview:
        piece = memoryview(self.content)[self.place:self.place + size]
        if len(piece) < size:
            raise ValueError('it ends too early')
        self.place += size
        return piece
