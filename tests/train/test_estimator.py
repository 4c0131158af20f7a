"""The estimators: runs by steps that are resumed, phases, evaluation, prediction, and what is refused."""
import csv
import dataclasses
import functools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import CLASSES, estimator_clips, newest, small_config
from events import events_of, scalars_of
from inception import few_blocks
from interrupting import counted

from gluon_action import options
from gluon_action.cli import clip_estimator
from gluon_action.cli.command import run
from gluon_action.compute.on_mxnet.learner import GluonLearner
from gluon_action.compute.on_mxnet.scorer import GluonScorer
from gluon_action.errors import UsageError, WeightsError
from gluon_action.evaluate.scores.multi_label import multi_label_metrics
from gluon_action.train.loop import Loop
from gluon_action.train.recipes.clip_estimator import estimator
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.clip_estimator.data import open_loader
from gluon_action.train.run.folder.checkpoint import read_checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

SCRIPTS = Path(__file__).parents[2] / 'scripts'


@pytest.fixture(scope='module', autouse=True)
def small_networks():
    with few_blocks():
        yield


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    return estimator_clips(tmp_path_factory.mktemp('clips'))


@pytest.fixture(scope='module')
def small(clips):
    """The choices of a small run of S3D-G; others are given to it."""
    return functools.partial(small_config, clips)


