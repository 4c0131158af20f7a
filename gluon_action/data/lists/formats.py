"""Formats of lists of videos: each is read into entries, before paths and labels are checked."""
from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable

from ...errors import AnnotationError, UsageError
from . import official as official
from .epic import parse_epic
from .rows import (
    COLUMN_NAMES,
    Entry,
    ParsedList,
    Question,
    delimiter_of,
    header_of,
    is_integer,
    load_json,
    of_split,
    records,
    seconds_of,
    split_row,
    where,
)
from .several_labels import refuse_several_labels


def parse_list(question: Question, list_format: str = 'auto') -> ParsedList:
    """Read a list in the given format, or in the one that it looks like.

    Raises
    ------
    UsageError
        For a format that does not exist.
    AnnotationError
        Naming file and line.
    """
    if list_format != 'auto' and list_format not in FORMATS:
        raise UsageError(f'unknown list format {list_format!r}; known: auto, {", ".join(FORMATS)}')
    question.forced = list_format != 'auto'
    refuse_several_labels(question)
    if not question.forced:
        list_format = detect_format(question)
    parsed = FORMATS[list_format](question)
    parsed.format = list_format
    parsed.files = parsed.files or [question.setting]
    return parsed


def detect_format(question: Question) -> str:
    """Name of the format that a list looks like."""
    setting = question.setting
    if os.path.isdir(setting) or '*' in setting:
        return 'hmdb51' if '*' in setting or official.hmdb51_files(setting) else 'folder'
    if not question.lines:
        raise AnnotationError(f'{setting}: lists no videos; the file is empty')
    if question.lines[0][1][0] in '[{':
        items = load_json(setting)
        first = items[0] if isinstance(items, list) and items else {}
        return 'somethingsomethingv2' if isinstance(first, dict) and 'id' in first else 'json'
    if official.looks_like_something_v1(question):
        return 'somethingsomethingv1'
    delimiter = delimiter_of(question.lines, question.multi_label)
    names = header_of(question.lines, delimiter)
    if names:
        return 'kinetics' if 'youtube_id' in names else 'table' if 'path' in names else 'epic'
    if question.multi_label:
        return _detect_multi_label(question, delimiter)
    if official.looks_like_ucf101(question):
        return 'ucf101'
    columns = Counter(_columns(text, delimiter, where(setting, line)) for line, text in question.lines)
    return 'path_label' if columns[2] > columns[3] else 'gluoncv'


def _detect_multi_label(question: Question, delimiter: str | None) -> str:
    tails = [_label_tail(text)[1] for _, text in question.lines]
    if all(len(tail) == 2 for tail in tails) and any(',' in tail[1] for tail in tails):
        return 'multi_label_frames'
    if delimiter == ',':
        tails = [split_row(text, delimiter, 0, where(question.setting, line))[1:] for line, text in question.lines]
    if all(len(tail) > 1 and is_integer(tail[0]) for tail in tails):
        line, text = question.lines[0]
        raise AnnotationError(f'{where(question.setting, line)}: {tails[0][0]} may be a label or the number of frames; '
                              'pass --list-format multi_label (path, labels) or multi_label_frames (path, number of '
                              f'frames, labels); got {text!r}')
    return 'multi_label'


def _columns(text: str, delimiter: str | None, place: str) -> int:
    """Return how many columns (2 or 3) a line speaks for; other counts are answered as they are."""
    row = split_row(text, delimiter, 2, place)
    if delimiter is not None or len(row) < 3:
        return len(row)
    return 3 if is_integer(row[-1]) and is_integer(row[-2]) else 2


def _parse_gluoncv(question: Question) -> ParsedList:
    """``path num_frames label``; GluonCV's preparation scripts leave out a count that they could not find."""
    return _parse_columns(question, 2, (2, 3), '`path num_frames label`')


def _parse_path_label(question: Question) -> ParsedList:
    return _parse_columns(question, 1, (2,), '`path label`')


def _parse_columns(question: Question, tail: int, allowed: tuple[int, ...], expected: str) -> ParsedList:
    delimiter = delimiter_of(question.lines)
    entries = []
    for line, text in question.lines:
        place = where(question.setting, line)
        row = split_row(text, delimiter, tail, place)
        words = text.split()
        if not question.forced and delimiter is None and len(words) > 3 and all(map(is_integer, words[1:])):
            raise AnnotationError(f'{place}: has {len(words)} columns, expected {expected}; put a path with spaces '
                                  f'in quotes, or name the format with --list-format; got {text!r}')
        if len(row) not in allowed:
            raise AnnotationError(f'{place}: has {len(row)} column{"s" * (len(row) != 1)}, expected {expected}; '
                                  f'got {text!r}')
        frames = _frame_count(row[1], place) if len(row) == 3 else None
        entries.append(Entry(row[0], (row[-1],), question.setting, line, frames))
    return ParsedList(entries)


