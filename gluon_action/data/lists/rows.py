"""Rows of a list of videos: lines, columns, class names, and the entry that every format is read into."""
from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...errors import AnnotationError
from ...files import open_file, parse_json

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.mpg', '.mpeg', '.m4v', '.wmv', '.flv', '.3gp', '.ts',
                    '.ogv', '.gif')
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp')
#: Names that lists and folders give to a part of a data set.
SPLITS = {'train': ('train', 'training'), 'val': ('val', 'validation', 'validate', 'test', 'testing')}


@dataclass(slots=True)
class Entry:
    """One video as written in its list.

    `labels` are texts as written (numbers, counted from the list's base, or class names) or ints, which index the
    classes and are final. `places` are paths to try, in this order and with any extension, where the format leaves
    open which one exists. `first` and `last` are numbers of frames, the last one included.
    """

    path: str
    labels: tuple[str | int, ...]
    source: str
    line: int = 0
    num_frames: int | None = None
    start: float | None = None
    end: float | None = None
    places: tuple[str, ...] = ()
    first: int | None = None
    last: int | None = None


@dataclass
class ParsedList:
    """Entries of a list, the class names that came with it (or None), and the name of its format.

    `files` are the files it was read from; `root` is the folder of its paths where the list is that folder itself.
    """

    entries: list[Entry]
    format: str = ''
    classes: list[str] | None = None
    files: list[str] = field(default_factory=list)
    root: str | None = None


@dataclass
class Question:
    """A request to read a list: all that a format may need besides the file itself."""

    setting: str
    split: str = 'train'
    multi_label: bool = False
    label_base: int | None = None
    classes: Sequence[str] | None = None
    forced: bool = False

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """Lines of the list that are not blank, numbered from 1."""
        return read_lines(self.setting)


def where(source: str, line: int) -> str:
    """Name a place in a list: its file and line (JSON lists: which entry)."""
    if not line:
        return source
    return f'{source} {"entry" if source.endswith(".json") else "line"} {line}'


