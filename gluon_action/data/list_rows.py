"""Rows of a list of videos: lines, columns, class names, and the entry that every format is read into."""
from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import AnnotationError

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.mpg', '.mpeg', '.m4v', '.wmv', '.flv', '.3gp', '.ts',
                    '.ogv', '.gif')
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp')
#: Names that lists and folders give to a part of a data set.
SPLITS = {'train': ('train', 'training'), 'val': ('val', 'validation', 'validate', 'test', 'testing')}


@dataclass(slots=True)
class Entry:
    """One video as its list writes it.

    `labels` are texts as written (numbers, counted from the list's base, or class names) or ints, which index the
    classes and are final. `places` are paths to try, in this order and with any extension, where the format leaves
    open which one exists.
    """

    path: str
    labels: tuple[str | int, ...]
    source: str
    line: int = 0
    num_frames: int | None = None
    start: float | None = None
    end: float | None = None
    places: tuple[str, ...] = ()


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
    """What is asked of a list: everything that a format may need besides the file itself."""

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
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
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
    """Whether a text is a decimal integer and nothing else."""
    return re.fullmatch(r'[+-]?[0-9]+', text) is not None


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
    'start': ('start', 'start_time', 'time_start'), 'end': ('end', 'end_time', 'time_end'),
    'split': ('split', 'subset'), 'youtube_id': ('youtube_id',),
}


def header_of(lines: list[tuple[int, str]], delimiter: str | None) -> dict[str, int]:
    """Position of each column that the first line names; empty when it is no header."""
    if not lines or delimiter is None or delimiter not in lines[0][1]:
        return {}
    titles = [title.strip(' "').lower() for title in lines[0][1].split(delimiter)]
    found = {name: titles.index(title) for name, aliases in COLUMN_NAMES.items() for title in aliases
             if title in titles}
    return found if 'path' in found or 'youtube_id' in found else {}


def records(question: Question) -> list[tuple[int, dict[str, str]]]:
    """Rows of a table as dictionaries, those of other splits left out."""
    lines = question.lines
    delimiter = delimiter_of(lines)
    names = header_of(lines, delimiter)
    if not names:
        raise AnnotationError(f'{question.setting}: has no header line; expected columns such as path,label '
                              f'or label,youtube_id,time_start,time_end,split')
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
    splits = {row.get('split', '').lower() for _, row in rows}
    if len(splits) < 2:
        return rows
    for name in SPLITS[question.split]:
        if name in splits:
            return [(line, row) for line, row in rows if row['split'].lower() == name]
    raise AnnotationError(f'{question.setting}: has no rows of split {question.split!r}; its splits are '
                          f'{", ".join(sorted(splits))}')


def seconds_of(text, place: str) -> float | None:
    """A time in seconds, or None where the column is empty."""
    if text in (None, ''):
        return None
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        raise AnnotationError(f'{place}: a time in seconds is expected, got {text!r}') from None
    if not 0 <= seconds < float('inf'):
        raise AnnotationError(f'{place}: a time of 0 or more seconds is expected, got {text!r}')
    return seconds


def load_json(path: str):
    """Content of a JSON file."""
    try:
        with open(path, encoding='utf-8-sig') as file:
            return json.load(file)
    except OSError as error:
        raise AnnotationError(f'{path}: the list cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise AnnotationError(f'{path}: is not JSON: {error}') from error
