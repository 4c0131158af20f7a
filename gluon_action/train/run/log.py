"""What a run leaves to read: log lines, metrics, TensorBoard events, a picture of its history, its failures."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ...errors import OutputError
from ...files import finite, write_file
from ..hook import Hook
from ..schedules import updates_per_epoch
from .event_file import EventFile
from .history_plot import plot_run

log = logging.getLogger(__name__)

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

    def start(self, loop) -> None:
        """Get ready for the first batch."""

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

    def interval_line(self, loop, result, batches: int, speed: float) -> str:
        """Line of every so many batches."""
        progress = loop.progress
        return (f'Epoch[{result.epoch:03d}] Batch [{result.batch:04d}]/[{batches:04d}]\tSpeed: {speed:f} samples/sec\t '
                f'accuracy={100 * progress.accuracy:f}\t loss={progress.loss:f}\t lr={result.lr:f}')

    def validation_line(self, batch: int, scores) -> str:
        """Line of every so many batches of a validation; `batch` is the last one, from 0."""
        return (f'Batch [{batch:04d}]/[{scores.batches:04d}]: acc-top1={100 * scores.top(1):f} '
                f'acc-top5={100 * scores.top(5):f}')

    def complete(self, loop, record: dict[str, Any]) -> None:
        """Add to the record of an epoch what only the log knows."""

    def epoch_lines(self, record: dict[str, Any]) -> list[str]:
        """Lines for the record of an epoch."""
        return epoch_lines(record)

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
        plot_run(loop.progress.history, path, title=title,
                 rates=rate_curve(loop.schedule, loop.progress.update, per_epoch))


class RunLog(Hook):
    """Writes down how a run goes, in files and on the console.

    In `folder`: the log (every line also goes to ``logging``); ``metrics.jsonl`` with an object for each log interval
    and each epoch; ``failures.jsonl`` with one for each sample that could not be read; TensorBoard's events;
    ``history.png``. A resumed run first drops what was recorded after the state it resumes from. On a terminal a bar
    shows the batches, in place of the lines of each interval.

    Parameters
    ----------
    folder : path
        Exists.
    style : LogStyle, optional
        Lines, tags and picture; GluonCV's by default.
    logging_file : str
        Name of the log in `folder`; lines are appended.
    log_interval : int
        Batches between lines; 0 for none.
    title : str
        Line above the picture.
    bar : bool, optional
        Whether to show a bar; by default when standard error is a terminal.
    draws : bool
        Whether to draw the history after each epoch; otherwise `draw` does, when it is called.

    Attributes
    ----------
    events : EventFile
        Others that write to TensorBoard about the run share it.

    Raises
    ------
    OutputError
        From every method, when a file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, style: LogStyle | None = None, *, logging_file: str = 'train.log',
                 log_interval: int = 50, title: str = '', bar: bool | None = None, draws: bool = True):
        self.folder, self.style = Path(folder), style or LogStyle()
        self.log_interval = log_interval
        self.title, self._draws = title, draws
        self._show_bar = sys.stderr.isatty() if bar is None else bar
        self._open_files = contextlib.ExitStack()
        self._bar = None
        self.events = EventFile(self.folder)
        self._log = self._open(logging_file, 'a')
        self._scored = 0

    def say(self, line: str, *, quiet: bool = False) -> None:
        """Write a line to the log and, unless `quiet`, to the console."""
        self._append(self._log, line)
        if not quiet:
            log.info(line)

    def draw(self, loop) -> None:
        """Draw the history."""
        self.style.plot(loop, self.folder / 'history.png', self.title, self._batches)

    def note_failures(self, split: str, epoch: int, step: int, failures) -> None:
        """Write samples that could not be read to ``failures.jsonl``."""
        for failure in failures:
            if self._failures is None:
                self._failures = self._open('failures.jsonl', 'a')
            self._append(self._failures, {'split': split, 'epoch': epoch, 'step': step, **dataclasses.asdict(failure)})

    def on_start(self, loop, epochs, batches):
        """Open the files, without what was recorded after the state that the run resumes from."""
        progress = loop.progress
        self._batches = batches
        for name in ('metrics.jsonl', 'failures.jsonl'):
            drop_later(self.folder / name, progress.epoch, progress.step)
        self._metrics = self._open('metrics.jsonl', 'a')
        self._failures = None  # made when the first sample fails: no file means no failure
        self.events.begin(progress.step)
        self._open_files.callback(self.events.close)
        if self._show_bar:
            self._open_files.enter_context(logging_redirect_tqdm())
        self._tick(progress)
        self._last = None
        self.style.start(loop)

    def on_batch(self, loop, batch):
        """Let the style look."""
        self.style.before_step(loop)

    def on_step(self, loop, result):
        """Record the batch; numbers come from the one before it, which is the newest that is there without waiting."""
        self._record_last_step(loop)
        self._last = result
        self.note_failures('train', result.epoch, result.step, result.failures)
        if self._show_bar:
            self._advance_bar(loop, result)
        if self.log_interval and (result.batch + 1) % self.log_interval == 0:
            loop.flush()
            self._record_interval(loop, result)
        if self.log_interval and result.step % self.log_interval == 0 and result.count:
            self.events.scalars(result.step - 1, self.style.interval_scalars(result))

    def on_scored(self, loop, scores, batch):
        """Record a batch of the validation."""
        self._scored += 1
        self.note_failures('val', loop.progress.epoch, loop.progress.step, batch.failures)
        if self.log_interval and self._scored % self.log_interval == 0:
            self.say(self.style.validation_line(self._scored - 1, scores), quiet=self._show_bar)

    def on_epoch(self, loop, record):
        """Record the epoch and draw the history anew."""
        self._record_last_step(loop)
        self._scored = 0
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self.style.complete(loop, record)
        for line in self.style.epoch_lines(record):
            self.say(line)
        self._append(self._metrics, {'kind': self.style.kind, **record})
        for step, scalars in self.style.epoch_scalars(record):
            self.events.scalars(step, scalars)
        self.events.flush()
        if self._draws:
            self.draw(loop)
        self._time, self._count = time.perf_counter(), 0  # the next epoch counts its samples from 0

    def close(self):
        """Close the files and take the bar away."""
        if self._bar is not None:
            self._bar.close()
        with _writing(self.folder):
            self._open_files.close()

    def _record_last_step(self, loop) -> None:
        result, self._last = self._last, None
        if result is not None and result.count:
            line, record = self.style.step_said(loop, result)
            if line:
                self.say(line, quiet=self._show_bar)
            if record:
                self._append(self._metrics, {'kind': 'batch', 'epoch': result.epoch, 'batch': result.batch,
                                             'step': result.step, **record})
            self.events.scalars(result.step - 1 + self.style.first_step, self.style.step_scalars(loop, result))

    def _record_interval(self, loop, result) -> None:
        progress, now = loop.progress, time.perf_counter()
        speed = (progress.count - self._count) / max(now - self._time, 1e-9)
        self.say(self.style.interval_line(loop, result, self._batches, speed), quiet=self._show_bar)
        self._append(self._metrics, {
            'kind': 'batch', 'epoch': result.epoch, 'batch': result.batch, 'step': result.step,
            'update': progress.update, 'accuracy': progress.accuracy, 'loss': progress.loss, 'lr': result.lr,
            'speed': speed})
        self.events.flush()
        self._tick(progress)

    def _advance_bar(self, loop, result) -> None:
        if self._bar is None:
            self._bar = self.style.open_bar(result, self._batches)
        self._bar.set_postfix_str(self.style.bar_text(loop, result), refresh=False)
        self._bar.update()

    def _tick(self, progress) -> None:
        self._time, self._count = time.perf_counter(), progress.count

    def _open(self, name: str, mode: str) -> TextIO:
        with _writing(self.folder / name):
            return self._open_files.enter_context(open(self.folder / name, mode))

    def _append(self, stream: TextIO, content: str | dict[str, Any]) -> None:
        with _writing(Path(stream.name)):
            stream.write((content if isinstance(content, str) else json.dumps(finite(content))) + '\n')
            stream.flush()


