"""Lists of videos in any known format, read into one `Sample` a video."""
from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import AnnotationError, UsageError
from ..flow.folder import flow_name, is_video_name
from .epic import is_epic
from .formats import FORMATS, parse_list
from .rows import SPLITS, VIDEO_EXTENSIONS, ClassNames, Entry, ParsedList, Question, is_integer, where

__all__ = ['FORMATS', 'Sample', 'VideoList', 'list_videos', 'read_annotations']

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One video of a list.

    Attributes
    ----------
    path : str
        The file or frame folder.
    label : int or tuple of int
        Class, counted from 0; a tuple in multi-label lists.
    num_frames : int or None
        Frames, where the list says so.
    line : int
        Line of the list, counted from 1 (JSON: which entry); 0 where the list is a folder.
    source : str
        The list's file.
    key : str
        The path as the list writes it, which names the video in results. ``#t=start,end`` follows when the list takes
        a part of a file, ``#f=first,last`` when it takes a range of frames.
    start, end : float or None
        The part of the file that is meant, in seconds; None is its beginning or end.
    first, last : int or None
        The part in frames, the last one included: numbers in the names of a folder's pictures; of a file, where they
        count when `start` and `end` are None, numbers from 1.
    """

    path: str
    label: int | tuple[int, ...]
    num_frames: int | None = None
    line: int = 0
    source: str = ''
    key: str = ''
    start: float | None = None
    end: float | None = None
    first: int | None = None
    last: int | None = None

    @property
    def where(self) -> str:
        """The list and the line in it, for messages."""
        return where(self.source, self.line)


@dataclass(frozen=True)
class VideoList:
    """What a list of videos says.

    Attributes
    ----------
    samples : list of Sample
    classes : list of str or None
        Class names in the order of the labels, where the list or the caller knows them.
    format : str
        The format it was read as, one of `FORMATS`.
    num_classes : int
        As given; otherwise the number of class names; otherwise the highest label plus 1.
    sha256 : str
        Of the list file's bytes; for a list of several files or a folder, of its keys and labels.
    """

    samples: list[Sample]
    classes: list[str] | None
    format: str
    num_classes: int
    sha256: str


def read_annotations(setting: str, root: str = '', *, list_format: str = 'auto', label_base: int | None = None,
                     num_classes: int | None = None, classes: Sequence[str] | None = None, multi_label: bool = False,
                     video_ext: str = 'mp4', split: str = 'train', must_exist: bool = False,
                     prefer_files: bool = False, modality: str = 'rgb') -> VideoList:
    """Read a list of videos, whatever its format.

    Parameters
    ----------
    setting : str
        The list: a text, CSV, TSV or JSON file, or a folder (one folder a class, or HMDB51's split files, of which
        split 1 is taken; ``folder/*_test_split2.txt`` takes another).
    root : str
        Folder that the paths start from. Empty or ``'/'`` allows paths anywhere.
    list_format : str
        One of `FORMATS`, or 'auto' to look at the list.
    label_base : {0, 1, None}
        The number of the first class in the list. None is 0, except for official lists that say otherwise; a training
        list whose labels start at 1 is refused then, where no number of classes is known either.
    num_classes : int, optional
        Labels must be below it.
    classes : sequence of str, optional
        Names of the classes in the order of the labels; needed where a list names classes and does not list them all.
    multi_label : bool
        Whether a video may have several labels.
    video_ext : str
        Extension that is added to paths that exist only with it.
    split : {'train', 'val'}
        The part to take from lists that hold both.
    must_exist : bool
        Check that every path exists. Otherwise a missing video is reported when it is loaded: lists of a million
        videos on a network disk are read in seconds.
    prefer_files : bool
        Where both the folder ``v`` and the file ``v.mp4`` exist, take the file.
    modality : {'rgb', 'flow'}
        With 'flow', `root` is the folder that optical flow was extracted to, and the sample of ``a/b.mp4`` has the
        path ``root/a/b``. Where the list is a folder of videos, flow is looked for in `root` all the same.

    Returns
    -------
    VideoList

    Raises
    ------
    AnnotationError
        For a list that is missing, empty or contradicts itself, a line that cannot be read, a label that is out of
        range or a path outside `root`; the message names file and line.
    UsageError
        For an invalid argument.
    """
    if label_base not in (None, 0, 1):
        raise UsageError(f'--label-base must be 0 or 1, got {label_base}')
    if split not in SPLITS:
        raise UsageError(f'split must be one of {", ".join(SPLITS)}, got {split!r}')
    setting, root = os.path.expanduser(str(setting)), os.path.expanduser(str(root))
    _check_present(setting)
    parsed = parse_list(Question(setting, split, multi_label, label_base, classes), list_format)
    if not parsed.entries:
        raise AnnotationError(f'{setting}: lists no videos of split {split!r}')
    names = parsed.classes or (list(classes) if classes else None)
    labels = _number_labels(parsed.entries, label_base or 0, names)
    limit = num_classes or (len(names) if names else None)
    _check_range(parsed.entries, labels, limit, label_base)
    if split == 'train' and label_base is None and limit is None:
        _check_base(setting, labels)
    if modality == 'flow':
        places = _FlowPlaces(root, os.path.relpath(parsed.root, setting) if parsed.root else '')
    else:
        places = _Places(parsed.root or root, video_ext, prefer_files, inside=parsed.root is None)
    samples = [Sample(path=places.find(entry, must_exist), label=numbers if multi_label else numbers[0],
                      num_frames=places.num_frames(entry), line=entry.line, source=entry.source, key=_key(entry),
                      start=entry.start, end=entry.end, first=entry.first, last=entry.last)
               for entry, numbers in zip(parsed.entries, labels)]
    _check_repeats(samples, two_labels=is_epic(parsed.format))
    return VideoList(samples, names, parsed.format, limit or 1 + max(map(max, labels)), _digest(parsed, samples))


def list_videos(setting: str, root: str = '', *, list_format: str = 'auto', multi_label: bool = False,
                video_ext: str = 'mp4') -> list[str]:
    """Paths of all videos that a list names in any of its splits, whatever their labels; each once.

    Arguments are those of `read_annotations`, which says what a list may be.

    Raises
    ------
    AnnotationError
        When the list cannot be read for any split.
    """
    setting, root = os.path.expanduser(str(setting)), os.path.expanduser(str(root))
    _check_present(setting)
    videos, troubles = {}, []
    for split in SPLITS:
        try:
            parsed = parse_list(Question(setting, split, multi_label), list_format)
        except AnnotationError as error:  # lists that know several splits need not have this one
            troubles.append(error)
            continue
        places = _Places(parsed.root or root, video_ext, prefer_files=False, inside=parsed.root is None)
        videos |= dict.fromkeys(places.find(entry, must_exist=False) for entry in parsed.entries)
    if not videos:
        raise troubles[0] if troubles else AnnotationError(f'{setting}: lists no videos')
    return list(videos)


_NAMES_ALLOWED = ('give classes by number, or name them in a format that says which there are: --list-format folder, '
                  'kinetics, hmdb51, somethingsomethingv1 or v2, or ucf101 with classInd.txt beside the list')


def _check_present(setting: str) -> None:
    if os.path.exists(setting) or '*' in setting:
        return
    folder = os.path.dirname(setting) or '.'
    if not os.path.isdir(folder):
        raise AnnotationError(f'{setting}: the list does not exist, nor does its folder; '
                              'pass --train-list and --val-list')
    others = sorted(name for name in os.listdir(folder) if name.endswith(('.txt', '.csv', '.tsv', '.json')))
    holds = f'the folder holds {", ".join(others[:8])}' if others else 'the folder holds no list'
    raise AnnotationError(f'{setting}: the list does not exist; {holds}; pass --train-list and --val-list')


def _number_labels(entries: list[Entry], base: int, classes: list[str] | None) -> list[tuple[int, ...]]:
    names = ClassNames(classes or [])
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
                raise AnnotationError(f'{where(entry.source, entry.line)}: label {label!r} is not an integer{hint}; '
                                      f'{_NAMES_ALLOWED}')
            numbers.append(number)
        labels.append(tuple(sorted(set(numbers))))
    return labels


def _check_range(entries: list[Entry], labels: list[tuple[int, ...]], limit: int | None, base: int | None) -> None:
    lowest, highest = min(map(min, labels)), max(map(max, labels))
    if lowest >= 0 and (limit is None or highest < limit):
        return
    first = base or 0
    for entry, numbers in zip(entries, labels):
        wrong = [number for number in numbers if number < 0 or (limit is not None and number >= limit)]
        if not wrong:
            continue
        allowed = f'{first}..{first + limit - 1}' if limit else f'{first} and up'
        advice = '; check --num-classes'
        if base is None and lowest == 1 and highest == limit:
            advice = f'; labels run from 1 to {highest}: did the list start at 1? pass --label-base 1'
        elif base == 1 and lowest == -1:
            advice = '; the list starts at 0: pass --label-base 0'
        raise AnnotationError(f'{where(entry.source, entry.line)}: label {wrong[0] + first} is out of range '
                              f'{allowed}{advice}')


def _check_base(setting: str, labels: list[tuple[int, ...]]) -> None:
    """Refuse a training list whose first class has no video: far more often its numbers start at 1."""
    if min(map(min, labels)) == 1 and max(map(max, labels)) > 1:  # of a single class it may be any
        raise AnnotationError(f'{setting}: labels run from 1 to {max(map(max, labels))}: did the list start at 1? pass '
                              '--label-base 1, or --label-base 0 if class 0 is meant to have no videos')


def _key(entry: Entry) -> str:
    if (entry.first, entry.last) != (None, None):
        numbers = ('' if number is None else str(number) for number in (entry.first, entry.last))
        return f'{entry.path}#f={",".join(numbers)}'
    if entry.start is None and entry.end is None:
        return entry.path
    bounds = (f'{time:g}' if time is not None else '' for time in (entry.start, entry.end))
    return f'{entry.path}#t={",".join(bounds)}'


class _Places:
    """Finds the file or folder that an entry means. Lists each folder once instead of asking for every path."""

    def __init__(self, root: str, video_ext: str, prefer_files: bool, inside: bool):
        self.root = root
        self.extension = '.' + video_ext.lstrip('.')
        self.prefer_files = prefer_files
        self._top = os.path.abspath(root) if inside and root not in ('', '/') else None
        self._folders: dict[str, frozenset[str]] = {}

    def find(self, entry: Entry, must_exist: bool) -> str:
        paths = [os.path.join(self.root, place.rstrip('/')) for place in entry.places or (entry.path,)]
        if self._top is not None:
            self._check_inside(entry, paths[0])
        for path in paths:
            extensions = dict.fromkeys((self.extension, *VIDEO_EXTENSIONS)) if entry.places else (self.extension,)
            variants = [path, *(path + extension for extension in extensions)]
            if self.prefer_files and not path.lower().endswith(VIDEO_EXTENSIONS):
                variants.append(variants.pop(0))
            for variant in variants:
                if self._exists(variant):
                    return variant
        if must_exist:
            raise AnnotationError(f'{where(entry.source, entry.line)}: {paths[0]} does not exist; check --data-dir')
        # GluonCV's rule: only a name without a dot lacks its extension.
        bare = self.prefer_files and '.' not in os.path.basename(paths[0])
        return paths[0] + self.extension if bare else paths[0]

    def num_frames(self, entry: Entry) -> int | None:
        """Frames that may be taken, where the list says so."""
        return entry.num_frames

    def _check_inside(self, entry: Entry, path: str) -> None:
        if not os.path.abspath(path).startswith(self._top + os.sep):
            raise AnnotationError(f'{where(entry.source, entry.line)}: {entry.path} lies outside the data folder '
                                  f'{self.root}; pass another --data-dir, or --data-dir / to allow paths anywhere')

    def _exists(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(os.listdir(folder or '.'))
            except (OSError, ValueError):  # ValueError: a name with a zero byte
                self._folders[folder] = frozenset()
        return name in self._folders[folder]


class _FlowPlaces(_Places):
    """Finds the flow of an entry below `root`: the entry's path without its extension, behind `prefix`."""

    def __init__(self, root: str, prefix: str):
        super().__init__(root, '', prefer_files=False, inside=True)
        self.prefix = prefix

    def find(self, entry: Entry, must_exist: bool) -> str:
        names = [flow_name(os.path.join(self.prefix, place)) for place in entry.places or (entry.path,)]
        paths = [os.path.join(self.root, name) for name in names]
        if self._top is not None:
            self._check_inside(entry, paths[0])
        existing = next((path for path in paths if self._exists(path)), None)
        if must_exist and not existing:
            raise AnnotationError(f'{where(entry.source, entry.line)}: {paths[0]} does not exist; check --data-dir')
        return existing or paths[0]

    def num_frames(self, entry: Entry) -> int | None:
        """Files are read whole, whatever the list counted."""
        return None if is_video_name(entry.path) else entry.num_frames


def _check_repeats(samples: list[Sample], two_labels: bool) -> None:
    """Warn of a video that is listed twice, and refuse it with two labels, or with `two_labels` warn of that too."""
    seen: dict[tuple, Sample] = {}
    repeated: list[tuple[Sample, Sample]] = []
    contradictions: list[tuple[Sample, Sample]] = []
    for sample in samples:
        first = seen.setdefault((sample.path, sample.start, sample.end, sample.first, sample.last), sample)
        if first is sample:
            continue
        if first.label != sample.label and two_labels:
            contradictions.append((first, sample))
            continue
        if first.label != sample.label:
            raise AnnotationError(f'{sample.where}: {sample.key} has label {sample.label}, but {first.label} in '
                                  f'{first.where}')
        repeated.append((first, sample))
    if contradictions:
        rows = '; '.join(f'lines {first.line} and {again.line} ({again.key})' for first, again in contradictions[:5])
        logger.warning('%s: %d times the same frames have two labels, which no network can learn: %s%s',
                       samples[0].source, len(contradictions), rows, '; ...' if len(contradictions) > 5 else '')
    if repeated:
        first, again = repeated[0]
        logger.warning('%s: %d of %d videos are listed more than once; first %s, in lines %d and %d', again.source,
                       len(repeated), len(samples), again.key, first.line, again.line)


def _digest(parsed: ParsedList, samples: list[Sample]) -> str:
    if len(parsed.files) == 1 and os.path.isfile(parsed.files[0]):
        with open(parsed.files[0], 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    text = '\n'.join(f'{sample.key}\t{sample.label}' for sample in samples)
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()
