"""Fuse the scores that several networks gave the same videos: weighted, or with weights fitted on a validation set."""
from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...files import file_sha256
from ..reports import open_report, write_report
from .files import ScoreFile, Videos, match_videos, read_streams
from .fusion_weights import cross_validate, fit_weights, fuse, softmax
from .metrics import ClassificationMeter, cross_entropy, multi_label_scores

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FusionConfig:
    """What to fuse and how.

    Attributes
    ----------
    reports : sequence of str
        Two or more report folders of ``test_recognizer.py``, or the ``scores.npz`` in them.
    weights : sequence of float, optional
        One a report; 1 each by default.
    fit : sequence of str, optional
        Reports on a validation set, one for each of `reports` and in their order, that the weights are fitted on. An
        empty sequence fits on `reports` themselves by cross-validation. None does not fit.
    scores : {'logits', 'probabilities'}, optional
        What is added up; by default what the reports hold.
    save_dir : str, optional
        Folder of the report; by default ``results/fused-`` and the names of the reports.
    overwrite : bool
        Replace the report that `save_dir` holds.
    """

    reports: Sequence[str]
    weights: Sequence[float] | None = None
    fit: Sequence[str] | None = None
    scores: str | None = None
    save_dir: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class FusionResult:
    """The result of a fusion; all of it is in the files as well."""

    results: dict
    scores: np.ndarray
    weights: np.ndarray
    files: dict[str, Path]

    def table(self) -> str:
        """Return the numbers of each stream alone and of all together, for reading."""
        rows = [*self.results['streams'], {'name': 'fused', 'weight': None, **self.results}]
        measures = [key for key in _MEASURES if key in self.results]
        width = max(12, *(len(row['name']) for row in rows))
        lines = [f'{"":<{width}}  weight' + ''.join(f'{_MEASURES[key]:>12}' for key in measures) + '      scored']
        for row in rows:
            weight = '' if row['weight'] is None else f'{row["weight"]:.3g}'
            cells = (f' {row[key]:11.4f}' if key == 'loss' else f'{row[key]:12.2%}' for key in measures)
            lines.append(f'{row["name"]:<{width}}{weight:>8}{"".join(cells)}'
                         f'{row["n_scored"]:>7}/{row["n_expected"]}')
        return '\n'.join(lines)


_MEASURES = {'top1': 'top-1', 'top5': 'top-5', 'mean_class': 'mean class', 'loss': 'loss',
             'mean_average_precision': 'mAP', 'hit1': 'hit@1', 'hit5': 'hit@5'}


def fuse_scores(config: FusionConfig) -> FusionResult:
    """Add up the scores of several reports and write the report of the sum.

    Videos are matched by their keys. One that a report lacks or could not score counts as wrong and is listed.

    Raises
    ------
    UsageError
        When a file is no score file, when the reports are of other classes, labels or videos than each other, or when
        the weights are invalid.
    OutputError
        When the report cannot be written.
    """
    start = time.time()
    streams = read_streams(config.reports)
    if len(streams) < 2:
        raise UsageError(f'fusion needs two reports or more, got {len(streams)}')
    _check_different(streams)
    videos = match_videos(streams)
    kind = _kind(streams, config.scores)
    table = as_kind(videos.scores, streams, kind)
    weights, origin, per_video = _weights(config, streams, videos, table, kind)
    directory = open_report(config.save_dir or 'results/fused-' + '+'.join(_file_name(s.name) for s in streams),
                            config.overwrite)
    complete = videos.complete
    fused = np.full(table.shape[1:], np.nan, np.float32)
    fused[complete] = fuse(table[:, complete], per_video[:, complete], kind)
    results = _results(config, streams, videos, table, fused, weights, origin, kind)
    results['seconds'] = round(time.time() - start, 1)
    files = write_report(directory, results, keys=videos.keys, labels=videos.labels, scores=fused, scored=complete,
                         failures=videos.failures, classes=videos.classes,
                         meter=None if videos.multi_label else _meter(fused, videos.labels, complete, kind))
    if videos.failures:
        _log.warning('%d of %d videos are not scored by every report and count as wrong; failures.jsonl names them',
                     len(videos.failures), len(videos.keys))
    return FusionResult(results, fused, weights, files)


def as_kind(scores: np.ndarray, streams: Sequence[ScoreFile], kind: str) -> np.ndarray:
    """Scores (S, N, K) of which all are of one `kind`: probabilities are made of logits by a softmax."""
    if kind == 'logits':
        return scores
    return np.stack([table if stream.kind == kind else softmax(table) for table, stream in zip(scores, streams)])


def _check_different(streams: Sequence[ScoreFile]) -> None:
    seen: dict[str, ScoreFile] = {}
    for stream in streams:
        other = seen.setdefault(file_sha256(stream.path), stream)
        if other is not stream:
            raise UsageError(f'{stream.path} holds the same scores as {other.path}; fuse reports of different '
                             'networks, or say with --weights how much one counts')


def _kind(streams: Sequence[ScoreFile], wanted: str | None) -> str:
    recorded = {stream.kind: stream for stream in streams}
    if wanted is None and len(recorded) == 2:
        raise UsageError(f'{recorded["logits"].path} holds logits and {recorded["probabilities"].path} probabilities; '
                         'pass --scores probabilities to make probabilities of all, or test again with one --average')
    if wanted == 'logits' and 'probabilities' in recorded:
        raise UsageError(f'--scores logits: {recorded["probabilities"].path} holds probabilities, of which no logits '
                         'can be made; test again with --average scores')
    if wanted == 'probabilities' and 'logits' in recorded and recorded['logits'].labels.ndim == 2:
        raise UsageError(f'--scores probabilities: {recorded["logits"].path} is of videos with several labels, whose '
                         'logits are fused as they are')
    return wanted or next(iter(recorded))


