"""The estimators: runs by steps that go on, phases, evaluation, prediction, and what is said to what cannot be."""
import csv
import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoint_names import slim
from clips import SHAPE, write_clips
from test_records import events_of, scalars_of
from tf_checkpoint_writer import write_checkpoint

from gluon_action.cli import clip_estimator
from gluon_action.cli.command import run
from gluon_action.errors import UsageError, WeightsError
from gluon_action.evaluate.multi_label import multi_label_metrics
from gluon_action.train import estimator
from gluon_action.train.checkpoint import CheckpointDir, read_checkpoint
from gluon_action.train.clip_scores import ClipScoring
from gluon_action.train.estimator_config import EstimatorConfig, check_config
from gluon_action.train.estimator_data import batches_ahead, counted_classes, open_loader
from gluon_action.train.step_loader import StepLoader

SCRIPTS = Path(__file__).parents[1] / 'scripts'
CLASSES = ('gate down', 'vehicle', 'gate up')


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Folders of records by subset."""
    folder = tmp_path_factory.mktemp('clips')
    write_clips(folder / 'train', 7, seed=1, names=CLASSES, files=2)
    write_clips(folder / 'eval', 5, seed=2, names=CLASSES)
    write_clips(folder / 'predict', 3, seed=3, names=CLASSES, labelled=False)
    write_clips(folder / 'single', 6, seed=4, single=True)
    return folder


@pytest.fixture(scope='module')
def small(clips):
    """The choices of a small run of S3D-G; others are given to it."""
    def config(model_dir, **options):
        return EstimatorConfig(**{**dict(
            network='s3dg', mode='train_and_eval', model_dir=str(model_dir), batch_size=2, num_classes=3,
            clip_length=SHAPE[0], frame_height=SHAPE[1], frame_width=SHAPE[2], depth_multiplier=0.05, min_depth=2,
            num_data_workers=0, monitor_steps=3, train_steps=6, learning_rate=0.01,
            train_subset_dir_path=str(clips / 'train'), eval_subset_dir_path=str(clips / 'eval'),
            predict_subset_dir_path=str(clips / 'predict')), **options})
    return config


@pytest.fixture(scope='module')
def whole(small, tmp_path_factory):
    """The folder of a run of 6 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    estimator.train(small(folder))
    return folder


def copied(folder, to):
    return Path(shutil.copytree(folder, to, symlinks=True))


def newest(folder):
    """Parameters of the newest checkpoint, as bytes."""
    step, state = read_checkpoint(CheckpointDir(folder / 'checkpoints').newest())
    return step, {name: array.asnumpy().tobytes() for name, array in state['params'].items()}


