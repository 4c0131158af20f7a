"""Lists without a header: a path, perhaps the number of its frames, and its label or labels on each line."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ....errors import AnnotationError
from ..classes.labels import are_names, labels_in, named
from ..folders.file_kinds import NAMED_VIDEO
from ..question import SPLITS, Entry, ParsedList, Question, where
from ..text import is_integer
from .columns import delimiter_of, of_split, rows_of, split_row

#: A row as columns by name: path, label, perhaps num_frames, split and label_name.
Row = dict[str, str]

_SPLIT_NAMES = {name for names in SPLITS.values() for name in names}


def parse_gluoncv(question: Question) -> ParsedList:
    """``path num_frames label``; GluonCV's preparation scripts leave out a count that they could not find."""
    return _parse(question, 2, (2, 3), '`path num_frames label`')


def parse_path_label(question: Question) -> ParsedList:
    """``path label``."""
    return _parse(question, 1, (2,), '`path label`')


def parse_multi_label(question: Question, with_frames: bool = False) -> ParsedList:
    """``path l1 l2 ...``, labels joined by spaces or commas."""
    delimiter = delimiter_of(question.lines, multi_label=True)
    entries = []
    for line, text in question.lines:
        place = where(question.setting, line)
        path, tail = label_tail(text)
        if text[0] not in '"\'' and re.search(r'\s.*[,;|].*[^\W\d]|[,;|].*\s.*[^\W\d]', text) and \
                not re.search(NAMED_VIDEO, text, re.IGNORECASE):  # 'my clip,walk,run' or 'clip1 walk,run'
            raise AnnotationError(f'{place}: where the path ends cannot be told: put it in quotes, or a header such as '
                                  f'path,labels above; got {text!r}')
        if delimiter is not None:
            path, *tail = split_row(text, delimiter, 0, place)
        frames = frame_count(tail.pop(0), place) if with_frames and tail else None
        joint = ';' if delimiter is not None or not all(is_integer(part) for part in re.split(r'[,\s]+', ' '.join(tail))
                                                        if part) else ' '
        labels = labels_in(joint.join(tail), True, question.classes or question.usual or ())
        if not labels:
            raise AnnotationError(f'{place}: has no label; expected a path and its labels, got {text!r}')
        entries.append(Entry(path, labels, question.setting, line, frames))
    if are_names(((entry.line, label) for entry in entries for label in entry.labels), question.setting):
        return named(question, entries, None if question.classes else question.beside)
    return ParsedList(entries)


def parse_multi_label_frames(question: Question) -> ParsedList:
    """``path num_frames l1,l2,...``, labels joined by commas or spaces."""
    return parse_multi_label(question, with_frames=True)


def label_tail(text: str) -> tuple[str, list[str]]:
    """Path of a line of several labels, and the columns after it: numbers, numbers joined by commas, or names."""
    path, *rest = split_row(text, None, 0)
    if path != text:
        return path, rest
    by_name = re.fullmatch(rf'(.+?{NAMED_VIDEO})\s+(?:(\d+)\s+)?(\S.*)', text, re.IGNORECASE) or \
        re.fullmatch(r'(\S+)\s+(?:(\d+)\s+)?(\S+)', text)
    if by_name and not re.fullmatch(r'[-+0-9,\s]+', by_name[3]):
        return by_name[1], [part for part in by_name.groups()[1:] if part]
    tail = re.search(r'(?:\s+[-+0-9,]+)+$', text)
    return (text[:tail.start()], tail[0].split()) if tail else (text, [])


def frame_count(text: str, place: str) -> int | None:
    """The number of frames that a list gives; None for what GluonCV writes where it does not know."""
    text = re.sub(r'\.0+$', '', text)  # pandas writes it where the column has gaps
    if not is_integer(text):
        raise AnnotationError(f'{place}: the number of frames, {text!r}, is not an integer')
    return int(text) if int(text) > 0 else None


