"""How long a run will still take."""
from __future__ import annotations

import math
from collections import deque

#: Of so many measurements, the newest, the pace is the mean.
_MEASURED = 20


class TimeLeft:
    """The time that a run will still take, at the pace of its last batches and with validations as long as the last.

    Parameters
    ----------
    epochs : float
        Of the whole run; infinite for one that runs until it is interrupted.
    batches : int
        Of an epoch.
    validation : float
        Seconds that a validation takes; 0 where that is not known, or there is none.
    """

    def __init__(self, epochs: float, batches: int, validation: float = 0.):
        self.validation = validation
        self._epochs, self._batches = epochs, batches
        self._measured: deque[tuple[int, float]] = deque(maxlen=_MEASURED)

    def trained(self, batches: int, seconds: float) -> None:
        """Note how long some batches took."""
        if batches > 0:
            self._measured.append((batches, seconds))

    def after(self, epoch: int, batch: int) -> float:
        """Return the seconds after so many batches of an epoch, which counts from 0; infinite where nobody can tell."""
        batches, seconds = (sum(column) for column in zip(*self._measured)) if self._measured else (0, 0.)
        if not batches or not math.isfinite(self._epochs):
            return math.inf
        left = max(0, self._epochs - epoch)
        return max(0., left * self._batches - batch) * seconds / batches + left * self.validation
