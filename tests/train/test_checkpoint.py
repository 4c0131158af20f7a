import json
import os
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from gluon_action.errors import CheckpointError, OutputError
from gluon_action.model_zoo.loading.params_file import replace_arrays
from gluon_action.train.run.folder.checkpoint import read_checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir


def state_of(value):
    return {'params': {'weight': np.full((3, 4), value, np.float32), 'count': np.array([value], np.int64)},
            'progress': {'step': int(value), 'loss': 0.1 + value, 'history': [{'epoch': 0}]}, 'nothing': {}}


@pytest.fixture
def three(tmp_path):
    folder = CheckpointDir(tmp_path / 'checkpoints', keep=3)
    for step in (10, 20, 30):
        folder.save(step, state_of(step))
    return folder


def tear(path):
    (path / 'progress.json').write_bytes((path / 'progress.json').read_bytes()[:-3])


def flip(path, name='params.params'):
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 4
    (path / name).write_bytes(data)


def test_what_was_saved_is_what_is_read(three):
    found = three.load_latest()
    assert found.step == 30 and found.refused == () and found.path.name == 'step-00000030'
    assert found.state['progress'] == state_of(30)['progress'] and found.state['nothing'] == {}
    assert (found.state['params']['weight'] == 30).all()
    assert found.state['params']['count'].dtype == np.int64


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert CheckpointDir(tmp_path / 'none').load_latest() is None


def test_the_newest_are_kept(tmp_path):
    folder = CheckpointDir(tmp_path, keep=2)
    for step in range(5):
        folder.save(step, state_of(step))
    assert sorted(os.listdir(tmp_path)) == ['step-00000003', 'step-00000004']


@pytest.mark.parametrize('damage, reason', [
    (tear, 'progress.json has'), (flip, 'params.params does not have the SHA-256'),
    (lambda path: flip(path, 'manifest.json'), 'manifest.json'),
    (lambda path: (path / 'manifest.json').unlink(), 'manifest.json: No such file'),
    (lambda path: (path / 'manifest.json').write_text('{"manif'), 'manifest.json is torn'),
    (lambda path: (path / 'manifest.json').write_text('[]'), 'manifest.json is torn'),
    (lambda path: (path / 'params.params').unlink(), 'params.params: No such file'),
    (lambda path: os.truncate(path / 'params.params', 0), 'params.params has 0 bytes'),
    (lambda path: os.rename(path, path.with_name('step-00000099')), 'manifest is of step 30')])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(three, damage, reason):
    damage(three.path / 'step-00000030')
    found = three.load_latest()
    assert found.step == 20 and len(found.refused) == 1 and reason in found.refused[0]


def test_every_flipped_bit_of_a_manifest_is_seen(three):
    path = three.path / 'step-00000030'
    whole = (path / 'manifest.json').read_bytes()
    for i in range(0, len(whole), 7):
        data = bytearray(whole)
        data[i] ^= 1
        (path / 'manifest.json').write_bytes(data)
        try:
            assert read_checkpoint(path)[0] == 30
            assert json.loads(data.decode())['manifest'] == json.loads(whole)['manifest']
        except CheckpointError:
            pass


def test_parts_that_are_not_wanted_are_neither_read_nor_verified(three):
    path = three.newest()
    whole = three.load_latest().state
    first, *others = whole
    for part in others:
        for file in path.glob(f'{part}.*'):
            file.write_bytes(b'torn')
    found = three.load_latest([first, 'no_such_part'])
    assert found.path == path and list(found.state) == [first]
    assert three.load_latest().path != path


def test_when_none_can_be_trusted_each_reason_is_given(three):
    for step in (10, 20, 30):
        tear(three.path / f'step-000000{step}')
    with pytest.raises(CheckpointError, match='(?s)step-00000030.*step-00000020.*step-00000010'):
        three.load_latest()


def test_a_refused_checkpoint_goes_before_a_good_one(tmp_path):
    folder = CheckpointDir(tmp_path, keep=2)
    folder.save(10, state_of(10))
    folder.save(20, state_of(20))
    flip(tmp_path / 'step-00000020')
    assert folder.load_latest().step == 10
    folder.save(15, state_of(15))
    assert sorted(os.listdir(tmp_path)) == ['step-00000010', 'step-00000015']


def test_a_new_run_over_an_old_one_finds_its_own_checkpoint(three):
    CheckpointDir(three.path, keep=2).save(1, state_of(1))
    assert CheckpointDir(three.path).load_latest().step == 1


def test_clear_removes_every_checkpoint(three):
    three.clear()
    assert three.load_latest() is None and os.listdir(three.path) == []


def test_a_step_that_was_saved_before_is_replaced(three):
    three.save(20, state_of(7))
    assert three.load_latest().state['progress']['step'] == 7


