"""Training on features of videos: what a run leaves, how it is resumed, and what it takes from stored models."""
import dataclasses
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import gluon_action  # noqa: F401  (prepares MXNet where this file is run as a program)

# isort: split
import numpy as np
import pytest
from events import scalars_of
from feature_runs import CLASSES, FRAMES, Stopped, config_of, lines_of, options, records, state_of, stopping, trained

from gluon_action import engine
from gluon_action.cli.youtube8m import train as command
from gluon_action.errors import CheckpointError, RecordError, TrainingError, UsageError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.train.hook import Hook
from gluon_action.train.loop import Loop
from gluon_action.train.recipes.frame_features.config import FeatureTraining
from gluon_action.train.recipes.frame_features.learning import build_loop, computing
from gluon_action.train.recipes.frame_features.log import TagStyle, unsettled
from gluon_action.train.recipes.frame_features.training import FeatureRecipe, train
from gluon_action.train.run.folder.checkpoint import read_checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.run import run


def test_gpus_that_mxnet_has_no_code_for_are_left_out_and_the_log_says_why(monkeypatch, caplog):
    """And not what other commands are told to do, by flags that this one has not."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(engine, 'mxnet_distribution', lambda: 'mxnet-cu112')
    monkeypatch.setattr(engine, 'gpu_capabilities', lambda *_: [(8, 0), (9, 0)])
    assert [str(device) for device in computing('mxnet', 2)[1]] == ['gpu(0)']
    assert caplog.messages == ['Using the following GPUs: gpu(0).']
    monkeypatch.setattr(engine, 'gpu_capabilities', lambda *_: [(9, 0)])
    caplog.clear()
    assert [str(device) for device in computing('mxnet', 1)[1]] == ['cpu(0)']
    told, = caplog.messages
    assert told.startswith('No GPUs found. Computing on the CPU (gpu(0) has compute capability 9.0, but mxnet-cu112')
    assert told.endswith('none that the driver could translate).') and '--' not in told


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a small run; the one of the fixture `whole` is drawn."""
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)


@pytest.fixture(scope='module')
def pattern(tmp_path_factory):
    return records(tmp_path_factory.mktemp('records'))


@pytest.fixture(scope='module')
def whole(pattern, tmp_path_factory):
    """A run of 12 steps in 3 epochs."""
    folder = tmp_path_factory.mktemp('whole')
    return folder, trained(pattern, folder, num_epochs=3)


def same(a, b):
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


def test_a_run_learns_and_leaves_its_files(whole):
    folder, result = whole
    assert result.step == 12 and [record['step'] for record in result.history] == [4, 8, 12]
    assert result.history[-1]['loss'] < 0.9 * result.history[0]['loss']
    assert {path.name.split('.17')[0] for path in folder.iterdir()} >= {
        'checkpoints', 'config.json', 'model_flags.json', 'train.log', 'metrics.jsonl', 'history.png'}
    flags = json.loads((folder / 'model_flags.json').read_text())
    assert {name: flags[name] for name in ('model', 'feature_names', 'feature_sizes', 'frame_features', 'label_loss')} \
        == {'model': 'FrameLevelLogisticModel', 'feature_names': 'rgb,audio', 'feature_sizes': '8,4',
            'frame_features': True, 'label_loss': 'CrossEntropyLoss'}
    about = json.loads((folder / 'config.json').read_text())
    assert about['num_classes'] == CLASSES and about['lists']['train']['videos'] == 28
    assert about['config']['base_learning_rate'] == 0.05


def test_lines_are_those_that_people_search_for(whole):
    folder, _ = whole
    lines = (folder / 'train.log').read_text().splitlines()
    steps = [line for line in lines if line.startswith('training step')]
    number = r'\d+\.\d\d'
    for step, line in enumerate(steps, 1):
        more = rf' \| Hit@1: {number} PERR: {number} GAP: {number}' if step == 10 else ''
        assert re.fullmatch(rf'training step {step} \| Loss: {number} Examples/sec: {number}{more}', line), line
    assert len(steps) == 12


def test_speed_is_that_of_the_step_the_last_of_an_epoch_too(pattern, tmp_path, monkeypatch):
    step = Loop.step

    def slow(self, batch):
        time.sleep(0.05)
        return step(self, batch)
    monkeypatch.setattr(Loop, 'step', slow)
    trained(pattern, tmp_path, num_epochs=2)
    speeds = [float(speed) for speed in re.findall(r'Examples/sec: (\S+)', (tmp_path / 'train.log').read_text())]
    assert len(speeds) == 8 and all(speed < 8 / 0.05 for speed in speeds)


