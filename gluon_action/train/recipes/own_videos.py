"""Own videos, a folder of class folders or a list, as a training reads them: one list to train on, one to validate."""
from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...data.lists.annotations import Sample, VideoList, read_annotations
from ...data.lists.classes.class_files import read_class_names
from ...data.lists.folders.file_kinds import VIDEO_EXTENSIONS, is_hidden
from ...data.lists.published.epic import is_epic
from ...data.lists.question import SPLITS
from ...data.lists.split import Split, same_contents, split_samples
from ...data.lists.table import as_table
from ...errors import AnnotationError, UsageError
from ...files import output_errors, write_file
from ...run_config import read_run_config
from .config import TrainConfig
from .recipe_defaults import for_videos

log = logging.getLogger(__name__)

#: Folder of a run that its lists are written to.
LISTS = 'lists'
# What says where they are and how they are read.
_LISTS = ('dataset', 'data_dir', 'val_data_dir', 'train_list', 'val_list', 'list_format', 'label_base', 'list_encoding',
          'class_names')
# Of a validation of fewer videos, how coarse its score is is said.
_FEW_VIDEOS = 10
_NAMED = 5
_EXPECTED = 'put the videos of each class into a folder of their own there (videos/CLASS/a.mp4), or name a table of ' \
            'path and label'


@dataclass(frozen=True)
class OwnVideos:
    """What a training on own videos reads.

    Attributes
    ----------
    config : TrainConfig
        With data set, folders and lists decided.
    files : mapping of str to str
        The lists, and the names of the classes beside them: name of a file -> content.
    classes : list of str or None
        Names of the classes, where anybody says them.
    said, warnings : list of str
        What there is to say of the videos, a line each.
    """

    config: TrainConfig
    files: Mapping[str, str]
    classes: list[str] | None
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def write(self, folder: str | os.PathLike) -> None:
        """Write the lists into a folder, which is made if it is not there."""
        folder = Path(folder)
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            write_file(folder / name, content)

    def tell(self) -> None:
        """Log what there is to say."""
        for line in self.said:
            log.info('%s', line)
        for line in self.warnings:
            log.warning('%s', line)


def own_videos(config: TrainConfig, folder: str | os.PathLike) -> OwnVideos:
    """Read what `config.videos` names, and divide it where nobody has.

    Parameters
    ----------
    config : TrainConfig
        ``videos`` is a folder of class folders, or a list in any format; ``val`` one more, or ``val_share`` the share
        of the first that validates. A folder with ``train`` and ``val`` in it, and a list with a column of splits,
        are divided already.
    folder : path
        Where the lists will be written.

    Raises
    ------
    UsageError
        When other options say where the data are as well.
    AnnotationError
        When there is nothing to read, or nothing to learn: no videos, one class, none left for validation.
    """
    _check(config)
    place = os.path.abspath(os.path.expanduser(config.videos))
    _check_place(config.videos, place)
    names = read_class_names(config.class_names, config.list_encoding) if config.class_names else None
    root, whole = _read(config, place, config.data_dir, 'train', names)
    _check_classes(config.videos, whole)
    val_place = config.val or config.val_list
    said, warnings, val_root, val = [], [], root, []
    known = whole.classes or names
    if val_place:
        there = os.path.abspath(os.path.expanduser(val_place))
        _check_place(val_place, there, '--val ')
        val_root, found = _read(config, there, config.val_data_dir, 'val', known, whole.num_classes)
        train, val = whole.samples, found.samples
        warnings += _twins(train, val, val_place)
    elif config.train_only:
        train = whole.samples
    elif divided := _divided(config, place, root, known, whole):
        train, val = whole.samples, divided
        warnings += _twins(train, val, config.videos)
    else:
        split = split_samples(whole.samples, config.val_share, config.seed)
        train, val = ([whole.samples[index] for index in part] for part in (split.train, split.val))
        warnings += _check_split(config, whole, split)
        recordings = '' if split.sources == len(whole.samples) else \
            f'; they come from {split.sources} recordings by names and contents, none of which is in both'
        said.append(f'{config.videos}: divided by seed {config.seed} into {len(train)} videos to train on and '
                    f'{len(val)} to validate{recordings}')
    if val and len(val) < _FEW_VIDEOS:
        validate = f'{_videos(len(val))} validate{"s" * (len(val) == 1)}'
        warnings.append(f'{validate}: a score of so few goes in steps of {100 / len(val):.0f} %, and says little; add '
                        'videos, or give others by --val')
    files = {'train.csv': as_table(train, root, known)}
    if val:
        files['val.csv'] = as_table(val, val_root, known)
    if known:
        files['class_names.json'] = json.dumps(list(known), indent=0) + '\n'
    folder = os.path.abspath(folder)
    settled = dataclasses.replace(
        config, dataset='custom', data_dir=root, val_data_dir=val_root, train_list=os.path.join(folder, 'train.csv'),
        val_list=os.path.join(folder, 'val.csv') if val else None, list_format='table', label_base=0,
        list_encoding=None, class_names=None)
    settled = for_videos(settled, len(train), known)
    if settled.flip_prob != config.flip_prob:
        said.append('The name of a class has a side, left or right: no video is mirrored (--flip-prob 0).')
    said.insert(0, f'{config.videos}: {len(whole.samples)} videos of {whole.num_classes} classes; the lists are in '
                   f'{folder}')
    return OwnVideos(settled, files, list(known) if known else None, said, warnings)


