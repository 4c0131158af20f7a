import contextlib
import dataclasses
import mmap
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from videos import write_video

from gluon_action.data.dataloader import mx, split_and_load, split_data, tsn_batchify_fn, tsn_mp_batchify_fn
from gluon_action.data.loading.loader import PREFETCH_BYTES, SkippedSample, VideoLoader
from gluon_action.data.reading.sampling import sample_rng
from gluon_action.data.transforms import video
from gluon_action.data.video_dataset import VideoClsCustom
from gluon_action.errors import TrainingError, UsageError, VideoReadError


@dataclasses.dataclass(frozen=True)
class Item:
    path: str
    key: str
    where: str


class Samples:
    """Three segments of noise a sample; what goes wrong is decided by index. Counts its loads across processes."""

    def __init__(self, size=22, shape=(3, 2, 5, 4), faults=None, num_classes=None):
        self.samples = [Item(f'/videos/{i}.mp4', f'{i}.mp4', f'list.txt line {i + 1}') for i in range(size)]
        self.shape, self.faults, self.num_classes = shape, faults or {}, num_classes
        self.loads = np.frombuffer(mmap.mmap(-1, 8 * max(1, size)), np.int64)

    def __len__(self):
        return len(self.samples)

    def load(self, index, *, epoch=0, view=0):
        self.loads[index] += 1
        if index in self.faults:
            self.faults[index](index)
        clip = sample_rng(0, epoch, index, view).random(self.shape, np.float32)
        clip.flat[0] = index
        if self.num_classes:
            return clip, np.eye(self.num_classes, dtype=np.float32)[[index % 2, 2]].sum(0)
        return clip, index % 7


def unreadable(index):
    raise VideoReadError(f'/videos/{index}.mp4', 'decord', 'it is empty')


def told(batches):
    return [(batch.indices, batch.data.copy(), batch.label.copy(), batch.failures) for batch in batches]


def assert_same(one, other):
    assert len(one) == len(other)
    for (indices, data, label, failures), (indices2, data2, label2, failures2) in zip(one, other):
        assert indices == indices2 and failures == failures2
        np.testing.assert_array_equal(data, data2)
        np.testing.assert_array_equal(label, label2)


def living():
    """Process numbers and their parents', without zombies."""
    found = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError), open(f'/proc/{name}/stat') as file:
            state, parent = file.read().rpartition(')')[2].split()[:2]
            if state != 'Z':
                found[int(name)] = int(parent)
    return found


def children():
    return {pid for pid, parent in living().items() if parent == os.getpid()}


@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_batches_are_the_same_for_any_number_of_workers(num_workers):
    samples = Samples(faults={5: unreadable, 6: lambda _: time.sleep(0.05)})
    options = dict(batch_size=4, shuffle=True, seed=3, last='wrap', on_error='skip')
    with VideoLoader(samples, **options) as here, VideoLoader(samples, num_workers=num_workers, **options) as there:
        for epoch in (0, 1, 7):
            assert_same(told(there.epoch(epoch)), told(here.epoch(epoch)))


def test_a_batch_holds_the_segments_of_its_samples_in_order():
    with VideoLoader(Samples(), 4, shuffle=True, num_workers=2) as loader:
        batch = next(loader.epoch(0))
    assert batch.data.shape == (12, 2, 5, 4) and batch.data.dtype == np.float32 and batch.label.dtype == np.float32
    assert batch.data[::3, 0, 0, 0].tolist() == batch.indices
    assert batch.label.tolist() == [index % 7 for index in batch.indices]


def test_several_labels_a_sample_are_rows():
    batch = next(VideoLoader(Samples(num_classes=4), 3).epoch(0))
    assert batch.label.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]]


