"""UCF101: lists of files, and the numbers of their folders in ``classInd.txt``."""
from __future__ import annotations

import os

from ....errors import AnnotationError
from ..question import Entry, ParsedList, Question, where
from ..tables.columns import split_row
from ..text import is_integer, read_lines


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
