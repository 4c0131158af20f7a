"""The recipes beside that of `gluon-action train` learn by ``--engine torch`` what they learn by MXNet."""
import dataclasses
import json
import re

import numpy as np
import pytest
from clips import estimator_clips, newest, small_config
from epic import make_epic
from feature_runs import FRAMES, records, state_of, trained
from loops import same
from small_runs import arrays_of_run

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.cli import video_action_classifier  # noqa: E402
from gluon_action.cli.command import run  # noqa: E402
from gluon_action.cli.youtube8m import eval as evaluation  # noqa: E402
from gluon_action.errors import UsageError  # noqa: E402
from gluon_action.model_zoo import get_model  # noqa: E402
from gluon_action.model_zoo.loading.params_file import read_arrays  # noqa: E402
from gluon_action.train.recipes.clip_estimator import estimator  # noqa: E402
from gluon_action.train.recipes.clip_estimator.defaults import as_stored  # noqa: E402
from gluon_action.train.recipes.epic.classifier import train_in_versions  # noqa: E402
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir  # noqa: E402

ENGINES = ('torch', 'mxnet')


def params(folder, part='params'):
    return CheckpointDir(folder / 'checkpoints').load_latest().state[part]


def close(ours, theirs, tolerance=1e-4):
    return ours.keys() == theirs.keys() and all(np.allclose(ours[key], theirs[key], rtol=tolerance, atol=tolerance)
                                                for key in ours)


def alike(ours, theirs, start, tolerance=0.02):
    """Whether the same was learnt: the changes of all parameters together, and of all statistics, by their norm.

    Not of single ones: where a gradient is 0, rounding decides. Neither after several steps of batch normalisations
    that see two numbers of a channel, which make much of rounding.
    """
    assert ours.keys() == theirs.keys() == start.keys()
    for statistics in (False, True):
        keys = [key for key in start if ('running' in key) == statistics]
        apart, moved = (np.sqrt(sum(float(np.square(one[key] - other[key], dtype=np.float64).sum()) for key in keys))
                        for one, other in ((ours, theirs), (theirs, start)))
        if moved == 0 and not statistics or apart > tolerance * moved:
            raise AssertionError(f'{apart} apart, which moved by {moved}')
    return True


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    return estimator_clips(tmp_path_factory.mktemp('clips'))


@pytest.fixture(scope='module')
def estimated(clips, tmp_path_factory):
    """Folders of a run of the estimator by either engine, from the same parameters, without random draws."""
    folder = tmp_path_factory.mktemp('estimators')
    estimator.train(small_config(clips, folder / 'start', train_steps=3))
    for engine in ENGINES:
        estimator.train(of_start(clips, folder, engine))
    return folder


def of_start(clips, folder, engine, **more):
    return small_config(clips, folder / engine, **{
        'engine': engine, 'checkpoint_path': str(folder / 'start'), 'warm_start': True, 'dropout_rate': 0.,
        'train_steps': 1, **more})


def test_an_estimator_takes_the_steps_of_mxnet_from_a_warm_start(estimated):
    assert alike(*(params(estimated / name) for name in (*ENGINES, 'start')))
    about = json.loads((estimated / 'torch' / 'config.json').read_text())
    assert about['config']['engine'] == 'torch' and about['versions']['torch'] == torch.__version__
    epochs = [[record['val_loss'] for record in map(json.loads, (estimated / name / 'metrics.jsonl').read_text(
        ).splitlines()) if 'val_loss' in record] for name in ENGINES]
    assert epochs[0] and epochs[0] == pytest.approx(epochs[1], rel=1e-4)


def test_an_estimator_is_resumed_to_the_byte_with_its_draws(clips, tmp_path):
    given = {'engine': 'torch', 'dropout_rate': 0.5}
    estimator.train(small_config(clips, tmp_path / 'whole', **given))
    for steps in (3, 6):
        estimator.train(small_config(clips, tmp_path / 'parts', train_steps=steps, **given))
    ours, theirs = (arrays_of_run(tmp_path / name) for name in ('parts', 'whole'))
    assert {key.split()[0] for key in theirs} == {'params', 'optimizer'} and same(ours, theirs)
    assert newest(tmp_path / 'parts')[0] == 6


def engine_now(folder):
    return json.loads((folder / 'config.json').read_text())['config']['engine']


