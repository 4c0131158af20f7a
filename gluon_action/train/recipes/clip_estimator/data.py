"""The clips of an estimator: records opened as the flags say, in batches, and the classes that its scores count."""
from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import numpy as np

from ....data.loading.loader import VideoLoader
from ....data.tfrecords.clips.clip_records import ClipRecords
from ....data.transforms.color import distort_colors
from ....errors import UsageError
from .config import EstimatorConfig


def open_loader(config: EstimatorConfig, subset: str) -> VideoLoader:
    """Return batches of ``'train'``, ``'eval'`` or ``'predict'``, read ahead as --prefetch_size says.

    Raises
    ------
    UsageError
        When there are no records.
    RecordError
        When they are torn.
    """
    training = subset == 'train'
    clips = ClipRecords(
        getattr(config, f'{subset}_subset_dir_path'), num_classes=config.num_classes, clip_length=config.clip_length,
        height=config.frame_height, width=config.frame_width, channels=config.channels,
        multi_label=config.multi_label, seed=config.seed, need_labels=subset != 'predict',
        augment=distort_colors if training and config.network == 's3dg' else None)
    ahead = batches_ahead(config)
    return VideoLoader(
        clips if config.window is None else CroppedClips(clips, config.window), config.batch_size, shuffle=training,
        seed=config.seed, last='wrap' if training else 'keep', prefetch=max(1, ahead),
        num_workers=config.num_data_workers if ahead else 0)


def batches_ahead(config: EstimatorConfig) -> int:
    """Batches that are read ahead: --prefetch_size, or as many as --tfrecord_size MiB of stored clips are."""
    if config.prefetch_size >= 0:
        return config.prefetch_size
    stored = config.batch_size * config.clip_length * config.frame_height * config.frame_width * config.channels
    return max(1, config.tfrecord_size * 2 ** 20 // stored)


def counted_classes(text: str | None, num_classes: int, classes: Sequence[str] | None) -> np.ndarray | None:
    """Read --metric_weights: which classes count in scores.

    Parameters
    ----------
    text : str, optional
        Class numbers from 0, ranges of them (``4-7``), and parts of class names or patterns for whole ones
        (``gate``, ``veh*``), separated by commas. None counts all.
    num_classes : int
    classes : sequence of str, optional
        Names of the classes, where they are known.

    Returns
    -------
    bool ndarray (K,) or None

    Raises
    ------
    UsageError
        Naming the part that fits no class.
    """
    if text is None:
        return None
    counted = np.zeros(num_classes, bool)
    for part in filter(None, (part.strip() for part in text.split(','))):
        numbers = re.fullmatch(r'(\d+)(?:-(\d+))?', part)
        if numbers:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            found = list(range(first, last + 1)) if first <= last < num_classes else []
        else:
            pattern = part if set(part) & set('*?[') else f'*{part}*'
            found = [k for k, name in enumerate(classes or ()) if fnmatch.fnmatch(name.lower(), pattern.lower())]
        if not found:
            known = f'the classes are 0..{num_classes - 1}'
            known += f', {", ".join(classes[:5])}{", ..." * (len(classes) > 5)}' if classes else \
                ', and have no names: there is no classes.txt beside the records'
            raise UsageError(f'--metric_weights: {part!r} fits no class; {known}')
        counted[found] = True
    if not counted.any():
        raise UsageError('--metric_weights names no class')
    return counted


class CroppedClips:
    """A data set of clips of which only a window of each frame is kept.

    Parameters
    ----------
    clips : ClipRecords
    window : (int, int, int, int)
        Left, top, width and height; inside the frames.
    """

    def __init__(self, clips, window: tuple[int, int, int, int]):
        self.clips, self.window = clips, window

    def __len__(self) -> int:
        return len(self.clips)

    def __getattr__(self, name):
        if name == 'clips':  # before it is there, as when it is copied
            raise AttributeError(name)
        return getattr(self.clips, name)

    def load(self, index: int, *, epoch: int = 0, view: int = 0) -> tuple:
        """Read one clip; see :meth:`gluon_action.data.tfrecords.clips.clip_records.ClipRecords.load`."""
        clip, label = self.clips.load(index, epoch=epoch, view=view)
        left, top, width, height = self.window
        return np.ascontiguousarray(clip[..., top:top + height, left:left + width]), label
