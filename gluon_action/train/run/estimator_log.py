"""What an estimator's run leaves to read: a line, TensorBoard scalars and a picture at every look at it."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import mxnet as mx
from tqdm import tqdm

from ...evaluate.reports import write_figure
from ...evaluate.scores.clip_scores import ClipScoring
from ..trainer import unique_parameters
from .log import RunRecords

# Colour-blind safe (Okabe and Ito), as in the pictures of other runs.
_TRAIN, _EVAL, _MAP, _RATE = '#0072B2', '#D55E00', '#E69F00', '#009E73'
_SHOWN = ('auc', 'map', 'precision', 'recall', 'f1', 'top1')


class EstimatorRecords(RunRecords):
    """Writes down how a run by steps goes.

    Each stretch of steps brings two lines in the log, an object in ``metrics.jsonl``, scalars ``Losses/*``,
    ``Metrics/train/*`` and ``Metrics/eval/*`` in TensorBoard's events, and a new ``history.png``. Scores of training
    are those that the batches of the stretch had when they were trained on.

    Parameters
    ----------
    folder : path
        Exists.
    scoring : ClipScoring
    weight_decay : float
        Factor of the regularisation, whose size is recorded.
    **options
        Others of `RunRecords`.
    """

    def __init__(self, folder: str | os.PathLike, *, scoring: ClipScoring, weight_decay: float, **options):
        super().__init__(folder, log_interval=0, **options)
        self.scoring, self.weight_decay = scoring, weight_decay
        self._meter = scoring.meter()

    def on_start(self, loop, epochs, batches):
        """Open the files, without what lies beyond where the run goes on."""
        super().on_start(loop, epochs, batches)
        self._step = loop.progress.step

    def on_step(self, loop, result):
        """Score the batch before this one, whose numbers are there without waiting."""
        self._score_last()
        self._last = result
        self._record_failures('train', result.epoch, result.step, result.failures)
        if self._show_bar:
            self._advance_bar(loop, result)

    def on_scored(self, loop, scores, batch):
        """Record what could not be read in the evaluation."""
        self._record_failures('val', loop.progress.epoch, loop.progress.step, batch.failures)

    def on_epoch(self, loop, record):
        """Record the stretch, add to `record` what only this hook knows, and draw the history anew."""
        self._score_last()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        l1, l2 = regularization(loop.net, self.weight_decay)
        trained = {name: value for name, value in self._meter.metrics().as_numbers().items() if name != 'map'}
        record |= {'steps_per_second': (record['step'] - self._step) / record['seconds'], 'l1_loss': l1, 'l2_loss': l2,
                   'regularization_loss': l1 + l2, 'total_loss': record['loss'] + l1 + l2,
                   **{f'train_{name}': value for name, value in trained.items()}}
        for line in stretch_lines(record):
            self.say(line)
        self._append(self._metrics, {'kind': 'stretch', **record})
        self.events.scalars(record['step'], self._tags(record))
        self.events.flush()
        plot_stretches(loop.progress.history, self.folder / 'history.png', title=self.title)
        self._meter, self._step = self.scoring.meter(), record['step']

    def _score_last(self) -> None:
        result, self._last = self._last, None
        for logits, label in result.outputs if result is not None else ():
            self._meter.update(*self.scoring.given(logits.asnumpy(), label.asnumpy()))

    def _tags(self, record: Mapping[str, Any]) -> dict[str, float]:
        kind = 'sigmoid' if self.scoring.multi_label else 'softmax'
        tags = {f'Losses/{kind}_loss': record['loss'], 'learning_rate': record['lr'],
                'global_step/sec': record['steps_per_second']}
        tags |= {f'Losses/{name}': record[name] for name in ('l1_loss', 'l2_loss', 'regularization_loss', 'total_loss')}
        tags |= {f'Metrics/train/{name[6:]}': value for name, value in record.items() if name.startswith('train_')}
        tags |= {f'Metrics/eval/{name[4:]}': value for name, value in record.items()
                 if name.startswith('val_') and name not in ('val_count', 'val_expected')}
        return {tag: value for tag, value in tags.items() if math.isfinite(value)}

    def _advance_bar(self, loop, result) -> None:
        if self._bar is None:
            self._bar = tqdm(total=self._batches, initial=result.batch, desc=f'from step {self._step}', unit='step',
                             leave=False)
        self._bar.set_postfix_str(f'loss {loop.progress.loss:.4f}, lr {result.lr:.3g}', refresh=False)
        self._bar.update()


def regularization(net: mx.gluon.Block, weight_decay: float) -> tuple[float, float]:
    """Return the L1 and the L2 term of a network: ``weight_decay * sum(abs(w))`` and ``weight_decay * sum(w^2) / 2``.

    They are over the weights of convolutions, not over biases and batch normalisation.
    """
    weights = [param.list_data()[0] for key, param in unique_parameters(net).items() if key.endswith('weight')]
    l1 = sum(float(mx.nd.abs(weight).sum().asscalar()) for weight in weights)
    l2 = sum(float(mx.nd.square(weight).sum().asscalar()) for weight in weights) / 2
    return weight_decay * l1, weight_decay * l2


def stretch_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the lines of a stretch: training, and evaluation where there was one."""
    lines = [f'step {record["step"]}: loss={record["total_loss"]:.5f} (l1 {record["l1_loss"]:.5f}, '
             f'l2 {record["l2_loss"]:.5f}) {_scores(record, "train_")} lr={record["lr"]:g} '
             f'({record["steps_per_second"]:.3g} steps/sec)']
    if 'val_count' in record:
        best = ', the best so far' if record.get('best') else ''
        lines.append(f'step {record["step"]}: evaluation: loss={record["val_loss"]:.5f} {_scores(record, "val_")} '
                     f'({record["val_count"]} of {record["val_expected"]} clips{best})')
    return lines


def plot_stretches(history: Sequence[Mapping], path: str | os.PathLike, *, title: str = '') -> None:
    """Draw a run in three panels by step: loss, scores and learning rate.

    Parameters
    ----------
    history : sequence of mapping
        The records of the stretches, see `EstimatorRecords`.
    path : path
        PNG file, replaced whole or not at all.
    title : str
        Line above the panels.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure
    figure = Figure(figsize=(15, 4.4))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.12, top=0.86, wspace=0.18)
    if title:
        figure.suptitle(title)
    loss, scores, rate = figure.subplots(1, 3)
    _curve(loss, history, 'loss', 'train', _TRAIN)
    _curve(loss, history, 'val_loss', 'evaluation', _EVAL)
    loss.set(title='loss, without regularisation', ylim=(0, None))
    _curve(scores, history, 'train_auc', 'AUC, train', _TRAIN, linestyle=':')
    _curve(scores, history, 'val_auc', 'AUC, evaluation', _EVAL)
    _curve(scores, history, 'val_map', 'mAP, evaluation', _MAP)
    _curve(scores, history, 'val_top1', 'top-1, evaluation', _RATE)
    for record in [record for record in history if record.get('best')][-1:]:
        scores.axvline(record['step'], color='0.6', linestyle='--', linewidth=1, label=f'best, step {record["step"]}')
    scores.set(title='scores', ylim=(-0.02, 1.04))
    _curve(rate, history, 'lr', 'learning rate', _RATE)
    rate.set(title='learning rate', ylim=(0, None))
    for axes in (loss, scores, rate):
        axes.set(xlabel='step', xlim=(0, 1.03 * max([record['step'] for record in history] + [1])))
        axes.grid(alpha=0.3)
        if axes is not rate and axes.lines:
            axes.legend(loc='best', framealpha=0.8)
    write_figure(figure, path, dpi=100)


def _curve(axes, history, key, label, color, linestyle='-') -> None:
    points = [(record['step'], record[key]) for record in history
              if record.get(key) is not None and math.isfinite(record[key])]
    if points:
        axes.plot(*zip(*points), color=color, label=label, linewidth=2, linestyle=linestyle,
                  marker='o' if len(points) <= 30 else None, markersize=4)


def _scores(record: Mapping[str, Any], prefix: str) -> str:
    return ' '.join(f'{name}={record[prefix + name]:.4f}' for name in _SHOWN if prefix + name in record)
