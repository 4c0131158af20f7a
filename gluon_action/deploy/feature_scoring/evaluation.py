"""What a stored model scores on records with labels: quantized ones, ensembles and averages included."""
from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator

from ...data.tfrecords.record_sets import counted, find_records, open_records
from ...errors import UsageError
from ...evaluate.scores.video_tags import VideoTagScores, VideoTagScoring
from .scoring import FileScorer, ScoredBatch, Scoring

log = logging.getLogger(__name__)


def evaluate_stored(scoring: Scoring, eval_data_pattern: str, *, top_k: int = 20,
                    progress: Callable[[int], None] | None = None) -> dict[str, float]:
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
        batches = LabelledBatches(scorer, scores)
        for batch in batches:
            scores.add(batch.probabilities, batch.label)
            if progress:
                progress(len(batch.indices))
    if batches.torn:
        log.warning('%s', batches.told)
    numbers = scores.summary()
    del numbers['loss']
    return numbers | {'torn': len(batches.torn)}


class LabelledBatches:
    """The batches of all files of a scorer, in turn, for who adds them to scores; and what the files were.

    Parameters
    ----------
    scorer : FileScorer
        Of records with labels.
    scores : VideoTagScores
        Its ``expected`` counts the videos of each batch, those that could not be read included, before the batch comes.

    Attributes
    ----------
    torn : list of str
        What is wrong with files that end within a record, as ``on_error='skip'`` takes them: how many videos are lost
        there, nobody knows.
    """

    def __init__(self, scorer: FileScorer, scores: VideoTagScores):
        self._scorer, self._scores = scorer, scores
        self._digest = hashlib.sha256()
        self.torn: list[str] = []

    def __iter__(self) -> Iterator[ScoredBatch]:
        noted = None
        if self._scorer.scoring.on_error == 'raise':
            open_records(self._scorer.files)  # nothing of an evaluation is kept: what is torn is named before it begins
        for number in range(len(self._scorer.files)):
            for batch in self._scorer.score(number):
                self._scores.expected += len(batch.indices) + len(batch.failures)
                yield batch
            if self._scorer.records is not noted:
                noted = self._scorer.records
                self._digest.update(noted.list_sha256.encode())
                self.torn += map(str, noted.torn)

    @property
    def sha256(self) -> str:
        """Identifies the records, once all batches have come."""
        return self._digest.hexdigest()

    @property
    def told(self) -> str:
        """Which files are torn, as a part of a sentence."""
        return f'{counted(self.torn, "torn file")}, what follows there is not counted: {"; ".join(self.torn)}'
