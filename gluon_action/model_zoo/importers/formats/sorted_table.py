"""Read sorted tables of keys and values: LevelDB's file format, which TensorFlow stores its indexes in."""
from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from ....errors import WeightsError
from ....files import open_file
from ....wire import masked_crc32c, varint

_MAGIC = 0xdb4775248b80fb57
_FOOTER = 48
_UNCOMPRESSED, _SNAPPY = 0, 1


def read_table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a table in order; the checksum of every block is verified.

    Raises
    ------
    WeightsError
        With the file and the offset, when it is no such table, torn, damaged or compressed.
    """
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    if len(data) < _FOOTER or struct.unpack('<Q', data[-8:])[0] != _MAGIC:
        raise WeightsError(f'{path}: not an index of a TensorFlow checkpoint, or a torn one: its last 8 bytes are '
                           f'{data[-8:].hex() or "missing"} instead of {struct.pack("<Q", _MAGIC).hex()}; copy the '
                           'file again')
    try:
        # The footer holds two handles, (offset, size): of a block that nothing uses, and of the index of blocks.
        _, position = _handle(data, len(data) - _FOOTER)
        index, _ = _handle(data, position)
        for _, value in _entries(_block(path, data, *index)):
            yield from _entries(_block(path, data, *_handle(value, 0)[0]))
    except (IndexError, struct.error, ValueError) as error:
        raise WeightsError(f'{path}: a torn index of a TensorFlow checkpoint ({error}); copy the file again') from error


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


def _block(path: Path, data: bytes, offset: int, size: int) -> bytes:
    """Return a block without its trailer, which is the kind of compression and the checksum."""
    end = offset + size
    if end + 5 > len(data):
        raise ValueError(f'a block ends at byte {end + 5} of {len(data)}')
    kind, crc = data[end], struct.unpack_from('<I', data, end + 1)[0]
    if crc != masked_crc32c(data[offset:end + 1]):
        raise WeightsError(f'{path}: the block at byte {offset} does not match its checksum: the file is damaged; '
                           'copy it again')
    if kind != _UNCOMPRESSED:
        how = 'Snappy' if kind == _SNAPPY else f'method {kind}'
        raise WeightsError(f'{path}: the block at byte {offset} is compressed ({how}), which TensorFlow does not do to '
                           'checkpoints and this reader does not undo; restore and save it again with '
                           'tf.compat.v1.train.Saver')
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; a key is stored as what differs from the key before."""
    end = len(block) - 4 - 4 * struct.unpack_from('<I', block, len(block) - 4)[0]
    position, key = 0, b''
    while position < end:
        shared, position = varint(block, position)
        rest, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or position + rest + size > end:
            raise ValueError(f'an entry runs over the end of its block at byte {position}')
        key = key[:shared] + block[position:position + rest]
        position += rest
        yield key, block[position:position + size]
        position += size
