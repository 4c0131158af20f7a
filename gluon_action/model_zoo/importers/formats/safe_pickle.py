"""Read a pickle of tensors without running code from it."""
from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ....errors import WeightsError

BFLOAT16 = 'bfloat16'
# Names in the file -> kind of numbers.
_STORAGES = {
    'FloatStorage': 'f4', 'DoubleStorage': 'f8', 'HalfStorage': 'f2', 'BFloat16Storage': BFLOAT16,
    'LongStorage': 'i8', 'IntStorage': 'i4', 'ShortStorage': 'i2', 'CharStorage': 'i1', 'ByteStorage': 'u1',
    'BoolStorage': '?', 'UntypedStorage': 'u1'}
_DTYPES = {
    'float32': 'f4', 'float64': 'f8', 'float16': 'f2', 'bfloat16': BFLOAT16, 'int64': 'i8', 'int32': 'i4',
    'int16': 'i2', 'int8': 'i1', 'uint8': 'u1', 'bool': '?'}
# What mmengine saves beside weights, its histories of losses, is made of. Such objects are passed over: they are not
# made, and nothing that they would have been made by is called.
_PASSED_OVER = {
    'mmengine.logging.history_buffer.HistoryBuffer', '__builtin__.getattr', 'builtins.getattr', '_codecs.encode',
    'numpy.ndarray', 'numpy.dtype', *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core')
                                      for name in ('_reconstruct', 'scalar'))}


@dataclass(frozen=True)
class Global:
    """A global name that the file refers to; `Reader` accepts those that it knows only."""

    name: str


@dataclass(frozen=True)
class PassedOver:
    """Stands for an object that the file describes and that is of no use here."""

    made_by: str


@dataclass(frozen=True)
class Storage:
    """Numbers that lie elsewhere in the file: what kind, where, and how many."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Reader:
    """Interpreter of the few pickle operations that plain data and tensors need; all others are refused.

    Nothing is imported or called: a name that the file looks up is kept as a name, and what the file would call with
    it is answered here for the names in `_calls`, passed over for the few in `_PASSED_OVER` and refused for all others.

    Parameters
    ----------
    path, name : Path, str
        The file, and what the pickle is called in it, for messages.
    """

    def __init__(self, path: Path, name: str):
        self._path, self._name = path, name
        #: Storages that it refers to, by their keys.
        self.storages: dict[str, Storage] = {}
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._calls = {
            'collections.OrderedDict': self._ordered_dict, 'torch._utils._rebuild_tensor_v2': self._tensor,
            'torch._utils._rebuild_tensor_v3': self._tensor, 'torch._utils._rebuild_parameter': lambda data, *_: data,
            'torch.Size': lambda sizes=(): tuple(sizes)}

    def content(self, pickle: bytes | BinaryIO):
        """Return what a pickle holds; a file is read up to the pickle's end."""
        try:
            for operation, argument, _ in pickletools.genops(pickle):
                if operation.name == 'STOP':
                    return self._stack.pop()
                self._step(operation.name, argument)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise self._error(f'its {self._name} is damaged ({type(error).__name__}: {error})') from error
        raise self._error(f'its {self._name} ends too soon')

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

    def _on_inst(self, argument):
        self._on_global(argument)
        raise self._error(f'it would call {argument.replace(" ", ".")}. Nothing was run')

    def _on_stack_global(self, _):
        name, module = self._stack.pop(), self._stack.pop()
        self._look_up(str(module), str(name))

    def _look_up(self, module: str, name: str) -> None:
        full, kind = f'{module}.{name}', name.rpartition('.')[2]
        known = (full in self._calls or full in _PASSED_OVER or (module == 'torch' and kind in _DTYPES)
                 or (module in ('torch', 'torch.storage') and kind in _STORAGES))
        if not known:
            raise self._error(f'it would load {full} and run it: it holds more than tensors, numbers and text. Nothing '
                              'was run. Save the weights alone: torch.save(model.state_dict(), path)')
        self._stack.append(Global(full))

    def _on_reduce(self, _):
        arguments, called = self._stack.pop(), self._stack.pop()
        if isinstance(called, Global) and called.name in _PASSED_OVER:
            self._stack.append(PassedOver(called.name))
            return
        if not isinstance(called, Global) or called.name not in self._calls or not isinstance(arguments, tuple):
            raise self._error(f'it would call {_called(called)}. Nothing was run')
        self._stack.append(self._calls[called.name](*arguments))

    def _on_newobj(self, _):
        _, made = self._stack.pop(), self._stack.pop()
        if not isinstance(made, Global) or made.name not in _PASSED_OVER:
            raise self._error(f'it would call {_called(made)}. Nothing was run')
        self._stack.append(PassedOver(made.name))

    def _on_build(self, _):
        # The attributes of an OrderedDict of weights, the version of each layer, say nothing about the weights.
        self._stack.pop()
        if not isinstance(self._stack[-1], PassedOver):
            self._top(dict)

    def _on_binpersid(self, _):
        kind, storage, key, _, count, *view = self._stack.pop()
        name = storage.name.rpartition('.')[2]
        if kind != 'storage' or name not in _STORAGES or any(view):
            raise ValueError(f'a reference to {kind!r} {name}{" as a view" if any(view) else ""}')
        storage = self.storages.setdefault(str(key), Storage(_STORAGES[name], str(key), int(count)))
        self._stack.append(storage)

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

    def _tensor(self, storage, offset, shape, strides, requires_grad, hooks, dtype=None, metadata=None) -> Tensor:
        if not isinstance(storage, Storage):
            raise ValueError(f'a tensor of a {type(storage).__name__}')
        # The third version of the format says what the numbers are here, instead of with the storage.
        kind = _DTYPES[dtype.name.rpartition('.')[2]] if isinstance(dtype, Global) else storage.dtype
        return Tensor(storage, kind, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))

    def _error(self, what: str) -> WeightsError:
        return WeightsError(f'{self._path}: {what}')


def _called(what) -> str:
    return getattr(what, 'name', None) or getattr(what, 'made_by', type(what).__name__)


_VALUES = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
           'SHORT_BINSTRING', 'BINSTRING', 'BINBYTES', 'SHORT_BINBYTES'}
_CONSTANTS = {'NONE': lambda: None, 'NEWTRUE': lambda: True, 'NEWFALSE': lambda: False, 'EMPTY_TUPLE': tuple,
              'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': list}
