"""Annotated parts of videos: frames and labels of each part, read from a list, and the clips cut from them."""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import AnnotationError, UsageError
from ..reading.video_reader import VideoReader
from .classes.class_files import ClassNames
from .classes.labels import MOST_CLASSES
from .folders.places import Places
from .part_rows import EXPECTED, labels_of, read_rows
from .question import Entry, where
from .tables.bounds import bounds_among
from .tables.column_names import plain_title
from .text import is_integer

UNITS = ('seconds', 'frames')


@dataclass(frozen=True)
class Annotation:
    """A part of a video, and what it shows.

    Attributes
    ----------
    key : str
        The video as the list names it.
    path : str
        Where it lies.
    labels : tuple of int
        Classes, in ascending order.
    start, end : float or None
        The part, in seconds, or in frames from 0 where `in_frames`; `end` is the first that is not in it. None is the
        video's beginning or end.
    source, line
        The list and the line of it, counted from 1 (JSON: which entry).
    split : str
        The part of the data set; '' where there is one only.
    """

    key: str
    path: str
    labels: tuple[int, ...]
    start: float | None = None
    end: float | None = None
    in_frames: bool = False
    source: str = ''
    line: int = 0
    split: str = ''

    @property
    def where(self) -> str:
        """The list and the line in it, for messages."""
        return where(self.source, self.line)

    def frames(self, video: VideoReader) -> range:
        """Frames of the part; empty when there are none.

        Parameters
        ----------
        video : gluon_action.data.reading.video_reader.VideoReader
            The opened video.

        Raises
        ------
        UsageError
            When it is in seconds and the video has no frame rate.
        """
        if self.in_frames:
            return range(self.start or 0, len(video) if self.end is None else min(len(video), self.end))
        if not self.start and self.end is None:
            return range(len(video))
        if video.seconds is None:
            raise UsageError('the video has no frame rate, so it cannot be cut by time; give its parts in frames')
        return video.frames_between(self.start, self.end)


@dataclass(frozen=True)
class AnnotatedVideos:
    """What a list of annotated videos says.

    Attributes
    ----------
    annotations : list of Annotation
        In the list's order; rows that differ in nothing but their labels are one.
    classes : list of str
        Names in the order of the labels.
    splits : list of str
        Names of the parts, sorted; [''] for one only.
    sha256 : str
        Of the list.
    """

    annotations: list[Annotation]
    classes: list[str]
    splits: list[str]
    sha256: str


def read_clip_annotations(path: str | os.PathLike, data_dir: str | os.PathLike = '', *, unit: str = 'seconds',
                          classes: Sequence[str] | None = None, label_base: int = 0, allow_no_label: bool = False,
                          split: str | None = None, val_share: float = 0, seed: int = 0,
                          list_encoding: str | None = None) -> AnnotatedVideos:
    """Read a list of annotated videos.

    Parameters
    ----------
    path : path
        A CSV or TSV file with a header, or a JSON list of objects. Columns (keys) are ``video``, ``start`` and ``end``,
        or ``start_frame`` and ``end_frame``, and ``labels``, by any of their usual names. Several labels of a row are
        joined by ``;`` or ``|`` (numbers also by commas or spaces), in JSON a list; several rows may also name the
        same part. Also a list without header (``path label`` or ``path num_frames label``), or a folder with one
        folder a class: there every video is one part.
    data_dir : path
        Folder that the paths start from; by default that of the list.
    unit : {'seconds', 'frames'}
        What ``start`` and ``end`` count. Frames count from 0, and the end is the first one that is not in the part.
    classes : sequence of str, optional
        Names in the order of their numbers. By default all names in the list, sorted, or the numbers up to the highest.
    label_base : {0, 1}
        The number of the first class in the list.
    allow_no_label : bool
        Whether rows may have no label: nothing is to be seen there.
    split : str, optional
        Column that names the part of the data set; by default ``split`` or ``subset`` where there is one.
    val_share : float
        Share of the videos to put into 'val', drawn by `seed`; the others are 'train'.
    list_encoding : str, optional
        As in `read_annotations`.

    Raises
    ------
    AnnotationError
        Naming file and line: for a row that cannot be read, a label that no class has, a video in two splits.
    UsageError
        When an argument is invalid.
    """
    path = os.path.expanduser(os.fspath(path))
    if unit not in UNITS or label_base not in (0, 1) or not 0 <= val_share < 1:
        raise UsageError(f'--unit must be {" or ".join(UNITS)}, --label-base 0 or 1, --val-share at least 0 and below '
                         f'1, got {unit!r}, {label_base} and {val_share}')
    rows, names = read_rows(path, list_encoding, label_base)
    if not rows:
        raise AnnotationError(f'{path}: lists no videos')
    if split is None and 'split' in rows[0][1]:
        split = 'split'
    if split and val_share:
        raise UsageError(f'--val-share: the column {split!r} of {path} says what is for what; leave one of them out')
    reader = _RowReader(path, os.path.expanduser(os.fspath(data_dir)) or _folder_of(path), unit, split, allow_no_label)
    labelled = [reader.read(line, row) for line, row in rows]
    class_names = list(classes or names or _class_names(labelled, label_base))
    known = ClassNames(class_names)
    annotations = _merge([replace(annotation, labels=_numbers(annotation, labels, known, label_base))
                          for annotation, labels in labelled])
    if val_share:
        annotations = _draw_split(annotations, val_share, seed)
    _check_splits(annotations)
    splits = sorted({annotation.split for annotation in annotations})
    return AnnotatedVideos(annotations, class_names, splits, _digest(annotations, class_names))


