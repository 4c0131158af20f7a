"""Videos of record files scored by a stored model, file by file: what tags, distillation sets and evaluations share."""
from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...compute.engines import ENGINES
from ...compute.scorer import Scorer
from ...data.loading.loader import SkippedSample, VideoLoader
from ...data.tfrecords.features.frame_features import FeatureRecords
from ...data.tfrecords.features.origin import common_origin, origin_of
from ...errors import RecordError, WeightsError
from ...model_zoo.frame_features.stored.model import StoredModel
from ...model_zoo.frame_features.stored.reading import read_stored
from ...train.recipes.frame_features.learning import computing

_log = logging.getLogger(__name__)

#: Bytes that the features of a batch have at most; a larger ``--batch_size`` is cut down to it.
BATCH_BYTES = 2 ** 29
# Files that are opened together, so that workers are started once for them and read ahead from one into the next.
_TOGETHER = 32


@dataclass(frozen=True)
class Scoring:
    """What is scored by what, and how.

    Attributes
    ----------
    model : str
        Prefix of a stored model, or a train_dir.
    flag : str
        That named it, for messages.
    sampling : tuple of (str, value)
        Options of :class:`gluon_action.feature_architecture.Architecture` that say how frames are drawn, instead of the
        stored ones.
    batch_size : int
        Videos that are computed together at most.
    num_readers : int
        Processes that read.
    on_error : {'raise', 'skip'}
        What to do with a video that cannot be read.
    gpu : bool
        Compute on a GPU where there is one.
    rounds : int
        Mean over so many passes, each of which draws other frames.
    engine : {'mxnet', 'torch'}
        What computes.
    """

    model: str
    flag: str = '--train_dir'
    sampling: tuple[tuple[str, Any], ...] = ()
    batch_size: int = 1024
    num_readers: int = 1
    on_error: str = 'raise'
    gpu: bool = False
    rounds: int = 1
    engine: str = 'mxnet'

    def check_engine(self) -> None:
        """Refuse to score by an engine that is not installed, or as one of several processes of torchrun.

        Raises
        ------
        UsageError
        """
        ENGINES[self.engine]().contexts()

    def open(self) -> StoredModel:
        """Read the model, drawing frames as `sampling` says."""
        return read_stored(self.model, self.flag).drawing(dict(self.sampling))


@dataclass(frozen=True)
class ScoredBatch:
    """Videos of one file.

    Attributes
    ----------
    records : FeatureRecords
        The set that they are of.
    indices : list of int
        Places in it.
    probabilities : float32 ndarray (N, K)
    label : float32 ndarray (N, K)
        NaN where a record has no labels.
    failures : list of SkippedSample
        Videos that could not be read.
    """

    records: FeatureRecords
    indices: list[int]
    probabilities: np.ndarray
    label: np.ndarray
    failures: list[SkippedSample] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The videos' ids."""
        return [self.records.samples[index].key for index in self.indices]


