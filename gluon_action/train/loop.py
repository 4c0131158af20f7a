"""The training loop: a network, batches, a loss, devices, a schedule and hooks. Every recipe is arguments to it."""
from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.contrib import amp as mixed_precision

from ..data.dataloader import split_and_load
from ..errors import CheckpointError, TrainingError, UsageError
from ..evaluate.scores.validation import Scores
from .hooks import Hook
from .losses import count_correct
from .optimizer_state import restore_trainer_state, trainer_state
from .progress import Progress, StepResult
from .trainer import add_l1, choose_parameters, make_trainer, restore_parameter, set_precision, start_store, take_step
from .trainer import unique_parameters as unique_parameters


class Loop:
    """Trains a network.

    Parameters
    ----------
    net : mxnet.gluon.HybridBlock
        Initialised on `contexts`; maps the rows of samples to logits (N, K).
    optimizer : str
        ``'sgd'``, ``'nag'``, ``'adam'``, ``'adamw'`` or another of MXNet's.
    optimizer_params : dict
        Its arguments but for the learning rate: ``momentum``, ``wd``, ...
    loss : callable
        ``loss(logits, label) -> (N,)``, with the teacher's logits as third argument if there is one. Validation
        reports ``loss.plain()`` where the loss has it.
    contexts : list of mxnet.Context
        Devices. Each has running statistics of batch normalisation of its own; those of the first are saved to
        parameter files.
    schedule : callable
        ``schedule(update) -> learning rate``, updates counted from 1 as MXNet's optimizers count.
    batch_multiplier : int
        Rows of ``batch.data`` that are one sample and become one row of logits: segments.
    val_crops : int
        How many times as many a sample has in validation, where the logits are averaged over them.
    accumulate : int
        Batches whose gradients make one update. What is left at an epoch's end makes one too.
    kvstore : str or KVStore, optional
        Who adds up the devices' gradients: one of `trainer.KVSTORES`; ``'device'`` by default.
    clip_grad : float
        Limit of each element of the gradient; 0 for none.
    clip_norm : float
        Limit of the norm of the whole gradient; 0 for none.
    amp : bool
        Mixed precision: float16 on GPUs, bfloat16 on CPUs, where it saves time only if they compute in it. It lasts
        for the process.
    dtype : str
        Of the parameters: one of `trainer.DTYPES`; float16 on GPUs only.
    params : mxnet.gluon.ParameterDict, optional
        The parameters to train; all by default. Those whose ``grad_req`` is ``'null'`` are never trained.
    no_wd : bool
        Spare beta, gamma and bias the weight decay.
    l1 : float
        Adds ``l1 * sum(abs(w))`` to the loss, over the parameters that `wd` is for.
    seed : int
        With the step and the device, decides every random draw on a device.
    teacher : mxnet.gluon.HybridBlock, optional
        Network to distil from, initialised on `contexts`.
    mixup : MixUp, optional
    scores : callable
        ``scores(batches)`` collects a validation as `Scores` does, the default; its ``best_metric`` names the entry of
        the summary whose highest value is the best.

    Attributes
    ----------
    progress : Progress
    trainer : mxnet.gluon.Trainer
    names : list of str
        Keys in a parameter file of the parameters that are trained, in the trainer's order.

    Raises
    ------
    UsageError
        When an argument cannot be, or nothing is left to train.
    """

    def __init__(self, net: mx.gluon.HybridBlock, optimizer: str, optimizer_params: dict[str, Any], *,
                 loss: Callable, contexts: Sequence[mx.Context], schedule: Callable[[int], float],
                 batch_multiplier: int = 1, val_crops: int = 1, accumulate: int = 1,
                 kvstore: str | mx.kv.KVStore | None = None, clip_grad: float = 0, clip_norm: float = 0,
                 amp: bool = False, dtype: str = 'float32', params: mx.gluon.ParameterDict | None = None,
                 no_wd: bool = False, l1: float = 0, seed: int = 0, teacher: mx.gluon.HybridBlock | None = None,
                 mixup=None, scores: Callable[[int], Any] = Scores):
        self.net, self.teacher, self.loss, self.mixup, self.schedule = net, teacher, loss, mixup, schedule
        self.contexts, self.accumulate, self.clip_norm = list(contexts), accumulate, clip_norm
        self.batch_multiplier, self.val_crops, self.l1 = batch_multiplier, val_crops, l1
        self.dtype, self.seed, self.amp, self.scores = dtype, seed, amp, scores
        self.validation_loss = loss.plain() if hasattr(loss, 'plain') else loss
        self.progress = Progress()
        set_precision([net] if teacher is None else [net, teacher], contexts, dtype, amp)
        self._params = unique_parameters(net)
        trained = choose_parameters(self._params, params, accumulate=accumulate, no_wd=no_wd, l1=l1, amp=amp)
        self.names = list(trained)
        self.trainer, self.num_workers = make_trainer(
            trained.values(), optimizer, {**optimizer_params, 'learning_rate': schedule(1)}, kvstore=kvstore,
            clip_grad=clip_grad, clip_norm=clip_norm, dtype=dtype)
        if amp:
            mixed_precision.init_trainer(self.trainer)
        self._forget_gathered()
        self._unread: StepResult | None = None

    def fit(self, train_loader, val_loader=None, *, epochs: int, hooks: Sequence[Hook] = ()) -> list[dict[str, Any]]:
        """Train from where `progress` stands until `epochs` are done, validating after each.

        Parameters
        ----------
        train_loader, val_loader : VideoLoader
            ``len(loader)`` batches an epoch, which ``loader.epoch(epoch, start_batch)`` yields.
        epochs : int
            Epochs of the whole run; ``math.inf`` for one that goes on until it is interrupted.
        hooks : sequence of Hook

        Returns
        -------
        list of dict
            A record for each epoch of the run: ``epoch``, ``step``, ``update``, ``accuracy``, ``loss``, ``lr``,
            ``samples``, ``failed``, ``seconds``, ``speed``; with `val_loader` also what `validate` returns, with
            ``val_`` before each name, and ``best``.

        Raises
        ------
        TrainingError
            When the loss is not finite.
        """
        progress = self.progress
        try:
            for hook in hooks:
                hook.on_start(self, epochs, len(train_loader))
            while progress.epoch < epochs:
                record = self.train_epoch(train_loader, progress.epoch, progress.batch, hooks)
                if val_loader is not None:
                    record |= {f'val_{name}': value for name, value in self.validate(val_loader, hooks).items()}
                progress.finish_epoch(record, f'val_{self.scores.best_metric}')
                for hook in hooks:
                    hook.on_epoch(self, record)
            for hook in hooks:
                hook.on_end(self)
        finally:
            for hook in hooks:
                hook.close()
        return progress.history

    def train_epoch(self, loader, epoch: int, start_batch: int = 0, hooks: Sequence[Hook] = ()) -> dict[str, Any]:
        """Train on the batches of one epoch from `start_batch` on; returns its record, see `fit`."""
        progress = self.progress
        progress.begin(epoch, start_batch)
        started, already = time.perf_counter(), progress.count
        for batch in loader.epoch(epoch, start_batch):
            for hook in hooks:
                hook.on_batch(self, batch)
            result = self.step(batch)
            # One step late, so that the devices have the next step to work on while this waits for a number.
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
                'failed': progress.failed, 'seconds': seconds, 'speed': (progress.count - already) / seconds}

    def step(self, batch) -> StepResult:
        """Forward, backward and, when enough batches are gathered, update. Does not wait for the devices."""
        progress, losses, correct, outputs = self.progress, [], [], []
        if len(batch.indices):
            self._seed_devices()
            with autograd.record():
                for x, y in self._split(*self._mixed(batch)):
                    logits = self._logits(self.net, x)
                    losses.append(self.loss(logits, y, *self._taught(x)))
                    outputs.append((logits.detach(), y))
                    correct.append(count_correct(*outputs[-1]))
                    self._busy.add(x.context)
                self._backward(losses)
        loss_sums = [loss.detach().sum() for loss in losses]
        self._gathered_batches += 1
        self._gathered_samples += len(batch.indices)
        lr = self.schedule(progress.update + 1)
        if self._gathered_batches == self.accumulate:
            self.update()
        progress.batch += 1
        progress.step += 1
        progress.failed += len(batch.failures)
        return StepResult(progress.epoch, progress.batch - 1, progress.step, lr, len(batch.indices), batch.failures,
                          loss_sums, correct, outputs)

    def update(self) -> None:
        """Turn the gradients gathered so far into one update of the parameters."""
        if self._gathered_samples:
            self.progress.update += 1
            self.trainer.set_learning_rate(self.schedule(self.progress.update))
            self._clear_idle_devices()
            add_l1(self.trainer, self.l1 * self._gathered_samples)
            if self.num_workers > 1:
                start_store(self.trainer)
            take_step(self.trainer, self._gathered_samples * self.num_workers, self.clip_norm)
            if self.accumulate > 1:
                for param in self.trainer._params:
                    param.zero_grad()
        self._forget_gathered()

    def validate(self, loader, hooks: Sequence[Hook] = ()) -> dict[str, float]:
        """Score every sample of `loader`, the tail included.

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
        """
        scores, pending = self.scores(len(loader)), []
        for batch in loader.epoch(0):
            waiting, pending = pending, self._scored(batch)
            _read_scores(waiting, scores)
            scores.expected += len(batch.indices) + len(batch.failures)
            for hook in hooks:
                hook.on_scored(self, scores, batch)
        _read_scores(pending, scores)
        return scores.summary()

    def flush(self) -> None:
        """Wait for the devices and bring the sums in `progress` up to the last step.

        Raises
        ------
        TrainingError
            When the loss is not finite.
        """
        result, self._unread = self._unread, None
        self._read(result)
        mx.nd.waitall()

    @property
    def learning_rate(self) -> float:
        """Rate of the last update; before any, that of the first."""
        return self.schedule(max(1, self.progress.update))

    @property
    def between_updates(self) -> bool:
        """Whether no gradients are gathered: the moments at which the state can be saved."""
        return self._gathered_batches == 0

    def parameters(self) -> dict[str, mx.nd.NDArray]:
        """What a parameter file of the network holds, as on the first device."""
        return {name: param.list_data()[0] for name, param in self.net._collect_params_with_prefix().items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to go on, as `CheckpointDir.save` takes it.

        Raises
        ------
        UsageError
            Between the batches of one update, see `between_updates`.
        TrainingError
            When loss or parameters are not finite, so that a broken state never replaces a good one.
        """
        if not self.between_updates:
            raise UsageError(f'the state cannot be saved between the {self.accumulate} batches of one update')
        self.flush()
        params = {name: param.list_data()[0] for name, param in self._params.items()}
        if not all(flag.asscalar() for flag in [mx.nd.all_finite(array) for array in params.values()]):
            raise _diverged('the parameters are not finite', self.progress, self.progress.batch, self.learning_rate)
        arrays, numbers = trainer_state(self.trainer, self.names)
        state = {'params': params, 'optimizer': arrays,
                 'loop': {'seed': self.seed, 'optimizer': numbers, 'progress': dataclasses.asdict(self.progress)}}
        for device in range(1, len(self.contexts)):
            statistics = {name: param.list_data()[device] for name, param in self._params.items()
                          if not param._differentiable}
            state[f'statistics-{device}'] = statistics
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, step for step as if never stopped.

        Raises
        ------
        CheckpointError
            When it is of another network, another optimizer or another seed.
        """
        if state['loop']['seed'] != self.seed:
            raise CheckpointError(f'the checkpoint is of a run with --seed {state["loop"]["seed"]}, this one has '
                                  f'--seed {self.seed}; pass the same')
        differing = sorted(set(state['params']) ^ set(self._params))
        if differing:
            raise CheckpointError(f'the checkpoint is of another network: {len(differing)} parameters are in one of '
                                  f'the two only, {differing[0]} among them')
        for name, param in self._params.items():
            restore_parameter(name, param, state['params'][name])
        for device in range(1, len(self.contexts)):
            for name, array in state.get(f'statistics-{device}', {}).items():
                array.copyto(self._params[name].list_data()[device])
        restore_trainer_state(self.trainer, self.names, state['optimizer'], state['loop']['optimizer'])
        self.progress = Progress(**state['loop']['progress'])
        self._forget_gathered()
        self._unread = None

    def _seed_devices(self) -> None:
        for device, context in enumerate(self.contexts):
            drawn = np.random.SeedSequence([self.seed, self.progress.step, device]).generate_state(1)[0]
            mx.random.seed(int(drawn >> 1), ctx=context)

    def _mixed(self, batch) -> tuple:
        if self.mixup is None:
            return batch.data, batch.label
        return self.mixup(batch.data, batch.label, np.random.default_rng([self.seed, self.progress.step]),
                          epoch=self.progress.epoch, rows_per_sample=self.batch_multiplier)

    def _split(self, data, label, crops: int = 1) -> list[tuple]:
        rows = self.batch_multiplier * crops
        return list(zip(split_and_load(data, self.contexts, even_split=False, multiplier=rows),
                        split_and_load(label, self.contexts, even_split=False)))

    def _logits(self, net, x):
        logits = net(x.astype(self.dtype, copy=False))
        # Losses are logarithms of sums, for which float16 and bfloat16 have too few digits.
        return mx.nd.amp_cast(logits, dtype='float32') if self.amp or self.dtype == 'float16' else logits

    def _taught(self, x) -> tuple:
        if self.teacher is None:
            return ()
        with autograd.pause(train_mode=False):
            return (self._logits(self.teacher, x),)

    def _backward(self, losses) -> None:
        if self.amp:
            with mixed_precision.scale_loss(losses, self.trainer) as losses:
                autograd.backward(losses)
        else:
            autograd.backward(losses)

    def _clear_idle_devices(self) -> None:
        # The last batch may have fewer samples than there are devices. One without any still holds the gradients of
        # the step before, which would be added to the others' once more.
        for device, context in enumerate(self.contexts):
            for param in self.trainer._params if context not in self._busy else ():
                param.list_grad()[device][:] = 0
                param.list_data()[device]._fresh_grad = True

    def _forget_gathered(self) -> None:
        self._gathered_batches = self._gathered_samples = 0
        self._busy: set[mx.Context] = set()

    def _scored(self, batch) -> list[tuple]:
        scored = []
        for x, y in self._split(batch.data, batch.label, self.val_crops) if len(batch.indices) else ():
            # The network averages the segments; the mean over what is left of a sample is the mean over all its rows.
            logits = self._logits(self.net, x).reshape((len(y), self.val_crops, -1)).mean(axis=1)
            scored.append((logits, y, self.validation_loss(logits, y).sum()))
        return scored

    def _read(self, result: StepResult | None) -> None:
        if result is None or not result.count:
            return
        loss_sum = result.loss_sum
        if not math.isfinite(loss_sum):
            raise _diverged(f'the loss is {loss_sum / result.count}', self.progress, result.batch + 1, result.lr)
        self.progress.loss_sum += loss_sum
        self.progress.correct += result.correct
        self.progress.count += result.count


def _read_scores(pending: list[tuple], scores: Scores) -> None:
    for logits, label, loss in pending:
        scores.add(logits.asnumpy(), label.asnumpy(), float(loss.asscalar()))


def _diverged(what: str, progress: Progress, batch: int, lr: float) -> TrainingError:
    return TrainingError(f'{what} after batch {batch} of epoch {progress.epoch} (update {progress.update}, learning '
                         f'rate {lr:g}); try a lower --lr, --warmup-epochs or --clip-grad. '
                         f'The last checkpoint is from before this and is kept')
