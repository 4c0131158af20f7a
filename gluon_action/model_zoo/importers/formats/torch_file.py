"""Read files of ``torch.save`` without PyTorch and without running code from them."""
from __future__ import annotations

import contextlib
import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ....errors import WeightsError
from ....files import open_file
from ..conversion import from_bfloat16
from .safe_pickle import BFLOAT16, Reader, Storage, Tensor

# Where training scripts put the weights among other things.
_STATE_DICTS = ('state_dict', 'model_state_dict', 'model_state', 'model', 'net')
# Bytes of pickles: weights need far less.
_MOST_PICKLE = 1 << 24
# What a file of PyTorch before 1.6 begins with, as a pickle of its own, and the version that follows it.
_MAGIC, _VERSION = 0x1950a86a20f9469cfc6c, 1001


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name.

    Parameters
    ----------
    path : str or path
        A file of ``torch.save(model.state_dict(), path)``, or of a dict that has one under ``'state_dict'`` and other
        things beside it, which are left alone. ``module.`` in front of every name is taken off.

    Returns
    -------
    dict
        In the byte order of this machine; bfloat16 as float32.

    Raises
    ------
    WeightsError
        When the file is not one, torn or damaged, or holds more than tensors, numbers, text and containers of them;
        what it would have run is named.
    """
    return read_file(path)[0]


def read_file(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what `read_state_dict` does, and the names of what else the file holds beside the weights."""
    path = Path(path)
    with _opened(path) as archive:
        content = archive.content()
        state, others = _state_dict(content)
        if not state:
            raise WeightsError(f'{path}: holds no dict of tensors but {_describe(content)}; save the weights alone: '
                               'torch.save(model.state_dict(), path)')
        storages = {}
        arrays = {name: _materialise(path, archive, storages, name, tensor) for name, tensor in state.items()}
    if all(name.startswith('module.') for name in arrays):
        arrays = {name.removeprefix('module.'): array for name, array in arrays.items()}
    return arrays, others


class _Archive:
    """The members of a file; their names begin with that of the file as it was saved."""

    def __init__(self, path: Path, file: zipfile.ZipFile):
        self.path, self._file = path, file
        members = {info.filename: info for info in file.infolist()}
        roots = [name.removesuffix('data.pkl') for name in members if name.endswith('/data.pkl')]
        if len(roots) != 1:
            raise WeightsError(f'{path}: a zip file, but not of torch.save: it has {len(roots)} files data.pkl')
        self._members = {name.removeprefix(roots[0]): info for name, info in members.items()}
        if 'constants.pkl' in self._members:
            raise WeightsError(f'{path}: a TorchScript program, not weights; save the weights alone: '
                               'torch.save(torch.jit.load(path).state_dict(), new_path)')
        self.order = '>' if 'byteorder' in self._members and self.read('byteorder') == b'big' else '<'

    def content(self):
        """Return what the file holds beside numbers."""
        if self.size('data.pkl') > _MOST_PICKLE:
            raise WeightsError(f'{self.path}: its data.pkl has {self.size("data.pkl")} bytes, more than weights need')
        return Reader(self.path, 'data.pkl').content(self.read('data.pkl'))

    def storage(self, storage: Storage) -> bytes:
        """Return the numbers of a storage."""
        return self.read(f'data/{storage.key}')

    def size(self, name: str) -> int:
        info = self._members.get(name)
        if info is None:
            raise WeightsError(f'{self.path}: torn: {name} is missing in it')
        return info.file_size

    def read(self, name: str) -> bytes:
        size, info = self.size(name), self._members[name]
        if info.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(f'{self.path}: {name} in it is compressed, which torch.save does not do; the file was '
                               'packed again by another program')
        whole = os.fstat(self._file.fp.fileno()).st_size
        if max(size, info.compress_size) > whole:  # memory would be taken for as many
            raise WeightsError(f'{self.path}: torn: {name} has {size} bytes, the file {whole}')
        data = self._file.read(info)
        if len(data) != size:
            raise WeightsError(f'{self.path}: torn: {name} has {len(data)} bytes instead of {size}')
        return data