def test_an_estimator_is_resumed_by_the_engine_that_trained_it_unless_another_is_asked_for(clips, tmp_path, caplog):
    caplog.set_level('INFO')
    estimator.train(small_config(clips, tmp_path / 'run', train_steps=1, engine='torch'))
    # What is another run takes no engine over: a new phase, or one in a folder inside.
    for folder, options in (('run', {'restart': True}), ('run/inside', {})):
        assert as_stored(small_config(clips, tmp_path / folder, **options), set(options)).engine == 'mxnet'
    estimator.train(small_config(clips, tmp_path / 'run', train_steps=2), given={'train_steps'})
    assert newest(tmp_path / 'run')[0] == 2 and engine_now(tmp_path / 'run') == 'torch'
    assert 'As the records or the run say: --engine torch' in caplog.text
    assert 'computes from here on' not in caplog.text
    estimator.train(small_config(clips, tmp_path / 'run', train_steps=3, engine='mxnet'), given={'engine'})
    assert newest(tmp_path / 'run')[0] == 3 and engine_now(tmp_path / 'run') == 'mxnet'
    assert caplog.messages.count('It was trained by --engine torch, and --engine mxnet computes from here on.') == 1


@pytest.mark.parametrize('part', ['s3dg_logits', 's3dg_convs'])
def test_a_part_is_trained_as_by_mxnet(part, clips, estimated, tmp_path):
    for engine in ENGINES:
        estimator.train(dataclasses.replace(of_start(clips, estimated, engine, variables_to_train=part),
                                            model_dir=str(tmp_path / engine)))
    ours, theirs, start = params(tmp_path / 'torch'), params(tmp_path / 'mxnet'), params(estimated / 'start')
    assert alike(ours, theirs, start)
    moved = {key for key in ours if not (ours[key] == start[key]).all()}
    assert moved and all(key.startswith('Logits.') == (part == 's3dg_logits') for key in moved)


def test_an_estimator_is_evaluated_and_predicts_as_by_mxnet(clips, estimated, tmp_path):
    found = {}
    for engine in ENGINES:
        given = of_start(clips, tmp_path, engine, checkpoint_path=str(estimated / 'mxnet'), warm_start=False)
        metrics = estimator.evaluate(dataclasses.replace(given, mode='eval'))['metrics']
        written = estimator.predict(dataclasses.replace(given, mode='predict'))
        table = next(path for path in written if path.suffix == '.csv').read_text().splitlines()[1:]
        found[engine] = metrics, [[float(cell) for cell in line.split(',')[1:]] for line in table]
    assert found['torch'][0] == pytest.approx(found['mxnet'][0], rel=1e-4)
    assert len(found['torch'][1]) == 3
    np.testing.assert_allclose(found['torch'][1], found['mxnet'][1], atol=1e-4)


@pytest.mark.parametrize('model', ['FrameLevelLogisticModel', 'NetVLADModelLF'])
def test_features_are_learnt_as_by_mxnet(model, tmp_path):
    pattern = records(tmp_path / 'records', lengths=(FRAMES, FRAMES))  # of fewer frames some are drawn once more
    # Adam's first steps have the size of the rate, whatever rounding leaves of a gradient.
    given = {'model': model, 'num_epochs': 1, 'sample_all': True, 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 8,
             'optimizer': 'GradientDescentOptimizer', 'base_learning_rate': 1e-3}
    trained(pattern, tmp_path / 'start', **given)
    argv = ['--train_dir', str(tmp_path / 'start'), '--build_only', '--eval_data_pattern', str(pattern)]
    assert run(evaluation.parse_args, evaluation.main, argv) == 0
    for engine in ENGINES:
        trained(pattern, tmp_path / engine, engine=engine, ema_source=str(tmp_path / 'start'), **given)
    ours, theirs, before = (state_of(tmp_path / name) for name in (*ENGINES, 'start'))
    for part in ('params', 'averages'):
        assert alike(ours[part], theirs[part], before['params']), part


def test_training_on_features_resumes_to_the_byte(tmp_path):
    pattern = records(tmp_path / 'records')
    given = {'engine': 'torch', 'model': 'NetVLADModelLF', 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 8,
             'ema_halflife': 4.}
    trained(pattern, tmp_path / 'whole', **given)
    for epochs in (1, 2):
        trained(pattern, tmp_path / 'parts', **{**given, 'num_epochs': epochs})
    ours, theirs = (arrays_of_run(tmp_path / name) for name in ('parts', 'whole'))
    assert {key.split()[0] for key in theirs} == {'params', 'averages', 'optimizer'} and same(ours, theirs)


