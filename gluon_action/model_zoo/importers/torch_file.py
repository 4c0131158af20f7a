"""Read what ``torch.save`` wrote, without PyTorch and without running anything that is in the file."""
from __future__ import annotations

import contextlib
import math
import os
import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import WeightsError
from .conversion import from_bfloat16

_BFLOAT16 = 'bfloat16'
# Names in the file -> kind of numbers.
_STORAGES = {
    'FloatStorage': 'f4', 'DoubleStorage': 'f8', 'HalfStorage': 'f2', 'BFloat16Storage': _BFLOAT16,
    'LongStorage': 'i8', 'IntStorage': 'i4', 'ShortStorage': 'i2', 'CharStorage': 'i1', 'ByteStorage': 'u1',
    'BoolStorage': '?', 'UntypedStorage': 'u1'}
_DTYPES = {
    'float32': 'f4', 'float64': 'f8', 'float16': 'f2', 'bfloat16': _BFLOAT16, 'int64': 'i8', 'int32': 'i4',
    'int16': 'i2', 'int8': 'i1', 'uint8': 'u1', 'bool': '?'}
# Where training scripts put the weights among other things.
_STATE_DICTS = ('state_dict', 'model_state_dict', 'model_state', 'model', 'net')
_MOST_PICKLE = 1 << 24


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
        content = _Reader(path, archive).content()
        state, others = _state_dict(content)
        if not state:
            raise WeightsError(f'{path}: holds no dict of tensors but {_describe(content)}; save the weights alone: '
                               'torch.save(model.state_dict(), path)')
        storages = {}
        arrays = {name: _materialise(path, archive, storages, name, tensor) for name, tensor in state.items()}
    if all(name.startswith('module.') for name in arrays):
        arrays = {name.removeprefix('module.'): array for name, array in arrays.items()}
    return arrays, others


@dataclass(frozen=True)
class _Global:
    """A name that the file wants to be looked up; only those that `_Reader` knows mean anything."""

    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


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
        data = self._file.read(info)
        if len(data) != size:
            raise WeightsError(f'{self.path}: torn: {name} has {len(data)} bytes instead of {size}')
        return data


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    try:
        with open(path, 'rb') as file:
            start = file.read(4)
            if start[:2] != b'PK':
                raise WeightsError(_not_a_zip(path, start))
            with zipfile.ZipFile(file) as archive:
                yield _Archive(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f'{path}: a torn or damaged file of torch.save ({error}); copy it again') from error
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error


def _not_a_zip(path: Path, start: bytes) -> str:
    if start[:1] == b'\x80':
        return (f'{path}: a pickle, as PyTorch before 1.6 saved weights; with PyTorch, and if you trust the file: '
                'torch.save(torch.load(path, weights_only=True), new_path)')
    return f'{path}: not a file of torch.save: it begins with {start.hex() or "nothing"}'