def records_of(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def without_times(folder):
    return [{name: value for name, value in record.items() if name not in ('seconds', 'speed', 'steps_per_second')}
            for record in records_of(folder)]


# Steps

class Numbers:
    """A loader of 5 batches an epoch that are (epoch, batch)."""

    def __init__(self):
        self.begun = []

    def __len__(self):
        return 5

    def epoch(self, epoch, start_batch=0):
        self.begun.append((epoch, start_batch))
        for batch in range(start_batch, 5):
            yield epoch, batch


def test_stretches_run_on_over_the_epochs_of_the_data():
    loader = Numbers()
    steps = StepLoader(loader, 3, total=11)
    stretches = [list(steps.epoch(number)) for number in range(4)]
    assert sum(stretches, []) == [divmod(number, 5) for number in range(11)]
    assert list(map(len, stretches)) == [3, 3, 3, 2] and steps.stretches == 4 and len(steps) == 3
    assert loader.begun == [(0, 0), (1, 0), (2, 0)]  # workers read ahead from one stretch into the next


def test_a_run_goes_on_inside_a_stretch_and_with_stretches_of_another_length():
    steps = StepLoader(Numbers(), 3)
    assert list(steps.epoch(2, 1)) == [(1, 2), (1, 3)] and steps.stretches == float('inf')
    other = StepLoader(Numbers(), 4, total=20, origin=(2, 6))
    assert list(other.epoch(2)) == [(1, 1), (1, 2), (1, 3), (1, 4)] and other.stretches == 6
    assert list(other.epoch(5)) == [(3, 3), (3, 4)]


def test_there_must_be_something_to_step_over():
    class Nothing(Numbers):
        def __len__(self):
            return 0
    with pytest.raises(UsageError, match='nothing to train on'):
        StepLoader(Nothing(), 3)
    with pytest.raises(UsageError, match='1 step or more'):
        StepLoader(Numbers(), 0)


# What a run leaves

def test_a_run_leaves_all_that_is_promised(whole):
    assert {'config.json', 'train.log', 'metrics.jsonl', 'history.png', 'checkpoints', 'best.params'} <= {
        path.name for path in whole.iterdir()}
    assert (whole / 'history.png').read_bytes()[:4] == b'\x89PNG'
    about = json.loads((whole / 'config.json').read_text())
    assert about['classes'] == list(CLASSES) and about['num_classes'] == 3 and about['config']['batch_size'] == 2
    assert set(about['lists']) == {'train', 'eval'} and about['started_from'] == 'random values'


def test_every_look_brings_a_line_a_record_and_scalars(whole):
    lines = (whole / 'train.log').read_text().splitlines()
    shown = r'loss=\d+\.\d{5} .*auc=[\d.n]+a?.* precision=[\d.]+ recall=[\d.]+ f1=[\d.]+'
    assert [bool(re.match(rf'step {step}: {"evaluation: " * later}{shown}', line)) for line, (step, later) in zip(
        lines, [(3, 0), (3, 1), (6, 0), (6, 1)])] == [True] * 4 and len(lines) == 4
    records = records_of(whole)
    assert [(record['kind'], record['step'], record['val_count']) for record in records] == [
        ('stretch', 3, 5), ('stretch', 6, 5)]
    for record in records:
        assert record['total_loss'] == pytest.approx(record['loss'] + record['l1_loss'] + record['l2_loss'])
    found = {(tag, step): value for tag, step, value in scalars_of(whole)}
    assert found['Metrics/eval/map', 3] == pytest.approx(records[0]['val_map'], rel=1e-5)
    assert {step for tag, step in found if tag == 'Losses/sigmoid_loss'} == {3, 6}
    assert {tag for tag, _ in found if tag.startswith('Losses')} == {
        f'Losses/{name}_loss' for name in ('sigmoid', 'l1', 'l2', 'regularization', 'total')}
    for name in ('auc', 'auc_rounded', 'precision', 'recall', 'f1'):
        assert {('Metrics/train/' + name, 3), ('Metrics/eval/' + name, 3)} <= set(found)


def test_tensorboard_gets_distributions_and_middle_frames_at_every_look(whole):
    tags = {(value.tag, event.step) for event in events_of(whole) for value in event.summary.value}
    for tag in ('images/0', 'images/1', 'activations/Mixed_5c', 'Logits.Conv3d_0c_1x1.weight',
                'Conv3d_1a_7x7.bn.running_mean'):
        assert {step for name, step in tags if name == tag} == {0, 3}
    assert ('images/2', 0) not in tags


def test_the_best_is_by_mean_average_precision(whole):
    records = records_of(whole)
    best = max(records, key=lambda record: record['val_map'])
    assert (whole / 'best.params').resolve().name.startswith(f'{best["val_map"]:.4f}-clips-s3dg_custom-')


def test_the_regularisation_is_the_sum_over_the_weights(whole):
    _, state = read_checkpoint(CheckpointDir(whole / 'checkpoints').newest())
    weights = [array.asnumpy().astype(np.float64) for name, array in state['params'].items() if name.endswith('weight')]
    last = records_of(whole)[-1]
    assert last['l1_loss'] == pytest.approx(1e-7 * sum(np.abs(w).sum() for w in weights), rel=1e-5)
    assert last['l2_loss'] == pytest.approx(1e-7 * sum((w ** 2).sum() for w in weights) / 2, rel=1e-5)


# Going on

def command_line(config):
    return [sys.executable, str(SCRIPTS / f'{config.network}_estimator.py'), *(
        f'--{name}={value}' for name, value in dataclasses.asdict(config).items()
        if value is not None and name != 'network' and value is not False)]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(small, tmp_path):
    killed, unharmed = (tmp_path / name for name in ('killed', 'unharmed'))
    argv = command_line(small(killed, train_steps=9, num_data_workers=1))
    process = subprocess.Popen(argv, start_new_session=True)
    deadline = time.monotonic() + 200
    while CheckpointDir(killed / 'checkpoints').newest() is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert newest(killed)[0] < 9
    subprocess.run(argv, check=True)
    subprocess.run(command_line(small(unharmed, train_steps=9, num_data_workers=1)), check=True)
    assert newest(killed) == newest(unharmed) and without_times(killed) == without_times(unharmed)


def test_the_same_command_goes_on_to_the_same_end(small, whole, tmp_path):
    for steps in (2, 6):
        result = estimator.train(small(tmp_path, train_steps=steps))
    assert result.step == 6 and newest(tmp_path) == newest(whole)


def test_a_run_that_is_done_says_so_and_changes_nothing(small, whole, tmp_path, caplog):
    folder = copied(whole, tmp_path / 'run')
    before = {path.name: path.read_bytes() for path in folder.iterdir()
              if path.is_file() and path.name != 'config.json'}
    with caplog.at_level(logging.INFO):
        result = estimator.train(small(folder, checkpoint_path='/elsewhere', warm_start=True))
    assert 'has done its 6 steps' in caplog.text and '--checkpoint_path /elsewhere is ignored' in caplog.text
    assert result.best_score == max(record['val_map'] for record in records_of(folder))
    assert before == {name: (folder / name).read_bytes() for name in before}
    assert f'best mean average precision {result.best_score:.4f}' in result.summary()


@pytest.mark.parametrize('change, told', [
    ({'learning_rate': 0.5}, '--learning_rate was 0.01 and is 0.5.*--restart puts it aside'),
    ({'variables_to_train': 's3dg_logits'}, "--variables_to_train was None and is 's3dg_logits'"),
    ({'train_subset_dir_path': 'eval'}, 'other data: --train_subset_dir_path changed')])
def test_another_run_in_the_same_folder_is_refused(small, clips, whole, change, told):
    change = {name: str(clips / value) if 'path' in name else value for name, value in change.items()}
    with pytest.raises(UsageError, match=told):
        estimator.train(small(whole, **change))


def test_a_folder_of_something_else_is_refused(small, tmp_path):
    (tmp_path / 'config.json').write_text('{"config": {"model": "resnet"}}')
    with pytest.raises(UsageError, match='config.json of something else'):
        estimator.train(small(tmp_path))
    CheckpointDir(tmp_path / 'checkpoints').save(1, {'config': {'model': 'resnet'}})
    with pytest.raises(UsageError, match='no run of this command'):
        estimator.train(small(tmp_path))


# Phases

@pytest.fixture(scope='module')
def phases(small, whole, tmp_path_factory):
    """A run of which the head was trained first and then, in the same folder, everything."""
    folder = tmp_path_factory.mktemp('runs') / 'phases'
    head = small(folder, checkpoint_path=str(whole), warm_start=True, variables_to_warm_start='s3dg_convs',
                 variables_to_train='s3dg_logits', learning_rate=0.1, train_steps=2, mode='train')
    estimator.train(head)
    everything = dataclasses.replace(head, checkpoint_path=None, variables_to_warm_start=None, variables_to_train=None,
                                     learning_rate=0.001, restart=True, warm_start=False, train_steps=1)
    estimator.train(everything)
    return folder, everything


def test_training_the_logits_leaves_the_rest_byte_for_byte(whole, phases):
    _, before = newest(whole)
    _, after = newest(phases[0] / 'phase-1')
    assert {name for name in after if after[name] != before[name]} == {
        'Logits.Conv3d_0c_1x1.weight', 'Logits.Conv3d_0c_1x1.bias'}


def test_a_restart_keeps_the_phase_before_and_starts_from_it(phases):
    folder, _ = phases
    about = json.loads((folder / 'config.json').read_text())
    assert about['started_from'].endswith(f'parameters taken from {folder}/phase-1/checkpoints/step-00000002')
    assert about['config']['learning_rate'] == 0.001 and newest(folder)[0] == 1
    assert json.loads((folder / 'phase-1' / 'config.json').read_text())['config']['learning_rate'] == 0.1
    assert len(records_of(folder)) == 1 and (folder / 'phase-1' / 'train.log').exists()


def test_a_repeated_restart_goes_on(phases, tmp_path):
    folder, config = phases
    folder = copied(folder, tmp_path / 'run')
    for again in (config, dataclasses.replace(config, restart=False)):
        assert estimator.train(dataclasses.replace(again, model_dir=str(folder))).step == 1
    assert sorted(path.name for path in folder.glob('phase-*')) == ['phase-1']


@pytest.mark.slow
def test_a_restart_that_was_killed_while_it_put_files_aside_does_it_again(small, whole, tmp_path):
    folder = copied(whole, tmp_path / 'run')
    (folder / 'phase-1').mkdir()
    os.rename(folder / 'config.json', folder / 'phase-1' / 'config.json')
    estimator.train(small(folder, restart=True, learning_rate=0.02, train_steps=1, mode='train'))
    assert (folder / 'phase-1' / 'checkpoints').is_dir() and not (folder / 'phase-2').exists()
    assert newest(folder / 'phase-1') == newest(whole)


def test_a_warm_start_from_nothing_is_refused(small, tmp_path):
    with pytest.raises(UsageError, match='--warm_start: there is nothing to start from'):
        estimator.train(small(tmp_path, warm_start=True))
    with pytest.raises(WeightsError, match='nowhere does not exist'):
        estimator.train(small(tmp_path, warm_start=True, checkpoint_path=str(tmp_path / 'nowhere')))


def test_another_width_of_the_network_is_named(small, whole, tmp_path):
    with pytest.raises(UsageError, match='--depth_multiplier was 0.05 and is 0.1'):
        estimator.train(small(tmp_path, warm_start=True, checkpoint_path=str(whole), depth_multiplier=0.1))


# Evaluation and prediction

def test_evaluation_gives_the_scores_of_the_run_again(small, whole, tmp_path, capsys):
    folder = copied(whole, tmp_path / 'run')
    result = estimator.evaluate(small(folder, mode='eval'))
    last = records_of(whole)[-1]
    assert result['metrics'] == {name[4:]: value for name, value in last.items() if name.startswith('val_')}
    assert json.loads((folder / 'eval.json').read_text())['metrics'] == result['metrics']
    assert [row['class'] for row in result['classes']] == list(CLASSES)
    assert result['protocol']['n_expected'] == result['protocol']['n_scored'] == 5
    assert result['protocol']['list_sha256'] == json.loads(
        (whole / 'config.json').read_text())['lists']['eval']['sha256']
    with pytest.raises(UsageError, match='eval.json exists; pass --overwrite'):
        estimator.evaluate(small(folder, mode='eval'))
    best = estimator.evaluate(small(folder, mode='eval', overwrite=True, checkpoint_path=str(folder / 'best.params'),
                                    metric_weights='gate'))
    assert best['weights']['source'].endswith('best.params')
    assert [np.isnan(row['auc']) for row in best['classes']] == [False, True, False]


def test_predictions_need_no_labels_and_agree_with_one_another(small, whole, clips, tmp_path):
    folder = copied(whole, tmp_path / 'run')
    paths = estimator.predict(small(folder, mode='predict'))
    found = json.loads(paths[1].read_text())
    assert [clip['clip'] for clip in found['clips']] == [f'0000000.tfrecord#{k}' for k in range(3)]
    assert found['classes'] == list(CLASSES) and not any('truth' in clip for clip in found['clips'])
    for clip in found['clips']:
        assert clip['probabilities'] == pytest.approx(1 / (1 + np.exp(-np.array(clip['logits']))), rel=1e-6)
        assert clip['class_ids'] == [int(p > 0.5) for p in clip['probabilities']]
    head, *rows = csv.reader(paths[0].read_text().splitlines())
    assert head[:5] == ['clip', *(f'class_id {name}' for name in CLASSES), 'probability gate down']
    assert [[float(value) for value in row[1:]] for row in rows] == [
        [*clip['class_ids'], *clip['probabilities'], *clip['logits']] for clip in found['clips']]


def test_predictions_of_labelled_clips_carry_the_truth_and_give_the_scores_of_the_evaluation(small, whole, clips,
                                                                                            tmp_path):
    folder = copied(whole, tmp_path / 'run')
    paths = estimator.predict(small(folder, mode='predict', predict_subset_dir_path=str(clips / 'eval'), batch_size=3))
    found = json.loads(paths[1].read_text())
    logits, truth = (np.array([clip[name] for clip in found['clips']]) for name in ('logits', 'truth'))
    last = records_of(whole)[-1]
    assert multi_label_metrics(logits, truth).auc == pytest.approx(last['val_auc'], nan_ok=True)
    error = np.abs(np.array([clip['probabilities'] for clip in found['clips']]) - truth).mean(axis=0)
    assert list(found['mean_absolute_error'].values()) == pytest.approx(error, rel=1e-5)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_an_export_computes_what_the_network_does(small, whole, tmp_path, capsys):
    onnxruntime = pytest.importorskip('onnxruntime')
    folder = copied(whole, tmp_path / 'run')
    argv = command_line(small(folder, mode='export_for_production', export_path=str(tmp_path / 'exported')))[2:]
    assert run(clip_estimator.parse_s3dg, clip_estimator.main, argv) == 0
    exported = Path(capsys.readouterr().out.splitlines()[-1])
    assert exported.parent == tmp_path / 'exported' and exported.name.isdigit()
    assert json.loads((exported / 'manifest.json').read_text())['labels'] == list(CLASSES)
    session = onnxruntime.InferenceSession(str(exported / 'model.onnx'))
    with open_loader(small(''), 'predict') as loader:
        clips = np.concatenate([loader.dataset.load(k)[0] for k in range(3)])
    logits, probabilities = session.run(['logits', 'probabilities'], {'clip': clips})
    found = json.loads(estimator.predict(small(folder, mode='predict'))[1].read_text())['clips']
    assert logits == pytest.approx(np.array([clip['logits'] for clip in found]), rel=1e-3, abs=1e-4)
    assert probabilities == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-4)


