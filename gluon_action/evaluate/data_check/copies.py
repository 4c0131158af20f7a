"""Copies of videos: of the same bytes, of the same file, of the same recording by its name, or of the same looks."""
from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...data.lists.annotations import Sample
from ...data.lists.split import source_name
from .finding import Finding, about, class_name, labels_of
from .listed import Part

#: Of the 192 bits of two fingerprints, how many may differ for their videos to look alike.
ALIKE = 10
_BAND = 4  # digits; fewer bits differ than there are bands, so that two videos that look alike share one
_CROWD = 200  # videos that share a band and are compared with each other, at most


def copies_within(part: Part, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Find videos that are in a part more than once: rows of the same bytes and bounds, and videos that look alike."""
    same: dict[tuple, list[int]] = defaultdict(list)
    for row, sample in enumerate(part.samples):
        if facts[sample.path]['sha256']:
            same[facts[sample.path]['sha256'], _bounds(sample)].append(row)
    for rows in same.values():
        labels = {labels_of(part.samples[row]) for row in rows}
        for row in rows if len(labels) > 1 else rows[1:]:
            other = part.samples[rows[0] if row != rows[0] else rows[1]]
            if len(labels) > 1:
                yield about(part, row, 'contradiction', f'labelled {_called(part.samples[row], part)}, and '
                            f'{_called(other, part)} as {other.key} ({other.where})')
            else:
                yield about(part, row, 'duplicate', f'the same content as {other.key} ({other.where})')
    distinct = _first_rows(part, facts)
    for one, other in _alike([facts[part.samples[row].path]['fingerprint'] for row in distinct]):
        first, second = distinct[one], distinct[other]
        yield about(part, second, 'near_duplicate', f'looks like {part.samples[first].key}')


def copies_between(train: Part, val: Part, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Find training videos that validation has too: the same bytes or file, the same looks, or the same recording.

    Files are of one recording where their names say so and they have the same label: ``a_part1`` may be in every class.
    """
    content, recordings = {}, {}
    for row, sample in enumerate(val.samples):
        content.setdefault(facts[sample.path]['sha256'], row)
        recordings.setdefault(_recording(sample), row)
    content.pop(None, None)
    leaks = set()
    for row, sample in enumerate(train.samples):
        sha256, name = facts[sample.path]['sha256'], _recording(sample)
        if sha256 in content:
            other = val.samples[content[sha256]]
            how = 'other parts of the same file' if _bounds(other) != _bounds(sample) else 'the same content'
            yield about(train, row, 'leak', f'{how} as {other.key} ({other.where})')
        elif name[0] and name in recordings:
            other = val.samples[recordings[name]]
            yield about(train, row, 'near_leak', f'by its name of the same recording as {other.key} ({other.where})')
        else:
            continue
        leaks.add(row)
    rows = [row for row in _first_rows(train, facts) if row not in leaks]
    others = _first_rows(val, facts)
    prints = [facts[train.samples[row].path]['fingerprint'] for row in rows]
    prints += [facts[val.samples[row].path]['fingerprint'] for row in others]
    told = set()
    for one, other in _alike(prints):
        if one < len(rows) <= other and one not in told:
            told.add(one)
            sample = val.samples[others[other - len(rows)]]
            yield about(train, rows[one], 'near_leak', f'looks like {sample.key} ({sample.where})')


def _recording(sample: Sample) -> tuple[str | None, tuple]:
    """Name of the recording that a file is a part of, None where its name says nothing; and the labels."""
    return source_name(os.path.splitext(os.path.basename(sample.path))[0]), labels_of(sample)


def _bounds(sample: Sample) -> tuple:
    return sample.start, sample.end, sample.first, sample.last


def _called(sample: Sample, part: Part) -> str:
    return ', '.join(class_name(label, part.classes) for label in labels_of(sample))


def _first_rows(part: Part, facts: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Rows of different contents that have a fingerprint."""
    first: dict[str, int] = {}
    for row, sample in enumerate(part.samples):
        if facts[sample.path].get('fingerprint') and not facts[sample.path]['still']:
            first.setdefault(facts[sample.path]['sha256'], row)
    return list(first.values())


def _alike(prints: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of numbers, the smaller first, of fingerprints that differ in `ALIKE` bits at most."""
    bands: dict[tuple[int, str], list[int]] = defaultdict(list)
    seen = set()
    for number, digits in enumerate(prints):
        places = [(start, digits[start:start + _BAND]) for start in range(0, len(digits), _BAND)]
        for other in {other for place in places for other in bands[place][:_CROWD]}:
            pair = other, number
            if pair not in seen and (int(digits, 16) ^ int(prints[other], 16)).bit_count() <= ALIKE:
                seen.add(pair)
                yield pair
        for place in places:
            bands[place].append(number)
