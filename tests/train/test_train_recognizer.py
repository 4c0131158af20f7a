import contextlib
import dataclasses
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
import tiny
from forking import Copy
from report_runs import Page
from small_runs import flags_of_run, here, slowly, texts

from gluon_action import model_zoo
from gluon_action.cli import train_recognizer as command
from gluon_action.data import by_name
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.engine import mxnet_distribution
from gluon_action.errors import UsageError
from gluon_action.evaluate.scores.files import read_scores
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.parts import build_recipe, open_datasets
from gluon_action.train.recipes.recognizer import MESSAGES, open_folder, summary_lines
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.folder.run_folder import check_same_data
from gluon_action.train.run.run import TrainResult

TRAIN = Path(__file__).parents[1] / 'support' / 'tiny.py'  # scripts/train_recognizer.py with a network of no time
MODEL = tiny.OF_RUNS
pytestmark = pytest.mark.usefixtures('network_of_runs')
LAST = f'custom-{MODEL}-001.params'
STEPS = 12  # 2 epochs of 24 videos, 4 a step


def disposable():
    """An empty folder for a run, which leaves megabytes: in memory where there is plenty, and removed."""
    memory = Path('/dev/shm')
    plenty = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4e9
    return tempfile.TemporaryDirectory(prefix='run-', dir=memory if plenty else None)


@pytest.fixture
def folder():
    with disposable() as place:
        yield Path(place)


@pytest.fixture(scope='module')
def flags(demo_appearance):
    return flags_of_run(demo_appearance)


@pytest.fixture(scope='module')
def whole(flags):
    """The folder of a run that nothing interrupted, and what it printed. It has two workers, most others have none."""
    with disposable() as folder:
        process = start(flags, '-j', 2, '--save-dir', folder)
        output = process.communicate(timeout=200)[0]
        assert process.returncode == 0, output
        yield Path(folder), output


