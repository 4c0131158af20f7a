"""The rules by which videos are found wanting, by their facts and labels; each gives its findings."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...data.lists.annotations import Sample
from .copies import copies_between, copies_within
from .finding import ERROR, KINDS, NOTE, WARNING, Finding, about, class_name, labels_of
from .listed import Part

#: How many times as many videos as the smallest class the largest may have.
BALANCED = 10


def find_all(parts: Sequence[Part], facts: Mapping[str, Mapping[str, Any]], *, clip: int = 1,
             input_size: int | None = None) -> list[Finding]:
    """Return all findings, the worst first.

    Parameters
    ----------
    parts : sequence of Part
        Training, and validation where there is one.
    facts : mapping
        What `look_at` says of each path.
    clip : int
        Frames from the first to the last of a clip, both counted.
    input_size : int, optional
        Side of what the network sees, in pixels.
    """
    found = []
    for part in parts:
        found += [*_of_videos(part, facts, clip, input_size), *copies_within(part, facts), *_of_rates(part, facts)]
    if len(parts) == 2:
        found += copies_between(*parts, facts)
    found += _of_classes(parts)
    order = {level: number for number, level in enumerate((ERROR, WARNING, NOTE))}
    kinds = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(found, key=lambda finding: (order[finding.level], kinds[finding.kind]))


def _of_videos(part: Part, facts: Mapping[str, Mapping[str, Any]], clip: int,
               input_size: int | None) -> Iterator[Finding]:
    for row, sample in enumerate(part.samples):
        known = facts[sample.path]
        for kind, detail in _of_video(known, sample, clip, input_size):
            yield about(part, row, kind, detail)


def _of_video(known: Mapping[str, Any], sample: Sample, clip: int, input_size: int | None) -> Iterator[tuple[str, str]]:
    if cause := known['error']:
        cut = 'cut short' in cause or 'cut off' in cause
        yield 'missing' if cause == 'does not exist' else 'cut_short' if cut else 'unreadable', cause
        return
    if known['damaged']:
        cut = 'cut short' in known['damaged'] or 'ends or breaks here' in known['damaged']
        yield 'cut_short' if cut else 'damaged', known['damaged']
    length = frames_of(known, sample)
    if length < clip:
        yield 'too_short', f'{length} frame{"s" * (length != 1)}, and a clip spans {clip}'
    if known['still'] and known['frames'] > 1:
        yield 'still', f'{known["frames"]} frames'
    if input_size and min(known['width'], known['height']) < input_size:
        yield 'small', f'{known["width"]}x{known["height"]}, and the network sees {input_size}x{input_size}'
    if known['turned'] or known['mirrored']:
        yield 'turned', f'by {known["turned"]} degrees' * bool(known['turned']) + \
            (', ' * bool(known['turned']) + 'mirrored') * known['mirrored']


def frames_of(known: Mapping[str, Any], sample: Sample) -> int:
    """Return how many frames of a video a sample has, by its bounds."""
    if sample.first is not None or sample.last is not None:
        return (sample.last or known['frames']) - (sample.first or 1) + 1
    if sample.start is not None or sample.end is not None:
        end = known['seconds'] or 0. if sample.end is None else sample.end
        return round((end - (sample.start or 0.)) * (known['fps'] or 0.))
    return known['frames']


def _of_rates(part: Part, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    read = [(row, facts[sample.path]) for row, sample in enumerate(part.samples) if not facts[sample.path]['error']]
    rates = Counter(round(known['fps'], 2) for _, known in read if known['fps'])
    if rates:
        usual, _ = rates.most_common(1)[0]
        for row, known in read:
            if known['fps'] and not usual / 1.5 <= known['fps'] <= usual * 1.5:
                yield about(part, row, 'rates', f'{known["fps"]:g} frames a second, most have {usual:g}')
    upright = [row for row, known in read if known['height'] > known['width']]
    if 0 < len(upright) < len(read) / 2:
        for row in upright:
            known = facts[part.samples[row].path]
            yield about(part, row, 'sizes', f'{known["width"]}x{known["height"]}')


def _of_classes(parts: Sequence[Part]) -> Iterator[Finding]:
    if not all(part.labelled for part in parts):
        return
    counts = [class_counts(part) for part in parts]
    train, named = parts[0], max((part.classes or [] for part in parts), key=len)
    classes = range(max([len(named), *(max(count, default=-1) + 1 for count in counts)]))

    def of(kind: str, number: int, detail: str, part: Part = train) -> Finding:
        return Finding(kind, class_name(number, named), part.name, part.source, detail)

    for number in classes:
        have = [count[number] for count in counts]
        if not any(have):
            yield of('empty_class', number, 'no video in any list' if len(parts) > 1 else 'no video')
        elif not have[0]:
            yield of('only_validated', number, f'{have[1]} validation videos')
        elif have[0] < 3:
            yield of('few', number, f'{have[0]} video{"s" * (have[0] > 1)}')
        if len(have) == 2 and have[0] and not have[1]:
            yield of('never_validated', number, f'{have[0]} training videos', parts[1])
    have = {number: count for number, count in counts[0].items() if count}
    if have and max(have.values()) > BALANCED * min(have.values()):
        most, least = max(have, key=have.get), min(have, key=have.get)
        yield of('imbalance', most, f'{have[most]} videos, and {have[least]} of {class_name(least, named)}')


def class_counts(part: Part) -> Counter[int]:
    """Return how many videos of a part each class has."""
    return Counter(label for sample in part.samples if sample.label is not None for label in labels_of(sample))
