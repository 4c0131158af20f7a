import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gluon_action.data.loading import workers
from gluon_action.data.loading.video_tasks import for_each_video
from gluon_action.data.loading.workers import WorkerDied, WorkerError, WorkerPool, WorkerTimeout, call_with_deadline
from gluon_action.errors import VideoReadError


@pytest.fixture
def pool_of():
    pools = []

    def make(function, num_workers=2, **options):
        pools.append(WorkerPool(function, num_workers, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def answers(pool):
    found = {}
    while len(pool):
        key, value = pool.next()
        assert key not in found
        found[key] = value
    return found


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def wait_until(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize('num_workers', [1, 3])
def test_every_task_is_answered_once_with_its_own_arrays(pool_of, num_workers):
    pool = pool_of(lambda n, shape: (np.full(shape, n, np.float32), {'label': n}), num_workers, capacity=4)
    for n in range(30):
        pool.submit(('key', n), n, (3, n, 5))
    found = answers(pool)
    assert sorted(found) == [('key', n) for n in range(30)]
    for (_, n), (array, rest) in found.items():
        assert array.shape == (3, n, 5) and array.dtype == np.float32 and (array == n).all()
        assert array.flags.writeable and rest == {'label': n}


def test_next_without_a_task_says_so(pool_of):
    with pytest.raises(LookupError, match='submit one'):
        pool_of(len).next()


def test_an_exception_comes_back_as_it_is_and_the_worker_lives_on(pool_of):
    def fail(n):
        raise VideoReadError(f'/videos/{n}.mp4', 'decord', 'it is empty')

    pool = pool_of(fail, 1)
    pids = list(pool.pids)
    pool.submit(0, 7)
    _, error = pool.next()
    assert isinstance(error, VideoReadError) and error.path == '/videos/7.mp4' and 'it is empty' in str(error)
    assert 'in fail' in error.__notes__[0]
    assert pool.pids == pids


def test_an_exception_that_cannot_travel_becomes_its_words(pool_of):
    class Local(Exception):
        pass

    def fail():
        raise Local('of this function')

    pool = pool_of(fail)
    pool.submit(0)
    _, error = pool.next()
    assert isinstance(error, WorkerError) and str(error) == 'Local: of this function'


def test_a_value_that_cannot_travel_is_an_error_not_a_hang(pool_of):
    pool = pool_of(lambda: lambda: None)
    pool.submit(0)
    assert '<lambda>' in str(pool.next()[1])  # what cannot be pickled; the words differ between Pythons


def test_a_hung_task_is_killed_at_its_deadline_and_the_others_are_answered(pool_of, tmp_path, caplog):
    os.mkfifo(tmp_path / 'hangs')
    for n in range(6):
        (tmp_path / str(n)).write_text(str(n))
    pool = pool_of(lambda name: open(tmp_path / name).read(), 1, timeout=0.4)
    for name in ['0', '1', 'hangs', '2', '3', '4', '5']:
        pool.submit(name, name)
    started = time.monotonic()
    found = answers(pool)
    assert time.monotonic() - started < 3
    assert isinstance(found.pop('hangs'), WorkerTimeout)
    assert found == {str(n): str(n) for n in range(6)}
    assert 'no answer within 0.4 s' in caplog.text


def test_a_task_is_tried_again_when_its_worker_is_killed(pool_of, tmp_path, caplog):
    def die_once(n):
        if n == 3 and not (tmp_path / 'died').exists():
            (tmp_path / 'died').touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return n * n

    pool = pool_of(die_once)
    for n in range(8):
        pool.submit(n, n)
    assert answers(pool) == {n: n * n for n in range(8)}
    assert 'was killed by SIGKILL; a new one takes its place' in caplog.text


def test_a_task_that_kills_its_worker_twice_fails_alone(pool_of):
    pool = pool_of(lambda n: os.kill(os.getpid(), signal.SIGUSR1) if n == 3 else n)
    for n in range(8):
        pool.submit(n, n)
    found = answers(pool)
    assert isinstance(found[3], WorkerDied) and 'SIGUSR1' in str(found[3])
    assert [found[n] for n in range(8) if n != 3] == [0, 1, 2, 4, 5, 6, 7]


def test_workers_killed_at_any_moment_lose_no_task(pool_of):
    pool = pool_of(lambda n: np.full(20_000, n), 3, capacity=16)
    draw = random.Random(0)
    for n in range(400):
        pool.submit(n, n)
    found = {}
    while len(pool):
        key, value = pool.next()
        found[key] = value
        if key % 25 == 0:
            os.kill(draw.choice(pool.pids), signal.SIGKILL)
            time.sleep(draw.random() * 0.002)
    assert sorted(found) == list(range(400))
    right = sum(not isinstance(value, Exception) and (value == n).all() for n, value in found.items())
    died = sum(isinstance(value, WorkerDied) for value in found.values())
    assert right + died == 400 and died <= 2


def test_workers_that_never_start_end_in_an_error_not_in_a_loop(pool_of, monkeypatch):
    pool = pool_of(abs, 1)
    monkeypatch.setattr(workers, '_settle', lambda *_: os.kill(os.getpid(), signal.SIGUSR2))
    os.kill(pool.pids[0], signal.SIGKILL)
    pool.submit(0, -1)
    with pytest.raises(WorkerDied, match='before their first task.*SIGUSR2'):
        pool.next()


def test_a_task_behind_a_late_one_is_not_to_blame(pool_of, tmp_path, monkeypatch, caplog):
    """The late task is answered in the last moment: its worker has gone on to the next task when it is killed."""
    def work(name):
        with open(tmp_path / name, 'a') as runs:
            runs.write('x')
        if name == 'late':
            wait_until((tmp_path / 'killing').exists)
        elif (run := len((tmp_path / name).read_text())) == 1:
            time.sleep(1000)  # killed with the late one's worker
        elif run == 2:
            os.kill(os.getpid(), signal.SIGUSR1)  # once on its own account, which is forgiven
        return name

    def kill_late(pid, number, kill=os.kill):
        if not (tmp_path / 'killing').exists():
            (tmp_path / 'killing').touch()
            assert wait_until((tmp_path / 'next').exists)
        kill(pid, number)
    pool = pool_of(work, 1, timeout=0.2)
    monkeypatch.setattr(os, 'kill', kill_late)
    for name in ('late', 'next'):
        pool.submit(name, name)
    assert answers(pool) == {'late': 'late', 'next': 'next'}
    assert ((tmp_path / 'late').read_text(), (tmp_path / 'next').read_text()) == ('x', 'xxx')
    assert 'was killed by SIGKILL: no answer within 0.2 s' in caplog.text


def test_the_deadline_is_of_each_task_and_not_of_all_that_a_worker_works_on(pool_of):
    pool = pool_of(time.sleep, 1, timeout=1.2)
    pids = list(pool.pids)
    for n in range(6):
        pool.submit(n, 0.25)
    assert answers(pool) == dict.fromkeys(range(6)) and pool.pids == pids


def test_a_late_task_is_noticed_while_answers_keep_coming(pool_of):
    pool = pool_of(time.sleep, 2, timeout=0.3)
    pool.submit('hangs', 1000)
    for n in range(3):
        pool.submit(n, 0.005)
    until, key = time.monotonic() + 5, None
    while key != 'hangs' and time.monotonic() < until:
        key, value = pool.next()
        if key != 'hangs':
            pool.submit(key, 0.005)
    assert key == 'hangs' and isinstance(value, WorkerTimeout)


def test_a_worker_that_hangs_before_its_first_task_is_replaced(pool_of, tmp_path, monkeypatch, caplog):
    pool = pool_of(abs, 1)
    settle = workers._settle

    def hang_once(*arguments):
        if not (tmp_path / 'hung').exists():
            (tmp_path / 'hung').touch()
            time.sleep(1000)
        settle(*arguments)
    monkeypatch.setattr(workers, '_settle', hang_once)
    monkeypatch.setattr(workers, '_START_SECONDS', 0.2)
    os.kill(pool.pids[0], signal.SIGKILL)
    pool.submit(0, -1)
    assert pool.next() == (0, 1) and (tmp_path / 'hung').exists()
    assert 'no answer within' not in caplog.text


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """Numbers that a queue shares; the worker that writes to them in a given way dies (or does `act`), once."""

    def __init__(self, numbers, marker, dies, before, act=die):
        self.numbers, self.marker, self.dies, self.before, self.owner = numbers, marker, dies, before, os.getpid()
        self.act = act

    def __getitem__(self, place):
        return self.numbers[place]

    def __iter__(self):
        return iter(self.numbers)

    def __contains__(self, number):
        return number in self.numbers

    def __setitem__(self, place, number):
        dies = os.getpid() != self.owner and not self.marker.exists() and self.dies(self.numbers, place, number)
        if not (dies and self.before):
            self.numbers[place] = number
        if dies:
            self.marker.touch()
            self.act()


@pytest.mark.timeout(30)
@pytest.mark.parametrize('before', [True, False], ids=['before', 'after'])
@pytest.mark.parametrize('numbers, dies', [
    ('_claims', lambda numbers, place, number: number > 0),  # takes a task
    ('_ends', lambda numbers, place, number: place == 0),  # moves the queue on
    ('_claims', lambda numbers, place, number: number == 0 and numbers[place] > 0),  # has answered
], ids=['claims', 'moves on', 'is idle'])
def test_a_worker_killed_between_the_steps_of_a_task_loses_and_repeats_none(pool_of, tmp_path, monkeypatch, numbers,
                                                                            dies, before):
    def prepared(self, *arguments, prepare=workers.SharedQueue.__init__):
        prepare(self, *arguments)
        setattr(self, numbers, Deadly(getattr(self, numbers), tmp_path / 'died', dies, before))

    def work(n):
        with open(tmp_path / str(n), 'a') as file:
            file.write('x')
        return np.full(1000, n)
    monkeypatch.setattr(workers.SharedQueue, '__init__', prepared)
    pool = pool_of(work, 1, capacity=2)
    for n in range(6):
        pool.submit(n, n)
    assert all((value == n).all() for n, value in answers(pool).items())
    assert (tmp_path / 'died').exists()
    assert [(tmp_path / str(n)).read_text() for n in range(6)] == ['x'] * 6


def test_a_task_answered_while_its_late_worker_is_being_killed_is_answered(pool_of, tmp_path, monkeypatch):
    def prepared(self, *arguments, prepare=workers.SharedQueue.__init__):
        prepare(self, *arguments)
        self._claims = Deadly(self._claims, tmp_path / 'answered', has_answered, True, lambda: time.sleep(1000))

    def has_answered(numbers, place, number):
        return number == 0 and numbers[place] > 0

    def kill_late(pid, number, kill=os.kill):
        if not (tmp_path / 'killing').exists():
            (tmp_path / 'killing').touch()
            assert wait_until(lambda: pool._queue.wait(0))  # the answer is there, and the parent has not seen it
        kill(pid, number)
    monkeypatch.setattr(workers.SharedQueue, '__init__', prepared)
    pool = pool_of(lambda n: wait_until((tmp_path / 'killing').exists) and n, 1, timeout=0.2)
    monkeypatch.setattr(os, 'kill', kill_late)
    for n in (3, 4):
        pool.submit(n, n)
    assert answers(pool) == {3: 3, 4: 4}


def test_memory_of_answers_is_given_back_when_nothing_is_in_work(pool_of):
    pool = pool_of(np.ones, 2)
    for n in range(10):
        pool.submit(n, 1_000_000)
    assert wait_until(lambda: os.fstat(pool._queue._store).st_blocks * 512 > 70e6)
    answers(pool)
    assert os.fstat(pool._queue._store).st_blocks == 0


def test_close_ends_hung_workers_and_may_be_called_again(pool_of):
    pool = pool_of(time.sleep)
    for n in range(5):
        pool.submit(n, 1000)
    pids = list(pool.pids)
    pool.close()
    pool.close()
    assert not any(map(alive, pids))


def test_a_pool_that_is_forgotten_is_closed():
    pool = WorkerPool(abs, 2)
    pids = list(pool.pids)
    del pool
    assert not any(map(alive, pids))


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_its_parent(signal_number):
    """SIGINT goes to the whole process group, as Ctrl-C in a terminal does."""
    code = ('import time; from gluon_action.data.loading.workers import WorkerPool\n'
            'pool = WorkerPool(time.sleep, 3)\n'
            'for i in range(3): pool.submit(i, 1000)\n'
            'print(*pool.pids, flush=True); pool.next()')
    parent = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 3 and all(map(alive, pids))
    if signal_number == signal.SIGINT:
        os.killpg(parent.pid, signal_number)
    else:
        parent.send_signal(signal_number)
    _, errors = parent.communicate(timeout=20)
    assert wait_until(lambda: not any(map(alive, pids)))
    if signal_number == signal.SIGINT:
        assert errors.count('Traceback') == 1  # the parent's own


def test_relative_paths_mean_where_the_parent_is_now(tmp_path, monkeypatch):
    assert call_with_deadline(os.getcwd, timeout=20) == os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert call_with_deadline(os.getcwd, timeout=20) == str(tmp_path)


def test_workers_leave_ctrl_c_and_sigterm_to_the_parent(pool_of):
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        pool = pool_of(lambda: (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)), 1)
    finally:
        signal.signal(signal.SIGTERM, before)
    pool.submit(0)
    assert pool.next()[1] == (signal.SIG_IGN, signal.SIG_IGN)


def test_opencv_works_in_a_worker_after_its_threads_ran_in_the_parent(pool_of):
    cv2 = pytest.importorskip('cv2')
    image = np.arange(1500 * 1500 * 3, dtype=np.uint8).reshape(1500, 1500, 3)
    expected = cv2.resize(image, (1024, 1024))
    pool = pool_of(lambda size: (cv2.resize(image, size), cv2.getNumThreads()), 2, timeout=20)
    for n in range(4):
        pool.submit(n, (1024, 1024))
    for resized, threads in answers(pool).values():
        assert threads <= 1 and np.array_equal(resized, expected)


def test_a_call_within_its_deadline_gives_its_value_or_its_exception():
    assert call_with_deadline(os.path.join, 'a', 'b', timeout=20) == 'a/b'
    with pytest.raises(FileNotFoundError):
        call_with_deadline(os.stat, '/no such file', timeout=20)
    assert call_with_deadline(os.getpid, timeout=20) == call_with_deadline(os.getpid, timeout=20) != os.getpid()


def test_a_call_without_a_deadline_runs_here():
    assert call_with_deadline(os.getpid, timeout=None) == os.getpid()


def test_a_call_past_its_deadline_is_killed_and_the_next_one_works():
    started = time.monotonic()
    with pytest.raises(WorkerTimeout, match=r'0\.3 s'):
        call_with_deadline(time.sleep, 1000, timeout=0.3)
    assert time.monotonic() - started < 5
    assert call_with_deadline(abs, -3, timeout=20) == 3


def test_a_call_inside_a_worker_is_direct(pool_of):
    pool = pool_of(lambda: (workers.IN_WORKER, call_with_deadline(os.getpid, timeout=1) == os.getpid()))
    pool.submit(0)
    assert pool.next()[1] == (True, True)
    assert not workers.IN_WORKER


class SlowItems:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        try:
            return call_with_deadline(time.sleep if index == 2 else abs, 1000 + index, timeout=0.5) or -1
        except WorkerTimeout:
            return -2


def test_deadlines_hold_inside_the_daemonic_workers_of_gluon():
    mx = pytest.importorskip('mxnet')
    call_with_deadline(abs, -1, timeout=20)  # the workers inherit a pool of the parent, and must not use it
    loader = mx.gluon.data.DataLoader(SlowItems(), batch_size=1, num_workers=2, timeout=60)
    assert [int(batch.asscalar()) for batch in loader] == [1000, 1001, -2, 1003]


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_video_that_cannot_be_read_is_an_answer_and_any_other_fault_is_raised(num_workers):
    def work(path, fault=None):
        if fault:
            raise fault
        return path.upper()
    unreadable = VideoReadError('b', 'pyav', 'it is empty')
    found = dict(for_each_video(work, [('a',), ('b', unreadable), ('c',)], num_workers=num_workers))
    assert (found['a',], found['c',]) == ('A', 'C') and str(found['b', unreadable]) == str(unreadable)
    with pytest.raises(ZeroDivisionError, match='mine'):
        list(for_each_video(work, [('a',), ('b', ZeroDivisionError('mine'))], num_workers=num_workers))
