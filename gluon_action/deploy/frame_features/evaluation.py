"""What a stored model scores on records with labels: quantized ones, ensembles and averages included."""
from __future__ import annotations

from collections.abc import Callable

from ...data.tfrecords.record_sets import find_records
from ...errors import UsageError
from ...evaluate.scores.video_tags import VideoTagScoring
from .scoring import FileScorer, Scoring


def evaluate_stored(scoring: Scoring, eval_data_pattern: str, *, top_k: int = 20,
                    progress: Callable[[int], None] | None = None) -> dict[str, float]:
    """Return what a stored model scores, as the summary of `VideoTagScores` names it.

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
        for number in range(len(files)):
            for batch in scorer.score(number):
                scores.add(batch.probabilities, batch.label)
                scores.expected += len(batch.indices) + len(batch.failures)
                if progress:
                    progress(len(batch.indices))
    numbers = scores.summary()
    del numbers['loss']
    return numbers