def test_the_checkpoint_of_an_epoch_does_not_wait_for_the_picture(pattern, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(TagStyle, 'plot', lambda self, loop, *_: saved.append(
        (loop.progress.step, CheckpointDir(tmp_path / 'checkpoints').newest().name)))
    trained(pattern, tmp_path, num_epochs=2)
    assert saved == [(4, 'step-00000004'), (8, 'step-00000008')]


def test_tensorboard_has_the_tags_of_the_original(whole):
    folder, _ = whole
    found = {(tag, step): value for tag, step, value in scalars_of(folder)}
    record, = [line for line in lines_of(folder) if line['kind'] == 'batch']
    for tag, name in (('model/Training_Hit@1', 'hit_at_1'), ('model/Training_Perr', 'perr'),
                      ('model/Training_GAP', 'gap'), ('global_step/Examples/Second', 'speed'),
                      ('learning_rate', 'lr'), ('label_loss', 'loss'), ('reg_loss', 'reg_loss')):
        assert found[tag, 10] == pytest.approx(record[name], rel=1e-6)
    assert record['step'] == 10 and 0 < record['gap'] <= 1 and record['reg_loss'] > 0


def test_the_l2_terms_are_those_of_the_loss_of_the_step(pattern, tmp_path):
    """Of the parameters before the step, as in the original."""
    trained(pattern, tmp_path, num_epochs=3, keep_checkpoints=99, save_minutes=1e-9)
    before = read_checkpoint(tmp_path / 'checkpoints' / 'step-00000009')[1]['params']
    record, = [line for line in lines_of(tmp_path) if line['kind'] == 'batch']
    weights = before['fully_connected.weights'].astype(np.float64)
    factor = Architecture().moe_l2
    assert record['reg_loss'] == pytest.approx(factor / 2 * (weights ** 2).sum(), rel=1e-5)


def test_the_rate_falls_by_examples(pattern, tmp_path):
    """base * decay ** floor(step * batch / examples), steps counted from 0."""
    loop = build_loop(config_of(pattern, tmp_path, learning_rate_decay=0.5, learning_rate_decay_examples=20.), [_cpu()])
    assert [loop.schedule(update) for update in range(1, 8)] == pytest.approx(
        [0.05 * 0.5 ** (8 * step // 20) for step in range(7)])
    both = build_loop(config_of(pattern, tmp_path, learning_rate_decay=0.5, learning_rate_decay_examples=20.),
                      [_cpu(0), _cpu(1)])
    assert both.schedule(3) == pytest.approx(0.05 * 0.5 ** (16 * 2 // 20))


def _cpu(number=0):
    import mxnet as mx
    return mx.cpu(number)


def test_options_of_training_reach_the_learner(pattern, tmp_path):
    made = build_loop(config_of(pattern, tmp_path, regularization_penalty=0., clip_gradient_norm=0.), [_cpu()]).learner
    assert made.penalty() == 0 and made.clip_each == 0 and made.averages is None and made.sum_devices
    made = build_loop(config_of(pattern, tmp_path, regularization_penalty=3., ema_halflife=4.), [_cpu()]).learner
    plain = build_loop(config_of(pattern, tmp_path), [_cpu()]).learner
    assert made.penalty() == pytest.approx(3 * plain.penalty()) and made.averages.decay == 0.75
    assert plain.clip_each == 1 and type(plain.trainer.optimizer).__name__ == 'Adam'
    assert plain.trainer.optimizer.epsilon_hat
    other = build_loop(config_of(pattern, tmp_path, optimizer='GradientDescentOptimizer', label_loss='HingeLoss'),
                       [_cpu()]).learner
    assert type(other.trainer.optimizer).__name__ == 'SGD' and type(other.loss).__name__ == 'ProbabilityHinge'


# Going on.

def stopped(pattern, folder, step, **more):
    given = options(pattern, folder, **more)
    with pytest.raises(Stopped):
        run(stopping(step)(FeatureTraining(**given), given))


def test_a_run_that_was_stopped_ends_in_the_same_bytes(pattern, tmp_path):
    more = {'num_epochs': 3, 'ema_halflife': 5., 'save_minutes': 1e-9}
    trained(pattern, tmp_path / 'whole', **more)
    for step in (2, 5):
        stopped(pattern, tmp_path / 'parts', step, **more)
        assert state_of(tmp_path / 'parts')['loop']['progress']['step'] == step
    trained(pattern, tmp_path / 'parts', **more)
    whole, parts = (state_of(tmp_path / name) for name in ('whole', 'parts'))
    for part in ('params', 'optimizer', 'averages'):
        assert whole[part] and same(whole[part], parts[part]), part
    assert not same(whole['params'], whole['averages'])
    steps = [line for line in lines_of(tmp_path / 'parts') if line['kind'] == 'batch']
    assert [line['step'] for line in steps] == [10]


#: A network that draws frames, and has statistics of batch normalisation; two processes read.
DRAWN = {'model': 'NetVLADModelLF', 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 6, 'iterations': 5,
         'gating': True, 'ema_halflife': 5., 'save_minutes': 1e-9, 'num_readers': 2}


def run_and_die(pattern, folder, die_at):
    """The program of the next test: train, and be killed at a step, after the one before was saved."""
    class Die(Hook):
        def on_step(self, loop, result):
            if result.step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    class Dying(FeatureRecipe):
        def hooks(self, loop, data, folder):
            return [Die(), *super().hooks(loop, data, folder)]
    given = options(pattern, folder, **DRAWN)
    run(Dying(FeatureTraining(**given), given))


@pytest.mark.slow  # a stopped run, below, goes the same way within a second
def test_a_run_that_was_killed_ends_in_the_same_bytes(pattern, tmp_path):
    code = subprocess.run([sys.executable, __file__, pattern, tmp_path / 'killed', '6']).returncode
    assert code == -signal.SIGKILL and state_of(tmp_path / 'killed')['loop']['progress']['step'] == 5
    for name in ('killed', 'whole'):
        trained(pattern, tmp_path / name, **DRAWN)
    killed, whole = (state_of(tmp_path / name) for name in ('killed', 'whole'))
    for part in ('params', 'optimizer', 'averages'):
        assert whole[part] and same(whole[part], killed[part]), part


def test_max_steps_ends_a_run_within_an_epoch_saves_and_can_be_raised(pattern, whole, tmp_path, capsys):
    assert trained(pattern, tmp_path, num_epochs=3, max_steps=6).step == 6
    assert CheckpointDir(tmp_path / 'checkpoints').newest().name == 'step-00000006'
    trained(pattern, tmp_path, num_epochs=3, max_steps=6)
    result = trained(pattern, tmp_path, num_epochs=3, max_steps=12)
    assert result.step == 12 and same(state_of(tmp_path)['params'], state_of(whole[0])['params'])
    # Epochs are those of the data, the one that was ended early included.
    expected = [(record['epoch'], record['step'], record['loss'], record['samples']) for record in whole[1].history]
    assert [(record['epoch'], record['step'], record['loss'], record['samples']) for record in result.history] \
        == expected
    assert re.findall(r'step (\d+), (.*): loss', (tmp_path / 'train.log').read_text()) == [
        ('4', 'epoch 1 done'), ('6', 'within epoch 2'), ('8', 'epoch 2 done'), ('12', 'epoch 3 done')]


def passes(pattern, folder, monkeypatch, **more):
    """Ids of the videos of each batch that a run trains on."""
    seen, step = [], Loop.step

    def noted(self, batch):
        seen.append(list(batch.indices))
        return step(self, batch)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, 'step', noted)
        result = trained(pattern, folder, **more)
    return seen, result


@pytest.mark.parametrize('first, size, left', [(4, 4, 14), (4, 16, 4), (4, 28, 2), (2, 4, 17), (3, 16, 4)])
def test_batches_of_another_size_go_over_the_records_as_often_as_wanted(pattern, tmp_path, monkeypatch, first, size,
                                                                       left):
    """Of 3 epochs of 28 videos, `first` steps of 8 are done."""
    before, _ = passes(pattern, tmp_path, monkeypatch, num_epochs=3, max_steps=first)
    after, result = passes(pattern, tmp_path, monkeypatch, num_epochs=3, max_steps=1000, batch_size=size)
    assert len(after) == left and result.step == first + left
    counts = np.bincount([index for batch in before + after for index in batch], minlength=28)
    if first == 4:
        assert (counts == 3).all()
    assert abs(counts.sum() - 3 * 28) <= size
    done = state_of(tmp_path)['config']
    assert (done['done_steps'], done['done_epochs']) == (first, first / 4)
    again, _ = passes(pattern, tmp_path, monkeypatch, num_epochs=4, max_steps=1000, batch_size=size)
    assert len(again) == -(-28 // size) and state_of(tmp_path)['config']['done_steps'] == first


def test_a_run_that_was_stopped_after_its_batches_changed_ends_in_the_same_bytes(pattern, tmp_path):
    ends = []
    for place, stops in (('whole', ()), ('parts', (5, 8))):
        trained(pattern, tmp_path / place, num_epochs=2, max_steps=3)
        more = {'num_epochs': 2, 'max_steps': 1000, 'batch_size': 4, 'save_minutes': 1e-9}
        for step in stops:
            stopped(pattern, tmp_path / place, step, **more)
        trained(pattern, tmp_path / place, **more)
        ends.append(state_of(tmp_path / place))
    assert all(same(ends[0][part], ends[1][part]) for part in ('params', 'optimizer'))


def test_the_rate_goes_on_where_batches_change(pattern, tmp_path):
    more = {'num_epochs': 3, 'learning_rate_decay': 0.5, 'learning_rate_decay_examples': 28.}
    trained(pattern, tmp_path, max_steps=4, **more)
    result = trained(pattern, tmp_path, max_steps=1000, batch_size=4, **more)
    assert [record['lr'] for record in result.history] == [0.05, 0.025, 0.0125]


def test_as_many_devices_as_before_share_a_batch(pattern, tmp_path, monkeypatch, caplog):
    """Unless it is asked for fewer, or there are fewer: then a line says so, and the passes are counted anew."""
    contexts = engine.contexts
    monkeypatch.setattr(engine, 'contexts', lambda number=0, *_, **others: contexts(num_cpus=max(1, number)))
    caplog.set_level(logging.INFO)
    trained(pattern, tmp_path, num_gpu=2, max_steps=1, num_epochs=2)
    assert state_of(tmp_path)['config']['towers'] == 2
    given = {'train_dir': str(tmp_path), 'train_data_pattern': pattern, 'max_steps': 2}
    train(FeatureTraining(**given), given)
    assert state_of(tmp_path)['config']['towers'] == 2 and 'shared by' not in caplog.text
    monkeypatch.setattr(engine, 'contexts', contexts)  # and there are no GPUs
    given['max_steps'] = 1000
    assert train(FeatureTraining(**given), given).step == 2 + 2 * 4 - 4
    assert 'A batch was shared by 2 devices and is by 1 from step 2 on.' in caplog.messages
    assert state_of(tmp_path)['config']['num_gpu'] == 2


def test_what_was_not_asked_for_is_as_the_run_began(pattern, tmp_path, caplog):
    trained(pattern, tmp_path, max_steps=2)
    given = {'train_dir': str(tmp_path), 'train_data_pattern': pattern, 'max_steps': 4, 'base_learning_rate': 0.001,
             'num_readers': 0}
    with caplog.at_level(logging.INFO):
        result = train(FeatureTraining(**given), given)
    assert result.step == 4 and result.history[-1]['lr'] == 0.001
    assert '--base_learning_rate was 0.05 and is 0.001 from step 2 on.' in caplog.messages
    assert '--max_steps was 2 and is 4 from step 2 on.' in caplog.messages
    assert not any('--batch_size' in line for line in caplog.messages)
    config = state_of(tmp_path)['config']
    assert config['batch_size'] == 8 and config['feature_sizes'] == '8,4' and config['base_learning_rate'] == 0.001


def test_the_command_of_a_run_trains_the_same(pattern, tmp_path):
    trained(pattern, tmp_path, max_steps=1, seed=7)
    given = {'train_dir': str(tmp_path), 'train_data_pattern': pattern, 'max_steps': 2, 'num_readers': 0}
    train(FeatureTraining(**given), given)  # resumed, without what it was begun with
    about = json.loads((tmp_path / 'config.json').read_text())
    words = shlex.split(about['command'])
    again = dataclasses.asdict(command.config_from(command.parse_args(words[3:])))
    assert words[:3] == ['gluon-action', 'youtube8m', 'train'] and about['directory'] == os.getcwd()
    assert again['seed'] == 7 and again == {**about['config'], 'done_steps': 0, 'done_epochs': 0}


def test_the_stored_network_decides_and_says_so_once(pattern, tmp_path, caplog):
    trained(pattern, tmp_path, max_steps=1)
    more = {'max_steps': 2, 'model': 'LogisticModel', 'num_classes': 7, 'feature_names': ' rgb ,audio'}
    trained(pattern, tmp_path, **more)
    warning, = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for told in ('--model LogisticModel', 'FrameLevelLogisticModel', '--num_classes 7', f'{CLASSES}'):
        assert told in warning
    assert 'feature_names' not in warning
    with pytest.raises(UsageError, match='--strict_flags: the run in .*--num_classes 7'):
        trained(pattern, tmp_path, strict_flags=True, **more)


@pytest.mark.parametrize('other, told', [
    ({'seed': 1}, '--seed was 0 and is 1'), ({'optimizer': 'GradientDescentOptimizer'}, '--optimizer was'),
    ({'ema_halflife': 9.}, '--ema_halflife was None and is 9')])
def test_another_run_in_the_folder_is_refused(pattern, whole, other, told):
    with pytest.raises(UsageError, match=f'{told}.*--start_new_model deletes that run'):
        trained(pattern, whole[0], num_epochs=3, **other)


def test_other_records_are_refused(pattern, whole, tmp_path):
    other = records(tmp_path / 'other', 12, seed=3)
    with pytest.raises(UsageError, match='on other records: --train_data_pattern .*changed.*--start_new_model'):
        trained(other, whole[0], num_epochs=3)


def test_a_new_model_deletes_the_run_that_is_there(pattern, tmp_path):
    trained(pattern, tmp_path, max_steps=2)
    (tmp_path / 'notes.txt').write_text('mine')
    (tmp_path / 'eval').mkdir()
    for name in ('events.out.tfevents.1.host', 'notes.txt'):
        (tmp_path / 'eval' / name).write_text('')
    assert trained(pattern, tmp_path, max_steps=1, seed=5, start_new_model=True).step == 1
    assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['step-00000001']
    assert os.listdir(tmp_path / 'eval') == ['notes.txt']
    assert (tmp_path / 'notes.txt').exists() and state_of(tmp_path)['config']['seed'] == 5


def test_what_no_parameter_depends_on_may_be_another_one(pattern, tmp_path, caplog):
    trained(pattern, tmp_path, max_steps=1)
    trained(pattern, tmp_path, max_steps=2, label_loss='HingeLoss', moe_l2=0.5)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
    assert state_of(tmp_path)['config']['label_loss'] == 'HingeLoss' and Architecture.read(tmp_path).moe_l2 == 0.5


def test_a_student_of_a_model_of_another_loss_is_trained_by_its_own(pattern, whole, tmp_path):
    write_stored(tmp_path / 'hinge' / 'inference_model', [(
        replace(Architecture.read(whole[0]), label_loss='HingeLoss'), state_of(whole[0])['params'])])
    config = FeatureTraining(**options(pattern, tmp_path / 'run', ema_source=str(tmp_path / 'hinge'), distill=True))
    recipe = FeatureRecipe(config)
    recipe.prepare(SimpleNamespace(checkpoint=None))
    assert recipe.config.label_loss == 'CrossEntropyLoss'


@pytest.mark.parametrize('anew', [False, True])
def test_what_resumes_an_interrupted_run_is_said(pattern, tmp_path, caplog, anew):
    class Interrupted(FeatureRecipe):
        def fit(self, loop, data, folder):
            super().fit(loop, data, folder)
            raise KeyboardInterrupt
    given = options(pattern, tmp_path, max_steps=1, start_new_model=anew)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO):
        run(Interrupted(FeatureTraining(**given), given))
    command = 'The same command' + ' without --start_new_model' * anew
    assert f'Interrupted. {command} resumes from {tmp_path}/checkpoints/step-00000001.' in caplog.messages


def test_a_run_of_another_command_is_left_alone(pattern, tmp_path):
    CheckpointDir(tmp_path / 'checkpoints').save(3, {'config': {'lr': 1}, 'loop': {}})
    with pytest.raises(UsageError, match='another command'):
        trained(pattern, tmp_path)


def test_as_many_checkpoints_are_kept_as_wanted(pattern, tmp_path):
    trained(pattern, tmp_path, num_epochs=4, keep_checkpoints=3)
    assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == [
        'step-00000008', 'step-00000012', 'step-00000016']


# Stored models to start from.

@pytest.fixture(scope='module')
def source(whole, tmp_path_factory):
    """What an evaluation makes of a run."""
    prefix = tmp_path_factory.mktemp('source') / 'inference_model'
    write_stored(prefix, [(Architecture.read(whole[0]), state_of(whole[0])['params'])])
    return prefix


def test_moving_averages_begin_with_the_source(pattern, source, whole, tmp_path, caplog):
    given = {'train_dir': str(tmp_path), 'train_data_pattern': pattern, 'ema_source': str(source), 'num_readers': 0,
             'batch_size': 8, 'max_steps': 2, 'base_learning_rate': 0.01, 'ema_halflife': 4., 'save_minutes': 1e-9,
             'video_level_classifier_model': 'LogisticModel', 'lstm_cells': 12, 'keep_checkpoints': 3}
    train(FeatureTraining(**given), given)
    expected = state_of(whole[0])['params']
    for step in (1, 2):
        state = read_checkpoint(tmp_path / 'checkpoints' / f'step-{step:08d}')[1]
        expected = {key: 0.75 * value + 0.25 * state['params'][key] for key, value in expected.items()}
        assert all(np.allclose(state['averages'][key], expected[key], rtol=1e-5, atol=1e-7) for key in expected)
    assert state['config']['feature_sizes'] == '8,4' and state['config']['num_classes'] == CLASSES
    warning, = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warning and '--lstm_cells' in warning
    assert json.loads((tmp_path / 'config.json').read_text())['started_from'].startswith(str(source))


def test_frames_are_drawn_as_in_the_training_of_the_source_not_as_in_its_evaluation(pattern, whole, tmp_path):
    run, architecture = tmp_path / 'run', replace(Architecture.read(whole[0]), iterations=7)
    write_stored(run / 'inference_model', [(replace(architecture, sample_all=True), state_of(whole[0])['params'])])
    config = FeatureTraining(**options(pattern, tmp_path / 'ema', ema_source=str(run)))
    for written, drawn in ((False, (True, 7)), (True, (False, 7))):
        if written:
            architecture.write(run)
        recipe = FeatureRecipe(config, {'train_dir', 'ema_source'})
        recipe.prepare(SimpleNamespace(checkpoint=None))
        assert (recipe.config.sample_all, recipe.config.iterations) == drawn
    recipe = FeatureRecipe(replace(config, sample_all=True), {'train_dir', 'ema_source', 'sample_all'})
    recipe.prepare(SimpleNamespace(checkpoint=None))
    assert recipe.config.sample_all


def test_the_usual_share_of_averages(pattern, source, tmp_path):
    assert config_of(pattern, tmp_path, ema_source=str(source)).average == 1 - 1 / 3000
    assert config_of(pattern, tmp_path, ema_source=str(source), ema_halflife=2000.).average == 0.9995
    assert config_of(pattern, tmp_path).average == 0


@pytest.mark.parametrize('kind, error, told', [
    ('nothing', WeightsError, 'inference_model'), ('quantized', UsageError, '--ema_source .*is quantized'),
    ('sum', UsageError, '--ema_source .*a sum of 2 networks')])
def test_a_source_that_cannot_be_trained_is_refused(pattern, whole, tmp_path, kind, error, told):
    prefix = tmp_path / 'stored' / 'inference_model'
    architecture, arrays = Architecture.read(whole[0]), state_of(whole[0])['params']
    if kind != 'nothing':
        half = {key: array.astype(np.float16) for key, array in arrays.items()}
        write_stored(prefix, [(architecture, half)] if kind == 'quantized' else [(architecture, arrays)] * 2)
    with pytest.raises(error, match=told):
        trained(pattern, tmp_path / 'run', ema_source=str(prefix))


# Teachers.

def test_a_student_learns_from_a_teacher_in_the_records(tmp_path):
    from gluon_action.data.tfrecords.features.feature_messages import make_distill_record
    from gluon_action.data.tfrecords.framing import RecordWriter
    rng = np.random.default_rng(1)
    frames = {name: rng.integers(0, 256, (5, size), dtype=np.uint8) for name, size in (('rgb', 8), ('audio', 4))}
    teacher = np.linspace(0.1, 0.9, CLASSES, dtype=np.float32)
    with RecordWriter(tmp_path / 'predictions-00000.tfrecord') as writer:
        for number in range(120):
            writer.write(make_distill_record(f'v{number}', frames, [number % CLASSES], teacher))
    losses = {}
    for weight in (0., 1.):
        result = trained(tmp_path / '*.tfrecord', tmp_path / f'run{weight:g}', distill=True, loss_lambda=weight,
                         base_learning_rate=0.4, num_epochs=2)
        losses[weight] = result.history[-1]['loss']
    entropy = -(teacher * np.log(teacher) + (1 - teacher) * np.log(1 - teacher)).sum()
    assert losses[1.] == pytest.approx(entropy, abs=0.05) and losses[0.] < entropy
    with pytest.raises(UsageError, match='holds another run: train_distill was True and is False'):
        trained(tmp_path / '*.tfrecord', tmp_path / 'run1', num_epochs=3, base_learning_rate=0.4)


def test_another_teacher_is_refused(pattern, tmp_path):
    from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
    from gluon_action.data.tfrecords.features.teacher import make_prediction_record
    from gluon_action.data.tfrecords.framing import RecordWriter
    data = FeatureRecords(pattern, features=(('rgb', 8), ('audio', 4)), num_classes=CLASSES)
    for name, value in (('one', 0.25), ('other', 0.75)):
        (tmp_path / name).mkdir()
        for path in sorted({sample.path for sample in data.samples}):
            with RecordWriter(tmp_path / name / os.path.basename(path)) as writer:
                for sample in data.samples:
                    if sample.path == path:
                        writer.write(make_prediction_record(sample.key, np.full(CLASSES, value, np.float32)))
    more = {'distill': True, 'num_epochs': 2}
    trained(pattern, tmp_path / 'run', predictions=str(tmp_path / 'one'), max_steps=1, **more)
    with pytest.raises(UsageError, match='on other records: .*--predictions'):
        trained(pattern, tmp_path / 'run', predictions=str(tmp_path / 'other'), max_steps=2, **more)
    os.rename(tmp_path / 'one', tmp_path / 'moved')
    assert trained(pattern, tmp_path / 'run', predictions=str(tmp_path / 'moved'), max_steps=2, **more).step == 2


# Records.

def test_the_validation_set_is_trained_on_too(pattern, tmp_path):
    records(tmp_path / 'data', 12, 'train')
    records(tmp_path / 'data', 6, 'validate')
    trained(tmp_path / 'data' / 'train*.tfrecord', tmp_path / 'run', incl_val=True, max_steps=1)
    assert json.loads((tmp_path / 'run' / 'config.json').read_text())['lists']['train']['videos'] == 18


def test_records_that_cannot_be_read_stop_a_run_or_are_left_out(tmp_path):
    made = records(tmp_path / 'data', 30)
    path = tmp_path / 'data' / 'train00.tfrecord'
    content = bytearray(path.read_bytes())
    content[100] ^= 255  # in the payload of the first record
    path.write_bytes(content)
    with pytest.raises(RecordError, match='train00.tfrecord.*Where few records are like this, --on_error skip leaves'):
        trained(made, tmp_path / 'stops')
    result = trained(made, tmp_path / 'skips', on_error='skip')
    assert result.history[-1]['failed'] == 1 and len(lines_of(tmp_path / 'skips', 'failures.jsonl')) == 2


def test_a_loss_that_is_not_finite_ends_a_run_with_what_to_try(pattern, tmp_path):
    with pytest.raises(TrainingError, match='; try a lower --base_learning_rate or --clip_gradient_norm'):
        trained(pattern, tmp_path, base_learning_rate=1e30, num_epochs=9, optimizer='GradientDescentOptimizer',
                clip_gradient_norm=0., regularization_penalty=1e8)


def test_files_that_are_torn_are_noted(tmp_path):
    made = records(tmp_path / 'data', 30)
    path = tmp_path / 'data' / 'train01.tfrecord'
    path.write_bytes(path.read_bytes()[:-7])
    trained(made, tmp_path / 'run', on_error='skip', max_steps=1)
    trained(made, tmp_path / 'run', on_error='skip', max_steps=2)
    failure, = lines_of(tmp_path / 'run', 'failures.jsonl')
    assert failure['key'] == str(path) and failure['index'] == -1 and 'byte' in failure['message']


@pytest.mark.parametrize('more, told', [
    ({'lstm_cells': 12}, ['--lstm_cells: FrameLevelLogisticModel does not have it, no effect.']), ({}, []),
    ({'gating': True, 'lstm_cells': 12, 'model': 'DbofModel', 'dbof_cluster_size': 8, 'dbof_hidden_size': 4,
      'iterations': 2}, ['--gating, --lstm_cells: DbofModel does not have them, no effect.'])])
def test_options_that_the_network_does_not_have_are_named(pattern, tmp_path, caplog, more, told):
    with caplog.at_level(logging.INFO):
        trained(pattern, tmp_path, max_steps=1, **more)
    assert [line for line in caplog.messages if 'no effect' in line] == told


@pytest.mark.parametrize('more, warned', [
    ({'model': 'NetVLADModelLF', 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 6, 'iterations': 5}, True),
    ({}, False)])
def test_statistics_that_have_hardly_moved_are_warned_of(pattern, tmp_path, caplog, more, warned):
    trained(pattern, tmp_path, max_steps=3, **more)
    told = 'batch normalisation still has 100% of its initial statistics after 3 steps (--batch_norm_decay 0.999): '
    assert [line for line in caplog.messages if told in line] == [line for line in caplog.messages if 'norm' in line]
    assert (told in caplog.text) == warned


def test_a_decay_of_statistics_is_taken_on_resume_and_from_a_source(pattern, tmp_path, caplog):
    net = {'model': 'DbofModel', 'dbof_cluster_size': 8, 'dbof_hidden_size': 4, 'iterations': 2}
    trained(pattern, tmp_path / 'run', max_steps=1, **net)
    trained(pattern, tmp_path / 'run', max_steps=2, batch_norm_decay=0., **net)
    state = state_of(tmp_path / 'run')
    assert state['config']['batch_norm_decay'] == Architecture.read(tmp_path / 'run').batch_norm_decay == 0
    prefix = write_stored(tmp_path / 'model' / 'inference_model', [(Architecture.read(tmp_path / 'run'),
                                                                    state['params'])])
    trained(pattern, tmp_path / 'anew', max_steps=1, batch_norm_decay=1 - 1e-7, ema_source=str(prefix), **net)
    after = state_of(tmp_path / 'anew')['params']['input_bn.running_mean']
    np.testing.assert_allclose(after, state['params']['input_bn.running_mean'], rtol=1e-5)  # all is kept now
    assert 'ignored' not in caplog.text


def test_statistics_have_moved_after_some_thousand_steps():
    arrays, config = {'bn.running_mean': 0}, {'ema_source': ''}
    assert unsettled(Architecture(), arrays, 2994, config) and not unsettled(Architecture(), arrays, 2995, config)
    assert not unsettled(Architecture(), {'weights': 0}, 1, config)
    quick = Architecture(batch_norm_decay=0.9)
    assert not unsettled(quick, arrays, 29, config)
    assert not unsettled(Architecture(batch_norm_decay=0), arrays, 1, config)
    assert unsettled(quick, arrays, 28, config).endswith('evaluation is off; train longer')
    assert unsettled(Architecture(), arrays, 144, config) == (
        'batch normalisation still has 87% of its initial statistics after 144 steps (--batch_norm_decay 0.999): '
        'evaluation is off; train longer, or pass --batch_norm_decay 0.9')
    assert not unsettled(Architecture(), arrays, 1, {'ema_source': 'model'})


@pytest.mark.parametrize('more, told', [
    ({'train_data_pattern': ''}, '--train_data_pattern: needs'), ({'train_dir': ''}, '--train_dir: needs'),
    ({'batch_size': 0}, '--batch_size must be 1 or more'), ({'base_learning_rate': float('inf')}, 'a finite number'),
    ({'learning_rate_decay': float('nan')}, '--learning_rate_decay'), ({'loss_lambda': 0.3}, '--loss_lambda: is about'),
    ({'predictions': 'x'}, '--predictions: is about train_distill'),
    ({'loss_lambda': 1.5, 'distill': True}, '--loss_lambda: must be in 0..1'),
    ({'ema_halflife': 1.}, '--ema_halflife: must be above 1'),
    ({'max_skip_share': 1.5, 'on_error': 'skip'}, '--max_skip_share: must be in 0..1'),
    ({'label_loss': 'HingeLoss', 'distill': True}, '--label_loss: '), ({'optimizer': 'Momentum'}, '--optimizer'),
    ({'incl_val': True, 'train_data_pattern': 'x/*.tfrecord'}, '--incl_val: the validation set is found by'),
    ({'train_data_pattern': 'no/such*.tfrecord'}, 'no/such'),
    ({'model': 'NetVladModelLF'}, "no network 'NetVladModelLF'; did you mean NetVLADModelLF"),
    ({'model': 'NoModel'}, '--model is one of attention_frames_v0, DbofModel'),
    ({'frame_features': False}, 'pass --frame_features=True'), ({'feature_sizes': '8'}, '--feature_sizes')])
def test_what_cannot_be_is_refused_with_its_flag(pattern, tmp_path, more, told):
    with pytest.raises(UsageError, match=re.escape(told) if '(' in told else told):
        trained(pattern, tmp_path / 'run', **more)
    assert not (tmp_path / 'run' / 'checkpoints').exists()


def test_checkpoints_of_a_run_without_averages_are_not_gone_on_with_as_averages(pattern, tmp_path):
    loop = build_loop(config_of(pattern, tmp_path, ema_halflife=3.), [_cpu()])
    with pytest.raises(CheckpointError, match='without moving averages'):
        loop.load_state_dict(build_loop(config_of(pattern, tmp_path), [_cpu()]).state_dict())
    assert loop.learner.net.architecture.max_frames == FRAMES


if __name__ == '__main__':
    run_and_die(sys.argv[1], sys.argv[2], int(sys.argv[3]))