def test_one_label_a_clip_is_scored_by_softmax(small, clips, tmp_path):
    single = dict(label_mode='single', train_subset_dir_path=str(clips / 'single'), train_steps=2,
                  eval_subset_dir_path=str(clips / 'single'), predict_subset_dir_path=str(clips / 'single'))
    result = estimator.train(small(tmp_path, **single))
    assert result.best_score == result.history[-1]['val_top1'] and 'best top-1' in result.summary()
    assert 'Losses/softmax_loss' in {tag for tag, _, _ in scalars_of(tmp_path)}
    found = json.loads(estimator.predict(small(tmp_path, mode='predict', **single))[1].read_text())
    for clip in found['clips']:
        assert sum(clip['probabilities']) == pytest.approx(1, rel=1e-5) and sum(clip['class_ids']) == 1
        assert np.argmax(clip['logits']) == np.argmax(clip['class_ids'])


def test_scores_of_one_label_a_clip_count_what_was_expected():
    scores = ClipScoring(3, multi_label=False)(2)
    scores.add(np.array([[3., 0, 0], [0, 3., 0], [0, 0, 3.]]), np.array([0., 1, 0]), 1.5)
    scores.expected = 4
    found = scores.summary()
    assert found['top1'] == 0.5 and found['precision'] == pytest.approx(2 / 3) and found['loss'] == 0.5


