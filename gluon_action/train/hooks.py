"""Hooks that save the state and the parameters of a loop."""
from __future__ import annotations

import contextlib
import filecmp
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..evaluate.report.run_files import write_validation_scores
from ..evaluate.reports import label_table
from ..files import cause_of, part_name
from ..model_zoo.loading.params_file import replace_arrays
from ..signals import Terminated, told_to_end, wait_with_termination
from .hook import Hook
from .run.folder.checkpoint_dir import CheckpointDir
from .run.history.log import RunLog

_log = logging.getLogger(__name__)


class SaveCheckpoints(Hook):
    """Saves the state after every epoch, every so many steps or minutes, and before SIGTERM ends the run.

    The signal waits until an update, or a batch of a validation, is done; then `Terminated` is raised. An update has
    several batches where the learner accumulates their gradients.

    Parameters
    ----------
    folder : CheckpointDir
    every : int
        Steps between checkpoints within an epoch; 0 for none. Between the batches of one update it waits for the last.
    extra : mapping, optional
        More parts to save, such as the configuration.
    minutes : float
        Time between checkpoints within an epoch; 0 for none by the time.
    """

    def __init__(self, folder: CheckpointDir, every: int = 0, extra: Mapping[str, Any] | None = None,
                 minutes: float = 0):
        self.folder = folder
        self.every, self.seconds = every, 60 * minutes
        self.extra = dict(extra or {})
        self._last, self._saved_at = 0, time.monotonic()

    def on_start(self, loop, epochs, batches):
        """Count steps and time from where the run resumes."""
        self._last, self._saved_at = loop.progress.step, time.monotonic()
        wait_with_termination(True)

    def on_batch(self, loop, batch):
        """End here rather than after one more update."""
        self._end_if_told(loop)

    def on_step(self, loop, result):
        """Save when enough steps have passed, or enough time."""
        due = self.every and loop.progress.step - self._last >= self.every or self._is_time
        if due and loop.between_updates:
            self._save(loop)
        self._end_if_told(loop)

    def on_scored(self, loop, scores, batch):
        """Save what was trained since the last time: when enough time has passed, or the videos seem to be gone."""
        if self._last != loop.progress.step and (self._is_time or not batch.indices):
            self._save(loop)
        self._end_if_told(loop)

    def on_epoch(self, loop, record):
        """Save."""
        self._save(loop)
        self._end_if_told(loop)

    def close(self):
        """Let SIGTERM end the run at once again."""
        wait_with_termination(False)

    @property
    def _is_time(self) -> bool:
        return bool(self.seconds) and time.monotonic() - self._saved_at >= self.seconds

    def _end_if_told(self, loop) -> None:
        if told_to_end() and loop.between_updates:
            if self._last != loop.progress.step:
                self._save(loop)
            raise Terminated

    def _save(self, loop) -> None:
        self.folder.save(loop.progress.step, {**loop.state_dict(), **self.extra})
        self._last, self._saved_at = loop.progress.step, time.monotonic()


class SaveParameters(Hook):
    """Writes parameters and optimizer state under GluonCV's file names.

    The best so far as ``<score>-<dataset>-<model>-<epoch>-best.params``, which replaces the best before it and which
    ``best.params`` stands for; the start, where that was scored, with ``start`` for its epoch; those of every
    `frequency` epochs and of the last as ``<dataset>-<model>-<epoch>.params``. What the optimizer remembers is in
    checkpoints alone. On several devices the running statistics are the first one's. In the end, what the newest
    checkpoint holds as well is one file on the disk, under two names.

    Parameters
    ----------
    folder : path
        Exists.
    dataset, model : str
        Parts of the names.
    frequency : int
        Epochs between files; 0 for none but the best and the last.
    best : bool
        Whether to write the best.
    score : str
        Entry of the record that goes before the name of the best.
    checkpoints : CheckpointDir, optional
        Those of the run.
    """

    def __init__(self, folder: str | os.PathLike, dataset: str, model: str, *, frequency: int = 10, best: bool = True,
                 score: str = 'val_top1', checkpoints: CheckpointDir | None = None):
        self.folder = Path(folder)
        self.name = f'{dataset}-{model}'
        self.frequency = frequency
        self.best = best
        self.score = score
        self.checkpoints = checkpoints

    def best_path(self, record: Mapping[str, Any]) -> Path:
        """The file of the best parameters, for the record of their epoch."""
        # Versions that did not know another score chose the best by val_top1.
        score = record[self.score if self.score in record else 'val_top1']
        epoch = f'{record["epoch"]:03d}' if 'epoch' in record else 'start'
        return self.folder / f'{score:.4f}-{self.name}-{epoch}-best.params'

    def path(self, epoch: int) -> Path:
        """The file of the parameters after `epoch`, counted from 0."""
        return self.folder / f'{self.name}-{epoch:03d}.params'

    def on_start_scored(self, loop, record):
        """Write the start, which is the best so far."""
        if self.best:
            self._write_best(loop, record)

    def on_epoch(self, loop, record):
        """Write what is due."""
        if self.best and record.get('best'):
            self._write_best(loop, record)
            earlier = [old for old in loop.progress.history[:-1] if old.get('best')]
            for old in [*earlier, *([loop.progress.start] if loop.progress.start else [])]:
                self._remove(self.best_path(old))
        if self.frequency and (record['epoch'] + 1) % self.frequency == 0:
            self._write(loop, self.path(record['epoch']))

    def on_end(self, loop):
        """Write the last."""
        last = self.path(loop.progress.epoch - 1)
        self._write(loop, last)
        newest = self.checkpoints.newest() if self.checkpoints else None
        if newest is None:
            return
        share(newest / 'params.params', last)
        if loop.progress.history and loop.progress.history[-1].get('best') and self.best:
            share(last, self.best_path(loop.progress.history[-1]))

    def _write_best(self, loop, record: Mapping[str, Any]) -> None:
        self._write(loop, self.best_path(record))
        link(self.best_path(record), self.folder / 'best.params')

    def _write(self, loop, path: Path) -> None:
        replace_arrays(path, loop.parameters())

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f'cannot remove {path}, which is no longer the best: {cause_of(error)}') from error


