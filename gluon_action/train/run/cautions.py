"""Warnings of what makes a training worthless though nothing fails, each in a line that names the cure."""
from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..hook import Hook
from .history.log import RunLog

# A validation loss of so many times the training loss, and of so many times that of guessing, is no matter of learning.
_FAR_OFF, _WORSE_THAN_GUESSING = 100, 2
# Running statistics that have kept more of what they began with than this are not those of the videos.
_UNSETTLED = 0.05
# Batches of fewer samples a device than this leave statistics that wander.
_FEW_SAMPLES = 8
_NAMED = 5


@dataclass(frozen=True)
class Cures:
    """What a command calls what can be changed; empty for what it has no flag for.

    Attributes
    ----------
    rate, batch, momentum, frozen : str
        Flags: of the learning rate, of the samples a device, of the share of statistics that batch normalisation
        keeps, and what freezes it.
    val_list : str
        Names the validation list.
    """

    rate: str = '--lr'
    batch: str = '--batch-size'
    momentum: str = '--bn-momentum'
    frozen: str = '--freeze-bn'
    val_list: str = '--val-list'


class Cautions(Hook):
    """Warns before the first batch of data and options, and after an epoch of a validation loss that is far off.

    Parameters
    ----------
    records : RunLog
        Takes the warnings, for the log and the console.
    cures : Cures
    lists : sequence of str
        What `of_lists` has found.
    statistics : collection of float
        Share of its running statistics that each batch normalisation keeps at a step; frozen ones are none.
    samples : int
        Rows that a device normalises together.
    guessing : float
        Loss of guessing: ``log(K)`` of K classes.
    """

    def __init__(self, records: RunLog, cures: Cures, *, lists: Sequence[str] = (), statistics: Collection[float] = (),
                 samples: int = 0, guessing: float = 0.):
        self.records, self.cures, self.lists = records, cures, lists
        self.statistics, self.samples, self.guessing = statistics, samples, guessing
        self._has_warned = False

    def on_start(self, loop, epochs, batches):
        """Warn of the lists, and of a batch of one."""
        for line in self.lists:
            self.records.warn(line)
        if self.statistics and self.samples == 1:
            frozen = f', or freeze it with {self.cures.frozen}' if self.cures.frozen else ''
            self.records.warn(f'{self.cures.batch} 1: batch normalisation has the statistics of a single sample, and '
                              'where that is a single value of a channel its output is the same whatever the input; '
                              f'give it larger batches{frozen}. Batches that are accumulated stay as small')

    def on_epoch(self, loop, record):
        """Warn, once, of a validation loss that no training explains."""
        loss, trained = record.get('val_loss'), record['loss']
        if loss is None or self._has_warned or loss <= max(_FAR_OFF * trained, _WORSE_THAN_GUESSING * self.guessing):
            return
        self._has_warned = True
        times = f'{loss / trained:.3g} times that of training, {trained:.3g}' if trained else 'that of training is 0'
        self.records.warn(f'the validation loss is {loss:.3g}, {times}: {self._causes(loop.progress.update)}')

    def _causes(self, updates: int) -> str:
        rate = f'a lower {self.cures.rate} may help'
        kept = max(self.statistics, default=0.) ** updates
        if self.statistics and kept > _UNSETTLED:
            faster = f', or follow faster with {self.cures.momentum} 0.9' if self.cures.momentum else ''
            return (f'validation uses the running statistics of batch normalisation, and these are still {kept:.0%} '
                    f'what they were before the first of {updates} updates; train longer{faster}; {rate} too')
        if self.statistics and self.samples < _FEW_SAMPLES:
            frozen = f' or {self.cures.frozen}' if self.cures.frozen else ''
            return (f'{rate}; so may a larger {self.cures.batch}{frozen}, as batch normalisation learns its running '
                    f'statistics from {self.samples} sample{"s" * (self.samples > 1)} at a time')
        return rate


def of_lists(train: Any, val: Any, cures: Cures) -> list[str]:
    """Say what is wrong with the lists of a training as a whole.

    Parameters
    ----------
    train, val : data set
        With ``samples``, each with ``path`` and, where lists say so, ``label``; with ``num_classes`` and ``classes``.
        `val` may be None.
    cures : Cures

    Returns
    -------
    list of str
        A line for each: classes without training videos, validation videos of such classes, videos in both lists.
    """
    lines, trained = [], {label for sample in train.samples for label in _labels(sample)}
    scored = [] if val is None else val.samples
    if trained:
        names, total = train.classes, train.num_classes
        if lacking := [label for label in range(total) if label not in trained]:
            lines.append(f'{len(lacking)} of {total} classes have no training video, so that none is ever recognised: '
                         f'{_few(lacking, names)}; add videos, or number the classes without them')
        lost = [label for sample in scored for label in _labels(sample) if label not in trained]
        if lost:
            count = sum(not trained.issuperset(_labels(sample)) for sample in scored)
            lines.append(f'{count} of {len(scored)} validation videos are of classes without a training video, which '
                         f'cannot be recognised whatever is learnt: {_few(sorted(set(lost)), names)}; take them off '
                         f'{cures.val_list}, or add training videos of them')
    known = set(map(_part, train.samples)) if scored else set()
    both = [sample.key for sample in scored if _part(sample) in known]
    if both:
        count = 'all' if len(both) == len(scored) else len(both)
        lines.append(f'{count} of {len(scored)} validation videos are trained on as well, so that their scores tell '
                     f'what is remembered, not what is recognised: {_few(both)}; give {cures.val_list} others')
    return lines


def _labels(sample: Any) -> tuple[int, ...]:
    """Return the labels of a sample; none where the list does not know them."""
    label = getattr(sample, 'label', ())
    return label if isinstance(label, tuple) else (label,)


def _part(sample: Any) -> tuple:
    """Return what of which file a sample is."""
    return (os.path.abspath(sample.path),
            *(getattr(sample, name, None) for name in ('index', 'start', 'end', 'first', 'last')))


def _few(items: Sequence[Any], names: Sequence[str] | None = None) -> str:
    shown = [str(names[item]) if names else str(item) for item in items[:_NAMED]]
    return ', '.join(shown) + ', ...' * (len(items) > _NAMED)