# Choices

@pytest.mark.parametrize('text, counted', [('0', (1, 0, 0)), ('1-2', (0, 1, 1)), ('gate', (1, 0, 1)),
                                           ('VEH*, 0', (1, 1, 0)), ('gate ?own', (1, 0, 0))])
def test_classes_that_count_go_by_number_and_by_name(text, counted):
    assert counted_classes(text, 3, CLASSES).tolist() == list(map(bool, counted))


@pytest.mark.parametrize('text, names, told', [
    ('3', CLASSES, "'3' fits no class; the classes are 0..2, gate down, vehicle"), ('2-1', CLASSES, 'fits no class'),
    ('gate', None, 'have no names: there is no classes.txt'), (',', None, 'names no class')])
def test_classes_that_are_none_are_refused(text, names, told):
    with pytest.raises(UsageError, match=told):
        counted_classes(text, 3, names)


@pytest.mark.parametrize('options, ahead, workers', [
    ({}, 853, 2), ({'tfrecord_size': 1}, 21, 2), ({'batch_size': 5000}, 1, 2), ({'prefetch_size': 3}, 3, 2),
    ({'prefetch_size': 0}, 0, 0)])
def test_batches_are_read_ahead_by_number_or_by_size(small, options, ahead, workers):
    config = small('', num_data_workers=2, **options)
    assert batches_ahead(config) == ahead
    with open_loader(config, 'train') as loader:
        assert loader.num_workers == workers and loader.prefetch == max(1, ahead) and loader.shuffle