def _parse(question: Question, tail: int, allowed: tuple[int, ...], expected: str) -> ParsedList:
    delimiter = delimiter_of(question.lines)
    if delimiter is None:
        rows = [(line, _by_spaces(question, line, text, tail, allowed, expected)) for line, text in question.lines]
    else:
        rows = _by_sign(question, delimiter, allowed, expected)
    for line, row in rows:
        label = labels_in(row['label'])
        if not row['path'] or not label:
            raise AnnotationError(f'{where(question.setting, line)}: has no {"label" if row["path"] else "path"}; '
                                  f'got {dict(question.lines)[line]!r}')
        row['label'], = label
    if not rows:  # an empty file whose format was named
        return ParsedList([])
    _check_first(question, rows)
    labels = [(line, row['label']) for line, row in rows]
    by_name = are_names(labels, question.setting) if not question.classes else False
    entries = []
    for line, row in of_split(question, rows):
        frames = frame_count(row['num_frames'], where(question.setting, line)) if 'num_frames' in row else None
        entries.append(Entry(row['path'], (row['label'],), question.setting, line, frames))
    if by_name:
        several = len({row.get('split') for _, row in rows}) > 1
        return named(question, entries, question.beside, (label for _, label in labels) if several else None)
    return ParsedList(entries, classes=names_by_number(rows, question))


def names_by_number(rows: Iterable[tuple[int, Row]], question: Question) -> list[str] | None:
    """Class names out of rows that have a number and a name for their label; None where they have not.

    Raises
    ------
    AnnotationError
        For a number with two names.
    """
    names: dict[int, tuple[str, int]] = {}
    for line, row in rows:
        if not row.get('label_name') or not is_integer(row['label']):
            return None
        number = int(row['label']) - (question.label_base or 0)
        name, first = names.setdefault(number, (row['label_name'], line))
        if name != row['label_name']:
            raise AnnotationError(f'{where(question.setting, line)}: class {row["label"]} is called '
                                  f'{row["label_name"]!r}, and {name!r} in line {first}')
    if not names or min(names) < 0:
        return None
    return [names.get(number, (f'class {number}', 0))[0] for number in range(max(names) + 1)]


def _by_spaces(question: Question, line: int, text: str, tail: int, allowed: tuple[int, ...], expected: str) -> Row:
    place = where(question.setting, line)
    by_name = row_by_name(text)
    row = by_name or split_row(text, None, tail, place)
    words = text.split()
    if not question.forced and len(words) > 3 and all(map(is_integer, words[1:])):
        raise AnnotationError(f'{place}: has {len(words)} columns, expected {expected}; put a path with spaces '
                              f'in quotes, or name the format with --list-format; got {text!r}')
    if len(row) not in (*allowed, 3) or len(row) == 3 and 3 not in allowed and is_integer(row[2]):
        raise AnnotationError(f'{place}: has {len(row)} column{"s" * (len(row) != 1)}, expected {expected}; '
                              f'got {text!r}')
    if len(words) > len(row) and re.search(rf'{NAMED_VIDEO}\s+[-\d.:\s]+$', row[0], re.IGNORECASE):
        raise AnnotationError(f'{place}: has more columns than {expected}; put a header such as path,start,end,label '
                              f'above, or a path with spaces in quotes; got {text!r}')
    if not by_name and re.search(r'[^\W\d]', row[-1]) and text[0] not in '"\'':
        raise AnnotationError(f'{place}: a name for its label, and where the path ends cannot be told: put the path in '
                              f'quotes, or a tab or comma between the columns; got {text!r}')
    return {'path': row[0], 'label': row[-1], **({'num_frames': row[1]} if len(row) == 3 else {})}


def row_by_name(text: str) -> list[str] | None:
    """Columns of a line that spaces separate and a class name ends, which may have spaces itself; None for others.

    The path ends with its extension, its quotes, its first space, or before the number of its frames.
    """
    words = text.split()
    if len(words) in (2, 3) and ''.join(words[1:]).isdigit():  # most lists are of numbers
        return None
    quoted = re.fullmatch(r'''(["'])(.+?)\1\s+(?:(\d+)\s+)?(\S.*)''', text)
    if quoted:
        row = quoted.groups()[1:]
    else:
        match = re.fullmatch(rf'(.+?{NAMED_VIDEO})\s+(?:(\d+)\s+)?([^\s/].*)', text, re.IGNORECASE) or \
            re.fullmatch(r'(\S+)()\s+(\S+)', text) or re.fullmatch(r'(\S+)\s+(\d+)\s+(\S.*)', text)
        if match is None:
            return None
        row = match.groups()
    path, frames, label = row
    if re.match(r'[-+\d,.:;]+(\s|$)', label):  # numbers are cut from the end, and what stands before a name is none
        return None
    if not quoted and re.search(r'\s\d+$', label) and not (
            re.search(f'{NAMED_VIDEO}$', path, re.IGNORECASE) and
            not re.search(rf'\s\d+\s+\d+$|{NAMED_VIDEO}\s', label, re.IGNORECASE)):
        return None  # 'clip 1 front 120 0' and 'a.mp4 (1).mp4 3': a path with spaces; of 'a.mp4 class 3' a name
    label = re.sub(r'''^(["'])(.*)\1$''', r'\2', label.strip())
    return [path, frames, label] if frames else [path, label]


