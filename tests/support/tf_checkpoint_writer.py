"""Writes checkpoints as TensorFlow does, after its format's description (tensorflow/core/util/tensor_bundle)."""
import struct

import google_crc32c
import numpy as np

# Numbers of types.proto.
DTYPES = {'float32': 1, 'float64': 2, 'int32': 3, 'uint8': 4, 'int64': 9, 'bool': 10, 'float16': 19}


def masked(data):
    crc = google_crc32c.value(bytes(data))
    return (((crc >> 15) | (crc << 17)) + 0xa282ead8) % 2**32


def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(index, value):
    """One field of a protocol buffer: bytes, or a whole number, which is left out when it is 0."""
    if isinstance(value, bytes):
        return number(index << 3 | 2) + number(len(value)) + value
    return number(index << 3) + number(value) if value else b''


def block(entries, every=3):
    """Keys share what they begin with, but for each `every`-th, which starts anew."""
    out, starts, last = b'', [], b''
    for position, (key, value) in enumerate(entries):
        shared = 0
        if position % every:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            starts.append(len(out))
        out += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        last = key
    starts = starts or [0]
    return out + struct.pack(f'<{len(starts) + 1}I', *starts, len(starts))


def table(entries, per_block=20, compression=0):
    """A table of sorted (key, value), its blocks of `per_block` entries."""
    out, index = b'', []

    def add(content, kind=0):
        nonlocal out
        place = number(len(out)) + number(len(content))
        out += content + bytes([kind]) + struct.pack('<I', masked(content + bytes([kind])))
        return place

    for first in range(0, len(entries), per_block):
        part = entries[first:first + per_block]
        index.append((part[-1][0], add(block(part), compression)))
    nothing, places = add(block([])), add(block(index))
    return out + (nothing + places).ljust(40, b'\0') + struct.pack('<Q', 0xdb4775248b80fb57)


def entry(array, dtype, shard, offset, data, parts=0):
    shape = b''.join(field(2, field(1, size) if size else b'\x08\0') for size in array.shape)
    return (field(1, dtype) + field(2, shape) + field(3, shard) + field(4, offset) + field(5, len(data))
            + bytes([6 << 3 | 5]) + struct.pack('<I', masked(data)) + field(7, b'\0') * parts)


def write_checkpoint(prefix, variables, *, shards=1, big_endian=False, compression=0, parts=(), per_block=20,
                     dtypes=None):
    """Write PREFIX.index and PREFIX.data-*, and the folder's file `checkpoint`.

    `parts` are the names of variables that pretend to be partitioned; `dtypes` says other numbers of types.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    order = '>' if big_endian else '<'
    header = field(1, shards) + field(2, int(big_endian)) + field(3, field(1, 1))
    entries, files, sizes = [(b'', header)], [[] for _ in range(shards)], [0] * shards
    for position, name in enumerate(sorted(variables, key=str.encode)):
        array, shard = np.asarray(variables[name]), position % shards
        data = array.astype(array.dtype.newbyteorder(order)).tobytes()
        dtype = (dtypes or {}).get(name) or DTYPES[str(array.dtype)]
        entries.append((name.encode(), entry(array, dtype, shard, sizes[shard], data, 2 * (name in parts))))
        files[shard].append(data)
        sizes[shard] += len(data)
    prefix.with_name(f'{prefix.name}.index').write_bytes(table(entries, per_block, compression))
    for shard, data in enumerate(files):
        prefix.with_name(f'{prefix.name}.data-{shard:05d}-of-{shards:05d}').write_bytes(b''.join(data))
    (prefix.parent / 'checkpoint').write_text(f'model_checkpoint_path: "{prefix.name}"\n'
                                              f'all_model_checkpoint_paths: "{prefix.name}"\n')
    return prefix
