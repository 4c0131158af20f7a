"""GluonCV's ``LRScheduler`` and ``LRSequential``: learning rates by the number that MXNet gives an update."""
from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import UsageError

MODES = ('constant', 'step', 'linear', 'poly', 'cosine')


def remaining(mode: str, done: float, power: float = 2) -> float:
    """What is left of the way from the base rate to the target rate when a share `done` of it is over.

    Parameters
    ----------
    mode : str
        ``'linear'``, ``'poly'`` or ``'cosine'``.
    done : float
        In 0..1; 1 is left at 0, and 0 at 1.
    power : float
        Exponent of ``'poly'``.
    """
    if mode == 'linear':
        return 1 - done
    if mode == 'poly':
        return (1 - done) ** power
    return (1 + math.cos(math.pi * done)) / 2


def rate_at(step: int, rates: Sequence[tuple[int, float]]) -> float:
    """Rate of the last ``(start, rate)`` that has started at `step`; the first one's before any has."""
    started = [rate for start, rate in rates if start <= step]
    return started[-1] if started else rates[0][1]


class LRScheduler:
    """One stretch of a schedule, with GluonCV's signature and values.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    base_lr, target_lr : float
        Rate at the start and, except for constant and step, at the end.
    niters : int
        Length in updates; ``nepochs * iters_per_epoch`` replaces it when positive.
    nepochs, iters_per_epoch : int
        Length in epochs and updates of each.
    offset : int
        Updates before this stretch.
    power : float
        Exponent of ``'poly'``.
    step_iter, step_epoch : list
        Where ``'step'`` changes the rate, counted from the start of this stretch.
    step_factor : float
        Factor of each change.
    baselr, targetlr : float, optional
        Older names of `base_lr` and `target_lr`, which come first where both are given.
    rates : sequence of (int, float), optional
        For ``'step'``: updates and the rate from each on, instead of a factor.
    """

    def __init__(self, mode, base_lr=0.1, target_lr=0, niters=0, nepochs=0, iters_per_epoch=0, offset=0, power=2,
                 step_iter=None, step_epoch=None, step_factor=0.1, baselr=None, targetlr=None, *, rates=None):
        if mode not in MODES:
            raise UsageError(f'schedule mode {mode!r} is unknown; allowed: {", ".join(MODES)}')
        if mode == 'step' and step_iter is None and step_epoch is None and not rates:
            raise UsageError("schedule mode 'step' needs step_iter, step_epoch or rates")
        self.mode = mode
        # The older name counts where the newer one is not given, which is told by its default.
        self.base_lr = baselr if baselr is not None and base_lr == 0.1 else base_lr
        self.target_lr = targetlr if targetlr is not None and target_lr == 0 else target_lr
        if mode == 'constant':
            self.target_lr = self.base_lr
        self.niters = nepochs * iters_per_epoch or niters
        self.step = step_iter
        if nepochs * iters_per_epoch > 0 and step_epoch is not None:
            self.step = [epoch * iters_per_epoch for epoch in step_epoch]
        self.rates = list(rates or ())
        self.offset = offset
        self.power = power
        self.step_factor = step_factor
        self.learning_rate = self.base_lr

    def __call__(self, num_update):
        """Rate at update `num_update`, counted from the start of the run."""
        self.update(num_update)
        return self.learning_rate

    def update(self, num_update):
        """Set `learning_rate` to the rate at update `num_update`."""
        step = max(0, num_update - self.offset)
        if self.niters:
            step = min(step, self.niters - 1)
        if self.rates:
            self.learning_rate = rate_at(step, self.rates)
        elif self.mode == 'step':
            self.learning_rate = self.base_lr * self.step_factor ** sum(start <= step for start in self.step or ())
        elif self.mode == 'constant':
            self.learning_rate = self.base_lr
        else:
            # A schedule of one update stays at its start; one of none is over.
            done = step / max(1, self.niters - 1) if self.niters else 1.
            left = remaining(self.mode, done, self.power)
            self.learning_rate = self.target_lr + (self.base_lr - self.target_lr) * left


class LRSequential:
    """Schedules one after another, with GluonCV's signature and values.

    Parameters
    ----------
    schedulers : list of LRScheduler
        Each starts where the one before it ends; one of no updates is passed over.
    """

    def __init__(self, schedulers):
        if not schedulers:
            raise UsageError('LRSequential needs at least one schedule, got none')
        self.count = 0
        self.update_sep = []
        self.schedulers = []
        self.learning_rate = 0
        for scheduler in schedulers:
            self.add(scheduler)

    def add(self, scheduler):
        """Append `scheduler`, shifting it to start at the end of the last one."""
        if not isinstance(scheduler, LRScheduler):
            raise UsageError(f'LRSequential holds LRScheduler objects, got {type(scheduler).__name__}')
        scheduler.offset = self.count
        self.count += scheduler.niters
        self.update_sep.append(self.count)
        self.schedulers.append(scheduler)

    def __call__(self, num_update):
        """Rate at update `num_update`; past the end, the last rate."""
        self.update(num_update)
        return self.learning_rate

    def update(self, num_update):
        """Set `learning_rate` to the rate at update `num_update`."""
        num_update = min(num_update, self.count - 1)
        current = next((i for i, end in enumerate(self.update_sep) if end > num_update), len(self.schedulers) - 1)
        self.learning_rate = self.schedulers[current](num_update)
