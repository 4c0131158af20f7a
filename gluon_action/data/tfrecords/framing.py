"""TFRecord files, without TensorFlow.

A file is records one after the other, each framed by its length (8 bytes), the length's checksum, and the checksum of
its content (4 bytes each, little endian). The checksum is CRC32C, rotated and shifted as TensorFlow does.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...errors import RecordError
from ...files import new_part, output_errors, put_file
from ...wire import masked_crc32c

#: Bytes before and after the content of a record.
HEADER, FOOTER = 12, 4

_GZIP = b'\x1f\x8b'


class RecordFile:
    """A TFRecord file whose records can be read in any order.

    Opening it reads the frames of the records and passes over what is in them.

    Parameters
    ----------
    path : str or path
    keep_whole : bool
        Keep the records before the first one that is torn or whose length is damaged, and note the error in `torn`.

    Attributes
    ----------
    path : str
    offsets, lengths : int64 ndarray (n,)
        Where each record's frame begins, and bytes of its content.
    checksums : uint32 ndarray (n,)
        Of the contents, as the file states them.
    torn : RecordError or None
        What keeps the rest of the file from being read.

    Raises
    ------
    RecordError
        When it cannot be read, is torn, or is no TFRecord file.
    """

    def __init__(self, path: str | os.PathLike, *, keep_whole: bool = False):
        self.path = os.fspath(path)
        self.torn: RecordError | None = None
        offsets, lengths, checksums = [], [], []
        try:
            with _opened(self.path) as file:
                size = os.fstat(file).st_size
                offset, header = 0, os.pread(file, HEADER, 0)
                while offset < size:
                    length = _length(self.path, len(offsets), offset, header, size)
                    # The end of one record and the beginning of the next, in one go.
                    footer_and_header = os.pread(file, FOOTER + HEADER, offset + HEADER + length)
                    offsets.append(offset)
                    lengths.append(length)
                    checksums.append(int.from_bytes(footer_and_header[:FOOTER], 'little'))
                    offset, header = offset + HEADER + length + FOOTER, footer_and_header[FOOTER:]
        except RecordError as error:
            if not (keep_whole and os.path.isfile(self.path)):
                raise
            self.torn = error
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
        with self.opened() as read:
            return read(index)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[int], bytes]]:
        """Yield what `read` is, for several records of the file."""
        with _opened(self.path) as file:
            size = os.fstat(file).st_size

            def read(index: int) -> bytes:
                index = index + len(self) if index < 0 else index
                offset, length = int(self.offsets[index]), int(self.lengths[index])
                try:
                    header, content, footer = (os.pread(file, count, start) for count, start in (
                        (HEADER, offset), (length, offset + HEADER), (FOOTER, offset + HEADER + length)))
                except OSError as error:
                    raise RecordError(self.path, offset, f'record {index} cannot be read: {error.strerror}') from error
                if _length(self.path, index, offset, header, size) != length:
                    raise RecordError(self.path, offset, f'record {index} is not here any more: the file was replaced '
                                      'while it was in use')
                return self._checked(index, content, footer)
            yield read

    def head(self, index: int, size: int) -> bytes:
        """The first `size` bytes of record `index`, or all where it has fewer; its checksum is not looked at."""
        with _opened(self.path) as file:
            return os.pread(file, min(size, int(self.lengths[index])), int(self.offsets[index]) + HEADER)

    def _checked(self, index: int, content: bytes, footer: bytes) -> bytes:
        if _packed_checksum(content) != footer:
            raise RecordError(self.path, int(self.offsets[index]), f'record {index} of {len(content)} bytes, which '
                              'begins here, is damaged (its checksum does not fit); make or copy the file again')
        return content


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
        with output_errors(self.path):
            self._part = new_part(self.path)
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


def _packed_checksum(data: bytes) -> bytes:
    return struct.pack('<I', masked_crc32c(data))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Yield a descriptor; what the system says against the file is a `RecordError`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield file
        finally:
            os.close(file)
    except OSError as error:
        cause = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be read: {error.strerror}'
        raise RecordError(path, 0, cause) from error


def _length(path: str, index: int, offset: int, header: bytes, size: int) -> int:
    """Length of record `index`, whose frame begins at `offset`, checked."""
    if len(header) < HEADER:
        raise RecordError(path, offset, f'the file is torn: it ends after {len(header)} of the {HEADER} bytes that '
                          f'begin record {index}; make or copy it again')
    length, checksum = struct.unpack('<QI', header)
    if masked_crc32c(header[:8]) != checksum:
        if offset == 0:
            what = ('is compressed; unpack it with gunzip' if header.startswith(_GZIP) else
                    'is not a TFRecord file, or damaged in its first bytes')
            raise RecordError(path, offset, what)
        raise RecordError(path, offset, f'the length of record {index} is damaged (its checksum does not fit), and '
                          'with it the rest of the file is lost; make or copy it again')
    missing = offset + HEADER + length + FOOTER - size
    if missing > 0:
        raise RecordError(path, offset, f'the file is torn: record {index}, which begins here, lacks its last '
                          f'{missing} of {HEADER + length + FOOTER} bytes; make or copy it again')
    return length
