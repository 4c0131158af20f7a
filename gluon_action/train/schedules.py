"""Learning rate as a function of the step: constant, step, linear, poly, cosine, lists of rates, presets, warmup."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from .lr_scheduler import MODES, LRScheduler, LRSequential, rate_at, remaining


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


#: How updates are given their rates: where the flags say, or as GluonCV's training script does.
RULES = ('exact', 'gluoncv')


def make_schedule(mode: str, lr: float, num_epochs: int, iters_per_epoch: int, *, warmup_epochs: int = 0,
                  warmup_lr: float = 0.0, decay: str | Sequence[float] = (), factor: float = 0.1, power: float = 2,
                  target_lr: float = 0.0, rule: str = 'exact') -> Callable[[int], float]:
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
        Rate that linear, poly and cosine have come to when the run is over.
    rule : str
        One of `RULES`. ``'gluoncv'`` is for runs of versions that had no other, when they are resumed.

    Returns
    -------
    callable
        ``schedule(update) -> rate``, updates counted from 1; past the end, the last rate.

    Raises
    ------
    UsageError
        For an unknown mode, a length that is not positive, or a `decay` that cannot be read.

    Notes
    -----
    An update has the rate of the moment at which it begins. So the first one has the first rate, a change at epoch 40
    is in force from the first update of epoch 40 on, and the last of ``n`` has come ``(n - 1) / n`` of the way to
    `target_lr`: never the whole way, since it would train at 0. An update at `warmup_lr` 0 would train nothing either,
    so that the warmup then begins a step later: its n updates have 1/(n + 1), 2/(n + 1) ... of the rate that follows.

    GluonCV's training script builds an `LRSequential`, whose places count from 0, and MXNet asks it for the rates of
    updates that count from 1: each is what the update before should have had. Of an epoch of one update, the
    whole first epoch is lost. It also divides by ``n - 1``, so that the last update trains at `target_lr`.
    """
    if mode not in MODES:
        raise UsageError(f'--lr-mode {mode!r} is unknown; allowed: {", ".join(MODES)}')
    if num_epochs < 1 or iters_per_epoch < 1:
        raise UsageError(f'a schedule needs at least one epoch of one iteration, got {num_epochs} epochs of '
                         f'{iters_per_epoch}; see --num-epochs and --accumulate')
    if not 0 <= warmup_epochs <= num_epochs:
        raise UsageError(f'--warmup-epochs {warmup_epochs} is outside 0..{num_epochs} (--num-epochs)')
    if rule not in RULES:
        raise UsageError(f'the rule {rule!r} of a schedule is unknown; allowed: {", ".join(RULES)}')
    warmup, total = warmup_epochs * iters_per_epoch, num_epochs * iters_per_epoch
    steps, rates = _changes(decay, lr, factor, total, iters_per_epoch, rule) if mode == 'step' else ([], [])
    if rule == 'gluoncv':
        return _as_in_gluoncv(mode, lr, warmup_lr, target_lr, warmup, total, steps, rates, factor, power)

    def after_warmup(done: int) -> float:
        """Rate of the update that `done` others precede."""
        if mode == 'constant':
            return lr
        if mode == 'step':
            return rate_at(done, rates) if rates else lr * factor ** sum(start <= done for start in steps)
        return target_lr + (lr - target_lr) * remaining(mode, (done - warmup) / max(1, total - warmup), power)

    def rate(update: int) -> float:
        done = min(max(1, update), total) - 1
        if done >= warmup:
            return after_warmup(done)
        risen = done / warmup if warmup_lr else (done + 1) / (warmup + 1)
        return warmup_lr + (after_warmup(warmup) - warmup_lr) * risen
    return rate


def _as_in_gluoncv(mode: str, lr: float, warmup_lr: float, target_lr: float, warmup: int, total: int,
                   steps: list[int], rates: list[tuple[int, float]], factor: float, power: float) -> LRSequential:
    """Return the schedule that GluonCV's training script builds, counted as there."""
    steps, rates = [step - warmup for step in steps], [(step - warmup, rate) for step, rate in rates]
    lr = rate_at(0, rates) if rates else lr
    return LRSequential([
        LRScheduler('linear', base_lr=warmup_lr, target_lr=lr, niters=warmup),
        LRScheduler(mode, base_lr=lr, target_lr=target_lr, niters=total - warmup, step_iter=steps, step_factor=factor,
                    power=power, rates=rates)])


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


def _changes(decay: str | Sequence[float], lr: float, factor: float, total: int, iters_per_epoch: int,
             rule: str) -> tuple[list[int], list[tuple[int, float]]]:
    """Return the updates at which the rate is multiplied by the factor, or else updates and the rate from each on."""
    # A change within an update is made by the next one; GluonCV's rule has places at the nearest.
    whole = round if rule == 'gluoncv' else lambda place: math.ceil(place - 1e-9 * max(1., place))
    if isinstance(decay, str) and is_preset(decay):
        return [], preset_rates(decay, lr, factor, total, whole)
    changes = parse_decay(decay) if isinstance(decay, str) else [(float(epoch), 'epoch', None) for epoch in decay]
    at = [whole(where * (iters_per_epoch if unit == 'epoch' else 1)) for where, unit, _ in changes]
    if changes and changes[0][2] is not None:
        return [], [(step, rate) for step, (_, _, rate) in zip(at, changes)]
    return at, []


def is_preset(text: str) -> bool:
    """Whether a step schedule is written as the name of a preset."""
    return text.strip()[:1].isalpha()


def preset_rates(text: str, lr: float, factor: float, num_updates: int,
                 whole: Callable[[float], int] = math.ceil) -> list[tuple[int, float]]:
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
    whole : callable
        Makes a whole number of a place that lies within an update.

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
    return [(whole(step * num_steps / preset.num_steps), lr * factor ** falls) for step, falls in preset.changes]


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
