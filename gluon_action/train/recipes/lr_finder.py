"""Find a learning rate: a few steps at rising rates show where the loss falls fastest and where it breaks."""
from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...compute.engines import engine_of
from ...errors import OutputError, TrainingError, UsageError
from ...evaluate.options.preparation import Prepared
from ...evaluate.reports import write_figure
from ...files import cause_of, check_folder_takes_files, write_file
from ...model_zoo import model_card
from ..loop import Loop
from .config import TrainConfig
from .parts import build_recipe, check_early, check_training
from .recipe_defaults import settled

LEAST_STEPS = 10
#: Files that `find_for` writes.
PLOT, CURVE = 'lr_finder.png', 'lr_finder.json'
# The test ends where the mean loss of the last steps is so many times that of the first ones.
_BROKEN = 3.
# Steps that such a mean is over, and how far smoothing reaches to either side, as parts of all steps.
_WINDOW, _REACH = 0.1, 0.08


@dataclass(frozen=True)
class RangeTest:
    """What to try.

    Attributes
    ----------
    low, high : float
        First and last learning rate; those between rise by the same factor.
    steps : int
        Updates, of which each gets one rate; `LEAST_STEPS` at least.
    """

    low: float = 1e-7
    high: float = 10.
    steps: int = 100

    def __post_init__(self):
        if not (0 < self.low < self.high and math.isfinite(self.high)):
            raise UsageError(f'--find-lr-from {self.low:g} and --find-lr-to {self.high:g}: must be above 0, and the '
                             'second above the first')
        if self.steps < LEAST_STEPS:
            raise UsageError(f'--find-lr-steps {self.steps}: a curve needs {LEAST_STEPS} at least, better 100')

    def rate(self, step: int) -> float:
        """Rate of a step, counted from 0."""
        return self.low * (self.high / self.low) ** (step / (self.steps - 1))


@dataclass(frozen=True)
class RateCurve:
    """Losses by learning rate, and what they suggest.

    Attributes
    ----------
    rates, losses : tuple of float
        One each step until the loss broke; a loss is of the batch before its rate was used on it.
    ended : str
        Why there are no more.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: str

    @property
    def smooth(self) -> np.ndarray:
        """The losses without the noise of the batches: means over what lies near each, which counts most."""
        losses = np.asarray(self.losses, np.float64)
        reach = max(2, round(_REACH * len(losses)))
        weights = 1 - np.abs(np.subtract.outer(np.arange(len(losses)), np.arange(len(losses)))) / (reach + 1)
        weights = np.maximum(weights, 0)
        return weights @ losses / weights.sum(axis=1)

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the smoothed loss is lowest; None where it falls less than it wavers.

        The minimum is where steps that still help meet steps that are too long, so that it lies above what a whole
        training can bear. The other usual choice, where the curve falls most steeply, lies close to this one when
        losses have little noise. With the few samples of a small data set it is drawn by the noise, and this is not.
        """
        smooth = self.smooth
        lowest = int(smooth.argmin())
        start = np.mean(self.losses[:max(3, round(_WINDOW * len(smooth)))])
        # A mean of n losses wavers by the root of n less than they do; the lowest of many is below most of them.
        wavering = np.std((self.losses - smooth)[:lowest + 1]) / math.sqrt(max(2, _REACH * len(smooth)))
        if lowest == 0 or start - smooth[lowest] <= 4 * wavering:
            return None
        return self.rates[lowest] / 10

    def as_json(self) -> str:
        """Return the curve as JSON."""
        return json.dumps({'suggestion': self.suggestion, 'ended': self.ended, 'rates': self.rates,
                           'losses': self.losses, 'smooth': self.smooth.tolist()}, indent=2) + '\n'


