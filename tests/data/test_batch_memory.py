"""Memory of batches is used again when nobody holds it, and never while anybody does."""
import gc

import numpy as np
import pytest

from gluon_action.data.loading.batch_memory import BatchMemory
from gluon_action.data.loading.loader import VideoLoader


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
        places = {place(batch.data) for batch in loader.epoch(0)}
    assert len(places) <= 3  # of 12 batches: with the consumer, waiting, and arriving


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
        free = loader._tasks._memory._free
        batches = loader.epoch(0)
        held = next(batches).data
        next(batches), next(batches)
        assert free.memories
        for _ in batches:
            pass
        assert not free.memories
        del held
        assert not free.memories


def test_large_memory_and_none_at_all():
    memory = BatchMemory(spare=1)
    assert memory.lend(0).shape == (0,)
    large = memory.lend(8 << 20)
    large[:] = 3
    assert large[-1] == 3
