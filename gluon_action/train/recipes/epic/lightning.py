"""What a run leaves under PyTorch Lightning's names: scores in log and TensorBoard, and the best parameters."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ....errors import OutputError
from ....files import cause_of
from ....model_zoo.loading.params_file import replace_arrays
from ...hook import Hook
from ...hooks import link
from ...run.history.log_style import LogStyle

_BEST = re.compile(r'epoch=\d+-step=\d+\.params$')


class LightningStyle(LogStyle):
    """Scores also under the names that they have in Lightning: in TensorBoard over steps, and in the log.

    ``train_loss`` every `log_interval` steps; ``train_acc``, ``valid_loss`` and ``valid_acc`` (0..1) every epoch.
    """

    def interval_scalars(self, result):
        """Return the loss of the batch."""
        return {'train_loss': result.loss_sum / result.count}

    def epoch_scalars(self, record):
        """Return the scores under both kinds of names."""
        scores = {name: value for name, value in named(record).items() if name != 'train_loss'}
        return [*super().epoch_scalars(record), (record['step'] - 1, scores)]

    def epoch_lines(self, record):
        """One line with the four scores."""
        scores = '  '.join(f'{name}={value:.4f}' for name, value in named(record).items())
        return [f'{name_of(record)}: {scores}  ({record["seconds"]:.1f} s){"  best" * bool(record.get("best"))}']


class SaveBest(Hook):
    """Keeps the parameters of the best epoch as ``checkpoints/epoch=E-step=S.params``; ``best.params`` stands for them.

    Parameters
    ----------
    folder : path
        ``version_N``.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def on_epoch(self, loop, record):
        """Write the best, and remove the one before it."""
        if not record.get('best'):
            return
        path = best_path(self.folder, record)
        try:
            path.parent.mkdir(exist_ok=True)
            replace_arrays(path, loop.learner.parameters())
            link(path, self.folder / 'best.params')
            for other in path.parent.iterdir():
                if _BEST.match(other.name) and other != path:
                    other.unlink()
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f'{path.parent}: cannot be written: {cause_of(error)}') from error


def named(record: dict[str, Any]) -> dict[str, float]:
    """Return the scores of an epoch under the names that they have in Lightning."""
    return {'train_loss': record['loss'], 'train_acc': record['accuracy'], 'valid_loss': record['val_loss'],
            'valid_acc': record['val_top1']}


def name_of(record: dict[str, Any]) -> str:
    """Return ``epoch=E-step=S``: the epoch and its last update, both counted from 0."""
    return f'epoch={record["epoch"]}-step={record["update"] - 1}'


def best_path(folder: Path, record: dict[str, Any]) -> Path:
    """Return where the parameters after an epoch are kept."""
    return folder / 'checkpoints' / f'{name_of(record)}.params'
