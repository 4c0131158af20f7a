"""Evaluation of a training on features: which values are taken, what is written, what is scored, and when again."""
import json
import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from events import scalars_of
from feature_runs import CLASSES, records, state_of, trained
from interrupting import counted

from gluon_action.compute.on_mxnet.scorer import GluonScorer
from gluon_action.deploy.feature_scoring import run_evaluation, scoring
from gluon_action.deploy.feature_scoring.run_evaluation import evaluate_run
from gluon_action.errors import CheckpointError, RecordError, UsageError
from gluon_action.evaluate.options.frame_features_config import FeatureEvaluation
from gluon_action.evaluate.scores.metrics import multi_label_scores
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features import build
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.nn import FrameDraw
from gluon_action.train.recipes.frame_features.log import TagStyle
from gluon_action.train.run.folder.checkpoint import read_checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

EPSILON = 1e-5


@pytest.fixture(scope='module')
def patterns(tmp_path_factory):
    folder = tmp_path_factory.mktemp('records')
    # Without classes that only order tells, whose videos come in pairs that the network scores alike.
    return records(folder), records(folder, 13, 'validate', order_classes=0)


@pytest.fixture(scope='module')
def ran(patterns, tmp_path_factory):
    """A run with moving averages, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TagStyle, 'plot', lambda *_: None)
        folder = tmp_path_factory.mktemp('run')
        trained(patterns[0], folder, ema_halflife=4.)
    return folder


@pytest.fixture
def run(ran, tmp_path):
    """A copy of it."""
    return shutil.copytree(ran, tmp_path / 'run')


def evaluated(folder, pattern='', given=None, **more):
    values = {'train_dir': str(folder), 'eval_data_pattern': str(pattern), 'run_once': True, 'batch_size': 5,
              'num_readers': 0, 'num_gpu': 0, **more}
    return evaluate_run(FeatureEvaluation(**values), values if given is None else given)


def written(folder):
    return dict(read_stored(folder).members[0].parameters())


def same(a, b):
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


def probabilities(arrays, features):
    """The network, in double precision: logistic regression on the mean of the frames of length 1."""
    frames = features[0][features[0].any(axis=1)].astype(np.float64)
    mean = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).mean(axis=0)
    odds = mean @ arrays['fully_connected.weights'].astype(np.float64) + arrays['fully_connected.biases']
    return 1 / (1 + np.exp(-odds))


def test_scores_are_those_of_the_equations(run, patterns):
    from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
    data = FeatureRecords(patterns[1], features=(('rgb', 8), ('audio', 4)), num_classes=CLASSES, max_frames=12)
    rows = [data.load(index) for index in range(len(data))]
    evaluated(run, patterns[1], use_EMA=False)
    p = np.array([probabilities(state_of(run)['params'], features) for features, _ in rows])
    y = np.array([label for _, label in rows])
    ranked = y.ravel()[np.argsort(-p.ravel())]
    gap = (np.cumsum(ranked) / np.arange(1, len(ranked) + 1) * ranked).sum() / y.sum()
    loss = -(y * np.log(p + EPSILON) + (1 - y) * np.log(1 - p + EPSILON)).sum(axis=1).mean()
    found = json.loads((run / 'eval.json').read_text())
    assert found['scores']['gap'] == pytest.approx(gap, abs=1e-6)
    assert found['scores']['loss'] == pytest.approx(loss, rel=1e-5)
    assert found['scores']['hit_at_1'] == pytest.approx(y[np.arange(len(y)), p.argmax(axis=1)].mean())
    assert found['scores']['count'] == found['scores']['expected'] == 13 and found['step'] == 8
    assert found['protocol']['top_k'] == 20 and found['protocol']['files'] == 3
    assert [(row['class'], row['positives']) for row in found['classes']] == [
        (str(k), int(count)) for k, count in enumerate(y.sum(axis=0))]
    each = multi_label_scores(p, y).average_precision
    assert [row['average_precision'] for row in found['classes']] == pytest.approx(np.nan_to_num(each).tolist())
    page = (run / 'report.html').read_text()
    assert 'evaluation, GAP' in page and 'Average precision in the evaluation, the worst class first' in page


def test_lines_and_tags_are_those_of_the_original(run, patterns, caplog):
    with caplog.at_level(logging.INFO):
        made = evaluated(run, patterns[1])
        evaluated(run, patterns[1])
    assert made == [run / 'inference_model', run / 'eval.json']
    scores = json.loads((run / 'eval.json').read_text())['scores']
    line = (f'epoch/eval number 8 | Avg_Hit@1: {scores["hit_at_1"]:.3f} | Avg_PERR: {scores["perr"]:.3f} | '
            f'MAP: {scores["map_2018"]:.6f} | GAP: {scores["gap"]:.6f} | Avg_Loss: {scores["loss"]:f}')
    assert [text for text in (run / 'evallog.txt').read_text().splitlines() if 'epoch' in text] == [line, line]
    assert f'{scores["map"]:.6f}' in (run / 'evallog.txt').read_text() and line in caplog.messages
    batches = [text for text in caplog.messages if text.startswith('examples_processed')]
    number = r'\d+\.\d{3}'
    for text, count in zip(batches, (4, 9, 13)):
        assert re.fullmatch(rf'examples_processed: {count} \| global_step 8 \| Batch Hit@1: {number} \| Batch PERR: '
                            rf'{number} \| Batch Loss: {number} \| Examples_per_sec: {number}', text), text
    found = {(tag, step) for tag, step, _ in scalars_of(run / 'eval')}
    assert found == {(f'{tag}', 8) for tag in (
        'GlobalStep/Eval_Hit@1', 'GlobalStep/Eval_Perr', 'GlobalStep/Eval_Loss', 'GlobalStep/Eval_Example_Second',
        'Epoch/Eval_Avg_Hit@1', 'Epoch/Eval_Avg_Perr', 'Epoch/Eval_Avg_Loss', 'Epoch/Eval_MAP', 'Epoch/Eval_GAP')}


@pytest.mark.parametrize('use, part', [(None, 'averages'), (True, 'averages'), (False, 'params')])
def test_the_model_has_the_averages_unless_it_is_told_otherwise(run, use, part):
    assert evaluated(run, build_only=True, use_EMA=use) == [run / 'inference_model']
    state = state_of(run)
    assert same(written(run), state[part]) and not same(state['params'], state['averages'])
    assert read_stored(run).about == {'from': str(run / 'checkpoints' / 'step-00000008'), 'step': 8,
                                      'averaged': part == 'averages', 'features': {}}
    assert not (run / 'eval.json').exists()


def test_averages_that_there_are_not_are_an_error(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)
    trained(patterns[0], tmp_path, max_steps=1)
    with pytest.raises(UsageError, match='--use_EMA: .*no moving averages; train with --ema_source'):
        evaluated(tmp_path, build_only=True, use_EMA=True)
    evaluated(tmp_path, build_only=True)
    assert same(written(tmp_path), state_of(tmp_path)['params'])


def test_options_of_the_network_need_not_be_repeated_and_are_left_aside(run, patterns, caplog):
    evaluated(run, patterns[1])
    scores = json.loads((run / 'eval.json').read_text())['scores']
    more = {'num_classes': 9, 'model': 'NetVLADModelLF', 'feature_sizes': '1024, 128', 'feature_names': 'rgb, audio'}
    caplog.clear()
    evaluated(run, patterns[1], **more)
    assert json.loads((run / 'eval.json').read_text())['scores'] == scores
    warning, = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert '--num_classes 9' in warning and 'NetVLADModelLF' in warning and '8,4' in warning
    with pytest.raises(UsageError, match='--strict_flags: the run in --train_dir'):
        evaluated(run, patterns[1], strict_flags=True, **more)


def test_how_frames_are_drawn_may_be_chosen_anew(run, caplog):
    with caplog.at_level(logging.INFO):
        evaluated(run, build_only=True, sample_all=True)
    assert read_stored(run).architecture.sample_all
    assert '--sample_all draws each of the 12 frames, so --iterations 30 became 12.' in caplog.messages
    assert not Architecture.read(run).sample_all
    evaluated(run, build_only=True)
    assert not read_stored(run).architecture.sample_all


def test_rounds_draw_other_frames_and_are_averaged(tmp_path, monkeypatch):
    architecture = Architecture(model='NetVLADModelLF', feature_names='rgb', feature_sizes='8', frame_features=True,
                                num_classes=CLASSES, max_frames=12, iterations=3, netvlad_cluster_size=4,
                                netvlad_hidden_size=6)
    net = build(architecture, seed=1)
    arrays = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    stored = read_stored(write_stored(tmp_path / 'model', [(architecture, arrays)]))
    x, single = np.random.default_rng(3).normal(size=(4, 12, 8)).astype('float32'), []
    for number in range(3):
        net = stored.build()
        net.draw.round = number
        single.append(net(mx.nd.array(x)).asnumpy())
    assert not np.allclose(single[0], single[1], atol=1e-4) and not np.allclose(single[1], single[2], atol=1e-4)
    compiled, draw = [], FrameDraw.hybrid_forward
    monkeypatch.setattr(FrameDraw, 'hybrid_forward', lambda self, *given: (
        compiled.append(self.round), draw(self, *given))[1])
    for rounds in (1, 2, 3):
        score = scoring._scorer(stored, scoring.Scoring('', rounds=rounds))
        compiled.clear()
        for batch in (x, x[::-1], x):
            assert np.allclose(score(batch)(), np.mean(single[:rounds], axis=0)[::1 if batch is x else -1], atol=1e-6)
        assert compiled == sorted(compiled) and set(compiled) == set(range(rounds))  # in the first batch alone
        assert (score(x)() == score(x)()).all()


def test_fewer_classes_of_a_video_count(run, patterns):
    found = []
    for top in (20, 1):
        evaluated(run, patterns[1], top_k=top)
        found.append(json.loads((run / 'eval.json').read_text())['scores'])
    assert found[0]['gap'] > found[1]['gap'] and found[0]['hit_at_1'] == found[1]['hit_at_1']


def test_records_that_cannot_be_read_stop_it_or_are_left_out(run, tmp_path):
    pattern = records(tmp_path / 'data', 9, 'validate')
    path = tmp_path / 'data' / 'validate00.tfrecord'
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    with pytest.raises(RecordError, match='validate00.tfrecord'):
        evaluated(run, pattern)
    evaluated(run, pattern, on_error='skip')
    scores = json.loads((run / 'eval.json').read_text())['scores']
    assert (scores['count'], scores['expected']) == (8, 9)
    assert '8 of 9 videos (one that could not be read counts as wrong in Hit@1 and PERR, and not at all in GAP' in (
        run / 'evallog.txt').read_text()


def test_files_that_are_torn_are_named_beside_the_scores(run, tmp_path):
    pattern = records(tmp_path / 'data', 9, 'validate')
    path = tmp_path / 'data' / 'validate01.tfrecord'
    path.write_bytes(path.read_bytes()[:-7])
    evaluated(run, pattern, on_error='skip')
    found = json.loads((run / 'eval.json').read_text())
    assert found['scores']['count'] == 8 and str(path) in found['protocol']['torn'][0]
    assert f'1 torn file, what follows there is not counted: {path}' in (run / 'evallog.txt').read_text()
    evaluated(run, pattern.replace('*', '00'))
    assert json.loads((run / 'eval.json').read_text())['protocol']['torn'] == []


def test_no_more_processes_read_than_there_are_cores(run, patterns, monkeypatch):
    asked, scorer = [], run_evaluation.FileScorer
    monkeypatch.setattr(run_evaluation, 'FileScorer', lambda plan, *rest, **named: (
        asked.append(plan.num_readers), scorer(replace(plan, num_readers=0), *rest, **named))[1])
    monkeypatch.setattr(run_evaluation.engine, 'usable_cores', lambda: 3)
    for number in (0, 2, 8):
        evaluated(run, patterns[1], num_readers=number)
    assert asked == [0, 2, 3]


@pytest.mark.parametrize('members', [1, 2])
def test_quantized_models_and_sums_are_scored_where_there_are_no_checkpoints(run, patterns, tmp_path, members):
    architecture, arrays = Architecture.read(run), state_of(run)['averages']
    evaluated(run, patterns[1])
    scores = json.loads((run / 'eval.json').read_text())['scores']
    folder, half = tmp_path / 'imported', {key: array.astype(np.float16) for key, array in arrays.items()}
    write_stored(folder / 'inference_model', [(architecture, half)] * members)
    evaluated(folder, patterns[1], sample_all=True)
    found = json.loads((folder / 'eval.json').read_text())['scores']
    assert found != scores and found['gap'] == pytest.approx(scores['gap'], abs=0.01)
    stored = read_stored(folder)
    assert stored.quantized and stored.weights == [1 / members] * members
    assert all(member.architecture.sample_all for member in stored.members)


def test_statistics_that_have_hardly_moved_are_warned_of(patterns, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)
    trained(patterns[0], tmp_path, max_steps=2, model='NetVLADModelLF', netvlad_cluster_size=4, netvlad_hidden_size=6)
    caplog.clear()
    evaluated(tmp_path, build_only=True)
    assert 'batch normalisation still has 100% of its initial statistics after 2 steps' in caplog.text


def test_a_model_without_checkpoints_is_scored(run, patterns, tmp_path):
    """What was imported, or made elsewhere."""
    folder = tmp_path / 'imported'
    write_stored(folder / 'inference_model', [(Architecture.read(run), state_of(run)['params'])], about={'step': 77})
    evaluated(folder, patterns[1], run_once=False)
    assert json.loads((folder / 'eval.json').read_text())['step'] == 77
    assert Architecture.read(folder).num_classes == CLASSES
    with pytest.raises(UsageError, match='--use_EMA: .*no moving averages'):
        evaluated(folder, patterns[1], use_EMA=True)


def test_it_sleeps_until_there_is_a_new_checkpoint(run, patterns, tmp_path, monkeypatch, caplog):
    """Nothing at first, then a checkpoint, the same once more, another one."""
    folder, slept = tmp_path / 'other', []
    folder.mkdir()
    state = read_checkpoint(run / 'checkpoints' / 'step-00000008')[1]
    checkpoints = CheckpointDir(folder / 'checkpoints')

    class Enough(Exception):
        pass

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) in (2, 4):
            checkpoints.save(10 * len(slept), state)
        if len(slept) == 6:
            raise Enough
    monkeypatch.setattr(run_evaluation.time, 'sleep', sleep)
    with pytest.raises(Enough), caplog.at_level(logging.INFO):
        evaluated(folder, patterns[1], run_once=False, poll_seconds=3.)
    steps = re.findall(r'eval number (\d+)', (folder / 'evallog.txt').read_text())
    assert steps == ['20', '40'] and set(slept) == {3.}
    assert sum('No checkpoint file found' in line for line in caplog.messages) == 1


def test_a_checkpoint_that_is_removed_while_it_is_read_is_no_end(run, patterns, monkeypatch):
    load = CheckpointDir.load_latest
    calls = []

    def load_latest(self, parts):
        calls.append(1)
        if len(calls) == 1:
            self.save(9, load(self).state)
            raise CheckpointError('gone')
        return load(self, parts)
    monkeypatch.setattr(CheckpointDir, 'load_latest', load_latest)
    monkeypatch.setattr(run_evaluation.time, 'sleep', lambda seconds: None)
    evaluated(run, patterns[1])
    assert json.loads((run / 'eval.json').read_text())['step'] == 9

    def broken(self, parts):
        raise CheckpointError('torn')
    monkeypatch.setattr(CheckpointDir, 'load_latest', broken)
    with pytest.raises(CheckpointError, match='torn'):
        evaluated(run, patterns[1])


@pytest.mark.parametrize('more, error, told', [
    ({}, UsageError, '--eval_data_pattern: needs'), ({'train_dir': ''}, UsageError, '--train_dir: needs'),
    ({'train_dir': 'nowhere', 'build_only': True}, UsageError, '--train_dir nowhere is no folder'),
    ({'poll_seconds': float('inf'), 'build_only': True}, UsageError, '--poll_seconds: must be a finite number'),
    ({'n_rounds': 0}, UsageError, '--n_rounds must be 1 or more'),
    ({'eval_data_pattern': 'no/such*'}, UsageError, 'no/such')])
def test_what_cannot_be_is_refused_with_its_flag(run, more, error, told):
    with pytest.raises(error, match=told):
        evaluated(**{'folder': run, **({'train_dir': more['train_dir']} if 'train_dir' in more else {}),
                     **{name: value for name, value in more.items() if name != 'train_dir'}})


def test_a_folder_without_a_run_is_an_error(patterns, tmp_path):
    for more in ({'build_only': True}, {'run_once': True}):
        with pytest.raises(CheckpointError, match='no checkpoint file found'):
            evaluated(tmp_path, patterns[1], **more)
    CheckpointDir(tmp_path / 'checkpoints').save(3, {'config': {'lr': 1}})
    with pytest.raises(UsageError, match='another command'):
        evaluated(tmp_path, patterns[1])


# Interruptions

RESULTS = ('eval.json', 'evallog.txt')


def results_of(folder):
    found = {name: (folder / name).read_bytes() for name in RESULTS}
    for name in RESULTS:
        (folder / name).unlink()
    return found


def interrupted(folder, pattern, stop_at, **more):
    with counted(GluonScorer, '__call__', stop_at), pytest.raises(KeyboardInterrupt):
        evaluated(folder, pattern, **more)
    return (folder / 'eval.unfinished').read_bytes().splitlines(keepends=True)


def test_an_interrupted_scoring_goes_on_where_it_stood_to_the_same_bytes(run, patterns, caplog):
    caplog.set_level(logging.INFO)
    with counted(GluonScorer, '__call__') as scored:
        evaluated(run, patterns[1], batch_size=2)
    whole, batches = results_of(run), len(scored)
    assert batches == 7 and not (run / 'eval.unfinished').exists()
    for stop_at in range(2, batches):
        lines = interrupted(run, patterns[1], stop_at, batch_size=2)
        assert 'the same command resumes with the other records' in caplog.text
        assert not (run / 'eval.json').exists() and stop_at - 1 <= len(lines) - 1 <= stop_at
        with counted(GluonScorer, '__call__') as scored:
            evaluated(run, patterns[1], batch_size=2)
        assert len(scored) == batches - (len(lines) - 1) and results_of(run) == whole
        assert not (run / 'eval.unfinished').exists()


def test_what_a_scoring_left_is_believed_of_the_same_job_and_files_only(run, patterns, tmp_path):
    shutil.copytree(Path(patterns[1]).parent, tmp_path / 'records')
    pattern = tmp_path / 'records' / Path(patterns[1]).name
    evaluated(run, pattern, batch_size=2)
    whole = results_of(run)
    for other in ({'top_k': 3}, {'batch_size': 3}, {'on_error': 'skip'}, {'use_EMA': False}):
        interrupted(run, pattern, 5, batch_size=2)
        with counted(GluonScorer, '__call__') as scored:
            evaluated(run, pattern, **{'batch_size': 2, **other})
        assert len(scored) >= 5 and not (run / 'eval.unfinished').exists()
        results_of(run)
    header, *lines = interrupted(run, pattern, 6, batch_size=2)
    good = [json.loads(line) for line in lines]
    forged = [{**good[0], 'counts': [2 ** 40] * 3}, {**good[1], 'values': good[1]['marks']}, {**good[2], 'file': 7},
              {**good[3], 'stamp': [1, 2]}, {**good[4], 'crowds': [[1]]}, {'file': 0, 'batch': 0}]
    (run / 'eval.unfinished').write_bytes(header + b''.join(json.dumps(line).encode() + b'\n' for line in forged))
    with counted(GluonScorer, '__call__') as scored:
        evaluated(run, pattern, batch_size=2)
    assert len(scored) == 7 and results_of(run) == whole
    interrupted(run, pattern, 6, batch_size=2)
    first = min(pattern.parent.glob(pattern.name))
    os.utime(first, ns=(1, 1))  # another file, as far as anybody can tell: its two batches are scored again
    with counted(GluonScorer, '__call__') as scored:
        evaluated(run, pattern, batch_size=2)
    assert len(scored) == 7 - 5 + 2 and results_of(run) == whole