def epoch_lines(record: dict[str, Any]) -> list[str]:
    """GluonCV's lines of an epoch, from its record (see `Loop.fit`)."""
    name = f'[Epoch {record["epoch"]:03d}]'
    lines = [f'{name} training: accuracy={100 * record["accuracy"]:f}\t loss={record["loss"]:f}',
             f'{name} speed: {int(record["speed"])} samples/sec\ttime cost: {record["seconds"]:f}']
    if 'val_top1' in record:
        lines.append(f'{name} validation: acc-top1={100 * record["val_top1"]:f} acc-top5={100 * record["val_top5"]:f} '
                     f'loss={record["val_loss"]:f}')
    return lines


def drop_later(path: Path, epoch: int, step: int) -> None:
    """Take out of a file of records what was written after a state: batches after `step`, and `epoch` or later ones.

    The last line goes too when it is torn, because the run was killed while it wrote. What no run has written stays.
    """
    with _writing(path):
        if not path.exists():
            return
        *lines, last = path.read_text('utf-8', 'surrogateescape').split('\n')
        if _record(last) is not None:
            lines.append(last)
        kept = [line for line in lines if _is_earlier(line, epoch, step)]
        write_file(path, ''.join(line + '\n' for line in kept))


def rate_curve(schedule: Callable[[int], float], updates: int, per_epoch: int) -> list[tuple[float, float]]:
    """Learning rate after `updates` of a run: points (epochs done, rate), few enough to draw."""
    every = max(1, math.ceil(updates / _RATE_POINTS))
    return [(update / per_epoch, schedule(update)) for update in sorted({*range(1, updates + 1, every), updates} - {0})]


def _is_earlier(line: str, epoch: int, step: int) -> bool:
    record = _record(line)
    if record is None:
        return True
    if record.get('kind') == 'epoch' or record.get('split') == 'val':
        return record['epoch'] < epoch
    return record['step'] <= step


def _record(line: str) -> dict[str, Any] | None:
    # None for what a run does not write.
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not {'kind', 'split'} & record.keys():
        return None
    return record if all(isinstance(record.get(key), int) for key in ('epoch', 'step')) else None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f'cannot write {path}: {error.strerror or error}') from error
