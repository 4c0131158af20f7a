"""Read files of safetensors, which hold tensors and text and nothing that could be run."""
from __future__ import annotations

import os

import numpy as np
import safetensors

from ....errors import WeightsError
from ....files import open_file
from ..conversion import from_bfloat16

# What the format calls numbers -> NumPy.
_DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': 'i1', 'U64': '<u8',
           'U32': '<u4', 'U16': '<u2', 'U8': 'u1', 'BOOL': '?'}
_BFLOAT16 = 'BF16'


def begins_one(start: bytes) -> bool:
    """Return whether these, at least 9, are the first bytes of such a file: the length of a header, the header."""
    return start[8:9] == b'{' and 0 < int.from_bytes(start[:8], 'little') < 1 << 32


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the tensors of a file by name; bfloat16 as float32.

    Raises
    ------
    WeightsError
        When it cannot be read, is torn, or holds numbers of a kind that NumPy does not have.
    """
    try:
        with open_file(path) as file:
            tensors = safetensors.deserialize(file.read())
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    except safetensors.SafetensorError as error:
        raise WeightsError(f'{path}: a torn or damaged file of safetensors ({error}); copy it again') from error
    return {name: _array(path, name, tensor) for name, tensor in tensors}


def _array(path: str | os.PathLike, name: str, tensor: dict) -> np.ndarray:
    kind, shape = tensor['dtype'], tuple(tensor['shape'])
    if kind == _BFLOAT16:
        return from_bfloat16(np.frombuffer(tensor['data'], '<u2').reshape(shape))
    if kind not in _DTYPES:
        raise WeightsError(f'{path}: tensor {name} holds numbers of the kind {kind}, which is not read; save it as F32')
    dtype = np.dtype(_DTYPES[kind])
    return np.frombuffer(tensor['data'], dtype).reshape(shape).astype(dtype.newbyteorder('='), copy=False)
