"""Labels of lists as numbers from 0: names looked up, the list's base taken off, ranges checked."""
from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ....class_names import letters_of
from ....errors import AnnotationError
from ..question import Entry, ParsedList, Question, where
from ..text import is_integer, say_readings, undecoded
from .class_files import ClassNames

_log = logging.getLogger(__name__)

#: A higher number of a class is a mistake: networks would be built for as many.
MOST_CLASSES = 1 << 20
_NUMBER = re.compile(r'[-+]?\d+(\.\d*)?([eE][-+]?\d+)?')
_SEVERAL = re.compile(r'\d+([,;|\s]+\d+)+')


def labels_in(value, multi_label: bool = False, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Labels in a cell or a JSON value, as texts.

    Numbers without decimals, ``3.0``, are integers: pandas writes them where a column has gaps. With `multi_label`
    several are joined by ``;`` or ``|``, by commas, and numbers also by spaces; a name with a comma in it is one label
    where `classes` has it.
    """
    if isinstance(value, (list, tuple)):
        return tuple(label for item in value for label in labels_in(item))
    text = '' if value is None else re.sub(r'^([-+]?\d+)\.0*$', r'\1', str(value).strip())
    if not multi_label or not text:
        return (text,) if text else ()
    parts = [part.strip() for part in re.split('[;|]', text) if part.strip()]
    numbers = [number for part in parts for number in re.split(r'[,\s]+', part) if number]
    if all(map(is_integer, numbers)):
        return tuple(numbers)
    known = ClassNames(classes)
    return tuple(name for part in parts for name in (
        [part] if known.find(part) is not None else map(str.strip, part.split(','))) if name)


def named(question: Question, entries: list[Entry], beside: tuple[str, Sequence[str]] | None = None,
          all_labels: Iterable[str] | None = None) -> ParsedList:
    """Turn class names into numbers.

    Parameters
    ----------
    question : Question
    entries : list of Entry
        Each with names for labels.
    beside : (str, sequence of str), optional
        File that comes with the list, and the names in it. Those that the caller gives come first; without any the
        names in the list are the classes, sorted.
    all_labels : iterable of str, optional
        Names in all splits of the list; by default those of `entries`.
    """
    known = question.classes or (beside and beside[1]) or question.usual
    names = list(known or class_names_of({label for entry in entries for label in entry.labels}
                                         if all_labels is None else all_labels, question.setting))
    finder = ClassNames(names)
    for entry in entries:
        numbers = [finder.find(label) for label in entry.labels]
        if None in numbers:
            label = entry.labels[numbers.index(None)]
            more = ', ...' if len(names) > 3 else ''
            source = f' of {beside[0]}' if beside and not question.classes else ''
            raise AnnotationError(f'{where(entry.source, entry.line)}: {label!r} is not one of the {len(names)} '
                                  f'classes{source} ({", ".join(names[:3])}{more}); check --class-names')
        entry.labels = tuple(numbers)
    return ParsedList(entries, classes=names, counted=not known and all_labels is None)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in the order of their numbers: that of the alphabet; numbers by value, so that 10 follows 9."""
    names = sorted(set(names))
    return sorted(names, key=int) if all(map(is_integer, names)) else names


def class_names_of(labels: Iterable[str], source: str) -> list[str]:
    """Names in a list, `in_order`. Those that differ in signs only are warned of."""
    names = in_order(labels)
    wrong = next(filter(undecoded, names), None)
    if wrong is not None and not os.path.isdir(source):  # a folder's name has the bytes that it has, whatever they mean
        raise AnnotationError(f'{source}: the name of a class is not UTF-8: {say_readings(wrong)}')
    alike = {letters: count for letters, count in Counter(map(letters_of, names)).items() if count > 1 and letters}
    if alike:
        twins = [name for name in names if letters_of(name) in alike]
        _log.warning('%s: %s are different classes, as they are written differently; write one class one way', source,
                     ' and '.join(map(repr, twins[:2])))
    return names


def are_names(labels: Iterable[tuple[int, str]], source: str) -> bool:
    """Whether the (line, label) pairs of a list are names of classes, not numbers.

    Raises
    ------
    AnnotationError
        For a number that is no integer, and a name among numbers.
    """
    first: dict[bool, tuple[int, str]] = {}
    for line, label in labels:
        is_name = not is_integer(label)
        if is_name and _NUMBER.fullmatch(label):
            raise AnnotationError(f'{where(source, line)}: label {label[:40]!r} is not an integer, nor a name')
        if is_name and _SEVERAL.fullmatch(label):
            raise AnnotationError(f'{where(source, line)}: label {label!r} is not an integer; pass --multi-label if '
                                  'it means several')
        first.setdefault(is_name, (line, label))
        if len(first) > 1:
            (numbered, number), (named_line, name) = first[False], first[True]
            raise AnnotationError(
                f'{where(source, named_line)}: label {name!r} is not an integer, and {number!r} in line {numbered} is '
                'one; give all classes by number or all by name, and the columns a header such as path,label')
    return True in first


def number_labels(entries: list[Entry], base: int, classes: list[str] | None) -> list[tuple[int, ...]]:
    """Labels of each entry as numbers from 0, in ascending order."""
    names = ClassNames(classes or [])
    if classes and all(map(is_integer, classes)):
        _warn_of_numbers_that_are_names(entries, base, names)
    labels = []
    for entry in entries:
        numbers = []
        for label in entry.labels:
            if isinstance(label, str):
                number = int(label) - base if is_integer(label) else names.find(label)
            else:
                number = label
            if number is None:
                hint = f', nor the name of one of {len(classes)} classes' if classes else ''
                several = '; pass --multi-label if it means several' if _SEVERAL.fullmatch(label) else ''
                raise AnnotationError(f'{where(entry.source, entry.line)}: label {label!r} is not an integer{hint}'
                                      f'{several}; give classes by number or by name, not both, and check '
                                      '--class-names')
            numbers.append(number)
        labels.append(tuple(sorted(set(numbers))))
    return labels


def _warn_of_numbers_that_are_names(entries: list[Entry], base: int, names: ClassNames) -> None:
    """Where classes are called by numbers, as folders 1, 2, 3 are, a number in a list may mean one or the other."""
    for entry in entries:
        for label in entry.labels:
            if not isinstance(label, str) or not is_integer(label):
                continue
            number, called = int(label) - base, names.find(label)
            if called not in (None, number) and 0 <= number < len(names.names):
                _log.warning('%s: label %s is taken for the number of a class, which is called %s, and another is '
                             'called %s; if the list means names, which run from 1, pass --label-base 1, else give the '
                             'classes names that are no numbers', where(entry.source, entry.line), label,
                             names.names[number], label)
                return


def check_range(entries: list[Entry], labels: list[tuple[int, ...]], limit: int | None, base: int | None) -> None:
    """Refuse the first entry whose label is below 0, or not below `limit`, or `MOST_CLASSES` where there is none."""
    lowest, highest = min(map(min, labels)), max(map(max, labels))
    top = limit or MOST_CLASSES
    if lowest >= 0 and highest < top:
        return
    first = base or 0
    for entry, numbers in zip(entries, labels):
        wrong = [number for number in numbers if number < 0 or number >= top]
        if not wrong:
            continue
        allowed = f'{first}..{first + top - 1}' if limit or wrong[0] > 0 else f'{first} and up'
        advice = '; check --num-classes'
        if base is None and lowest == 1 and highest == limit:
            advice = f'; labels run from 1 to {highest}: did the list start at 1? pass --label-base 1'
        elif base == 1 and lowest == -1:
            advice = '; the list starts at 0: pass --label-base 0'
        raise AnnotationError(f'{where(entry.source, entry.line)}: label {wrong[0] + first} is out of range '
                              f'{allowed}{advice}')


def check_base(setting: str, labels: list[tuple[int, ...]]) -> None:
    """Refuse a training list whose first class has no video: far more often its numbers start at 1."""
    if min(map(min, labels)) == 1 and max(map(max, labels)) > 1:  # of a single class it may be any
        raise AnnotationError(f'{setting}: labels run from 1 to {max(map(max, labels))}: did the list start at 1? pass '
                              '--label-base 1, or --label-base 0 if class 0 is meant to have no videos')