@pytest.fixture(scope='module')
def whole(small, tmp_path_factory):
    """The folder of a run of 6 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    estimator.train(small(folder))
    return folder


def copied(folder, to):
    return Path(shutil.copytree(folder, to, symlinks=True))


def records_of(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def without_times(folder):
    clocks = ('seconds', 'speed', 'steps_per_second')
    return [{name: value for name, value in record.items() if not name.endswith(clocks)}
            for record in records_of(folder)]


# What a run leaves

def test_a_run_leaves_all_that_is_promised(whole):
    assert {'config.json', 'train.log', 'metrics.jsonl', 'history.png', 'checkpoints', 'best.params'} <= {
        path.name for path in whole.iterdir()}
    assert (whole / 'history.png').read_bytes()[:4] == b'\x89PNG'
    about = json.loads((whole / 'config.json').read_text())
    assert about['classes'] == list(CLASSES) and about['num_classes'] == 3 and about['config']['batch_size'] == 2
    assert set(about['lists']) == {'train', 'eval'} and about['started_from'] == 'random values'
    words = shlex.split(about['command'])
    again = options.config_from(EstimatorConfig, clip_estimator.parse_args(words[2:]))
    assert words[:3] == ['gluon-action', 'estimator', 's3dg'] and dataclasses.asdict(again) == about['config']


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
    for tag in ('images/0', 'images/1', 'activations/Mixed_5c', 'Logits/Conv3d_0c_1x1/weight',
                'Conv3d_1a_7x7/bn/running_mean'):
        assert {step for name, step in tags if name == tag} == {0, 3}
    assert ('images/2', 0) not in tags


def test_the_best_is_by_mean_average_precision(whole):
    records = records_of(whole)
    best = max(records, key=lambda record: record['val_map'])
    assert (whole / 'best.params').resolve().name.startswith(f'{best["val_map"]:.4f}-clips-s3dg_custom-')


def test_the_regularisation_is_the_sum_over_the_weights(whole):
    _, state = read_checkpoint(CheckpointDir(whole / 'checkpoints').newest())
    weights = [array.astype(np.float64) for name, array in state['params'].items() if name.endswith('weight')]
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
              if path.is_file() and path.name not in ('config.json', 'report.html')}  # they say what was asked last
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
    for restart in (False, True):
        with pytest.raises(UsageError, match='holds a run of another command; give another folder'):
            estimator.train(small(tmp_path, restart=restart))


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
    page = (folder / 'report.html').read_text()
    assert 'evaluation, mean average precision' in page and all(f'id="{part}"' in page for part in ('wrong', 'classes'))
    with np.load(folder / 'validation_scores.npz') as held:
        assert len(held['keys']) == 5 and all('.tfrecord#' in key for key in held['keys'])
        assert held['labels'].shape == held['scores'].shape == (5, 3) and held['labels'].any()
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


@pytest.mark.parametrize('mode, results, kind, name, label_mode', [
    ('eval', ['eval.json'], GluonLearner, 'scores', 'multi'),
    ('predict', ['predictions.csv', 'predictions.json'], GluonScorer, '__call__', 'single')])
@pytest.mark.parametrize('by, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_evaluation_or_prediction_goes_on_to_the_same_bytes(
        small, whole, clips, tmp_path, caplog, capsys, mode, results, kind, name, label_mode, by, code):
    caplog.set_level(logging.INFO)
    folder = copied(whole, tmp_path / 'run')
    # The last batch is smaller than the others.
    config = small(folder, mode=mode, label_mode=label_mode, predict_subset_dir_path=str(clips / 'single'),
                   batch_size=1 if mode == 'eval' else 4, checkpoint_path=str(folder / 'best.params'))
    argv = command_line(config)[2:]

    def ran(*more, **stop):
        with counted(kind, name, **stop) as scored:
            return run(clip_estimator.parse_s3dg, clip_estimator.main, [*argv, *more]), len(scored)

    def taken():
        found = [(folder / result).read_bytes() for result in results]
        for result in results:
            (folder / result).unlink()
        return found

    assert ran()[0] == 0
    expected, unfinished = taken(), folder / f'{results[-1].removesuffix(".json")}.unfinished'
    stop_at = 3 if mode == 'eval' else 1
    assert ran(stop_at=stop_at, by=by)[0] == code
    assert 'the same command resumes with the other clips' in caplog.text and not (folder / results[0]).exists()
    kept = len(unfinished.read_bytes().splitlines()) - 1
    assert ran(f'--batch_size={config.batch_size + 1}')[0] == 2
    assert f'{unfinished.name}: is of another --mode {mode}' in capsys.readouterr().err
    assert ran() == (0, (5 if mode == 'eval' else 2) - kept) and kept in (stop_at - 1, stop_at)
    assert taken() == expected and not unfinished.exists()


def test_forged_lines_of_an_interrupted_evaluation_are_scored_again(small, whole, tmp_path):
    folder = copied(whole, tmp_path / 'run')
    config = small(folder, mode='eval', batch_size=1)
    expected = estimator.evaluate(config)
    (folder / 'eval.json').unlink()
    with counted(GluonLearner, 'scores', 4), pytest.raises(KeyboardInterrupt):
        estimator.evaluate(config)
    header, *lines = (folder / 'eval.unfinished').read_bytes().splitlines(keepends=True)
    good = json.loads(lines[1])
    for forged in ({**good, 'loss_sum': 'much'}, {**good, 'loss_sum': float('nan')}, {**good, 'parts': []},
                   {**good, 'parts': [{'clips': 10 ** 9}]},
                   {**good, 'parts': [{**good['parts'][0], 'logits': good['parts'][0]['labels'][:-4]}]}):
        (folder / 'eval.unfinished').write_bytes(header + lines[0] + json.dumps(forged).encode() + b'\n' + lines[2])
        with counted(GluonLearner, 'scores') as scored:
            assert estimator.evaluate(config) == expected
        assert len(scored) == 4
        (folder / 'eval.json').unlink()


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_an_export_computes_what_the_network_does(small, whole, tmp_path, capsys):
    onnxruntime = pytest.importorskip('onnxruntime')
    folder = copied(whole, tmp_path / 'run')
    argv = command_line(small(folder, mode='export_for_production', export_path=str(tmp_path / 'exported')))[2:]
    assert run(clip_estimator.parse_s3dg, clip_estimator.main, argv) == 0
    exported = Path(capsys.readouterr().out.splitlines()[-1])
    assert exported.parent == tmp_path / 'exported' and exported.name.isdigit()
    assert json.loads((exported / 'labels.json').read_text()) == list(CLASSES)
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


def test_ctrl_c_says_what_the_same_command_would_go_on_from(small, whole, tmp_path, monkeypatch, caplog):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, 'fit', interrupted)
    for folder, told in ((copied(whole, tmp_path / 'run'), 'resumes from .*/run/checkpoints/step-00000006'),
                         (tmp_path / 'new', 'holds no checkpoint yet: the same command starts again')):
        caplog.set_level(logging.INFO)
        argv = command_line(small(folder, train_steps=9))[2:]
        assert run(clip_estimator.parse_s3dg, clip_estimator.main, argv) == 130
        assert re.search(told, caplog.text)


def test_the_command_under_one_name_is_told_the_network(small, whole, tmp_path, capsys):
    config = small(copied(whole, tmp_path / 'run'), mode='eval', add_image_summaries=None)
    argv = ['s3dg', *(f'--{name}={value}' for name, value in dataclasses.asdict(config).items()
                      if value is not None and name != 'network' and not isinstance(value, bool))]
    assert run(clip_estimator.parse_args, clip_estimator.main, argv) == 0
    shown = capsys.readouterr().out
    assert re.search(r'^auc +0\.\d{6}$', shown, re.MULTILINE) and 'eval.json' in shown
