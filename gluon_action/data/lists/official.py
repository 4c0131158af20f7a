"""Lists as data sets publish them: UCF101, HMDB51, Kinetics and Something-Something."""
from __future__ import annotations

import glob
import os
import re

from ...errors import AnnotationError
from .bounds import seconds_of
from .columns import of_split, published_bounds, records, split_row
from .labels import named
from .question import Entry, ParsedList, Question, where
from .text import is_integer, load_json, read_lines


def parse_kinetics(question: Question) -> ParsedList:
    """``label,youtube_id,time_start,time_end,split``; files are cut already and named id_000001_000011.mp4."""
    entries = []
    rows = records(question)
    for line, row in of_split(question, rows):
        place, label, bounds = where(question.setting, line), row.get('label', ''), published_bounds(row)
        if not label:
            raise AnnotationError(f'{place}: has no label; the test set of Kinetics is published without')
        start, end = seconds_of(bounds.get('start'), place), seconds_of(bounds.get('end'), place)
        if start is None or end is None or 'youtube_id' not in row:
            raise AnnotationError(f'{place}: needs youtube_id, time_start and time_end, which file names are made of')
        name = f'{row["youtube_id"]}_{int(start):06d}_{int(end):06d}'
        folders = dict.fromkeys((label, label.replace(' ', '_')))
        entries.append(Entry(name, (label,), question.setting, line,
                             places=(*(f'{folder}/{name}' for folder in folders), name)))
    several = {row['label'] for _, row in rows if row.get('label')} if len(rows) > len(entries) else None
    return named(question, entries, all_labels=several)


def parse_ucf101(question: Question) -> ParsedList:
    """``Class/v_Class_g01_c01.avi 1`` or without the number, which classInd.txt beside the list gives, from 1."""
    numbers = _read_class_ind(_class_ind(question.setting))
    classes = sorted(numbers, key=numbers.get)
    base = min(numbers.values()) if question.label_base is None else question.label_base
    entries = []
    for line, text in question.lines:
        place = where(question.setting, line)
        path, *rest = _ucf101_row(text)
        name = os.path.basename(os.path.dirname(path))
        if rest and not is_integer(rest[0]):
            raise AnnotationError(f'{place}: label {rest[0]!r} is not an integer')
        if name not in numbers and not rest:
            raise AnnotationError(f'{place}: has no label, and its folder {name!r} is not a class of classInd.txt')
        index = classes.index(name) if name in numbers else int(rest[0]) - base
        if not 0 <= index < len(classes):
            raise AnnotationError(f'{place}: label {rest[0]} is out of range {base}..{base + len(classes) - 1}')
        if rest and int(rest[0]) != index + base:
            raise AnnotationError(f'{place}: label {rest[0]} contradicts classInd.txt, where {name} is {index + base}')
        # The official list names .avi files; people keep frame folders or .mp4 under the same names.
        entries.append(Entry(path, (index,), question.setting, line, places=(path, os.path.splitext(path)[0])))
    return ParsedList(entries, classes=classes)


def _ucf101_row(text: str) -> list[str]:
    row = split_row(text, None, 1)
    return [text] if len(row) == 2 and os.path.splitext(row[1])[1] else row


def _class_ind(setting: str) -> str:
    return os.path.join(os.path.dirname(setting), 'classInd.txt')


def _read_class_ind(path: str) -> dict[str, int]:
    numbers = {}
    for line, text in read_lines(path):
        number, name = [*text.split(None, 1), ''][:2]
        if not is_integer(number) or not name:
            raise AnnotationError(f'{where(path, line)}: expected `number class`, got {text!r}')
        numbers[name] = int(number)
    first = min(numbers.values(), default=1)
    if sorted(numbers.values()) != list(range(first, first + len(numbers))):
        raise AnnotationError(f'{path}: the class numbers are not consecutive')
    return numbers


def looks_like_ucf101(question: Question) -> bool:
    """Whether most lines agree with the classInd.txt beside the list."""
    if not os.path.isfile(_class_ind(question.setting)):
        return False
    numbers = _read_class_ind(_class_ind(question.setting))
    rows = [_ucf101_row(text) for _, text in question.lines]
    named = [(numbers.get(os.path.basename(os.path.dirname(row[0]))), row[1:]) for row in rows]
    # GluonCV's own lists lie in the same folder and count from 0: the numbers tell them apart.
    agreeing = sum(number is not None and (not rest or rest[0] == str(number)) for number, rest in named)
    return 2 * agreeing > len(rows)


