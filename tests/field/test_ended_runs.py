"""Runs that end early, and folders that two want: locks, SIGTERM, full disks, starts that left no checkpoint."""
import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from clips import small_config, write_clips
from feature_runs import records, trained
from loops import Batches, make_loop, same, weights
from small_runs import flags_of_run, here, lines_of_json

from gluon_action import signals
from gluon_action.cli.command import run as run_command
from gluon_action.errors import DivergedError, OutputError, UsageError
from gluon_action.signals import TERMINATED, Terminated, heeding_termination
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints
from gluon_action.train.loop import Loop
from gluon_action.train.recipes.clip_estimator import estimator
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.clip_estimator.estimator import EstimatorRecipe
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.frame_features.config import FeatureTraining
from gluon_action.train.recipes.frame_features.training import FeatureRecipe
from gluon_action.train.recipes.recognizer import RecognizerRecipe, open_folder
from gluon_action.train.run.by_steps import fit_by_steps
from gluon_action.train.run.folder import lock
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.folder.lock import LOCK, held
from gluon_action.train.run.folder.run_folder import FolderMessages
from gluon_action.train.run.folder.save_dir import SaveDir
from gluon_action.train.run.run import resume_hint_on_error
from gluon_action.train.run.run import run as run_recipe

MODEL = tiny.OF_RUNS
MESSAGES = FolderMessages(folder='--out', other_run='', other_lists='', resume_hint='again from {checkpoint}',
                          start_hint='anew')


pytestmark = pytest.mark.usefixtures('network_of_runs')


@pytest.fixture(scope='module')
def flags(demo_appearance):
    return flags_of_run(demo_appearance)


# One folder, one run

