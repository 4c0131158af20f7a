"""Learning rate as a function of the step: constant, step, linear, poly, cosine, lists of rates, presets, warmup."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UsageError

MODES = ('constant', 'step', 'linear', 'poly', 'cosine')


@dataclass(frozen=True)
class Preset:
    """A published step schedule.

    Attributes
    ----------
    num_steps : int
        Its length in updates.
    changes : tuple of (int, int)
        Updates, and how many times the first rate is multiplied by the decay factor from there on. The count may fall
        again, which is a rise of the rate.
    source : str
        Where it is from.
    """

    num_steps: int
    changes: tuple[tuple[int, int], ...]
    source: str


#: Schedules that ``--lr-decay-epoch`` takes by name.
PRESETS = {
    'i3d-rgb': Preset(115_000, ((0, 0), (97_000, 1), (108_000, 2)), 'kinetics-i3d, RGB stream'),
    # An initial run of 115k steps did not suffice for flow: the rate starts again from the top.
    'i3d-flow': Preset(155_000, ((0, 0), (97_000, 1), (104_500, 2), (115_000, 0), (140_000, 1), (150_000, 2)),
                       'kinetics-i3d, flow stream'),
}


def make_schedule(mode: str, lr: float, num_epochs: int, iters_per_epoch: int, *, warmup_epochs: int = 0,
                  warmup_lr: float = 0.0, decay: str | Sequence[float] = (), factor: float = 0.1, power: float = 2,
                  target_lr: float = 0.0) -> LRSequential:
    """Schedule of a whole run: linear warmup, then `mode`.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    lr : float
        Rate at the end of the warmup, which `mode` starts from. A list of rates in `decay` replaces it.
    num_epochs, iters_per_epoch : int
        Length of the run: epochs, warmup included, and updates in each.
    warmup_epochs : int
        Epochs that rise from `warmup_lr` to the rate that follows, in 0..num_epochs.
    decay : str or sequence of float
        For mode ``'step'``: where the rate changes, see `parse_decay`, or a preset, see `preset_rates`. Epochs count
        from the start of the run, so the warmup does not shift them.
    factor : float
        Factor of each change when `decay` names no rates.
    power : float
        Exponent of ``'poly'``.
    target_lr : float
        Rate at the end of linear, poly and cosine.

    Returns
    -------
    LRSequential
        ``schedule(update) -> rate``; MXNet's optimizers count updates from 1.

    Raises
    ------
    UsageError
        For an unknown mode, a length that is not positive, or a `decay` that cannot be read.

    Notes
    -----
    The values are those of the LRSequential that GluonCV's training script builds.
    """
    if mode not in MODES:
        raise UsageError(f'--lr-mode {mode!r} is unknown; allowed: {", ".join(MODES)}')
    if num_epochs < 1 or iters_per_epoch < 1:
        raise UsageError(f'a schedule needs at least one epoch of one iteration, got {num_epochs} epochs of '
                         f'{iters_per_epoch}; see --num-epochs and --accumulate')
    if not 0 <= warmup_epochs <= num_epochs:
        raise UsageError(f'--warmup-epochs {warmup_epochs} is outside 0..{num_epochs} (--num-epochs)')
    steps, rates = [], []
    if mode == 'step':
        steps, rates = _changes(decay, lr, factor, num_epochs, iters_per_epoch)
        offset = warmup_epochs * iters_per_epoch
        steps, rates = [step - offset for step in steps], [(step - offset, rate) for step, rate in rates]
        lr = rate_at(0, rates) if rates else lr
    return LRSequential([
        LRScheduler('linear', base_lr=warmup_lr, target_lr=lr, nepochs=warmup_epochs, iters_per_epoch=iters_per_epoch),
        LRScheduler(mode, base_lr=lr, target_lr=target_lr, niters=(num_epochs - warmup_epochs) * iters_per_epoch,
                    step_iter=steps, step_factor=factor, power=power, rates=rates),
    ])


def stairs(base: float, factor: float, examples: float, batch: int, ahead: float = 0) -> Callable[[int], float]:
    """Schedule that changes after so many examples: ``base * factor ** floor((update - 1) * batch / examples)``.

    Parameters
    ----------
    base : float
        Rate at the start.
    factor : float
        Of every change.
    examples : float
        Samples between two changes.
    batch : int
        Samples of an update.
    ahead : float
        Samples to add, where updates had other numbers of them before.

    Returns
    -------
    callable
        ``schedule(update) -> rate``, updates counted from 1.

    Notes
    -----
    TensorFlow's ``exponential_decay(..., staircase=True)``, as google/youtube-8m calls it.
    """
    return lambda update: base * factor ** (((update - 1) * batch + ahead) // examples)


def _changes(decay: str | Sequence[float], lr: float, factor: float, num_epochs: int,
             iters_per_epoch: int) -> tuple[list[int], list[tuple[int, float]]]:
    """Return the updates at which the rate is multiplied by the factor, or else updates and the rate from each on."""
    if isinstance(decay, str) and is_preset(decay):
        return [], preset_rates(decay, lr, factor, num_epochs * iters_per_epoch)
    changes = parse_decay(decay) if isinstance(decay, str) else [(float(epoch), 'epoch', None) for epoch in decay]
    at = [round(where * (iters_per_epoch if unit == 'epoch' else 1)) for where, unit, _ in changes]
    if changes and changes[0][2] is not None:
        return [], [(step, rate) for step, (_, _, rate) in zip(at, changes)]
    return at, []


def is_preset(text: str) -> bool:
    """Whether a step schedule is written as the name of a preset."""
    return text.strip()[:1].isalpha()


def preset_rates(text: str, lr: float, factor: float, num_updates: int) -> list[tuple[int, float]]:
    """Updates and the rate from each on, of a schedule in `PRESETS`.

    Parameters
    ----------
    text : str
        ``'i3d-flow'``: as published, at its own steps. ``'i3d-flow@20000'``: the same in 20000 steps, every place in
        proportion. ``'i3d-flow@run'``: in the steps of the run.
    lr : float
        Rate at the start; 0.1 as published.
    factor : float
        What the rate is multiplied by at a fall; 0.1 as published.
    num_updates : int
        Updates of the run.

    Raises
    ------
    UsageError
        For a name that is not in `PRESETS`, or a length that is no whole number from 1.
    """
    name, at, length = text.strip().partition('@')
    preset = PRESETS.get(name.lower())
    if preset is None:
        raise UsageError(f'step schedule {text!r}: there is no preset {name!r}, only {" and ".join(PRESETS)}; allowed '
                         "besides are epochs ('40,60'), epoch:rate ('0:0.01,40:0.001') and step:rate ('500s:0.01')")
    if at and length != 'run' and not (length.isdecimal() and int(length)):
        raise UsageError(f'step schedule {text!r}: after @ stands the number of steps that {name} is to take, or run '
                         f"for those of the run, got {length!r}; write '{name}@20000' or '{name}@run'")
    num_steps = preset.num_steps if not at else num_updates if length == 'run' else int(length)
    return [(round(step * num_steps / preset.num_steps), lr * factor ** falls) for step, falls in preset.changes]


def updates_per_epoch(num_batches: int, accumulate: int = 1) -> int:
    """Updates in an epoch of `num_batches`, of which `accumulate` make one; what is left at the end makes one more."""
    return -(-num_batches // accumulate)


def parse_decay(text: str) -> list[tuple[float, str, float | None]]:
    """Read where a step schedule changes.

    Parameters
    ----------
    text : str
        ``'40,60'``: epochs at which the rate is multiplied by the decay factor. ``'0:0.01,10:0.1,20:0.001'``:
        the rate from each epoch on, which may also rise. An ``s`` after the number counts updates instead of epochs
        (``'500s:0.1'``). Fractions of an epoch are allowed. The places must rise. Empty: no change.

    Returns
    -------
    list of (place, unit, rate)
        Unit is ``'epoch'`` or ``'step'``; rate is None where the text names none.

    Raises
    ------
    UsageError
        Naming the part that cannot be read.
    """
    changes = [_parse_change(part.strip(), text) for part in text.split(',') if part.strip()]
    if len({rate is None for _, _, rate in changes}) > 1:
        raise UsageError(f'step schedule {text!r} mixes places with and without a rate; '
                         f"write --lr-decay-epoch '40,60' or '0:0.01,40:0.001'")
    if len({unit for _, unit, _ in changes}) > 1:
        raise UsageError(f'step schedule {text!r} mixes epochs and steps; give all of them in one unit')
    places = [place for place, _, _ in changes]
    if any(later <= earlier for earlier, later in zip(places, places[1:])):
        raise UsageError(f'step schedule {text!r}: the places must rise from left to right')
    return changes


def _parse_change(part: str, text: str) -> tuple[float, str, float | None]:
    place, colon, rate = (piece.strip() for piece in part.partition(':'))
    unit = 'step' if place.endswith('s') else 'epoch'
    try:
        where = float(place.removesuffix('s'))
        value = float(rate) if colon else None
    except ValueError:
        raise UsageError(f"step schedule {text!r}: cannot read {part!r}; allowed are an epoch ('40'), "
                         f"epoch:rate ('40:0.01') and step:rate ('500s:0.01')") from None
    if not (math.isfinite(where) and where >= 0) or (value is not None and not (math.isfinite(value) and value >= 0)):
        raise UsageError(f'step schedule {text!r}: {part!r} has a negative or infinite number')
    return where, unit, value


def rate_at(step: int, rates: Sequence[tuple[int, float]]) -> float:
    """Rate of the last ``(start, rate)`` that has started at `step`; the first one's before any has."""
    started = [rate for start, rate in rates if start <= step]
    return started[-1] if started else rates[0][1]


def decay_factor(mode: str, step: int, num_steps: int, power: float = 2) -> float:
    """What remains of the way from the target rate to the base rate at `step`: 1 at the start, 0 at the end.

    Parameters
    ----------
    mode : str
        ``'linear'``, ``'poly'`` or ``'cosine'``.
    step : int
        Clipped to 0..num_steps - 1.
    num_steps : int
        A schedule of one step stays at its start; one of no steps is over.
    power : float
        Exponent of ``'poly'``.
    """
    last = num_steps - 1
    done = 1.0 if last < 0 else min(max(0, step), last) / max(1, last)
    if mode == 'linear':
        return 1 - done
    if mode == 'poly':
        return (1 - done) ** power
    return (1 + math.cos(math.pi * done)) / 2


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
        Older names of `base_lr` and `target_lr`.
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
        self.base_lr = base_lr if baselr is None else baselr
        self.target_lr = target_lr if targetlr is None else targetlr
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
            factor = decay_factor(self.mode, step, self.niters, self.power)
            self.learning_rate = self.target_lr + (self.base_lr - self.target_lr) * factor


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
