"""Data sets that are a folder for each class."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from ....errors import AnnotationError
from ..classes.labels import in_order, named
from ..question import SPLITS, Entry, ParsedList, Question
from .video_folders import LeftOut, is_folder, shown_in, videos_below

_log = logging.getLogger(__name__)


def parse_folder(question: Question) -> ParsedList:
    """A folder for each class, of video files or frame folders; below ``train`` and ``val`` where there are such.

    Videos may lie deeper than in the folder of their class. A folder without videos is no class. The classes of a
    validation folder beside a training folder are those of the latter.
    """
    top, training = _split_folder(question)
    left_out = LeftOut()
    videos = {name: list(_videos_of(top, name, left_out)) for name in _subfolders(top, left_out)}
    empty = [name for name, paths in videos.items() if not paths]
    entries = [Entry(path, (name,), top) for name, paths in videos.items() for path in paths]
    left_out.say(top, empty)
    if not entries:
        raise AnnotationError(f'{top}: lists no videos; expected a folder for each class with videos in it')
    classes = None if question.classes or question.usual or training is None else _classes_in(training)
    unknown = [name for name in videos if videos[name] and name not in classes] if classes else []
    if unknown:
        _log.warning('%s: of its classes %d are not in %s (%s) and are numbered after those; no training ever shows '
                     'them', top, len(unknown), training, ', '.join(unknown[:5]))
        classes += unknown
    parsed = named(question, entries, (training, classes) if classes else None)
    parsed.files, parsed.root = [top], top
    if len(parsed.classes) == 1 and question.split == 'train' and any(entry.path.count('/') > 1 for entry in entries):
        _log.warning('%s: the only class is %r, and it has folders of its own; if these are the classes, give %s', top,
                     parsed.classes[0], os.path.join(top, parsed.classes[0]))
    return parsed


def _split_folder(question: Question) -> tuple[str, str | None]:
    """The folder of the split's classes, and for validation that of training where both are there."""
    top = question.setting
    names = _subfolders(top, LeftOut())
    if _are_splits(names):
        split = next((name for name in SPLITS[question.split] if name in names), None)
        if split is None:
            raise AnnotationError(f'{top}: has no folder for split {question.split!r}, only {", ".join(names)}')
        return os.path.join(top, split), _training_beside(os.path.join(top, split), question.split)
    return top, _training_beside(os.path.abspath(top), question.split)


def _training_beside(folder: str, split: str) -> str | None:
    if split == 'train' or os.path.basename(folder) not in SPLITS['val']:
        return None
    places = (os.path.join(os.path.dirname(folder), name) for name in SPLITS['train'])
    return next((place for place in places if os.path.isdir(place)), None)


def _are_splits(names: list[str]) -> bool:
    known = {name for aliases in SPLITS.values() for name in aliases}
    both = set(SPLITS['train']) & set(names) and set(SPLITS['val']) & set(names)
    return bool(names) and bool(set(names) <= known or both)


def _classes_in(folder: str) -> list[str]:
    ignored = LeftOut()
    return in_order(name for name in _subfolders(folder, ignored)
                    if next(_videos_of(folder, name, ignored), None) is not None)


def _subfolders(folder: str, left_out: LeftOut) -> list[str]:
    names = []
    for item in shown_in(folder, left_out):
        if is_folder(item):
            names.append(item.name)
        else:
            left_out.add(item.name)
    return names


def _videos_of(top: str, name: str, left_out: LeftOut) -> Iterator[str]:
    """Paths of the videos of a class, from the folder that its own folder is in."""
    found = videos_below(os.path.join(top, name), left_out, itself=False, check=_refuse_splits)
    return (os.path.relpath(path, top) for path in found)


def _refuse_splits(folder: str, names: list[str]) -> None:
    if _are_splits(names) and {*names} & set(SPLITS['train']):
        raise AnnotationError(f'{folder}: holds the splits {" and ".join(names)} of one class; put a folder for each '
                              'split above those of the classes')
