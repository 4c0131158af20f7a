"""What a run leaves to read: log lines, metrics, TensorBoard events, a picture of its history, its failures."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm.contrib.logging import logging_redirect_tqdm

from ....errors import OutputError
from ....files import cause_of, finite, write_file
from ....printable import printable
from ...hook import Hook
from .event_file import EventFile
from .log_style import LogStyle
from .time_left import TimeLeft

log = logging.getLogger(__name__)

# Of videos that could not be read, so many are named.
_FEW = 5
_SPLITS = {'train': 'training', 'val': 'validation'}


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
    header : sequence of str
        Lines before the first: what is trained, on what, by what.

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
                 log_interval: int = 50, title: str = '', bar: bool | None = None, draws: bool = True,
                 header: Sequence[str] = ()):
        self.folder, self.style = Path(folder), style or LogStyle()
        self.log_interval = log_interval
        self.title, self._draws, self._header = title, draws, header
        self._show_bar = sys.stderr.isatty() if bar is None else bar
        self._open_files = contextlib.ExitStack()
        self._bar = None
        self.events = EventFile(self.folder)
        self._log = self._open(logging_file, 'a')
        self._scored = 0
        self._unread: dict[str, list[str]] = {}
        self._warned: set[str] = set()

    def say(self, line: str, *, quiet: bool = False) -> None:
        """Write a line to the log and, unless `quiet`, to the console."""
        self._append(self._log, line)
        if not quiet:
            log.info(line)

    def warn(self, line: str) -> None:
        """Write a warning to the log and the console, once."""
        if line in self._warned:
            return
        self._warned.add(line)
        self._append(self._log, f'warning: {line}')
        log.warning(line)

    def draw(self, loop) -> None:
        """Draw the history. A picture that cannot be drawn is a warning."""
        try:
            self.style.plot(loop, self.folder / 'history.png', self.title, self._batches)
        except OutputError:
            raise
        except Exception as error:  # of fonts or sizes: nothing of it is worth the run
            self.warn(f'{self.folder / "history.png"}: cannot be drawn ({type(error).__name__}: {error})')

    def note_failures(self, split: str, epoch: int, step: int, failures) -> None:
        """Write samples that could not be read to ``failures.jsonl``."""
        for failure in failures:
            if self._failures is None:
                self._failures = self._open('failures.jsonl', 'a')
            self._append(self._failures, {'split': split, 'epoch': epoch, 'step': step, **dataclasses.asdict(failure)})
            self._unread.setdefault(split, []).append(failure.key)

    def on_start(self, loop, epochs, batches):
        """Open the files, without what was recorded after the state that the run resumes from."""
        progress = loop.progress
        self._batches, self._epochs = batches, epochs
        for name in ('metrics.jsonl', 'failures.jsonl'):
            drop_later(self.folder / name, progress.epoch, progress.step)
        self._metrics = self._open('metrics.jsonl', 'a')
        self._failures = None  # made when the first sample fails: no file means no failure
        self.events.begin(progress.step)
        self._open_files.callback(self.events.close)
        if self._show_bar:
            self._open_files.enter_context(logging_redirect_tqdm())
        validated = (record['validation_seconds'] for record in reversed(progress.history)
                     if 'validation_seconds' in record)
        self._left = TimeLeft(epochs, batches, next(validated, 0.))
        self._tick(progress)
        self._told, self._last = False, None
        self.style.start(loop)
        for line in self._header:
            self.say(line)

    def on_start_scored(self, loop, record):
        """Record what the start scores."""
        self._scored = 0
        self._left.validation = time.perf_counter() - self._time
        self._tick(loop.progress)
        for line in self.style.start_lines(record):
            self.say(line)
        self._append(self._metrics, {'kind': 'start', 'epoch': 0, 'step': 0, **record})

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

    def _say_unread(self, epoch: int) -> None:
        for split, keys in self._unread.items():
            few = ', '.join(map(printable, keys[:_FEW])) + ', ...' * (len(keys) > _FEW)
            self.say(f'[Epoch {epoch:03d}] {len(keys)} could not be read in {_SPLITS.get(split, split)}: {few}; '
                     'failures.jsonl says why')
        self._unread = {}

    def on_epoch(self, loop, record):
        """Record the epoch and draw the history anew."""
        self._record_last_step(loop)
        self._scored = 0
        if not self._told:
            self._left.trained(self._batches - self._batch, record['seconds'])
        self._left.validation = record.get('validation_seconds', 0.)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._say_unread(record['epoch'])
        self.style.complete(loop, record)
        for line in self.style.epoch_lines(record):
            self.say(line)
        if line := self.style.progress_line(record, self._epochs, self._left.after(loop.progress.epoch, 0)):
            self.say(line)
        self._append(self._metrics, {'kind': self.style.kind, **record})
        for step, scalars in self.style.epoch_scalars(record):
            self.events.scalars(step, scalars)
        self.events.flush()
        if self._draws:
            self.draw(loop)
        self._tick(loop.progress)
        self._told = False

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
        self._left.trained(progress.batch - self._batch, now - self._time)
        self._told = True
        left = self._left.after(result.epoch, progress.batch)
        self.say(self.style.interval_line(loop, result, self._batches, speed, left), quiet=self._show_bar)
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
        # At the start of an epoch the sums are still those of the one before.
        self._time, self._count = time.perf_counter(), progress.count if progress.batch else 0
        self._batch = progress.batch

    def _open(self, name: str, mode: str) -> TextIO:
        with _writing(self.folder / name):
            return self._open_files.enter_context(open(self.folder / name, mode, encoding='utf-8'))

    def _append(self, stream: TextIO, content: str | dict[str, Any]) -> None:
        with _writing(Path(stream.name)):
            line = printable(content, lines=True) if isinstance(content, str) else json.dumps(finite(content))
            stream.write(line + '\n')
            stream.flush()


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


def _is_earlier(line: str, epoch: int, step: int) -> bool:
    record = _record(line)
    if record is None:
        return True
    if record.get('kind') in ('epoch', 'stretch') or record.get('split') == 'val':
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
        raise OutputError(f'cannot write {path}: {cause_of(error)}') from error
