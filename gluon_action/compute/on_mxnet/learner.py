"""A Gluon network that learns: forward, backward and update on every device."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.contrib import amp as mixed_precision

from ...data.loading.shards import shard_bounds
from ..learner import Learner, LearnerState, Shard, taught
from ..losses import count_correct
from ..optimizers import check_limits
from ..trained import choose_parameters
from .activations import endpoints_of, outputs_of
from .averages import GluonAverages
from .optimizer_state import restore_trainer_state, trainer_state
from .parameters import arrays_of, restore_parameter, unique_parameters
from .trainer import (
    add_l1,
    add_l2,
    make_trainer,
    set_precision,
    start_store,
    sums_of_squares,
    take_step,
)


class GluonLearner(Learner):
    """Trains a network of Gluon by a `gluon.Trainer`.

    Parameters
    ----------
    net : mxnet.gluon.HybridBlock
        Initialised on `contexts`; maps the rows of samples to logits (N, K).
    optimizer : str
        One of `compute.optimizers.OPTIMIZERS`, or another of MXNet's.
    optimizer_params : dict
        Its arguments but for the learning rate: ``momentum``, ``wd``, ...
    loss : callable
        ``loss(F, logits, label, dense=) -> (N,)``, with the teacher's logits as fourth argument if there is one.
        Validation reports ``loss.plain()`` where the loss has it.
    contexts : list of mxnet.Context
        Devices.
    rows_per_sample : int
        Rows of ``batch.data`` that are one sample and become one row of logits: segments.
    val_crops : int
        How many times as many a sample has in validation, where the logits are averaged over them.
    accumulate : int
        Batches whose gradients are added up for an update.
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
    params : iterable of str, optional
        Keys of the parameters to train; all by default. Those whose ``grad_req`` is ``'null'`` are never trained.
    no_wd : bool
        Spare beta, gamma and bias the weight decay.
    l1 : float
        Adds ``l1 * sum(abs(w))`` to the loss, over the parameters that `wd` is for.
    l2 : mapping of str to float, optional
        Key of a parameter -> factor of ``sum(w ** 2) / 2`` that is added to the mean loss, beside `wd`.
    clip_each : float
        Limit of the norm of each parameter's gradient; 0 for none.
    sum_devices : bool
        Add up the devices' mean gradients, L2 terms included, instead of averaging over all samples: a step on two
        devices is twice as long. TensorFlow's towers are often written so.
    average : float
        Share of their moving averages that updates keep, see `GluonAverages`; 0 for no averages.
    teacher : mxnet.gluon.HybridBlock, optional
        Network to distil from, initialised on `contexts`.
    stored_teacher : bool
        Labels for training are (N, 2 K): the labels, and behind them what a teacher has said.

    Attributes
    ----------
    trainer : mxnet.gluon.Trainer
    averages : GluonAverages or None

    Raises
    ------
    UsageError
        When an argument is invalid, or nothing is left to train.
    """

    takes_pixels = True

    def __init__(self, net: mx.gluon.HybridBlock, optimizer: str, optimizer_params: dict[str, Any], *, loss: Callable,
                 contexts: Sequence[mx.Context], rows_per_sample: int = 1, val_crops: int = 1, accumulate: int = 1,
                 kvstore: str | mx.kv.KVStore | None = None, clip_grad: float = 0, clip_norm: float = 0,
                 amp: bool = False, dtype: str = 'float32', params: Iterable[str] | None = None, no_wd: bool = False,
                 l1: float = 0, l2: Mapping[str, float] | None = None, clip_each: float = 0, sum_devices: bool = False,
                 average: float = 0, teacher: mx.gluon.HybridBlock | None = None, stored_teacher: bool = False):
        self.net, self.teacher, self.loss, self.contexts = net, teacher, loss, list(contexts)
        self.num_devices = len(self.contexts)
        self.rows_per_sample, self.val_crops, self.accumulate = rows_per_sample, val_crops, accumulate
        self.clip_norm, self.clip_each, self.l1, self.amp, self.dtype = clip_norm, clip_each, l1, amp, dtype
        self.sum_devices, self.stored_teacher = sum_devices, stored_teacher
        check_limits(clip_each=clip_each)
        self.validation_loss = loss.plain() if hasattr(loss, 'plain') else loss
        set_precision([net] if teacher is None else [net, teacher], contexts, dtype, amp)
        self._params = unique_parameters(net)
        trained = choose_parameters(self._params, params, accumulate=accumulate, l1=l1, amp=amp)
        self.names = list(trained)
        self.trainer, self._machines = make_trainer(
            trained.values(), optimizer, optimizer_params, kvstore=kvstore, clip_grad=clip_grad,
            clip_norm=clip_norm, dtype=dtype, no_wd=no_wd)
        self._l2 = [float((l2 or {}).get(name, 0)) for name in self.names]
        self.averages = GluonAverages(self._params, average) if average else None
        if amp:
            mixed_precision.init_trainer(self.trainer)
        self._busy: set[mx.Context] = set()

    def gradients(self, batch, seed):
        """Run forward and backward on every device; see `Learner`."""
        self._seed_devices(seed)
        shards, losses = [], []
        pieces = self._split(batch, self.rows_per_sample)
        with autograd.record():
            for x, y, label in pieces:
                y, label, said = taught(self.stored_teacher, y, label, self._asked(x))
                logits, dense = self._logits(self.net, x), label.ndim == 2
                losses.append(self.loss(mx.nd, logits, y, *said, dense=dense))
                logits = logits.detach()
                shards.append(_GluonShard(label, logits, losses[-1], count_correct(mx.nd, logits, y, dense=dense)))
                self._busy.add(x.context)
            self._backward(losses)
        for shard, loss in zip(shards, losses):
            shard.loss = loss.detach().sum()
        return shards

    def update(self, rate, samples):
        """Let the trainer take a step; see `Learner`."""
        self.trainer.set_learning_rate(rate)
        self._clear_idle_devices()
        add_l1(self.trainer, self.l1 * samples)
        add_l2(self.trainer, [factor * samples for factor in self._l2])
        if self._machines > 1:
            start_store(self.trainer)
        towers = len(self._busy) if self.sum_devices else 1
        take_step(self.trainer, samples * self._machines / towers, self.clip_norm, self.clip_each)
        if self.averages is not None:
            self.averages.update()
        if self.accumulate > 1:
            for param in self.trainer._params:
                param.zero_grad()
        self._busy = set()

    def scores(self, batch):
        """Run forward on every device; see `Learner`."""
        shards = []
        for x, y, label in self._split(batch, self.rows_per_sample * self.val_crops):
            # The network averages the segments; the mean over what is left of a sample is the mean over all its rows.
            logits = self._logits(self.net, x).reshape((len(label), self.val_crops, -1)).mean(axis=1)
            shards.append(_GluonShard(label, logits,
                                      self.validation_loss(mx.nd, logits, y, dense=label.ndim == 2).sum()))
        return shards

    def settle(self):
        """Do nothing: the network is what learns."""

    def adopt(self):
        """Begin the averages anew: the network is what learns."""
        if self.averages is not None:
            self.averages.reset()

    def wait(self):
        """Wait for MXNet's engine."""
        mx.nd.waitall()

    def parameters(self):
        """Return copies of what a parameter file holds."""
        return arrays_of(self.net)

    def showing_averages(self):
        """Let the network hold the moving averages, if there are any."""
        return contextlib.nullcontext() if self.averages is None else self.averages.shown()

    def state(self):
        """Return a copy of parameters, optimizer and statistics."""
        data = (self.averages.aside if self.averages is not None else []) or [
            {name: param.list_data()[device] for name, param in self._params.items()}
            for device in range(len(self.contexts))]
        statistics = [{name: arrays[name].asnumpy() for name, param in self._params.items()
                       if not param._differentiable} for arrays in data[1:]]
        params = {name: array.asnumpy() for name, array in data[0].items()}
        averages = {} if self.averages is None else self.averages.arrays()
        return LearnerState(params, *self.optimizer_state(), statistics, averages)

    def load(self, state):
        """Continue from a state; see `Learner`."""
        state.check_network(self._params)
        for name, param in self._params.items():
            restore_parameter(name, param, state.params[name])
        for device, statistics in zip(range(1, len(self.contexts)), state.statistics):
            for name, array in statistics.items():
                self._params[name].list_data()[device][:] = array
        self.load_optimizer_state(state.optimizer, state.numbers)
        if self.averages is not None:
            self.averages.load(state.averages)
        self._busy = set()

    def optimizer_state(self):
        """Return a copy of the trainer's state."""
        return trainer_state(self.trainer, self.names)

    def load_optimizer_state(self, arrays, numbers):
        """Put a state back into the trainer."""
        restore_trainer_state(self.trainer, self.names, arrays, numbers)

    def weight_sums(self):
        """Return sums of magnitudes and squares of the weights."""
        weights = [param.list_data()[0] for key, param in self._params.items() if key.endswith('weight')]
        return (sum(float(mx.nd.abs(weight).sum().asscalar()) for weight in weights),
                sum(float(mx.nd.square(weight).sum().asscalar()) for weight in weights))

    def penalty(self):
        """Return the sum of the parameters' own L2 terms."""
        penalised = [(factor, param) for factor, param in zip(self._l2, self.trainer._params) if factor]
        squares = sums_of_squares([param.list_data()[0] for _, param in penalised]).asnumpy() if penalised else []
        return sum(factor / 2 * float(square) for (factor, _), square in zip(penalised, squares))

    def endpoints(self, names=None):
        """Return the names of blocks whose output can be looked at."""
        return list(endpoints_of(self.net, names))

    def activations(self, data, endpoints):
        """Return what blocks give out for the rows of one sample."""
        x = mx.nd.array(data, ctx=self.contexts[0]).astype(self.dtype, copy=False)
        return {name: output.astype('float32', copy=False).asnumpy()
                for name, output in outputs_of(self.net, endpoints_of(self.net, endpoints), x).items()}

    def _seed_devices(self, seed: Sequence[int]) -> None:
        for device, context in enumerate(self.contexts):
            drawn = np.random.SeedSequence([*seed, device]).generate_state(1)[0]
            mx.random.seed(int(drawn >> 1), ctx=context)

    def _split(self, batch, rows: int) -> list[tuple[mx.nd.NDArray, mx.nd.NDArray, np.ndarray]]:
        """Return data and label on each device, and the label here; `rows` of the data are one sample."""
        if len(self.contexts) == 1:
            pieces = [(batch.data, batch.label)]
        else:
            pieces = [(batch.data[rows_of], batch.label[samples]) for rows_of, samples in zip(
                _slices(batch.data, len(self.contexts), rows), _slices(batch.label, len(self.contexts)))]
        scaling = getattr(batch, 'scaling', None)
        return [(mx.nd.array(data, ctx=context) if scaling is None else _scaled(data, scaling, context),
                 mx.nd.array(label, ctx=context), label)
                for (data, label), context in zip(pieces, self.contexts)]

    def _logits(self, net, x):
        logits = net(x.astype(self.dtype, copy=False))
        # Losses are logarithms of sums, for which float16 and bfloat16 have too few digits.
        return mx.nd.amp_cast(logits, dtype='float32') if self.amp or self.dtype == 'float16' else logits

    def _asked(self, x) -> Callable | None:
        """Return what asks the teacher, if there is one."""
        def ask():
            with autograd.pause(train_mode=False):
                return self._logits(self.teacher, x)
        return None if self.teacher is None else ask

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


@dataclass
class _GluonShard(Shard):
    """Arrays of a device, and the label here."""

    label: np.ndarray
    output: mx.nd.NDArray
    loss: mx.nd.NDArray
    hits: mx.nd.NDArray | None = None

    @property
    def logits(self):
        return self.output.asnumpy()

    @property
    def loss_sum(self):
        return float(self.loss.asscalar())

    @property
    def correct(self):
        return int(self.hits.asscalar())


def _scaled(pixels: np.ndarray, scaling, context) -> mx.nd.NDArray:
    """Copy pixels uint8 to a device, a quarter of the bytes of floats, and scale them there."""
    there = mx.nd.empty(pixels.shape, ctx=context, dtype=np.uint8)
    there[:] = pixels
    shape = (1, -1, *[1] * (pixels.ndim - 2))
    factor, offset = (mx.nd.array(value, ctx=context).reshape(shape) for value in scaling.affine(pixels.shape[1]))
    return mx.nd.broadcast_add(mx.nd.broadcast_mul(there.astype(np.float32), factor), offset)


def _slices(array: np.ndarray, devices: int, rows: int = 1) -> list[slice]:
    return [slice(*bounds) for bounds in shard_bounds(len(array), devices, multiplier=rows)]