def _weights(config: FusionConfig, streams: Sequence[ScoreFile], videos: Videos, table: np.ndarray,
             kind: str) -> tuple[np.ndarray, dict, np.ndarray]:
    """Return weights (S,), where they come from, and the weights that each video is fused with (S, N)."""
    complete = videos.complete
    if config.weights is not None and config.fit is not None:
        raise UsageError('--weights and --fit both say what the weights are; leave out one')
    if config.fit is None:
        weights = check_weights(config.weights or [1.] * len(streams), len(streams))
        origin = {'weights_from': 'equal' if config.weights is None else 'given'}
    elif not config.fit:
        weights, per_video, folds = cross_validate(table, videos.labels, videos.keys, complete, kind)
        return weights, {'weights_from': 'cross-validation on the same videos', 'fold_weights': folds.tolist(),
                         'warning': 'the weights were fitted on other videos of this very set (cross-validation), not '
                                    'on a validation set; say so where the number is quoted'}, per_video
    else:
        weights, origin = _fitted(config.fit, streams, kind)
    return weights, origin, np.repeat(weights[:, None], len(videos.keys), axis=1)


def _fitted(paths: Sequence[str], streams: Sequence[ScoreFile], kind: str) -> tuple[np.ndarray, dict]:
    if len(paths) != len(streams):
        raise UsageError(f'--fit takes one validation report for each of the {len(streams)} reports, in their order, '
                         f'got {len(paths)}; --fit alone cross-validates on the reports themselves')
    others = read_streams(paths)
    for stream, other in zip(streams, others):
        if other.classes != stream.classes:
            raise UsageError(f'--fit {other.path}: is of other classes than {stream.path}')
    _kind(others, kind)
    videos = match_videos(others)
    complete = videos.complete
    weights = fit_weights(as_kind(videos.scores, others, kind)[:, complete], videos.labels[complete], kind)
    origin = {'weights_from': 'fitted', 'fitted_on': [_described(other) for other in others],
              'n_fitted_on': int(complete.sum())}
    if {file_sha256(other.path) for other in others} & {file_sha256(stream.path) for stream in streams}:
        origin['warning'] = ('the weights were fitted on the very scores that are tested, so the numbers are better '
                             'than on other videos; fit on another set, or pass --fit alone to cross-validate')
    return weights, origin


def check_weights(weights: Sequence[float], num_streams: int) -> np.ndarray:
    """Return weights (S,) as an array.

    Raises
    ------
    UsageError
        When there is not one for each stream, one is negative or not finite, or all are 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (num_streams,):
        raise UsageError(f'--weights takes one number for each of the {num_streams} reports, got {len(weights)}')
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise UsageError(f'--weights must be finite, 0 or more and not all 0, got {weights.tolist()}')
    return weights


def _results(config: FusionConfig, streams: Sequence[ScoreFile], videos: Videos, table: np.ndarray, fused: np.ndarray,
             weights: np.ndarray, origin: dict, kind: str) -> dict:
    """Return the content of results.json: numbers first, then what they are numbers of."""
    alone = [{'name': stream.name, 'weight': float(weight), **_described(stream),
              **_measured(scores, videos, scored, kind)}
             for stream, weight, scores, scored in zip(streams, weights, table, videos.scored)]
    protocol = {
        'fused': [stream.protocol for stream in streams], 'scores': kind,
        'rule': 'weighted sum' if kind == 'logits' else 'weighted mean', 'weights': weights.tolist(), **origin}
    return {**_measured(fused, videos, videos.complete, kind), 'n_failed': len(videos.failures),
            'failures': videos.failures, 'streams': alone, 'protocol': protocol, 'config': asdict(config)}


def _measured(scores: np.ndarray, videos: Videos, scored: np.ndarray, kind: str) -> dict:
    counts = {'n_expected': len(videos.keys), 'n_scored': int(scored.sum())}
    if videos.multi_label:
        multi = multi_label_scores(np.where(scored[:, None], scores, np.nan), videos.labels)
        return {'mean_average_precision': multi.mean_average_precision, 'hit1': multi.hit_at[1],
                'hit5': multi.hit_at[5], **counts}
    meter = _meter(scores, videos.labels, scored, kind)
    return {'top1': meter.top(1), 'top5': meter.top(5), 'mean_class': meter.mean_class(), 'loss': meter.loss, **counts}


def _meter(scores: np.ndarray, labels: np.ndarray, scored: np.ndarray, kind: str) -> ClassificationMeter:
    meter = ClassificationMeter(scores.shape[1])
    losses = cross_entropy(scores[scored], labels[scored], probabilities=kind == 'probabilities')
    meter.update(scores[scored], labels[scored], float(losses.sum()))
    meter.add_failures(labels[~scored])
    return meter


def _described(stream: ScoreFile) -> dict:
    return {'path': str(stream.path), 'sha256': file_sha256(stream.path), 'recorded': stream.kind}


def _file_name(name: str) -> str:
    return name.strip('./').replace('/', '-').removesuffix('.npz') or 'scores'
