"""What the log of a run says: its lines, its scalars, its picture; GluonCV's, or those of a style that inherits."""
from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ....printable import duration
from ...schedules import updates_per_epoch
from .history_plot import plot_run

# A rate curve of this many points is smooth at any size a screen has.
_RATE_POINTS = 400


class LogStyle:
    """What the log of a run says: GluonCV's lines, and TensorBoard's scalars under GluonCV's tags.

    A style of its own inherits from this one, and says the same or other things in other words.
    """

    #: What the record of an epoch is called in ``metrics.jsonl``.
    kind = 'epoch'
    #: Number of the first step in TensorBoard.
    first_step = 0
    #: Whether scores of the best five classes are told: of five or fewer, all have 100 %.
    tells_top5 = True

    def start(self, loop) -> None:
        """Get ready for the first batch."""
        self.tells_top5 = getattr(getattr(loop.learner, 'net', None), 'num_classes', None) not in range(6)

    def step_scalars(self, loop, result) -> dict[str, float]:
        """Numbers of a step. It is the one before the newest, so that reading its result does not wait for devices."""
        return {'train_acc_top1_iter': 100 * loop.progress.accuracy, 'train_loss_iter': result.loss_sum / result.count,
                'learning_rate_iter': result.lr}

    def before_step(self, loop) -> None:
        """Look at the network before it is trained on a batch."""

    def step_said(self, loop, result) -> tuple[str, dict[str, Any]]:
        """Return the line of a step and its record for ``metrics.jsonl``, each empty for none; of the step before."""
        return '', {}

    def interval_scalars(self, result) -> dict[str, float]:
        """Numbers of every so many steps."""
        return {}

    def interval_line(self, loop, result, batches: int, speed: float, left: float = math.inf) -> str:
        """Line of every so many batches, with how many seconds are left of the run where that can be told."""
        progress = loop.progress
        rest = f'\t {duration(left)} left' if 0 < left < math.inf else ''
        return (f'Epoch[{result.epoch:03d}] Batch [{result.batch:04d}]/[{batches:04d}]\tSpeed: {speed:f} samples/sec\t '
                f'accuracy={100 * progress.accuracy:.2f}\t loss={progress.loss:f}\t lr={rate_text(result.lr)}{rest}')

    def validation_line(self, batch: int, scores) -> str:
        """Line of every so many batches of a validation; `batch` is the last one, from 0."""
        top5 = f' acc-top5={100 * scores.top(5):.2f}' if self.tells_top5 else ''
        return f'Batch [{batch:04d}]/[{scores.batches:04d}]: acc-top1={100 * scores.top(1):.2f}{top5}'

    def complete(self, loop, record: dict[str, Any]) -> None:
        """Add to the record of an epoch what only the log knows."""

    def epoch_lines(self, record: dict[str, Any]) -> list[str]:
        """Lines for the record of an epoch."""
        return epoch_lines(record, top5=self.tells_top5)

    def start_lines(self, record: dict[str, Any]) -> list[str]:
        """Lines for the record of the validation before the first epoch."""
        return [f'[Start] {validation_text(record, top5=self.tells_top5)}']

    def progress_line(self, record: dict[str, Any], epochs: float, left: float) -> str:
        """Line of how far the run is, what its time went into, and how many seconds are left; empty for none."""
        if self.kind != 'epoch' or not math.isfinite(epochs):
            return ''
        seconds = max(record['seconds'], 1e-9)
        data, devices = (100 * record.get(name, 0.) / seconds for name in ('data_seconds', 'device_seconds'))
        rest = f'; {duration(left)} left' if 0 < left < math.inf else ''
        return (f'[Epoch {record["epoch"]:03d}] {record["epoch"] + 1} of {epochs} epochs done; waited {data:.0f} % of '
                f'the time for videos, {devices:.0f} % for the network{rest}')

    def epoch_scalars(self, record: dict[str, Any]) -> list[tuple[int, dict[str, float]]]:
        """Numbers of an epoch, each group with the step that TensorBoard shows it at."""
        scalars = {'train_loss_epoch': record['loss']}
        if 'val_top1' in record:
            scalars |= {'val_loss_epoch': record['val_loss'], 'val_acc_top1_epoch': 100 * record['val_top1']}
        return [(record['epoch'], scalars)]

    def open_bar(self, result, batches: int) -> tqdm:
        """Return the bar of an epoch."""
        return tqdm(total=batches, initial=result.batch, desc=f'epoch {result.epoch}', unit='batch', leave=False)

    def bar_text(self, loop, result) -> str:
        """What stands behind the bar."""
        progress = loop.progress
        return f'accuracy {100 * progress.accuracy:.1f} %, loss {progress.loss:.4f}, lr {result.lr:.3g}'

    def plot(self, loop, path: Path, title: str, batches: int) -> None:
        """Draw the history."""
        per_epoch = updates_per_epoch(batches, loop.learner.accumulate)
        plot_run(loop.progress.history, path, title=title, top5=self.tells_top5,
                 rates=rate_curve(loop.schedule, loop.progress.place, per_epoch))


def rate_text(rate: float) -> str:
    """A learning rate as GluonCV writes it, with six digits behind the point; a smaller one so that it can be read."""
    text = f'{rate:f}'
    return text if abs(float(text) - rate) <= 1e-3 * rate else f'{rate:g}'


def epoch_lines(record: dict[str, Any], *, top5: bool = True) -> list[str]:
    """GluonCV's lines of an epoch, from its record (see `Loop.fit`); scores of the best five classes if wanted."""
    name, speed = f'[Epoch {record["epoch"]:03d}]', record['speed']
    shown = f'{speed:.2g}' if 0 < speed < 10 else int(speed)
    lines = [f'{name} training: accuracy={100 * record["accuracy"]:.2f}\t loss={record["loss"]:f}',
             f'{name} speed: {shown} samples/sec\ttime cost: {record["seconds"]:f}']
    if 'val_top1' in record:
        lines.append(f'{name} {validation_text(record, top5=top5)}')
    return lines


def validation_text(record: dict[str, Any], *, top5: bool = True) -> str:
    """What a validation has found, as GluonCV writes it."""
    best_five = f' acc-top5={100 * record["val_top5"]:.2f}' if top5 else ''
    return f'validation: acc-top1={100 * record["val_top1"]:.2f}{best_five} loss={record["val_loss"]:f}'


def rate_curve(schedule: Callable[[int], float], updates: int, per_epoch: int) -> list[tuple[float, float]]:
    """Learning rates of the first `updates` of a run: points (epochs done, rate from there on), few enough to draw."""
    every = max(1, math.ceil(updates / _RATE_POINTS))
    drawn = sorted({*range(1, updates + 1, every), updates} - {0})
    points = [((update - 1) / per_epoch, schedule(update)) for update in drawn]
    return points + [(updates / per_epoch, points[-1][1])] if points else []
