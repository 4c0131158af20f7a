"""Protocol buffers as they lie in files, and the checksums that TensorFlow puts beside them.

A message is fields one after the other: a number and a kind in one varint, then a varint (kind 0), 8 bytes (1), a
length and so many bytes (2), or 4 bytes (5).
"""
from __future__ import annotations

import functools
from collections.abc import Iterator

_FIXED = {1: 8, 5: 4}


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (number, content) of each field of a message; content of kind 0 is an int, others are views of `data`.

    Raises
    ------
    ValueError
        When `data` is no message, or cut short.
    """
    data = memoryview(data)
    place, end = 0, len(data)
    while place < end:
        key, place = (data[place], place + 1) if data[place] < 128 else varint(data, place)
        kind = key & 7
        if kind == 2:
            length, place = varint(data, place)
        elif kind == 0:
            content, place = varint(data, place)
            yield key >> 3, content
            continue
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f'a field is of kind {kind}, which does not exist')
        if place + length > end:
            raise ValueError(f'a field of {length} bytes is cut short')
        yield key >> 3, data[place:place + length]
        place += length


def messages(data: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """Yield the contents of the fields of one number, which are messages, texts or bytes.

    Raises
    ------
    ValueError
        As `fields`, and when a number stands where they should.
    """
    for field, content in fields(data):
        if field == number:
            yield message(content)


def message(content: int | memoryview | None) -> memoryview:
    """Return the content of a field that is a message, text or bytes; b'' for one that is absent.

    Raises
    ------
    ValueError
        When it is a number: the file holds messages of another type.
    """
    if isinstance(content, int):
        raise ValueError('a number is where a message should be')
    return memoryview(b'') if content is None else content


def varint(data: bytes | memoryview, place: int) -> tuple[int, int]:
    """Return the number of variable length at `place`, and the place behind it.

    Raises
    ------
    ValueError
        When `data` ends within it, or it has more than 64 bits.
    """
    number = shift = 0
    while place < len(data):
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if number >> 64 or byte > 127 and shift > 63:
            raise ValueError('a number has more than 64 bits')
        if byte < 128:
            return number, place
    raise ValueError('a number is cut short')


def make_varint(number: int) -> bytes:
    """Return a number in 7 bits a byte, the lowest first."""
    number &= 0xffffffffffffffff  # negative numbers are stored in two's complement
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def make_field(number: int, content: bytes) -> bytes:
    """Return a field that is a message, text or bytes."""
    return b''.join((make_varint(number << 3 | 2), make_varint(len(content)), content))


def masked_crc32c(data: bytes | memoryview) -> int:
    """Return the CRC32C of `data` as LevelDB and TensorFlow store it: rotated and shifted by a constant."""
    crc = _crc32c()(bytes(data) if isinstance(data, memoryview) else data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


@functools.cache
def _crc32c():
    # Loaded when it is first asked for: who reads the header of an ONNX file may not have it.
    import google_crc32c
    return google_crc32c.value