@pytest.mark.parametrize('killed_at', [1, 2, 3, 4])
def test_a_kill_while_a_step_is_replaced_leaves_one_of_the_two(tmp_path, monkeypatch, killed_at):
    """Whichever renaming or removal the process did not live to see, the old or the new one is read."""
    class Killed(BaseException):
        pass

    moves = []

    def kill_at(move):
        def moved(*args, **kwargs):
            moves.append(move)
            if len(moves) == killed_at:
                raise Killed
            return move(*args, **kwargs)
        return moved

    folder = CheckpointDir(tmp_path / 'checkpoints')
    folder.save(20, state_of(6))
    with monkeypatch.context() as patch:
        patch.setattr(os, 'rename', kill_at(os.rename))
        patch.setattr(shutil, 'rmtree', kill_at(shutil.rmtree))
        try:
            folder.save(20, state_of(7))
        except Killed:
            pass
    found = CheckpointDir(folder.path).load_latest()
    assert found.step == 20 and found.refused == ()
    assert found.state['progress']['step'] == (6 if killed_at == 1 else 7)
    folder = CheckpointDir(folder.path)
    folder.save(20, state_of(8))
    folder.save(30, state_of(9))
    assert sorted(os.listdir(folder.path)) == ['step-00000020', 'step-00000030']
    assert read_checkpoint(folder.path / 'step-00000020')[1]['progress']['step'] == 8


def test_a_file_too_large_for_the_system_keeps_the_last_good_state(three):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(OutputError, match='step-00000040.*are kept'):
            three.save(40, {'params': {'weight': np.ones((300, 300), np.float32)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert three.load_latest().step == 30 and len(os.listdir(three.path)) == 3


@pytest.fixture
def small_disk(mount_disk):
    """A file system of 1 MB."""
    return mount_disk('1m')


@pytest.mark.parametrize('floats', (300_000, 262_134))
def test_a_full_disk_is_an_error_and_keeps_the_last_good_state(small_disk, floats):
    """The second size fits but for the last bytes."""
    folder = CheckpointDir(small_disk / 'checkpoints')
    if floats == 300_000:
        folder.save(1, state_of(1))
    else:
        folder.path.mkdir()
    with pytest.raises(OutputError, match=r'step-00000002.*MB are free'):
        folder.save(2, {'params': {'weight': np.ones(floats, np.float32)}})
    with pytest.raises(OutputError, match='best.params'):
        replace_arrays(small_disk / 'best.params', {'weight': np.ones(300_000, np.float32)})
    assert sorted(os.listdir(small_disk)) == ['checkpoints']
    if floats == 300_000:
        assert folder.load_latest().step == 1


def test_a_read_only_directory_is_an_error_and_keeps_the_last_good_state(small_disk):
    folder = CheckpointDir(small_disk)
    folder.save(1, state_of(1))
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    with pytest.raises(OutputError, match='Read-only'):
        folder.save(2, state_of(2))
    with pytest.raises(OutputError, match='Read-only'):
        folder.clear()
    assert folder.load_latest().step == 1


@pytest.mark.parametrize('before', [None, 7])
def test_a_checkpoint_is_on_disk_before_it_gets_its_name_and_the_name_before_the_run_goes_on(tmp_path, disk, before):
    """Power may fail at any moment: a name stands for whole files, and what was said to be saved is found again."""
    folder, final = CheckpointDir(tmp_path / 'checkpoints'), tmp_path / 'checkpoints' / 'step-00000007'
    if before:
        folder.save(before, state_of(1))
        disk.clear()
    folder.save(7, state_of(7))
    # One of the same step stays until the newer one has a name: that is a second renaming.
    named = next(place for place, event in enumerate(disk) if event[0] == 'rename' and '/.part-step-' in event[1])
    part, name = disk[named][1:]
    assert name == (f'{final}.newer' if before == 7 else str(final)) and disk[-1] == ('sync', str(final.parent), None)
    files = {f'{part}/{path.name}': path.stat().st_size for path in final.iterdir()}
    synced = [(path, size) for kind, path, size in disk[:named] if kind == 'sync' and path.startswith(part)]
    assert len(files) == 4 and dict(synced) == {**files, part: None} and synced[-1] == (part, None)
    assert disk[named + 1] == ('sync', str(final.parent), None)


def test_parameters_are_on_disk_before_they_replace_others(tmp_path, disk):
    path = tmp_path / 'best.params'
    for value in (1, 2):
        disk.clear()
        replace_arrays(path, {'w': np.full((3, 4), value, np.float32)})
        (first, part, size), (second, renamed, name), third = disk
        assert (first, second, third) == ('sync', 'rename', ('sync', str(tmp_path), None))
        assert part == renamed and size == path.stat().st_size and name == str(path)


def test_a_directory_below_a_file_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='Not a directory'):
        CheckpointDir(tmp_path / 'file' / 'checkpoints').save(1, state_of(1))


def save_and_tell(folder):
    """Start a process that saves one checkpoint after the other; return its number and the pipe that tells of them."""
    ours, theirs = os.pipe()
    pid = os.fork()  # nothing of MXNet's takes part
    if pid:
        os.close(theirs)
        return pid, open(ours)
    try:
        for step in range(1, 100000):
            folder.save(step, {'params': {'w': np.full((200, 500), step)}, 'progress': {'step': step}})
            os.write(theirs, b'%d\n' % step)
    finally:
        os._exit(1)


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    last = 0
    for delay in (0.0, 0.005, 0.02):
        pid, told = save_and_tell(CheckpointDir(tmp_path))
        with told:
            assert told.readline() == '1\n'
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            rest = told.read().split()
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        last = max([1] + [int(step) for step in rest])
        found = CheckpointDir(tmp_path).load_latest()
        assert found.refused == () and found.step in (last, last + 1)
        assert found.state['progress'] == {'step': found.step}
        assert (found.state['params']['w'] == found.step).all()
