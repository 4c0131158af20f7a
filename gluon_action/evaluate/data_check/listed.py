"""Which videos are looked at: those of a list, of a folder of classes, or of any folder, with their labels."""
from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from ...data.flow.folder import is_video_name
from ...data.lists.annotations import Sample, read_annotations
from ...data.lists.folders.video_folders import LeftOut, shown_in, videos_below
from ...data.reading.decoders.frame_folder import natural_order
from ...errors import AnnotationError, UsageError
from .facts import quiet


@dataclass(frozen=True)
class Part:
    """The training or the validation videos of a set.

    Attributes
    ----------
    name : {'train', 'val'}
    source : str
        The list or folder that it was read from.
    samples : list of Sample
        Their labels are None where nothing names classes.
    classes : list of str or None
        Names of the classes in the order of the labels.
    """

    name: str
    source: str
    samples: list[Sample] = field(repr=False)
    classes: list[str] | None = None

    @property
    def labelled(self) -> bool:
        """Whether the videos have labels."""
        return any(sample.label is not None for sample in self.samples)


def read_parts(source: str, val: str | None = None, *, data_dir: str = '', val_data_dir: str = '',
               **reading) -> list[Part]:
    """Read a set of videos: one part, or training and validation where there are both.

    Parameters
    ----------
    source : str
        A list, a folder of classes, or a folder of videos in any order. Where it knows both splits, as a table with a
        column of them or a folder with ``train`` and ``val`` in it, both are read.
    val : str, optional
        The validation list or folder.
    data_dir, val_data_dir : str
        Folders that the paths of the lists start from; the second is the first by default.
    **reading
        As in `read_annotations`: ``list_format``, ``list_encoding``, ``label_base``, ``multi_label``, ``classes``.

    Raises
    ------
    AnnotationError, UsageError
        When there are no videos, or a list cannot be read or does not exist.
    """
    source, val = (path and os.path.expanduser(path) for path in (source, val))
    for path in filter(None, (source, val)):
        if not os.path.exists(path) and '*' not in path:
            raise UsageError(f'{path}: does not exist; name a list, a folder of classes, or a folder of videos')
    if val is not None:
        train = _read(source, data_dir, 'train', reading)
        names = {**reading, 'classes': reading.get('classes') or train.classes}
        return [train, _read(val, val_data_dir or data_dir, 'val', names)]
    if is_loose(source):
        return [_loose(source)]
    parts, troubles = [], []
    for split in ('train', 'val'):
        try:
            with quiet() if parts else contextlib.nullcontext():  # it may be the same once more
                parts.append(_read(source, data_dir, split, reading))
        except AnnotationError as error:
            troubles.append(error)
    # A list of one split is one part; whatever else is wrong with it is no reason to look at the other one alone.
    wrong = next((error for error in troubles if not parts or 'split' not in str(error)), None)
    if wrong:
        raise wrong
    same = len(parts) == 2 and {_of(sample) for sample in parts[0].samples} == {_of(sample)
                                                                               for sample in parts[1].samples}
    return parts[:1] if same else parts


def is_loose(source: str) -> bool:
    """Whether a folder is one of videos that nothing sorts into classes, or a video itself."""
    if not os.path.isdir(source):
        return is_video_name(source)
    return any(is_video_name(item.name) for item in shown_in(source, LeftOut()))


def _read(source: str, data_dir: str, split: str, reading: dict) -> Part:
    if is_loose(source):
        return _loose(source, split)
    found = read_annotations(source, data_dir, split=split, **reading)
    return Part(split, source, found.samples, found.classes)


def _loose(source: str, name: str = 'train') -> Part:
    left_out, folder = LeftOut(), os.path.isdir(source)
    paths = videos_below(source, left_out, flow=False, order=natural_order) if folder else [source]
    samples = [Sample(path=path, label=None, source=source,
                      key=os.path.relpath(path, source) if folder else os.path.basename(path)) for path in paths]
    left_out.say(source)
    return Part(name, source, samples)


def _of(sample: Sample) -> tuple:
    return sample.path, sample.label, sample.start, sample.end, sample.first, sample.last
