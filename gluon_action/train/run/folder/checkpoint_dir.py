"""Checkpoints that survive a kill at any byte: written aside, synced, renamed, and the newest of them kept."""
from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import CheckpointError, OutputError
from ....files import cause_of, put_folder, space_left, sync
from .checkpoint import NEWER, Checkpoint, read_checkpoint, sequence_of, understood, write_checkpoint

_log = logging.getLogger(__name__)


@dataclass
class CheckpointDir:
    """A directory of checkpoints, of which the newest are kept.

    Each is a directory ``step-00000123`` with one file a part and a manifest of their SHA-256. It gets this name only
    once it is whole and on disk; at every moment before, the ones saved earlier are untouched.

    Parameters
    ----------
    path : path
        Made when the first checkpoint is saved.
    keep : int
        Checkpoints to keep, at least 1. Two, so that one that rots on disk does not end the run.
    """

    path: Path
    keep: int = 2
    _distrusted: set[Path] = field(default_factory=set, repr=False)

    def __post_init__(self):
        self.path = Path(self.path).expanduser()

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save `state` as the newest checkpoint.

        Parameters
        ----------
        step : int
            Names the checkpoint; one of the same step is replaced.
        state : dict
            Named parts: a dict of ndarray is stored in MXNet's parameter format, anything else as JSON.

        Returns
        -------
        Path
            The directory ``step-...``.

        Raises
        ------
        OutputError
            When it cannot be written: no space, no permission. The checkpoints before it are as they were.
        """
        final = self.path / f'step-{step:08d}'
        part = self.path / f'.part-{final.name}-{os.getpid()}'
        try:
            self._remove_leftovers()
            part.mkdir(parents=True)
            write_checkpoint(part, step, self._next_sequence(), state)
            # Beside one of the same step until that is gone, so that a kill leaves one of them.
            newer = final.with_name(final.name + NEWER) if final.exists() else final
            put_folder(part, newer)
            self._settle()
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise OutputError(f'cannot save the checkpoint {final}: {cause_of(error)}{space_left(self.path)}; '
                              f'the checkpoints before it are kept') from error
        self._distrusted.discard(final)
        self._prune()
        return final

    def load_latest(self, parts: Collection[str] | None = None) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; None when there is none at all.

        Parameters
        ----------
        parts : collection of str, optional
            As in `read_checkpoint`.

        Raises
        ------
        CheckpointError
            When there are checkpoints and none can be trusted; the message names each with its reason.
        """
        refused = []
        for path in self._newest_first():
            try:
                step, state = read_checkpoint(path, parts)
            except CheckpointError as error:
                _log.warning('%s; trying the checkpoint before it', error)
                self._distrusted.add(path)
                refused.append(str(error))
            else:
                return Checkpoint(step, state, path, tuple(refused))
        if refused:
            raise CheckpointError('no checkpoint can be trusted: ' + '; '.join(refused)
                                  + f'; start anew without --resume, or remove {self.path}')
        return None

    def newest(self) -> Path | None:
        """The checkpoint that `load_latest` would look at first, unread."""
        return next(iter(self._newest_first()), None)

    def clear(self) -> None:
        """Remove every checkpoint: what a run that starts anew in this directory does first.

        Raises
        ------
        OutputError
            When one cannot be removed.
        """
        try:
            self._remove_leftovers()
            for path in self._newest_first():
                self._discard(path)
        except OSError as error:
            raise OutputError(f'cannot remove the old checkpoints in {self.path}: {error.strerror or error}') from error

    def _next_sequence(self) -> int:
        return max((sequence_of(path) or 0 for path in self.path.glob('step-*')), default=0) + 1

    def _newest_first(self) -> list[Path]:
        # By order of saving, not by step: a run that started anew in this directory has lower steps than the old one.
        # One that does not tell its place comes first, so that it is looked at and its damage reported.
        sequences = {path: sequence_of(path) for path in self.path.glob('step-*')}
        return sorted(sequences, key=lambda path: (sequences[path] is None, sequences[path] or 0, path.name),
                      reverse=True)

    def _prune(self) -> None:
        kept = 0
        for path in self._newest_first():
            if path not in self._distrusted and sequence_of(path) is not None and kept < self.keep:
                kept += 1
                continue
            with contextlib.suppress(OSError):  # the new checkpoint is safe; a leftover is removed at the next save
                self._discard(path)

    def _discard(self, path: Path) -> None:
        # Renamed first, so that a kill in the middle leaves no half checkpoint under a checkpoint's name.
        aside = path.with_name(f'.part-old-{path.name}-{os.getpid()}')
        os.rename(path, aside)
        shutil.rmtree(aside)

    def _remove_leftovers(self) -> None:
        for path in self.path.glob('.part-*'):
            shutil.rmtree(path)
        self._settle()

    def _settle(self) -> None:
        """Give checkpoints that were saved beside one of the same step their name."""
        for path in self.path.glob(f'step-*{NEWER}'):
            final = path.with_name(path.name.removesuffix(NEWER))
            if final.exists():
                self._discard(final)
            os.rename(path, final)
            sync(self.path)


def open_checkpoint(place: str | os.PathLike, parts: Collection[str] | None = None) -> Checkpoint | None:
    """Read a checkpoint by its folder, or the newest one of a run or of a folder of checkpoints; None where none is.

    Parameters
    ----------
    place : path
    parts : collection of str, optional
        As in `read_checkpoint`.

    Raises
    ------
    CheckpointError
        When there are some and none can be trusted.
    """
    place = Path(place).expanduser()
    if (place / 'manifest.json').exists():
        step, state = read_checkpoint(place, parts)
        return Checkpoint(step, state, place)
    with contextlib.suppress(NotADirectoryError):
        for folder in (place / 'checkpoints', place):
            newest = CheckpointDir(folder).load_latest(parts) if folder.is_dir() else None
            if newest is not None:
                return newest
    return None


def read_optimizer(place: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what the optimizer remembers in a checkpoint, or in the newest one of a run: what `Learner.load` takes.

    Raises
    ------
    CheckpointError
        When there is no checkpoint, or what it holds is no such state.
    """
    fresh = 'leave out --resume-states to start with a fresh optimizer'
    if Path(place).expanduser().is_file():
        raise CheckpointError(f'{place}: is a file, and what an optimizer remembers lies in checkpoints: give the '
                              "folder of a run, or one of its checkpoints. GluonCV's .states files are pickles, which "
                              f'run code when they are loaded, and are not read; {fresh}')
    found = open_checkpoint(place, ('optimizer', 'loop'))
    if found is None:
        raise CheckpointError(f'{place}: no such file or checkpoint; {fresh}')
    with understood(found):
        return found.state['optimizer'], found.state['loop']['optimizer']
