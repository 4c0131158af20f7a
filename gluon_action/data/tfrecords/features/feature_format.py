"""What one record of features holds, read and checked."""
from __future__ import annotations

import numpy as np

from ...transforms.functional import opencv
from ..examples import byte_rows, parse_sequence_example
from ..record_sets import Where, counted
from .feature_messages import ID_NAMES, LEVELS, kind_of, named, video_id_of
from .teacher import BesideRecords, InRecords


class FeatureFormat:
    """What records are expected to hold; the parameters are those of `FeatureRecords`.

    Attributes
    ----------
    label_size : int
        K, or 2K with a teacher.
    """

    def __init__(self, features: tuple[tuple[str, int], ...], num_classes: int, frame_level: bool, need_labels: bool,
                 teacher: InRecords | BesideRecords | None):
        self._features, self._num_classes = features, num_classes
        self._frame_level, self._need_labels, self._teacher = frame_level, need_labels, teacher
        self.label_size = num_classes * (1 if teacher is None else 2)
        self._look_up = opencv().LUT  # five times as fast as NumPy; loaded here, before workers are forked

    def take(self, content: bytes, where: Where, row: np.ndarray, label: np.ndarray) -> None:
        """Read what a record holds.

        Parameters
        ----------
        content : bytes
        where : Where
        row : float32 ndarray (T, D)
            Filled.
        label : float32 ndarray (label_size,)
            Of zeros; filled.

        Raises
        ------
        RecordError
        """
        try:
            context, lists = parse_sequence_example(content)  # an Example is one without lists
        except ValueError as error:
            kind = 'SequenceExample' if self._frame_level else 'Example'
            raise where.error(f'it is not a tf.train.{kind}: {error}') from error
        if video_id_of(context) is None:
            raise where.error(f'it has neither {" nor ".join(map(repr, ID_NAMES))}, only {named(context)}')
        if self._frame_level:
            self._take_frames(context, lists, where, row)
        else:
            self._take_video(context, lists, where, row)
        self._take_labels(context, where, label[:self._num_classes])
        if self._teacher is not None:
            label[self._num_classes:] = self._teacher.predictions(context, where, self._num_classes)

    def _take_frames(self, context: dict, lists: dict, where: Where, row: np.ndarray) -> None:
        first, start = None, 0
        for name, size in self._features:
            if name not in lists:
                if not lists:
                    raise where.error(f'it is a tf.train.Example of {named(context)}, a whole video, and frames are '
                                      'read here; pass records of frames, or take a network of whole videos (trained '
                                      'without --frame_features)')
                raise where.error(f'it has no frames of {name!r}, only of {named(lists)}; pass --feature_names and '
                                  '--feature_sizes of what there is')
            try:
                stored = byte_rows(lists[name])
            except ValueError as error:
                raise where.error(f'its {name!r}: {error}') from error
            if not len(stored):
                raise where.error(f'its {name!r} has no frames; leave the video out')
            if stored.shape[1] != size:
                raise where.error(f'its {name!r} has {stored.shape[1]} bytes a frame, expected {size}; pass them as '
                                  '--feature_sizes, or make the records again')
            first = first or (name, len(stored))
            if len(stored) != first[1]:
                raise where.error(f'its {first[0]!r} has {first[1]} frames and its {name!r} {len(stored)}; they must '
                                  'be of the same frames')
            stored = stored[:len(row)]
            self._look_up(stored, LEVELS, row[:len(stored), start:start + size])
            row[len(stored):, start:start + size] = 0
            start += size

    def _take_video(self, context: dict, lists: dict, where: Where, row: np.ndarray) -> None:
        start = 0
        for name, size in self._features:
            if name not in context:
                if lists:
                    raise where.error(f'it is a tf.train.SequenceExample with frames of {named(lists)}, '
                                      'and whole videos are read here; pass records of these, or take a network of '
                                      'frames (trained with --frame_features)')
                raise where.error(f'it has no {name!r}, only {named(context)}; pass --feature_names and '
                                  '--feature_sizes of what there is')
            values = context[name]
            if not isinstance(values, np.ndarray) or values.dtype != np.float32:
                raise where.error(f'its {name!r} is {kind_of(values)}; a list of floats is expected')
            if len(values) != size:
                raise where.error(f'its {name!r} has {counted(values, "number")}, expected {size}; pass them as '
                                  '--feature_sizes, or make the records again')
            if not np.isfinite(values).all():
                raise where.error(f'its {name!r} is not finite at {int(np.argmin(np.isfinite(values)))}')
            row[0, start:start + size] = values
            start += size

    def _take_labels(self, context: dict, where: Where, label: np.ndarray) -> None:
        labels = context.get('labels')
        if labels is None:
            if self._need_labels:
                raise where.error("it has no 'labels'; the test partition has none, and can only be predicted")
            label[:] = np.nan
            return
        if not isinstance(labels, np.ndarray) and labels or isinstance(labels, np.ndarray) and labels.dtype != np.int64:
            raise where.error(f"its 'labels' are {kind_of(labels)}; whole numbers of classes are expected")
        labels = np.asarray(labels, np.int64)
        wrong = labels[(labels < 0) | (labels >= self._num_classes)]
        if len(wrong):
            raise where.error(f"its 'labels' hold {wrong[0]}, allowed are 0..{self._num_classes - 1}; pass the "
                              '--num_classes that the records were made for')
        label[labels] = 1
