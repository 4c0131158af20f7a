"""Columns of lists: what separates them, which line names them, and the rows of a table."""
from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from ....errors import AnnotationError
from ..folders.file_kinds import NAMED_VIDEO
from ..question import SPLITS, Question, where
from ..text import is_integer
from .column_names import bound_of, is_header, is_known, plain_title, usual_names

DELIMITERS = '\t,;|'
#: Columns of the label, the surest first: a number is not to be mistaken.
_LABELS = ('label_number', 'label', 'label_name', 'action_class')

#: Names of paths that are words of every day too: alone they make no header.
_ORDINARY = {'clip', 'clip_id', 'id', 'name', 'uri', 'video_id'}
_BOUNDS = {('start', 'seconds'): 'start', ('end', 'seconds'): 'end', ('start', 'frames'): 'start_frame',
           ('end', 'frames'): 'end_frame', ('last', 'frames'): 'end_frame'}


def delimiter_of(lines: list[tuple[int, str]], multi_label: bool = False) -> str | None:
    """The character between columns, one of `DELIMITERS`, or None for spaces."""
    for delimiter in (*DELIMITERS, None):
        if header_of(lines, delimiter):
            return delimiter
    sample = [text for _, text in lines[:200]]
    if all('\t' in text for text in sample):
        return '\t'
    return next((sign for sign in DELIMITERS[1:] if all(sign in text for text in sample)
                 and _separates(sign, sample, multi_label)), None)


def _separates(sign: str, sample: list[str], multi_label: bool) -> bool:
    """Whether a sign that is in every line is more than a letter of paths or labels that spaces separate."""
    heads, tails = [text.split(sign)[0] for text in sample], [text.rsplit(sign, 1)[1].strip() for text in sample]
    # 'a.mp4 120 1,2' has it between labels, 'a,b.mp4 walk' in the path.
    if any(re.search(rf'{NAMED_VIDEO}\s', text, re.IGNORECASE) for text in (*heads, *tails)):
        return False
    if multi_label and any(re.search(r'\s\d+$', head) for head in heads):
        return False
    if not any(re.search(r'\s[-+]?\d+$', tail) for tail in tails):
        return True
    return all(re.search(rf'{NAMED_VIDEO}["\']?$', head.strip(), re.IGNORECASE) for head in heads)  # 'a.mp4,class 3'


def split_row(text: str, delimiter: str | None, tail: int, place: str = '') -> list[str]:
    """Columns of a line: the path, then at most `tail` others when spaces separate them.

    A path with spaces may stand in quotes; without them everything before the last `tail` columns is the path.
    """
    if delimiter is not None:
        return next(row for _, row in rows_of([(0, text)], delimiter, place))
    quoted = re.match(r'''(["'])(.*?)\1(?:\s+(.*))?$''', text)
    if quoted:
        return [quoted[2], *(quoted[3] or '').split()]
    return text.rsplit(None, tail)


