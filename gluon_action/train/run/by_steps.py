"""Training by steps: the loop's epochs become stretches of batches, which run on over the epochs of the data."""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from ...errors import UsageError
from ...evaluate.scores.clip_scores import ClipScoring
from ..hook import Hook
from ..loop import Loop
from .history.history_plot import plot_run_by_steps
from .history.log_style import LogStyle

log = logging.getLogger(__name__)


def fit_by_steps(loop: Loop, train_loader, val_loader=None, *, every: int, total: int | None,
                 hooks: Callable[[], Sequence[Hook]], flag: str = '--train_steps', shift: int = 0) -> None:
    """Train until `total` steps are done, validating after every so many.

    Parameters
    ----------
    loop : Loop
        Stands at the start, or where the run is resumed.
    train_loader, val_loader : VideoLoader
    every : int
        Steps of a stretch, which is an epoch to hooks.
    total : int, optional
        Steps of the whole run; by default it trains until it is interrupted.
    hooks : callable
        Makes the hooks; not called when nothing is left to do.
    flag : str
        Names `total` to the user.
    shift : int
        See `StepLoader`.
    """
    progress = loop.progress
    # Where more is done of a stretch than stretches now have, it ends where the run stands.
    progress.batch = min(progress.batch, every)
    steps = StepLoader(train_loader, every, total=total, origin=(progress.epoch, progress.step - progress.batch),
                       shift=shift)
    if steps.stretches > progress.epoch:
        loop.fit(steps, val_loader, epochs=steps.stretches, hooks=hooks())
    else:
        log.info('The run has done its %d steps; a larger %s resumes it.', progress.step, flag)


