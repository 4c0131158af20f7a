"""Folders of runs as PyTorch Lightning has them: ``lightning_logs/version_N``."""
from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....errors import CheckpointError, OutputError
from ....files import cause_of
from ..config import TrainConfig

LOGS = 'lightning_logs'


@dataclass(frozen=True)
class LightningRun:
    """What such a run is asked for beside its `TrainConfig`.

    Attributes
    ----------
    root : path
        Folder of `LOGS`.
    checkpoint : str
        Weights to start from: a file that can be imported, parameters, or the folder of a run. Empty for none.
    resume : str
        Run to resume: its folder ``version_N``, or one of its checkpoints. Empty for a new one.
    train_batches, val_batches : int or float
        How many of an epoch, or what part of them.
    dev_run : int
        Only try whether everything runs, on so many batches, and write nothing; 0 for a real run.
    """

    root: str | os.PathLike = '.'
    checkpoint: str = ''
    resume: str = ''
    train_batches: int | float = 1.
    val_batches: int | float = 1.
    dev_run: int = 0


def find_version(path: str | os.PathLike) -> tuple[Path, str]:
    """Return the folder of a run to resume, and from where: ``auto``, or one of its checkpoints.

    Raises
    ------
    CheckpointError
        When there is no such run.
    """
    path = Path(path).expanduser()
    folder = next((place for place in (path, *list(path.parents)[:2]) if (place / 'config.json').exists()), None)
    if folder is None or not path.is_dir():
        raise CheckpointError(f'--resume_from_checkpoint {path}: no run is there; give the version_N of one, or one of '
                              'the step-... in its checkpoints')
    return folder, str(path) if (path / 'manifest.json').exists() else 'auto'


@contextlib.contextmanager
def in_version(config: TrainConfig, options: LightningRun) -> Iterator[TrainConfig]:
    """Give the configuration its folder; a new one is removed when the run does not get as far as to use it."""
    if options.resume:
        folder, resume = find_version(options.resume)
        yield dataclasses.replace(config, save_dir=str(folder), resume=resume)
        return
    folder = new_version(Path(options.root).expanduser() / LOGS)
    try:
        yield dataclasses.replace(config, save_dir=str(folder), resume=None)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # which leaves it alone when something is in it


def new_version(logs: Path, name: str = 'version') -> Path:
    """Make the next free ``version_N`` of a folder."""
    try:
        logs.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name.rpartition('_')[2]) for path in logs.glob(f'{name}_*')
                   if path.name.rpartition('_')[2].isdecimal()]
        number = max(numbers, default=-1) + 1
        while True:  # another process may be quicker
            with contextlib.suppress(FileExistsError):
                (logs / f'{name}_{number}').mkdir()
                return logs / f'{name}_{number}'
            number += 1
    except OSError as error:
        raise OutputError(f'--default_root_dir: {logs} cannot be written: {cause_of(error)}') from error