def test_the_order_depends_on_seed_and_epoch_alone():
    def orders(**options):
        loader = VideoLoader(Samples(50), 50, shuffle=True, **options)
        return [loader.batch_indices(epoch)[0] for epoch in range(3)]

    assert orders(seed=1) == orders(seed=1)
    seen = [*orders(seed=1), *orders(seed=2)]
    assert len({tuple(order) for order in seen}) == 6 and all(sorted(order) == list(range(50)) for order in seen)
    assert VideoLoader(Samples(5), 2).batch_indices(9) == [[0, 1], [2, 3], [4]]
    # A run that is resumed with another version resumes in the same order.
    kept = [VideoLoader(Samples(10), 10, shuffle=True, seed=3).batch_indices(epoch)[0] for epoch in (0, 2)]
    assert kept == [[3, 4, 0, 2, 8, 7, 9, 1, 6, 5], [5, 3, 7, 9, 2, 6, 4, 8, 1, 0]]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_epoch_entered_later_goes_on_as_if_it_had_run_and_reads_nothing_before(num_workers):
    samples = Samples()
    with VideoLoader(samples, 4, shuffle=True, num_workers=num_workers) as loader:
        whole = told(loader.epoch(2))
        samples.loads[:] = 0
        assert_same(told(loader.epoch(2, start_batch=3)), whole[3:])
        before = [index for batch in loader.batch_indices(2)[:3] for index in batch]
        assert samples.loads[before].sum() == 0 and samples.loads.sum() == 22 - 12
        assert told(loader.epoch(2, start_batch=6)) == []
        with pytest.raises(UsageError, match=r'0\.\.6.*got 7'):
            loader.epoch(2, start_batch=7)


@pytest.mark.parametrize('last, sizes', [('keep', [4, 4, 2]), ('wrap', [4, 4, 4]), ('drop', [4, 4])])
def test_the_last_batch_is_kept_filled_or_dropped(last, sizes):
    loader = VideoLoader(Samples(10), 4, shuffle=True, last=last)
    batches = [batch.indices for batch in loader.epoch(1)]
    assert [len(batch) for batch in batches] == sizes and len(loader) == len(sizes)
    seen = sum(batches, [])
    assert len(set(seen[:10])) == min(10, len(seen))
    if last == 'wrap':
        assert seen[10:] == seen[:2]


def test_a_set_smaller_than_a_batch_is_not_repeated_to_fill_it():
    assert [batch.indices for batch in VideoLoader(Samples(3), 4, last='wrap').epoch(0)] == [[0, 1, 2]]
    assert len(VideoLoader(Samples(3), 4, last='drop')) == 0
    assert told(VideoLoader(Samples(0), 4, last='wrap').epoch(0)) == []