def clip_starts(num_frames: int, span: int, step: int, drop_short: bool = False) -> list[int]:
    """First frames of the clips that a part of `num_frames` frames gives.

    Parameters
    ----------
    num_frames : int
        Frames of the part, 0 or more.
    span : int
        Frames that a clip covers.
    step : int
        Frames from the start of a clip to that of the next.
    drop_short : bool
        Leave out a clip that the part's end cuts short.

    Returns
    -------
    list of int
        Every `step`-th frame until a clip reaches the end of the part.
    """
    if num_frames < 1:
        return []
    last = max(0, num_frames - span)
    starts = [*range(0, last, step), -(-last // step) * step]
    return [start for start in starts if start + (span if drop_short else 1) <= num_frames]


class _RowReader:
    """Turns a row into an annotation, but for the numbers of its labels."""

    def __init__(self, source: str, data_dir: str, unit: str, split: str | None, allow_no_label: bool):
        self.source, self.unit = source, unit
        self._places = Places(data_dir, 'mp4', prefer_files=False, inside=False)
        self.split, self.allow_no_label = split, allow_no_label

    def read(self, line: int, row: dict) -> tuple[Annotation, list[str | int]]:
        place = where(self.source, line)
        key = row.get('path')
        if not isinstance(key, str) or not key.strip():
            raise AnnotationError(f'{place}: names no video; {EXPECTED}')
        labels = labels_of(row.get('label'), place)
        if not labels and not self.allow_no_label:
            raise AnnotationError(f'{place}: has no label; pass --allow-no-label if nothing is to be seen there')
        start, end, in_frames = bounds_among(frozenset(row)).part(row, place, self.unit)
        split = '' if self.split is None else self._split(row, place)
        key = key.strip().rstrip('/')
        entry = Entry(os.path.join(row.get('root') or '', key), (), self.source, line)
        path = self._places.find(entry, must_exist=False)
        return Annotation(key, path, (), start, end, in_frames, self.source, line, split), labels

    def _split(self, row: dict, place: str) -> str:
        column = plain_title(self.split)
        if column not in row:
            columns = ', '.join(name for name in row if name != 'root')
            raise AnnotationError(f'{place}: has no column {self.split!r} that --split names; there are {columns}')
        name = str(row[column] or '').strip()
        if not re.fullmatch(r'\w[\w.-]*', name):
            raise AnnotationError(f'{place}: {name!r} is not the name of a split; it becomes the name of a folder, so '
                                  'letters, digits, - and _ are allowed')
        return name


def _class_names(labelled: Sequence[tuple[Annotation, list[str | int]]], base: int) -> list[str]:
    names = {str(label): annotation for annotation, labels in labelled for label in labels}
    if names and all(map(is_integer, names)):
        highest = max(names, key=int)
        if int(highest) > MOST_CLASSES:
            raise AnnotationError(f'{names[highest].where}: label {highest} would make as many classes, more than '
                                  f'{MOST_CLASSES}; name the classes with --classes')
        return [str(number) for number in range(base, max(map(int, names)) + 1)]
    return sorted(names)


def _numbers(annotation: Annotation, labels: list[str | int], names: ClassNames, base: int) -> tuple[int, ...]:
    classes, numbers = names.names, set()
    for label in labels:
        number = names.find(str(label))
        if number is None and is_integer(str(label)):
            number = int(label) - base
        if number is None or not 0 <= number < len(classes):
            raise AnnotationError(f'{annotation.where}: label {label!r} is not the name of one of the {len(classes)} '
                                  f'classes, nor a number in {base}..{len(classes) - 1 + base}; check --classes')
        numbers.add(number)
    return tuple(sorted(numbers))


def _merge(annotations: list[Annotation]) -> list[Annotation]:
    """Rows of the same part as one with all of their labels."""
    merged: dict[tuple, Annotation] = {}
    for annotation in annotations:
        key = (_identity(annotation), annotation.start, annotation.end, annotation.in_frames, annotation.split)
        first = merged.setdefault(key, annotation)
        merged[key] = replace(first, labels=tuple(sorted({*first.labels, *annotation.labels})))
    return list(merged.values())


def _identity(annotation: Annotation) -> str:
    try:
        return os.path.realpath(annotation.path)
    except ValueError as error:  # a zero byte, half a letter
        raise AnnotationError(f'{annotation.where}: {ascii(annotation.path)} cannot be the name of a file') from error


def _draw_split(annotations: list[Annotation], share: float, seed: int) -> list[Annotation]:
    # By hash: whether a video is for validation does not depend on how the others are sorted.
    videos = {_identity(annotation): annotation.key for annotation in annotations}
    drawn = sorted(videos, key=lambda path: hashlib.sha256(f'{seed} {videos[path]}'.encode(
        'utf-8', 'surrogateescape')).digest())
    if len(drawn) < 2:
        raise UsageError(f'--val-share: {annotations[0].source} names one video, which cannot be in two splits')
    chosen = set(drawn[:min(len(drawn) - 1, max(1, round(share * len(drawn))))])
    return [replace(annotation, split='val' if _identity(annotation) in chosen else 'train')
            for annotation in annotations]


def _check_splits(annotations: list[Annotation]) -> None:
    seen: dict[str, Annotation] = {}
    for annotation in annotations:
        first = seen.setdefault(_identity(annotation), annotation)
        if first.split != annotation.split:
            raise AnnotationError(f'{annotation.where}: {annotation.key} is for {annotation.split!r}, but for '
                                  f'{first.split!r} in {first.where}; clips of one video must not be in both')


def _folder_of(path: str) -> str:
    return path if os.path.isdir(path) else os.path.dirname(path)


def _digest(annotations: list[Annotation], classes: list[str]) -> str:
    rows = [(a.key, a.labels, a.start, a.end, a.in_frames, a.split) for a in annotations]
    return hashlib.sha256(repr((rows, classes)).encode('utf-8', 'surrogateescape')).hexdigest()
