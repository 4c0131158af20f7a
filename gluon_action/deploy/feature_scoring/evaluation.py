"""What a stored model scores on records with labels: quantized ones, ensembles and averages included."""
from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...data.tfrecords.record_sets import counted, find_records, open_records
from ...errors import UsageError
from ...evaluate.scores.video_tags import VideoTagScores, VideoTagScoring
from ...files import to_json
from ...unfinished import Unfinished, kept
from .kept_batches import KeptBatches
from .scoring import FileScorer, ScoredBatch, Scoring

log = logging.getLogger(__name__)


def evaluate_stored(scoring: Scoring, eval_data_pattern: str, *, top_k: int = 20,
                    progress: Callable[[int], None] | None = None, keep: bool = False) -> dict[str, float]:
    """Return what a stored model scores, as the summary of `VideoTagScores` names it, and how many files are ``torn``.

    Parameters
    ----------
    scoring : Scoring
    eval_data_pattern : str
        Record files with labels.
    top_k : int
        Tags of a video that count.
    progress : callable, optional
        Is given the number of videos of each batch that was scored.
    keep : bool
        Keep what is scored beside the model, in ``PREFIX.DIGEST.unfinished``, until all is: a later call of the same
        model, records and options resumes from there.

    Raises
    ------
    UsageError
        When no file fits the pattern, or an argument is invalid.
    WeightsError
        When there is no model, or it gives numbers that are not finite.
    RecordError
        When a record cannot be read, or has no labels.
    """
    if top_k < 1:
        raise UsageError(f'--top_k: must be 1 or more, got {top_k}')
    files = find_records(eval_data_pattern)
    with FileScorer(scoring, files, need_labels=True) as scorer:
        scores = VideoTagScoring(scorer.stored.architecture.num_classes, top_k)()
        batches = LabelledBatches(scorer, scores, _beside_the_model if keep else None)
        progress = progress or (lambda videos: None)
        if batches.videos_before:
            progress(batches.videos_before)
        with batches.kept():
            for batch, _ in batches:
                progress(len(batch.indices))
    batches.remove()
    if batches.torn:
        log.warning('%s', batches.told)
    numbers = scores.summary()
    del numbers['loss']
    return numbers | {'torn': len(batches.torn)}


class LabelledBatches:
    """The batches of all files of a scorer, in turn, added to scores; and what the files were.

    What an interrupted evaluation of the same files, model and options has kept is added first, and not scored again.

    Parameters
    ----------
    scorer : FileScorer
        Of records with labels.
    scores : VideoTagScores
        All batches are added to it.
    place : callable, optional
        ``place(scorer, job) -> Path``: where to keep what is scored. By default nothing is kept.
    loss : callable, optional
        ``loss(probabilities, label) -> float``, the sum of the videos' losses.

    Attributes
    ----------
    torn : list of str
        What is wrong with files that end within a record, as ``on_error='skip'`` takes them: how many videos are lost
        there, nobody knows.
    videos_before : int
        Videos that were scored before the interruption.
    """

    def __init__(self, scorer: FileScorer, scores: VideoTagScores,
                 place: Callable[[FileScorer, dict[str, Any]], Path] | None = None,
                 loss: Callable[[np.ndarray, np.ndarray], float] | None = None):
        self._scorer, self._scores, self._loss = scorer, scores, loss
        self._digest = hashlib.sha256()
        self.torn: list[str] = []
        self._unfinished = self._kept = None
        if place is not None:
            job = self._job()
            self._unfinished = Unfinished(place(scorer, job), job)
            self._kept = KeptBatches(self._unfinished, scorer.files, scores.scoring)
        self._before = [self._kept.of(number) if self._kept else [] for number in range(len(scorer.files))]
        self.videos_before = sum(int(state['counts'][0]) for states in self._before for state in states)
        if self.videos_before:
            log.info('%d videos were scored before the interruption.', self.videos_before)

    def __iter__(self) -> Iterator[tuple[ScoredBatch, VideoTagScores]]:
        """Yield each batch that is scored now, and what was found in it."""
        if self._scorer.scoring.on_error == 'raise':
            open_records(self._scorer.files)  # what is torn is named before hours are spent
        noted = None
        for number, before in enumerate(self._before):
            for state in before:
                self._scores.add_state(state)
            for place, batch in enumerate(self._scorer.score(number, len(before)), len(before)):
                yield batch, self._add(number, place, batch)
            if self._scorer.records is not noted:
                noted = self._scorer.records
                self._digest.update(noted.list_sha256.encode())
                self.torn += map(str, noted.torn)

    def kept(self) -> AbstractContextManager:
        """Return the block in which all batches are asked for: whoever interrupts it is told what resumes it."""
        return kept(self._unfinished, 'records') if self._unfinished else nullcontext()

    def remove(self) -> None:
        """The evaluation is done: nothing that was kept is needed any more."""
        if self._unfinished:
            self._unfinished.remove()

    @property
    def sha256(self) -> str:
        """Identifies the records, once all batches have come."""
        return self._digest.hexdigest()

    @property
    def told(self) -> str:
        """Which files are torn, as a part of a sentence."""
        return f'{counted(self.torn, "torn file")}, what follows there is not counted: {"; ".join(self.torn)}'

    def _add(self, number: int, place: int, batch: ScoredBatch) -> VideoTagScores:
        """Add a batch to the scores, and keep what was found in it."""
        alone = self._scores.scoring(1)
        alone.add(batch.probabilities, batch.label,
                  self._loss(batch.probabilities, batch.label) if self._loss and len(batch.indices) else 0.0)
        state = alone.state()
        state['counts'][1] = len(batch.indices) + len(batch.failures)
        self._scores.add_state(state)
        if self._kept:
            self._kept.add(number, place, state)
        return alone

    def _job(self) -> dict[str, Any]:
        """All that scores depend on, to the last bit."""
        scoring = self._scorer.scoring
        return {'model': self._scorer.stored.identity, 'files': list(map(os.path.abspath, self._scorer.files)),
                'top_k': self._scores.scoring.top, 'batch_size': scoring.batch_size, 'rounds': scoring.rounds,
                'on_error': scoring.on_error, 'gpu': scoring.gpu, 'engine': scoring.engine,
                'losses': self._loss is not None, 'version': __version__}


def _beside_the_model(scorer: FileScorer, job: dict[str, Any]) -> Path:
    # Several evaluations of a model, on other records, may run at a time.
    prefix = scorer.stored.prefix
    return prefix.with_name(f'{prefix.name}.{hashlib.sha256(to_json(job).encode()).hexdigest()[:8]}.unfinished')
