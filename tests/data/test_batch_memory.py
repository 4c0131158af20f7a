"""Memory of batches is used again when nobody holds it, and never while anybody does."""
import gc
import os
from collections import deque

import numpy as np
import pytest

from gluon_action.data.loading.batch_memory import BatchMemory
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.loading.sample_tasks import Written
from gluon_action.errors import VideoReadError


class Clips:
    """Clips of 4 KiB whose numbers are their index and the epoch."""

    samples = range(48)

    def __len__(self):
        return len(self.samples)

    def load(self, index, *, epoch=0, view=0):
        return np.full((2, 512), index + 1000 * epoch, np.float32), index


def place(array):
    return array.__array_interface__['data'][0]


def test_batches_that_nobody_holds_share_a_few_places():
    with VideoLoader(Clips(), 4, num_workers=1, prefetch=1) as loader:
        places = [place(batch.data) for batch in loader.epoch(0)]
    # Of 12 batches: with the consumer, waiting, and arriving. The first two did not know how large a clip is.
    assert len(set(places[2:])) <= 3 and len(set(places)) <= 5


def test_workers_write_clips_into_the_batch():
    """Nothing but labels is sent once it is known how large a clip is."""
    with VideoLoader(Clips(), 4, num_workers=2, prefetch=1) as loader:
        sent, take = [], loader._tasks.put

        def put(answers, place, value):
            sent.append(not isinstance(value[0], Written))
            return take(answers, place, value)

        loader._tasks.put = put
        memory = loader._tasks._rows
        for epoch in range(2):
            for batch in loader.epoch(epoch):
                np.testing.assert_array_equal(batch.data[::2, 0], np.array(batch.indices) + 1000 * epoch)
                assert batch.data.flags.c_contiguous and batch.data.flags.writeable
        assert memory.shape == (4, 1024)
    assert sum(sent) <= 8 and len(sent) == 2 * len(Clips())  # those of two batches may be asked for before that


class Uneven(Clips):
    """Some are longer, some are of another type, and one cannot be read."""

    scaling = None

    def load(self, index, *, epoch=0, view=0):
        if index == 17:
            raise VideoReadError('17.mp4', 'nobody', 'is not there')
        clip, label = super().load(index)
        return (np.concatenate([clip, clip]) if index % 5 == 3 else clip.astype(np.float64) if index % 7 == 3 else
                clip[:, ::-1] if index % 7 == 4 else clip), label


def test_clips_of_other_sizes_and_types_come_to_the_same_batches():
    with VideoLoader(Uneven(), 5, shuffle=True, num_workers=2, on_error='skip') as loader:
        found = list(loader.epoch(0))
        assert loader._tasks._rows.shape is not None
    expected = list(VideoLoader(Uneven(), 5, shuffle=True, on_error='skip').epoch(0))
    assert sum(len(batch.failures) for batch in found) == 1
    for one, other in zip(found, expected, strict=True):
        assert one.indices == other.indices and one.data.dtype == other.data.dtype == np.float32
        np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize('held', [lambda data: data, lambda data: data[1:, ::2], lambda data: memoryview(data),
                                  lambda data: data.T[3:].reshape(-1, 2)[:, :1]])
def test_who_keeps_a_batch_keeps_its_numbers(held):
    with VideoLoader(Clips(), 4, num_workers=1, prefetch=1) as loader:
        kept = [held(batch.data) for epoch in range(2) for batch in loader.epoch(epoch)]
    expected = [held(batch.data) for epoch in range(2) for batch in VideoLoader(Clips(), 4).epoch(epoch)]
    assert [np.asarray(one).tolist() for one in kept] == [np.asarray(one).tolist() for one in expected]


def test_memory_comes_back_when_the_last_view_is_gone():
    memory = BatchMemory(spare=2)
    first = memory.lend(64)
    assert first.shape == (64,) and first.dtype == np.uint8
    here, view = place(first), first.reshape(8, 8)[1:, ::2].T
    del first
    gc.collect()
    other = memory.lend(64)
    assert place(other) != here
    del view
    assert place(memory.lend(64)) == here


def test_no_more_is_kept_than_was_asked_for_and_only_of_one_size():
    memory = BatchMemory(spare=2)
    kept = [memory.lend(4096) for _ in range(5)]
    del kept
    assert len(memory._free.memories) == 2
    small = memory.lend(2048)
    assert not memory._free.memories and small.nbytes == 2048
    big = memory.lend(4096)
    del small
    assert not memory._free.memories  # of a size that is not wanted any more
    del big
    assert len(memory._free.memories) == 1


def test_nothing_is_kept_between_epochs():
    with VideoLoader(Clips(), 4, num_workers=1) as loader:
        free, store = loader._tasks._memory._free, loader._tasks._rows._store
        for epoch in range(2):
            batches = loader.epoch(epoch)
            held = [next(batches).data for _ in range(5)]
            assert os.fstat(store).st_blocks > 0
            del held
            deque(batches, 0)
            assert not free.memories and os.fstat(store).st_blocks == 0
        held = next(loader.epoch(2)).data
        loader.close()
        loader._tasks.rest()
        assert held[0, 0] == held[1, 0] >= 2000
        del held
        gc.collect()
        assert os.fstat(store).st_blocks == 0


def test_large_memory_and_none_at_all():
    memory = BatchMemory(spare=1)
    assert memory.lend(0).shape == (0,)
    large = memory.lend(8 << 20)
    large[:] = 3
    assert large[-1] == 3
