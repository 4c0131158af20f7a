"""Features of videos and of their frames in TFRecords, as YouTube-8M has them: a data set that `VideoLoader` reads."""
from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import RecordError, UsageError
from ..examples import parse_context, parse_example
from ..framing import RecordFile
from ..record_sets import Where, counted, digest_of, find_records, open_records
from .feature_format import FeatureFormat
from .feature_messages import ID_NAMES, video_id_of
from .origin import origin_of
from .teacher import BesideRecords, InRecords

log = logging.getLogger(__name__)

_MIXED = 8  # files whose records are shuffled together
_HEAD = 1 << 15  # bytes of a record in which its id is looked for first; a teacher's predictions may stand before it

_parse_ids = functools.partial(parse_context, names=ID_NAMES)


class FeatureRecords:
    """Features of videos out of TFRecords.

    A record of frames is a ``tf.train.SequenceExample`` whose lists hold D bytes for each frame; one of a video is a
    ``tf.train.Example`` with lists of floats. Both have ``id`` or ``video_id``, and ``labels``; what else they have,
    such as the labels of segments of 2019, is passed over. Opening reads where records begin, not what is in them.

    Parameters
    ----------
    pattern : str or path, or list of them
        A folder, whose ``*.tfrecord`` are taken, a pattern such as ``train*.tfrecord``, one file, or several of them
        with commas between. A list names files, which are taken in its order, and there may be nothing in them.
    features : sequence of (str, int)
        Which of the features there are, in the order in which they stand in a row, with their sizes, as
        `gluon_action.input_kind.parse_features` reads them. D is the sum of the sizes.
    num_classes : int
        K.
    max_frames : int
        T: longer videos are cut.
    frame_level : bool
        Whether records are of frames; otherwise of videos, and T is 1.
    need_labels : bool
        Whether every record has labels; otherwise those of one without are NaN.
    teacher : {None, 'records'} or path
        Where a teacher's predictions are read: nowhere, in the records (the distillation format), or beside them (a
        folder that `gluon_action.data.tfrecords.features.teacher` describes).
    on_error : {'raise', 'skip'}
        What to do with a file that is torn: refuse it, or log and note it in `torn` and read the records before.

    Attributes
    ----------
    samples : sequence of FeatureSample
        In the order of file names, then of the records in each file.
    starts : int64 ndarray (files + 1,)
        The first sample of each file; and how many samples there are.
    num_classes, multi_label, setting
        K, True, and the pattern.
    torn : list of RecordError
    list_sha256 : str
        Identifies the records, and the teacher's beside them: of file names, lengths and checksums.
    origin : dict
        What the features came through, where manifests say it: see :mod:`gluon_action.data.tfrecords.features.origin`.

    Raises
    ------
    UsageError
        When an argument is invalid, no file fits the pattern, or features came through several backbones or PCAs.
    RecordError
        When files are torn or no TFRecords; all of them are named.
    """

    multi_label = True
    num_segments = num_crop = 1
    classes = None

    def __init__(self, pattern: str | os.PathLike | list[str], *, features: Sequence[tuple[str, int]],
                 num_classes: int = 3862, max_frames: int = 300, frame_level: bool = True, need_labels: bool = True,
                 teacher: str | os.PathLike | None = None, on_error: str = 'raise'):
        listed = isinstance(pattern, list)
        self.setting = ','.join(pattern) if listed else os.path.expanduser(os.fspath(pattern))
        self.features, self.num_classes = tuple(features), num_classes
        if on_error not in ('raise', 'skip'):
            raise UsageError(f'on_error must be one of raise, skip, got {on_error!r}')
        if min(num_classes, max_frames) < 1:
            raise UsageError(f'num_classes and max_frames must be 1 or more, got {num_classes} and {max_frames}')
        self.row_shape = (max_frames if frame_level else 1, sum(size for _, size in self.features))
        paths = pattern if listed else find_records(self.setting)
        self.origin = origin_of(paths)
        self._files = open_records(paths, keep_whole=on_error == 'skip')
        self.torn = [file.torn for file in self._files if file.torn is not None]
        for error in self.torn:
            log.warning('skipped: %s', error)
        self.starts = np.cumsum([0, *map(len, self._files)])
        if not len(self) and not listed:
            raise UsageError(f'{self.setting}: no videos; {counted(paths, "file")} without any record')
        beside = None if teacher in (None, 'records') else BesideRecords(teacher, self._files)
        self._format = FeatureFormat(self.features, num_classes, frame_level, need_labels,
                                     InRecords() if teacher == 'records' else beside)
        self.samples = _Samples(self)
        self.list_sha256 = digest_of([*self._files, *(beside.files if beside else ())])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def load(self, index: int, *, epoch: int = 0, view: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Read one video; nothing is drawn.

        Returns
        -------
        features : float32 ndarray (1, T, D)
            Dequantized, not normalised; zeros behind the last frame.
        label : float32 ndarray (K,) or (2K,)
            Zeros and ones; then, with a teacher, its predictions.

        Raises
        ------
        RecordError
            Naming file, byte and record, when it is damaged or does not hold what it should.
        """
        rows = np.empty((1, *self.row_shape), np.float32)
        labels, errors = self.load_many([index], rows, epoch=epoch)
        if errors:
            raise errors[0]
        return rows, labels[0]

    def load_many(self, indices: Sequence[int], rows: Sequence[np.ndarray], *,
                  epoch: int = 0) -> tuple[np.ndarray, dict[int, RecordError]]:
        """Read videos; what lies together is read together.

        Parameters
        ----------
        indices : sequence of int
        rows : n float32 ndarray (T, D), or one (n, T, D)
            Where the features of the n videos go; zeros where one cannot be read.

        Returns
        -------
        labels : float32 ndarray (n, K) or (n, 2K)
        errors : dict
            Place among the n -> `RecordError`, as `load` raises it.
        """
        labels = np.zeros((len(indices), self._format.label_size), np.float32)
        errors: dict[int, RecordError] = {}
        indices = np.asarray(indices)
        numbers = np.searchsorted(self.starts, indices, 'right') - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            places = places[np.argsort(indices[places], kind='stable')]
            self._load_of(self._files[number], indices - self.starts[number], places.tolist(), rows, labels, errors)
        for place in errors:
            rows[place][...] = 0
        return labels, errors

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """An order of all samples in which those of a few files at a time are mixed, so that disks read on.

        Returns
        -------
        int64 ndarray (n,)
        """
        order = rng.permutation(len(self._files))
        together = [np.concatenate([np.arange(*self.starts[number:number + 2]) for number in order[i:i + _MIXED]])
                    for i in range(0, len(order), _MIXED)]
        return np.concatenate([rng.permutation(indices) for indices in together])

    def place_of(self, index: int) -> tuple[RecordFile, int]:
        """File of a sample, and the number of its record in it."""
        number = int(np.searchsorted(self.starts, index, 'right')) - 1
        return self._files[number], int(index - self.starts[number])

    def _load_of(self, file: RecordFile, records: np.ndarray, places: list[int], rows: Sequence, labels: np.ndarray,
                 errors: dict[int, RecordError]) -> None:
        """Read the records of one file."""
        try:
            with file.opened() as read:
                for place in places:
                    try:
                        record = int(records[place])
                        self._format.take(read(record), Where(file, record), rows[place], labels[place])
                    except RecordError as error:
                        errors[place] = error
        except RecordError as error:
            errors.update(dict.fromkeys(places, error))


@dataclass(frozen=True)
class FeatureSample:
    """A video in a set: the file of its record, and the number of that from 0."""

    file: RecordFile
    index: int

    @property
    def path(self) -> str:
        """The file."""
        return self.file.path

    @property
    def key(self) -> str:
        """The video's id, read from the record; ``file.tfrecord#3`` where it has none."""
        with contextlib.suppress(RecordError):  # the file is gone
            for parse, size in ((_parse_ids, _HEAD), (parse_example, int(self.file.lengths[self.index]))):
                with contextlib.suppress(ValueError):  # its context continues, or it is damaged
                    found = video_id_of(parse(self.file.head(self.index, size)))
                    if found is not None:
                        return found
        return f'{os.path.basename(self.path)}#{self.index}'

    @property
    def where(self) -> str:
        """The file and the record in it, for messages."""
        return f'{self.path} record {self.index}'


class _Samples(Sequence):
    """Samples made when they are asked for: a set may have millions."""

    def __init__(self, records: FeatureRecords):
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f'there are {len(self)} samples, not one of number {index}')
        return FeatureSample(*self._records.place_of(index % len(self)))

    def __iter__(self) -> Iterator[FeatureSample]:
        return map(self.__getitem__, range(len(self)))