def lists_of_run(config: TrainConfig) -> TrainConfig | None:
    """Return a configuration with the lists of the run that it resumes; None where there is none on these videos."""
    place = config.save_dir if config.resume == 'auto' else config.resume
    about = (read_run_config(place) if place else None) or {}
    before = about.get('config') or {}
    lists = {name: before.get(name) for name in _LISTS}
    if not before or before.get('videos') != config.videos or before.get('val') != config.val or not (
            isinstance(lists['train_list'], str) and os.path.isfile(lists['train_list'])):
        return None
    return dataclasses.replace(config, **lists)


def _check(config: TrainConfig) -> None:
    if config.dataset not in (TrainConfig.dataset, 'custom'):
        raise UsageError(f'--dataset: {config.dataset} has videos and lists of its own; leave it out beside '
                         f'{config.videos}')
    if config.train_list:
        raise UsageError(f'--train-list: contradicts {config.videos}, which is to be trained on; give one of them')
    if config.val and config.val_list:
        raise UsageError('--val-list: contradicts --val; give one of them')
    if not 0 < config.val_share < 1:
        raise UsageError(f'--val-share: must be above 0 and below 1, got {config.val_share:g}; --train-only trains on '
                         'all videos')
    if config.val_share != TrainConfig.val_share and (config.val or config.val_list or config.train_only):
        other = '--train-only' if config.train_only else '--val'
        raise UsageError(f'--val-share: contradicts {other}; leave one of them out')


def _check_place(given: str, place: str, flag: str = '') -> None:
    """Refuse what is no folder of class folders and no list, before readers of lists try to make one of it."""
    if not os.path.exists(place):
        raise AnnotationError(f'{flag}{given}: there is no such folder or list')
    if place.lower().endswith(VIDEO_EXTENSIONS) and os.path.isfile(place):
        raise AnnotationError(f'{flag}{given}: is one video; name the folder that has a folder for each class, or a '
                              'list of videos')
    if not os.path.isdir(place):
        return
    names = [name for name in os.listdir(place) if not is_hidden(name)]
    if not names:
        raise AnnotationError(f'{flag}{given}: the folder is empty; {_EXPECTED}')
    if not any(os.path.isdir(os.path.join(place, name)) for name in names):
        videos = sum(name.lower().endswith(VIDEO_EXTENSIONS) for name in names)
        lists = [name for name in names if name.endswith(('.csv', '.tsv', '.txt', '.json'))]
        hint = f', or is {lists[0]} the list?' if lists else ''
        raise AnnotationError(f'{flag}{given}: has no folders, but {videos} videos among {len(names)} files; '
                              f'{_EXPECTED}{hint}')