def find_rate(loop: Loop, loader, test: RangeTest = RangeTest(), *,
              on_step: Callable[[], None] = lambda: None) -> RateCurve:
    """Train at rates that rise exponentially until the loss breaks, and put everything back.

    Parameters
    ----------
    loop : Loop
        Its parameters, optimizer and progress are in the end what they were.
    loader : VideoLoader
        Gives batches, epoch after epoch; from the first epoch on.
    test : RangeTest
    on_step : callable
        Called after each step.

    Returns
    -------
    RateCurve

    Raises
    ------
    TrainingError
        When the loss is not finite at the lowest rates already, or no batch can be read.

    References
    ----------
    Smith 2017, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3.
    """
    rates, losses, ended = [], [], f'all {test.steps} steps were done'
    window = max(3, round(_WINDOW * test.steps))
    with _put_back(loop), contextlib.closing(_updates(loop, loader)) as updates:
        start = loop.progress.update
        loop.schedule = lambda update: test.rate(min(update - start, test.steps) - 1)
        for step in range(test.steps):
            loss = next(updates)
            if not math.isfinite(loss):
                ended = f'the loss was not finite at {test.rate(step):.3g}'
                break
            rates.append(test.rate(step))
            losses.append(loss)
            on_step()
            if len(losses) >= LEAST_STEPS and np.mean(losses[-window:]) > _BROKEN * np.mean(losses[:window]):
                ended = f'the loss was {_BROKEN:g} times that of the start at {rates[-1]:.3g}'
                break
    if len(losses) < LEAST_STEPS:
        raise TrainingError(f'--find-lr: {ended}, after {len(losses)} steps; begin lower with --find-lr-from, and look '
                            'at the data and the weights the training starts from')
    return RateCurve(tuple(rates), tuple(losses), ended)


def _updates(loop: Loop, loader) -> Iterator[float]:
    """Yield the mean loss of the samples of each update, without end."""
    total, count = 0., 0
    for epoch in itertools.count():
        before = loop.progress.step
        for batch in loader.epoch(epoch):
            if not len(batch.indices):
                continue
            result = loop.step(batch)
            total, count = total + result.loss_sum, count + result.count
            if loop.between_updates:
                yield total / count
                total, count = 0., 0
        if loop.progress.step == before:
            raise TrainingError('--find-lr: no video of the training list can be read')


@contextlib.contextmanager
def _put_back(loop: Loop) -> Iterator[None]:
    schedule, state = loop.schedule, loop.state_dict()
    kept = {**state, 'loop': json.loads(json.dumps(state['loop']))}  # whose lists training adds to
    try:
        yield
    finally:
        loop.schedule = schedule
        loop.load_state_dict(kept)


def find_for(config: TrainConfig, test: RangeTest, folder: str | os.PathLike, *, overwrite: bool = False,
             prepared: Prepared | None = None, start: Callable[[Loop], None] = lambda loop: None) -> RateCurve:
    """Find a rate for what a configuration would train, and write its curve as a picture and as JSON.

    Parameters
    ----------
    config : TrainConfig
        Its rate and schedule do not matter.
    test : RangeTest
    folder : path
        Where `PLOT` and `CURVE` are written; made if it is not there, and left as it is otherwise.
    overwrite : bool
        Replace what an earlier test wrote.
    prepared : Prepared, optional
        Settled for the weights of `start`; by default for those that `config` asks for.
    start : callable
        Called with the loop before its first step, to start from other weights.

    Raises
    ------
    UsageError
        When the configuration is invalid, or trains nothing, or the files exist.
    TrainingError, OutputError
        As `find_rate`; when a file cannot be written.
    """
    config = settled(config)
    card = model_card(config.model)
    check_early(config, card)
    for given, flag in ((config.eval, '--eval'), (config.resume, '--resume')):
        if given:
            raise UsageError(f'{flag}: means nothing with --find-lr, which tries rates from the start of a training')
    folder = _open_folder(Path(folder).expanduser(), overwrite)
    prepared = prepared or check_training(config, card)
    with contextlib.ExitStack() as cleanup:
        contexts = engine_of(config).contexts()
        config = dataclasses.replace(prepared.config, train_only=True)
        parts = build_recipe(config, card, contexts, cleanup, prepared=dataclasses.replace(prepared, config=config))
        start(parts.loop)
        bar = cleanup.enter_context(tqdm(total=test.steps, desc='learning rates', unit='step', leave=False,
                                         disable=not sys.stderr.isatty()))
        curve = find_rate(parts.loop, parts.train_loader, test, on_step=bar.update)
    plot_rates(curve, folder / PLOT, title=f'{config.model} on {config.dataset}, {config.update_rule}')
    write_file(folder / CURVE, curve.as_json())
    return curve


