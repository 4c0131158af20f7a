import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import pytest

from gluon_action.errors import CheckpointError, OutputError
from gluon_action.train.optimizer_state import load_states, restore_trainer_state, save_states, trainer_state
from gluon_action.train.run.checkpoint import CheckpointDir, read_checkpoint, replace_arrays, write_arrays


def state_of(value):
    return {'params': {'weight': mx.nd.full((3, 4), value), 'count': mx.nd.array([value], dtype='int64')},
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
    assert (found.state['params']['weight'].asnumpy() == 30).all()
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
            three.save(40, {'params': {'weight': mx.nd.ones((300, 300))}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert three.load_latest().step == 30 and len(os.listdir(three.path)) == 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(disk)], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip('mounting a small file system needs root')
    yield disk
    subprocess.run(['umount', str(disk)], check=True)


@pytest.mark.parametrize('floats', (300_000, 262_134))
def test_a_full_disk_is_an_error_and_keeps_the_last_good_state(small_disk, floats):
    """The second size fits but for the last bytes, which MXNet itself does not notice."""
    folder = CheckpointDir(small_disk / 'checkpoints')
    if floats == 300_000:
        folder.save(1, state_of(1))
    else:
        folder.path.mkdir()
    with pytest.raises(OutputError, match=r'step-00000002.*MB are free'):
        folder.save(2, {'params': {'weight': mx.nd.ones((floats,))}})
    with pytest.raises(OutputError, match='best.params'):
        replace_arrays(small_disk / 'best.params', {'weight': mx.nd.ones((300_000,))})
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
        replace_arrays(path, {'w': mx.nd.full((3, 4), value)})
        (first, part, size), (second, renamed, name), third = disk
        assert (first, second, third) == ('sync', 'rename', ('sync', str(tmp_path), None))
        assert part == renamed and size == path.stat().st_size and name == str(path)


@pytest.mark.parametrize('lost', [1, 4096])
def test_a_file_whose_end_the_disk_did_not_take_is_an_error_though_mxnet_says_nothing(tmp_path, monkeypatch, lost):
    """What a disk does that is full at the last buffer, without one."""
    given = mx.nd.save

    def cut_short(path, arrays):
        given(path, arrays)
        os.truncate(path, os.path.getsize(path) - lost)

    replace_arrays(tmp_path / 'best.params', {'w': mx.nd.ones(4)})
    monkeypatch.setattr(mx.nd, 'save', cut_short)
    with pytest.raises(OSError, match=r'bytes instead of \d+: the disk is full'):
        write_arrays(tmp_path / 'x.params', {'w': mx.nd.ones((40, 50))})
    with pytest.raises(OutputError, match='best.params: .*the disk is full.*MB are free'):
        replace_arrays(tmp_path / 'best.params', {'w': mx.nd.zeros((40, 50))})
    assert (mx.nd.load(str(tmp_path / 'best.params'))['w'].asnumpy() == 1).all()
    folder = CheckpointDir(tmp_path / 'checkpoints')
    with pytest.raises(OutputError, match='step-00000001: .*the disk is full'):
        folder.save(1, {'params': {'w': mx.nd.ones((40, 50))}})
    assert folder.newest() is None


def test_a_directory_below_a_file_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='Not a directory'):
        CheckpointDir(tmp_path / 'file' / 'checkpoints').save(1, state_of(1))


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    code = ('import sys, gluon_action, mxnet as mx\n'
            'from gluon_action.train.run.checkpoint import CheckpointDir\n'
            'folder = CheckpointDir(sys.argv[1])\n'
            'for step in range(1, 100000):\n'
            '    folder.save(step, {"params": {"w": mx.nd.full((200, 500), step)}, "progress": {"step": step}})\n'
            '    print(step, flush=True)\n')
    last = 0
    for delay in (0.0, 0.005, 0.02):
        child = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == '1\n'
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        last = max([1] + [int(step) for step in rest])
        found = CheckpointDir(tmp_path).load_latest()
        assert found.refused == () and found.step in (last, last + 1)
        assert found.state['progress'] == {'step': found.step}
        assert (found.state['params']['w'].asnumpy() == found.step).all()


@pytest.mark.parametrize('dtype', ('float16', 'float32', 'float64', 'uint8', 'int32'))
def test_the_expected_size_is_mxnets(tmp_path, dtype):
    arrays = {'ä': mx.nd.ones((2, 3, 4), dtype=dtype), 'b': mx.nd.ones((1,), dtype=dtype)}
    write_arrays(tmp_path / 'x.params', arrays)
    assert (mx.nd.load(str(tmp_path / 'x.params'))['ä'].asnumpy() == 1).all()


def make_trainer(optimizer, contexts, dtype='float32', **kwargs):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(5, in_units=4), mx.gluon.nn.Dense(2, in_units=5))
    net.cast(dtype)
    net.initialize(mx.init.One(), ctx=contexts)
    params = net.collect_params()
    trainer = mx.gluon.Trainer(list(params.values()), optimizer,
                               {'learning_rate': 0.01, 'multi_precision': dtype == 'float16', **kwargs},
                               update_on_kvstore=False)
    return net, trainer, list(net._collect_params_with_prefix())


