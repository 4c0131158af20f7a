"""Rows of a list of annotated parts of videos, each a dictionary by plain titles and usual names of columns."""
from __future__ import annotations

import os
import re

from ...errors import AnnotationError
from .formats import detect_format, parse_list
from .question import Question, where
from .tables.column_names import plain_title
from .tables.columns import by_usual_name, class_name_in, delimiter_of, header_of, label_cell, table_rows
from .tables.plain_rows import names_by_number
from .text import is_integer

_PLAIN_FORMATS = ('gluoncv', 'path_label', 'folder')
EXPECTED = 'expected columns such as video,start,end,labels'


def read_rows(path: str, encoding: str | None = None,
              label_base: int = 0) -> tuple[list[tuple[int, dict]], list[str] | None]:
    """(line, row by column) of each row, and the class names that came with them."""
    if not os.path.exists(path):
        raise AnnotationError(f'{path}: the list does not exist')
    question = Question(path, encoding=encoding, label_base=label_base)
    if os.path.isfile(path):
        if not question.lines:
            raise AnnotationError(f'{path}: lists no videos; the file is empty')
        if question.json is not None:
            return _labelled(question, _json_rows(path, question.json))
        delimiter = delimiter_of(question.lines)
        if 'path' in header_of(question.lines, delimiter):
            return _labelled(question, table_rows(path, question.lines, delimiter))
    list_format = detect_format(question)
    if list_format not in _PLAIN_FORMATS:
        raise AnnotationError(f'{where(path, 1)}: is no header of a table of videos; {EXPECTED}')
    parsed = parse_list(question, list_format)
    if parsed.root and os.path.realpath(parsed.root) != os.path.realpath(path):
        raise AnnotationError(f'{path}: holds the parts of a data set, {", ".join(sorted(os.listdir(path)))}; make the '
                              'records of each by itself')
    if parsed.root is None and len(parsed.entries) < len(question.lines):
        raise AnnotationError(f'{path}: has a column of splits; put a header above it, such as path,label,split')
    return [(entry.line, {'path': entry.path, 'root': parsed.root, 'label': [
        label if isinstance(label, str) else parsed.classes[label] for label in entry.labels]})
        for entry in parsed.entries], parsed.classes


def _json_rows(path: str, content) -> list[tuple[int, dict]]:
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise AnnotationError(f'{path}: expected a list of objects such as {{"video": "a.mp4", "start": 1.5, "end": 4, '
                              '"labels": ["train"]}')
    return [(number, by_usual_name({plain_title(key): value for key, value in item.items()}))
            for number, item in enumerate(content, 1)]


def _labelled(question: Question, rows: list[tuple[int, dict]]) -> tuple[list[tuple[int, dict]], list[str] | None]:
    """Rows with what training takes for their label, and the names that they give to numbers."""
    pairs = [(line, {'label': str(label), 'label_name': class_name_in(row)})
             for line, row in rows if (label := label_cell(row)) is not None]
    return [(line, {**row, 'label': label_cell(row)}) for line, row in rows], names_by_number(pairs, question)


def labels_of(value, place: str) -> list[str | int]:
    """Labels in a cell, names or numbers."""
    if isinstance(value, list):
        wrong = [item for item in value if not isinstance(item, (str, int)) or isinstance(item, bool)]
        if wrong:
            raise AnnotationError(f'{place}: label {wrong[0]!r} is neither a name nor a number')
        return value
    text = '' if value is None else str(value)
    parts = [part.strip() for part in re.split(r'[;|]', text) if part.strip()]
    numbers = [number for part in parts for number in re.split(r'[,\s]+', part) if number]
    return numbers if all(map(is_integer, numbers)) else parts