class FileScorer:
    """Scores the videos of record files. The model is built, and workers are started, when the first file is asked for.

    A batch never crosses from one file to the next, so that a file's scores are the same, to the last bit, whichever
    files are scored with it.

    Parameters
    ----------
    scoring : Scoring
    files : sequence of str
    upcoming : sequence of int, optional
        Numbers of the files that will be asked for, in that order, so that they can be read ahead; all by default.
    need_labels : bool
        Whether a record without labels is an error.

    Attributes
    ----------
    origin : dict
        What the features of the files came through, where it is known.

    Raises
    ------
    UsageError
        When they came through several backbones or PCAs, or the engine is not installed.
    """

    def __init__(self, scoring: Scoring, files: Sequence[str], *, upcoming: Sequence[int] | None = None,
                 need_labels: bool = False):
        scoring.check_engine()  # before folders are made and workers are forked
        self.scoring, self.files, self.need_labels = scoring, list(files), need_labels
        self.upcoming = list(range(len(files)) if upcoming is None else upcoming)
        self.origin = origin_of(self.files)
        self._stored: StoredModel | None = None
        self._score = None
        self._window: _Window | None = None

    @property
    def stored(self) -> StoredModel:
        """The model as it is stored; `UsageError` where it was trained on features that came through something else."""
        if self._stored is None:
            stored = self.scoring.open()
            common_origin([(f'{self.scoring.flag} {stored.prefix}', stored.origin),
                           ('the records to be scored', self.origin)])
            self._stored = stored
        return self._stored

    @property
    def records(self) -> FeatureRecords | None:
        """The set that the file is of that was scored last, with those that were opened together with it."""
        return self._window and self._window.records

    def score(self, number: int, begin: int = 0) -> Iterator[ScoredBatch]:
        """Score the videos of a file, in their order, from batch `begin` of it on; those before are not read.

        Raises
        ------
        RecordError
            When one cannot be read, and ``on_error`` is ``'raise'``.
        WeightsError
            When the model gives numbers that are not finite.
        """
        if self._window is None or number not in self._window.numbers:
            self.close()
            self._window = self._opened(number)
        if self._score is None:  # after the first workers were forked, while this process is small
            self._score = _scorer(self.stored, self.scoring)
        window, waiting = self._window, None
        for batch in window.batches_of(number, begin):
            # The device computes while the next batch is waited for.
            pending = batch, self._score(batch.data) if len(batch.indices) else None
            if waiting:
                yield self._scored(window.records, *waiting)
            waiting = pending
        if waiting:
            yield self._scored(window.records, *waiting)

    def expect(self, numbers: Sequence[int]) -> None:
        """Say which files will be asked for, in that order."""
        self.upcoming = list(numbers)

    def torn(self, number: int) -> str | None:
        """Return how a file is torn that was scored last, of which the videos before the tear were read."""
        return next((str(error) for error in self._window.records.torn if error.path == self.files[number]), None)

    def close(self) -> None:
        """End the workers."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def __enter__(self) -> FileScorer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _opened(self, number: int) -> _Window:
        """Open a file, and with it those that are read ahead; the error of one of these waits for its turn."""
        numbers = self.upcoming[self.upcoming.index(number):][:_TOGETHER] if number in self.upcoming else [number]
        while True:
            try:
                return _Window(self.scoring, self.stored, self.files, numbers, self.need_labels)
            except RecordError:
                if len(numbers) == 1:
                    raise
                numbers = numbers[:len(numbers) // 2]

    def _scored(self, records: FeatureRecords, batch, pending) -> ScoredBatch:
        classes = records.num_classes
        if pending is None:
            return ScoredBatch(records, [], np.empty((0, classes), np.float32), np.empty((0, classes), np.float32),
                               batch.failures)
        probabilities = pending()
        bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
        if len(bad):
            sample = records.samples[batch.indices[bad[0]]]
            raise WeightsError(f'{self.scoring.flag} {self.stored.prefix}: gives numbers that are not finite, first '
                               f'for {sample.key} ({sample.where}); its training went wrong, take an earlier '
                               'checkpoint')
        return ScoredBatch(records, batch.indices, probabilities, batch.label, batch.failures)


class _Window:
    """Files that are opened together, and their batches, which are read ahead as long as they are asked for in turn."""

    def __init__(self, scoring: Scoring, stored: StoredModel, files: Sequence[str], numbers: Sequence[int],
                 need_labels: bool):
        architecture = stored.architecture
        self.numbers = list(numbers)
        self.records = FeatureRecords(
            [files[number] for number in numbers], features=architecture.features, num_classes=architecture.num_classes,
            max_frames=architecture.max_frames, frame_level=architecture.frame_features, need_labels=need_labels,
            on_error=scoring.on_error)
        self.loader = _FileLoader(self.records, _batch_size(scoring.batch_size, architecture),
                                  num_workers=scoring.num_readers, on_error=scoring.on_error, max_skip_share=1)
        self._stream: Iterator | None = None
        self._next = 0

    def batches_of(self, number: int, skip: int = 0) -> Iterator:
        """Yield the batches of a file but its first `skip`."""
        place = self.numbers.index(number)
        begin, end = self.loader.first_batches[place:place + 2]
        begin += skip
        if begin >= end:
            return
        if self._stream is None or self._next != begin:
            self._stream = self.loader.epoch(0, begin)
        self._next = end
        yield from itertools.islice(self._stream, end - begin)

    def close(self) -> None:
        self._stream = None
        self.loader.close()


class _FileLoader(VideoLoader):
    """Batches that do not cross from one file to the next.

    Attributes
    ----------
    first_batches : list of int
        Number of the first batch of each file; and how many there are.
    """

    def __init__(self, records: FeatureRecords, batch_size: int, **options):
        self._batches, self.first_batches = [], [0]
        for begin, end in itertools.pairwise(records.starts.tolist()):
            indices = list(range(begin, end))
            self._batches += [indices[i:i + batch_size] for i in range(0, len(indices), batch_size)]
            self.first_batches.append(len(self._batches))
        super().__init__(records, batch_size, **options)

    def __len__(self) -> int:
        return len(self._batches)

    def batch_indices(self, epoch: int) -> list[list[int]]:
        """Samples of every batch, in order."""
        return self._batches


def _batch_size(asked: int, architecture) -> int:
    row = 4 * architecture.length * architecture.width
    most = max(1, BATCH_BYTES // row)
    if asked > most:
        _log.info('--batch_size %d: %d videos at a time, of which the features have %d MB', asked, most,
                  most * row // 10 ** 6)
    return min(asked, most)


def gpus_of(scoring: Scoring) -> int:
    """Return how many GPUs a process that scores takes on this machine: 0 or 1."""
    return computing(scoring.engine, int(scoring.gpu))[0].num_gpus


def _scorer(stored: StoredModel, scoring: Scoring) -> Scorer:
    """Return what scores features (N, T, D) by a model on its device."""
    computes, contexts = computing(scoring.engine, int(scoring.gpu))
    net = stored.build(contexts)
    net.hybridize(static_alloc=scoring.rounds == 1)  # else the graph of each round would keep memory of its own
    return computes.scorer(net, contexts=contexts, rounds=scoring.rounds)
