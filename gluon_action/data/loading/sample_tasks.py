"""How the samples of a batch are read: one a task, or many a task where the data set can read many at a time."""
from __future__ import annotations

import gc
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import UsageError
from .batch_memory import BatchMemory
from .shared_rows import SharedRows
from .workers import WorkerDied, WorkerTimeout

#: Key and arguments of a task.
Task = tuple[Hashable, tuple]

_TOGETHER = 16  # samples of a task: workers stay equally busy, and what a task costs by itself is spread


class Answers:
    """What comes back for the samples of one batch, the clips at once where they stand in the batch.

    Copying clips of many frames again to stack them costs the training process as much time as a worker needs to
    transform them.

    Attributes
    ----------
    indices : list of int
        The samples.
    values : list
        For each (clip, label) or an exception; None until it comes.
    rows : ndarray or None
        (B, ...): the memory of the clips; None until it is known how large they are, and then out of `memory`.
    dtype
        Of the clips, float32 or uint8.
    """

    def __init__(self, indices: list[int], rows: np.ndarray | None = None, memory: BatchMemory | None = None,
                 dtype=np.float32):
        self.indices, self._memory, self.dtype = indices, memory, np.dtype(dtype)
        self.values: list[Any] = [None] * len(indices)
        self.rows = rows

    def memory_of(self, place: int, size: int) -> memoryview | None:
        """Where a clip of `size` bytes belongs; None when the batch's first clip had another size."""
        if self.rows is None:
            count, length = len(self.indices), size // self.dtype.itemsize
            self.rows = self._memory.lend(count * length * self.dtype.itemsize).view(self.dtype).reshape(count, length)
        return memoryview(self.rows[place]).cast('B') if size == self.rows[place].nbytes else None

    def stack(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Clips behind each other, (sum of S, ...)."""
        shapes = {clip.shape[1:] for clip in clips}
        if len(shapes) > 1:
            raise UsageError(f'samples of a batch have the shapes {sorted(shapes)}; bring frames to one size with '
                             '--new-height and --new-width or a transform that crops')
        if self.rows is not None and len(clips) == len(self.rows) and all(
                clip.dtype == self.dtype and clip.ctypes.data == row.ctypes.data
                for clip, row in zip(clips, self.rows)):
            return self.rows.reshape((-1, *clips[0].shape[1:]))
        return np.concatenate(clips).astype(self.dtype, copy=False)


class Written(NamedTuple):
    """What a worker answers for a clip that it wrote into its row of a batch: the clip's shape."""

    shape: tuple[int, ...]


class OneByOne:
    """A task is ``dataset.load(index, epoch=epoch)``.

    As soon as it is known how large a clip is, workers write it where the batch needs it. Clips of another size come as
    parts of the answers.

    Parameters
    ----------
    dataset
    batch_size : int
    batches : int
        How many may be under way or held at a time without new memory.
    """

    def __init__(self, dataset, batch_size: int, batches: int):
        self._dataset, self._batch_size = dataset, batch_size
        self._memory = BatchMemory(batches)
        self._dtype = np.dtype(np.float32 if getattr(dataset, 'scaling', None) is None else np.uint8)
        self._rows = SharedRows(None, batches, self._dtype)

    def __call__(self, index: int, epoch: int, number: int | None = None, place: int = 0,
                 shape: tuple[int, ...] = ()) -> tuple[np.ndarray | Written, Any]:
        """Do a task; write the clip into a row of the array `number`, which has this shape, if it is one."""
        clip, label = self._dataset.load(index, epoch=epoch)
        if number is None or clip.size != shape[1]:
            return clip, label
        self._rows.decide(shape)
        self._rows.at(number)[place].reshape(clip.shape)[...] = clip
        return Written(clip.shape), label

    def begin(self, indices: list[int], epoch: int) -> tuple[Answers, Iterator[Task]]:
        """What a batch's answers go to, and the keys and arguments of its tasks."""
        if self._rows.shape is None:
            answers = Answers(indices, memory=self._memory, dtype=self._dtype)
            return answers, ((place, (index, epoch)) for place, index in enumerate(indices))
        number, rows = self._rows.lend()
        return Answers(indices, rows[:len(indices)], dtype=self._dtype), (
            (place, (index, epoch, number, place, self._rows.shape)) for place, index in enumerate(indices))

    def memory_of(self, answers: Answers, place: int, size: int) -> memoryview | None:
        """Where the first array of a task's answer belongs."""
        return answers.memory_of(place, size)

    def put(self, answers: Answers, place: int, value: Any) -> Iterator[Task]:
        """Take the answer of a task; there is nothing to do instead."""
        if not isinstance(value, Exception):
            clip, label = value
            if isinstance(clip, Written):
                value = answers.rows[place].reshape(clip.shape), label
            else:
                self._rows.decide((self._batch_size, clip.size))
        answers.values[place] = value
        return iter(())

    def rest(self) -> None:
        """Keep no memory after an epoch."""
        self._memory.rest()
        if self._rows.shape is not None:
            self._rows.rest()

    def read(self, indices: list[int], epoch: int) -> Answers:
        """Read a batch in this process."""
        answers = Answers(indices, dtype=self._dtype)
        for place, index in enumerate(indices):
            try:
                answers.values[place] = self(index, epoch)
            except Exception as error:
                answers.values[place] = error
            gc.collect(1)  # as workers do: a decoder's frames must not wait for Python to see their cycle
        return answers


class Together:
    """A task is ``dataset.load_many(indices, rows, epoch=epoch)`` for some of a batch, with rows in shared memory.

    Parameters
    ----------
    dataset
        Has ``row_shape``, the shape of a row, too: a sample is one row.
    batch_size : int
    batches : int
        How many may be under way or held at a time without new memory.
    """

    def __init__(self, dataset, batch_size: int, batches: int):
        self._dataset = dataset
        self._rows = SharedRows((batch_size, *dataset.row_shape), batches)

    def __call__(self, number: int, places: Sequence[int], indices: list[int],
                 epoch: int) -> tuple[np.ndarray, dict[int, Exception]]:
        """Do a task: labels, and the errors by their places among them."""
        batch = self._rows.at(number)
        return self._dataset.load_many(indices, [batch[place] for place in places], epoch=epoch)

    def begin(self, indices: list[int], epoch: int) -> tuple[Answers, Iterator[Task]]:
        """As `OneByOne.begin`; what lies together in the data set is in one task."""
        number, rows = self._rows.lend()
        places = sorted(range(len(indices)), key=indices.__getitem__)
        parts = [places[start:start + _TOGETHER] for start in range(0, len(places), _TOGETHER)]
        return Answers(indices, rows[:len(indices)]), self._tasks(number, parts, indices, epoch)

    def memory_of(self, answers: Answers, key: tuple, size: int) -> None:
        """Nowhere: labels are no part of a batch's rows."""

    def put(self, answers: Answers, key: tuple, value: Any) -> Iterator[Task]:
        """Take the answer of a task; return those to do instead of one that its worker did not survive."""
        number, epoch, places = key
        if isinstance(value, (WorkerTimeout, WorkerDied)) and len(places) > 1:  # one of them is to blame
            return self._tasks(number, [[place] for place in places], answers.indices, epoch)
        self._fill(answers, places, value)
        return iter(())

    def rest(self) -> None:
        """Keep no memory after an epoch."""
        self._rows.rest()

    def read(self, indices: list[int], epoch: int) -> Answers:
        """Read a batch in this process."""
        answers = Answers(indices, np.empty((len(indices), *self._rows.shape[1:]), np.float32))
        self._fill(answers, range(len(indices)), self._dataset.load_many(indices, answers.rows, epoch=epoch))
        return answers

    @staticmethod
    def _tasks(number: int, parts: list[list[int]], indices: list[int], epoch: int) -> Iterator[Task]:
        for places in parts:
            yield (number, epoch, tuple(places)), (number, places, [indices[place] for place in places], epoch)

    @staticmethod
    def _fill(answers: Answers, places: Sequence[int], value: Any) -> None:
        for among, place in enumerate(places):
            if isinstance(value, Exception):
                answers.values[place] = value
            else:
                labels, errors = value
                answers.values[place] = errors.get(among) or (answers.rows[place:place + 1], labels[among])