def parse_hmdb51(question: Question) -> ParsedList:
    """A folder of ``class_test_split1.txt``: file names with 1 for training, 2 for testing, 0 for neither."""
    files = hmdb51_files(question.setting)
    if not files:
        raise AnnotationError(f'{question.setting}: holds no files such as brush_hair_test_split1.txt')
    names = {path: os.path.basename(path).split('_test_split')[0] for path in files}
    wanted, entries = '1' if question.split == 'train' else '2', []
    for path in files:
        for line, text in read_lines(path, question.encoding):
            video, code = [*split_row(text, None, 1), ''][:2]
            if code not in ('0', '1', '2'):
                raise AnnotationError(f'{where(path, line)}: expected a file name and 0, 1 or 2, got {text!r}')
            if code == wanted:
                stem = os.path.splitext(video)[0]
                place = f'{names[path]}/{video}'
                entries.append(Entry(place, (names[path],), path, line,
                                     places=(place, f'{names[path]}/{stem}', video, stem)))
    of_files = None if question.usual else (question.setting, sorted(set(names.values())))
    parsed = named(question, entries, of_files)
    parsed.files = files
    return parsed


def hmdb51_files(setting: str) -> list[str]:
    """Return the files of one split: of split 1 for a folder, else those that the pattern matches."""
    pattern = setting if '*' in setting else os.path.join(glob.escape(setting), '*_test_split1.txt')
    return sorted(glob.glob(pattern))


def parse_something(question: Question) -> ParsedList:
    """Something-Something V2: ``[{"id": "1", "template": "Holding [something]"}, ...]`` and labels.json beside it."""
    entries, content = [], load_json(question.setting, question.encoding)
    if not isinstance(content, list):
        raise AnnotationError(f'{question.setting}: expected a list of objects with id and template')
    for number, item in enumerate(content, 1):
        place = where(question.setting, number)
        if not isinstance(item, dict) or 'id' not in item:
            raise AnnotationError(f'{place}: expected an object with an id, got {item!r}')
        if not isinstance(item.get('template', ''), str) or not isinstance(item['id'], (str, int)):
            raise AnnotationError(f'{place}: id and template must be text, got {item!r}')
        if 'template' not in item:
            raise AnnotationError(f'{place}: has no template, hence no label; the test set is published without')
        name = str(item['id'])
        entries.append(Entry(name, (re.sub(r'[\[\]]', '', item['template']),), question.setting, number,
                             places=(name,)))
    return named(question, entries, _something_classes(question.setting))


def parse_something_v1(question: Question) -> ParsedList:
    """Something-Something V1: ``100218;Something falling like a feather`` a line, and labels.csv beside it."""
    entries = []
    for line, text in question.lines:
        name, _, label = (part.strip() for part in text.partition(';'))
        if not name or not label:
            raise AnnotationError(f'{where(question.setting, line)}: expected `id;label`, got {text!r}; the test set '
                                  'is published without labels')
        entries.append(Entry(name, (label,), question.setting, line, places=(name,)))
    files = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(question.setting)), '*labels.csv')))
    return named(question, entries, (files[0], [text for _, text in read_lines(files[0])]) if files else None)


def looks_like_something_v1(question: Question) -> bool:
    """Whether the list has a number, a semicolon and words in each line."""
    return all(re.fullmatch(r'\d+\s*;[^;]*[^\W\d][^;]*', text) for _, text in question.lines)


def _something_classes(setting: str) -> tuple[str, list[str]] | None:
    files = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(setting)), '*labels.json')))
    if not files:
        return None
    labels = load_json(files[0])
    numbered = isinstance(labels, dict) and all(is_integer(str(number)) for number in labels.values())
    if not numbered or sorted(map(int, labels.values())) != list(range(len(labels))):
        raise AnnotationError(f'{files[0]}: expected {{"class name": number, ...}} with numbers from 0')
    return files[0], sorted(labels, key=lambda name: int(labels[name]))
