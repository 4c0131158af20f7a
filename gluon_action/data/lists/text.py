"""Text of lists: how it is encoded, its lines, and JSON."""
from __future__ import annotations

import codecs
import io
import os
import re

from ...errors import AnnotationError, UsageError
from ...files import open_file, parse_json

#: Marks at the beginning of a file that say how it is encoded; those of UTF-32 begin like those of UTF-16.
_MARKS = ((codecs.BOM_UTF8, 'utf-8'), (codecs.BOM_UTF32_LE, 'utf-32'), (codecs.BOM_UTF32_BE, 'utf-32'),
          (codecs.BOM_UTF16_LE, 'utf-16'), (codecs.BOM_UTF16_BE, 'utf-16'))
_GUESSES = ('gbk', 'big5', 'shift_jis', 'euc_kr', 'cp1251', 'cp1252')
_INTEGER = re.compile(r'[+-]?[0-9]{1,18}')
_UNDECODED = re.compile('[\udc80-\udcff]')


def read_text(path: str, encoding: str | None = None) -> str:
    """Return the content of a text file.

    Parameters
    ----------
    path : str
    encoding : str, optional
        As Python names it. By default the mark at the file's beginning says, and where there is none it is UTF-8, with
        bytes that are not kept as they are (`undecoded` finds them): paths need not be UTF-8.

    Raises
    ------
    AnnotationError
        When it cannot be read, or is no such text.
    UsageError
        For an encoding that does not exist.
    """
    check_encoding(encoding)
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise AnnotationError(f'{path}: the list cannot be read: {error.strerror}') from error
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    try:
        if encoding or marked:
            text = data.decode(encoding or marked).removeprefix('\ufeff')
        else:
            _check_zeros(path, data[:4096])
            text = data.decode('utf-8', 'surrogateescape')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        asked = f'--list-encoding {encoding}' if encoding else f'{marked}, as its first bytes announce'
        raise AnnotationError(f'{path} line {line}: is not {asked}: {error.reason}; {_readings(data, line)}'
                              'save it as UTF-8, or pass the right --list-encoding') from error
    if '\0' in text[:4096]:
        raise AnnotationError(f'{path}: is not a text file; a list has one line a video')
    return text


def check_encoding(encoding: str | None) -> None:
    """Refuse an encoding that Python does not know, or that is none of texts."""
    try:
        if encoding is not None:
            ' '.encode(encoding).decode(encoding)
    except (LookupError, UnicodeError, ValueError) as error:
        raise UsageError(f'--list-encoding {encoding}: there is no such encoding of text; known are utf-8, utf-16, '
                         'gbk, gb18030, big5, shift_jis, euc_kr, cp1252 and others') from error


def lines_of(text: str) -> list[tuple[int, str]]:
    """Lines of a text that are not blank, stripped, numbered from 1."""
    lines = ((number, line.strip()) for number, line in enumerate(io.StringIO(text, newline=None), 1))
    return [(number, line) for number, line in lines if line]


def read_lines(path: str, encoding: str | None = None) -> list[tuple[int, str]]:
    """Lines of a text file that are not blank, stripped, numbered from 1; see `read_text`."""
    return lines_of(read_text(path, encoding))


def undecoded(text: str) -> bool:
    """Whether a text has bytes that are not UTF-8."""
    return _UNDECODED.search(text) is not None


def readings(text: str) -> dict[str, str]:
    """What a text with bytes that are not UTF-8 would be in other encodings, by their names."""
    data, found = text.encode('utf-8', 'surrogateescape'), {}
    for name in _GUESSES:
        try:
            found[name] = data.decode(name)
        except UnicodeDecodeError:
            continue
    return found


def say_readings(text: str) -> str:
    """Sentence on what a text that is not UTF-8 may be."""
    found = _say_first(text)
    if not found:
        return 'save it as UTF-8, or pass --list-encoding'
    return f'{found}; pass --list-encoding with the right one, or save it as UTF-8'


def load_json(path: str, encoding: str | None = None):
    """Content of a JSON file.

    Raises
    ------
    AnnotationError
        When it cannot be read or is no JSON.
    """
    text = read_text(path, encoding)
    try:
        return _parse_json(text)
    except ValueError as error:
        raise AnnotationError(f'{path}: is not JSON: {error}') from error


def json_in(path: str, text: str):
    """Content of a text that is JSON, or an object of it a line; None where it is something else.

    Raises
    ------
    AnnotationError
        Where it is meant to be JSON, by its name or how it begins, and is not.
    """
    if text.lstrip()[:1] not in ('[', '{'):  # a path may begin so too
        return None
    try:
        return _parse_json(text)
    except ValueError as error:
        if os.path.splitext(path)[1].lower() in ('.json', '.jsonl') or re.match(r'\s*([\[{]\s*"|\[\s*\{|[\[{]\s*\n)',
                                                                               text):
            raise AnnotationError(f'{path}: is not JSON: {error}') from error
        return None


def is_integer(text: str) -> bool:
    """Whether a text is a decimal integer and nothing else."""
    return _INTEGER.fullmatch(text) is not None


def _parse_json(text: str):
    try:
        return parse_json(text)
    except ValueError:
        lines = [line for _, line in lines_of(text)]
        if len(lines) < 2 or not all(line.startswith('{') and line.endswith('}') for line in lines):
            raise
        return [parse_json(line) for line in lines]


def _check_zeros(path: str, data: bytes) -> None:
    zeros = [data[first::2].count(0) for first in (0, 1)]
    if not any(zeros):
        return
    half = len(data) // 2
    for name, many, few in (('utf-16-le', zeros[1], zeros[0]), ('utf-16-be', zeros[0], zeros[1])):
        if few == 0 and 2 * many > half:
            raise AnnotationError(f'{path}: is not a text file as it is; every second byte is zero, as in UTF-16 '
                                  f'without a mark: pass --list-encoding {name}, or save it as UTF-8')
    raise AnnotationError(f'{path}: is not a text file; a list has one line a video')


def _readings(data: bytes, line: int) -> str:
    text = data.split(b'\n')[line - 1][:80].decode('utf-8', 'surrogateescape').strip()
    found = _say_first(text)
    return f'{found}; ' if found else ''


def _say_first(text: str) -> str:
    return ', '.join([f'{name} gives {reading!r}' for name, reading in readings(text).items()][:3])
