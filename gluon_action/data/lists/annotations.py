"""Lists of videos in any known format, read into one `Sample` a video."""
from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import AnnotationError, UsageError
from ...files import file_sha256
from ..reading.part import VideoPart, fragment_of, whole_or_part
from .classes.labels import check_base, check_range, number_labels
from .classes.numbering import settle_names
from .folders.places import FlowPlaces, Places
from .formats import FORMATS, parse_list
from .published.epic import is_epic
from .question import SPLITS, ParsedList, Question, where
from .text import check_encoding, readings, say_readings, undecoded

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
        a part of a file, ``#f=first,last`` when it takes a range of frames, counted from 1.
    start, end : float or None
        The part of the file that is meant, in seconds; None is its beginning or end.
    first, last : int or None
        The part in frames, counted from 1, the last one included. Those of EPIC-KITCHENS are numbers in the names of
        a folder's pictures; of a file they count when `start` and `end` are None.
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
                     prefer_files: bool = False, modality: str = 'rgb', usual_classes: Sequence[str] | None = None,
                     list_encoding: str | None = None) -> VideoList:
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
        Names of the classes in the order of the labels. They decide the numbers of a list that names its classes,
        which otherwise counts them as they occur, sorted; a validation list needs those of training.
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
    usual_classes : sequence of str, optional
        Names for numbers where neither the caller nor a file beside the list names the classes.
    list_encoding : str, optional
        How the list is encoded, as Python names it (``'gbk'``), where its first bytes do not say it and it is not
        UTF-8.

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
    check_encoding(list_encoding)
    setting, root = os.path.expanduser(str(setting)), os.path.expanduser(str(root))
    _check_present(setting)
    question = Question(setting, split, multi_label, label_base, classes, usual_classes, list_encoding)
    parsed = parse_list(question, list_format)
    if not parsed.entries:
        raise AnnotationError(f'{setting}: lists no videos of split {split!r}')
    names = settle_names(question, parsed)
    labels = number_labels(parsed.entries, label_base or 0, names)
    limit = num_classes or (len(names) if names else None)
    check_range(parsed.entries, labels, limit, label_base)
    if split == 'train' and label_base is None and limit is None:
        check_base(setting, labels)
    if modality == 'flow':
        places = FlowPlaces(root, os.path.relpath(parsed.root, setting) if parsed.root else '')
    else:
        places = Places(parsed.root or root, video_ext, prefer_files, inside=parsed.root is None)
    samples = [Sample(path=places.find(entry, must_exist), label=numbers if multi_label else numbers[0],
                      num_frames=places.num_frames(entry), line=entry.line, source=entry.source,
                      key=entry.path + fragment_of(entry),
                      start=entry.start, end=entry.end, first=entry.first, last=entry.last)
               for entry, numbers in zip(parsed.entries, labels)]
    if list_encoding is None:
        _check_decoded(samples, parsed.root or root)
    _check_repeats(samples, two_labels=is_epic(parsed.format))
    return VideoList(samples, names, parsed.format, limit or 1 + max(map(max, labels)), _digest(parsed, samples))


def list_videos(setting: str, root: str = '', *, list_format: str = 'auto', multi_label: bool = False,
                video_ext: str = 'mp4', list_encoding: str | None = None) -> list[str]:
    """Paths of all videos that a list names in any of its splits, whatever their labels; each once.

    Arguments are those of `read_annotations`, which says what a list may be.

    Raises
    ------
    AnnotationError
        When the list cannot be read for any split.
    """
    return list(dict.fromkeys(map(os.fspath, list_parts(
        setting, root, list_format=list_format, multi_label=multi_label, video_ext=video_ext,
        list_encoding=list_encoding))))


def list_parts(setting: str, root: str = '', *, list_format: str = 'auto', multi_label: bool = False,
               video_ext: str = 'mp4', list_encoding: str | None = None) -> list[str | VideoPart]:
    """Paths of the videos that a list names, as `list_videos`, and where it names parts of them these; each once.

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
            parsed = parse_list(Question(setting, split, multi_label, encoding=list_encoding), list_format)
        except AnnotationError as error:  # lists that know several splits need not have this one
            troubles.append(error)
            continue
        places = Places(parsed.root or root, video_ext, prefer_files=False, inside=parsed.root is None)
        videos |= dict.fromkeys(whole_or_part(places.find(entry, must_exist=False), entry, is_epic(parsed.format))
                                for entry in parsed.entries)
    if not videos:
        raise troubles[0] if troubles else AnnotationError(f'{setting}: lists no videos')
    return list(videos)


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


def _check_decoded(samples: list[Sample], root: str) -> None:
    """Refuse paths that are not UTF-8 and do not exist as the bytes that they are; say how they may be meant."""
    doubtful = [sample for sample in samples if undecoded(sample.key)][:200]
    if not doubtful or any(os.path.exists(sample.path) for sample in doubtful):
        return
    for sample in doubtful:
        path = sample.key.split('#')[0]
        for name, reading in readings(path).items():
            if os.path.exists(os.path.join(root, reading)):
                raise AnnotationError(f'{sample.where}: the list is not UTF-8 but {name}, in which it names '
                                      f'{reading!r}, which exists; pass --list-encoding {name}, or save it as UTF-8')
    raise AnnotationError(f'{doubtful[0].where}: the path is not UTF-8, and no such bytes are the name of a file: '
                          f'{say_readings(doubtful[0].key)}')


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
        return file_sha256(parsed.files[0])
    text = '\n'.join(f'{sample.key}\t{sample.label}' for sample in samples)
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()
