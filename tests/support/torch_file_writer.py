"""Writes what ``torch.save`` writes for a state dict: a pickle of names and sizes, and the numbers.

In a zip file, or one after the other as PyTorch did before 1.6.
"""
import struct
import zipfile

import numpy as np

STORAGES = {'float32': 'FloatStorage', 'float64': 'DoubleStorage', 'float16': 'HalfStorage', 'int64': 'LongStorage',
            'int32': 'IntStorage', 'int16': 'ShortStorage', 'int8': 'CharStorage', 'uint8': 'ByteStorage',
            'bool': 'BoolStorage', 'uint16': 'BFloat16Storage'}  # NumPy has no bfloat16: its bits


class Tensor:
    """A view of a storage, as torch describes it; what it says may be wrong."""

    def __init__(self, storage, shape, strides, offset=0, count=None):
        self.storage, self.shape, self.strides, self.offset = storage, shape, strides, offset
        self.count = len(storage) if count is None else count


class Raw(bytes):
    """Pickle operations that stand for a value."""


def text(value):
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def whole(value):
    return b'J' + struct.pack('<i', value)


def sizes(values):
    return b'(' + b''.join(map(whole, values)) + b't'


def pickled(value, storages, old=False):
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
        strides = [step // value.itemsize for step in value.strides]
        value = Tensor(np.ascontiguousarray(value).reshape(-1), value.shape, strides)
    if isinstance(value, Tensor):
        position = next((number for number, known in enumerate(storages) if known is value.storage), len(storages))
        storages[position:position + 1] = [value.storage]
        kind = STORAGES[str(value.storage.dtype)].encode()
        return (b'ctorch._utils\n_rebuild_tensor_v2\n((' + text('storage') + b'ctorch\n' + kind + b'\n'
                + text(str(position)) + text('cpu') + whole(value.count) + b'N' * old + b'tQ' + whole(value.offset)
                + sizes(value.shape) + sizes(value.strides) + b'\x89ccollections\nOrderedDict\n)RtR')
    if isinstance(value, dict):
        return b'}(' + b''.join(pickled(part, storages, old) for item in value.items() for part in item) + b'u'
    if isinstance(value, list):
        return b'](' + b''.join(pickled(item, storages, old) for item in value) + b'e'
    if value is None or isinstance(value, bool):
        return {None: b'N', True: b'\x88', False: b'\x89'}[value]
    return {str: text, int: whole, float: lambda number: b'G' + struct.pack('>d', number)}[type(value)](value)


def write_torch_file(path, content, *, compression=zipfile.ZIP_STORED, big_endian=False, extra=()):
    """Write `content`, a dict of arrays, tensors, numbers, text, dicts and raw operations."""
    storages = []
    data = b'\x80\x02' + pickled(content, storages) + b'.'
    order = '>' if big_endian else '<'
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('archive/data.pkl', data)
        file.writestr('archive/byteorder', 'big' if big_endian else 'little')
        for number, storage in enumerate(storages):
            file.writestr(f'archive/data/{number}', storage.astype(storage.dtype.newbyteorder(order)).tobytes())
        for name in ('version', *extra):
            file.writestr(f'archive/{name}', '3\n')
    return path


def write_old_torch_file(path, content, *, magic=0x1950a86a20f9469cfc6c, version=1001, big_endian=False, keys=None,
                         counts=None):
    """Write `content` as PyTorch before 1.6 did; `keys` and `counts` may be other than those of its storages."""
    storages = []
    saved = pickled(content, storages, old=True)
    machine = {'protocol_version': 1001, 'little_endian': not big_endian, 'type_sizes': {'short': 2, 'int': 4}}
    number = magic.to_bytes(10, 'little')
    names = [str(key) for key in range(len(storages))] if keys is None else keys
    data = b''.join(b'\x80\x02' + part + b'.' for part in (
        b'\x8a' + bytes([len(number)]) + number, whole(version), pickled(machine, []), saved, pickled(names, [])))
    for place, storage in enumerate(storages):
        count = len(storage) if counts is None else counts[place]
        data += count.to_bytes(8, 'big' if big_endian else 'little')
        data += storage.astype(storage.dtype.newbyteorder('>' if big_endian else '<')).tobytes()
    path.write_bytes(data)
    return path