def conclusion(curve: RateCurve, flag: str, folder: str | os.PathLike) -> str:
    """Say what a curve suggests, as a flag, and where it can be seen.

    Raises
    ------
    TrainingError
        When it suggests nothing.
    """
    seen = f'{len(curve.rates)} rates from {curve.rates[0]:.3g} to {curve.rates[-1]:.3g} were tried, {curve.ended}'
    plot = Path(folder).expanduser() / PLOT
    if curve.suggestion is None:
        raise TrainingError(f'--find-lr: {seen}, and the loss fell nowhere more than it wavers anyway; see {plot}. Try '
                            'more steps (--find-lr-steps), larger batches, or other rates (--find-lr-from, '
                            '--find-lr-to)')
    return f'{seen}\n{plot}\n{flag} {curve.suggestion:.2g}'


def plot_rates(curve: RateCurve, path: str | os.PathLike, *, title: str = '') -> None:
    """Draw the losses over the rates, with the suggestion marked.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4.4), layout='constrained')
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, '.', color='#0072B2', alpha=0.35, label='loss of a batch')
    axes.plot(curve.rates, curve.smooth, color='#0072B2', linewidth=2, label='smoothed')
    if curve.suggestion is not None:
        axes.axvline(curve.suggestion, color='#D55E00', linestyle='--', label=f'suggestion: {curve.suggestion:.2g}')
    low, high = loss_limits(curve)
    axes.set(xscale='log', xlabel='learning rate', ylabel='training loss', ylim=(low, high))
    if max(curve.losses) > high:
        axes.annotate(f'up to {max(curve.losses):.3g}', (1, 1), (-6, -6), 'axes fraction', 'offset points', ha='right',
                      va='top', fontsize='small', color='0.4')
    axes.set_title(title, fontsize='medium')
    axes.grid(alpha=0.3)
    axes.legend(framealpha=0.8)
    write_figure(figure, path, dpi=100)


def loss_limits(curve: RateCurve) -> tuple[float, float]:
    """Return the range of losses that a picture of a curve shows.

    It has every loss up to the lowest point of the smoothed curve, and above these as much of the rise behind it as
    the fall was deep: a loss that has broken would leave the rest a flat line. It does not go below 0.
    """
    smooth = curve.smooth
    lowest = int(smooth.argmin())
    fall = curve.losses[:lowest + 1]
    low, top = min(*curve.losses, smooth[lowest]), max(*fall, smooth[0])
    depth = max(smooth[0] - smooth[lowest], 0.1 * abs(smooth[0]))
    top = max(top, min(max(curve.losses), smooth[0] + depth))
    margin = 0.05 * (top - low)
    return max(0., low - margin) if low >= 0 else low - margin, top + margin


def _open_folder(folder: Path, overwrite: bool) -> Path:
    there = [folder / name for name in (PLOT, CURVE) if (folder / name).exists()]
    if there and not overwrite:
        raise UsageError(f'--find-lr: {there[0]} exists; pass --overwrite to replace it, or another folder')
    try:
        check_folder_takes_files(folder)
    except OSError as error:
        raise OutputError(f'{folder} cannot be written: {cause_of(error)}') from error
    return folder
