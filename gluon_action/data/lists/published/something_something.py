"""Something-Something, versions 1 and 2: numbers of videos with their labels in words."""
from __future__ import annotations

import glob
import os
import re

from ....errors import AnnotationError
from ..classes.labels import named
from ..question import Entry, ParsedList, Question, where
from ..text import is_integer, load_json, read_lines


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
