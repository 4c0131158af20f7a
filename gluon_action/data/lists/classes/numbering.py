"""What the numbers of a list stand for: the names of its classes, and doubts about them that are worth a word."""
from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ....class_names import letters_of
from ....errors import AnnotationError
from ..question import Entry, ParsedList, Question, where
from ..text import is_integer
from .class_files import ClassNames

_log = logging.getLogger(__name__)


def settle_names(question: Question, parsed: ParsedList) -> list[str] | None:
    """Names of the classes in the order of their numbers; None where nobody says them.

    What comes with the list is sure; then what the caller gives, what lies beside the list (`class_files.BESIDE`), and
    last the names of the data set that the caller named.

    Raises
    ------
    AnnotationError
        Where the list's own names are numbered in another way than the caller's, or its folders say that it does not
        mean the data set's classes.
    """
    given = list(question.classes) if question.classes else None
    if parsed.classes:
        if given:
            _check_order(question.setting, parsed.classes, given)
        elif parsed.counted and question.split != 'train':
            _log.warning('%s: its %d classes are numbered as they occur in it, from 0, which is %r; where training '
                         'knows others too, numbers differ: pass classes= of the training data set, or --class-names '
                         'FILE', question.setting, len(parsed.classes), parsed.classes[0])
        return parsed.classes
    beside = _beside(question)
    if given:
        if beside and _moved(beside[1], given) is not None:
            _log.warning('%s: %s beside it numbers classes in another way than those that are given, which count',
                         question.setting, os.path.basename(beside[0]))
        return given
    numbers = _numbers(parsed.entries, question.label_base or 0) if beside or question.usual else set()
    if beside:
        if not numbers or max(numbers) < len(beside[1]):
            return beside[1]
        _log.warning('%s: %s beside it names %d classes, and there are labels up to %d, so it is not used; name the '
                     'classes by --class-names FILE', question.setting, os.path.basename(beside[0]), len(beside[1]),
                     max(numbers))
    if question.usual:
        _check_usual(question, parsed.entries, numbers)
        return list(question.usual)
    return None


def _beside(question: Question) -> tuple[str, list[str]] | None:
    """What lies beside a list that does not need it: a file that names no classes is no reason to stop."""
    try:
        return question.beside
    except AnnotationError as error:
        _log.warning('%s: a file beside it is not used for the names of its classes: %s', question.setting, error)
        return None


def _check_order(setting: str, own: Sequence[str], given: Sequence[str]) -> None:
    number = _moved(own, given)
    if number is not None:
        raise AnnotationError(f'{setting}: class {number} is {own[number]!r} by its own names, and {given[number]!r} '
                              'by the names that are given; training and validation must number classes in one way: '
                              'check --class-names, or what lies beside the list')


def _moved(own: Sequence[str], given: Sequence[str]) -> int | None:
    """The first number that stands for two names; None where there is none."""
    return next((number for number, (name, other) in enumerate(zip(own, given))
                 if name != other and letters_of(name) != letters_of(other)), None)


def _numbers(entries: Sequence[Entry], base: int) -> set[int]:
    return {label if isinstance(label, int) else int(label) - base for entry in entries for label in entry.labels
            if isinstance(label, int) or is_integer(label)}


def _check_usual(question: Question, entries: Sequence[Entry], numbers: set[int]) -> None:
    """Refuse, or warn of, a list whose numbers seem to be its own and not those of the data set that was named."""
    usual, finder = question.usual, ClassNames(question.usual)
    advice = 'name them by --class-names FILE, or give --num-classes for numbers without names'
    folders = []
    for entry in entries:
        label = entry.labels[0]
        number = label if isinstance(label, int) else int(label) - (question.label_base or 0) if is_integer(label) \
            else None
        expected = finder.find(os.path.basename(os.path.dirname(entry.path)))
        if number is not None and expected is not None:
            folders.append((entry, number, expected))
    moved = [found for found in folders if found[1] != found[2]]
    if 2 * len(moved) > len(folders):
        entry, number, expected = moved[0]
        name = usual[number] if 0 <= number < len(usual) else 'no class'
        raise AnnotationError(f'{where(entry.source, entry.line)}: label {entry.labels[0]} of {entry.path} is {name!r} '
                              f'in the data set, whose class {usual[expected]!r} is {expected}; if the classes are '
                              f'your own, {advice}; if the list counts from 1, pass --label-base 1')
    if question.split == 'train' and not folders and numbers == set(range(len(numbers))) and \
            len(numbers) < len(usual):
        _log.warning('%s: only the first %d of the %d classes of the data set occur in it, %r to %r; if the classes '
                     'are your own, %s', question.setting, len(numbers), len(usual), usual[0], usual[len(numbers) - 1],
                     advice)
