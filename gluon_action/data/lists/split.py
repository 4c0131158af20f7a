"""Training and validation out of one list of videos: whole sources, every class in both, the same for the same seed."""
from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...files import file_sha256
from .annotations import Sample

# Ends of names that count the parts of one recording: clip_001_part2, game-seg03, v_Run_g01_c02, ID_000010_000020.
_PART = re.compile(r'(?<=.)[\W_]*(?:part|pt|seg|segment|scene|shot|chunk|cut|split)[\W_]*\d+$', re.IGNORECASE)
_OF_UCF101 = re.compile(r'(?<=_g\d\d)_c\d+$')
_TIMES = re.compile(r'(?<=.)[\W_]\d{5,}[\W_]\d{5,}$')
# An end that counts parts as often as whole videos: taken for parts only where a class has several sources by it.
_CLIP = re.compile(r'(?<=.)[\W_]+clip[\W_]*\d+$', re.IGNORECASE)
_SPLIT = 0x5b117  # keeps the draws of a split apart from those of samples and of their order


@dataclass(frozen=True)
class Split:
    """Which samples are trained on and which validate.

    Attributes
    ----------
    train, val : list of int
        Places in the samples, in ascending order.
    sources : int
        Recordings that the videos come from, as far as names and contents say.
    unsplit : dict of int to int
        Class -> number of its videos, for the classes that validation has none of.
    """

    train: list[int]
    val: list[int]
    sources: int
    unsplit: dict[int, int]


def split_samples(samples: Sequence[Sample], share: float, seed: int = 0) -> Split:
    """Divide videos so that no recording is in both parts, and each class in both as far as its recordings allow.

    Parameters
    ----------
    samples : sequence of Sample
    share : float
        Part of the videos of each class that validates, in 0..1. A class of two recordings or more has at least one in
        each part; one of a single recording is trained on only.
    seed : int
        Decides which.
    """
    sources = sources_of(samples)
    members: dict[int, list[int]] = defaultdict(list)
    for index, source in enumerate(sources):
        members[source].append(index)
    counts = {source: Counter(label for index in indices for label in _labels(samples[index]))
              for source, indices in members.items()}
    total = sum(counts.values(), Counter())
    rng = np.random.default_rng([seed, _SPLIT])
    drawn = [sorted(members)[place] for place in rng.permutation(len(members))]
    left, taken, val = total.copy(), Counter(), set()
    of_class = {label: [source for source in drawn if label in counts[source]] for label in total}
    # Classes of few recordings choose first, while they still can.
    for label in sorted(total, key=lambda label: (len(of_class[label]), label)):
        wanted = max(1, round(share * total[label])) if share > 0 else 0
        while taken[label] < wanted:
            free = [source for source in of_class[label] if source not in val
                    and all(left[other] > count for other, count in counts[source].items())]
            # One that brings no more than is wanted, else the one that brings the least too much.
            best = min(free, key=lambda source: abs(wanted - taken[label] - counts[source][label]), default=None)
            if best is None or taken[label] and counts[best][label] > 2 * (wanted - taken[label]):
                break
            val.add(best)
            taken += counts[best]
            left -= counts[best]
    chosen = sorted(index for source in val for index in members[source])
    rest = sorted(set(range(len(samples))).difference(chosen))
    return Split(rest, chosen, len(members), {label: total[label] for label in sorted(total) if not taken[label]})


def sources_of(samples: Sequence[Sample]) -> list[int]:
    """Return a number for each sample, the same for those that come from one recording.

    These are parts of one file; files of one content; and files whose names count the parts of something:
    ``clip_001_part2``, ``v_Run_g01_c02`` as UCF101, ``ID_000010_000020`` as Kinetics. ``walk_clip3`` counts parts only
    where the videos of its class come from several sources by it.
    """
    union = _Union(len(samples))
    union.join(_path(sample) for sample in samples)
    union.join(_content_keys(list(map(_path, samples))))
    stems = [os.path.splitext(os.path.basename(_path(sample)))[0] for sample in samples]
    sure = [source_name(stem) for stem in stems]
    several = defaultdict(set)
    for sample, stem in zip(samples, stems):
        several[sample.label].add(_CLIP.sub('', stem))
    names = [name if name is not None else _CLIP.sub('', stem)
             if _CLIP.search(stem) and len(several[sample.label]) > 1 else None
             for sample, stem, name in zip(samples, stems, sure)]
    # A part that is numbered may lie beside the whole: that is one recording too.
    whole = set(filter(None, names))
    union.join(name if name is not None else stem if stem in whole else None for stem, name in zip(stems, names))
    return union.numbers()


def same_contents(some: Sequence[Sample], others: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Return pairs of a sample of `others` and one of `some` that has the same path or the same bytes."""
    paths = [_path(sample) for sample in (*some, *others)]
    keys = _content_keys(paths)
    first: dict[Hashable, Sample] = {}
    for sample, path, key in zip(some, paths, keys):
        first.setdefault(path, sample)
        if key is not None:
            first.setdefault(key, sample)
    found = [(sample, first.get(path) or first.get(key))
             for sample, path, key in zip(others, paths[len(some):], keys[len(some):])]
    return [(sample, twin) for sample, twin in found if twin is not None]


def source_name(stem: str) -> str | None:
    """Return what the name of a file leaves when its count of parts is taken off; None where it counts none."""
    for pattern in (_OF_UCF101, _PART, _TIMES):
        if pattern.search(stem):
            return pattern.sub('', stem)
    return None


def _content_keys(paths: Sequence[str]) -> list[tuple[int, str] | None]:
    """Size and hash of each file that shares its size with another; None for others, and for folders of frames."""
    sizes: dict[str, int] = {}
    for path in set(paths):
        if os.path.isfile(path):
            sizes[path] = os.path.getsize(path)
    common = Counter(sizes.values())
    keys = {path: (size, _hash(path)) for path, size in sizes.items() if size and common[size] > 1}
    return [keys.get(path) for path in paths]


def _hash(path: str) -> str:
    try:
        return file_sha256(path)
    except OSError:  # whoever reads it will say so
        return path


def _labels(sample: Sample) -> tuple[int, ...]:
    return sample.label if isinstance(sample.label, tuple) else (sample.label,)


def _path(sample: Sample) -> str:
    return os.path.realpath(sample.path)


class _Union:
    """Sets of places that belong together, joined bit by bit."""

    def __init__(self, size: int):
        self._parent = list(range(size))

    def join(self, keys: Iterable[Hashable | None]) -> None:
        """Join the places that have the same key; those of None stay as they are."""
        first: dict[Hashable, int] = {}
        for place, key in enumerate(keys):
            if key is not None:
                self._parent[self._root(place)] = self._root(first.setdefault(key, place))

    def numbers(self) -> list[int]:
        """Return the number of each place's set: that of its first place."""
        lowest: dict[int, int] = {}
        return [lowest.setdefault(self._root(place), place) for place in range(len(self._parent))]

    def _root(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place
