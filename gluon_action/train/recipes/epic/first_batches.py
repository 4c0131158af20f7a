"""A loader of which an epoch has only the first batches."""
from __future__ import annotations

from collections.abc import Iterator

from ....errors import UsageError


class FirstBatches:
    """A loader that ends an epoch early.

    Parameters
    ----------
    loader : VideoLoader
    limit : int or float
        Batches of an epoch, or a part of them in 0..1.

    Raises
    ------
    UsageError
        When that leaves none.
    """

    def __init__(self, loader, limit: int | float):
        self.loader, self.dataset = loader, loader.dataset
        self.count = min(len(loader), int(limit * len(loader)) if isinstance(limit, float) else limit)
        if self.count < 1:
            raise UsageError(f'--limit_train_batches and --limit_val_batches: {limit} of {len(loader)} batches leaves '
                             'none')

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator:
        """Iterate over the batches of an epoch from `start_batch` on."""
        # An iterator that is left early would cost the loader its workers.
        return self.loader.epoch(epoch, start_batch, self.count) if start_batch < self.count else iter(())
