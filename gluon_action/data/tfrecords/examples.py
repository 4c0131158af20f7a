"""The messages in TFRecords, ``tf.train.Example`` and ``tf.train.SequenceExample``, without TensorFlow."""
from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np

from ...errors import UsageError
from ...wire import fields, make_field, make_varint, message, messages, varint


def make_example(features: Mapping[str, bytes | Sequence | np.ndarray]) -> bytes:
    """Serialise a ``tf.train.Example``.

    Parameters
    ----------
    features : mapping
        Name -> bytes, a list of bytes, or numbers (an array or a list): whole numbers become an int64 list, others a
        float list.

    Returns
    -------
    bytes
        The same for equal features, whatever their order.
    """
    entries = [make_field(1, make_field(1, name.encode()) + make_field(2, _feature(features[name])))
               for name in sorted(features)]
    return make_field(1, b''.join(entries))


def parse_example(record: bytes) -> dict[str, list[memoryview] | np.ndarray]:
    """Take a ``tf.train.Example`` apart.

    Returns
    -------
    dict
        Name -> list of memoryview (views of `record`), float32 ndarray or int64 ndarray. A feature that is present and
        empty is an empty list.

    Raises
    ------
    ValueError
        When it is none.
    """
    return {name: _values(content) for part in messages(record, 1) for name, content in _entries(part)}


def parse_context(head: bytes, names: Container[str] | None = None) -> dict[str, list[memoryview] | np.ndarray]:
    """Take the context of a ``tf.train.SequenceExample`` apart, whose first bytes suffice.

    Parameters
    ----------
    head : bytes
        The record, or its beginning with the whole context, which is the first that is written.
    names : container of str, optional
        Features that are wanted; all by default.

    Raises
    ------
    ValueError
        When the context is longer than that, or it is no such record.
    """
    number, context = next(fields(head), (0, b''))
    return {name: _values(content) for name, content in _entries(message(context))
            if names is None or name in names} if number == 1 else {}


def make_sequence_example(context: Mapping[str, bytes | Sequence | np.ndarray],
                          lists: Mapping[str, np.ndarray]) -> bytes:
    """Serialise a ``tf.train.SequenceExample`` whose lists hold as many bytes in every place.

    Parameters
    ----------
    context : mapping
        As in `make_example`.
    lists : mapping
        Name -> uint8 ndarray (n, D): n strings of D bytes.

    Returns
    -------
    bytes
        The same for equal features, whatever their order.
    """
    entries = [make_field(1, make_field(1, name.encode()) + make_field(2, _framed_rows(lists[name])))
               for name in sorted(lists)]
    return make_example(context) + make_field(2, b''.join(entries))


def parse_sequence_example(record: bytes) -> tuple[dict[str, list[memoryview] | np.ndarray], dict[str, memoryview]]:
    """Take a ``tf.train.SequenceExample`` apart, but for what is in its lists, which `byte_rows` reads.

    Returns
    -------
    context : dict
        As `parse_example` returns it: what an Example has is what a SequenceExample has as its context.
    lists : dict
        Name -> a list as it is stored.

    Raises
    ------
    ValueError
        When it is none.
    """
    context, lists = {}, {}
    for number, part in fields(record):
        if number == 1:
            context.update((name, _values(content)) for name, content in _entries(message(part)))
        elif number == 2:
            lists.update(_entries(message(part)))
    return context, lists


def byte_rows(feature_list: memoryview) -> np.ndarray:
    """Read a list of a SequenceExample that holds a string of bytes in each of its n places, all of one size D.

    Returns
    -------
    uint8 ndarray (n, D)
        A view of the record, where its n strings are framed alike, as they are by every writer known.

    Raises
    ------
    ValueError
        When they are of different sizes, when a place holds something else, or when it is no list.
    """
    if not feature_list:
        return np.empty((0, 0), np.uint8)
    first = _string_of(next(fields(feature_list)), 0)
    frame = _frame_of(len(first))
    stride = len(frame) + len(first)
    if len(feature_list) % stride == 0:
        rows = np.frombuffer(feature_list, np.uint8).reshape(-1, stride)
        if (rows[:, :len(frame)] == np.frombuffer(frame, np.uint8)).all():
            return rows[:, len(frame):]
    strings = [_string_of(field, place) for place, field in enumerate(fields(feature_list))]
    for place, string in enumerate(strings):
        if len(string) != len(first):
            raise ValueError(f'frame {place} has {len(string)} bytes, frame 0 has {len(first)}')
    return np.frombuffer(b''.join(strings), np.uint8).reshape(len(strings), len(first))


