"""A start that is scored, epochs that are given up, and averages that are shown in place of the last weights."""
import json

import numpy as np
import pytest
from loops import Batches, make_loop, make_net, same, weights

from gluon_action.model_zoo.loading.params_file import read_parameters
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints, SaveParameters, SayStalled
from gluon_action.train.progress import Progress
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.history.log import RunLog


def good_loop(rate=0.05, **more):
    """A loop whose network has learnt."""
    loop = make_loop(make_net(dropout=0.), schedule=lambda update: 0.05, **more)
    loop.fit(Batches(), epochs=4)
    loop.progress = Progress()
    loop.schedule = lambda update: rate
    return loop


def validation():
    return Batches(shuffle=False)


def files_of(folder):
    return sorted(path.name for path in folder.glob('*.params'))


def test_a_start_that_no_epoch_beats_is_what_is_kept(tmp_path):
    loop = good_loop(rate=30.)
    start = weights(loop)
    found = loop.validate(validation())
    loop.fit(Batches(), validation(), epochs=2, score_start=True, hooks=[
        RunLog(tmp_path, bar=False), SaveParameters(tmp_path, 'a', 'b', frequency=0)])
    progress = loop.progress
    assert found['top1'] > 0.9 and progress.best == found['top1'] and progress.best_epoch is None
    assert progress.history[-1]['val_top1'] < 0.9 and not any(record['best'] for record in progress.history)
    assert same(read_parameters(tmp_path / 'best.params'), start) and not same(weights(loop), start)
    assert files_of(tmp_path) == [f'{found["top1"]:.4f}-a-b-start-best.params', 'a-b-001.params', 'best.params']
    log = (tmp_path / 'train.log').read_text()
    assert log.startswith(f'[Start] validation: acc-top1={100 * found["top1"]:.2f}')
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [line['kind'] for line in lines] == ['start', 'epoch', 'epoch'] and lines[0]['val_loss'] == found['loss']


def test_an_epoch_that_is_better_than_the_start_takes_its_place(tmp_path):
    loop = make_loop(make_net(dropout=0.))
    loop.fit(Batches(), validation(), epochs=3, score_start=True,
             hooks=[SaveParameters(tmp_path, 'a', 'b', frequency=0)])
    assert loop.progress.start['val_top1'] < 0.8 < loop.progress.best and loop.progress.best_epoch is not None
    assert len(files_of(tmp_path)) == 3 and not any('start' in name for name in files_of(tmp_path))


def test_the_start_is_scored_once_and_remembered_by_a_run_that_goes_on(tmp_path):
    folder, val = CheckpointDir(tmp_path), validation()
    first = good_loop(rate=30.)
    first.fit(Batches(), val, epochs=1, score_start=True, hooks=[SaveCheckpoints(folder)])
    assert [epoch for epoch, number in val.read if number == 0] == [0, 0]
    again = good_loop(rate=30.)
    again.load_state_dict(folder.load_latest().state)
    again.fit(Batches(), val, epochs=2, score_start=True)
    assert len([epoch for epoch, number in val.read if number == 0]) == 3
    assert again.progress.start == first.progress.start and again.progress.best_epoch is None
    assert again.progress.best == first.progress.best


@pytest.mark.parametrize('start, scores, best', [
    (0.8, (0.7, 0.9), 1), (0.8, (0.7, 0.6), None), (float('nan'), (0.1, 0.), 0), (0.8, (0.8,), None)])
def test_what_is_the_best_counts_the_start(start, scores, best):
    progress = Progress()
    progress.keep_start({'val_top1': start, 'val_loss': 0.5})
    for epoch, score in enumerate(scores):
        progress.finish_epoch({'epoch': epoch, 'val_top1': score, 'val_loss': 0.6})
    assert progress.best_epoch == best
    progress.finish_epoch({'epoch': 9, 'val_top1': progress.best, 'val_loss': 0.1})
    assert progress.history[-1]['best']  # as good, and of lower loss


class Scored(Hook):
    """Makes epochs as good as it is told."""

    def __init__(self, scores):
        self.scores = iter(scores)

    def on_scored(self, loop, scores, batch):
        scores.summary = lambda: {'top1': self.score, 'top5': 1., 'loss': 1., 'expected': 1, 'count': 1}

    def on_batch(self, loop, batch):
        if loop.progress.batch == 0:
            self.score = next(self.scores)


@pytest.mark.parametrize('patience, epochs', [(0, 8), (2, 5), (3, 8), (9, 8)])
def test_training_ends_when_epochs_are_no_better_for_long(patience, epochs, tmp_path):
    loop, records = make_loop(), RunLog(tmp_path, bar=False)
    history = loop.fit(Batches(count=4), Batches(count=4), epochs=8, patience=patience, hooks=[
        Scored([0.3, 0.2, 0.4, 0.4, 0.1, 0.5, 0.4, 0.4]), records, SayStalled(records, patience)])
    assert len(history) == epochs
    told = f'--patience {patience} ends the training after {epochs} of 8' in (tmp_path / 'train.log').read_text()
    assert told == (epochs < 8)


def test_the_epochs_before_a_resume_count_for_patience():
    loop = make_loop()
    loop.progress.history = [{'epoch': epoch, 'best': epoch == 0, 'val_top1': 0.5} for epoch in range(3)]
    loop.progress.epoch = 3
    assert loop.progress.has_stalled(2) and not loop.progress.has_stalled(3) and not loop.progress.has_stalled(0)
    assert len(loop.fit(Batches(), Batches(), epochs=9, patience=2)) == 3


@pytest.mark.parametrize('devices', [1, 2])
def test_averages_are_validated_and_kept_and_the_last_weights_are_trained_on(devices, tmp_path):
    loop = make_loop(make_net(devices, dropout=0.), devices, average=0.8)
    loop.averaged = True
    plain = make_loop(make_net(devices, dropout=0.), devices)
    val, folder = validation(), CheckpointDir(tmp_path)

    class Keep(Hook):
        def on_scored(self, loop, scores, batch):
            states.append(loop.state_dict())
    states = []
    loop.fit(Batches(), val, epochs=2, hooks=[Keep(), SaveParameters(tmp_path, 'a', 'b', frequency=0),
                                              SaveCheckpoints(folder)])
    plain.fit(Batches(), val, epochs=2)
    assert same(weights(loop), weights(plain))
    averages = loop.learner.averages.arrays()
    assert same(loop.parameters(), averages) and not same(averages, weights(loop))
    assert same(read_parameters(tmp_path / 'a-b-001.params'), averages)
    # What a state holds that is saved in the midst of a validation is what is trained.
    assert same(states[-1]['params'], weights(loop)) and same(states[-1]['averages'], averages)
    assert not loop.learner.averages.aside
    shown = make_loop(make_net(devices, dropout=0.), devices)
    for name, param in shown.learner._params.items():
        param.set_data(averages[name])
    assert shown.validate(val)['loss'] == pytest.approx(loop.progress.history[-1]['val_loss'], rel=1e-5)


def test_a_validation_that_fails_leaves_the_weights_that_are_trained():
    loop = make_loop(average=0.5)
    loop.averaged = True
    loop.fit(Batches(), epochs=1)
    before = weights(loop)

    class Failing(Hook):
        def on_scored(self, loop, scores, batch):
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        loop.validate(validation(), [Failing()])
    assert same(weights(loop), before) and all(np.isfinite(array).all() for array in before.values())
