"""TFRecord files and the ``tf.train.Example`` messages in them, without TensorFlow.

A file is records one after the other, each framed by its length (8 bytes), the length's checksum, and the checksum of
its content (4 bytes each, little endian). The checksum is CRC32C, rotated and shifted as TensorFlow does.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import RecordError, UsageError
from ...files import output_errors, part_of, put_file
from ...wire import fields, make_field, make_varint, masked_crc32c, message, messages

#: Bytes before and after the content of a record.
HEADER, FOOTER = 12, 4

_GZIP = b'\x1f\x8b'


class RecordFile:
    """A TFRecord file whose records can be read in any order.

    Opening it reads the frames of the records and passes over what is in them.

    Parameters
    ----------
    path : str or path

    Attributes
    ----------
    path : str
    offsets, lengths : int64 ndarray (n,)
        Where each record's frame begins, and bytes of its content.
    checksums : uint32 ndarray (n,)
        Of the contents, as the file states them.

    Raises
    ------
    RecordError
        When it cannot be read, is torn, or is no TFRecord file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        offsets, lengths, checksums = [], [], []
        with _opened(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            offset, header = 0, file.read(HEADER)
            while offset < size:
                length = _length(self.path, offset, header, size)
                file.seek(offset + HEADER + length)
                # The end of one record and the beginning of the next, in one go.
                footer_and_header = file.read(FOOTER + HEADER)
                offsets.append(offset)
                lengths.append(length)
                checksums.append(int.from_bytes(footer_and_header[:FOOTER], 'little'))
                offset, header = offset + HEADER + length + FOOTER, footer_and_header[FOOTER:]
        self.offsets, self.lengths = np.array(offsets, np.int64), np.array(lengths, np.int64)
        self.checksums = np.array(checksums, np.uint32)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, index: int) -> bytes:
        """Content of record `index`, 0 being the first.

        The file is opened anew each time, so that processes that were forked may read side by side.

        Raises
        ------
        RecordError
            When a checksum does not fit, or the file is no longer what it was when it was opened.
        """
        offset, length = int(self.offsets[index]), int(self.lengths[index])
        with _opened(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            if _length(self.path, offset, file.read(HEADER), size) != length:
                raise RecordError(self.path, offset, 'the file was replaced while it was in use')
            return _checked(self.path, offset, file.read(length), file.read(FOOTER))


class RecordWriter:
    r"""Writes a TFRecord file, which gets its name when it is whole.

    Parameters
    ----------
    path : str or path
        A file of this name is replaced.

    Attributes
    ----------
    num_records, num_bytes : int
        Written so far.

    Raises
    ------
    OutputError
        From every method, when the disk refuses.

    Examples
    --------
    >>> with RecordWriter('clips.tfrecord') as writer:
    ...     writer.write(make_example({'label': b'\x00\x01'}))
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.num_records = self.num_bytes = 0
        self._digest = hashlib.sha256()
        self._part = part_of(self.path)
        with output_errors(self.path):
            self._file = open(self._part, 'wb')

    @property
    def sha256(self) -> str:
        """Of the bytes written so far."""
        return self._digest.hexdigest()

    def write(self, record: bytes) -> None:
        """Add a record."""
        length = struct.pack('<Q', len(record))
        with output_errors(self.path):
            for part in (length, _packed_checksum(length), record, _packed_checksum(record)):
                self._file.write(part)
                self._digest.update(part)
                self.num_bytes += len(part)
        self.num_records += 1

    def close(self) -> None:
        """Give the file its name. Safe to call again."""
        if self._file.closed:
            return
        try:
            with output_errors(self.path):
                self._file.close()
                put_file(self._part, self.path)
        finally:
            self._leave_nothing()

    def discard(self) -> None:
        """Leave no file, unless it was closed before."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk refuses what is still in memory, and nobody wants it
                self._file.close()
            self._leave_nothing()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _leave_nothing(self) -> None:
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)


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


def parse_example(record: bytes, path: str = 'a record', offset: int = 0) -> dict[str, list[memoryview] | np.ndarray]:
    """Take a ``tf.train.Example`` apart.

    Parameters
    ----------
    record : bytes
    path, offset
        Where it comes from, for messages.

    Returns
    -------
    dict
        Name -> list of memoryview (views of `record`), float32 ndarray or int64 ndarray. A feature that is present and
        empty is an empty list.

    Raises
    ------
    RecordError
        When it is none.
    """
    try:
        features: dict[str, list[memoryview] | np.ndarray] = {}
        for part in messages(record, 1):
            for entry in messages(part, 1):
                content = dict(fields(entry))
                features[bytes(message(content.get(1))).decode()] = _values(message(content.get(2)))
        return features
    except ValueError as error:
        raise RecordError(path, offset, f'the record is not a tf.train.Example: {error}') from error


def _packed_checksum(data: bytes) -> bytes:
    return struct.pack('<I', masked_crc32c(data))


@contextlib.contextmanager
def _opened(path: str) -> Iterator:
    try:
        with open(path, 'rb') as file:
            yield file
    except OSError as error:
        cause = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be read: {error.strerror}'
        raise RecordError(path, 0, cause) from error


def _length(path: str, offset: int, header: bytes, size: int) -> int:
    """Length of the record whose frame begins at `offset`, checked."""
    if len(header) < HEADER:
        raise RecordError(path, offset, f'the file is torn: it ends after {len(header)} of the {HEADER} bytes that '
                          'begin a record; make or copy it again')
    length, checksum = struct.unpack('<QI', header)
    if masked_crc32c(header[:8]) != checksum:
        if offset == 0:
            what = ('is compressed; unpack it with gunzip' if header.startswith(_GZIP) else
                    'is not a TFRecord file, or damaged in its first bytes')
            raise RecordError(path, offset, what)
        raise RecordError(path, offset, "the record's length is damaged (its checksum does not fit), and with it the "
                          'rest of the file is lost; make or copy it again')
    missing = offset + HEADER + length + FOOTER - size
    if missing > 0:
        raise RecordError(path, offset, f'the file is torn: the record that begins here lacks its last {missing} of '
                          f'{HEADER + length + FOOTER} bytes; make or copy it again')
    return length


def _checked(path: str, offset: int, content: bytes, footer: bytes) -> bytes:
    if _packed_checksum(content) != footer:
        raise RecordError(path, offset, f'the record of {len(content)} bytes that begins here is damaged (its checksum '
                          'does not fit); make or copy the file again')
    return content


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