class SaveScores(Hook):
    """Writes what the best parameters made of every validation video, for the report and for comparisons.

    Parameters
    ----------
    folder : path
        Exists.
    dataset : data set
        That of the validation, with ``samples`` that have ``key``, and ``label`` unless the scores have ``labels``.
    classes : sequence of str, optional
        Names; numbers by default.
    """

    def __init__(self, folder: str | os.PathLike, dataset: Any, classes: Sequence[str] | None = None):
        self.folder, self.dataset, self.classes = Path(folder), dataset, classes
        self._indices: list[int] = []
        self._scores: Any = None

    def on_scored(self, loop, scores, batch):
        """Remember which videos they are of."""
        self._indices += batch.indices
        self._scores = scores

    def on_start_scored(self, loop, record):
        """Write those of the start, which is the best so far."""
        self._write(True)

    def on_epoch(self, loop, record):
        """Write them, if they are the best so far."""
        self._write(bool(record.get('best')))

    def _write(self, best: bool) -> None:
        indices, scores, self._indices, self._scores = self._indices, self._scores, [], None
        if not best or scores is None or scores.logits is None:
            return
        logits, samples = scores.logits, self.dataset.samples
        names = self.classes if self.classes and len(self.classes) == logits.shape[1] else \
            [f'class {number}' for number in range(logits.shape[1])]
        if hasattr(scores, 'labels'):  # which nobody knew before they were read
            samples, indices, labels = [samples[index] for index in indices], range(len(indices)), scores.labels
        else:
            labels = label_table([sample.label for sample in samples], len(names))
        write_validation_scores(self.folder, samples, names, indices, logits, labels)


class SayStalled(Hook):
    """Says in the end that a training was over before its time, as epochs were no better any more.

    Parameters
    ----------
    records : RunLog
    patience : int
        As in `Loop.fit`.
    """

    def __init__(self, records: RunLog, patience: int):
        self.records, self.patience = records, patience
        self._epochs = math.inf

    def on_start(self, loop, epochs, batches):
        """Note how long it might be."""
        self._epochs = epochs

    def on_end(self, loop):
        """Say it."""
        if loop.progress.epoch < self._epochs and loop.progress.has_stalled(self.patience):
            self.records.say(f'{self.patience} epochs were no better than what was before them, and --patience '
                             f'{self.patience} ends the training after {loop.progress.epoch} of {self._epochs}.')


def share(path: Path, other: Path) -> None:
    """Let two files of the same bytes be one on the disk, under both names, where the file system can do that.

    Neither is ever written to again: what replaces it is another file.
    """
    temporary = part_name(other)
    try:
        if any(name.is_symlink() for name in (path, other)) or path.samefile(other) \
                or not filecmp.cmp(path, other, shallow=False):
            return
        os.link(path, temporary)
        os.replace(temporary, other)
    except OSError as error:  # both are there all the same
        _log.debug('%s and %s stay two files: %s', path, other, error)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def link(path: Path, name: Path) -> None:
    """Let `name`, beside `path` or above it, stand for it: a link, or a copy where the file system has none."""
    temporary = part_name(name)
    try:
        try:
            temporary.symlink_to(path.relative_to(name.parent))
        except OSError:
            shutil.copyfile(path, temporary)
        os.replace(temporary, name)
    except OSError as error:
        raise OutputError(f'cannot write {name}: {cause_of(error)}') from error