def take_steps(net, trainer, contexts, count):
    """Steps with gradients made up here: MXNet has no float16 layers on a CPU."""
    for step in range(count):
        for param in net.collect_params().values():
            for i, (array, grad) in enumerate(zip(param.list_data(), param.list_grad())):
                grad[:] = array * (0.1 + step + i)
                array._fresh_grad = True
        trainer.step(4)
    return [array.asnumpy() for param in net.collect_params().values() for array in param.list_data()]


CASES = [('sgd', {'momentum': 0.9}, 'float32'), ('sgd', {}, 'float32'), ('sgd', {'momentum': 0.9}, 'float16'),
         ('nag', {'momentum': 0.9}, 'float32'), ('adam', {}, 'float32'), ('adam', {}, 'float16'),
         ('nadam', {}, 'float32'), ('rmsprop', {'centered': True}, 'float32')]


@pytest.mark.parametrize('optimizer, kwargs, dtype', CASES)
@pytest.mark.parametrize('devices', (1, 2))
def test_a_restored_optimizer_goes_on_as_if_never_stopped(tmp_path, optimizer, kwargs, dtype, devices):
    if optimizer == 'nadam' and devices > 1:
        pytest.skip('MXNet shares one momentum schedule among the devices, which drift apart')
    contexts = [mx.cpu(i) for i in range(devices)]
    net, trainer, names = make_trainer(optimizer, contexts, dtype, **kwargs)
    take_steps(net, trainer, contexts, 3)
    arrays, numbers = trainer_state(trainer, names)
    save_states(tmp_path / 'x.states', trainer, names)
    arrays = {key: array.copy() for key, array in arrays.items()}
    net.save_parameters(str(tmp_path / 'x.params'))
    expected = take_steps(net, trainer, contexts, 2)
    for restore in ('memory', 'file'):
        other, again, _ = make_trainer(optimizer, contexts, dtype, **kwargs)
        other.load_parameters(str(tmp_path / 'x.params'), ctx=contexts)
        if restore == 'memory':
            restore_trainer_state(again, names, arrays, json.loads(json.dumps(numbers)))
        else:
            load_states(tmp_path / 'x.states', again, names)
        got = take_steps(other, again, contexts, 2)
        assert all((a == b).all() for a, b in zip(got, expected))


def test_a_state_of_another_run_is_refused(tmp_path):
    contexts = [mx.cpu()]
    net, trainer, names = make_trainer('sgd', contexts, momentum=0.9)
    take_steps(net, trainer, contexts, 1)
    arrays, numbers = trainer_state(trainer, names)
    with pytest.raises(CheckpointError, match='is of SGD, this run uses Adam'):
        restore_trainer_state(make_trainer('adam', contexts)[1], names, arrays, numbers)
    with pytest.raises(CheckpointError, match='0.weight'):
        restore_trainer_state(trainer, ['a', 'b', 'c', 'd'], arrays, numbers)
    with pytest.raises(CheckpointError, match=r'0.weight is float32 \(1,\), this run needs float32 \(5, 4\)'):
        restore_trainer_state(trainer, names, {**arrays, '0.weight#0': mx.nd.ones((1,))}, numbers)


def test_a_pickle_is_not_read_as_optimizer_state(tmp_path):
    net, trainer, names = make_trainer('sgd', [mx.cpu()], momentum=0.9)
    take_steps(net, trainer, [mx.cpu()], 1)
    trainer.save_states(str(tmp_path / 'gluoncv.states'))
    with pytest.raises(CheckpointError, match='run code'):
        load_states(tmp_path / 'gluoncv.states', trainer, names)