def _entries(entries: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Names and contents of a map."""
    for entry in messages(entries, 1):
        content = dict(fields(entry))
        yield bytes(message(content.get(1))).decode(), message(content.get(2))


def _frame_of(size: int) -> bytes:
    """What stands before a string of `size` bytes in a list: it is a value of a list of bytes of a feature."""
    frame = b''
    for _ in range(3):
        frame = make_varint(1 << 3 | 2) + make_varint(len(frame) + size) + frame
    return frame


def _framed_rows(rows: np.ndarray) -> bytes:
    if rows.dtype != np.uint8 or rows.ndim != 2:
        raise UsageError(f'a list is uint8 (n, D), got {rows.dtype} {rows.shape}')
    frame = np.frombuffer(_frame_of(rows.shape[1]), np.uint8)
    return np.hstack([np.broadcast_to(frame, (len(rows), len(frame))), rows]).tobytes()


def _string_of(field: tuple[int, int | memoryview], place: int) -> memoryview:
    """The one string of bytes in a place of a list."""
    number, content = field
    values = _values(message(content)) if number == 1 else None
    if not isinstance(values, list):
        what = 'something unknown' if values is None else f'numbers ({values.dtype})'
        raise ValueError(f'frame {place} holds {what}; one string of bytes is expected')
    if len(values) != 1:
        raise ValueError(f'frame {place} holds {len(values)} strings of bytes; one is expected')
    return values[0]


def _feature(value: bytes | Sequence | np.ndarray) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = [value]
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (bytes, bytearray, memoryview))
                                                          for item in value):
        return make_field(1, b''.join(make_field(1, bytes(item)) for item in value))
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.dtype.kind in 'iub':
        return make_field(3, make_field(1, b''.join(map(make_varint, numbers.ravel().tolist()))))
    if numbers.dtype.kind != 'f':
        raise UsageError(f'a feature is bytes, a list of bytes, or numbers; got {type(value).__name__} {value!r:.60}')
    return make_field(2, make_field(1, numbers.astype('<f4').tobytes()))


def _values(feature: memoryview) -> list[memoryview] | np.ndarray:
    kinds = list(fields(feature))
    if not kinds:
        return []
    kind, content = kinds[-1][0], message(kinds[-1][1])
    if kind == 1:
        return list(messages(content, 1))
    parts = [part for number, part in fields(content) if number == 1]
    if kind == 2:  # packed, or 4 bytes each
        return np.frombuffer(b''.join(map(message, parts)), '<f4')
    if kind == 3:
        arrays = [np.array([part], np.uint64) if isinstance(part, int) else _unpack_varints(part) for part in parts]
        return np.concatenate(arrays or [np.empty(0, np.uint64)]).astype(np.uint64).view(np.int64)
    raise ValueError(f'a feature is of kind {kind}; there are bytes (1), floats (2) and integers (3)')


def _unpack_varints(data: memoryview) -> np.ndarray:
    """Return uint64 ndarray (n,) of varints one after the other."""
    if len(data) < 48:  # the labels of a video, for which NumPy's calls take longer
        numbers, place = [], 0
        while place < len(data):
            number, place = varint(data, place)
            numbers.append(number)
        return np.array(numbers, np.uint64)
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets < 128)
    if not len(octets):
        return np.empty(0, np.uint64)
    if not len(ends) or ends[-1] != len(octets) - 1:
        raise ValueError('a list of integers is cut short')
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 9:
        raise ValueError('a number has more than 64 bits')
    shifts = 7 * (np.arange(len(octets)) - np.repeat(starts, ends - starts + 1))
    return np.bitwise_or.reduceat((octets & 127).astype(np.uint64) << shifts.astype(np.uint64), starts)
