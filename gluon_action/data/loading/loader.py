"""Batches read ahead by worker processes, each a function of (seed, epoch, index) alone."""
from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator

import numpy as np

from ...errors import TrainingError, UsageError, VideoReadError
from ..transforms.scaling import Scaling
from .sample_tasks import Answers, OneByOne, Together
from .workers import WorkerDied, WorkerPool, WorkerTimeout

log = logging.getLogger(__name__)

#: Bytes of finished samples that may wait for the consumer; a large `prefetch` of long clips is cut down to this.
PREFETCH_BYTES = 1 << 30
_ORDER = 0x07de7  # keeps the draws of the order apart from those of samples, whose key starts with seed and epoch too


class VideoLoader:
    """Batches of a data set, read ahead by worker processes that are kept between epochs.

    The order is a permutation given by (seed, epoch), and each sample draws from its own (seed, epoch, index). So the
    batches are the same for any number of workers, and an epoch can be entered anywhere without reading what was
    before. One iterator is live at a time: a new epoch ends the one before.

    Parameters
    ----------
    dataset : VideoClsCustom or alike
        Has ``len()`` and ``load(index, epoch=, view=)``, which gives a float32 array (S, ...) and a label, a number or
        a vector (K,), without using MXNet; if its ``scaling`` is not None, a uint8 array.
        ``dataset.samples[index].key`` names a sample in failures.
        Workers see it as it is when the loader is made. If it also has ``row_shape`` and
        ``load_many(indices, rows, epoch=)``, which fills float32 rows of that shape and gives an array of labels and a
        dictionary from places to errors, each sample is one row, and a task reads many. If it has ``shuffled(rng)``,
        that is its permutation.
    batch_size : int
        B, samples of a batch.
    shuffle : bool
        A new permutation every epoch.
    seed : int
        Of the permutations.
    last : {'keep', 'wrap', 'drop'}
        A last batch that is not full is kept so, filled from the start of the same permutation (unless the set is
        smaller than one batch), or dropped.
    num_workers : int
        Processes; 0 reads in this one, where only the data set's own timeout holds.
    prefetch : int, optional
        Batches to read ahead; 2 by default. At most about `PREFETCH_BYTES` wait.
    timeout : float, optional
        Seconds a task may take before its worker is killed; None waits forever. Where it had several samples, they
        are read one by one then.
    on_error : {'raise', 'skip'}
        What to do with a video that cannot be read. Other errors are always raised.
    max_skip_share : float
        Share of an epoch's samples that may be skipped, 0..1.
    num_parts, part_index : int
        Machines that train together: of every `num_parts` batches each takes its own one. With 'wrap' and 'drop' all
        have equally many.

    Raises
    ------
    UsageError
        When an argument is invalid.
    """

    def __init__(self, dataset, batch_size: int, *, shuffle: bool = False, seed: int = 0, last: str = 'keep',
                 num_workers: int = 0, prefetch: int | None = None, timeout: float | None = 60,
                 on_error: str = 'raise', max_skip_share: float = 0.1, num_parts: int = 1, part_index: int = 0):
        prefetch = 2 if prefetch is None else prefetch
        _check(batch_size=(batch_size, 1, None), num_workers=(num_workers, 0, None), prefetch=(prefetch, 1, None),
               seed=(seed, 0, None), num_parts=(num_parts, 1, None), part_index=(part_index, 0, num_parts - 1),
               max_skip_share=(max_skip_share, 0, 1), last=(last, ('keep', 'wrap', 'drop')),
               on_error=(on_error, ('raise', 'skip')))
        self.dataset, self.batch_size, self.seed, self.shuffle, self.last = dataset, batch_size, seed, shuffle, last
        self.num_workers, self.prefetch, self.timeout = num_workers, prefetch, timeout
        self.on_error, self.max_skip_share = on_error, max_skip_share
        self.num_parts, self.part_index = num_parts, part_index
        self._batch_bytes = 0
        self._iteration = 0
        batches = prefetch + 2  # one is with the consumer, one about to be
        self._tasks = Together(dataset, batch_size, batches) if hasattr(dataset, 'load_many') else \
            OneByOne(dataset, batch_size, batches)
        self._pool = self._new_pool()  # now, before the process grows and computes

    def __len__(self) -> int:
        """Batches of an epoch."""
        batches = math.ceil(self._num_shown() / self.batch_size)
        return len(range(self.part_index, batches, self.num_parts))

    def __enter__(self) -> VideoLoader:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def batch_indices(self, epoch: int) -> list[list[int]]:
        """Samples of every batch of an epoch, in order."""
        size = len(self.dataset)
        order = np.arange(size)
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch, _ORDER])
            order = self.dataset.shuffled(rng) if hasattr(self.dataset, 'shuffled') else rng.permutation(size)
        shown = self._num_shown()
        order = order[:shown] if shown <= size else np.resize(order, shown)
        batches = [order[i:i + self.batch_size].tolist() for i in range(0, len(order), self.batch_size)]
        return batches[self.part_index::self.num_parts]

    def _num_shown(self) -> int:
        """Samples of an epoch, on all machines together."""
        size, together = len(self.dataset), self.batch_size * self.num_parts
        if self.last == 'drop':
            return size - size % together
        if self.last == 'wrap' and (size >= self.batch_size or self.num_parts > 1):
            return math.ceil(size / together) * together
        return size

    def epoch(self, epoch: int, start_batch: int = 0, end_batch: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of an epoch from `start_batch` on; those before are not read.

        Parameters
        ----------
        epoch, start_batch : int
            Counted from 0.
        end_batch : int, optional
            Where to stop: neither this batch nor those after it are read.

        Raises
        ------
        VideoReadError
            With ``on_error='raise'``, at the batch that needs a video that cannot be read.
        TrainingError
            With ``on_error='skip'``, when more than `max_skip_share` cannot be read.
        UsageError
            When there is no such batch, or the samples of a batch differ in shape.
        """
        batches = self.batch_indices(epoch)
        if not 0 <= start_batch <= len(batches):
            raise UsageError(f'start_batch must be 0..{len(batches)}, the batches of an epoch, got {start_batch}')
        self._iteration += 1
        if self._pool is not None and len(self._pool):  # tasks of an epoch that was left
            self.close()
        read = self._prefetch_batches if self.num_workers else self._read_here
        return self._assemble(self._iteration, read(epoch, batches[start_batch:end_batch]), sum(map(len, batches)))

    def close(self) -> None:
        """End the workers. Safe to call again; a later epoch starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _new_pool(self) -> WorkerPool | None:
        if not self.num_workers:
            return None
        return WorkerPool(self._tasks, self.num_workers, timeout=self.timeout,
                          capacity=min(4096, (self.prefetch + 1) * self.batch_size))

    def _read_here(self, epoch: int, batches: list[list[int]]) -> Iterator[Answers]:
        return (self._tasks.read(batch, epoch) for batch in batches)

    def _prefetch_batches(self, epoch: int, batches: list[list[int]]) -> Iterator[Answers]:
        """Answers batch by batch, while the workers are up to `prefetch` batches ahead."""
        if self._pool is None:
            self._pool = self._new_pool()
        pool = self._pool
        arriving: dict[int, Answers] = {}
        submitted = 0

        def submit(batch: int, tasks: Iterator) -> None:
            for key, arguments in tasks:
                pool.submit((batch, key), *arguments)

        def memory_of(key: tuple, size: int) -> memoryview | None:
            return self._tasks.memory_of(arriving[key[0]], key[1], size)

        try:
            for number in range(len(batches)):
                while submitted < min(len(batches), number + 1 + self._window()):
                    arriving[submitted], tasks = self._tasks.begin(batches[submitted], epoch)
                    submit(submitted, tasks)
                    submitted += 1
                while None in arriving[number].values:
                    (batch, key), value = pool.next(memory_of)
                    submit(batch, self._tasks.put(arriving[batch], key, value))
                yield arriving.pop(number)
        finally:
            if len(pool) and pool is self._pool:  # left early; new workers are quicker than waiting for useless answers
                self.close()
            self._tasks.rest()

    def _window(self) -> int:
        """Batches to prefetch; one until their size is known."""
        return max(1, min(self.prefetch, PREFETCH_BYTES // self._batch_bytes)) if self._batch_bytes else 1

    def _assemble(self, iteration: int, batches: Iterator[Answers], num_samples: int) -> Iterator[Batch]:
        skipped = 0
        while True:
            if iteration != self._iteration:
                raise UsageError('a new epoch of this loader was begun, which ends the one before')
            answers = next(batches, None)
            if answers is None:
                return
            batch, loaded = Batch(None, None, [], [], getattr(self.dataset, 'scaling', None)), []
            for index, value in zip(answers.indices, answers.values):
                if isinstance(value, Exception):
                    batch.failures.append(self._failure(index, value))
                else:
                    batch.indices.append(index)
                    loaded.append(value)
            skipped += len(batch.failures)
            if batch.failures and skipped > self.max_skip_share * num_samples:
                raise TrainingError(f'{skipped} of {num_samples} samples could not be read, more than --max-skip-share '
                                    f'{self.max_skip_share:g}; the last one: {batch.failures[-1].message}')
            if loaded:
                clips, labels = zip(*loaded)
                batch.data = answers.stack(clips)
                batch.label = np.asarray(labels, np.float32)
                self._batch_bytes = batch.data.nbytes
            yield batch

    def _failure(self, index: int, error: Exception) -> SkippedSample:
        samples = getattr(self.dataset, 'samples', None)
        sample = samples[index] if samples else None
        if isinstance(error, (WorkerTimeout, WorkerDied)):  # they know neither file nor line
            where = f' ({sample.where})' if hasattr(sample, 'where') else ''
            error = VideoReadError(getattr(sample, 'path', f'sample {index}'), 'a data worker', f'{error}{where}')
        if self.on_error == 'raise' or not isinstance(error, VideoReadError):
            raise error
        log.warning('skipped: %s', error)
        return SkippedSample(index, getattr(sample, 'key', str(index)), str(error))


@dataclasses.dataclass
class Batch:
    """One batch.

    Attributes
    ----------
    data : ndarray or None
        float32 (B * S, ...), the S rows of a sample together; None when no sample could be read. Its memory is that of
        a later batch once nobody refers to it any more, nor to a view of it: what copies it in the background has to
        hold it so long.
    label : ndarray or None
        float32 (B,) or (B, K).
    indices : list of int
        The samples in it, in order.
    failures : list of SkippedSample
        Those that should have been.
    scaling : Scaling or None
        Where `data` are pixels uint8: what turns them into numbers. See `VideoClsCustom.as_pixels`.
    """

    data: np.ndarray | None
    label: np.ndarray | None
    indices: list[int]
    failures: list[SkippedSample]
    scaling: Scaling | None = None

    def scaled(self) -> Batch:
        """The batch with the numbers that a network takes."""
        if self.scaling is None or self.data is None:
            return self
        return dataclasses.replace(self, data=self.scaling(self.data), scaling=None)


@dataclasses.dataclass(frozen=True)
class SkippedSample:
    """A sample that could not be read: its number, its name in the list, and what was wrong."""

    index: int
    key: str
    message: str


def _check(**arguments: tuple) -> None:
    for name, (value, low, *high) in arguments.items():
        if isinstance(low, tuple):
            if value not in low:
                raise UsageError(f'{name} must be one of {", ".join(low)}, got {value!r}')
        elif value < low or (high[0] is not None and value > high[0]):
            allowed = f'{low} or more' if high[0] is None else f'{low}..{high[0]}'
            raise UsageError(f'{name} must be {allowed}, got {value}')