class _OldArchive:
    """A file as PyTorch wrote it before 1.6, and writes it where it is told to: five pickles, then the numbers.

    The pickles are a magic number, the version of the format, what the machine was like, what was saved, and the keys
    of the storages, which follow in this order, each behind its count.
    """

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self._file, self._places = path, file, {}
        # Only as much is read as pickles may have.
        self._start = io.BytesIO(file.read(_MOST_PICKLE))
        if self._next('first pickle') != _MAGIC:
            raise WeightsError(f'{path}: a pickle, but not of torch.save; save weights with '
                               'torch.save(model.state_dict(), path)')
        version, machine = self._next('version'), self._next('description of the machine')
        if version != _VERSION:
            raise WeightsError(f'{path}: a file of torch.save in version {version} of its format; {_VERSION} can be '
                               'read')
        self.order = '<' if isinstance(machine, dict) and machine.get('little_endian', True) else '>'

    def _next(self, name: str):
        return Reader(self.path, name).content(self._start)

    def content(self):
        """Return what the file holds beside numbers."""
        reader = Reader(self.path, 'pickle of names')
        content = reader.content(self._start)
        keys, place = self._next('list of storages'), self._start.tell()
        whole = os.fstat(self._file.fileno()).st_size
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) \
                or set(keys) != set(reader.storages):
            raise WeightsError(f'{self.path}: damaged: its list of storages is not that of its tensors')
        for key in keys:
            self._file.seek(place)
            count = int.from_bytes(self._file.read(8), 'little' if self.order == '<' else 'big')
            if count != reader.storages[key].count:
                raise WeightsError(f'{self.path}: damaged: storage {key} has {count} numbers instead of '
                                   f'{reader.storages[key].count}')
            size = count * _dtype(reader.storages[key].dtype).itemsize
            self._places[key], place = (place + 8, size), place + 8 + size
            if place > whole:
                raise WeightsError(f'{self.path}: torn: storage {key} ends at byte {place} of {whole}')
        return content

    def storage(self, storage: Storage) -> bytes:
        """Return the numbers of a storage."""
        place, size = self._places[storage.key]
        self._file.seek(place)
        data = self._file.read(size)
        if len(data) != size:
            raise WeightsError(f'{self.path}: torn: storage {storage.key} has {len(data)} bytes instead of {size}')
        return data


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Archive | _OldArchive]:
    try:
        with open_file(path) as file:
            start = file.read(4)
            file.seek(0)
            if start[:1] == b'\x80':
                yield _OldArchive(path, file)
                return
            if start[:2] != b'PK':
                raise WeightsError(f'{path}: not a file of torch.save: it begins with {start.hex() or "nothing"}')
            with zipfile.ZipFile(file) as archive:
                yield _Archive(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f'{path}: a torn or damaged file of torch.save ({error}); copy it again') from error
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error


def _state_dict(content, depth: int = 2) -> tuple[dict[str, Tensor], list[str]]:
    """Return the dict of tensors in what a file holds, empty when there is none, and the names of all else."""
    if not isinstance(content, dict):
        return {}, []
    for key in _STATE_DICTS if depth else ():
        inside, others = _state_dict(content.get(key), depth - 1)
        if inside:
            return inside, [*(f'{key}/{name}' for name in others), *(str(name) for name in content if name != key)]
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    return tensors, [str(name) for name in content if name not in tensors]


def _describe(content) -> str:
    if isinstance(content, dict):
        return f'a dict of {", ".join(map(str, list(content)[:5])) or "nothing"}'
    return f'a {type(content).__name__.strip("_").lower()}'


def _materialise(path: Path, archive: _Archive | _OldArchive, storages: dict, name: str, tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array of its own; its shape and strides are checked against the bytes that are there."""
    dtype, key = _dtype(tensor.dtype).newbyteorder(archive.order), tensor.storage.key
    if key not in storages:
        storages[key] = archive.storage(tensor.storage)
    data = storages[key]
    count = len(data) // dtype.itemsize
    shape, strides = tensor.shape, tensor.strides
    plain = len(shape) == len(strides) and min((tensor.offset, *shape, *strides)) >= 0
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if not plain or (math.prod(shape) and last >= count):
        raise WeightsError(f'{path}: damaged: tensor {name} {shape} with strides {strides} from {tensor.offset} does '
                           f'not fit its {count} numbers')
    if math.prod(shape) > count:
        raise WeightsError(f'{path}: tensor {name} {shape} repeats its {count} numbers; save it with contiguous()')
    if not math.prod(shape):
        return np.zeros(shape, 'f4' if tensor.dtype == BFLOAT16 else tensor.dtype)
    flat = np.frombuffer(data, dtype, count=count)[tensor.offset:]
    # The stride of an axis of one place means nothing and may be anything.
    steps = [stride * dtype.itemsize if size > 1 else 0 for size, stride in zip(shape, strides)]
    view = np.lib.stride_tricks.as_strided(flat, shape, steps)
    array = view.astype(dtype.newbyteorder('='), order='C')
    return from_bfloat16(array) if tensor.dtype == BFLOAT16 else array


def _dtype(name: str) -> np.dtype:
    return np.dtype('u2' if name == BFLOAT16 else name)
