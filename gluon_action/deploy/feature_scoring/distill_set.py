"""Sets to train a student on: records of frames once more with a teacher's predictions, or these alone beside them."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tfrecords.examples import byte_rows, parse_sequence_example
from ...data.tfrecords.features.feature_messages import make_distill_record
from ...data.tfrecords.features.teacher import make_prediction_record
from ...data.tfrecords.framing import RecordWriter
from ...data.tfrecords.record_sets import find_records
from ...errors import UsageError
from ...unfinished import Shard
from ..sharding.joining import Gather, Number
from ..sharding.shards import Job, Progress, run_job
from .scoring import FileScorer, ScoredBatch, Scoring, gpus_of

#: Names of the files of a set.
PATTERN = 'predictions-%05d.tfrecord'


@dataclass(frozen=True)
class DistillSet:
    """What `make_distill_set` does; a value that other processes can be given.

    Attributes
    ----------
    scoring : Scoring
        The teacher.
    input_data_pattern : str
        Record files of frames.
    output_dir : str
        Folder of the set; it must not exist.
    file_size : int
        Records of a file at most.
    predictions_only : bool
        Write the predictions alone, see :mod:`gluon_action.data.tfrecords.features.teacher`: a file for each of the
        inputs', of the same name.
    shard : Shard or None
        See :func:`gluon_action.deploy.sharding.shards.run_job`.
    """

    scoring: Scoring
    input_data_pattern: str
    output_dir: str
    file_size: int = 512
    predictions_only: bool = False
    shard: Shard | None = None


def make_distill_set(config: DistillSet, *, ray: str = '', progress: bool = False) -> Progress:
    """Write the records of frames with a teacher's predictions, as the 2018 winners' ``train_distill`` reads them.

    Bytes of features are kept as they are, of the frames that the teacher was given (300 by default), labels are sorted
    and ``id`` becomes ``video_id``. The whole of YouTube-8M takes 1.4 TB; the predictions alone, beside the records
    that are there, 39 GB.

    Parameters
    ----------
    config : DistillSet
    ray : str
        Address of a Ray cluster, or ``local``.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    Progress
        Its notes say ``videos``, ``skipped`` and ``torn`` of each file.

    Raises
    ------
    UsageError
        When an argument is invalid, or no file fits the pattern.
    WeightsError
        When there is no teacher, or it gives numbers that are not finite.
    RecordError
        When a record cannot be read.
    OutputError
        When the folder is there, or cannot be written.
    """
    if config.file_size < 1:
        raise UsageError(f'--file_size: must be 1 or more, got {config.file_size}')
    return run_job(open_distill_set, config, shard=config.shard, ray=ray, gpus=gpus_of(config.scoring) if ray else 0,
                   progress=progress)


def open_distill_set(config: DistillSet) -> Job:
    """Return the work of a `DistillSet` for `run_job`."""
    files = find_records(config.input_data_pattern)
    scorer = FileScorer(config.scoring, files, upcoming=())
    if config.predictions_only:
        _check_names(files)
    elif not scorer.stored.architecture.frame_features:
        raise UsageError(f'{config.scoring.flag} {scorer.stored.prefix}: takes features of whole videos, and records '
                         'with predictions in them are of frames; pass --predictions_only, or name a model of frames')

    def make(number: int, folder: Path) -> dict[str, Any]:
        pattern = os.path.basename(files[number]).replace('%', '%%') if config.predictions_only else PATTERN
        size = None if config.predictions_only else config.file_size
        skipped: list = []
        with _Files(folder, pattern, size) as written:
            for batch in scorer.score(number):
                for record in _predictions(batch) if config.predictions_only else _records(batch):
                    written.write(record)
                skipped += batch.failures
        return {'videos': written.num_records, 'skipped': len(skipped), 'torn': scorer.torn(number)}

    return Job(Path(config.output_dir).expanduser(), files,
               {'model': scorer.stored.identity, 'sampling': dict(config.scoring.sampling),
                'file_size': None if config.predictions_only else config.file_size,
                'batch_size': config.scoring.batch_size, 'engine': config.scoring.engine, **scorer.origin},
               Gather() if config.predictions_only else Number(PATTERN), make,
               strict=config.scoring.on_error == 'raise', expect=scorer.expect)


class _Files:
    """Record files of at most `size` records, numbered from 0; without a size one file, which may be empty."""

    def __init__(self, folder: Path, pattern: str, size: int | None):
        self._folder, self._pattern, self._size = folder, pattern, size
        self._writer = RecordWriter(folder / (pattern % ())) if size is None else None
        self.num_records = 0

    def write(self, record: bytes) -> None:
        if self._size is not None and self.num_records % self._size == 0:
            self._close()
            self._writer = RecordWriter(self._folder / (self._pattern % (self.num_records // self._size)))
        self._writer.write(record)
        self.num_records += 1

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._close()
        elif self._writer is not None:
            self._writer.discard()


def _check_names(files: Sequence[str]) -> None:
    names = [os.path.basename(file) for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f'--predictions_only: predictions are found by the name of the file of their records, and '
                         f'several are called {twice}; make a set for each folder')


def _predictions(batch: ScoredBatch) -> Iterator[bytes]:
    return map(make_prediction_record, batch.ids, batch.probabilities)


def _records(batch: ScoredBatch) -> Iterator[bytes]:
    """Yield the records of a batch with its predictions: read again, so that every feature that is there is kept."""
    most = batch.records.row_shape[0]
    for index, video, predictions, label in zip(batch.indices, batch.ids, batch.probabilities, batch.label):
        file, place = batch.records.place_of(index)
        _, lists = parse_sequence_example(file.read(place))
        labels = None if np.isnan(label).any() else np.flatnonzero(label)
        yield make_distill_record(video, {name: byte_rows(content)[:most] for name, content in lists.items()}, labels,
                                  predictions)
