"""Runs by ``--engine torch``: the same command, files and log; a run may change its engine at a checkpoint."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from demo_recipes import CLIPS, FRAMES
from small_runs import arrays_of_run, flags_of_run, here, texts

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.cli import test_recognizer as command  # noqa: E402
from gluon_action.cli.command import run  # noqa: E402
from gluon_action.deploy.predict.open_predictor import open_predictor  # noqa: E402
from gluon_action.model_zoo.loading.params_file import read_arrays  # noqa: E402
from gluon_action.train.recipes.config import TrainConfig  # noqa: E402
from gluon_action.train.recipes.recognizer import train_recognizer  # noqa: E402
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir  # noqa: E402

pytestmark = pytest.mark.usefixtures('network_of_runs', 'tiny_network')

TORCH = ['--engine', 'torch']
AVERAGED = [*TORCH, '--ema-epochs', '1', '--optimizer', 'adamw', '--lr', '0.001']


def params(folder, name='best.params'):
    return read_arrays(folder / name)


def close(ours, theirs, tolerance=1e-5):
    return ours.keys() == theirs.keys() and all(np.allclose(ours[key], theirs[key], rtol=tolerance, atol=tolerance)
                                                for key in ours)


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all((ours[key] == theirs[key]).all() for key in ours)


@pytest.fixture(scope='module')
def flags(demo_appearance):
    return flags_of_run(demo_appearance)


@pytest.fixture(scope='module')
def on_torch(flags, tmp_path_factory, network_of_runs):
    folder = tmp_path_factory.mktemp('torch') / 'run'
    assert here(flags, TORCH, '--save-dir', folder) == 0
    return folder


def last_name():
    return f'custom-{tiny.OF_RUNS}-001.params'


def last(folder):
    return params(folder, last_name())


def test_a_run_leaves_the_same_files_and_says_by_what(on_torch, flags, tmp_path):
    assert here(flags, '--save-dir', tmp_path / 'run') == 0
    ours, theirs = ({path.name.split('-')[-1] for path in folder.iterdir() if not path.name.startswith('events')}
                    for folder in (on_torch, tmp_path / 'run'))
    assert ours == theirs
    about = json.loads((on_torch / 'config.json').read_text())
    assert about['config']['engine'] == 'torch' and about['versions']['torch'] == torch.__version__
    assert 'engine: torch, gluon_action' in (on_torch / 'train.log').read_text()
    assert 'engine: mxnet, gluon_action' in (tmp_path / 'run' / 'train.log').read_text()
    assert '--engine torch' in about['command']
    assert {key: array.shape for key, array in last(on_torch).items()} == {
        key: array.shape for key, array in last(tmp_path / 'run').items()}


@pytest.fixture(scope='module')
def averaged(flags, tmp_path_factory):
    """A run with averages, and with an optimizer that remembers two arrays a parameter."""
    folder = tmp_path_factory.mktemp('averaged') / 'run'
    assert here(flags, AVERAGED, '--save-dir', folder) == 0
    assert {key.split()[0] for key in arrays_of_run(folder)} == {'params', 'averages', 'optimizer'}
    return folder


def test_a_run_that_is_resumed_ends_in_the_same_bytes(averaged, flags, tmp_path):
    assert here(flags, AVERAGED, '--num-epochs', 1, '--save-dir', tmp_path / 'run') == 0
    assert here(flags, AVERAGED, '--resume', '--save-dir', tmp_path / 'run') == 0
    assert same(last(tmp_path / 'run'), last(averaged))
    assert same(arrays_of_run(tmp_path / 'run'), arrays_of_run(averaged))


@pytest.mark.parametrize('step', [3, 8])
def test_a_run_that_is_killed_is_resumed_to_the_same_bytes(step, averaged, flags, tmp_path):
    given = [*flags, *AVERAGED, '--save-dir', tmp_path / 'run', '--checkpoint-steps', '1']
    process = subprocess.Popen([sys.executable, tiny.__file__, *texts(given)], env={**os.environ, 'PAUSE': '0.2'},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints, until = CheckpointDir(tmp_path / 'run' / 'checkpoints'), time.monotonic() + 200
    while not (newest := checkpoints.newest()) or int(newest.name[5:13]) < step:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (tmp_path / 'run' / last_name()).exists()
    assert here(given, '--resume') == 0
    assert same(last(tmp_path / 'run'), last(averaged))
    assert same(arrays_of_run(tmp_path / 'run'), arrays_of_run(averaged))


@pytest.mark.parametrize('first, second', [([], TORCH), (TORCH, [])], ids=['mxnet to torch', 'torch to mxnet'])
def test_a_run_changes_its_engine_at_a_checkpoint(first, second, flags, tmp_path, caplog):
    caplog.set_level('INFO')
    still = [*flags, '--dropout', '0']
    assert here(still, first, '--save-dir', tmp_path / 'whole') == 0
    assert here(still, first, '--num-epochs', 1, '--save-dir', tmp_path / 'run') == 0
    assert here(still, second, '--resume', '--save-dir', tmp_path / 'run') == 0
    names = [(flags or ['', 'mxnet'])[1] for flags in (first, second)]
    assert 'It was trained by --engine {}, and --engine {} computes from here on.'.format(*names) in caplog.messages
    assert close(last(tmp_path / 'run'), last(tmp_path / 'whole'), 1e-3)
    about = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert about['config']['engine'] == names[1]


def scores(folder, *flags):
    assert run(command.parse_args, command.main, texts(flags)) == 0
    with np.load(folder / 'scores.npz') as found:
        return found['scores'], json.loads((folder / 'results.json').read_text())


def test_a_test_gives_the_same_scores(on_torch, tmp_path):
    given = [on_torch, '--num-segments', 3, '--three-crop', '--batch-size', 7, '-j', 0, '--no-report']
    theirs, _ = scores(tmp_path / 'a', given, '--save-dir', tmp_path / 'a')
    ours, results = scores(tmp_path / 'b', given, TORCH, '--save-dir', tmp_path / 'b', '--num-cpus', 2)
    assert np.allclose(ours, theirs, atol=1e-5) and len(ours) == 16
    assert results['config']['engine'] == 'torch' and results['versions']['torch'] == torch.__version__
    assert 'engine: torch, ' in (tmp_path / 'b' / 'test.log').read_text()


def test_a_prediction_gives_the_same_probabilities(on_torch, demo_appearance):
    video = next(demo_appearance.video_dir.rglob('*.mp4'))
    ours, theirs = (open_predictor(on_torch, engine=engine)(video) for engine in ('torch', 'mxnet'))
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-6)


def test_validating_alone_scores_what_the_run_had(on_torch, flags, caplog):
    for given in (['--resume'], ['--resume-params', on_torch / f'custom-{tiny.OF_RUNS}-001.params']):
        with caplog.at_level('INFO'):
            assert here(flags, TORCH, '--eval', given, '--save-dir', on_torch) == 0
    lines = [record.message for record in caplog.records if record.message.startswith('validation: ')]
    log = json.loads((on_torch / 'metrics.jsonl').read_text().splitlines()[-1])
    assert len(lines) == 2 and lines[0] == lines[1]
    assert f'loss={log["val_loss"]:f}' in lines[0], (log, lines)


def test_averages_are_validated_where_a_run_with_averages_is(flags, tmp_path, caplog):
    given = [*flags, *TORCH, '--ema-epochs', 1, '--save-dir', tmp_path / 'run']
    assert here(given) == 0
    with caplog.at_level('INFO'):
        assert here(given, '--eval', '--resume') == 0
    line, = (record.message for record in caplog.records if record.message.startswith('validation: '))
    log = json.loads((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()[-1])
    assert f'loss={log["val_loss"]:f}' in line


def test_rates_are_tried_as_by_mxnet(flags, tmp_path):
    curves = []
    for name, engine in (('ours', TORCH), ('theirs', [])):
        here(flags, engine, '--dropout', 0, '--find-lr', '--find-lr-steps', 12, '--save-dir', tmp_path / name)
        curves.append(json.loads((tmp_path / name / 'lr_finder.json').read_text()))
    assert np.allclose(curves[0]['losses'][:8], curves[1]['losses'][:8], atol=1e-3)


@pytest.mark.parametrize('options', [
    ['--partial-bn'], ['--freeze-bn'], ['--train-params', 'head'], ['--mixup', '--label-smoothing'],
    ['--consensus', 'max'], ['--clip-norm', '0.5', '--no-wd', '--optimizer', 'adamw', '--lr', '0.001'],
    ['--num-cpus', '2', '--accumulate', '2'], ['--head-lr', '10', '--ema-epochs', '1']])
def test_options_do_what_they_do_by_mxnet(options, flags, tmp_path):
    given = [*flags, '--model', tiny.NAME, '--dropout', '0', '--num-epochs', 1, *options]
    for name, engine in (('ours', TORCH), ('theirs', [])):
        assert here(given, engine, '--no-report', '--save-dir', tmp_path / name) == 0
    names = f'custom-{tiny.NAME}-000.params'
    assert close(params(tmp_path / 'ours', names), params(tmp_path / 'theirs', names), 1e-3)


def test_a_dry_run_says_on_what(flags, capsys):
    assert here(flags, TORCH, '--dry-run') == 0
    assert 'first batch: frames (12, 3, 32, 32)' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize('tsn', ['', '--num-segments 3 --use-tsn '])
def test_the_commands_of_gluoncvs_tutorial_are_tried_as_they_are_printed(tsn, demo_appearance, capsys):
    """Where there are no GPUs a dry run takes as many parts of the CPU; videos, weights and batches are others.

    So is the network: eight of the printed one, VGG16, with their gradients would fill 9 GB.
    """
    line = (f'--model resnet18_v1b_ucf101 --num-classes 101 --num-gpus 8 {tsn}--lr-mode step --lr 0.001 --lr-decay 0.1 '
            '--lr-decay-epoch 30,60,80 --num-epochs 80')
    assert here(line.split(), TORCH, '--dataset', 'custom', '--data-dir', demo_appearance.video_dir, '--train-list',
                demo_appearance.train_list, '--val-list', demo_appearance.val_list, '--no-pretrained-base',
                '--batch-size', 1, '-j', 0, '--dry-run') == 0
    said = capsys.readouterr().out
    assert f'first batch: frames ({24 if tsn else 8}, 3, 224, 224)' in said and said.count('cpu') >= 8


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize('dataset, recipe', [
    ('demo_appearance', FRAMES), ('demo_motion', {**CLIPS, 'model': 'i3d_rgb_custom'})], ids=['tsn', 'i3d'])
def test_networks_of_full_size_learn_what_they_learn_by_mxnet(dataset, recipe, tmp_path):
    result = train_recognizer(TrainConfig(**recipe, engine='torch', dataset=dataset, report=False,
                                          data_dir=str(tmp_path / 'videos'), save_dir=str(tmp_path / 'run')))
    assert result.best_score >= 0.95
