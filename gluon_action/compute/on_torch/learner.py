"""A Gluon network that learns by PyTorch: forward, backward and update on every device."""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...data.loading.shards import shard_bounds
from ...errors import UsageError
from ..learner import Learner, LearnerState, Shard, taught
from ..losses import count_correct
from ..on_mxnet.activations import endpoints_of, outputs_on_cpu
from ..on_mxnet.parameters import restore_parameter, unique_parameters
from ..optimizers import check_limits, rule_on_torch
from ..trained import choose_parameters, multipliers_of
from .averages import TorchAverages, put
from .compilation import OF_BFLOAT16, TOLERANCE, differing
from .devices import Later, placed, scaled, seed, telling_of_memory, wait
from .functions import F
from .gradients import add_l1, add_l2, added_up, limit_each, limit_norm
from .network import TorchNetwork
from .optimizers import Optimizer
from .processes import Processes, first_line

log = logging.getLogger(__name__)

_LOWER = ('lower --batch-size (and raise --accumulate as much, for updates of as many videos), --num-segments or '
          '--new-length, or pass --use-amp')


class TorchLearner(Learner):
    """Trains a network of Gluon by PyTorch.

    Every device has a copy of the network, which starts from the Gluon network's values. The first one's gradients are
    added to, its parameters updated and given to the others; running statistics are each device's own.

    Parameters
    ----------
    net : mxnet.gluon.HybridBlock
        Initialised, its shapes known; maps the rows of samples to logits (N, K). It keeps the values that it has.
    optimizer : str
        One of `compute.optimizers.OPTIMIZERS` that has a rule here.
    optimizer_params : dict
        Its arguments but for the learning rate: ``momentum``, ``wd``, ...
    loss : callable
        As of `GluonLearner`, and so are all the others.
    devices : sequence of torch.device
    rows_per_sample, val_crops, accumulate : int
    clip_grad, clip_norm, clip_each : float
    amp : bool
        Compute in bfloat16 what loses nothing by it; parameters, sums and losses stay float32.
    params : iterable of str, optional
    no_wd : bool
    l1 : float
    l2 : mapping of str to float, optional
    sum_devices : bool
    average : float
    teacher : mxnet.gluon.HybridBlock, optional
    stored_teacher : bool
    processes : Processes, optional
        That train together; each has one device, and one more draw of random numbers than that before it.
    sync_bn : bool
        Let batch normalisations take their statistics, in training, over the batches of all processes.
    compiles : bool
        Train a network that PyTorch compiles, where its gradients of the first batch are those of the other.

    Attributes
    ----------
    averages : TorchAverages or None

    Raises
    ------
    UsageError
        When an argument is invalid, or nothing is left to train.
    """

    takes_pixels = True

    def __init__(self, net, optimizer: str, optimizer_params: dict[str, Any], *, loss: Callable,
                 devices: Sequence[torch.device], rows_per_sample: int = 1, val_crops: int = 1, accumulate: int = 1,
                 clip_grad: float = 0, clip_norm: float = 0, amp: bool = False, params: Iterable[str] | None = None,
                 no_wd: bool = False, l1: float = 0, l2: Mapping[str, float] | None = None, clip_each: float = 0,
                 sum_devices: bool = False, average: float = 0, teacher=None,
                 stored_teacher: bool = False, processes: Processes | None = None, sync_bn: bool = False,
                 compiles: bool = False):
        check_limits(clip_grad=clip_grad, clip_norm=clip_norm, clip_each=clip_each)
        self.net, self.teacher, self.loss, self.devices, self.amp = net, teacher, loss, list(devices), amp
        self.num_devices = len(self.devices)
        self.rows_per_sample, self.val_crops, self.accumulate = rows_per_sample, val_crops, accumulate
        self.clip_norm, self.clip_each, self.sum_devices = clip_norm, clip_each, sum_devices
        self.stored_teacher = stored_teacher
        self.validation_loss = loss.plain() if hasattr(loss, 'plain') else loss
        gluon = unique_parameters(net)
        trained = choose_parameters(gluon, params, accumulate=accumulate, l1=l1)
        self.names, self._keys = list(trained), list(gluon)
        if sync_bn and processes is None:
            raise UsageError('statistics are shared by processes, and this is the only one')
        self.needs_samples = sync_bn
        self._networks, self._teachers = self._on_devices(net, shared=sync_bn), self._on_devices(teacher)
        for network in self._networks:
            for name, param in network.params.items():
                param.requires_grad_(name in trained)
        self._values = [{**network.params, **network.statistics} for network in self._networks]
        self._trained = [{name: network.params[name] for name in self.names} for network in self._networks]
        factors = [multipliers_of(param, no_wd) for param in trained.values()]
        rule = rule_on_torch(optimizer, clip_gradient=clip_grad or None, **optimizer_params)
        self._optimizer = Optimizer(rule, self._trained[0], {
            name: (own.lr_mult, own.wd_mult) for name, own in zip(self.names, factors)})
        self._l1 = [l1 * own.wd_mult for own in factors]
        self._l2 = [float((l2 or {}).get(name, 0)) for name in self.names]
        self.averages = TorchAverages(self._values, average) if average else None
        self._busy: set[int] = set()
        if processes is not None and sum_devices:
            raise UsageError('the mean gradients of devices are added up within one process; start one')
        self._processes, self._compiles = processes, compiles
        if processes is not None:
            processes.take_over(list(self._values[0].values()))
        if amp and any(device.type == 'cuda' and torch.cuda.get_device_capability(device) < (8, 0)
                       for device in self.devices):
            log.warning('--use-amp: computes in bfloat16, which this GPU has no units for, so that it saves memory and '
                        'no time; leave it out if memory suffices')

    def gradients(self, batch, seed):
        """Run forward and backward on every device; see `Learner`."""
        with telling_of_memory(_LOWER):
            if self._compiles:
                self._compile(batch, seed)
            losses, made = self._backward(batch, seed)
            with torch.no_grad():
                return [_TorchShard(label, logits, loss, count_correct(F, logits, y, dense=dense))
                        for (label, logits, y, dense), loss in zip(made, losses)]

    def together(self, samples):
        """Count the samples of all processes."""
        return samples if self._processes is None else self._processes.total(samples)

    @torch.no_grad()
    def update(self, rate, samples):
        """Add up the gradients and let the optimizer take a step; see `Learner`."""
        with telling_of_memory(_LOWER):
            sums = added_up([self._trained[number] for number in sorted(self._busy)], self.devices[0])
            if self._processes is not None:
                sums = {name: sums[name] if name in sums else torch.zeros_like(self._trained[0][name])
                        for name in self.names}
                self._processes.add_up(list(sums.values()))
            sums = {name: sums[name] for name in self.names if name in sums}
            gradients, weights = list(sums.values()), [self._trained[0][name] for name in sums]
            places = [self.names.index(name) for name in sums] if len(sums) < len(self.names) else range(len(sums))
            add_l1(gradients, weights, [self._l1[place] * samples for place in places])
            add_l2(gradients, weights, [self._l2[place] * samples for place in places])
            factor = (len(self._busy) if self.sum_devices else 1) / samples
            if factor != 1:
                torch._foreach_mul_(gradients, factor)
            if self.clip_each:
                limit_each(gradients, self.clip_each)
            if self.clip_norm:
                limit_norm(gradients, self.clip_norm)
            self._optimizer.step(sums, rate)
            for trained in self._trained[1:]:
                put(trained, self._trained[0])
            if self.averages is not None:
                self.averages.update()
        self._forget_gradients()

    def scores(self, batch):
        """Run forward on every device; see `Learner`."""
        shards = []
        with torch.no_grad(), telling_of_memory(_LOWER):
            for number, (x, y, label) in enumerate(self._split(batch)):
                # The network averages the segments; the mean over what is left of a sample is that over all its rows.
                logits = self._logits(self._networks[number], x).reshape(len(label), self.val_crops, -1).mean(dim=1)
                loss = self.validation_loss(F, logits, y, dense=label.ndim == 2).sum()
                shards.append(_TorchShard(label, logits, loss))
        return shards

    def settle(self):
        """Give the Gluon network the values of now."""
        values = self._networks[0].arrays()
        for name, param in unique_parameters(self.net).items():
            restore_parameter(name, param, values[name])

    def adopt(self):
        """Take the Gluon network's values of now."""
        values = {name: param.list_data()[0].asnumpy() for name, param in unique_parameters(self.net).items()}
        for network in self._networks:
            network.load(values)
        if self.averages is not None:
            self.averages.reset()

    def wait(self):
        """Wait for the devices."""
        wait(self.devices)

    def parameters(self):
        """Return copies of what a parameter file holds."""
        return self._networks[0].arrays()

    def showing_averages(self):
        """Let the networks hold the moving averages, if there are any."""
        return contextlib.nullcontext() if self.averages is None else self.averages.shown()

    def state(self):
        """Return a copy of parameters, optimizer and statistics."""
        held = (self.averages.aside if self.averages is not None else []) or self._values
        params = {key: _copied(held[0][key]) for key in self._keys}
        statistics = [{key: _copied(values[key]) for key in self._networks[0].statistics} for values in held[1:]]
        return LearnerState(params, *self.optimizer_state(), statistics,
                            {} if self.averages is None else self.averages.arrays())

    def load(self, state):
        """Continue from a state; see `Learner`."""
        state.check_network(self._keys)
        for network in self._networks:
            network.load(state.params)
        for values, statistics in zip(self._values[1:], state.statistics):
            put(values, {key: torch.tensor(array) for key, array in statistics.items()})
        self.load_optimizer_state(state.optimizer, state.numbers)
        if self.averages is not None:
            self.averages.load(state.averages)
        self._forget_gradients()

    def optimizer_state(self):
        """Return a copy of what the optimizer remembers."""
        return self._optimizer.state()

    def load_optimizer_state(self, arrays, numbers):
        """Put it back."""
        self._optimizer.load(arrays, numbers)

    @torch.no_grad()
    def weight_sums(self):
        """Return sums of magnitudes and squares of the weights."""
        weights = [value.double() for key, value in self._values[0].items() if key.endswith('weight')]
        return (sum(float(weight.abs().sum()) for weight in weights),
                sum(float(weight.square().sum()) for weight in weights))

    @torch.no_grad()
    def penalty(self):
        """Return the sum of the parameters' own L2 terms."""
        return sum(factor / 2 * float(self._trained[0][name].double().square().sum())
                   for name, factor in zip(self.names, self._l2) if factor)

    def endpoints(self, names=None):
        """Return the names of blocks whose output can be looked at."""
        return list(endpoints_of(self.net, names))

    def activations(self, data, endpoints):
        """Return what blocks give out for the rows of one sample.

        Inner blocks are the Gluon network's: it gets the values of now, and computes them on the CPU.
        """
        self.settle()
        return outputs_on_cpu(self.net, endpoints_of(self.net, endpoints), data)

    def _on_devices(self, net, **options) -> list[TorchNetwork]:
        if net is None:
            return []
        first = TorchNetwork(net, self.devices[0], **options)
        return [first, *(first.replica(device) for device in self.devices[1:])]

    def _backward(self, batch, seed: Sequence[int]) -> tuple[list[torch.Tensor], list[tuple]]:
        """Run forward and backward; return the losses, and labels, logits, labels there, whether these are dense."""
        losses, made = [], []
        for number, (x, y, label) in enumerate(self._split(batch)):
            self._seed(seed, number)
            y, label, said = taught(self.stored_teacher, y, label, self._asked(number, x))
            dense = label.ndim == 2
            logits = self._logits(self._networks[number], x, training=True)
            losses.append(self.loss(F, logits, y, *said, dense=dense).sum())
            made.append((label, logits.detach(), y, dense))
            self._busy.add(number)
        torch.autograd.backward(losses)
        return losses, made

    def _compile(self, batch, seed: Sequence[int]) -> None:
        """Let the networks be compiled from now on, where what that makes of a batch is what is made without."""
        self._compiles = False
        plain, why = self._tried(batch, seed), ''
        for network, (x, *_) in zip(self._networks, self._split(batch)):
            network.compiled_for = tuple(x.shape)
        try:
            ours = self._tried(batch, seed)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # no compiler, or one that fails
            why = f'PyTorch cannot compile the network here ({first_line(error)})'
        else:
            why = differing(*zip(plain, ours), OF_BFLOAT16 if self.amp else TOLERANCE)
            why = why and f'the compiled network computes the first batch otherwise ({why})'
        if why:
            log.warning('--compile: %s; it is trained without, as if --compile were left out', why)
            for network in self._networks:
                network.compiled_for = None

    def _tried(self, batch, seed: Sequence[int]) -> tuple[float, list[dict[str, torch.Tensor]]]:
        """Return loss and gradients of a batch, and leave no trace of it."""
        before = [{key: value.clone() for key, value in network.statistics.items()} for network in self._networks]
        try:
            losses, _ = self._backward(batch, seed)
            gradients = [{name: param.grad for name, param in trained.items() if param.grad is not None}
                         for trained in self._trained]
            return sum(float(loss.detach()) for loss in losses), gradients
        finally:
            for network, statistics in zip(self._networks, before):
                put(network.statistics, statistics)
            self._forget_gradients()

    def _seed(self, given: Sequence[int], number: int) -> None:
        place = number if self._processes is None else self._processes.rank
        seed(self.devices[number], int(np.random.SeedSequence([*given, place]).generate_state(1)[0]))

    def _split(self, batch) -> list[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """Return data and label on each device, and the label here."""
        rows = len(batch.data) // len(batch.label)  # of a sample
        scaling = getattr(batch, 'scaling', None)
        pieces = []
        for (begin, end), device in zip(shard_bounds(len(batch.label), len(self.devices)), self.devices):
            data, label = batch.data[begin * rows:end * rows], batch.label[begin:end]
            x = placed(data, device) if scaling is None else scaled(data, scaling, device)
            pieces.append((x, placed(label, device), label))
        return pieces

    def _logits(self, network: TorchNetwork, x: torch.Tensor, training: bool = False) -> torch.Tensor:
        with torch.autocast(network.device.type, torch.bfloat16, enabled=self.amp):
            logits = network(x, training=training)
        return logits.float()  # losses are logarithms of sums, for which bfloat16 has too few digits

    def _asked(self, number: int, x: torch.Tensor) -> Callable | None:
        """Return what asks the teacher on a device, if there is one."""
        def ask():
            with torch.no_grad():
                return self._logits(self._teachers[number], x)
        return ask if self._teachers else None

    def _forget_gradients(self) -> None:
        for trained in self._trained:
            for param in trained.values():
                param.grad = None
        self._busy = set()


class _TorchShard(Shard):
    """What a device made, on its way here, and the label."""

    def __init__(self, label: np.ndarray, logits: torch.Tensor, loss: torch.Tensor, hits: torch.Tensor | None = None):
        self.label = label
        self._logits, self._loss = Later(logits), Later(loss)
        self._hits = None if hits is None else Later(hits)

    @property
    def logits(self):
        return self._logits.read()

    @property
    def loss_sum(self):
        return float(self._loss.read())

    @property
    def correct(self):
        return int(self._hits.read().sum())


def _copied(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
