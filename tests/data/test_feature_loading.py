"""Batches of features: order, resuming, workers, memory, and what cannot be read."""
import gc
import os
import signal
import time

import numpy as np
import pytest
from feature_records import MAX_FRAMES, MEANS, SMALL, Video, write_records, write_videos
from test_dataloader import assert_same, resident_bytes, told

from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.loading.shared_rows import SharedRows
from gluon_action.data.tfrecords.features import frame_features
from gluon_action.data.tfrecords.features.feature_messages import make_frame_record
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.errors import RecordError, VideoReadError

SIZES = (5, 1, 9, 4, 6, 8, 7)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Seven files of 40 videos."""
    path = tmp_path_factory.mktemp('features') / 'set'
    write_videos(path, SIZES)
    return path


@pytest.mark.parametrize('num_workers', [1, 2])
def test_batches_are_the_same_for_any_number_of_workers(folder, num_workers):
    records = FeatureRecords(folder, **SMALL)
    options = dict(batch_size=33, shuffle=True, seed=3, last='wrap')  # several tasks a batch
    with VideoLoader(records, **options) as here, VideoLoader(records, num_workers=num_workers, **options) as there:
        for epoch in (0, 3):
            expected = told(here.epoch(epoch))
            assert_same(told(there.epoch(epoch)), expected)
            for indices, data, label, _ in expected:
                assert data.shape == (33, MAX_FRAMES, 8) and data.dtype == label.dtype == np.float32
                np.testing.assert_allclose(data, [Video(index).row() for index in indices], rtol=0, atol=1e-7)
                np.testing.assert_array_equal(label, [Video(index).label() for index in indices])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_features_of_videos_and_a_last_batch_that_is_smaller(tmp_path, num_workers):
    videos = write_videos(tmp_path / 'set', kind='video')
    records = FeatureRecords(tmp_path / 'set', **{**SMALL, 'features': MEANS}, frame_level=False)
    with VideoLoader(records, 4, num_workers=num_workers) as loader:
        batches = told(loader.epoch(0))
    assert [data.shape for _, data, *_ in batches] == [(4, 1, 8)] * 3 + [(3, 1, 8)]
    np.testing.assert_array_equal(np.concatenate([data for _, data, *_ in batches])[:, 0, :5],
                                  [video.means['mean_rgb'] for video in videos])


def test_a_shuffled_order_holds_every_sample_once_and_depends_on_seed_and_epoch_alone(folder):
    def orders(**options):
        loader = VideoLoader(FeatureRecords(folder, **SMALL), 40, shuffle=True, **options)
        return [loader.batch_indices(epoch)[0] for epoch in range(3)]

    assert orders(seed=1) == orders(seed=1)
    seen = [*orders(seed=1), *orders(seed=2)]
    assert all(sorted(order) == list(range(40)) for order in seen) and len(set(map(tuple, seen))) == 6


def test_a_shuffled_order_mixes_a_few_files_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(frame_features, '_MIXED', 3)
    records = FeatureRecords(folder, **SMALL)
    order = records.shuffled(np.random.default_rng(0)).tolist()
    files = [records.place_of(index)[0] for index in order]
    entering = list(dict.fromkeys(files))
    for group in (entering[:3], entering[3:6], entering[6:]):
        size = sum(map(len, group))
        assert set(files[:size]) == set(group)
        files = files[size:]
    assert files == [] and order[:20] != sorted(order[:20])
    assert set(entering[:3]) != set(records._files[:3])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_epoch_is_entered_anywhere_without_reading_what_was_before(folder, num_workers, monkeypatch):
    records = FeatureRecords(folder, **SMALL)
    with VideoLoader(records, 8, shuffle=True, num_workers=num_workers) as loader:
        whole = told(loader.epoch(2))
        loader.close()
        before, after = loader.batch_indices(2)[:3], loader.batch_indices(2)[3:]
        load_many = records.load_many

        def watched(indices, rows, *, epoch=0):
            assert not set(indices) & set(sum(before, []))
            return load_many(indices, rows, epoch=epoch)
        monkeypatch.setattr(records, 'load_many', watched)
        rest = told(loader.epoch(2, start_batch=3))
    assert [indices for indices, *_ in rest] == after
    assert_same(rest, whole[3:])


def test_machines_that_train_together_share_an_epoch(folder):
    records = FeatureRecords(folder, **SMALL)
    parts = [VideoLoader(records, 4, shuffle=True, num_parts=2, part_index=part).batch_indices(1) for part in range(2)]
    assert sorted(sum(parts[0] + parts[1], [])) == list(range(40))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_videos_that_cannot_be_read_are_named_and_left_out(tmp_path, num_workers, caplog):
    bad = Video(2).record()[:-1]
    write_records(tmp_path / 'a.tfrecord',
                  [bad if number in (1, 20) else Video(number).record() for number in range(40)])
    records = FeatureRecords(tmp_path, **SMALL)
    with VideoLoader(records, 32, num_workers=num_workers, on_error='skip') as loader:
        first, second = loader.epoch(0)
    assert first.indices == [0, *range(2, 20), *range(21, 32)] and first.data.shape == (30, MAX_FRAMES, 8)
    np.testing.assert_allclose(first.data, [Video(index).row() for index in first.indices], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(first.label, [Video(index).label() for index in first.indices])
    assert [failure.index for failure in first.failures] == [1, 20] and second.indices == list(range(32, 40))
    assert f'{tmp_path}/a.tfrecord, byte' in first.failures[0].message
    for number in (1, 20):
        assert f'record {number}: it is not a tf.train.SequenceExample' in caplog.text
    with VideoLoader(records, 32, num_workers=num_workers) as loader:
        with pytest.raises(RecordError, match='record 1: it is not'):
            next(loader.epoch(0))


class Faulty(FeatureRecords):
    """A set in which reading some samples goes wrong in other ways."""

    def __init__(self, *args, faults, **options):
        super().__init__(*args, **options)
        self.faults = faults

    def load_many(self, indices, rows, *, epoch=0):
        for index in indices:
            if index in self.faults:
                self.faults[index]()
        return super().load_many(indices, rows, epoch=epoch)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_faults_that_are_not_the_records_are_never_skipped(folder, num_workers):
    records = Faulty(folder, **SMALL, faults={2: lambda: [][0]})
    with VideoLoader(records, 4, num_workers=num_workers, on_error='skip') as loader:
        with pytest.raises(IndexError, match='out of range'):
            next(loader.epoch(0))


def test_a_video_that_hangs_is_given_up_and_its_neighbours_are_read(folder):
    records = Faulty(folder, **SMALL, faults={5: lambda: time.sleep(60)})
    with VideoLoader(records, 40, num_workers=2, timeout=0.5, on_error='skip') as loader:
        batch, = loader.epoch(0)
    assert batch.indices == [*range(5), *range(6, 40)] and batch.failures[0].key == 'video5'
    assert 'no answer within 0.5 s' in batch.failures[0].message
    assert 'train01.tfrecord record 0' in batch.failures[0].message
    np.testing.assert_allclose(batch.data[5], Video(6).row(), rtol=0, atol=1e-7)


def test_a_video_that_kills_its_worker_is_named(folder):
    records = Faulty(folder, **SMALL, faults={5: lambda: os.kill(os.getpid(), signal.SIGKILL)})
    with VideoLoader(records, 40, num_workers=1) as loader:
        with pytest.raises(VideoReadError, match=r'train01.tfrecord.*SIGKILL, 2 times \(.*record 0\)'):
            next(loader.epoch(0))


def test_batches_that_are_kept_are_not_written_to_again(folder):
    records = FeatureRecords(folder, **SMALL)
    with VideoLoader(records, 4, shuffle=True, num_workers=2) as loader:
        kept = [(batch.indices, batch.data) for epoch in range(3) for batch in loader.epoch(epoch)]
        views = [(batch.indices, batch.data[1:, 2]) for batch in loader.epoch(3)]
        list(loader.epoch(4))
    for indices, data in kept:
        np.testing.assert_allclose(data, [Video(index).row() for index in indices], rtol=0, atol=1e-7)
    for indices, data in views:
        np.testing.assert_allclose(data, [Video(index).row()[2] for index in indices[1:]], rtol=0, atol=1e-7)


def test_an_epoch_left_early_does_not_leak_into_the_next(folder):
    with VideoLoader(FeatureRecords(folder, **SMALL), 4, shuffle=True, num_workers=2) as loader:
        expected = told(loader.epoch(1))
        for _ in loader.epoch(0):
            break
        assert_same(told(loader.epoch(1)), expected)


def test_a_killed_worker_is_replaced_and_the_batches_are_right(folder):
    records = FeatureRecords(folder, **SMALL)
    expected = told(VideoLoader(records, 4, shuffle=True).epoch(0))
    with VideoLoader(records, 4, shuffle=True, num_workers=2) as loader:
        batches = []
        for batch in loader.epoch(0):
            batches += told([batch])
            os.kill(loader._pool.pids[len(batches) % 2], signal.SIGKILL)
    assert_same(batches, expected)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_memory_is_flat_over_20_epochs(tmp_path, num_workers):
    features = {'rgb': np.zeros((300, 1024), np.uint8)}
    write_records(tmp_path / 'a.tfrecord', [make_frame_record(f'v{number}', features, [1]) for number in range(20)])
    records = FeatureRecords(tmp_path, features=(('rgb', 1024),), num_classes=4)
    with VideoLoader(records, 4, shuffle=True, num_workers=num_workers) as loader:  # 25 MB an epoch
        sizes = []
        for epoch in range(20):
            for batch in loader.epoch(epoch):
                batch.data.sum()
            del batch
            sizes.append(resident_bytes())
    assert max(sizes[10:]) - max(sizes[5:10]) < 4e6


def test_shared_rows_are_lent_again_when_no_view_of_them_is_left():
    rows = SharedRows((3, 4), spare=1)
    number, first = rows.lend()
    view = first[1:, ::2].T
    other, second = rows.lend()
    assert first.shape == (3, 4) and first.dtype == np.float32 and {number, other} == {0, 1}
    del first
    gc.collect()
    assert rows.lend()[0] == 2
    del view
    assert rows.lend()[0] in (0, 2)
    second[:] = 5
    rows.at(other)[1, 2] = 7
    assert second[1, 2] == 7


def test_shared_rows_give_memory_back_that_is_more_than_is_needed():
    rows = SharedRows((1 << 20,), spare=2)
    kept = [rows.lend()[1] for _ in range(6)]
    for array in kept:
        array[:] = 1

    def used():
        return os.fstat(rows._store).st_blocks * 512
    assert used() == 6 << 22
    del kept, array
    assert used() == 2 << 22
    last = rows.lend()[1]
    assert (last.size, used()) == (1 << 20, 2 << 22)
    rows.rest()
    assert used() == 1 << 22
    del last
    assert used() == 0
    assert (rows.lend()[1] == 0).all()


def test_shared_rows_are_kept_again_after_many_were_held():
    """Else pages would be new for every batch to come."""
    rows = SharedRows((1 << 20,), spare=2)
    kept = [rows.lend()[1] for _ in range(6)]
    del kept
    for _ in range(4):
        array = rows.lend()[1]
        array[:] = 1
        del array
        assert os.fstat(rows._store).st_blocks * 512 == 1 << 22


def test_shared_rows_take_few_descriptors():
    """A consumer that keeps all batches has more of them than a process may have open."""
    before, rows = len(os.listdir('/proc/self/fd')), SharedRows((3,), spare=1)
    kept = [rows.lend() for _ in range(300)]
    assert len(os.listdir('/proc/self/fd')) <= before + 10
    for number, array in kept:
        array[:] = number
    assert all((array == number).all() and (rows.at(number) == number).all() for number, array in kept)


def test_shared_rows_are_not_emptied_by_a_fork_that_does_not_need_them():
    rows = SharedRows((2,), spare=1)
    array = rows.lend()[1]
    array[:] = 3
    rows.rest()
    pid = os.fork()
    if not pid:
        del array
        os._exit(0)
    os.waitpid(pid, 0)
    assert array.tolist() == [3, 3]


def test_no_memory_is_kept_between_epochs(folder):
    with VideoLoader(FeatureRecords(folder, **SMALL), 8, num_workers=2) as loader:
        for epoch in range(2):
            sums = [batch.data.sum() for batch in loader.epoch(epoch)]
            assert len(sums) == 5 and os.fstat(loader._tasks._rows._store).st_blocks == 0
        batches = loader.epoch(2)
        next(batches)
        assert os.fstat(loader._tasks._rows._store).st_blocks > 0
        batches.close()
        assert os.fstat(loader._tasks._rows._store).st_blocks == 0


def test_shared_rows_are_seen_by_processes_that_were_forked_before_they_were_lent():
    rows = SharedRows((2,), spare=1)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        number = int.from_bytes(os.read(read, 1), 'little')
        rows.at(number)[:] = 3
        os._exit(0)
    number, array = rows.lend()
    os.write(write, bytes([number]))
    os.waitpid(pid, 0)
    assert array.tolist() == [3, 3]