def test_training_on_features_is_resumed_by_the_engine_that_trained_it(tmp_path, caplog):
    caplog.set_level('INFO')
    pattern = records(tmp_path / 'records')

    def kinds(**more):
        trained(pattern, tmp_path / 'run', **more)
        return engine_now(tmp_path / 'run')
    assert kinds(engine='torch', num_epochs=1) == 'torch'
    assert kinds(num_epochs=2) == 'torch'
    assert f'--engine torch, as the run in {tmp_path / "run"} was trained.' in caplog.messages
    assert 'computes from here on' not in caplog.text
    assert kinds(num_epochs=3, engine='mxnet') == 'mxnet'
    assert caplog.messages.count('It was trained by --engine torch, and --engine mxnet computes from here on.') == 1
    assert kinds(num_epochs=4) == 'mxnet'
    assert kinds(num_epochs=5, engine='torch') == 'torch' and kinds(num_epochs=1, start_new_model=True) == 'mxnet'


def test_the_classifier_of_epic_kitchens_learns_as_by_mxnet(tmp_path, monkeypatch):
    make_epic(tmp_path / 'data', num_train=2, num_val=1, num_frames=8)
    monkeypatch.chdir(tmp_path)
    net = get_model('timesformer_small_custom', nclass=2, input_size=32, pretrained_base=False)
    net.save_parameters('start.params')
    line = ('--data_path=data --batch_size=2 --max_epochs=2 --num_classes=2 --model timesformer_small_custom '
            '--input_size 32 --num_workers 0 --optimizer sgd --learning_rate 0.01 --gpus 0 --checkpoint start.params')
    found = {}
    for engine in ENGINES:
        args = video_action_classifier.parse_args([*line.split(), '--engine', engine, '--default_root_dir', engine])
        config = dataclasses.replace(video_action_classifier.config_from(args), dropout=0.)
        found[engine] = train_in_versions(config, video_action_classifier.run_from(args))
    ours, theirs = (found[engine] for engine in ENGINES)
    assert ours.scores == pytest.approx(theirs.scores, abs=1e-4) and ours.best.name == theirs.best.name
    best, start = read_arrays(ours.best), read_arrays('start.params')
    assert close(best, read_arrays(theirs.best)) and not close(best, start)
    assert [record['loss'] for record in ours.history] == pytest.approx(
        [record['loss'] for record in theirs.history], abs=1e-4)


@pytest.mark.parametrize('engine', ENGINES)
def test_several_processes_are_refused(engine, clips, tmp_path, monkeypatch, capsys):
    """Torchrun starts gluon-action train alone: here each process would train everything, in one folder."""
    make_epic(tmp_path / 'data', num_train=2, num_val=1, num_frames=8)
    features = records(tmp_path / 'records')
    monkeypatch.chdir(tmp_path)
    for name, value in (('RANK', '0'), ('LOCAL_RANK', '0'), ('WORLD_SIZE', '2')):
        monkeypatch.setenv(name, value)
    told = (r'torchrun: has started 2 processes, and each of them would do all of it by itself; only the training of '
            r'gluon-action train --engine torch is started so. Start one process, without torchrun, and '
            'give it its GPUs')
    for options in ({}, {'num_gpus': 0}):
        with pytest.raises(UsageError, match=told):
            estimator.train(small_config(clips, tmp_path / 'run', engine=engine, **options))
    with pytest.raises(UsageError, match=told):
        estimator.evaluate(small_config(clips, tmp_path / 'run', engine=engine, mode='eval'))
    for options in ({}, {'num_gpu': 0}):
        with pytest.raises(UsageError, match=told):
            trained(features, tmp_path / 'run', engine=engine, **options)
    for flags in ([], ['--gpus', '0']):
        given = ['--data_path=data', '--model', 'timesformer_small_custom', '--input_size', '32', '--engine', engine]
        assert run(video_action_classifier.parse_args, video_action_classifier.main, [*given, *flags]) == 2
        assert re.search(told, capsys.readouterr().err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'records']


def test_what_mxnet_alone_does_is_refused(clips, tmp_path):
    with pytest.raises(UsageError, match='--engine: networks are exported by MXNet'):
        estimator.train(small_config(clips, tmp_path, engine='torch', mode='export'))
