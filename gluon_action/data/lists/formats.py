"""Formats of lists of videos: each is read into entries, before paths and labels are checked."""
from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Callable

from ...errors import AnnotationError, UsageError
from .classes.labels import are_names, labels_in, named
from .classes.several_labels import refuse_several_labels
from .folders.class_folders import parse_folder
from .published import hmdb51, kinetics, something_something, ucf101
from .published.epic import parse_epic
from .question import Entry, ParsedList, Question, where
from .tables.bounds import bounds_among
from .tables.column_names import COLUMN_NAMES, plain_title
from .tables.columns import (
    by_usual_name,
    class_name_in,
    delimiter_of,
    header_of,
    label_cell,
    of_split,
    records,
    rows_of,
    split_row,
    unused_columns,
)
from .tables.plain_rows import (
    frame_count,
    label_tail,
    names_by_number,
    parse_gluoncv,
    parse_multi_label,
    parse_multi_label_frames,
    parse_path_label,
    row_by_name,
)
from .text import is_integer, load_json

_log = logging.getLogger(__name__)


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
    question.format = list_format
    parsed = FORMATS[list_format](question)
    parsed.format = list_format
    parsed.files = parsed.files or [question.setting]
    return parsed


def detect_format(question: Question) -> str:
    """Name of the format that a list looks like."""
    setting = question.setting
    if os.path.isdir(setting) or '*' in setting:
        return 'hmdb51' if '*' in setting or hmdb51.hmdb51_files(setting) else 'folder'
    if not question.lines:
        raise AnnotationError(f'{setting}: lists no videos; the file is empty')
    if question.json is not None:
        first = question.json[0] if isinstance(question.json, list) and question.json else {}
        keys = {plain_title(key) for key in first} if isinstance(first, dict) else set()
        of_something = 'id' in keys and ('template' in keys or not keys & {*_PATH_NAMES, 'label', 'labels'})
        return 'somethingsomethingv2' if of_something else 'json'
    if something_something.looks_like_something_v1(question):
        return 'somethingsomethingv1'
    if hmdb51.looks_like_hmdb51(question):
        return 'hmdb51'
    delimiter = delimiter_of(question.lines, question.multi_label)
    names = header_of(question.lines, delimiter)
    if names:
        return 'kinetics' if 'youtube_id' in names else 'table' if 'path' in names else 'epic'
    if question.multi_label:
        return _detect_multi_label(question, delimiter)
    if ucf101.looks_like_ucf101(question):
        return 'ucf101'
    if delimiter is None:
        columns = Counter(_columns(text) for _, text in question.lines)
    else:
        columns = Counter(len(row) for _, row in rows_of(question.lines, delimiter, setting))
    return 'path_label' if columns[2] > columns[3] else 'gluoncv'


def _detect_multi_label(question: Question, delimiter: str | None) -> str:
    tails = [label_tail(text)[1] for _, text in question.lines]
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


def _columns(text: str) -> int:
    """Return how many columns (2 or 3) a line with spaces speaks for; other counts are answered as they are."""
    by_name = row_by_name(text)
    row = by_name or split_row(text, None, 2)
    if by_name or len(row) < 3:
        return len(row)
    return 3 if is_integer(row[-1]) and is_integer(row[-2]) else 2


def _parse_table(question: Question) -> ParsedList:
    """A header that names the columns, among them path and label, and rows below it."""
    rows = records(question)
    if rows and 'path' not in rows[0][1]:
        raise AnnotationError(f'{where(question.setting, 1)}: the header names no column {", ".join(_PATH_NAMES)}')
    if rows and (unused := unused_columns(rows[0][1])):
        _log.info('%s: columns that are not used: %s', question.setting, ', '.join(unused))
    return _of_rows(question, rows)


def _parse_json(question: Question) -> ParsedList:
    """``[{"path": "a.mp4", "label": 1}, ...]``, ``{"a.mp4": {"label": 1}, "b.mp4": [1, 2], ...}``; keys as titles."""
    content = load_json(question.setting, question.encoding) if question.json is None else question.json
    if isinstance(content, dict):
        content = [{'path': path, **(about if isinstance(about, dict) else {'label': about})}
                   for path, about in content.items()]
    if not isinstance(content, list):
        raise AnnotationError(f'{question.setting}: expected a list of objects, or an object of path: label')
    rows = []
    for number, item in enumerate(content, 1):
        row = by_usual_name({plain_title(key): value for key, value in item.items()}) if isinstance(item, dict) else {}
        if not isinstance(row.get('path'), str) or not row['path']:
            raise AnnotationError(f'{where(question.setting, number)}: expected an object with a path, got {item!r}')
        rows.append((number, row))
    return _of_rows(question, rows)


def _of_rows(question: Question, rows: list[tuple[int, dict]]) -> ParsedList:
    """Entries of the rows of one split, their classes numbered by those of all."""
    known = question.classes or question.usual or ()
    labels, pairs = {}, []
    for line, row in rows:
        label = label_cell(row)
        if isinstance(label, dict):
            raise AnnotationError(f'{where(question.setting, line)}: a label is a number or a name, got {label!r}')
        labels[line] = labels_in(label, question.multi_label, known)
        pairs.append((line, {'label': ' '.join(labels[line]), 'label_name': class_name_in(row)}))
    entries = [_entry_of(question, row, line, labels[line]) for line, row in of_split(question, rows)]
    every = [(line, label) for line, row_labels in labels.items() for label in row_labels]
    if not question.classes and are_names(every, question.setting):
        several = len({str(row.get('split')).lower() for _, row in rows}) > 1
        return named(question, entries, question.beside, (label for _, label in every) if several else None)
    return ParsedList(entries, classes=names_by_number(pairs, question))


def _entry_of(question: Question, row: dict, line: int, labels: tuple[str, ...]) -> Entry:
    place = where(question.setting, line)
    if not row['path']:
        raise AnnotationError(f'{place}: names no video')
    if not question.multi_label and len(labels) > 1:
        raise AnnotationError(f'{place}: has {len(labels)} labels; pass --multi-label if that is meant')
    if not labels:
        raise AnnotationError(f'{place}: has no label')
    frames = row.get('num_frames')
    return Entry(row['path'], labels, question.setting, line,
                 None if frames in (None, '') else frame_count(str(frames), place),
                 **bounds_among(frozenset(row)).of_entry(row, place))


_PATH_NAMES = COLUMN_NAMES['path']

#: Name of every format, as ``--list-format`` takes it, and what reads it.
FORMATS: dict[str, Callable[[Question], ParsedList]] = {
    'gluoncv': parse_gluoncv,
    'path_label': parse_path_label,
    'table': _parse_table,
    'folder': parse_folder,
    'ucf101': ucf101.parse_ucf101,
    'hmdb51': hmdb51.parse_hmdb51,
    'kinetics': kinetics.parse_kinetics,
    'somethingsomethingv1': something_something.parse_something_v1,
    'somethingsomethingv2': something_something.parse_something,
    'epic': parse_epic,
    'epic:verb': functools.partial(parse_epic, kind='verb'),
    'epic:noun': functools.partial(parse_epic, kind='noun'),
    'multi_label': parse_multi_label,
    'multi_label_frames': parse_multi_label_frames,
    'json': _parse_json,
}
