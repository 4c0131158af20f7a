from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_action.data.loading.epoch_order import EpochOrder, class_weights
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.errors import UsageError


class Labelled:
    """A data set that gives what it was asked for."""

    def __init__(self, *counts):
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        self.samples = [SimpleNamespace(label=label, key=str(index)) for index, label in enumerate(labels)]
        self.classes = list('abc')

    def __len__(self):
        return len(self.samples)

    def load(self, index, *, epoch=0, view=0):
        return np.float32([[index, epoch, view]]), self.samples[index].label


def rows_of(order, epoch=0, batch_size=4):
    with VideoLoader(order, batch_size, shuffle=True, last='wrap') as loader:
        return [batch.data.tolist() for batch in loader.epoch(epoch)], \
            [label for batch in loader.epoch(epoch) for label in batch.label.tolist()]


def test_classes_are_shown_equally_often_and_a_sample_again_with_other_draws():
    order = EpochOrder(Labelled(2, 10, 18), balanced=True)
    batches, labels = rows_of(order, batch_size=10)
    assert Counter(labels) == {0: 10, 1: 10, 2: 10}
    shown = [tuple(row) for batch in batches for row in batch]
    assert len(set(shown)) == 30
    assert sorted(view for index, _, view in shown if index == 0) == list(range(5))
    assert len({index for index, _, _ in shown if index >= 12}) == 10
    later = {row[0] for batch in rows_of(order, 1, 10)[0] for row in batch if row[0] >= 12}
    assert later != {index for index, _, _ in shown if index >= 12}


def test_of_equal_classes_each_sample_is_shown_once():
    batches, _ = rows_of(EpochOrder(Labelled(4, 4, 4), balanced=True))
    assert sorted(row[0] for batch in batches for row in batch) == list(range(12))


def test_classes_take_turns_at_what_cannot_be_divided():
    order = EpochOrder(Labelled(5, 5, 1), balanced=True)
    found = [Counter(rows_of(order, epoch, 11)[1]) for epoch in range(8)]
    assert all(sorted(counts.values()) == [3, 4, 4] for counts in found)
    assert len({min(counts, key=counts.get) for counts in found}) > 1


def test_repeats_come_in_succession_and_differ():
    batches, _ = rows_of(EpochOrder(Labelled(4, 4), repeats=2))
    assert len(batches) == 2
    for batch in batches:
        assert [row[0] for row in batch[::2]] == [row[0] for row in batch[1::2]]
        assert [row[2] for row in batch] == [0, 1] * 2
    assert len({row[0] for batch in batches for row in batch}) == 4


def test_batches_do_not_depend_on_the_workers():
    order = EpochOrder(Labelled(3, 9), balanced=True, repeats=3)
    with VideoLoader(order, 4, shuffle=True, last='wrap', num_workers=2) as loader:
        assert [batch.data.tolist() for batch in loader.epoch(2)] == rows_of(order, 2)[0]


def test_what_cannot_be_read_is_named():
    from gluon_action.errors import VideoReadError

    class Broken(Labelled):
        def load(self, index, **how):
            if index == 0:
                raise VideoReadError('x', 'pyav', 'broken')
            return super().load(index, **how)
    with VideoLoader(EpochOrder(Broken(1, 3), balanced=True), 4, shuffle=True, on_error='skip',
                     max_skip_share=1.) as loader:
        failures = [failure.key for batch in loader.epoch(0) for failure in batch.failures]
    assert failures == ['0', '0']


def test_the_data_set_itself_is_still_to_be_seen():
    data = Labelled(2, 2)
    order = EpochOrder(data, balanced=True)
    assert order.classes == list('abc') and list(order.samples) == data.samples and len(order.samples) == 4
    with pytest.raises(AttributeError):
        order.load_many  # noqa: B018  (what it does not have, the loader must not see)


def test_several_labels_cannot_be_balanced():
    data = Labelled(2)
    data.samples[0].label = (0, 1)
    with pytest.raises(UsageError, match='--balance'):
        EpochOrder(data, balanced=True)


def test_weights_make_classes_count_the_same():
    data = Labelled(1, 3, 0, 4)
    weights = class_weights(data.samples, 5)
    counts = np.array([1, 3, 0, 4, 0])
    assert np.allclose((weights * counts)[counts > 0], 8 / 3) and (weights[counts == 0] == 1).all()
    assert np.mean([weights[sample.label] for sample in data.samples]) == pytest.approx(1)