def _by_sign(question: Question, delimiter: str, allowed: tuple[int, ...], expected: str) -> list[tuple[int, Row]]:
    """Rows whose columns are told apart by what is in them, where numbers alone do not tell."""
    rows = list(rows_of(question.lines, delimiter, question.setting))
    counts = {len(row) for _, row in rows}
    roles = _roles([row for _, row in rows]) if len(counts) == 1 else None
    if roles:
        return [(line, dict(zip(roles, row))) for line, row in rows]
    for line, row in rows:
        if len(row) not in allowed:
            text = dict(question.lines)[line]
            raise AnnotationError(f'{where(question.setting, line)}: has {len(row)} column{"s" * (len(row) != 1)}, '
                                  f'expected {expected}; put a header such as path,label above; got {text!r}')
    return [(line, {'path': row[0], 'label': row[-1], **({'num_frames': row[1]} if len(row) == 3 else {})})
            for line, row in rows]


def _roles(rows: list[list[str]]) -> list[str] | None:
    """What each column holds, where a name or a split is among them; None where the old rule by number will do."""
    columns = list(zip(*rows))
    if not 2 <= len(columns) <= 5:
        return None

    def all_of(column, fits: Callable[[str], object]) -> bool:
        return all(map(fits, column))
    files = [all_of(column, lambda cell: re.search(f'{NAMED_VIDEO}$', cell, re.IGNORECASE)) for column in columns]
    path = files.index(True) if True in files else 0
    roles: dict[int, str] = {path: 'path'}
    rest = [index for index in range(len(columns)) if index != path]
    splits = [index for index in rest if all_of(columns[index], lambda cell: cell.lower() in _SPLIT_NAMES)]
    if len(splits) == 1 and len(rest) > 1:
        roles[splits[0]] = 'split'
        rest.remove(splits[0])
    numbers = [index for index in rest if all_of(columns[index], lambda cell: is_integer(re.sub(r'\.0+$', '', cell)))]
    names = [index for index in rest if index not in numbers]
    if len(names) == 1 and len(numbers) <= 1:
        roles[names[0]] = 'label'
        if numbers and _one_to_one(columns[numbers[0]], columns[names[0]]):
            roles |= {numbers[0]: 'label', names[0]: 'label_name'}
        elif numbers:
            roles[numbers[0]] = 'num_frames'
    elif not names and 1 <= len(numbers) <= 2 and (path != 0 or splits):
        roles |= dict(zip(numbers, ('num_frames', 'label')[-len(numbers):]))
    if len(roles) < len(columns):
        return None
    return [roles[index] for index in range(len(columns))]


def _one_to_one(numbers: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether numbers count classes: one for each name, and none left out."""
    pairs = {(int(number), name) for number, name in zip(numbers, names)}
    counted = sorted({number for number, _ in pairs})
    return len(pairs) == len(counted) == len(set(names)) and counted in (
        list(range(len(counted))), list(range(1, len(counted) + 1)))


def _check_first(question: Question, rows: list[tuple[int, Row]]) -> None:
    """Refuse a first line that is a header with unknown titles, which would be a video and a class of their own."""
    def is_file(row: Row) -> bool:
        return re.search(f'{NAMED_VIDEO}$', row['path'], re.IGNORECASE) is not None
    (line, first), *others = rows
    labels = {row['label'] for _, row in others}
    if is_integer(first['label']) or is_file(first) or first['label'] in labels or not others:
        return
    if all(is_file(row) for _, row in others) or all(map(is_integer, labels)):
        raise AnnotationError(f'{where(question.setting, line)}: label {first["label"]!r} is not an integer as in the '
                              'other lines, or the path has no extension as theirs have; if it is a header, call its '
                              f'columns path and label, got {dict(question.lines)[line]!r}')