def test_a_window_of_the_frames_is_what_the_network_sees(small):
    window = dict(crop=True, cropx=5, cropy=3, cropwidth=20, cropheight=24)
    with open_loader(small('', **window), 'eval') as cropped, open_loader(small(''), 'eval') as loader:
        ours, all_of_it = cropped.dataset.load(2)[0], loader.dataset.load(2)[0]
        assert ours.shape == (1, 3, 8, 24, 20) and (ours == all_of_it[..., 3:27, 5:25]).all()
        assert cropped.dataset.list_sha256 == loader.dataset.list_sha256


def test_only_the_training_of_s3dg_changes_colours(small):
    for options, subset, changed in (({}, 'train', True), ({}, 'eval', False), ({'network': 'i3d'}, 'train', False)):
        with open_loader(small('', **options), subset) as loader:
            first, second = (loader.dataset.load(0, epoch=epoch)[0] for epoch in (0, 1))
            assert (first != second).any() == changed


@pytest.mark.parametrize('options, told', [
    ({'variables_to_train': 'i3d_logits'}, "--variables_to_train 'i3d_logits' is not one of s3dg_convs, s3dg_logits"),
    ({'variables_to_warm_start': 'convs'}, "--variables_to_warm_start 'convs' is not one of s3dg_convs, s3dg_logits"),
    ({'mode': 'evaluate'}, "--mode: 'evaluate' is not one of train, eval, train_and_eval, predict, export, export_for"),
    ({'network': 'i3d', 'mode': 'export_for_production'}, '--mode: .* is not one of train, .*export$'),
    ({'network': 'i3d', 'min_depth': 4}, '--min_depth: is about s3dg_estimator.py'),
    ({'eval_subset_dir_path': None}, '--eval_subset_dir_path: --mode train_and_eval needs the folder'),
    ({'optimizer': 'sgd', 'momentum': 0.5}, '--momentum: means nothing with --optimizer sgd'),
    ({'checkpoint_path': 'x'}, '--checkpoint_path: .*with --warm_start only'),
    ({'crop': True}, r'--crop: a window of 1920x920 at \(0, 82\) does not fit into frames of 32x32'),
    ({'cropx': 3}, '--cropx: means something with --crop only'),
    ({'channels': 2}, r'--channels: must be 3 \(RGB\), got 2'),
    ({'network': 'i3d', 'channels': 1, 'depth_multiplier': 1., 'min_depth': 16}, '--channels: must be 3 or 2'),
    ({'update_batch_norm': True}, '--update_batch_norm: is about batch normalisation that --variables_to_train leaves'),
    ({'learning_rate': float('nan')}, '--learning_rate: must be 0 or more, got nan'),
    ({'momentum': 1.}, '--momentum: must be less than 1'),
    ({'train_steps': 0}, '--train_steps: must be 1 or more'),
    ({'export_path': 'x'}, '--export_path: is about --mode export'),
    ({'overwrite': True}, '--overwrite: replaces the results of --mode eval and predict'),
    ({'mode': 'eval', 'restart': True}, '--restart: is about training'),
    ({'num_gpus': 0, 'gpu_num': 0}, '--gpu_num: --num_gpus 0 computes on the CPU'),
    ({'num_gpus': 2, 'gpu_num': 1}, '--gpu_num: picks one card'),
    ({'label_mode': 'single', 'num_classes': 1}, '--num_classes: one label a clip'),
    ({'model_dir': ''}, '--model_dir: needs')])
