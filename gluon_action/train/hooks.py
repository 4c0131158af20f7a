"""Hooks that save the state and the parameters of a loop."""
from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import cause_of, part_name
from ..model_zoo.params_file import replace_arrays
from ..signals import Terminated, told_to_end, wait_with_termination
from .hook import Hook
from .run.checkpoint import CheckpointDir
from .run.states_file import save_states


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
    ``best.params`` stands for; those of every `frequency` epochs and of the last as
    ``<dataset>-<model>-<epoch>.params``; beside each a ``.states`` that `read_states` reads. On
    several devices the running statistics are the first one's.

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
    """

    def __init__(self, folder: str | os.PathLike, dataset: str, model: str, *, frequency: int = 10, best: bool = True,
                 score: str = 'val_top1'):
        self.folder = Path(folder)
        self.name = f'{dataset}-{model}'
        self.frequency = frequency
        self.best = best
        self.score = score

    def best_path(self, record: Mapping[str, Any]) -> Path:
        """The file of the best parameters, for the record of their epoch."""
        # Versions that did not know another score chose the best by val_top1.
        score = record[self.score if self.score in record else 'val_top1']
        return self.folder / f'{score:.4f}-{self.name}-{record["epoch"]:03d}-best.params'

    def path(self, epoch: int) -> Path:
        """The file of the parameters after `epoch`, counted from 0."""
        return self.folder / f'{self.name}-{epoch:03d}.params'

    def on_epoch(self, loop, record):
        """Write what is due."""
        if self.best and record.get('best'):
            self._write(loop, self.best_path(record))
            link(self.best_path(record), self.folder / 'best.params')
            for earlier in (old for old in loop.progress.history[:-1] if old.get('best')):
                self._remove(self.best_path(earlier))
        if self.frequency and (record['epoch'] + 1) % self.frequency == 0:
            self._write(loop, self.path(record['epoch']))

    def on_end(self, loop):
        """Write the last."""
        self._write(loop, self.path(loop.progress.epoch - 1))

    def _write(self, loop, path: Path) -> None:
        replace_arrays(path, loop.learner.parameters())
        save_states(path.with_suffix('.states'), *loop.learner.optimizer_state())

    def _remove(self, path: Path) -> None:
        for file in (path, path.with_suffix('.states')):
            try:
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
            except OSError as error:
                raise OutputError(f'cannot remove {file}, which is no longer the best: {cause_of(error)}') from error


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