@pytest.mark.parametrize('last', ['keep', 'wrap', 'drop'])
@pytest.mark.parametrize('size', [3, 23, 24, 25])
def test_machines_share_the_batches_of_one_order(last, size):
    parts = [VideoLoader(Samples(size), 4, shuffle=True, last=last, num_parts=3, part_index=part).batch_indices(5)
             for part in range(3)]
    if last != 'keep':
        assert len({len(part) for part in parts}) == 1
    rows = [parts[i % 3][i // 3] for i in range(sum(map(len, parts)))]
    order = VideoLoader(Samples(size), size, shuffle=True).batch_indices(5)[0]
    assert sum(rows, []) == np.resize(order, len(sum(rows, []))).tolist()
    assert [len(part) for part in parts] == [len(VideoLoader(Samples(size), 4, last=last, num_parts=3, part_index=part))
                                             for part in range(3)]
    if last == 'keep':
        assert sorted(sum(rows, [])) == list(range(size))


def test_the_number_of_batches_is_known_without_an_order(monkeypatch):
    loader = VideoLoader(Samples(23), 4, shuffle=True, last='wrap')
    monkeypatch.setattr(loader, 'batch_indices', None)  # which would make a list for each of them
    assert len(loader) == 6


@pytest.mark.parametrize('kind', ['unequal rows', 'uint8', 'odd bytes', 'not contiguous'])
def test_clips_of_any_layout_are_stacked_alike_with_and_without_workers(kind):
    samples, load = Samples(10), Samples(10, num_classes=3).load

    def changed(index, *, epoch=0):
        clip, label = load(index, epoch=epoch)
        clip = {'unequal rows': clip[:1 + index % 3], 'uint8': (clip * 10).astype(np.uint8),
                'odd bytes': (clip * 10).astype(np.uint8)[:, :1, :1, :3], 'not contiguous': clip[..., ::2]}[kind]
        return clip, label

    samples.load = changed
    expected = told(VideoLoader(samples, 4).epoch(0))
    assert expected[0][1].dtype == np.float32
    assert expected[0][1][0].tolist() == changed(0)[0][0].astype(np.float32).tolist()
    with VideoLoader(samples, 4, num_workers=2) as loader:
        assert_same(told(loader.epoch(0)), expected)


def test_a_batch_outlives_its_loader():
    with VideoLoader(Samples(), 4, num_workers=2) as loader:
        batches = list(loader.epoch(0))
        expected = told(VideoLoader(Samples(), 4).epoch(0))
    del loader
    assert_same(told(batches), expected)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_unreadable_video_raises_at_its_batch(num_workers):
    with VideoLoader(Samples(faults={9: unreadable}), 4, num_workers=num_workers) as loader:
        batches = loader.epoch(0)
        assert [next(batches).indices, next(batches).indices] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        with pytest.raises(VideoReadError, match='/videos/9.mp4.*it is empty'):
            next(batches)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_unreadable_videos_are_left_out_and_recorded_when_asked(num_workers, caplog):
    samples = Samples(faults=dict.fromkeys([1, 4, 5, 6, 7], unreadable))
    with VideoLoader(samples, 4, num_workers=num_workers, on_error='skip', max_skip_share=0.25) as loader:
        first, second, *rest = loader.epoch(0)
    assert first.indices == [0, 2, 3] and first.data.shape[0] == 9 and first.label.shape == (3,)
    assert first.failures == [SkippedSample(1, '1.mp4', '/videos/1.mp4: cannot be read by decord: it is empty')]
    assert second.indices == [] and second.data is None and [f.index for f in second.failures] == [4, 5, 6, 7]
    assert sum(len(batch.indices) for batch in rest) == 14
    assert 'skipped: /videos/1.mp4' in caplog.text


def test_too_many_unreadable_videos_end_the_epoch():
    faults = dict.fromkeys([1, 4, 5], unreadable)
    loader = VideoLoader(Samples(faults=faults), 4, on_error='skip', max_skip_share=0.1)
    with pytest.raises(TrainingError, match=r'3 of 22 samples.*--max-skip-share 0.1; the last one: /videos/5.mp4'):
        told(loader.epoch(0))


def test_the_share_that_may_be_skipped_is_of_the_whole_epoch_wherever_it_is_entered():
    loader = VideoLoader(Samples(faults={20: unreadable, 21: unreadable}), 4, on_error='skip', max_skip_share=0.1)
    last, = loader.epoch(0, start_batch=5)  # of 2 samples
    assert last.data is None and [failure.index for failure in last.failures] == [20, 21]
    part = VideoLoader(Samples(faults={4: unreadable}), 4, on_error='skip', max_skip_share=0.1, num_parts=2,
                       part_index=1)  # 10 of the 22 samples
    assert [len(batch.indices) for batch in part.epoch(0)] == [3, 4, 2]
    part = VideoLoader(Samples(faults={4: unreadable, 5: unreadable}), 4, on_error='skip', max_skip_share=0.1,
                       num_parts=2, part_index=1)
    with pytest.raises(TrainingError, match='2 of 10 samples could not be read'):
        list(part.epoch(0))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_faults_that_are_not_the_videos_are_never_skipped(num_workers):
    with VideoLoader(Samples(faults={2: lambda _: [][0]}), 4, num_workers=num_workers, on_error='skip') as loader:
        with pytest.raises(IndexError, match='out of range'):
            next(loader.epoch(0))


def test_samples_of_different_shapes_say_what_to_set():
    samples = Samples()
    samples.load = lambda index, *, epoch=0: (np.zeros((1, 3, 8, 8 + index % 2), np.float32), 0)
    with pytest.raises(UsageError, match='--new-height and --new-width'):
        next(VideoLoader(samples, 2).epoch(0))


def test_a_hung_sample_is_given_up_at_its_deadline(tmp_path):
    os.mkfifo(tmp_path / 'video.mp4')
    samples = Samples(faults={6: lambda _: open(tmp_path / 'video.mp4')})
    with VideoLoader(samples, 4, num_workers=2, timeout=0.5, on_error='skip') as loader:
        started = time.monotonic()
        batches = told(loader.epoch(0))
        assert time.monotonic() - started < 5
    assert [indices for indices, *_ in batches][1] == [4, 5, 7]
    failure, = batches[1][-1]
    assert failure.key == '6.mp4'
    assert failure.message == ('/videos/6.mp4: cannot be read by a data worker: no answer within 0.5 s; '
                               'the reading process was killed (list.txt line 7)')


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Seven videos, of which number 2 is cut short, and as number 5 a pipe that nobody writes to."""
    folder = tmp_path_factory.mktemp('videos')
    for number in (0, 1, 2, 3, 4, 6):
        write_video(folder / f'{number}.mp4', 12 + number)
    content = (folder / '2.mp4').read_bytes()
    (folder / '2.mp4').write_bytes(content[:len(content) // 2])
    os.mkfifo(folder / '5.mp4')
    lines = [f'{number}.mp4 12 {number}\n' for number in range(7)]
    (folder / 'list.txt').write_text(''.join(lines))
    (folder / 'good.txt').write_text(''.join(lines[:2] + lines[3:5] + lines[6:]))
    return folder


@pytest.mark.parametrize('data_timeout, timeout', [(0.7, 30), (None, 0.7)])
def test_real_videos_come_the_same_with_and_without_workers_and_broken_ones_are_named(videos, data_timeout, timeout):
    """Without workers only the data set's own deadline holds, with workers only the loader's."""
    transform = video.VideoGroupTrainTransform((32, 32), [1.0, 0.75], 0.5, 0.5)
    dataset = VideoClsCustom(str(videos), str(videos / 'list.txt'), num_segments=2, new_width=48, new_height=40,
                             target_width=32, target_height=32, transform=transform, timeout=data_timeout)
    num_workers = 0 if data_timeout else 2
    with VideoLoader(dataset, 4, num_workers=num_workers, on_error='skip', max_skip_share=0.5,
                     timeout=timeout) as loader:
        first, second = batches = list(loader.epoch(1))
    for batch in batches:
        expected = np.concatenate([dataset.load(index, epoch=1)[0] for index in batch.indices])
        np.testing.assert_array_equal(batch.data, expected)
        assert batch.label.tolist() == batch.indices
    (cut,), (hung,) = first.failures, second.failures
    assert (cut.key, hung.key) == ('2.mp4', '5.mp4')
    assert str(videos / '2.mp4') in cut.message and 'line 3' in cut.message
    assert str(videos / '5.mp4') in hung.message and '0.7 s' in hung.message and 'line 6' in hung.message


def test_a_killed_worker_is_reported_and_replaced_and_the_batches_are_right(caplog, tmp_path):
    def die_once(index):
        if not (tmp_path / 'died').exists():
            (tmp_path / 'died').touch()
            os.kill(os.getpid(), signal.SIGKILL)

    expected = told(VideoLoader(Samples(), 4, shuffle=True).epoch(0))
    with VideoLoader(Samples(faults={3: die_once}), 4, shuffle=True, num_workers=2) as loader:
        assert_same(told(loader.epoch(0)), expected)
        os.kill(loader._pool.pids[0], signal.SIGKILL)  # one that has nothing to do
        assert_same(told(loader.epoch(0)), expected)
        time.sleep(0.05)
    assert 'was killed by SIGKILL; a new one takes its place' in caplog.text


def test_a_video_that_kills_its_worker_is_named():
    samples = Samples(faults={3: lambda _: os.kill(os.getpid(), signal.SIGKILL)})
    with VideoLoader(samples, 4, num_workers=1) as loader:
        with pytest.raises(VideoReadError, match=r'/videos/3.mp4.*SIGKILL, 2 times \(list.txt line 4\)'):
            next(loader.epoch(0))


def test_an_epoch_left_early_does_not_leak_into_the_next():
    with VideoLoader(Samples(), 4, shuffle=True, num_workers=2) as loader:
        expected = told(loader.epoch(1))
        for _ in loader.epoch(0):
            break
        assert_same(told(loader.epoch(1)), expected)
        held = loader.epoch(0)
        next(held)
        assert_same(told(loader.epoch(1)), expected)
        with pytest.raises(UsageError, match='ends the one before'):
            next(held)


def test_workers_are_kept_between_epochs_and_gone_when_closed():
    before = children()
    with VideoLoader(Samples(), 4, num_workers=3) as loader:
        pids = list(loader._pool.pids)
        for epoch in range(3):
            told(loader.epoch(epoch))
        assert loader._pool.pids == pids and set(pids) == children() - before
    assert children() == before
    assert len(told(loader.epoch(0))) == 6  # it starts anew when asked again
    loader.close()
    loader.close()


def test_read_ahead_is_bounded_in_batches_and_in_bytes(monkeypatch):
    def furthest(samples, at_least, **options):
        with VideoLoader(samples, 2, num_workers=1, **options) as loader:
            batches, until = loader.epoch(0), time.monotonic() + 10
            for _ in range(4):
                next(batches)
            while not samples.loads[2 * (3 + at_least) + 1] and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.1)
            return int(np.flatnonzero(samples.loads)[-1]) // 2 - 3

    assert furthest(Samples(), 1, prefetch=1) == 1
    assert furthest(Samples(), 4, prefetch=4) == 4
    monkeypatch.setattr('gluon_action.data.loading.loader.PREFETCH_BYTES', 2 * 2 * Samples().load(0)[0].nbytes)
    assert furthest(Samples(), 2, prefetch=4) == 2
    assert PREFETCH_BYTES >= 1 << 28


def test_networks_compute_between_batches_while_workers_are_replaced():
    """MXNet stops its engine around a fork: work that is under way must come out right."""
    weight = mx.nd.random.normal(shape=(40, 64), ctx=mx.cpu())
    weight.attach_grad()
    grads = []
    for num_workers in (0, 2):
        with VideoLoader(Samples(), 4, shuffle=True, num_workers=num_workers) as loader:
            total = mx.nd.zeros((40, 64))
            for number, batch in enumerate(loader.epoch(0)):
                with mx.autograd.record():
                    loss = (mx.nd.dot(mx.nd.array(batch.data).reshape((-1, 40)), weight) ** 2).mean()
                loss.backward()
                total = total + weight.grad  # not waited for
                if num_workers and number % 2:
                    os.kill(loader._pool.pids[0], signal.SIGKILL)
            grads.append(total.asnumpy())
    np.testing.assert_array_equal(*grads)


def resident_bytes():
    """Of this process and its workers."""
    total = 0
    for pid in [os.getpid(), *children()]:
        with open(f'/proc/{pid}/statm') as file:
            total += int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return total


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('source', ['arrays', 'videos'])
def test_memory_is_flat_over_20_epochs(source, num_workers, videos):
    samples = Samples(size=40, shape=(3, 3, 64, 64))  # 6 MB an epoch
    if source == 'videos':
        samples = VideoClsCustom(str(videos), str(videos / 'good.txt'), num_segments=3, target_width=224,
                                 transform=video.VideoGroupValTransform(224, 0.5, 0.5))  # 9 MB
    with VideoLoader(samples, 4, shuffle=True, num_workers=num_workers) as loader:
        sizes = []
        for epoch in range(20):
            for batch in loader.epoch(epoch):
                batch.data.sum()
            sizes.append(resident_bytes())
    assert max(sizes[10:]) - max(sizes[5:10]) < 4e6


RUN = '''
import time
import numpy as np
from gluon_action.data.loading.loader import VideoLoader

class Samples:
    samples = range(2000)
    def __len__(self):
        return 2000
    def load(self, index, **_):
        time.sleep(0.02)
        return np.zeros((3, 2, 5, 4), np.float32), index

with VideoLoader(Samples(), 4, num_workers=3) as loader:
    print(*loader._pool.pids, flush=True)
    for batch in loader.epoch(0):
        batch.data * 2
'''


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_after_ctrl_c_or_a_kill(signal_number):
    parent = subprocess.Popen([sys.executable, '-c', RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)
    pids = set(map(int, parent.stdout.readline().split()))
    assert len(pids) == 3
    time.sleep(0.3)
    (os.killpg if signal_number == signal.SIGINT else os.kill)(parent.pid, signal_number)
    _, errors = parent.communicate(timeout=20)
    until = time.monotonic() + 10
    while pids & set(living()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not pids & set(living())
    if signal_number == signal.SIGINT:
        assert errors.count('Traceback') == 1 and errors.strip().endswith('KeyboardInterrupt')


@pytest.mark.parametrize('options, message', [
    (dict(batch_size=0), 'batch_size must be 1 or more, got 0'), (dict(num_workers=-1), 'num_workers must be 0 or m'),
    (dict(last='roll'), "last must be one of keep, wrap, drop, got 'roll'"), (dict(on_error='ignore'), 'raise, skip'),
    (dict(max_skip_share=1.5), r'0\.\.1, got 1.5'), (dict(num_parts=2, part_index=2), r'part_index must be 0\.\.1'),
    (dict(seed=-1), 'seed must be 0 or more')])
def test_arguments_that_cannot_be_name_what_can(options, message):
    with pytest.raises(UsageError, match=message):
        VideoLoader(Samples(), **{'batch_size': 4, **options})


class Pairs(mx.gluon.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return mx.nd.full((3, 2, 4, 4), index), index


@pytest.mark.parametrize('batchify, num_workers',
                         [(tsn_batchify_fn, 0), (tsn_mp_batchify_fn, 0), (tsn_mp_batchify_fn, 2)])
def test_gluons_loader_with_our_batchify_keeps_segments_together(batchify, num_workers):
    loader = mx.gluon.data.DataLoader(Pairs(), 4, batchify_fn=batchify, num_workers=num_workers)
    (data, label), (tail, tail_label) = list(loader)
    assert data.shape == (12, 2, 4, 4) and data[:, 0, 0, 0].asnumpy().tolist() == np.repeat(range(4), 3).tolist()
    assert label.asnumpy().tolist() == [0, 1, 2, 3] and tail.shape[0] == 6 and tail_label.asnumpy().tolist() == [4, 5]


def test_our_batchify_equals_gluoncvs():
    theirs = __import__('gluoncv.data.dataloader', fromlist=['']).tsn_mp_batchify_fn
    items = [Pairs()[index] for index in (4, 1, 5)]
    for ours in (tsn_mp_batchify_fn, tsn_batchify_fn):
        for mine, other in zip(ours(items), theirs(items)):
            np.testing.assert_array_equal(mine.asnumpy(), other.asnumpy())
            assert mine.dtype == other.dtype


@pytest.mark.parametrize('size, num_slice, multiplier, sizes', [
    (21, 4, 3, [6, 6, 6, 3]), (22, 4, 1, [6, 6, 5, 5]), (6, 4, 3, [3, 3]), (3, 4, 3, [3]), (24, 3, 2, [8, 8, 8]),
    (0, 2, 1, [])])
def test_slices_differ_by_one_sample_at_most_and_keep_samples_whole(size, num_slice, multiplier, sizes):
    data = mx.nd.arange(size).reshape((size, 1)) if size else mx.nd.array(np.zeros((0, 1)))
    slices = split_data(data, num_slice, even_split=False, multiplier=multiplier)
    assert [len(part) for part in slices] == sizes
    if size:
        assert mx.nd.concat(*slices, dim=0).asnumpy().tolist() == data.asnumpy().tolist()
        across = split_data(data.T, num_slice, batch_axis=1, even_split=False, multiplier=multiplier)
        assert [part.shape for part in across] == [(1, size) for size in sizes]


def test_an_uneven_split_is_refused_unless_allowed():
    with pytest.raises(UsageError, match='7 samples cannot be split evenly over 2 devices'):
        split_data(mx.nd.zeros((21, 1)), 2, multiplier=3)
    with pytest.raises(UsageError, match='10 rows is not a multiple of 3'):
        split_data(mx.nd.zeros((10, 1)), 2, even_split=False, multiplier=3)


def test_data_and_labels_are_split_alike_over_devices():
    contexts = [mx.cpu(i) for i in range(3)]
    data = split_and_load(np.repeat(np.arange(7.), 2)[:, None], contexts, even_split=False, multiplier=2)
    labels = split_and_load(mx.nd.arange(7), contexts, even_split=False)
    for clip, label, context in zip(data, labels, contexts):
        assert clip.context == label.context == context
        assert clip[::2, 0].asnumpy().tolist() == label.asnumpy().tolist()
    whole = mx.nd.zeros((5, 2))
    assert split_and_load(whole, [mx.cpu()], multiplier=3)[0] is whole
