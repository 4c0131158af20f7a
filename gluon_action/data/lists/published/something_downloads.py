"""Something-Something as it is downloaded, checked, and turned into lists of the kind that GluonCV's scripts write."""
from __future__ import annotations

import functools
import glob
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from ....errors import AnnotationError, OutputError, UsageError, VideoReadError
from ....files import write_file
from ...loading.video_tasks import for_each_video
from ...reading.video_reader import VideoReader
from ..annotations import VideoList, read_annotations

#: Version -> ending of its official files, and the names of the pictures where videos are folders.
VERSIONS = {1: ('csv', '%05d.jpg'), 2: ('json', '%06d.jpg')}
#: What is written, for training and validation.
LISTS = {'train': 'train_videofolder.txt', 'val': 'val_videofolder.txt'}
_OFFICIAL = {'train': 'train', 'val': 'validation'}


@dataclass
class Preparation:
    """The result: what was checked and written.

    Attributes
    ----------
    lists : dict of str to Path
        The training ('train') and the validation ('val') list.
    num_videos, num_classes : int
        In both official lists.
    failures : list of dict
        Videos that are missing or cannot be read: split, path and error.
    empty_classes : list of str
        Classes without a training video.
    """

    lists: dict[str, Path]
    num_videos: int
    num_classes: int
    failures: list[dict[str, str]] = field(default_factory=list)
    empty_classes: list[str] = field(default_factory=list)


def prepare(version: int, labels_dir: str | os.PathLike, videos_dir: str | os.PathLike, out: str | os.PathLike, *,
            num_workers: int = 1, timeout: float | None = 60., overwrite: bool = False,
            progress: bool = False) -> Preparation:
    """Check every video of the official lists and write lists with their frames counted.

    ``out`` gets ``train_videofolder.txt`` and ``val_videofolder.txt`` (path, frames, label from 0), ``category.txt``
    (the classes in order) and, where videos are missing, ``failures.jsonl``. The training list leaves those out. The
    validation list keeps them: they count as wrong.

    Parameters
    ----------
    version : {1, 2}
        Version 1 is folders of JPEGs and CSV files ``id;label``; version 2 is WebM files and JSON.
    labels_dir : path
        Folder of the official files: the training and the validation list, and the labels.
    videos_dir : path
        Folder of the videos, by id: folders of frames, or files.
    out : path
    num_workers : int
        Processes that open the videos.
    timeout : float, optional
        Seconds that opening one may take.
    overwrite : bool
        Replace lists that are there.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Raises
    ------
    UsageError
        For another version, or folders that do not exist or hold no such files.
    AnnotationError
        When the lists cannot be read or have a video in common.
    OutputError
        When `out` holds such lists already or cannot be written.
    """
    if version not in VERSIONS:
        raise UsageError(f'there are versions 1 and 2 of Something-Something, got {version!r}')
    out, videos_dir = Path(out).expanduser(), os.path.expanduser(os.fspath(videos_dir))
    if not os.path.isdir(videos_dir):
        raise UsageError(f'{videos_dir}: there is no such folder; --data-dir is that of the videos')
    there = [name for name in LISTS.values() if (out / name).exists()]
    if there and not overwrite:
        raise OutputError(f'{out} holds {" and ".join(there)} already; choose another --out, or pass --overwrite')
    official = {split: _official_list(version, os.path.expanduser(os.fspath(labels_dir)), videos_dir, split)
                for split in LISTS}
    _check_apart(official)
    counts, failures = _count(official, VERSIONS[version][1], num_workers, timeout, progress)
    try:
        lists = _write(out, official, counts, failures, videos_dir)
    except OSError as error:
        raise OutputError(f'{out}: the lists could not be written: {error.strerror or error}') from error
    classes = official['train'].classes
    used = {sample.label for sample in official['train'].samples if sample.path in counts}
    return Preparation(lists, sum(len(videos.samples) for videos in official.values()), len(classes), failures,
                       [name for label, name in enumerate(classes) if label not in used])


def _official_list(version: int, labels_dir: str, videos_dir: str, split: str) -> VideoList:
    ending = VERSIONS[version][0]
    for part in ('labels', _OFFICIAL[split]):
        files = sorted(glob.glob(os.path.join(glob.escape(labels_dir), f'*{part}.{ending}')))
        if len(files) != 1:
            holds = f'{len(files)} files are' if files else 'no file is'
            raise UsageError(f'{labels_dir}: {holds} named like something-something-v{version}-{part}.{ending}; '
                             '--lists is the folder of the official files of one version')
    return read_annotations(files[0], videos_dir, list_format=f'somethingsomethingv{version}', split=split,
                            video_ext='webm')


def _check_apart(official: dict[str, VideoList]) -> None:
    trained = {sample.path: sample for sample in official['train'].samples}
    for sample in official['val'].samples:
        if sample.path in trained:
            raise AnnotationError(f'{sample.where}: video {sample.key} is in the training list too '
                                  f'({trained[sample.path].where})')


def _count(official: dict[str, VideoList], name_pattern: str, num_workers: int, timeout: float | None,
           progress: bool) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Frames by path, and the videos that have none."""
    tasks = [(sample.path, split) for split, videos in official.items() for sample in videos.samples]
    counts, failures = {}, []
    for (path, split), answer in for_each_video(functools.partial(_num_frames, name_pattern=name_pattern), tasks,
                                                num_workers=num_workers, timeout=timeout,
                                                bar='counting frames' if progress else ''):
        if isinstance(answer, VideoReadError):
            failures.append({'split': split, 'path': path, 'error': str(answer)})
        else:
            counts[path] = answer
    return counts, sorted(failures, key=lambda failure: (failure['split'], failure['path']))


def _num_frames(path: str, split: str, *, name_pattern: str) -> int:
    with VideoReader(path, name_pattern=name_pattern) as reader:
        return len(reader)


def _write(out: Path, official: dict[str, VideoList], counts: dict[str, int], failures: list[dict[str, str]],
           videos_dir: str) -> dict[str, Path]:
    out.mkdir(parents=True, exist_ok=True)
    contents = {'category.txt': official['train'].classes}
    for split, videos in official.items():
        contents[LISTS[split]] = [f'{os.path.relpath(sample.path, videos_dir)} {counts.get(sample.path, 0)} '
                                  f'{sample.label}' for sample in videos.samples
                                  if split == 'val' or sample.path in counts]
    (out / 'failures.jsonl').unlink(missing_ok=True)
    if failures:
        contents['failures.jsonl'] = [json.dumps(failure) for failure in failures]
    for name, lines in contents.items():
        write_file(out / name, ''.join(f'{line}\n' for line in lines))
    return {split: out / name for split, name in LISTS.items()}
