"""Clips with their labels in TFRecords, as a data set that `VideoLoader` reads."""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import UsageError
from ....files import open_file
from ...reading.sampling import sample_rng
from ...transforms.functional import opencv
from ..record_sets import Where, counted, digest_of, find_records, open_records

#: File beside the records that names the classes, one a line.
CLASSES_FILE = 'classes.txt'


class ClipRecords:
    """Clips of one size out of TFRecords of ``tf.train.Example``.

    Each example has ``feature``, the raw uint8 pixels (T, H, W, C) of a clip, and ``label``, uint8 (K,) of zeros and
    ones; what else it has is passed over. Opening reads the frames of the records, not the clips in them.

    Parameters
    ----------
    setting : str or path
        A folder, whose ``*.tfrecord`` are taken, a pattern such as ``clips/train-*.tfrecord``, one file, or several of
        them with commas between.
    num_classes : int
        K.
    clip_length, height, width, channels : int
        T, H, W and C: 3 for RGB, 2 for optical flow stored in 8 bits (128 is no motion).
    multi_label : bool
        Whether a clip may have any number of labels; otherwise it must have exactly one.
    augment : callable, optional
        ``augment(clip, rng) -> clip`` for RGB float32 (T, H, W, 3) in 0..1, such as
        `gluon_action.data.transforms.color.distort_colors`.
    seed : int
        With epoch, index and view it decides what `augment` draws.
    need_labels : bool
        Whether every record has a label; otherwise one without is NaN for every class.

    Attributes
    ----------
    samples : list of Record
        In the order of file names, then of the records in each file.
    classes : list of str or None
        From ``classes.txt`` beside the records.
    num_classes, multi_label, setting
        As given.
    num_segments, num_crop : int
        1: each record is one clip.
    list_sha256 : str
        Identifies the records: of file names, lengths and checksums.

    Raises
    ------
    UsageError
        When an argument is invalid, or no file fits `setting`.
    RecordError
        When files are torn or no TFRecords; all of them are named.
    """

    num_segments = num_crop = 1

    def __init__(self, setting: str | os.PathLike, *, num_classes: int, clip_length: int = 64, height: int = 224,
                 width: int = 224, channels: int = 3, multi_label: bool = True, augment: Callable | None = None,
                 seed: int = 0, need_labels: bool = True):
        self.setting = os.path.expanduser(os.fspath(setting))
        self.shape = (clip_length, height, width, channels)
        self.num_classes, self.multi_label, self.augment, self.seed = num_classes, multi_label, augment, seed
        self.need_labels = need_labels
        if min(*self.shape, num_classes) < 1:
            raise UsageError('--num_classes, --clip_length, --frame_height, --frame_width and --channels must be 1 or '
                             f'more, got {num_classes}, {", ".join(map(str, self.shape))}')
        if augment is not None and channels != 3:
            raise UsageError(f'colours are changed in clips of 3 channels, these have {channels}; leave augment out')
        paths = find_records(self.setting)
        files = open_records(paths)
        self._files = {file.path: file for file in files}
        self.samples = [Record(file.path, index) for file in files for index in range(len(file))]
        if not self.samples:
            raise UsageError(f'{self.setting}: no clips; {counted(paths, "file")} without any record')
        self.classes = _read_classes(os.path.dirname(paths[0]), num_classes)
        self.list_sha256 = digest_of(files)

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index: int, *, epoch: int = 0, view: int = 0) -> tuple[np.ndarray, float | np.ndarray]:
        """Read one clip. What is drawn depends on (seed, epoch, index, view) alone.

        Returns
        -------
        clip : float32 ndarray (1, C, T, H, W)
            In [-1, 1].
        label : float32 ndarray (K,) of zeros and ones, or int; NaN where there is none

        Raises
        ------
        RecordError
            Naming file, byte and record, when it is damaged or has another size.
        """
        pixels, hot = self.read(index)
        if self.augment is None:
            clip = _scaled(pixels)
        else:
            drawn = self.augment(pixels.astype(np.float32) / 255, sample_rng(self.seed, epoch, index, view))
            clip = np.ascontiguousarray(((drawn - np.float32(0.5)) * 2).transpose(3, 0, 1, 2))
        if hot is None:
            return clip[None], np.full(self.num_classes, np.nan, np.float32) if self.multi_label else float('nan')
        return clip[None], hot.astype(np.float32) if self.multi_label else int(hot.argmax())

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels uint8 (T, H, W, C) and label uint8 (K,) of one record, as they are stored; errors as in `load`.

        The label is None where there is none and `need_labels` is False.
        """
        sample = self.samples[index]
        file = self._files[sample.path]
        where = Where(file, sample.index)
        features = where.parsed(file.read(sample.index))
        pixels = where.only(features, 'feature')
        if len(pixels) != np.prod(self.shape):
            raise where.error(_wrong_clip(len(pixels), self.shape))
        clip = np.frombuffer(pixels, np.uint8).reshape(self.shape)
        if not self.need_labels and 'label' not in features:
            return clip, None
        label = where.only(features, 'label')
        if len(label) != self.num_classes:
            raise where.error(f'its label has {counted(label, "byte")}, expected one for each of {self.num_classes} '
                              f'classes; are there {len(label)}? pass --num_classes {len(label)}')
        hot = np.frombuffer(label, np.uint8)
        if hot.max() > 1:
            raise where.error(f'its label holds {hot.max()} for class {hot.argmax()}; zeros and ones are expected')
        if not self.multi_label and hot.sum() != 1:
            raise where.error(f'its label names {counted(np.flatnonzero(hot), "class")}, expected exactly one; train '
                              'with several labels, or leave the clip out')
        return clip, hot


@dataclass(frozen=True)
class Record:
    """Where a clip lies: the file, and the number of its record from 0."""

    path: str
    index: int

    @property
    def key(self) -> str:
        """Name in results: ``file.tfrecord#3``."""
        return f'{os.path.basename(self.path)}#{self.index}'

    @property
    def where(self) -> str:
        """The file and the record in it, for messages."""
        return f'{self.path} record {self.index}'