def start(*flags, pause=0.):
    """The command as a process at the head of a group of its own; a pause before each batch leaves time to stop it."""
    return subprocess.Popen([sys.executable, str(TRAIN), *texts(flags)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env={**os.environ, 'PAUSE': str(pause)})


def finish(*flags):
    process = start(*flags)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    return output


def stop(process, when, how=signal.SIGKILL, delay=0.0):
    """Send a signal to the process's group once `when()` holds; returns what was printed."""
    deadline = time.monotonic() + 200
    while not when():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    os.killpg(process.pid, how)
    return process.communicate(timeout=60)[0]


def after_step(folder, step):
    # One that is being put in another's place is named 'step-00000006.newer' for a moment.
    return lambda: any(int(path.name[5:13]) >= step for path in folder.glob('checkpoints/step-*'))


def said(folder):
    log = folder / 'train.log'
    return log.read_text() if log.exists() else ''


def in_validation(folder, epoch, batch=1):
    """Whether the log shows so many batches of a validation."""
    def look():
        epochs = said(folder).split('] validation: ')
        return len(epochs) > epoch and epochs[epoch].count(']: acc-top1=') >= batch
    return look


def metrics(folder):
    """The records of a run, but for how long it took."""
    records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [{key: value for key, value in record.items() if not key.endswith(('seconds', 'speed'))}
            for record in records]


def state(folder):
    """Contents of every file of parameters that a run leaves, its last checkpoint among them, by name."""
    newest = max(folder.glob('checkpoints/step-*'), key=lambda path: path.name)
    files = [*folder.glob('*.params'), *newest.glob('*.params')]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same(folder, reference):
    assert metrics(folder) == metrics(reference)
    found, expected = state(folder), state(reference)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def test_a_run_leaves_what_the_readme_names(whole):
    folder, output = whole
    names = {path.name for path in folder.iterdir() if not path.name.startswith('events.out.tfevents')}
    record = json.loads((folder / 'metrics.jsonl').read_text().splitlines()[-1])
    best = max((line for line in metrics(folder) if line['kind'] == 'epoch'),
               key=lambda line: (line['val_top1'], -line['val_loss']))
    best_name = f'{best["val_top1"]:.4f}-custom-{MODEL}-{best["epoch"]:03d}-best'
    assert names == {'report.html', 'validation_scores.npz', 'history.png', 'train.log', 'metrics.jsonl', 'config.json',
                     'checkpoints', 'best.params', LAST, f'{best_name}.params'}
    assert len(list(folder.glob('events.out.tfevents.*'))) == 1
    assert sorted(path.name for path in folder.glob('checkpoints/*')) == [f'step-{STEPS // 2:08d}', f'step-{STEPS:08d}']
    assert (folder / 'best.params').read_bytes() == (folder / f'{best_name}.params').read_bytes()
    assert record['kind'] == 'epoch' and record['epoch'] == 1 and record['step'] == STEPS
    assert all(str(folder / name) in output for name in ('report.html', 'history.png', 'best.params'))
    assert '(3 views a video, 3x1 segments x crops: not comparable' in output


def test_the_summary_says_the_views_and_names_the_log(tmp_path):
    (tmp_path / 'my.log').touch()
    config, result = TrainConfig(num_segments=2, num_crop=10, logging_file='my.log'), TrainResult(tmp_path, 0.5, 3, [])
    assert summary_lines(config, result) == [
        'best validation top-1 50.00 % in epoch 3 (20 views a video, 2x10 segments x crops: not comparable to scores '
        'over other views)', str(tmp_path / 'my.log')]
    assert '(1 view a video, 1x1' in summary_lines(TrainConfig(), result)[0]


def test_the_log_has_gluoncvs_lines_and_no_speed_below_zero(whole):
    lines = (whole[0] / 'train.log').read_text().splitlines()
    assert [line.split('\t')[0] for line in lines if line.startswith('Epoch[001]')] == [
        f'Epoch[001] Batch [{batch:04d}]/[0006]' for batch in range(6)]
    assert [line.split(': ')[0] for line in lines if line.startswith('[Epoch 001]')] == [
        '[Epoch 001] training', '[Epoch 001] speed', '[Epoch 001] validation',
        lines[-1]] and '2 of 2 epochs done' in lines[-1]
    speeds = [record.get('speed', 1) for record in map(json.loads, (whole[0] / 'metrics.jsonl').open())]
    assert min(speeds) > 0


def test_the_log_begins_with_what_is_trained_on_what_by_what(whole, demo_appearance):
    lines = (whole[0] / 'train.log').read_text().splitlines()
    about = json.loads((whole[0] / 'config.json').read_text())
    assert [line.split(':')[0] for line in lines[:5]] == ['command', 'data', 'classes', 'network', 'engine']
    assert lines[0] == f'command: {about["command"]}'
    assert f'24 training videos ({demo_appearance.train_list})' in lines[1]
    assert lines[2].startswith('classes: 8') and f'network: {MODEL}, ' in lines[3]
    assert f'mxnet {mx.__version__}' in lines[4]


def test_the_command_in_config_json_gives_the_options_of_the_run(whole):
    about = json.loads((whole[0] / 'config.json').read_text())
    words = shlex.split(about['command'])
    assert words[:2] == ['gluon-action', 'train'] and about['directory'] == os.getcwd()
    again = dataclasses.asdict(command.config_from(command.parse_args(words[2:])))
    assert {name: about['config'][name] for name, value in again.items() if value is not None} == {
        name: value for name, value in again.items() if value is not None}


def test_the_scores_of_the_best_epoch_are_kept_by_video(whole, demo_appearance):
    best = [record for record in metrics(whole[0]) if record.get('best')][-1]
    file = read_scores(whole[0])
    keys = [line.split()[0] for line in demo_appearance.val_list.read_text().splitlines()]
    assert file.keys == keys and file.scored.all() and file.kind == 'logits'
    assert (file.scores.argmax(axis=1) == file.labels).mean() == pytest.approx(best['val_top1'])


def test_the_page_of_a_run_shows_it_whole(whole):
    page = Page(whole[0] / 'report.html')
    assert all(map(page.has, ('curves', 'wrong', 'confusion', 'classes', 'calibration', 'time', 'data', 'command')))
    assert all(source.startswith('data:') for source in page.fetched)


def test_a_page_that_fails_fails_no_run(flags, folder, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError('no template')
    monkeypatch.setattr('gluon_action.evaluate.report.page.render', fail)
    assert here(flags, '--save-dir', folder, '--num-epochs', 1) == 0
    assert 'report.html: cannot be written (RuntimeError: no template)' in caplog.text
    assert (folder / 'best.params').exists() and not (folder / 'report.html').exists()


def test_config_json_holds_choices_classes_lists_and_versions(whole, demo_appearance):
    about = json.loads((whole[0] / 'config.json').read_text())
    assert about['config']['lr'] == 0.01 and about['config']['use_tsn'] is True
    assert about['num_classes'] == 8 and about['lists']['val']['videos'] == 16
    assert about['lists']['train']['file'] == str(demo_appearance.train_list)
    assert about['versions']['numpy'] == np.__version__
    assert about['versions'][mxnet_distribution()] == mx.__version__


def test_parameters_of_a_run_load_into_the_network_of_the_zoo(whole):
    net = model_zoo.get_model(MODEL, nclass=8, tsn=True, num_segments=3, pretrained_base=False)
    net.load_parameters(str(whole[0] / LAST))
    assert np.isfinite(net(mx.nd.zeros((3, 3, 32, 32))).asnumpy()).all()


def test_every_validation_video_is_scored_whatever_the_batch_size(whole):
    epochs = [record for record in metrics(whole[0]) if record['kind'] == 'epoch']
    assert [(record['val_count'], record['val_expected']) for record in epochs] == [(16, 16)] * 2


@pytest.mark.parametrize('batch_size', [5, 40])
def test_eval_scores_what_the_run_scored(whole, flags, tmp_path, caplog, batch_size):
    caplog.set_level('INFO')
    assert here(flags, '--eval', '--resume-params', whole[0] / LAST, '--batch-size', batch_size,
                '--save-dir', tmp_path / 'none') == 0
    last = metrics(whole[0])[-1]
    found = dict(pair.split('=') for pair in caplog.messages[-1].split() if '=' in pair)
    assert float(found['acc-top1']) == pytest.approx(100 * last['val_top1'])
    assert float(found['acc-top5']) == pytest.approx(100 * last['val_top5'])
    assert float(found['loss']) == pytest.approx(last['val_loss'], rel=1e-3)
    assert '(16 of 16 videos scored)' in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_dry_run_writes_nothing(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert here(flags, '--dry-run', '--model', 'resnet18_v1b_custom') == 0
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr().out
    assert '8 classes' in said and '24 training videos in 6 batches of 4, 16 validation videos' in said


def test_print_config_says_what_would_run_and_writes_nothing(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert here(flags, '--print-config') == 0
    assert json.loads(capsys.readouterr().out)['num_segments'] == 3
    assert list(tmp_path.iterdir()) == []


def test_killed_within_an_epoch_with_workers_and_resumed_without(whole, flags, folder, caplog):
    rng = np.random.default_rng(0)
    flags = [*flags, '--save-dir', folder, '--checkpoint-steps', 1]
    killed = Copy(slowly, 0.1, flags, '-j', 2)
    stop(killed, after_step(folder, int(rng.integers(1, 5))), delay=rng.uniform(0, 0.2))
    assert killed.returncode == -signal.SIGKILL and not (folder / LAST).exists()
    caplog.set_level('INFO')
    assert here(flags, '--resume', 'auto') == 0 and 'Going on from' in caplog.text
    assert_same(folder, whole[0])


@pytest.mark.slow
def test_killed_in_a_validation_and_again_with_a_torn_checkpoint(whole, flags, folder):
    """Without workers from end to end, and equal to the run that had two."""
    flags = [*flags, '--save-dir', folder, '--checkpoint-steps', 1, '--resume']
    stop(start(flags, pause=0.3), in_validation(folder, epoch=0, batch=2))
    assert [record['epoch'] for record in metrics(folder) if record['kind'] == 'epoch'] == []
    stop(start(flags, pause=0.1), after_step(folder, 9))
    newest, before, *_ = sorted(folder.glob('checkpoints/step-*'), reverse=True)
    os.truncate(newest / 'params.params', 100_000)
    output = finish(flags)
    assert f'{newest} is refused: params.params has 100000 bytes' in output
    assert f'Going on from {before}' in output
    assert_same(folder, whole[0])


@pytest.mark.slow
def test_killed_with_several_devices_and_gathered_gradients(flags, folder):
    flags = [*flags, '--num-cpus', 2, '--batch-size', 2, '--accumulate', 2, '--checkpoint-steps', 1]
    finish(flags, '--save-dir', folder / 'whole')
    killed = folder / 'killed'
    stop(start(flags, '--save-dir', killed, pause=0.1), after_step(killed, 4), delay=0.1)
    finish(flags, '--save-dir', killed, '--resume')
    assert_same(killed, folder / 'whole')


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(6))
def test_killed_three_times_at_random_moments(whole, flags, folder, seed):
    rng = np.random.default_rng(seed)
    flags = [*flags, '--save-dir', folder, '--checkpoint-steps', 1, '--resume']
    for step in sorted(rng.choice(np.arange(1, STEPS), 3, replace=False)):
        stop(start(flags, '-j', int(rng.integers(3)), pause=0.2), after_step(folder, step), delay=rng.uniform(0, 0.5))
    finish(flags)
    assert_same(folder, whole[0])


def test_interrupted_from_the_keyboard(whole, flags, folder):
    flags = [*flags, '--save-dir', folder]
    process = start(flags, '-j', 2, pause=0.1)
    output = stop(process, lambda: 'Epoch[001] Batch [0001]' in said(folder), signal.SIGINT)
    assert process.returncode == 130
    assert 'Traceback' not in output
    checkpoint, = folder.glob('checkpoints/step-*')
    assert f'The same command with --resume auto resumes from {checkpoint}.' in output
    assert members(process.pid) == []
    assert here(flags, '--resume') == 0
    assert_same(folder, whole[0])


def members(group):
    """Living processes of a process group."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            kind, _, owner = path.read_text().rpartition(')')[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(owner) == group and kind != 'Z':
            found.append(path.parent.name)
    return found


def test_a_resumed_run_reads_nothing_that_it_has_done(flags, demo_appearance, folder, capsys):
    """The videos of the batches before the interruption are gone when the run is resumed."""
    videos = folder / 'videos'
    shutil.copytree(demo_appearance.video_dir, videos)
    flags = [*flags, '--data-dir', videos, '--save-dir', folder / 'run', '--num-epochs', 1, '--checkpoint-steps', 1]
    config = TrainConfig(model=MODEL, dataset='custom', data_dir=str(videos), batch_size=4, num_segments=3,
                         train_list=str(demo_appearance.train_list), val_list=str(demo_appearance.val_list))
    train_set, _ = open_datasets(config, model_zoo.model_card(MODEL))
    with VideoLoader(train_set, 4, shuffle=True, seed=0, last='wrap') as loader:
        batches = loader.batch_indices(0)
    last = Path(train_set.samples[batches[4][0]].path)
    last.rename(last.with_suffix('.away'))
    assert here(flags) == 1
    assert f'{last}: cannot be read' in capsys.readouterr().err
    last.with_suffix('.away').rename(last)
    for index in sum(batches[:4], []):
        Path(train_set.samples[index].path).unlink()
    assert here(flags, '--resume') == 0
    assert metrics(folder / 'run')[-1]['samples'] == 24


@pytest.fixture(scope='module')
def one_epoch(flags):
    """A run of one epoch that a test may spoil a copy of."""
    with disposable() as folder:
        assert here(flags, '--num-epochs', 1, '--save-dir', folder, '--save-frequency', 0) == 0
        yield Path(folder)


@pytest.fixture
def spoilt(one_epoch, folder):
    shutil.copytree(one_epoch, folder / 'run', symlinks=True)
    return folder / 'run'


def test_a_folder_with_a_run_is_not_written_into(flags, spoilt, capsys):
    before = {path: path.stat().st_mtime_ns for path in spoilt.rglob('*')}
    assert here(flags, '--save-dir', spoilt) == 2
    said = capsys.readouterr().err
    assert f'--save-dir {spoilt} holds a run already' in said
    assert '--resume auto' in said and '--overwrite' in said
    assert {path: path.stat().st_mtime_ns for path in spoilt.rglob('*')} == before


def test_overwrite_deletes_the_run_and_nothing_else(flags, spoilt):
    (spoilt / 'notes.txt').write_text('mine')
    (spoilt / 'other.params').write_text('mine')
    (spoilt / 'checkpoints' / 'notes.txt').write_text('mine')
    CheckpointDir(spoilt / 'checkpoints').save(10 * STEPS, {'part': {'of': 'a longer run'}})
    old = {path.name for path in spoilt.iterdir()} - {'notes.txt', 'other.params'}
    assert here(flags, '--save-dir', spoilt, '--overwrite', '--num-epochs', 1, '--train-only') == 0
    assert (spoilt / 'notes.txt').exists() and (spoilt / 'other.params').exists()
    assert (spoilt / 'checkpoints' / 'notes.txt').exists()
    assert [path.name for path in spoilt.glob('checkpoints/step-*')] == [f'step-{STEPS // 2:08d}']
    assert not (spoilt / 'best.params').exists()
    assert [name for name in old if 'tfevents' in name and (spoilt / name).exists()] == []


def test_overwrite_costs_nothing_when_the_new_run_cannot_start(flags, spoilt, capsys):
    before = {path: path.stat().st_mtime_ns for path in spoilt.rglob('*')}
    assert here(flags, '--save-dir', spoilt, '--overwrite', '--train-list', 'nowhere.txt') == 1
    assert 'nowhere.txt: the list does not exist' in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in spoilt.rglob('*')} == before


@pytest.mark.parametrize('name', ['best.params', 'history.png', 'metrics.jsonl', 'my.log', f'custom-{MODEL}-003.params',
                                  f'0.5000-custom-{MODEL}-003-best.states'])
@pytest.mark.parametrize('resume', [None, 'auto'])
def test_a_file_under_a_name_of_a_run_is_not_replaced(tmp_path, name, resume):
    config = TrainConfig(model=MODEL, dataset='custom', save_dir=str(tmp_path), logging_file='my.log', resume=resume)
    (tmp_path / 'notes.txt').write_text('mine')
    open_folder(config)
    (tmp_path / name).write_text('mine')
    with pytest.raises(UsageError, match=f'holds {re.escape(name)}, which a run would replace.*--overwrite'):
        open_folder(config)
    if resume is None:
        open_folder(dataclasses.replace(config, overwrite=True))
    else:  # a run that ended before its first checkpoint starts again
        (tmp_path / 'config.json').write_text('{}')
        assert open_folder(config).checkpoint is None


@pytest.mark.parametrize('flag', ['resume_params', 'resume_states', 'teacher_params'])
def test_overwrite_does_not_delete_what_the_new_run_starts_from(tmp_path, flag):
    folder, link = tmp_path / 'run', tmp_path / 'link'
    folder.mkdir()
    (folder / 'best.params').write_text('learnt')
    link.symlink_to(folder / 'best.params')
    for place in (folder / 'best.params', link):
        config = TrainConfig(model=MODEL, save_dir=str(folder), overwrite=True, **{flag: str(place)})
        with pytest.raises(UsageError, match=f'--{flag.replace("_", "-")} {place} lies in --save-dir'):
            open_folder(config)
    open_folder(dataclasses.replace(config, save_dir=str(tmp_path / 'other')))


def test_a_run_does_not_go_on_in_the_folder_of_another(one_epoch, tmp_path):
    config = TrainConfig(**json.loads((one_epoch / 'config.json').read_text())['config'])
    config = dataclasses.replace(config, resume=str(one_epoch))
    for folder in (one_epoch, tmp_path):
        assert open_folder(dataclasses.replace(config, save_dir=str(folder))).checkpoint.step == STEPS // 2
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(UsageError, match=f'{tmp_path} holds a run already'):
        open_folder(dataclasses.replace(config, save_dir=str(tmp_path)))


@pytest.mark.parametrize('flag', ['--lr', '--wd', '--prefetch-ratio', '--temperature', '--dropout', '--decode-timeout'])
def test_a_number_without_end_is_refused(flags, capsys, flag):
    with pytest.raises(SystemExit) as stopped:
        here(flags, flag, 'inf')
    assert stopped.value.code == 2 and f'{flag} must be a finite number, got inf' in capsys.readouterr().err


def test_the_data_sets_of_the_flag_are_those_that_can_be_opened():
    choices = next(action.choices for action in command.build_parser()._actions if action.dest == 'dataset')
    assert list(choices) == [*by_name.PRESETS, 'custom', *by_name.DEMOS] and len(choices) == 11


def test_a_run_is_not_resumed_as_another_one(flags, spoilt, capsys):
    assert here(flags, '--save-dir', spoilt, '--resume', '--lr', 0.5, '--num-segments', 2) == 2
    said = capsys.readouterr().err
    assert '--lr was 0.01 and is 0.5' in said and '--num-segments was 3 and is 2' in said
    assert '--resume-params' in said


def test_a_run_is_not_resumed_on_a_list_whose_content_has_changed(flags, demo_appearance, folder, capsys):
    lists = {}
    for split, source in (('train', demo_appearance.train_list), ('val', demo_appearance.val_list)):
        lists[split] = folder / f'{split}.txt'
        lists[split].write_text('\n'.join(source.read_text().splitlines()[::4]))
    flags = [*flags, '--train-list', lists['train'], '--val-list', lists['val'], '--save-dir', folder / 'run',
             '--num-classes', 8, '--save-frequency', 0]
    assert here(flags, '--num-epochs', 1) == 0
    for split, path in lists.items():
        text = path.read_text()
        path.write_text('\n'.join(text.splitlines()[1:]))
        assert here(flags, '--resume') == 2
        assert f'the content of --{split}-list is not what the run was started with' in capsys.readouterr().err
        path.write_text(text)
    assert metrics(folder / 'run')[-1]['epoch'] == 0


def test_other_data_are_told_from_the_same():
    now = {'lists': {'train': 'a', 'val': 'b'}, 'classes': ['x', 'y']}
    for before in ({}, now, {**now, 'lists': {'train': 'a'}}):  # the first is of an earlier version
        check_same_data(before, now, MESSAGES)
    check_same_data(now, {**now, 'processes': 2}, MESSAGES)
    with pytest.raises(UsageError, match='2 processes trained it together, and 1 would resume it; start 2'):
        check_same_data({**now, 'processes': 2}, {**now, 'processes': 1}, MESSAGES)
    with pytest.raises(UsageError, match=r"the classes were \['y', 'x'\] and are \['x', 'y'\]"):
        check_same_data({**now, 'classes': ['y', 'x']}, now, MESSAGES)


def test_a_run_without_any_good_checkpoint_says_which_and_why(flags, spoilt, capsys):
    checkpoint, = spoilt.glob('checkpoints/step-*')
    (checkpoint / 'manifest.json').write_text('{"manifest":')
    assert here(flags, '--save-dir', spoilt, '--resume') == 1
    said = capsys.readouterr().err
    assert f'{checkpoint} is refused: manifest.json is torn' in said and 'start anew without --resume' in said


def test_resume_from_nowhere_is_refused(flags, tmp_path, capsys):
    assert here(flags, '--save-dir', tmp_path / 'run', '--resume', tmp_path / 'nowhere') == 1
    said = capsys.readouterr().err
    assert f'--resume {tmp_path / "nowhere"}: no checkpoint there' in said and '--save-dir of a run' in said


def test_a_full_disk_keeps_the_last_good_state(one_epoch, flags, spoilt, capsys):
    """A limit on the size of files stands for the disk: no file of parameters can be written."""
    before = {path.name: path.read_bytes() for path in spoilt.glob('checkpoints/*/*')}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        assert here(flags, '--save-dir', spoilt, '--resume', '--checkpoint-steps', 2) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert f'cannot save the checkpoint {spoilt / "checkpoints"}' in said
    assert 'the checkpoints before it are kept' in said and 'Traceback' not in said
    assert {path.name: path.read_bytes() for path in spoilt.glob('checkpoints/*/*')} == before
    assert [path.name for path in spoilt.glob('checkpoints/.*')] == []
    assert here(flags, '--save-dir', spoilt, '--resume', '--train-only') == 2  # another run
    assert here(flags, '--save-dir', spoilt, '--resume') == 0
    assert metrics(spoilt)[-1]['step'] == STEPS  # one epoch more than it was started for
    assert json.loads((spoilt / 'config.json').read_text())['config']['num_epochs'] == 2


@pytest.fixture
def small_disk(mount_disk):
    """A file system of 1 MB; a checkpoint takes 660 KB."""
    return mount_disk('1m')


def remount(place, option):
    subprocess.run(['mount', '-o', f'remount,{option}', str(place)], check=True)


def test_a_disk_that_fills_up_and_one_that_turns_read_only(whole, flags, small_disk, capsys, caplog):
    flags = [*flags, '--save-dir', small_disk, '--checkpoint-steps', 1, '--resume']
    caplog.set_level('INFO')
    assert here(flags) == 1
    output = capsys.readouterr().err
    assert f'cannot save the checkpoint {small_disk / "checkpoints" / "step-00000002"}' in output
    assert 'MB are free' in output and 'Traceback' not in output
    assert [path.name for path in small_disk.glob('checkpoints/*')] == ['step-00000001']
    remount(small_disk, 'ro')
    assert here(flags) == 1
    remount(small_disk, 'rw,size=16m')
    assert here(flags) == 0 and 'Going on from' in caplog.text
    assert_same(small_disk, whole[0])


def test_a_folder_that_cannot_be_written_is_found_out_at_once(flags, tmp_path, capsys):
    (tmp_path / 'file').write_text('in the way')
    place = tmp_path / 'file' / 'run'
    assert here(flags, '--save-dir', place, '--train-list', 'nowhere.txt') == 1
    assert f'--save-dir {place} cannot be written: Not a directory' in capsys.readouterr().err


def test_the_training_folder_numbers_the_classes(demo_appearance, tmp_path):
    """A validation folder that lacks the first class does not shift the others."""
    for split, classes in (('train', ('Crescent', 'PinwheelDisc', 'Star')), ('val', ('PinwheelDisc', 'Star'))):
        for name in classes:
            target = tmp_path / split / name
            target.mkdir(parents=True)
            for video in (demo_appearance.video_dir / name).iterdir():
                (target / video.name).symlink_to(video)
    config = TrainConfig(model=MODEL, dataset='custom', data_dir=str(tmp_path / 'train'),
                         train_list=str(tmp_path / 'train'), val_list=str(tmp_path / 'val'),
                         val_data_dir=str(tmp_path / 'val'))
    train_set, val_set = open_datasets(config, model_zoo.model_card(MODEL))
    assert train_set.classes == val_set.classes == ['Crescent', 'PinwheelDisc', 'Star']
    assert labels(val_set) == {'PinwheelDisc': 1, 'Star': 2}


def labels(videos):
    return {Path(sample.path).parent.name: sample.label for sample in videos.samples}


@pytest.mark.parametrize('given', [
    dict(resume_params='run/x.params'), dict(resume_params='link.params'), dict(resume='run'),
    dict(resume='auto', save_dir='run'), dict(resume='run/checkpoints/step-00000001')])
def test_a_run_that_is_evaluated_numbers_the_classes(demo_appearance, tmp_path, given):
    """The folder that is scored lacks the first class of the run."""
    for name in ('PinwheelDisc', 'Star'):
        shutil.copytree(demo_appearance.video_dir / name, tmp_path / 'val' / name)
    (tmp_path / 'run' / 'checkpoints' / 'step-00000001').mkdir(parents=True)
    (tmp_path / 'run' / 'x.params').touch()
    (tmp_path / 'link.params').symlink_to(tmp_path / 'run' / 'x.params')
    about = {'config': {}, 'classes': ['Crescent', 'PinwheelDisc', 'Star'], 'num_classes': 3}
    (tmp_path / 'run' / 'config.json').write_text(json.dumps(about))
    given = {name: value if value == 'auto' else str(tmp_path / value) for name, value in given.items()}
    config = TrainConfig(model=MODEL, dataset='custom', data_dir=str(tmp_path / 'val'), val_list=str(tmp_path / 'val'),
                         eval=True, **given)
    val_set = open_datasets(config, model_zoo.model_card(MODEL))[1]
    assert val_set.num_classes == 3 and labels(val_set) == {'PinwheelDisc': 1, 'Star': 2}
    (tmp_path / 'run' / 'config.json').unlink()
    assert labels(open_datasets(config, model_zoo.model_card(MODEL))[1]) == {'PinwheelDisc': 0, 'Star': 1}


@pytest.mark.parametrize('choices, kind, momentum', [
    (dict(), mx.optimizer.SGD, 0.9), (dict(optimizer='nag', momentum=0.5), mx.optimizer.NAG, 0.5),
    (dict(model='slowfast_4x16_resnet50_custom', slowfast=True, new_length=64), mx.optimizer.NAG, 0.9)])
def test_gradients_are_followed_with_the_momentum_and_slowfasts_with_nesterovs(demo_appearance, choices, kind,
                                                                               momentum):
    config = TrainConfig(**{'model': MODEL, 'pretrained_base': False, 'input_size': 64, 'num_workers': 0,
                            'train_only': True, 'dataset': 'custom', 'data_dir': str(demo_appearance.video_dir),
                            'train_list': str(demo_appearance.train_list), **choices})
    with contextlib.ExitStack() as cleanup:
        loop = build_recipe(config, model_zoo.model_card(config.model), [mx.cpu()], cleanup).loop
    optimizer = loop.learner.trainer.optimizer
    assert type(optimizer) is kind and optimizer.momentum == momentum