class StepLoader:
    """Stretches of `steps` batches, each an epoch for `Loop.fit`, cut from a loader that is begun over and over.

    Batch `n` of the run, from 0, is batch ``n % len(loader)`` of epoch ``n // len(loader)`` of the data, whatever the
    stretches are. Workers keep prefetching between two stretches, while the loop validates and saves.

    Parameters
    ----------
    loader : VideoLoader
        Training batches.
    steps : int
        Batches of a stretch.
    total : int, optional
        Batches of the whole run, where the last stretch ends; by default there is no end.
    origin : (int, int)
        A stretch, and the batch of the run that it starts with: where a run is resumed that had other stretches before.
    shift : int
        How many batches further the data are than the run, where batches were of another size before.

    Raises
    ------
    UsageError
        When there is nothing to train on, or a number is invalid.
    """

    def __init__(self, loader, steps: int, *, total: int | None = None, origin: tuple[int, int] = (0, 0),
                 shift: int = 0):
        if not len(loader):
            raise UsageError('there is nothing to train on: the data set makes no batch')
        if steps < 1 or total is not None and total < 1:
            raise UsageError(f'a run has 1 step or more and is looked at every 1 step or more, got {total} and {steps}')
        self.loader, self.steps, self.total, self.origin, self.shift = loader, steps, total, origin, shift
        self._stream: Iterator[Any] | None = None
        self._next = -1

    def __len__(self) -> int:
        """Batches of a stretch that is not cut short."""
        return self.steps

    @property
    def dataset(self):
        """The data set of the loader."""
        return self.loader.dataset

    @property
    def stretches(self) -> float:
        """Stretches of the whole run, counted from 0 like epochs; infinite without an end."""
        if self.total is None:
            return float('inf')
        stretch, batch = self.origin
        return stretch + max(0, -(-(self.total - batch) // self.steps))

    def start_of(self, stretch: int) -> int:
        """The batch of the run, from 0, that a stretch starts with."""
        return self.origin[1] + (stretch - self.origin[0]) * self.steps

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Any]:
        """Iterate over the batches of a stretch from `start_batch` on."""
        first = self.start_of(epoch) + start_batch
        end = self.start_of(epoch + 1)
        if self.total is not None:
            end = min(end, self.total)
        if self._stream is None or first != self._next:
            self._stream, self._next = self._endless(first), first
        while self._next < end:
            batch = next(self._stream)
            self._next += 1
            yield batch

    def _endless(self, first: int) -> Iterator[Any]:
        epoch, batch = divmod(first + self.shift, len(self.loader))
        while True:
            yield from self.loader.epoch(epoch, batch)
            epoch, batch = epoch + 1, 0


class StepsStyle(LogStyle):
    """What the log of a run by steps says: two lines and a record for each stretch, and scalars by TensorFlow's tags.

    The tags are ``Losses/*``, ``Metrics/train/*``, ``Metrics/eval/*``, ``learning_rate`` and ``global_step/sec``. The
    scores of training are those that the batches of the stretch had when they were trained on. Of a stretch that was
    resumed in its midst they are not known, nor is its speed, and neither is said.

    Parameters
    ----------
    scoring : ClipScoring
    weight_decay : float
        Factor of the regularisation, whose size is recorded.
    """

    kind = 'stretch'
    #: Scores that stand in the lines, in this order, those of them that there are.
    shown: Sequence[str] = ('auc', 'map', 'precision', 'recall', 'f1', 'top1')

    def __init__(self, scoring: ClipScoring, weight_decay: float):
        self.scoring, self.weight_decay = scoring, weight_decay
        self._meter = scoring.meter()

    def start(self, loop):
        """Remember where the first stretch starts, and whether all of it is seen."""
        self._step, self._whole = loop.progress.step, not loop.progress.batch

    def step_scalars(self, loop, result):
        """Score the batch; its numbers are shown with those of its stretch."""
        for shard in result.shards:
            self._meter.update(*self.scoring.given(shard.logits, shard.label))
        return {}

    def complete(self, loop, record):
        """Add speed, regularisation and the scores of training."""
        magnitudes, squares = loop.learner.weight_sums()
        l1, l2 = self.weight_decay * magnitudes, self.weight_decay * (squares / 2)
        record |= {'l1_loss': l1, 'l2_loss': l2, 'regularization_loss': l1 + l2,
                   'total_loss': record['loss'] + l1 + l2}
        if self._whole:
            trained = {name: value for name, value in self._meter.metrics().as_numbers().items() if name != 'map'}
            record |= {'steps_per_second': (record['step'] - self._step) / record['seconds'],
                       **{f'train_{name}': value for name, value in trained.items()}}
        self._meter, self._step, self._whole = self.scoring.meter(), record['step'], True

    def epoch_lines(self, record):
        """Return the lines of a stretch: training, and evaluation where there was one."""
        whole = 'steps_per_second' in record
        lines = [f'step {record["step"]}: loss={record["total_loss"]:.5f} (l1 {record["l1_loss"]:.5f}, '
                 f'l2 {record["l2_loss"]:.5f}) ' + f'{self._scores(record, "train_")} ' * whole
                 + f'lr={record["lr"]:g}' + (f' ({record["steps_per_second"]:.3g} steps/sec)' if whole else '')]
        if 'val_count' in record:
            best = ', the best so far' if record.get('best') else ''
            lines.append(f'step {record["step"]}: evaluation: loss={record["val_loss"]:.5f} '
                         f'{self._scores(record, "val_")} ({record["val_count"]} of {record["val_expected"]} '
                         f'clips{best})')
        return lines

    def epoch_scalars(self, record):
        """Return what of the record is a number, by its tag."""
        loss = 'sigmoid' if self.scoring.multi_label else 'softmax'
        tags = {f'Losses/{loss}_loss': record['loss'], 'learning_rate': record['lr']}
        if 'steps_per_second' in record:
            tags['global_step/sec'] = record['steps_per_second']
        tags |= {f'Losses/{name}': record[name] for name in ('l1_loss', 'l2_loss', 'regularization_loss', 'total_loss')}
        tags |= {f'Metrics/train/{name[6:]}': value for name, value in record.items() if name.startswith('train_')}
        tags |= {f'Metrics/eval/{name[4:]}': value for name, value in record.items()
                 if name.startswith('val_') and name not in ('val_count', 'val_expected')}
        return [(record['step'], {tag: value for tag, value in tags.items() if math.isfinite(value)})]

    def open_bar(self, result, batches):
        """Return the bar of a stretch."""
        return tqdm(total=batches, initial=result.batch, desc=f'from step {self._step}', unit='step', leave=False)

    def bar_text(self, loop, result):
        """What stands behind the bar."""
        return f'loss {loop.progress.loss:.4f}, lr {result.lr:.3g}'

    def plot(self, loop, path, title, batches):
        """Draw the history by steps."""
        plot_run_by_steps(loop.progress.history, path, title=title)

    def _scores(self, record: Mapping[str, Any], prefix: str) -> str:
        return ' '.join(f'{name}={record[prefix + name]:.4f}' for name in self.shown if prefix + name in record)