def _read(config: TrainConfig, place: str, data_dir: str | None, split: str, classes: Sequence[str] | None,
          num_classes: int | None = None) -> tuple[str, VideoList]:
    """Read a list or folder; return the folder that its paths start from as well."""
    if os.path.isdir(place):
        roots = [place]
    elif data_dir:
        roots = [os.path.abspath(os.path.expanduser(data_dir))]
    else:  # beside the list, as seen from here, or whole paths
        roots = list(dict.fromkeys((os.path.dirname(place), os.getcwd(), '/')))
    troubles = []
    for root in roots:
        try:
            videos = read_annotations(
                place, root, list_format=config.list_format, label_base=config.label_base,
                num_classes=config.num_classes or num_classes, classes=classes, multi_label=config.multi_label,
                split=split, must_exist=True, prefer_files=config.video_loader, list_encoding=config.list_encoding)
        except AnnotationError as error:
            troubles.append(error)
            continue
        if is_epic(videos.format):
            raise UsageError(f'{place}: is a list of EPIC-KITCHENS, whose frames have numbers of their own; pass it as '
                             '--dataset epic_kitchens --train-list')
        return root, videos
    raise troubles[0]


def _divided(config: TrainConfig, place: str, root: str, classes: Sequence[str] | None,
             whole: VideoList) -> list[Sample]:
    """Return the validation of a folder or list that has one; [] of others."""
    if os.path.isdir(place):
        names = set(os.listdir(place))
        if whole.format == 'folder' and not (names & set(SPLITS['val']) and names & set(SPLITS['train'])):
            return []
    try:
        _, videos = _read(config, place, config.data_dir and root, 'val', classes, whole.num_classes)
    except AnnotationError:  # it has a part for training and none for validation
        return []
    same = {(sample.path, sample.start, sample.first) for sample in whole.samples} == {
        (sample.path, sample.start, sample.first) for sample in videos.samples}
    return [] if same else videos.samples


def _check_classes(given: str, videos: VideoList) -> None:
    labels = {label for sample in videos.samples
              for label in (sample.label if isinstance(sample.label, tuple) else (sample.label,))}
    if len(labels) == 1:
        label, count = labels.pop(), len(videos.samples)
        name = repr(videos.classes[label]) if videos.classes else label
        raise AnnotationError(
            f'{given}: {f"all {count} videos are" if count > 1 else "its one video is"} of the same class, {name}, and '
            'what is learnt is to tell classes apart; add a folder of another class, and be it of videos in which '
            'nothing of that happens')


def _check_split(config: TrainConfig, videos: VideoList, split: Split) -> list[str]:
    """Return a warning of classes that validation has none of; refuse a validation of nothing."""
    if not split.val:
        what = 'they are all of one recording by their names and contents' if split.sources == 1 else \
            f'each of its {len(split.unsplit)} classes has one recording only'
        raise AnnotationError(f'{config.videos}: no video can be set apart for validation: {what}; add videos, give '
                              'others by --val, or train without validation by --train-only')
    if not split.unsplit:
        return []
    names = videos.classes or list(map(str, range(videos.num_classes)))
    shown = [f'{names[label]} ({_videos(count)})' for label, count in split.unsplit.items()]
    few = ', '.join(shown[:_NAMED]) + ', ...' * (len(shown) > _NAMED)
    have, they = ('has', 'it is') if len(shown) == 1 else ('have', 'they are')
    return [f'{len(shown)} of {videos.num_classes} classes {have} one recording only, which is trained on, so that '
            f'nobody knows how well {they} recognised: {few}; add videos of that, or give some by --val']


def _videos(count: int) -> str:
    return f'{count} video{"s" * (count != 1)}'


def _twins(train: Sequence[Sample], val: Sequence[Sample], given: str) -> list[str]:
    """Warn of files of validation that are trained on under another name; those of the same path are seen anyway."""
    twins = [(sample, twin) for sample, twin in same_contents(train, val) if sample.path != twin.path]
    if not twins:
        return []
    sample, twin = twins[0]
    return [f'{given}: {len(twins)} of {len(val)} validation videos have the same content as one that is trained on, '
            f'so that their scores tell what is remembered; the first: {sample.key} is {twin.key}']
