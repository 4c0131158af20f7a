"""The page of a data check: what was found, the classes, sizes and rates, and the contact sheet."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..report.html import render
from .finding import KINDS, NOTE, by_kind, class_name
from .listed import Part
from .rules import class_counts

if TYPE_CHECKING:
    from .check import DataCheck

#: Findings of one kind that the page names, and classes of which it has a bar at once.
SHOWN, BARS = 200, 40


def render_check(check: DataCheck) -> str:
    """Return the page, which asks no other machine or file for anything.

    Raises
    ------
    UsageError
        When Jinja is not installed.
    """
    read = [known for known in check.facts.values() if not known['error']]
    sources = dict.fromkeys(part.source for part in check.parts)
    return render('data_check.html', {
        'title': 'Data check', 'subtitle': ' and '.join(sources), 'writing': None,
        'folder': check.folder, 'troubles': check.notes, 'cards': _cards(check, read), 'kinds': _kinds(check),
        'classes': _classes(check.parts), 'parts': [part.name for part in check.parts],
        'tables': _tables(read), 'strips': check.strips, 'clean': check.clean})


def _cards(check: DataCheck, read: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    levels = Counter(finding.level for finding in check.findings)
    seconds = sum(known['seconds'] or 0 for known in read)
    names = max((part.classes or [] for part in check.parts), key=len)
    videos = ' + '.join(f'{len(part.samples):,}' for part in check.parts)
    cards = [{'name': 'videos', 'value': videos, 'more': 'training + validation' * (len(check.parts) > 1)},
             {'name': 'errors', 'value': levels['error'], 'more': 'of videos and lists'},
             {'name': 'warnings', 'value': levels['warning'], 'more': f'and {levels[NOTE]} notes'},
             {'name': 'length of all', 'value': _length(seconds), 'more': f'{len(read):,} videos can be read'}]
    return cards + [{'name': 'classes', 'value': len(names), 'more': ''}] * bool(names)


def _kinds(check: DataCheck) -> list[dict[str, Any]]:
    found = []
    for kind, findings in by_kind(check.findings).items():
        level, title, cure = KINDS[kind]
        found.append({'level': level, 'title': title, 'cure': cure, 'count': len(findings),
                      'rows': [(finding.subject, finding.detail, finding.where) for finding in findings[:SHOWN]],
                      'open': level != NOTE and len(findings) <= 12})
    return found


def _classes(parts: Sequence[Part]) -> dict[str, Any] | None:
    if not all(part.labelled for part in parts):
        return None
    names = max((part.classes or [] for part in parts), key=len)
    counts = [class_counts(part) for part in parts]
    number = max([len(names), *(max(count, default=-1) + 1 for count in counts)])
    most = max([1, *(value for count in counts for value in count.values())])
    rows = [{'name': class_name(index, names), 'counts': [count[index] for count in counts],
             'shares': [count[index] / most for count in counts]} for index in range(number)]
    rows.sort(key=lambda row: -row['counts'][0])
    return {'first': rows[:BARS], 'more': rows[BARS:]}


def _tables(read: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Counts of what videos are like, the most frequent first."""
    looks = {'Sizes': lambda known: f'{known["width"]} x {known["height"]}',
             'Frames a second': lambda known: f'{known["fps"]:g}' if known['fps'] else 'folders of frames',
             'Lengths': lambda known: _class_of_length(known['seconds']),
             'Codecs': lambda known: known['codec'] or 'pictures'}
    tables = []
    for title, look in looks.items():
        counts = Counter(map(look, read)).most_common()
        if title == 'Lengths':
            counts.sort(key=lambda item: _LENGTHS.index(item[0]))
        shown = counts[:10]
        rest = sum(count for _, count in counts[10:])
        shown += [(f'{len(counts) - 10} others', rest)] * bool(rest)
        most = max((count for _, count in shown), default=1)
        tables.append({'title': title, 'rows': [(name, count, count / most) for name, count in shown]})
    return tables


_BOUNDS = (1, 2, 5, 10, 30, 60, 300, math.inf)
_LENGTHS = ['under 1 s', '1 to 2 s', '2 to 5 s', '5 to 10 s', '10 to 30 s', '30 s to 1 min', '1 to 5 min',
            '5 min and longer', 'unknown']


def _class_of_length(seconds: float | None) -> str:
    if seconds is None:
        return _LENGTHS[-1]
    return next(name for bound, name in zip(_BOUNDS, _LENGTHS) if seconds < bound)


def _length(seconds: float) -> str:
    if seconds >= 3600:
        return f'{seconds / 3600:.1f} h'
    return f'{seconds / 60:.1f} min' if seconds >= 60 else f'{seconds:.1f} s'
