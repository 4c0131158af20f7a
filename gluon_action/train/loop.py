"""The training loop: a learner, batches, a schedule and hooks. Every recipe is arguments to it."""
from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..compute.learner import Learner, LearnerState, Shard
from ..compute.waits import Waits
from ..errors import CheckpointError, DivergedError, TrainingError, UnscoredError, UsageError
from ..evaluate.scores.validation import Scores
from .hook import Hook, closing
from .progress import Progress, StepResult


class Loop:
    """Trains a network.

    Parameters
    ----------
    learner : Learner
        The network on its devices, with loss and optimizer.
    schedule : callable
        ``schedule(update) -> learning rate``, updates counted from 1 as MXNet's optimizers count.
    seed : int
        With the step and the device, decides every random draw on a device.
    mixup : MixUp, optional
    scores : callable
        ``scores(batches)`` collects a validation as `Scores` does, the default; its ``best_metric`` names the entry of
        the summary whose highest value is the best.
    averaged : bool
        Whether validation, and the parameters that are saved, are those of the learner's moving averages.
    advice : str
        What to try, in the words of the command's flags, when the loss is not finite.

    Attributes
    ----------
    progress : Progress
    """

    def __init__(self, learner: Learner, *, schedule: Callable[[int], float], seed: int = 0, mixup=None,
                 scores: Callable[[int], Any] = Scores, averaged: bool = False,
                 advice: str = 'a lower --lr, --warmup-epochs or --clip-grad'):
        self.learner, self.schedule, self.seed, self.mixup, self.scores = learner, schedule, seed, mixup, scores
        self.averaged, self.advice = averaged, advice
        self.progress = Progress()
        self._gathered_batches = self._gathered_samples = 0
        self._unread: StepResult | None = None
        self._waits = Waits()

    def fit(self, train_loader, val_loader=None, *, epochs: int, hooks: Sequence[Hook] = (),
            score_start: bool = False, patience: int = 0) -> list[dict[str, Any]]:
        """Train from where `progress` stands until `epochs` are done, validating after each.

        Parameters
        ----------
        train_loader, val_loader : VideoLoader
            ``len(loader)`` batches an epoch, which ``loader.epoch(epoch, start_batch)`` yields.
        epochs : int
            Epochs of the whole run; ``math.inf`` for one that runs until it is interrupted.
        hooks : sequence of Hook
        score_start : bool
            Validate before the first epoch too: an epoch is the best only where it is better than that.
        patience : int
            Epochs that may be no better than what was before them; 0 for any number.

        Returns
        -------
        list of dict
            A record for each epoch of the run: ``epoch``, ``step``, ``update``, ``accuracy``, ``loss``, ``lr``,
            ``samples``, ``failed``, ``seconds``, ``speed``, and of the seconds those that it waited for batches,
            ``data_seconds``, and for the devices, ``device_seconds`` (see `Waits`); with `val_loader` also what
            `validate` returns, with ``val_`` before each name, ``validation_seconds`` and ``best``.

        Raises
        ------
        DivergedError
            When the loss is not finite.
        UnscoredError
            When not one sample of a validation can be read.
        """
        progress = self.progress
        with closing(hooks):
            for hook in hooks:
                hook.on_start(self, epochs, len(train_loader))
            if score_start and val_loader is not None and progress.start is None and not (
                    progress.history or progress.batch):
                found = {f'val_{name}': value for name, value in self.validate(val_loader, hooks).items()}
                progress.keep_start(found, f'val_{self.scores.best_metric}')
                for hook in hooks:
                    hook.on_start_scored(self, found)
            while progress.epoch < epochs and not progress.has_stalled(patience):
                record = self.train_epoch(train_loader, progress.epoch, progress.batch, hooks)
                if val_loader is not None:
                    started = time.perf_counter()
                    record |= {f'val_{name}': value for name, value in self.validate(val_loader, hooks).items()}
                    record['validation_seconds'] = time.perf_counter() - started
                progress.finish_epoch(record, f'val_{self.scores.best_metric}')
                for hook in hooks:
                    hook.on_epoch(self, record)
            for hook in hooks:
                hook.on_end(self)
        return progress.history

    def train_epoch(self, loader, epoch: int, start_batch: int = 0, hooks: Sequence[Hook] = ()) -> dict[str, Any]:
        """Train on the batches of one epoch from `start_batch` on; returns its record, see `fit`."""
        progress = self.progress
        progress.begin(epoch, start_batch)
        started, already, waits = time.perf_counter(), progress.count, Waits()
        self._waits = waits
        for batch in waits.for_data(loader.epoch(epoch, start_batch)):
            for hook in hooks:
                hook.on_batch(self, batch)
            result = self.step(batch)
            # One step late, so that the devices have the next step to work on while this waits for a number.
            with waits.for_devices():
                self._read(self._unread)
            self._unread = result
            for hook in hooks:
                hook.on_step(self, result)
        if self._gathered_batches:
            self.update()
        self.flush()
        seconds = time.perf_counter() - started
        return {'epoch': epoch, 'step': progress.step, 'update': progress.update, 'accuracy': progress.accuracy,
                'loss': progress.loss, 'lr': self.learning_rate, 'samples': progress.count,
                'failed': progress.failed, 'seconds': seconds, 'speed': (progress.count - already) / seconds,
                'data_seconds': waits.data, 'device_seconds': waits.devices}

    def step(self, batch) -> StepResult:
        """Gather the gradients of a batch and, when there are enough, update. Does not wait for the devices."""
        progress, shards = self.progress, []
        if len(batch.indices):
            mixed = self._mixed(batch)
            with self._waits.for_devices():  # some engines compute at once
                shards = self.learner.gradients(mixed, seed=(self.seed, progress.step))
        elif self.learner.needs_samples:
            raise TrainingError('--sync-bn: not one video of a batch could be read here, and the other processes wait '
                                'for its statistics; take what is damaged off the list (gluon-action check-data finds '
                                'it), raise --batch-size, or leave out --sync-bn; the last one: '
                                f'{getattr(batch.failures[-1], "message", batch.failures[-1])}')
        self._gathered_batches += 1
        self._gathered_samples += len(batch.indices)
        lr = self.schedule(progress.place + 1)
        if self._gathered_batches == self.learner.accumulate:
            self.update()
        progress.batch += 1
        progress.step += 1
        progress.failed += len(batch.failures)
        return StepResult(progress.epoch, progress.batch - 1, progress.step, lr, len(batch.indices), batch.failures,
                          shards)

    def update(self) -> None:
        """Turn the gradients gathered so far into one update of the parameters."""
        progress = self.progress
        with self._waits.for_devices():
            samples = self.learner.together(self._gathered_samples)
        if samples:
            progress.update += 1
            with self._waits.for_devices():
                self.learner.update(self.schedule(progress.place), samples)
        else:
            progress.idle += 1
        self._gathered_batches = self._gathered_samples = 0

    def validate(self, loader, hooks: Sequence[Hook] = (), *, scores: Scores | None = None,
                 start_batch: int = 0) -> dict[str, float]:
        """Score every sample of `loader`, the tail included.

        Parameters
        ----------
        loader
        hooks : sequence of Hook
        scores : Scores, optional
            What the batches before `start_batch` gave, which are not read again.
        start_batch : int

        Returns
        -------
        dict
            What `scores` finds. By default ``top1`` and ``top5`` in 0..1 over the ``expected`` samples, of which one
            that could not be read is wrong, and ``loss``, the mean over the ``count`` that were scored. A sample with
            several labels is right when the best class (one of the best five) is one of them.

        Raises
        ------
        UsageError
            When there is nothing to score.
        UnscoredError
            When there is, and not one sample could be read: that is no score.
        """
        scores = self.scores(len(loader)) if scores is None else scores
        pending, scored, failure = None, 0, None
        with self._evaluated():
            for batch in loader.epoch(0, start_batch):
                # One batch late, as in training.
                waiting, pending = pending, (batch, self.learner.scores(batch) if len(batch.indices) else [])
                scored += len(batch.indices)
                failure = batch.failures[-1] if batch.failures else failure
                if waiting:
                    self._read_scores(scores, *waiting, hooks)
            if pending:
                self._read_scores(scores, *pending, hooks)
        if failure is not None and not scored:
            raise UnscoredError(f'not one of the {scores.expected} samples of the validation could be read, which is '
                                f'no score; the last one: {getattr(failure, "message", failure)}')
        return scores.summary()

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of what a parameter file of the network holds: of what is validated."""
        with self._evaluated():
            return self.learner.parameters()

    def flush(self) -> None:
        """Wait for the devices and bring the sums in `progress` up to the last step.

        Raises
        ------
        DivergedError
            When the loss is not finite.
        """
        result, self._unread = self._unread, None
        with self._waits.for_devices():
            self._read(result)
            self.learner.wait()

    @property
    def learning_rate(self) -> float:
        """Rate of the last update; before any, that of the first."""
        return self.schedule(max(1, self.progress.place))

    @property
    def between_updates(self) -> bool:
        """Whether no gradients are gathered: the moments at which the state can be saved."""
        return self._gathered_batches == 0

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to be resumed, as `CheckpointDir.save` takes it; arrays are copies.

        Raises
        ------
        UsageError
            Between the batches of one update, see `between_updates`.
        DivergedError
            When loss or parameters are not finite, so that a broken state never replaces a good one.
        """
        if not self.between_updates:
            raise UsageError(f'the state cannot be saved between the {self.learner.accumulate} batches of one update')
        self.flush()
        state = self.learner.state()
        if not all(np.isfinite(array).all() for array in state.params.values()):
            raise self._diverged('the parameters are not finite', self.progress.batch, self.learning_rate)
        numbers = {'seed': self.seed, 'optimizer': state.numbers, 'progress': dataclasses.asdict(self.progress)}
        return {'params': state.params, 'optimizer': state.optimizer, 'loop': numbers,
                **({'averages': state.averages} if state.averages else {}),
                **{f'statistics-{device}': arrays for device, arrays in enumerate(state.statistics, 1)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, step for step as if never stopped.

        Raises
        ------
        CheckpointError
            When it is of another network, another optimizer or another seed.
        """
        numbers = state['loop']
        if numbers['seed'] != self.seed:
            raise CheckpointError(f'the checkpoint is of a run with --seed {numbers["seed"]}, this one has '
                                  f'--seed {self.seed}; pass the same')
        devices = sum(part.startswith('statistics-') for part in state)
        statistics = [state[f'statistics-{device}'] for device in range(1, devices + 1)]
        self.learner.load(LearnerState(state['params'], state['optimizer'], numbers['optimizer'], statistics,
                                       state.get('averages', {})))
        self.progress = Progress.from_json(numbers['progress'])
        self._gathered_batches = self._gathered_samples = 0
        self._unread = None

    def _evaluated(self) -> contextlib.AbstractContextManager:
        return self.learner.showing_averages() if self.averaged else contextlib.nullcontext()

    def _mixed(self, batch):
        if getattr(batch, 'scaling', None) is not None and (self.mixup is not None or not self.learner.takes_pixels):
            batch = batch.scaled()
        if self.mixup is None:
            return batch
        data, label = self.mixup(batch.data, batch.label, np.random.default_rng([self.seed, self.progress.step]),
                                 epoch=self.progress.epoch, rows_per_sample=self.learner.rows_per_sample)
        return dataclasses.replace(batch, data=data, label=label)

    def _read(self, result: StepResult | None) -> None:
        if result is None or not result.count:
            return
        loss_sum = result.loss_sum
        if not math.isfinite(loss_sum):
            raise self._diverged(f'the loss is {loss_sum / result.count}', result.batch + 1, result.lr)
        self.progress.loss_sum += loss_sum
        self.progress.correct += result.correct
        self.progress.count += result.count

    def _read_scores(self, scores: Scores, batch, shards: Sequence[Shard], hooks: Sequence[Hook]) -> None:
        for shard in shards:
            scores.add(shard.logits, shard.label, shard.loss_sum)
        scores.expected += len(batch.indices) + len(batch.failures)
        for hook in hooks:
            hook.on_scored(self, scores, batch)

    def _diverged(self, what: str, batch: int, lr: float) -> DivergedError:
        progress = self.progress
        return DivergedError(f'{what} after batch {batch} of epoch {progress.epoch} (update {progress.update}, '
                             f'learning rate {lr:g}); try {self.advice}')