def _frame_count(text: str, place: str) -> int | None:
    if not is_integer(text):
        raise AnnotationError(f'{place}: the number of frames, {text!r}, is not an integer')
    return int(text) if int(text) > 0 else None


def _parse_multi_label(question: Question, with_frames: bool = False) -> ParsedList:
    """``path l1 l2 ...``, labels joined by spaces or commas."""
    delimiter = delimiter_of(question.lines, multi_label=True)
    entries = []
    for line, text in question.lines:
        place = where(question.setting, line)
        path, tail = _label_tail(text)
        if delimiter is not None:
            path, *tail = split_row(text, delimiter, 0, place)
        frames = _frame_count(tail.pop(0), place) if with_frames and tail else None
        labels = _label_list(' '.join(tail))
        if not labels:
            raise AnnotationError(f'{place}: has no label; expected a path and its labels, got {text!r}')
        entries.append(Entry(path, labels, question.setting, line, frames))
    return ParsedList(entries)


def _parse_multi_label_frames(question: Question) -> ParsedList:
    """``path num_frames l1,l2,...``, labels joined by commas or spaces."""
    return _parse_multi_label(question, with_frames=True)


def _label_tail(text: str) -> tuple[str, list[str]]:
    """Path, and the columns of numbers (or numbers joined by commas) after it."""
    path, *rest = split_row(text, None, 0)
    if path != text:
        return path, rest
    tail = re.search(r'(?:\s+[-+0-9,]+)+$', text)
    return (text[:tail.start()], tail[0].split()) if tail else (text, [])


def _label_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r'[,;\s]+', text) if part)


def _parse_table(question: Question) -> ParsedList:
    """CSV or TSV with a header that names the columns, among them path and label."""
    rows = records(question)
    if rows and 'path' not in rows[0][1]:
        raise AnnotationError(f'{where(question.setting, 1)}: the header names no column {" or ".join(_PATH_NAMES)}')
    return ParsedList([_entry_of(question, row, line) for line, row in rows])


def _parse_json(question: Question) -> ParsedList:
    """``[{"path": "a.mp4", "label": 1}, ...]`` or ``{"a.mp4": [1, 2], ...}``; keys as a table's columns."""
    content = load_json(question.setting)
    if isinstance(content, dict):
        content = [{'path': path, 'label': label} for path, label in content.items()]
    if not isinstance(content, list):
        raise AnnotationError(f'{question.setting}: expected a list of objects, or an object of path: label')
    rows = []
    for number, item in enumerate(content, 1):
        row = {name: item[alias] for name, aliases in COLUMN_NAMES.items() for alias in aliases
               if isinstance(item, dict) and alias in item}
        if 'path' not in row:
            raise AnnotationError(f'{where(question.setting, number)}: expected an object with a path, got {item!r}')
        rows.append((number, row))
    return ParsedList([_entry_of(question, row, number) for number, row in of_split(question, rows)])


def _entry_of(question: Question, row: dict, line: int) -> Entry:
    place = where(question.setting, line)
    label = row.get('label')
    values = label if isinstance(label, list) else [] if label is None else [label]
    if not question.multi_label and len(values) > 1:
        raise AnnotationError(f'{place}: has {len(values)} labels; pass --multi-label if that is meant')
    if question.multi_label:
        values = [part for value in values for part in _label_list(str(value))]
    if not values or values == ['']:
        raise AnnotationError(f'{place}: has no label')
    frames = row.get('num_frames')
    return Entry(str(row['path']), tuple(map(str, values)), question.setting, line,
                 None if frames in (None, '') else _frame_count(str(frames), place),
                 seconds_of(row.get('start'), place), seconds_of(row.get('end'), place))


_PATH_NAMES = COLUMN_NAMES['path']

#: Name of every format, as ``--list-format`` takes it, and what reads it.
FORMATS: dict[str, Callable[[Question], ParsedList]] = {
    'gluoncv': _parse_gluoncv,
    'path_label': _parse_path_label,
    'table': _parse_table,
    'folder': official.parse_folder,
    'ucf101': official.parse_ucf101,
    'hmdb51': official.parse_hmdb51,
    'kinetics': official.parse_kinetics,
    'somethingsomethingv1': official.parse_something_v1,
    'somethingsomethingv2': official.parse_something,
    'epic': parse_epic,
    'epic:verb': functools.partial(parse_epic, kind='verb'),
    'epic:noun': functools.partial(parse_epic, kind='noun'),
    'multi_label': _parse_multi_label,
    'multi_label_frames': _parse_multi_label_frames,
    'json': _parse_json,
}