class _Reader:
    """Interpreter of the few pickle operations that plain data and tensors need; all others are refused.

    Nothing is imported or called: a name that the file looks up is kept as a name, and what the file would call with
    it is answered here for the names in `_calls` and refused for all others.
    """

    def __init__(self, path: Path, archive: _Archive):
        self._path, self._archive = path, archive
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._calls = {
            'collections.OrderedDict': self._ordered_dict, 'torch._utils._rebuild_tensor_v2': self._tensor,
            'torch._utils._rebuild_tensor_v3': self._tensor, 'torch._utils._rebuild_parameter': lambda data, *_: data,
            'torch.Size': lambda sizes=(): tuple(sizes)}

    def content(self):
        """Return what the file holds."""
        if self._archive.size('data.pkl') > _MOST_PICKLE:
            raise self._error(f'its data.pkl has {self._archive.size("data.pkl")} bytes, more than weights need')
        try:
            for operation, argument, _ in pickletools.genops(self._archive.read('data.pkl')):
                if operation.name == 'STOP':
                    return self._stack.pop()
                self._step(operation.name, argument)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise self._error(f'its data.pkl is damaged ({type(error).__name__}: {error})') from error
        raise self._error('its data.pkl ends too soon')

    def _step(self, name: str, argument) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in ('BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            self._memo[len(self._memo) if name == 'MEMOIZE' else argument] = self._stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            self._stack.append(self._memo[argument])
        elif name in ('PROTO', 'FRAME'):
            pass
        else:
            step = getattr(self, f'_on_{name.lower()}', None)
            if step is None:
                raise self._error(f'it uses the pickle operation {name}, which weights do not need; save the weights '
                                  'alone: torch.save(model.state_dict(), path)')
            step(argument)

    def _on_mark(self, _):
        self._marks.append(len(self._stack))

    def _on_tuple(self, _):
        self._stack.append(tuple(self._since_mark()))

    def _on_tuple1(self, _):
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _on_tuple2(self, _):
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _on_tuple3(self, _):
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _on_append(self, _):
        value = self._stack.pop()
        self._top(list).append(value)

    def _on_appends(self, _):
        values = self._since_mark()
        self._top(list).extend(values)

    def _on_setitem(self, _):
        value, key = self._stack.pop(), self._stack.pop()
        self._top(dict)[key] = value

    def _on_setitems(self, _):
        items = self._since_mark()
        self._top(dict).update(zip(items[::2], items[1::2], strict=True))

    def _on_global(self, argument):
        module, name = argument.split(' ', 1)
        self._look_up(module, name)

    def _on_stack_global(self, _):
        name, module = self._stack.pop(), self._stack.pop()
        self._look_up(str(module), str(name))

    def _look_up(self, module: str, name: str) -> None:
        full, kind = f'{module}.{name}', name.rpartition('.')[2]
        known = (full in self._calls or (module in ('torch', 'torch.storage') and kind in _STORAGES)
                 or (module == 'torch' and kind in _DTYPES))
        if not known:
            raise self._error(f'it would load {full} and run it: it holds more than tensors, numbers and text. Nothing '
                              'was run. Save the weights alone: torch.save(model.state_dict(), path)')
        self._stack.append(_Global(full))

    def _on_reduce(self, _):
        arguments, called = self._stack.pop(), self._stack.pop()
        if not isinstance(called, _Global) or called.name not in self._calls or not isinstance(arguments, tuple):
            raise self._error(f'it would call {getattr(called, "name", type(called).__name__)}. Nothing was run')
        self._stack.append(self._calls[called.name](*arguments))

    def _on_build(self, _):
        # The attributes of an OrderedDict of weights, the version of each layer, say nothing about the weights.
        self._stack.pop()
        self._top(dict)

    def _on_binpersid(self, _):
        kind, storage, key, _, count = self._stack.pop()
        name = storage.name.rpartition('.')[2]
        if kind != 'storage' or name not in _STORAGES:
            raise ValueError(f'a reference to {kind!r} {name}')
        self._stack.append(_Storage(_STORAGES[name], str(key), int(count)))

    def _since_mark(self) -> list:
        mark = self._marks.pop()
        values, self._stack[mark:] = self._stack[mark:], []
        return values

    def _top(self, kind: type):
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f'a {type(self._stack[-1]).__name__} where a {kind.__name__} belongs')
        return self._stack[-1]

    def _ordered_dict(self, items=()) -> dict:
        return dict(items)

    def _tensor(self, storage, offset, shape, strides, requires_grad, hooks, dtype=None, metadata=None) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError(f'a tensor of a {type(storage).__name__}')
        # The third version of the format says what the numbers are here, instead of with the storage.
        kind = _DTYPES[dtype.name.rpartition('.')[2]] if isinstance(dtype, _Global) else storage.dtype
        return _Tensor(storage, kind, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))

    def _error(self, what: str) -> WeightsError:
        return WeightsError(f'{self._path}: {what}')


_VALUES = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
           'SHORT_BINSTRING', 'BINSTRING', 'BINBYTES', 'SHORT_BINBYTES'}
_CONSTANTS = {'NONE': lambda: None, 'NEWTRUE': lambda: True, 'NEWFALSE': lambda: False, 'EMPTY_TUPLE': tuple,
              'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': list}


def _state_dict(content, depth: int = 2) -> tuple[dict[str, _Tensor], list[str]]:
    """Return the dict of tensors in what a file holds, empty when there is none, and the names of all else."""
    if not isinstance(content, dict):
        return {}, []
    for key in _STATE_DICTS if depth else ():
        inside, others = _state_dict(content.get(key), depth - 1)
        if inside:
            return inside, [*(f'{key}/{name}' for name in others), *(str(name) for name in content if name != key)]
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, _Tensor)}
    return tensors, [str(name) for name in content if name not in tensors]


def _describe(content) -> str:
    if isinstance(content, dict):
        return f'a dict of {", ".join(map(str, list(content)[:5])) or "nothing"}'
    return f'a {type(content).__name__.strip("_").lower()}'


def _materialise(path: Path, archive: _Archive, storages: dict, name: str, tensor: _Tensor) -> np.ndarray:
    """Return a tensor as an array of its own; what it says of itself is checked against the bytes that are there."""
    dtype = np.dtype('u2' if tensor.dtype == _BFLOAT16 else tensor.dtype).newbyteorder(archive.order)
    key = f'data/{tensor.storage.key}'
    if key not in storages:
        storages[key] = archive.read(key)
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
        return np.zeros(shape, 'f4' if tensor.dtype == _BFLOAT16 else tensor.dtype)
    flat = np.frombuffer(data, dtype, count=count)[tensor.offset:]
    # The stride of an axis of one place means nothing and may be anything.
    steps = [stride * dtype.itemsize if size > 1 else 0 for size, stride in zip(shape, strides)]
    view = np.lib.stride_tricks.as_strided(flat, shape, steps)
    array = view.astype(dtype.newbyteorder('='), order='C')
    return from_bfloat16(array) if tensor.dtype == _BFLOAT16 else array