def rows_of(lines: list[tuple[int, str]], delimiter: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows whose columns a sign separates, each with its first line: cells in quotes may have several.

    Raises
    ------
    AnnotationError
        Naming file and line, for quotes that are not closed.
    """
    taken: list[tuple[int, str]] = []

    def texts():
        for line, text in lines:
            taken.append((line, text))
            yield f'{text}\n'
    reader = csv.reader(texts(), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        first = len(taken)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line, text = taken[min(first, len(taken) - 1)]
            raise AnnotationError(f'{where(source, line)}: cannot be split into columns: {error}; got {text!r}'
                                  ) from error
        yield taken[first][0], [column.strip() for column in row]


def header_of(lines: list[tuple[int, str]], delimiter: str | None) -> set[str]:
    """Usual names of the columns that the first line names; empty when it is no header."""
    if not lines or delimiter is not None and delimiter not in lines[0][1]:
        return set()
    if delimiter is None:
        return set(usual_names(_titles(lines[0][1], delimiter))) if is_header(lines[0][1]) else set()
    titles = _titles(lines[0][1], delimiter)
    usual = usual_names(titles)
    if any(map(is_integer, titles)) or 'path' in usual and usual['path'] in _ORDINARY and not (
            set(usual) - {'path', 'video_id'} or any(map(bound_of, titles))):
        return set()
    names_a_video = 'path' in usual or 'youtube_id' in usual or {'participant_id', 'video_id'} <= set(usual)
    return set(usual) if names_a_video else set()


def records(question: Question) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table as dictionaries, by plain titles and by usual names, with the line that each begins in."""
    lines = question.lines
    delimiter = delimiter_of(lines)
    if not header_of(lines, delimiter):
        raise AnnotationError(f'{question.setting}: has no header line; expected columns such as path,label, '
                              'or label,youtube_id,time_start,time_end,split, or participant_id,video_id,start_frame,'
                              'stop_frame,action_class')
    return table_rows(question.setting, lines, delimiter)


def table_rows(source: str, lines: list[tuple[int, str]], delimiter: str | None) -> list[tuple[int, dict[str, str]]]:
    """Rows below a header, see `records`."""
    if delimiter is None:
        number = len(lines[0][1].split())
        rows = [(line, split_row(text, None, number - 1)) for line, text in lines]
    else:
        rows = list(rows_of(lines, delimiter, source))
    titles = [plain_title(title) for title in rows[0][1]]
    twice = next((title for title in titles if title and titles.count(title) > 1), None)
    if twice:
        raise AnnotationError(f'{where(source, rows[0][0])}: two columns are called {twice!r}; rename one of them')
    found = []
    for line, row in rows[1:]:
        while len(row) > len(titles) and not row[-1]:
            row.pop()
        if len(row) != len(titles):
            raise AnnotationError(f'{where(source, line)}: has {len(row)} columns, the header names {len(titles)}; '
                                  'join labels by ";", and put a cell that holds a comma or tab in double quotes; got '
                                  f'{dict(lines)[line]!r}')
        found.append((line, by_usual_name(dict(zip(titles, row)))))
    return found


def by_usual_name(row: dict) -> dict:
    """A row by plain titles, with what has a usual name under that too."""
    return {**row, **{name: row[title] for name, title in usual_names(tuple(row)).items()}}


def label_cell(row: dict):
    """What a row by usual names says of its label: the first cell that is filled; None where none is."""
    return next((row[name] for name in _LABELS if row.get(name) not in (None, '')), None)


def class_name_in(row: dict) -> str:
    """Name that a row gives to the number of its class; empty where it gives none."""
    name = row.get('label_name') if 'label_number' not in row else row.get('label_name', row.get('label'))
    return name if isinstance(name, str) else ''


def published_bounds(row: dict[str, str]) -> dict[str, str]:
    """Cells of a row by start, end, start_frame and end_frame, for formats that say themselves what these count."""
    return {_BOUNDS[bound]: cell for title, cell in row.items() if (bound := bound_of(title)) in _BOUNDS}


def unused_columns(row: dict) -> list[str]:
    """Titles in a row that mean nothing to any reader."""
    return [title for title in row if title and not is_known(title)]


def of_split(question: Question, rows: list) -> list:
    """Those of (line, row) pairs that belong to the split asked for, where rows tell several apart."""
    splits = {str(row.get('split') or '').lower() for _, row in rows}
    if len(splits) < 2:
        return rows
    for name in SPLITS[question.split]:
        if name in splits:
            return [(line, row) for line, row in rows if str(row.get('split') or '').lower() == name]
    raise AnnotationError(f'{question.setting}: has no rows of split {question.split!r}; its splits are '
                          f'{", ".join(sorted(splits))}')


def _titles(text: str, delimiter: str | None) -> tuple[str, ...]:
    return tuple(plain_title(title) for title in (text.split() if delimiter is None else text.split(delimiter)))
