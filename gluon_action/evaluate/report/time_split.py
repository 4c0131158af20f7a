"""Where the time of a run went, and what would make it shorter."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .charts import number

# Of the time that was waited, so much for samples means that the devices had run out of work; see `Waits`.
_STARVED, _EVEN = 0.95, 0.8
# With less than this share of the time waited at all, it is this process that is busy.
_BUSY = 0.5
# Fewer seconds say nothing.
_SHORT = 10.


@dataclass(frozen=True)
class TimeSplit:
    """Seconds of a run.

    Attributes
    ----------
    data, devices : float
        Waited for samples, and for the devices, while it trained or scored.
    rest : float
        Of the same time what was spent in this process itself: preparing, copying, writing.
    validation : float
        Beside that.
    """

    data: float
    devices: float
    rest: float
    validation: float = 0.

    @property
    def total(self) -> float:
        """All seconds."""
        return self.data + self.devices + self.rest + self.validation

    @property
    def limit(self) -> str:
        """What decides how long it takes: ``'data'``, ``'network'``, ``'both'`` or ``'process'``."""
        waited = self.data + self.devices
        if waited < _BUSY * (waited + self.rest):
            return 'process'
        return 'data' if self.data > _STARVED * waited else 'both' if self.data > _EVEN * waited else 'network'

    def verdict(self, workers: int | None = None) -> str:
        """Say what limits and what helps.

        Parameters
        ----------
        workers : int, optional
            Processes that read; 0 for none but the one that trains.
        """
        more = ('let processes of their own read: -j 4' if workers == 0 else
                f'more processes that read (-j, {workers} now)' if workers else 'more processes that read (-j)')
        if self.total < _SHORT:  # the first batch, for which everything waits, is a large part of it
            return f'It took {self.total:.1f} s, which is too short to show what limits.'
        return {
            'data': f'Reading videos limits: the network had to wait for them. What helps: {more}, videos or frames '
                    'stored smaller, fewer frames a video.',
            'network': 'The network limits: videos were there when it wanted them. What helps: a faster device, a '
                       'smaller network or smaller frames; more processes that read do not.',
            'both': f'Reading and computing take about as long. What helps: both at once, {more} and a faster device '
                    'or a smaller network.',
            'process': 'The process itself limits, neither reading nor the network: it cuts and copies batches, and '
                       'writes the log and pictures. What helps: larger batches, --log-interval of more batches.',
        }[self.limit]


def time_of_training(epochs: Sequence[Mapping[str, Any]]) -> TimeSplit | None:
    """Add up what the records of a training say; None where they say nothing, as those of earlier versions."""
    told = [[_seconds(record, name) for name in ('seconds', 'data_seconds', 'device_seconds')] for record in epochs]
    told = [times for times in told if None not in times]
    if not sum(times[0] for times in told):
        return None
    seconds, data, devices = (sum(column) for column in zip(*told))
    validation = sum(_seconds(record, 'validation_seconds') or 0. for record in epochs)
    return TimeSplit(data, devices, max(0., seconds - data - devices), validation)


def time_of_test(results: Mapping[str, Any]) -> TimeSplit | None:
    """Return what ``results.json`` says; None where it says nothing."""
    seconds, data, devices = (_seconds(results, name)
                              for name in ('scoring_seconds', 'data_seconds', 'device_seconds'))
    if None in (seconds, data, devices) or not seconds:
        return None
    return TimeSplit(data, devices, max(0., seconds - data - devices))


def _seconds(told: Mapping[str, Any], name: str) -> float | None:
    seconds = number(told.get(name))
    return None if seconds is None or seconds < 0 else seconds