def read_lines(path: str) -> list[tuple[int, str]]:
    """Lines of a text file that are not blank, stripped, numbered from 1.

    Paths that are not UTF-8 keep their bytes.
    """
    try:
        with io.TextIOWrapper(open_file(path), encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except OSError as error:
        raise AnnotationError(f'{path}: the list cannot be read: {error.strerror}') from error
    if any('\0' in line for _, line in lines[:10]):
        raise AnnotationError(f'{path}: is not a text file; a list has one line a video')
    return [(number, line) for number, line in lines if line]


def delimiter_of(lines: list[tuple[int, str]], multi_label: bool = False) -> str | None:
    """The character between columns: a tab, a comma, or None for spaces."""
    for delimiter in '\t,':
        if header_of(lines, delimiter):
            return delimiter
    sample = [text for _, text in lines[:200]]
    if all('\t' in text for text in sample):
        return '\t'
    # 'a,b.mp4 3' has a comma in the path, and 'a.mp4 120 1,2' one between labels: neither is CSV.
    if all(',' in text and not re.search(r'\s', text.rsplit(',', 1)[1].strip()) for text in sample):
        if not (multi_label and any(re.search(r'\s\d+$', text.split(',')[0]) for text in sample)):
            return ','
    return None


def split_row(text: str, delimiter: str | None, tail: int, place: str = '') -> list[str]:
    """Columns of a line: the path, then at most `tail` others when spaces separate them.

    A path with spaces may stand in quotes; without them everything before the last `tail` columns is the path.
    """
    if delimiter is not None:
        try:
            row = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise AnnotationError(f'{place}: cannot be split into columns: {error}; got {text!r}') from error
        return [column.strip() for column in row]
    quoted = re.match(r'''(["'])(.*?)\1(?:\s+(.*))?$''', text)
    if quoted:
        return [quoted[2], *(quoted[3] or '').split()]
    return text.rsplit(None, tail)


def is_integer(text: str) -> bool:
    """Whether a text is a decimal integer and nothing else; a row of digits that no number has is none."""
    return re.fullmatch(r'[+-]?[0-9]{1,18}', text) is not None


class ClassNames:
    """Finds a class by name, also where spaces became underscores or capitals changed."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._exact = {name: i for i, name in enumerate(self.names)}
        plain = Counter(map(self._plain, self.names))
        self._loose = {self._plain(name): i for i, name in enumerate(self.names) if plain[self._plain(name)] == 1}

    def find(self, name: str) -> int | None:
        """Index of a class, or None."""
        return self._exact.get(name, self._loose.get(self._plain(name)))

    @staticmethod
    def _plain(name: str) -> str:
        return ''.join(character for character in name.lower() if character.isalnum())


#: What people call the columns of a table, in small letters.
COLUMN_NAMES = {
    'path': ('path', 'video', 'video_path', 'file', 'filename', 'file_name', 'video_name'),
    'label': ('label', 'labels', 'class', 'class_id', 'label_id', 'target'),
    'num_frames': ('num_frames', 'n_frames', 'total_frames', 'frames'),
    'start': ('start', 'start_time', 'time_start', 'start_timestamp'),
    'end': ('end', 'end_time', 'time_end', 'stop_timestamp'),
    'start_frame': ('start_frame', 'first_frame', 'frame_start'),
    'end_frame': ('end_frame', 'stop_frame', 'frame_end'),
    'split': ('split', 'subset'), 'youtube_id': ('youtube_id',),
    'participant_id': ('participant_id',), 'video_id': ('video_id',), 'action_class': ('action_class', 'action'),
    'verb_class': ('verb_class',), 'verb': ('verb',), 'noun_class': ('noun_class',), 'noun': ('noun',),
}


def header_of(lines: list[tuple[int, str]], delimiter: str | None) -> dict[str, int]:
    """Position of each column that the first line names; empty when it is no header."""
    if not lines or delimiter is None or delimiter not in lines[0][1]:
        return {}
    titles = [title.strip(' "').lower() for title in lines[0][1].split(delimiter)]
    positions = {name: titles.index(title) for name, aliases in COLUMN_NAMES.items() for title in aliases
                 if title in titles}
    names_a_video = 'path' in positions or 'youtube_id' in positions or {'participant_id', 'video_id'} <= set(positions)
    return positions if names_a_video else {}


def records(question: Question) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table as dictionaries, those of other splits left out."""
    lines = question.lines
    delimiter = delimiter_of(lines)
    names = header_of(lines, delimiter)
    if not names:
        raise AnnotationError(f'{question.setting}: has no header line; expected columns such as path,label, '
                              'or label,youtube_id,time_start,time_end,split, or participant_id,video_id,start_frame,'
                              'stop_frame,action_class')
    rows = []
    for line, text in lines[1:]:
        row = split_row(text, delimiter, 0, where(question.setting, line))
        if len(row) <= max(names.values()):
            raise AnnotationError(f'{where(question.setting, line)}: has {len(row)} columns, the header names '
                                  f'{max(names.values()) + 1}; got {text!r}')
        rows.append((line, {name: row[column] for name, column in names.items()}))
    return of_split(question, rows)


def of_split(question: Question, rows: list) -> list:
    """Those of (line, row) pairs that belong to the split asked for, where rows tell several apart."""
    splits = {str(row.get('split', '')).lower() for _, row in rows}
    if len(splits) < 2:
        return rows
    for name in SPLITS[question.split]:
        if name in splits:
            return [(line, row) for line, row in rows if str(row.get('split', '')).lower() == name]
    raise AnnotationError(f'{question.setting}: has no rows of split {question.split!r}; its splits are '
                          f'{", ".join(sorted(splits))}')


def seconds_of(text, place: str) -> float | None:
    """A time in seconds, or hours:minutes:seconds, as seconds; None where the column is empty."""
    if text in (None, ''):
        return None
    try:
        seconds = 0.0
        for part in str(text).split(':'):
            seconds = 60 * seconds + float(part)
    except (TypeError, ValueError):
        raise AnnotationError(f'{place}: a time in seconds is expected, got {text!r}') from None
    if not 0 <= seconds < float('inf'):
        raise AnnotationError(f'{place}: a time of 0 or more seconds is expected, got {text!r}')
    return seconds


def read_class_names(path: str | os.PathLike) -> list[str]:
    """Class names in the order of their numbers, out of a file.

    Parameters
    ----------
    path : path
        Text with one name a line; or JSON: a list of names, ``{"name": number, ...}`` or ``{"number": "name", ...}``
        with numbers from 0.

    Raises
    ------
    AnnotationError
        When it is empty, cannot be read, names a class twice, or leaves a number out.
    """
    path = os.fspath(path)
    lines = read_lines(path)
    if lines and lines[0][1][0] in '[{':
        names = _in_order(path, load_json(path))
        places = [f'entry {number}' for number in range(len(names))]
    else:
        names, places = [name for _, name in lines], [f'line {line}' for line, _ in lines]
    seen: dict[str, str] = {}
    for name, place in zip(names, places):
        if seen.setdefault(name, place) != place:
            raise AnnotationError(f'{path} {place}: names {name!r}, as {seen[name]} does')
    if not names:
        raise AnnotationError(f'{path}: names no class; expected one a line')
    return names


def _in_order(path: str, content) -> list[str]:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    numbers = {}
    if isinstance(content, dict):
        by_name = all(isinstance(value, int) or is_integer(str(value)) and not is_integer(key)
                      for key, value in content.items())
        numbers = {str(value if by_name else key): key if by_name else value for key, value in content.items()}
    if len(numbers) < len(content) or not all(is_integer(number) and isinstance(name, str)
                                              for number, name in numbers.items()):
        raise AnnotationError(f'{path}: expected class names as {{"name": number, ...}}, {{"number": "name", ...}} or '
                              '["name", ...], each number once')
    names = {int(number): name for number, name in numbers.items()}
    if sorted(names) != list(range(len(names))):
        raise AnnotationError(f'{path}: the numbers of its {len(names)} classes must run from 0 to {len(names) - 1}, '
                              f'got {", ".join(map(str, sorted(names)))}')
    return [names[number] for number in range(len(names))]


def load_json(path: str):
    """Content of a JSON file."""
    try:
        with open_file(path) as file:
            return parse_json(file.read().decode('utf-8-sig'))
    except OSError as error:
        raise AnnotationError(f'{path}: the list cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise AnnotationError(f'{path}: is not JSON: {error}') from error