def test_choices_that_cannot_be_are_refused_with_the_flag(small, options, told):
    with pytest.raises(UsageError, match=told):
        check_config(small(**{'model_dir': 'x', **options}))


def test_a_configuration_starts_with_the_defaults_of_the_flags():
    for network, parse in (('i3d', clip_estimator.parse_i3d), ('s3dg', clip_estimator.parse_s3dg)):
        config = clip_estimator.config_from(parse(['--mode', 'train_and_eval', '--model_dir', '']))
        assert config == EstimatorConfig(network=network)


def test_flags_are_those_of_the_original_with_its_defaults():
    original = dict(
        checkpoint_path=None, export_path=None, train_subset_dir_path=None, eval_subset_dir_path=None, batch_size=6,
        prefetch_size=-1, tfrecord_size=40, monitor_steps=100, train_steps=None, num_classes=204, learning_rate=1e-1,
        optimizer='momentum', momentum=0.9, weight_decay=1e-7, dropout_rate=0.2, clip_length=64, frame_height=224,
        frame_width=224, channels=3, variables_to_warm_start=None, variables_to_train=None)
    gated = dict(warm_start=False, min_depth=16, depth_multiplier=1.0, add_image_summaries=True, metric_weights=None,
                 crop=False, cropheight=920, cropwidth=1920, cropx=0, cropy=82)
    given = ['--mode', 'predict', '--model_dir', 'x', '--test_subset_dir_path', 'clips', '--num_gpus', '1', '--gpu_num',
             '0']
    for parse, flags in ((clip_estimator.parse_i3d, original), (clip_estimator.parse_s3dg, {**original, **gated})):
        found = vars(parse(given))
        assert {name: found[name] for name in flags} == flags
        assert (found['predict_subset_dir_path'], found['num_gpus'], found['gpu_num']) == ('clips', 1, 0)
    assert vars(clip_estimator.parse_s3dg([*given, '-c']))['crop'] is True