HOLDER = """
import sys, time
from gluon_action.train.run.folder.lock import held
with held(sys.argv[1], '--save-dir'):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that writes a run in the folder."""
    process = subprocess.Popen([sys.executable, '-c', HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_in_a_folder_is_told_whose_it_is(tmp_path, holder, flags, capsys):
    before = sorted(tmp_path.iterdir())
    for more in (['--resume', 'auto'], ['--overwrite'], []):
        assert here(flags, '--save-dir', tmp_path, *more) == 2
        said = capsys.readouterr().err
        assert f'--save-dir {tmp_path} is being written by a run: by process {holder.pid} on ' in said
        assert ' since 2' in said and 'Wait until it has ended' in said
    assert sorted(tmp_path.iterdir()) == before


def test_who_writes_in_a_folder_can_be_asked(tmp_path, holder):
    assert lock.holder(tmp_path).startswith(f'by process {holder.pid} on ')
    assert lock.holder(tmp_path / 'none') == ''
    with held(tmp_path / 'own', '--out'):
        assert lock.holder(tmp_path / 'own') == 'in this process'
        # To ask has not freed it.
        tried = subprocess.run([sys.executable, '-c', HOLDER, str(tmp_path / 'own')], capture_output=True, text=True)
        assert f'by process {os.getpid()} on ' in tried.stderr
    holder.kill()
    holder.wait()
    assert lock.holder(tmp_path) == ''


def test_a_folder_is_free_again_when_its_process_is_killed(tmp_path, holder):
    with pytest.raises(UsageError), held(tmp_path, '--out'):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with held(tmp_path, '--out'):
        assert json.loads((tmp_path / LOCK).read_bytes())['pid'] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_one_process_do_not_share_a_folder_either(tmp_path):
    with held(tmp_path / 'run', '--out'):
        for place in (tmp_path / 'run', tmp_path / '.' / 'run'):
            with pytest.raises(UsageError, match='--out .*is being written by a run: in this process'), \
                    held(place, '--out'):
                pass
        with held(tmp_path / 'other', '--out'):
            pass
        # It is still held for others, after all that.
        tried = subprocess.run([sys.executable, '-c', HOLDER, str(tmp_path / 'run')], capture_output=True, text=True)
        assert f'by process {os.getpid()} on ' in tried.stderr


def test_a_lock_that_nobody_can_read_refuses_all_the_same(tmp_path, holder):
    (tmp_path / LOCK).write_bytes(b'\xff{')
    with pytest.raises(UsageError, match='by another process'), held(tmp_path, '--out'):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def none(*args):
        raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr('fcntl.lockf', none)
    with held(tmp_path, '--out'):
        pass
    assert 'its file system has no locks (No locks available)' in caplog.text


@pytest.mark.parametrize('recipe, option', [
    (lambda place: RecognizerRecipe(TrainConfig(model=MODEL, save_dir=place)), '--save-dir'),
    (lambda place: EstimatorRecipe(EstimatorConfig(model_dir=place, mode='train')), '--model_dir'),
    (lambda place: FeatureRecipe(FeatureTraining(train_dir=place)), '--train_dir')])
def test_every_command_that_trains_holds_its_folder(tmp_path, recipe, option):
    with contextlib.ExitStack() as cleanup:
        recipe(str(tmp_path / 'run')).open_folder(cleanup)
        told = f'{option} .* is being written by a run'
        with contextlib.ExitStack() as second, pytest.raises(UsageError, match=told):
            recipe(str(tmp_path / 'run')).open_folder(second)
    assert not (tmp_path / 'run' / LOCK).exists()


def test_a_lock_that_another_user_left_is_named(tmp_path, monkeypatch):
    (tmp_path / LOCK).write_text('')
    opened = os.open

    def denied(path, *args):
        if str(path).endswith(LOCK):
            raise PermissionError(errno.EACCES, 'Permission denied')
        return opened(path, *args)
    monkeypatch.setattr(os, 'open', denied)
    told = rf'--out .*: {tmp_path / LOCK} is of another user: Permission denied. Remove it when no run writes there'
    with pytest.raises(OutputError, match=told), held(tmp_path, '--out'):
        pass


# Before the first checkpoint

@pytest.mark.parametrize('make', [os.mkfifo, lambda path: path.write_text('[' * 100_000)])
def test_a_config_json_that_is_none_is_of_something_else(tmp_path, make):
    make(tmp_path / 'config.json')
    with pytest.raises(UsageError, match='holds a run already'):
        open_folder(TrainConfig(model=MODEL, dataset='custom', save_dir=str(tmp_path)))
    with pytest.raises(UsageError, match='holds the config.json of something else'):
        estimator.open_folder(EstimatorConfig(model_dir=str(tmp_path), mode='train'))


def test_what_a_start_without_a_checkpoint_left_is_no_run(tmp_path, caplog):
    caplog.set_level('INFO')
    config = TrainConfig(model=MODEL, dataset='custom', save_dir=str(tmp_path))
    about = {'config': dataclasses.asdict(config), 'classes': None, 'versions': {'gluon_action': '0.1.0'}}
    (tmp_path / 'config.json').write_text(json.dumps(about))
    for name in ('train.log', 'metrics.jsonl', 'events.out.tfevents.1.x'):
        (tmp_path / name).write_text('')
    (tmp_path / 'checkpoints').mkdir()
    assert open_folder(config).checkpoint is None
    assert 'holds a run that ended before its first checkpoint: a new one takes its place' in caplog.text
    (tmp_path / 'config.json').write_text('{"config": {}}')  # of another program
    with pytest.raises(UsageError, match='holds a run already'):
        open_folder(config)
    (tmp_path / 'config.json').write_text(json.dumps(about))
    (tmp_path / f'custom-{MODEL}-001.params').write_text('learnt')  # its checkpoints were deleted to save space
    with pytest.raises(UsageError, match='holds a run already'):
        open_folder(config)


def test_a_run_that_failed_at_once_is_simply_started_again(flags, tmp_path, capsys):
    flags = [*flags, '--save-dir', tmp_path, '--num-epochs', 1]
    assert here(flags, '--lr', 1e30) == 1
    said = capsys.readouterr().err
    assert 'the loss is nan' in said or 'not finite' in said
    assert 'There is no checkpoint yet' in said and 'kept' not in said
    left = {path.name for path in tmp_path.glob('events.out.tfevents.*')}
    with open(tmp_path / 'train.log', 'a') as log:
        log.write('of the start that failed\n')
    assert here(flags) == 0
    # Nothing of the start that failed is mixed with the run.
    assert left and not left & {path.name for path in tmp_path.glob('events.out.tfevents.*')}
    assert 'of the start that failed' not in (tmp_path / 'train.log').read_text()


def test_a_loss_that_is_lost_later_says_which_state_is_kept(tmp_path):
    folder = SaveDir(tmp_path, Empty(), MESSAGES, ())
    for told in ('There is no checkpoint yet', 'step-00000006 is from before this and is kept'):
        if 'step' in told:
            folder.checkpoints.save(6, {'x': 1})
        with pytest.raises(DivergedError, match=f'the loss is nan. .*{told}$'), resume_hint_on_error(folder):
            raise DivergedError('the loss is nan')


@dataclasses.dataclass
class Empty:
    """Options of a run that has none."""


@pytest.mark.parametrize('number, told', [(errno.ENOSPC, 'the disk is full'),
                                          (errno.EDQUOT, 'the quota of the disk is used up')])
def test_a_full_disk_is_called_so_and_what_resumes_is_said(tmp_path, monkeypatch, number, told):
    folder = SaveDir(tmp_path, Empty(), MESSAGES, ())
    folder.checkpoints.save(6, {'x': 1})

    def full(*args):
        raise OSError(number, os.strerror(number))
    with monkeypatch.context() as patch:
        patch.setattr('gluon_action.train.run.folder.checkpoint.write_arrays', full)
        said = rf'cannot save the checkpoint .*: {told} \(.* again from .*step-00000006$'
        with pytest.raises(OutputError, match=said), resume_hint_on_error(folder):
            folder.checkpoints.save(9, {'params': {'w': np.zeros(3, 'float32')}})


def test_another_rate_names_what_goes_on_with_it(flags, tmp_path, capsys):
    assert here(flags, '--save-dir', tmp_path, '--num-epochs', 1) == 0
    assert here(flags, '--save-dir', tmp_path, '--resume', '--lr', 0.5) == 2
    said = capsys.readouterr().err
    assert '--lr was 0.01 and is 0.5' in said
    assert all(flag in said for flag in ('--resume-params', '--resume-states', '--resume-epoch'))
    params, = tmp_path.glob(f'custom-{MODEL}-000.params')
    assert here(flags, '--save-dir', tmp_path / 'on', '--lr', 0.5, '--resume-params', params, '--resume-states',
                tmp_path, '--resume-epoch', 1) == 0
    assert [record['epoch'] for record in lines_of_json(tmp_path / 'on' / 'metrics.jsonl')
            if record['kind'] == 'epoch'] == [1]


# SIGTERM

def telling(moment, step):
    """A hook that sends this process SIGTERM at a moment."""
    def send(loop, *args):
        if loop.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
    hook = Hook()
    setattr(hook, moment, send)
    return hook


@pytest.mark.parametrize('moment, step, saved_at, accumulate', [
    ('on_batch', 4, 4, 1), ('on_step', 4, 4, 1), ('on_scored', 6, 6, 1), ('on_epoch', 6, 6, 1), ('on_step', 3, 4, 2),
    ('on_batch', 3, 4, 2)])
def test_sigterm_saves_between_two_steps_and_the_run_goes_on_to_the_same_end(tmp_path, moment, step, saved_at,
                                                                             accumulate):
    train, val = Batches(), Batches(shuffle=False)
    whole = make_loop(accumulate=accumulate)
    whole.fit(train, val, epochs=2)
    folder = CheckpointDir(tmp_path)
    with pytest.raises(Terminated) as end, heeding_termination():
        make_loop(accumulate=accumulate).fit(train, val, epochs=2,
                                             hooks=[telling(moment, step), SaveCheckpoints(folder)])
    assert end.value.code == TERMINATED == 143
    assert folder.load_latest().step == saved_at
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not signals.told_to_end()
    again = make_loop(accumulate=accumulate)
    again.load_state_dict(folder.load_latest().state)
    again.fit(train, val, epochs=2)
    assert same(weights(again), weights(whole))
    assert [record['val_loss'] for record in again.progress.history] == [
        record['val_loss'] for record in whole.progress.history]


def test_sigterm_outside_of_steps_ends_at_once():
    with pytest.raises(Terminated), heeding_termination():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail('went on')  # pragma: no cover


def test_a_handler_of_the_callers_stays():
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with heeding_termination():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


def by_estimator(folder):
    clips = folder / 'clips'
    if not clips.exists():
        write_clips(clips / 'train', 4)
    return estimator.train(small_config(clips, folder / 'run', mode='train', train_steps=4))


def by_features(folder):
    if not (folder / 'records').exists():
        records(folder / 'records')
    return trained(folder / 'records' / 'train*.tfrecord', folder / 'run', num_epochs=1)


@pytest.mark.parametrize('train', [by_estimator, by_features])
def test_sigterm_saves_in_the_commands_that_train_by_steps(tmp_path, monkeypatch, caplog, train):
    caplog.set_level('INFO')
    step = Loop.step

    def told(loop, batch):
        result = step(loop, batch)
        if loop.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Loop, 'step', told)
        with pytest.raises(Terminated):
            train(tmp_path)
    newest = CheckpointDir(tmp_path / 'run' / 'checkpoints').newest()
    assert newest.name == 'step-00000002'
    assert f'Told to end by SIGTERM. The same command resumes from {newest}.' in caplog.messages
    assert train(tmp_path).step == 4 and not (tmp_path / 'run' / LOCK).exists()


def test_sigterm_in_an_evaluation_repeats_it_and_no_step(tmp_path, monkeypatch):
    clips, validate = tmp_path / 'clips', Loop.validate
    write_clips(clips / 'train', 4)
    write_clips(clips / 'eval', 2, seed=1)
    config = small_config(clips, tmp_path / 'run', train_steps=2, monitor_steps=2, save_minutes=0)

    def told(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, 'validate', told)
        with pytest.raises(Terminated):
            estimator.train(config)
    assert CheckpointDir(tmp_path / 'run' / 'checkpoints').newest().name == 'step-00000002'
    result = estimator.train(config)
    assert result.step == 2 and result.history[0]['val_count'] == 2 and result.history[0]['loss'] > 0
    # No score of training is made up where none of its batches was seen.
    assert not [name for name in result.history[0] if name.startswith('train_') or name == 'steps_per_second']
    log = (tmp_path / 'run' / 'train.log').read_text()
    assert 'step 2: loss=' in log and 'steps/sec' not in log and 'precision' not in log.split('evaluation')[0]


def test_stretches_that_become_shorter_repeat_no_step_and_add_none(tmp_path):
    class Stop(Hook):
        def on_step(self, loop, result):
            if result.step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    def fit(loop, every, *hooks):
        fit_by_steps(loop, Batches(), every=every, total=9, hooks=lambda: [*hooks, SaveCheckpoints(folder)])
        return loop
    folder = CheckpointDir(tmp_path / 'whole')
    whole = fit(make_loop(), 5)
    folder = CheckpointDir(tmp_path / 'stopped')
    with pytest.raises(Terminated), heeding_termination():
        fit(make_loop(), 5, Stop())
    again = make_loop()
    again.load_state_dict(folder.load_latest().state)
    assert (again.progress.step, again.progress.batch) == (4, 4)
    fit(again, 2)
    assert again.progress.step == whole.progress.step == 9 and same(weights(again), weights(whole))
    assert [record['step'] for record in again.progress.history] == [4, 6, 8, 9]


def test_of_several_machines_each_ends_at_once(tmp_path):
    recipe, found = RecognizerRecipe(TrainConfig(model=MODEL, kvstore='dist_sync')), []
    assert recipe.has_others and not RecognizerRecipe(TrainConfig(model=MODEL, kvstore='device')).has_others

    class Told(RecognizerRecipe):
        def check(self):
            pass

        def open_folder(self, cleanup):
            found.append(signal.getsignal(signal.SIGTERM))
            raise UsageError('enough')
    for store in ('dist_sync', None):
        with pytest.raises(UsageError, match='enough'):
            run_recipe(Told(TrainConfig(model=MODEL, kvstore=store)))
    assert found[0] is signal.SIG_DFL is not found[1]


@pytest.mark.slow
def test_a_scheduler_ends_the_command_with_143_and_it_is_resumed(flags, tmp_path):
    """The whole group gets the signal, workers too; no step is lost and none is done twice."""
    flat = [str(item) for item in (*flags, '-j', 2)]

    def start(folder, pause):
        return subprocess.Popen([sys.executable, tiny.__file__, *flat, '--save-dir', str(folder), '--resume'],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                env={**os.environ, 'PAUSE': str(pause)})
    process, log = start(tmp_path / 'run', 0.1), tmp_path / 'run' / 'train.log'
    try:
        deadline = time.monotonic() + 120
        while not (log.exists() and 'Epoch[001] Batch [0001]' in log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143 and 'Traceback' not in output
    newest = max((tmp_path / 'run' / 'checkpoints').iterdir())
    assert int(newest.name[5:]) > 6
    assert f'Told to end by SIGTERM. The same command with --resume auto resumes from {newest}.' in output
    for folder in (tmp_path / 'run', tmp_path / 'whole'):
        process = start(folder, 0)
        assert process.communicate(timeout=120) and process.returncode == 0
    found = [{path.name: path.read_bytes() for path in (tmp_path / name).glob('*.params')} for name in ('run', 'whole')]
    assert found[0] == found[1] and len(found[0]) == 3


def test_one_command_says_that_it_was_terminated(capsys):
    def main(args):
        raise Terminated
    assert run_command(lambda argv: SimpleNamespace(debug=False), main, []) == 143
    assert capsys.readouterr().err == 'terminated\n'


# Time

def test_every_command_saves_by_the_time_too():
    assert TrainConfig().checkpoint_minutes == EstimatorConfig().save_minutes == FeatureTraining().save_minutes == 15


def test_a_long_validation_saves_what_was_trained_before_it(tmp_path, monkeypatch):
    now = [0.]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])

    class Pass(Hook):
        def on_scored(self, loop, scores, batch):
            now[0] += 60
            if scores.expected > 12:
                raise KeyboardInterrupt

    folder = CheckpointDir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make_loop().fit(Batches(), Batches(shuffle=False), epochs=1, hooks=[Pass(), SaveCheckpoints(folder, minutes=2)])
    assert folder.load_latest().step == 6