def _wrong_clip(length: int, shape: tuple[int, ...]) -> str:
    frames, height, width, channels = shape
    per_frame = height * width * channels
    cause = (f'its feature has {length} bytes, expected {frames * per_frame}: {frames} frames x {height} x {width} x '
             f'{channels}; ')
    if length and length % per_frame == 0:
        return cause + f'are the clips of {length // per_frame} frames? pass --clip_length {length // per_frame}'
    side = round((length / frames / channels) ** 0.5)
    if length and side * side * frames * channels == length:
        return cause + (f'are the frames {side} x {side}? pass --frame_height {side} --frame_width {side}')
    return cause + 'pass the --clip_length, --frame_height, --frame_width and --channels that they were made with'


def _scaled(pixels: np.ndarray) -> np.ndarray:
    """Pixels (T, H, W, C) as float32 (C, T, H, W) in [-1, 1]."""
    cv2 = opencv()
    frames, height, width, channels = pixels.shape
    table = _FLOW if channels == 2 else _PIXELS
    scaled = np.empty((channels, frames, height, width), np.float32)
    for number, frame in enumerate(pixels):
        for channel, plane in enumerate(cv2.split(frame)):
            cv2.LUT(plane, table, scaled[channel, number])  # four times as fast as by NumPy
    return scaled


#: The value of each byte; stored flow has 128 for no motion.
_PIXELS = (np.arange(256, dtype=np.float32) / 255 - np.float32(0.5)) * 2
_FLOW = np.maximum((np.arange(256, dtype=np.float32) - 128) / 127, -1)


def _read_classes(folder: str, num_classes: int) -> list[str] | None:
    path = Path(folder, CLASSES_FILE)
    if not path.is_file():
        return None
    try:
        with open_file(path) as file:
            lines = file.read().decode('utf-8-sig').splitlines()
    except OSError as error:
        raise UsageError(f'{path}: cannot be read: {error.strerror or error}') from error
    except UnicodeDecodeError as error:
        raise UsageError(f'{path}: byte {error.start} is no UTF-8, so a name is spelt in another encoding; save the '
                         'file as UTF-8') from error
    names = [name.strip() for name in lines if name.strip()]
    if len(names) != num_classes:
        raise UsageError(f'{path} names {len(names)} classes, but --num_classes is {num_classes}; pass --num_classes '
                         f'{len(names)}')
    return names