@pytest.mark.parametrize('text, value', [('false', False), ('False', False), ('0', False), ('no', False),
                                         ('true', True), ('yes', True), ('1', True)])
def test_yes_and_no_mean_what_they_say(text, value):
    given = ['--mode', 'train', '--model_dir', 'x', '--add_image_summaries', text]
    assert clip_estimator.parse_s3dg(given).add_image_summaries is value


@pytest.mark.parametrize('given, told', [
    (['--mode', 'evaluate', '--model_dir', 'x'], "'train', 'eval', 'train_and_eval', 'predict', 'export'"),
    (['--mode', 'train', '--model_dir', 'x', '--add_image_summaries', 'maybe'], "'maybe' is neither true nor false")])
def test_a_bad_word_on_the_command_line_is_answered_with_those_that_are_allowed(given, told, capsys):
    with pytest.raises(SystemExit) as stop:
        clip_estimator.parse_i3d(given)
    assert stop.value.code == 2 and told in capsys.readouterr().err


def test_without_a_gpu_the_cpu_computes_unless_gpus_were_asked_for(small, caplog):
    with caplog.at_level(logging.INFO):
        assert [str(device) for device in estimator.devices(small(''))] == ['cpu(0)']
    assert 'Computing on the CPU, as there is no GPU that can be used (--num_gpus 1' in caplog.text
    assert [str(device) for device in estimator.devices(small('', num_gpus=0))] == ['cpu(0)']
    for asked in ({'num_gpus': 1}, {'gpu_num': 0}):
        with pytest.raises(estimator.DeviceError, match='--num_gpus'):
            estimator.devices(small('', **asked))


def test_the_command_under_one_name_is_told_the_network(small, whole, tmp_path, capsys):
    config = small(copied(whole, tmp_path / 'run'), mode='eval', add_image_summaries=None)
    argv = ['s3dg', *(f'--{name}={value}' for name, value in dataclasses.asdict(config).items()
                      if value is not None and name != 'network' and not isinstance(value, bool))]
    assert run(clip_estimator.parse_args, clip_estimator.main, argv) == 0
    shown = capsys.readouterr().out
    assert re.search(r'^auc +0\.\d{6}$', shown, re.MULTILINE) and 'eval.json' in shown


# The commands of the guide

