"""Training by several processes that torchrun starts, on CPUs: each reads its part, the first one writes."""
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from loops import make_learner, make_net, same
from small_runs import arrays_of_run, flags_of_run, here, texts

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.cli import train_recognizer as command  # noqa: E402
from gluon_action.compute.engines import OnTorch  # noqa: E402
from gluon_action.data.loading.loader import Batch, SkippedSample  # noqa: E402
from gluon_action.errors import TrainingError, UsageError  # noqa: E402
from gluon_action.model_zoo import model_card  # noqa: E402
from gluon_action.model_zoo.loading.params_file import read_arrays  # noqa: E402
from gluon_action.train.loop import Loop  # noqa: E402
from gluon_action.train.recipes.parts import build_recipe, open_data  # noqa: E402

pytestmark = pytest.mark.usefixtures('network_of_runs')

GIVEN = ['--engine', 'torch', '--dropout', '0', '--lr', '0.01', '--no-report']
#: What is normalised by its own statistics would differ: a process has half of the samples.
ALIKE = {'the head alone': ['--train-params', 'head'], 'shared statistics': ['--sync-bn']}


def torchrun(*flags, count=2, script=Path(tiny.__file__), **environment):
    """End of several processes that are started together, and what they said."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', str(count), '--master-port', '0',
               '--rdzv-backend', 'c10d', '--rdzv-endpoint', '127.0.0.1:0', str(script), *texts(flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env={**os.environ, **environment})


def last(folder):
    return read_arrays(folder / f'custom-{tiny.OF_RUNS}-001.params')


@pytest.fixture(scope='module')
def flags(demo_appearance):
    return [*flags_of_run(demo_appearance), *GIVEN]


def epochs_of(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    return [record for record in map(json.loads, lines) if record['kind'] == 'epoch']


@pytest.mark.parametrize('alike', ALIKE)
def test_two_processes_take_the_steps_of_one_with_the_double_batch(alike, flags, tmp_path):
    """And a run that was stopped resumes as if it had not been."""
    given = [*flags, *ALIKE[alike]]
    assert here([flag for flag in given if flag != '--sync-bn'], '--save-dir', tmp_path / 'one') == 0
    half = [*given, '--batch-size', '2', '--save-dir', tmp_path / 'two']
    for epochs in (1, 2):
        done = torchrun(half, '--num-epochs', epochs, '--resume')
        assert done.returncode == 0, done.stderr
    ours, theirs = last(tmp_path / 'two'), last(tmp_path / 'one')
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        assert np.allclose(array, theirs[key], rtol=1e-5, atol=1e-5), key
    epochs = epochs_of(tmp_path / 'two')
    assert [(record['samples'], record['val_expected'], record['update']) for record in epochs] == [
        (12, 16, 6), (12, 16, 12)]
    assert [record['val_loss'] for record in epochs] == pytest.approx(
        [record['val_loss'] for record in epochs_of(tmp_path / 'one')], abs=1e-5)
    assert done.stdout.count('best validation') == 1


def test_with_statistics_of_each_process_a_run_resumes_to_the_byte(flags, tmp_path):
    """The first one's are validated and kept; those of the others change nothing."""
    half = [*flags, '--batch-size', '2', '--num-epochs', '2', '--ema-epochs', '1']
    for folder, epochs in (('whole', (2,)), ('parts', (1, 2))):
        for count in epochs:
            done = torchrun(half, '--num-epochs', count, '--resume', '--save-dir', tmp_path / folder)
            assert done.returncode == 0, done.stderr
    assert same(last(tmp_path / 'parts'), last(tmp_path / 'whole'))
    ours, theirs = (arrays_of_run(tmp_path / name) for name in ('parts', 'whole'))
    assert {key.split()[0] for key in theirs} == {'params', 'averages', 'optimizer'} and same(ours, theirs)


def test_a_process_that_dies_ends_the_run(flags, tmp_path):
    done = torchrun(flags, '--save-dir', tmp_path / 'run', '--num-epochs', 500, DIES='1', PAUSE='0.05')
    assert done.returncode != 0
    assert not list((tmp_path / 'run').glob('*-499.params'))


def test_processes_that_were_started_differently_are_refused(flags, tmp_path):
    done = torchrun(flags, '--save-dir', tmp_path / 'run', OTHER_SEED='1')
    assert done.returncode != 0 and 'torchrun: process 1 has other options than process 0' in done.stderr


def test_what_is_no_training_is_refused(flags, tmp_path, monkeypatch, capsys):
    for name, value in (('RANK', '0'), ('LOCAL_RANK', '0'), ('WORLD_SIZE', '2')):
        monkeypatch.setenv(name, value)
    for more in (['--find-lr'], ['--dry-run'], ['--num-cpus', '2'], ['--engine', 'mxnet']):
        assert here(flags, '--save-dir', tmp_path / 'run', more) in (1, 2)
        said = capsys.readouterr().err
        assert 'torchrun' in said, said


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two, which has met the first one."""
    for name, value in (('RANK', '1'), ('LOCAL_RANK', '1'), ('WORLD_SIZE', '2')):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(OnTorch, 'meet', lambda self, kvstore, cleanup: (None, 2, 1))


def config_of(*flags):
    return command.config_from(command.parse_args(texts(flags)))


def test_a_process_that_does_not_validate_forks_no_workers_for_it(flags, second):
    config = config_of(*flags, '-j', 1)
    with contextlib.ExitStack() as cleanup:
        data = open_data(config, model_card(config.model), cleanup)
        assert data.val is None and data.identity()['lists'].keys() == {'train', 'val'}
        assert [loader.num_workers for loader in data.loaders.values()] == [1, 0]


def test_shared_statistics_need_a_normalisation_that_learns(flags, second, capsys):
    config = config_of(*flags, '--sync-bn', '--train-params', 'head')
    with contextlib.ExitStack() as cleanup, pytest.raises(UsageError, match='--sync-bn: no batch normalisation learns'):
        build_recipe(config, model_card(config.model), OnTorch().contexts(several=True), cleanup)
    assert here(flags, '--sync-bn', '--compile') == 2
    assert '--compile: cannot compile what processes exchange' in capsys.readouterr().err


def test_a_process_without_a_sample_says_why_the_run_ends():
    """The others would wait for its statistics for ever."""
    loop = Loop(make_learner(make_net()), schedule=lambda update: 0.1)
    loop.learner.needs_samples = True
    with pytest.raises(TrainingError, match='--sync-bn: not one video .* the last one: a.mp4 is broken'):
        loop.step(Batch(None, None, [], [SkippedSample(3, 'a', 'a.mp4 is broken')]))
