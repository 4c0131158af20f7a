"""What a training on features says: lines and TensorBoard's tags of YouTube-8M's own program, torn files, a warning."""
from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ....data.loading.loader import SkippedSample
from ....errors import RecordError
from ....evaluate.scores.video_tags import VideoTagScoring
from ....feature_architecture import Architecture
from ...hook import Hook
from ...run.history.history_plot import plot_run_by_steps
from ...run.history.log import RunLog
from ...run.history.log_style import LogStyle

#: Steps between lines with scores.
SCORED = 10
#: Share of the initial statistics of batch normalisation above which an evaluation is off.
_UNSETTLED = 0.05


class TagStyle(LogStyle):
    """Lines and numbers of every step as google/youtube-8m's ``train.py`` writes them.

    ``training step N | Loss: .. Examples/sec: ..``, and every tenth with the scores of its batch, ``| Hit@1: .. PERR:
    .. GAP: ..``. Tags are ``model/Training_Hit@1``, ``model/Training_Perr``, ``model/Training_GAP``,
    ``global_step/Examples/Second``, ``learning_rate``, ``label_loss`` and ``reg_loss``, every tenth step.

    Parameters
    ----------
    scoring : VideoTagScoring
    batches : int
        Of an epoch of the data.
    shift : int
        How many batches further the data are than the run.
    """

    kind, first_step = 'stretch', 1

    def __init__(self, scoring: VideoTagScoring, batches: int, shift: int = 0):
        self.scoring, self.batches, self.shift = scoring, batches, shift
        self._tags: dict[str, float] = {}
        self._scores: list[dict[str, float]] = []
        self._penalty = 0.

    def start(self, loop):
        """Remember where the first step is."""
        self._begun, self._step = {}, loop.progress.step

    def before_step(self, loop):
        """Note when the step begins, and the L2 terms of its loss where it is told of in full."""
        self._begun[loop.progress.step + 1] = time.perf_counter()
        if (loop.progress.step + 1) % SCORED == 0:
            self._penalty = loop.learner.penalty()

    def step_said(self, loop, result):
        """Return the line of a step; every tenth also its record, with the scores of its batch."""
        # To the beginning of the next one, which waits for the loss of the one before this; or to now, at the end.
        ended = self._begun.get(result.step + 1) or time.perf_counter()
        speed = result.count / max(ended - self._begun.pop(result.step), 1e-9)
        loss = result.loss_sum / result.count
        line = f'training step {result.step} | Loss: {loss:.2f} Examples/sec: {speed:.2f}'
        self._tags = {}
        if result.step % SCORED:
            return line, {}
        meter = self.scoring(1)
        for shard in result.shards:
            meter.add(shard.logits, shard.label)
        found = meter.summary()
        scores = {name: found[name] for name in ('hit_at_1', 'perr', 'gap')}
        self._scores.append(scores)
        self._tags = {'model/Training_Hit@1': scores['hit_at_1'], 'model/Training_Perr': scores['perr'],
                      'model/Training_GAP': scores['gap'], 'global_step/Examples/Second': speed,
                      'learning_rate': result.lr, 'label_loss': loss, 'reg_loss': self._penalty}
        line += ' | Hit@1: {hit_at_1:.2f} PERR: {perr:.2f} GAP: {gap:.2f}'.format(**scores)
        return line, {'loss': loss, 'reg_loss': self._penalty, 'lr': result.lr, 'speed': speed, **scores}

    def step_scalars(self, loop, result):
        """Return the numbers of the step whose line was just made."""
        return self._tags

    def complete(self, loop, record):
        """Add the mean scores of the batches that were scored."""
        record['steps_per_second'] = (record['step'] - self._step) / record['seconds']
        record['reg_loss'] = loop.learner.penalty()
        for name in self._scores[0] if self._scores else ():
            record[f'train_{name}'] = float(np.mean([scores[name] for scores in self._scores]))
        self._scores, self._step = [], record['step']

    def epoch_lines(self, record):
        """Return the line of an epoch."""
        scores = ', '.join(f'{shown} {record[name]:.3f}' for name, shown in (
            ('train_hit_at_1', 'Hit@1'), ('train_perr', 'PERR'), ('train_gap', 'GAP')) if name in record)
        whole = (record['step'] + self.shift) % self.batches == 0
        place = f'epoch {record["epoch"] + 1} done' if whole else f'within epoch {record["epoch"] + 1}'
        return [f'step {record["step"]}, {place}: loss {record["loss"]:.4f}, L2 terms {record["reg_loss"]:.3g}, '
                f'learning rate {record["lr"]:g}, {record["speed"]:.0f} videos a second'
                + (f'; batches had {scores}' if scores else '')]

    def epoch_scalars(self, record: dict[str, Any]):
        """Return the mean loss of the epoch."""
        return [(record['step'], {'epoch_loss': record['loss']} if math.isfinite(record['loss']) else {})]

    def open_bar(self, result, batches):
        """Return the bar of an epoch."""
        return tqdm(total=batches, initial=result.batch, desc=f'epoch {result.epoch + 1}', unit='step', leave=False)

    def bar_text(self, loop, result):
        """What stands behind the bar."""
        return f'loss {loop.progress.loss:.2f}, lr {result.lr:.3g}'

    def plot(self, loop, path, title, batches):
        """Draw the history by steps."""
        plot_run_by_steps(loop.progress.history, path, title=title)


class DrawHistory(Hook):
    """Draws the history of a log that does not draw: after the checkpoint, which is not to wait for it."""

    def __init__(self, records: RunLog):
        self.records = records

    def on_epoch(self, loop, record):
        """Draw it anew."""
        self.records.draw(loop)


class NoteTorn(Hook):
    """Writes down files that are torn, of which the records before the tear are trained on."""

    def __init__(self, records: RunLog, torn: Sequence[RecordError]):
        self.records, self.torn = records, torn

    def on_start(self, loop, epochs, batches):
        """Record them, once a run."""
        if not loop.progress.step:
            self.records.note_failures('train', 0, 0, [SkippedSample(-1, error.path, str(error))
                                                       for error in self.torn])


def unsettled(architecture: Architecture, arrays: Mapping[str, Any], updates: int,
              config: Mapping[str, Any]) -> str:
    """Say that batch normalisation has hardly left its initial statistics; nothing where it has, or there is none.

    Parameters
    ----------
    architecture : Architecture
    arrays : mapping
        Parameters and running statistics by key.
    updates : int
        Of the run.
    config : mapping
        Options of the run: one that started from a model started with its statistics.
    """
    decay = architecture.batch_norm_decay
    left = decay ** updates
    if left <= _UNSETTLED or config['ema_source'] or not any(key.endswith('running_mean') for key in arrays):
        return ''
    lower = ', or pass --batch_norm_decay 0.9' if decay > 0.9 else ''
    return (f'batch normalisation still has {left:.0%} of its initial statistics after {updates} steps '
            f'(--batch_norm_decay {decay:g}): evaluation is off; train longer{lower}')