MODELS, SETS = 'C:/Users/Public/fra-gctd-project/Models', 'C:/Users/Public/fra-gctd-project/Data_Sets'
PRINTED = (
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-pretrained-init --checkpoint_path '
    f'{MODELS}/pre-trained/i3d_kinetics_600_rgb/model.ckpt --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 532 --learning_rate 0.1 --batch_size 2 '
    '--variables_to_warm_start i3d_convs --variables_to_train i3d_logits',
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-coarsetuned-init --checkpoint_path '
    f'{MODELS}/ramsey_nj/i3d-estimator-pretrained-init --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 1064 --learning_rate 0.001 --batch_size 1',
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-finetuned-init --checkpoint_path '
    f'{MODELS}/ramsey_nj/i3d-estimator-coarsetuned-init --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 1064 --learning_rate 0.00001 --batch_size 1')


@pytest.fixture(scope='module')
def kinetics(tmp_path_factory):
    """A checkpoint of slim's I3D for 600 classes, and its values by our keys."""
    folder = tmp_path_factory.mktemp('pre-trained') / 'i3d_kinetics_600_rgb'
    folder.mkdir()
    rng, tensors, values = np.random.default_rng(0), {}, {}
    for name, (key, shape) in slim(600, gated=False, separable=False).items():
        tensors[name] = (rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else
                         rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)).astype(np.float32)
        values[key] = tensors[name].transpose(4, 3, 0, 1, 2) if len(shape) == 5 else tensors[name]
    write_checkpoint(folder / 'model.ckpt', tensors)
    return folder, values


def as_printed(line, kinetics, folder, data):
    line = line.replace(f'{MODELS}/pre-trained/i3d_kinetics_600_rgb', str(kinetics))
    return line.replace(f'{MODELS}/ramsey_nj', str(folder)).replace(f'{SETS}/ramsey_nj', str(data)).split()


@pytest.mark.slow
def test_the_three_commands_run_as_they_are_printed(kinetics, tmp_path, monkeypatch, capsys):
    for day, count in (('20180419', 3), ('20180420', 2)):
        write_clips(tmp_path / 'data' / day, count, shape=(8, 32, 32, 3), classes=204, seed=count)
    given = clip_estimator.config_from

    def smaller(args):
        assert (args.clip_length, args.frame_height, args.train_steps) == (64, 224, None)
        return dataclasses.replace(given(args), clip_length=8, frame_height=32, frame_width=32, train_steps=2)

    monkeypatch.setattr(clip_estimator, 'config_from', smaller)
    states = []
    for line in PRINTED:
        argv = as_printed(line, kinetics[0], tmp_path / 'runs', tmp_path / 'data')
        assert run(clip_estimator.parse_i3d, clip_estimator.main, argv) == 0
        states.append(newest(Path(argv[3]))[1])
    heads = {name for name in states[0] if name.startswith('Logits.')}
    for name in states[0].keys() - heads:
        if 'gamma' not in name:
            assert states[0][name] == np.ascontiguousarray(kinetics[1][name]).tobytes(), name
    assert all(states[0][name] != states[1][name] for name in states[0] if name.endswith(('weight', 'running_mean')))
    about = json.loads((tmp_path / 'runs' / 'i3d-estimator-finetuned-init' / 'config.json').read_text())
    assert about['started_from'].endswith('i3d-estimator-coarsetuned-init/checkpoints/step-00000002')
    # Of running statistics, two steps at momentum 0.9 leave 0.81 of what phase 2 ended with; a reset would not.
    for name in (name for name in states[1] if name.endswith('Mixed_3b.Branch_0.Conv3d_0a_1x1.bn.running_mean')):
        two, three = (np.frombuffer(state[name], np.float32) for state in states[1:])
        assert np.corrcoef(two, three)[0, 1] > 0.9 and (two != three).all()


@pytest.mark.slow
def test_the_first_phase_runs_on_clips_of_their_full_size(kinetics, tmp_path):
    for day in ('20180419', '20180420'):
        write_clips(tmp_path / 'data' / day, 2, shape=(64, 224, 224, 3), classes=204)
    argv = as_printed(PRINTED[0], kinetics[0], tmp_path / 'runs', tmp_path / 'data')
    found = subprocess.run([sys.executable, str(SCRIPTS / 'i3d_estimator.py'), *argv, '--train_steps', '1'],
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert 'Computing on the CPU' in found.stdout and re.search(r'step 1: evaluation: .*2 of 2 clips', found.stdout)
