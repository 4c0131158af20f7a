"""NumPy's files of arrays (``.npy``, ``.npz``), read so that a damaged or hostile one costs neither memory nor time.

What a file says of its arrays is held against the bytes that are there before memory is taken for them. NumPy's own
reader believes it: 2 MB that unpack to gigabytes are unpacked, and a header of 2**40 numbers is tried.
"""
from __future__ import annotations

import ast
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from typing import BinaryIO

import numpy as np

from .files import open_file

_MAGIC = b'\x93NUMPY'
_LONGEST_HEADER = 4096  # bytes; that of an array without named fields has 128
_BLOCK = 1 << 20
# What an archive may unpack to: a gigabyte, or this many times its own size. Pixels and scores shrink to a tenth.
_MOST_BYTES, _MOST_TIMES = 1 << 30, 100
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_DTYPE = re.compile(r'[<>=|]?(?:[?b]1?|[iufc]\d{1,2}|[SU][1-9]\d{0,6})')
_KINDS = {'b': 'booleans', 'i': 'whole numbers', 'u': 'whole numbers from 0', 'f': 'decimal numbers',
          'c': 'complex numbers', 'U': 'text', 'S': 'bytes'}
# Everything that Python's readers of archives say of a broken one.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OverflowError,
           LookupError, OSError)


def read_npy(path: str | os.PathLike, kinds: str) -> np.ndarray:
    """Return the array of a file ``.npy``.

    Parameters
    ----------
    path : path
    kinds : str
        Which kinds of numbers it may hold, in NumPy's letters: ``'f'`` for floats, ``'iu'`` for whole numbers.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When it holds something else, is torn, or is longer than it says.
    """
    with open_file(path) as file:
        return _array(file, os.fstat(file.fileno()).st_size, kinds)


def read_npz(path: str | os.PathLike, kinds: Mapping[str, str], optional: Collection[str] = ()
             ) -> dict[str, np.ndarray]:
    """Return arrays of a file ``.npz`` by name; what else it holds is not looked at.

    Parameters
    ----------
    path : path
    kinds : mapping
        Name -> the kinds that the array may hold, as in `read_npy`.
    optional : collection of str
        Names that may be missing.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When an array is missing or of another kind, when it is torn or damaged (the checksum of each is verified), or
        when it would unpack to more than a file of its size may.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, kinds, optional)
                unpacked = sum(info.file_size for info in members.values())
                if unpacked > max(_MOST_BYTES, _MOST_TIMES * size):
                    raise ValueError(f'its {size} bytes would unpack to {unpacked}')
                return {name: _member(archive, name, info, kinds[name]) for name, info in members.items()}
        except _BROKEN as error:
            raise ValueError(f'it is no archive, or a damaged one: {_said(error)}') from error


def _members(archive: zipfile.ZipFile, kinds: Mapping[str, str], optional: Collection[str]
             ) -> dict[str, zipfile.ZipInfo]:
    there = {info.filename.removesuffix('.npy'): info for info in archive.infolist()}
    missing = [name for name in kinds if name not in there and name not in optional]
    if missing:
        raise ValueError(f'it holds no {", ".join(map(repr, missing))}, only '
                         f'{", ".join(ascii(name)[:80] for name in list(there)[:8]) or "nothing"}')
    return {name: there[name] for name in kinds if name in there}


def _member(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo, kinds: str) -> np.ndarray:
    if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
        raise ValueError(f'{name!r} is packed in a way that NumPy does not write; write it again with NumPy')
    with archive.open(info) as file:
        try:
            array = _array(file, info.file_size, kinds)
        except ValueError as error:
            raise ValueError(f'{name!r}: {error}') from error
        file.read(1)  # the archive compares the checksum when it comes to the end
        return array


def _array(file: BinaryIO, size: int, kinds: str) -> np.ndarray:
    """Read an array that has `size` bytes with its header."""
    dtype, shape, in_columns, begins = _header(file)
    if dtype.kind not in kinds:
        raise ValueError(f'{dtype} {shape} are {_KINDS[dtype.kind]}, and '
                         f'{" or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))} are wanted')
    count = math.prod(shape)
    if begins + count * dtype.itemsize != size:
        raise ValueError(f'it says {dtype} {shape}, which are {count * dtype.itemsize} bytes, and has '
                         f'{size - begins} behind its header')
    try:
        array = np.empty(count, dtype)
    except MemoryError as error:
        raise ValueError(f'its {count * dtype.itemsize} bytes are more than the memory that is free') from error
    _fill(file, array)
    if dtype.kind == 'U' and not _is_text(array):
        raise ValueError('it says that it is text, and is none')
    return array.reshape(shape, order='F' if in_columns else 'C')


def _fill(file: BinaryIO, array: np.ndarray) -> None:
    if not array.nbytes:
        return
    place = memoryview(array.view(np.uint8))
    while len(place):
        got = file.readinto(place[:_BLOCK])
        if not got:
            raise ValueError(f'it ends {len(place)} bytes too early')
        place = place[got:]


def _is_text(array: np.ndarray) -> bool:
    """Whether there is a letter for each number; bytes of names of files that are none stand at U+DC80 to U+DCFF."""
    codes = array.view(array.dtype.byteorder + 'u4')
    strange = (codes >= 0xD800) & (codes <= 0xDFFF) & ((codes < 0xDC80) | (codes > 0xDCFF)) | (codes > 0x10FFFF)
    return not strange.any()


def _header(file: BinaryIO) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Return type, shape, whether columns come first, and the place where the numbers begin."""
    start = file.read(8)
    if start[:6] != _MAGIC or len(start) < 8:
        raise ValueError('it is no array of NumPy')
    version = start[6]
    if version not in (1, 2, 3):
        raise ValueError(f'it is an array in version {version} of the format; 1 to 3 are known')
    layout = '<H' if version == 1 else '<I'
    length = file.read(struct.calcsize(layout))
    if len(length) < struct.calcsize(layout):
        raise ValueError('its header is cut short')
    length, = struct.unpack(layout, length)
    if length > _LONGEST_HEADER:
        raise ValueError(f'its header has {length} bytes, {_LONGEST_HEADER} at most are known')
    text = file.read(length)
    if len(text) < length:
        raise ValueError('its header is cut short')
    return *_described(text), 8 + struct.calcsize(layout) + length


def _described(text: bytes) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Read ``{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}``."""
    try:
        # Python 2 wrote 3L for a number that it thought large.
        told = ast.literal_eval(re.sub(r'(\d)L\b', r'\1', text.decode('utf-8')).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError('its header is damaged') from error
    if not isinstance(told, dict) or set(told) != {'descr', 'fortran_order', 'shape'}:
        raise ValueError('its header does not say type, order and shape')
    descr, shape, in_columns = told['descr'], told['shape'], told['fortran_order']
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        objects = ', which are pickles and could run code' * (descr == '|O')
        raise ValueError(f'it holds {ascii(descr)[:80]}{objects}; numbers and text are read')
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise ValueError(f'it holds {descr}, which NumPy does not know') from error
    if not isinstance(in_columns, bool) or not isinstance(shape, tuple) or len(shape) > 32 or not all(
            type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ValueError(f'its shape cannot be {ascii(shape)[:80]}')
    if dtype.itemsize * math.prod(side for side in shape if side) >= 1 << 62:  # with a side of 0, NumPy refuses it
        raise ValueError(f'its shape cannot be {shape}')
    return dtype, shape, in_columns


def _said(error: Exception) -> str:
    return str(getattr(error, 'strerror', None) or error or type(error).__name__)
