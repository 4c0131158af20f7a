"""Where a run stands, and what one trained batch gave."""
from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..compute.learner import Shard
from ..errors import CheckpointError


@dataclass
class Progress:
    """Where a run stands: all that the loop remembers between steps beside parameters and optimizer, fit for JSON.

    Attributes
    ----------
    epoch, batch : int
        The epoch being trained, from 0, and how many of its batches are done.
    step, update : int
        Batches and parameter updates since the start of the run.
    idle : int
        Updates that were due and not made, since no sample of theirs could be read. The schedule counts them, so that
        its changes stay where they are.
    loss_sum, correct, count, failed : float, int, int, int
        Sums over the samples of this epoch so far; `failed` ones could not be read.
    best, best_epoch : float, int or None
        Highest validation score and its epoch; of equal scores that with the lowest validation loss.
    history : list of dict
        The records of the epochs done, see `Loop.fit`.
    start : dict or None
        What the validation before the first epoch found, ``val_`` before each name. It is the best until an epoch is.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    update: int = 0
    idle: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    failed: int = 0
    best: float = 0.0
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    start: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Progress:
        """Return what a checkpoint has of one.

        Raises
        ------
        CheckpointError
            When it is something else.
        """
        kinds = {'loss_sum': (int, float), 'best': (int, float), 'best_epoch': (int, type(None)), 'history': (list,),
                 'start': (dict, type(None))}
        wrong = [name for name in values if type(values[name]) not in kinds.get(name, (int,))
                 or type(values[name]) is int and not 0 <= values[name] < 1 << 62]
        history = values.get('history', [])
        if wrong or not all(isinstance(record, dict) for record in history):
            raise CheckpointError(f'the checkpoint says of where the run stands what no run says: '
                                  f'{", ".join(map(ascii, wrong)) or "history"}; resume from another one')
        return cls(**values)

    @property
    def place(self) -> int:
        """Updates since the start of the run that were made or due: where the schedule stands."""
        return self.update + self.idle

    @property
    def loss(self) -> float:
        """Mean loss of this epoch so far."""
        return self.loss_sum / max(1, self.count)

    @property
    def accuracy(self) -> float:
        """Share of this epoch's samples that were right when they were trained on, in 0..1."""
        return self.correct / max(1, self.count)

    def begin(self, epoch: int, batch: int) -> None:
        """Set the position to `batch` of `epoch`; the sums of an epoch that is resumed are kept."""
        if batch == 0:
            self.loss_sum, self.correct, self.count, self.failed = 0.0, 0, 0, 0
        self.epoch, self.batch = epoch, batch

    def has_stalled(self, patience: int) -> bool:
        """Whether the last `patience` epochs were no better than what was before them; 0 is patience without end."""
        since = itertools.takewhile(lambda record: not record.get('best'), reversed(self.history))
        return 0 < patience <= sum('best' in record for record in since)

    def keep_start(self, record: dict[str, Any], score: str = 'val_top1') -> None:
        """Note what the validation before the first epoch found, as what epochs have to be better than."""
        self.start = record
        if not math.isnan(record.get(score, math.nan)):
            self.best = record[score]

    def finish_epoch(self, record: dict[str, Any], score: str = 'val_top1') -> None:
        """Keep the record of the epoch just done, note whether its `score` is the best, and stand at the next."""
        if score in record:
            # A score that the validation set leaves undefined is never the best.
            # Nor does the best by another score, which an older version chose by, stand in the way.
            known = any(other.get('epoch') == self.best_epoch and score in other for other in self.history)
            known = known or self.best_epoch is None and not math.isnan((self.start or {}).get(score, math.nan))
            best = self.best if known else -math.inf
            record['best'] = record[score] > best or record[score] == best and self._loses_less(record)
            if record['best']:
                self.best, self.best_epoch = record[score], self.epoch
        self.history.append(record)
        self.epoch, self.batch = self.epoch + 1, 0

    def _loses_less(self, record: dict[str, Any]) -> bool:
        """Whether the validation loss of an epoch is below that of the best one."""
        return record.get('val_loss', math.inf) < self._best_so_far.get('val_loss', -math.inf)

    @property
    def _best_so_far(self) -> dict[str, Any]:
        """The record of the best epoch, or of the start before there is one."""
        best = next((other for other in self.history if other.get('epoch') == self.best_epoch), None)
        return best or (self.start or {} if self.best_epoch is None else {})


@dataclass(frozen=True)
class StepResult:
    """One trained batch. Its sums may still be computing; reading them waits.

    Attributes
    ----------
    epoch, batch, step : int
        Which batch it was: epoch, number in it from 0, and number in the run from 1.
    lr : float
        Learning rate of the update it went into.
    count : int
        Samples.
    failures : list
        The loader's record of samples that could not be read.
    shards : sequence of Shard
        What each device made of its part.
    """

    epoch: int
    batch: int
    step: int
    lr: float
    count: int
    failures: list
    shards: Sequence[Shard] = field(repr=False)

    @property
    def loss_sum(self) -> float:
        """Sum of the samples' losses."""
        return sum(shard.loss_sum for shard in self.shards)

    @property
    def correct(self) -> int:
        """Samples whose best class was the label's."""
        return sum(shard.correct for shard in self.shards)
