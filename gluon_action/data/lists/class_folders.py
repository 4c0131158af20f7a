"""Data sets that are a folder for each class."""
from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import PurePath

from ...errors import AnnotationError
from .file_kinds import VIDEO_EXTENSIONS, are_frames, is_hidden
from .labels import named
from .question import SPLITS, Entry, ParsedList, Question

_log = logging.getLogger(__name__)


def parse_folder(question: Question) -> ParsedList:
    """A folder for each class, of video files or frame folders; below ``train`` and ``val`` where there are such.

    Videos may lie deeper than in the folder of their class. A folder without videos is no class. The classes of a
    validation folder beside a training folder are those of the latter.
    """
    top, training = _split_folder(question)
    left_out: Counter[str] = Counter()
    videos = {name: list(_videos_below(os.path.join(top, name), name, left_out)) for name in _subfolders(top, left_out)}
    empty = [name for name, paths in videos.items() if not paths]
    entries = [Entry(path, (name,), top) for name, paths in videos.items() for path in paths]
    _say_left_out(top, left_out, empty)
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
    names = _subfolders(top, Counter())
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
    ignored: Counter[str] = Counter()
    return [name for name in _subfolders(folder, ignored)
            if next(_videos_below(os.path.join(folder, name), name, ignored), None) is not None]


def _subfolders(folder: str, left_out: Counter) -> list[str]:
    names = []
    for item in _scan(folder, left_out):
        if _is_folder(item):
            names.append(item.name)
        else:
            left_out[_kind_of(item.name)] += 1
    return names


def _videos_below(folder: str, name: str, left_out: Counter, above: Set[str] = frozenset()) -> Iterator[str]:
    """Paths of the videos of a class, `name` and what is below it; what else is there is counted.

    A folder of pictures without videos is a video itself. `above` are the real paths of folders that lead here.
    """
    items = _scan(folder, left_out)
    folders = [item for item in items if _is_folder(item)]
    real = os.path.realpath(folder)
    above = {*above, real, *map(str, PurePath(real).parents)}
    if _are_splits([item.name for item in folders]) and {item.name for item in folders} & set(SPLITS['train']):
        raise AnnotationError(f'{folder}: holds the splits {" and ".join(item.name for item in folders)} of one class; '
                              'put a folder for each split above those of the classes')
    for item in items:
        path = f'{name}/{item.name}'
        if item.is_symlink() and os.path.realpath(item.path) in above:
            left_out['link to a folder above'] += 1
        elif _is_folder(item):
            if are_frames(inside.name for inside in _scan(item.path, Counter())):
                yield path
            else:
                yield from _videos_below(item.path, path, left_out, above)
        elif item.name.lower().endswith(VIDEO_EXTENSIONS):
            yield path
        else:
            left_out[_kind_of(item.name)] += 1


def _is_folder(item: os.DirEntry) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _kind_of(name: str) -> str:
    return os.path.splitext(name)[1].lower() or name


def _say_left_out(top: str, left_out: Counter, empty: list[str]) -> None:
    """One line on what is no video, a warning unless these are files of an operating system only."""
    hidden = left_out.pop('', 0)
    parts = []
    if empty:
        parts.append(f'{len(empty)} folders without videos, which are no classes ({", ".join(empty[:5])}'
                     f'{", ..." if len(empty) > 5 else ""})')
    if left_out:
        kinds = ', '.join(f'{count} {kind}' for kind, count in left_out.most_common(5))
        parts.append(f'{sum(left_out.values())} files that are no videos ({kinds})')
    if hidden:
        parts.append(f'{hidden} hidden or system files')
    if parts:
        _log.log(logging.WARNING if empty or left_out else logging.INFO, '%s: left out: %s', top, '; '.join(parts))


def _scan(folder: str, left_out: Counter) -> list[os.DirEntry]:
    """What a folder holds, sorted, without hidden names, which are counted."""
    try:
        with os.scandir(folder) as items:
            found = sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise AnnotationError(f'{folder}: the folder cannot be read: {error.strerror}') from error
    shown = [item for item in found if not is_hidden(item.name)]
    left_out[''] += len(found) - len(shown)
    return shown
