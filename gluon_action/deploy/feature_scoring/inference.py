"""The tags of videos as a CSV file for YouTube-8M's competitions: the most probable classes of each video."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tfrecords.record_sets import find_records
from ...errors import UsageError
from ...evaluate.scores.video_tags import top_tags
from ...unfinished import Shard
from ..sharding.joining import Concatenate
from ..sharding.shards import Job, Progress, run_job
from .scoring import FileScorer, Scoring, gpus_of

HEADER = 'VideoId,LabelConfidencePairs\n'


@dataclass(frozen=True)
class Inference:
    """What `infer` does; a value that other processes can be given.

    Attributes
    ----------
    scoring : Scoring
    input_data_pattern : str
        Record files, of videos or of frames as the model takes them; labels are not looked at.
    output_file : str
    top_k : int
        Classes of a video.
    shard : Shard or None
        See :func:`gluon_action.deploy.sharding.shards.run_job`.
    """

    scoring: Scoring
    input_data_pattern: str
    output_file: str
    top_k: int = 20
    shard: Shard | None = None


def infer(config: Inference, *, ray: str = '', overwrite: bool = False, progress: bool = False) -> Progress:
    """Write the most probable classes of each video, best first, as ``id,class probability class probability ...``.

    Files are worked on one by one; what is done is kept when this is stopped, and a later call resumes. The CSV gets
    its name when it is whole.

    Parameters
    ----------
    config : Inference
    ray : str
        Address of a Ray cluster, or ``local``.
    overwrite : bool
        Replace a file that is there.
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
        When there is no model, or it gives numbers that are not finite.
    RecordError
        When a record cannot be read.
    OutputError
        When the file is there, or cannot be written.
    """
    if config.top_k < 1:
        raise UsageError(f'--top_k: must be 1 or more, got {config.top_k}')
    return run_job(open_inference, config, shard=config.shard, ray=ray, gpus=gpus_of(config.scoring) if ray else 0,
                   overwrite=overwrite, progress=progress)


def open_inference(config: Inference) -> Job:
    """Return the work of an `Inference` for `run_job`."""
    files = find_records(config.input_data_pattern)
    scorer = FileScorer(config.scoring, files, upcoming=())

    def make(number: int, folder: Path) -> dict[str, Any]:
        videos = skipped = 0
        with open(folder / 'tags.csv', 'w', encoding='utf-8', newline='\n') as file:
            for batch in scorer.score(number):
                file.writelines(csv_lines(batch.ids, batch.probabilities, config.top_k))
                videos, skipped = videos + len(batch.indices), skipped + len(batch.failures)
        return {'videos': videos, 'skipped': skipped, 'torn': scorer.torn(number)}

    return Job(Path(config.output_file).expanduser(), files,
               {'model': scorer.stored.identity, 'sampling': dict(config.scoring.sampling),
                'top_k': config.top_k, 'batch_size': config.scoring.batch_size, 'engine': config.scoring.engine},
               Concatenate(HEADER), make, strict=config.scoring.on_error == 'raise', expect=scorer.expect)


def csv_lines(ids: Sequence[str], probabilities: np.ndarray, top_k: int = 20) -> Iterable[str]:
    """Yield a line of CSV for each video.

    Parameters
    ----------
    ids : sequence of str
    probabilities : float ndarray (N, K)
        Finite.
    top_k : int
        Classes of a video; all K where there are fewer.
    """
    classes, values = top_tags(probabilities, top_k)
    line = '%s,' + ' '.join(['%i %g'] * classes.shape[1]) + '\n'
    for video, row, scores in zip(ids, classes.tolist(), values.tolist()):
        if any(mark in video for mark in ',"\r\n'):  # a path may have them, YouTube-8M's ids do not
            video = f'"{video.replace(chr(34), 2 * chr(34))}"'
        yield line % (video, *(item for pair in zip(row, scores) for item in pair))
