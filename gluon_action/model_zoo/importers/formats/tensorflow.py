"""Read checkpoints of TensorFlow without TensorFlow."""
from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import WeightsError
from ....files import open_file
from ....wire import fields, masked_crc32c, message, varint
from ..conversion import from_bfloat16
from .sorted_table import read_table

# Numbers of tensorflow/core/framework/types.proto.
_BFLOAT16, _STRING = 14, 7
_DTYPES = {1: 'f4', 2: 'f8', 3: 'i4', 4: 'u1', 5: 'i2', 6: 'i1', 9: 'i8', 10: '?', _BFLOAT16: 'u2', 17: 'u2', 19: 'f2',
           22: 'u4', 23: 'u8'}
_MOST_AXES, _MOST_NUMBERS = 32, 1 << 60
_PART = re.compile(r'(.+)\.(?:index|meta|data-\d{5}-of-\d{5})')
_NAMED = re.compile(r'^\s*(all_)?model_checkpoint_paths?\s*:\s*"(.*)"\s*$', re.MULTILINE)


def read_checkpoint(path: str | os.PathLike, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Return the variables of a checkpoint by name.

    Parameters
    ----------
    path : str or path
        What `find_prefix` understands: a prefix, one of the files, or their folder.
    only : collection of str, optional
        Names of those to read, where not all are wanted: the state of an optimizer is larger than the weights.

    Returns
    -------
    dict
        In the byte order of this machine; bfloat16 as float32, strings as objects that are bytes.

    Raises
    ------
    WeightsError
        With the file, when one is missing, torn or damaged (every checksum is verified), or when a variable is stored
        in a way that is not read: in partitions, or of a type that holds no numbers.

    Notes
    -----
    The format is that of TensorFlow 0.12 and later, 1.x and 2.x: PREFIX.index, a table of names, and
    PREFIX.data-00000-of-00001, the values (tensorflow/core/util/tensor_bundle).
    """
    prefix = find_prefix(path)
    shards, order, entries = _index(prefix)
    return {entry.name: _value(prefix, shards, order, entry) for entry in entries if only is None or entry.name in only}


def read_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the variables of a checkpoint, without their values.

    Parameters
    ----------
    path : str or path
        As of `read_checkpoint`.

    Raises
    ------
    WeightsError
        When the index is missing, torn or damaged.
    """
    return {entry.name: entry.shape for entry in _index(find_prefix(path))[2]}


def find_prefix(path: str | os.PathLike) -> Path:
    """Return what the files of a checkpoint begin with.

    Parameters
    ----------
    path : str or path
        The prefix itself, as in ``rgb_imagenet/model.ckpt``; one of the files; or their folder, whose file
        ``checkpoint`` says which one is meant. It is looked for in this folder, wherever the file says it was
        written, since folders move (DeepMind's name paths of other machines, and one that never was).

    Raises
    ------
    WeightsError
        When there is none, or several and nothing says which.
    """
    path = Path(path)
    if path.is_dir():
        return _prefix_in(path)
    prefix = _without_ending(path)
    if Path(f'{prefix}.index').is_file():
        return prefix
    if prefix.is_file():
        raise WeightsError(f'{path}: there is no {prefix.name}.index beside it; TensorFlow before 0.12 wrote a '
                           'checkpoint as one file: restore it and save it again with tf.compat.v1.train.Saver')
    if re.fullmatch(r'\.[A-Za-z]\w*', path.suffix) and path.suffix not in ('.ckpt', '.index', '.data'):
        raise WeightsError(f'{path}: no such file')
    raise WeightsError(f'{path}: no checkpoint of TensorFlow, which is {prefix.name}.index and '
                       f'{prefix.name}.data-00000-of-00001 in {prefix.parent}')


def is_part(path: Path) -> bool:
    """Return whether a file is one of those of a checkpoint: its index is there."""
    return Path(f'{_without_ending(path)}.index').is_file()


def _without_ending(path: Path) -> Path:
    part = _PART.fullmatch(str(path))
    return Path(part[1]) if part else path


def _prefix_in(folder: Path) -> Path:
    named, told = [], folder / 'checkpoint'
    if told.is_file():
        # The newest is named first, then all from the oldest.
        found = _NAMED.findall(told.read_text('utf-8', 'replace'))
        named = [name for older, name in found if not older] + [name for older, name in reversed(found) if older]
    for name in named:
        prefix = folder / Path(name).name
        if Path(f'{prefix}.index').is_file():
            return prefix
    there = sorted(folder.glob('*.index'))
    if len(there) == 1:
        return there[0].with_suffix('')
    names = ', '.join(file.stem for file in there[:5]) or 'none'
    raise WeightsError(f'{folder}: holds {len(there)} checkpoints of TensorFlow ({names})'
                       + (f', and its file named checkpoint is about {named[0]}' if named else '')
                       + ('; name one of them' if there else '; name the folder of the .index file'))


@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    parts: int


def _index(prefix: Path) -> tuple[int, str, list[_Entry]]:
    """Return the number of data files, their byte order, and what is in them."""
    index = Path(f'{prefix}.index')
    table = dict(read_table(index))
    try:
        shards, order = _header(table.pop(b'', b''), index)
        # Names that begin with 0 are those of the parts of a partitioned variable, whose own entry is refused.
        return shards, order, [_entry(key.decode(), value) for key, value in table.items() if not key.startswith(b'\0')]
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise WeightsError(f'{index}: not an index of a TensorFlow checkpoint ({error})') from error


def _header(data: bytes, index: Path) -> tuple[int, str]:
    """Return the number of data files and their byte order, from BundleHeaderProto."""
    header = dict(fields(data))
    version = dict(fields(message(header.get(3))))
    _check_numbers(version.get(2), header.get(1), header.get(2))
    if not data or version.get(2, 0) > 1:
        raise WeightsError(f'{index}: asks for version {version.get(2)} of the format, 1 is known; save it with an '
                           'older TensorFlow' if data else f'{index}: a table, but not of a TensorFlow checkpoint')
    return header.get(1, 1), '>' if header.get(2) else '<'


def _entry(name: str, data: bytes) -> _Entry:
    """Read BundleEntryProto."""
    parts = list(fields(data))
    last = dict(parts)
    shape = []
    for number, value in fields(message(last.get(2))):
        if number == 2:
            shape.append(dict(fields(message(value))).get(1, 0))
    _check_numbers(last.get(1), *(last.get(number) for number in (3, 4, 5)), *shape)
    if len(shape) > _MOST_AXES or math.prod(side for side in shape if side) > _MOST_NUMBERS:
        raise ValueError(f'variable {name} cannot be of the shape {tuple(shape)}')
    return _Entry(name, last.get(1, 0), tuple(shape), last.get(3, 0), last.get(4, 0), last.get(5, 0),
                  int.from_bytes(last.get(6, b''), 'little'), sum(number == 7 for number, _ in parts))


def _check_numbers(*fields: int | memoryview | None) -> None:
    if not all(isinstance(field, int | None) for field in fields):
        raise ValueError('text is where a number should be')


def _value(prefix: Path, shards: int, order: str, entry: _Entry) -> np.ndarray:
    path = Path(f'{prefix}.data-{entry.shard:05d}-of-{shards:05d}')
    if entry.parts:
        raise WeightsError(f'{prefix}: variable {entry.name} is stored in {entry.parts} partitions, which are not put '
                           'together here; restore it and save it without a partitioner')
    if entry.dtype not in _DTYPES and entry.dtype != _STRING:
        raise WeightsError(f'{prefix}: variable {entry.name} has type {entry.dtype} of types.proto, which is not one '
                           'of numbers; save the checkpoint without it')
    data = _read(path, entry)
    if entry.dtype == _STRING:
        return _strings(path, data, order, entry)
    count, dtype = math.prod(entry.shape), np.dtype(order + _DTYPES[entry.dtype])
    if count * dtype.itemsize != len(data):
        raise WeightsError(f'{path}: variable {entry.name} {entry.shape} has {len(data)} bytes instead of '
                           f'{count * dtype.itemsize}')
    if masked_crc32c(data) != entry.crc:
        raise _damaged(path, entry)
    array = np.frombuffer(data, dtype).astype(dtype.newbyteorder('=')).reshape(entry.shape)
    return from_bfloat16(array) if entry.dtype == _BFLOAT16 else array


def _read(path: Path, entry: _Entry) -> bytes:
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if entry.offset + entry.size > size:
                raise WeightsError(f'{path}: torn: variable {entry.name} ends at byte {entry.offset + entry.size} of '
                                   f'{size}; copy the file again')
            file.seek(entry.offset)
            return file.read(entry.size)
    except FileNotFoundError as error:
        raise WeightsError(f'{path}: missing, it belongs to {path.stem}.index and holds {entry.name}') from error
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error


def _strings(path: Path, data: bytes, order: str, entry: _Entry) -> np.ndarray:
    """Read lengths, their checksum, then the strings; the checksum of all of it has the lengths as whole numbers."""
    lengths, position = [], 0
    try:
        for _ in range(math.prod(entry.shape)):
            length, position = varint(data, position)
            lengths.append(length)
    except (IndexError, ValueError) as error:
        raise _damaged(path, entry) from error
    whole = b''.join(struct.pack(order + ('I' if length < 1 << 32 else 'Q'), length) for length in lengths)
    values = position + 4
    if sum(lengths) != len(data) - values or masked_crc32c(whole + data[position:]) != entry.crc:
        raise _damaged(path, entry)
    strings = np.empty(len(lengths), object)
    for number, length in enumerate(lengths):
        strings[number], values = data[values:values + length], values + length
    return strings.reshape(entry.shape)


def _damaged(path: Path, entry: _Entry) -> WeightsError:
    return WeightsError(f'{path}: variable {entry.name} at byte {entry.offset} does not match its checksum: the file '
                        'is damaged; copy it again')
