"""What trainings ran into elsewhere: rates an update early, scores of nothing, and nonsense without a word."""
import json
import logging
from types import SimpleNamespace

import pytest
import tiny
from loops import Batches, FailingBatches, make_loop, make_net
from small_runs import flags_of_run, here, lines_of_json

from gluon_action.data.lists.annotations import Sample
from gluon_action.errors import UnscoredError
from gluon_action.model_zoo import model_card
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints, SaveParameters
from gluon_action.train.progress import Progress
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.parts import prepare_restored
from gluon_action.train.run import run as runs
from gluon_action.train.run.cautions import Cautions, Cures, of_lists
from gluon_action.train.run.folder.checkpoint import Checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.history.log import RunLog
from gluon_action.train.schedules import make_schedule

MODEL = tiny.OF_RUNS


pytestmark = pytest.mark.usefixtures('network_of_runs')


@pytest.fixture(scope='module')
def flags(demo_appearance):
    return flags_of_run(demo_appearance)


class Rates(Hook):
    """Keeps the rate that the optimizer had at every update."""

    def __init__(self):
        self.used = []

    def on_step(self, loop, result):
        if loop.between_updates and result.count:
            self.used.append(loop.learner.trainer.learning_rate)


# Rates

@pytest.mark.parametrize('per_epoch', [1, 2, 3])
def test_the_optimizer_has_the_first_rate_first_and_every_change_where_the_flag_says(per_epoch):
    schedule, rates = make_schedule('step', 0.1, 3, per_epoch, decay='1,2'), Rates()
    make_loop(schedule=schedule).fit(Batches(count=4 * per_epoch), epochs=3, hooks=[rates])
    assert rates.used == pytest.approx([0.1] * per_epoch + [0.01] * per_epoch + [0.001] * per_epoch)


def test_updates_whose_videos_cannot_be_read_do_not_move_the_changes():
    """The first of two batches is lost in every epoch: the change at epoch 2 is not made at epoch 4."""
    schedule, rates = make_schedule('step', 0.1, 4, 2, decay='2'), Rates()
    loop = make_loop(schedule=schedule)
    history = loop.fit(FailingBatches(count=8, shuffle=False, missing=range(4)), epochs=4, hooks=[rates])
    assert rates.used == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert (loop.progress.update, loop.progress.idle) == (4, 4)
    assert [record['lr'] for record in history] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def of_earlier_version(folder):
    """Let the newest checkpoint be one of a version that had one rule alone."""
    checkpoints = CheckpointDir(folder / 'checkpoints')
    found = checkpoints.load_latest()
    del found.state['config']['schedule_rule'], found.state['config']['checkpoint_minutes']
    del found.state['loop']['progress']['idle']
    checkpoints.save(found.step, found.state)


def test_a_run_that_an_earlier_version_began_keeps_its_rule(flags, tmp_path):
    linear = [*flags, '--lr-mode', 'linear', '--save-frequency', 0, '--num-epochs', 2]
    assert here(linear, '--save-dir', tmp_path / 'new') == 0
    assert here(linear, '--save-dir', tmp_path / 'old', '--num-epochs', 1) == 0
    of_earlier_version(tmp_path / 'old')
    for epochs in (2, 3):  # the second time from a checkpoint of this version
        assert here(linear, '--save-dir', tmp_path / 'old', '--resume', '--num-epochs', epochs) == 0
    new, old = ([record['lr'] for record in lines_of_json(tmp_path / name / 'metrics.jsonl')
                 if record['kind'] == 'batch'] for name in ('new', 'old'))
    assert new == pytest.approx([0.01 * (12 - done) / 12 for done in range(12)])
    # Update u is at place u of 0..11, and past the end there is the last rate; then the same in 0..17.
    assert old[6:12] == pytest.approx([0.01 * (1 - min(place, 11) / 11) for place in range(7, 13)], abs=1e-12)
    assert old[12:] == pytest.approx([0.01 * (1 - min(place, 17) / 17) for place in range(13, 19)], abs=1e-12)


@pytest.mark.parametrize('written, rule', [({}, 'gluoncv'), ({'schedule_rule': 'exact'}, 'exact'),
                                           ({'schedule_rule': 'gluoncv'}, 'gluoncv')])
def test_the_rule_of_a_run_is_that_of_its_checkpoint(tmp_path, written, rule):
    config = TrainConfig(model=MODEL, dataset='custom')
    (tmp_path / 'config.json').write_text(json.dumps({'config': {}, 'model': {'name': MODEL}}))
    restored = prepare_restored(config, model_card(MODEL), Checkpoint(1, {'config': written}, tmp_path))
    assert restored.config.schedule_rule == rule and config.schedule_rule == 'exact'


# Scores

def test_a_data_folder_that_is_gone_in_a_validation_is_no_score_and_costs_nothing(tmp_path):
    folder, loop = CheckpointDir(tmp_path), make_loop()
    with pytest.raises(UnscoredError, match='not one of the 22 samples of the validation could be read'):
        loop.fit(Batches(), FailingBatches(missing=range(22)), epochs=1, hooks=[SaveCheckpoints(folder)])
    assert loop.progress.history == [] and folder.load_latest().step == 6
    assert loop.validate(FailingBatches(missing=range(21)))['count'] == 1


@pytest.mark.parametrize('scores, losses, best', [
    ((0.5, 0.5, 0.5), (0.45, 0.016, 0.2), 1), ((0.5, 0.5), (0.2, 0.2), 0), ((0.5, 0.4), (0.3, 0.1), 0),
    ((0.5, 0.5), (float('nan'), 0.1), 0), ((0.5, 0.5), (0.1, float('nan')), 0), ((0., 0.), (2., 1.), 1)])
def test_of_epochs_with_equal_scores_the_lower_loss_wins(scores, losses, best):
    progress = Progress()
    for epoch, (score, loss) in enumerate(zip(scores, losses)):
        progress.finish_epoch({'epoch': epoch, 'val_top1': score, 'val_loss': loss})
    assert progress.best_epoch == best and progress.best == scores[best]
    assert [record['best'] for record in progress.history][best]


def test_the_parameters_that_are_kept_are_those_of_the_lower_loss(tmp_path):
    class Same(Hook):
        def on_epoch(self, loop, record):
            kept.append(record['best'])

    kept = []
    val = Batches(count=3, shuffle=False)  # all right from the first epoch on
    make_loop().fit(Batches(count=60), val, epochs=5, hooks=[Same(), SaveParameters(tmp_path, 'a', 'b', frequency=0)])
    assert kept.count(True) > 1
    last = max(epoch for epoch, best in enumerate(kept) if best)
    assert (tmp_path / 'best.params').resolve().name.endswith(f'-a-b-{last:03d}-best.params')
    assert len(list(tmp_path.glob('*-best.params'))) == 1


# What is said

def test_the_speed_after_a_resume_at_an_epoch_is_not_below_zero(tmp_path):
    first, again = make_loop(), make_loop()
    states = []

    class Keep(Hook):
        def on_epoch(self, loop, record):
            states.append(loop.state_dict())

    first.fit(Batches(), epochs=1, hooks=[Keep()])
    again.load_state_dict(states[0])
    again.fit(Batches(), epochs=2, hooks=[RunLog(tmp_path, log_interval=2, bar=False)])
    speeds = [record['speed'] for record in lines_of_json(tmp_path / 'metrics.jsonl')]
    assert len(speeds) == 4 and min(speeds) > 0


def test_a_line_of_a_validation_has_its_own_batch_in_it(tmp_path):
    loop, val = make_loop(make_net(dropout=0.)), Batches(count=20, shuffle=False)
    loop.fit(Batches(), val, epochs=1, hooks=[RunLog(tmp_path, log_interval=1, bar=False)])
    lines = [line for line in (tmp_path / 'train.log').read_text().splitlines() if line.startswith('Batch [')]
    from mxnet import nd
    hits = loop.learner.net(nd.array(val.data[:, 0])).asnumpy().argmax(axis=1) == val.label
    expected = [100 * hits[:4 * n].mean() for n in range(1, 6)]
    assert [line.split()[2] for line in lines] == [f'acc-top1={value:.2f}' for value in expected]
    assert lines[-1].startswith('Batch [0004]/[0005]: ')


def test_the_best_five_of_three_classes_are_not_told(tmp_path):
    for classes, told in ((3, 0), (5, 0), (6, 2), (None, 2)):
        loop, place = make_loop(), tmp_path / str(classes)
        loop.learner.net.num_classes = classes
        place.mkdir()
        loop.fit(Batches(), Batches(count=4), epochs=1, hooks=[RunLog(place, log_interval=1, bar=False)])
        assert (place / 'train.log').read_text().count('acc-top5') == told
        assert lines_of_json(place / 'metrics.jsonl')[-1]['val_top5'] == 1


def test_videos_that_were_skipped_are_in_the_log(tmp_path):
    make_loop().fit(FailingBatches(missing=range(7)), FailingBatches(missing=(3,)), epochs=1,
                    hooks=[RunLog(tmp_path, bar=False)])
    lines = [line for line in (tmp_path / 'train.log').read_text().splitlines() if 'could not be read' in line]
    assert lines == [
        f'[Epoch 000] 7 could not be read in training: {"clip.avi, " * 5}...; failures.jsonl says why',
        '[Epoch 000] 1 could not be read in validation: clip.avi; failures.jsonl says why']


def test_tensorboard_is_said_to_be_missing_where_it_is(monkeypatch, tmp_path):
    for there, told in ((object(), ''), (None, '  (after: pip install tensorboard)')):
        monkeypatch.setattr('importlib.util.find_spec', lambda name, there=there: there)
        assert runs.tensorboard_line(tmp_path) == f'tensorboard --logdir {tmp_path}{told}'


# Cautions

def videos(*labels, classes=4, names=None, start=0, **about):
    samples = [Sample(f'/v/{number}.mp4', label, key=f'{number}.mp4', **about)
               for number, label in enumerate(labels, start)]
    return SimpleNamespace(samples=samples, num_classes=classes, classes=names)


def test_good_lists_are_not_warned_of():
    assert of_lists(videos(0, 1, 2, 3), videos(3, 1, start=9), Cures()) == []
    assert of_lists(videos(0, 1, 2, 3), None, Cures()) == []
    assert of_lists(videos((0, 1), (2, 3)), videos((), (1, 2), start=5), Cures()) == []
    # Other parts of the same file are other videos.
    assert of_lists(videos(0, 1, 2, 3, end=2.), videos(0, 1, 2, 3, start=0, end=4.), Cures()) == []


def test_classes_without_training_videos_are_named():
    line, = of_lists(videos(0, 0, 2, names=['run', 'sit', 'walk', 'fall']), videos(0, start=7), Cures())
    assert line.startswith('2 of 4 classes have no training video') and 'recognised: sit, fall; add' in line
    line, = of_lists(videos(0, classes=101), None, Cures())
    assert line.startswith('100 of 101 classes') and '1, 2, 3, 4, 5, ...' in line


def test_validation_videos_of_classes_that_are_never_trained_are_counted():
    _, line = of_lists(videos(0, 1), videos(0, 3, 3, 2, start=7), Cures(val_list='--mine'))
    assert line.startswith('3 of 4 validation videos are of classes without a training video') and '2, 3; take' in line
    assert '--mine' in line


@pytest.mark.parametrize('val, told', [((0, 1, 2, 3), 'all of 4'), ((0, 1), 'all of 2'), ((0, 1, 2, 3, 0), '4 of 5')])
def test_the_same_videos_in_both_lists_are_told(val, told):
    line, = of_lists(videos(0, 1, 2, 3), videos(*val), Cures())
    assert line.startswith(f'{told} validation videos are trained on as well') and '0.mp4, 1.mp4' in line
    assert '--val-list' in line


def said_by(folder, losses, caplog, **about):
    """What is said of epochs with these losses, of training and validation."""
    loop, records = make_loop(), RunLog(folder, log_interval=0, bar=False)
    hook = Cautions(records, Cures(), **about)
    loop.progress.update = 40
    hook.on_start(loop, 3, 5)
    for trained, scored in losses:
        hook.on_epoch(loop, {'loss': trained, 'val_loss': scored})
    lines = (folder / 'train.log').read_text().splitlines()
    assert [f'warning: {record.message}' for record in caplog.records if record.levelno == logging.WARNING] == lines
    records.close()
    return lines


@pytest.mark.parametrize('losses', [[(3.6, 3.9)], [(0.001, 0.5)], [(0.001, 4.)], [(3.6, 300.)], []])
def test_a_validation_loss_that_training_explains_is_not_warned_of(tmp_path, caplog, losses):
    assert said_by(tmp_path, losses, caplog, statistics=[0.9], samples=32, guessing=2.3) == []


@pytest.mark.parametrize('about, told', [
    ({'statistics': [], 'samples': 32}, 'a lower --lr may help'),
    ({'statistics': [0.9], 'samples': 32}, 'a lower --lr may help'),
    ({'statistics': [0.9, 0.999], 'samples': 32},
     'still 96% what they were before the first of 40 updates; train longer, or follow faster with --bn-momentum 0.9; '
     'a lower --lr may help too'),
    ({'statistics': [0.9], 'samples': 2},
     'larger --batch-size or --freeze-bn, as batch normalisation learns its running statistics from 2 samples')])
@pytest.mark.parametrize('loss, times', [(376_249., '1.05e+05 times that of training, 3.6'), (float('nan'), 'nan')])
def test_a_validation_loss_that_is_far_off_names_its_cure_once(tmp_path, caplog, about, told, loss, times):
    line, = said_by(tmp_path, [(3.6, 3.5), (3.6, loss), (3.6, loss)], caplog, guessing=2.3, **about)
    assert line.startswith(f'warning: the validation loss is {loss:.3g}, ') and times in line and told in line


@pytest.mark.parametrize('statistics, samples, warned', [([0.9], 1, True), ([0.9], 2, False), ([], 1, False)])
def test_a_batch_of_one_with_batch_normalisation_is_warned_of(tmp_path, caplog, statistics, samples, warned):
    lines = said_by(tmp_path, [], caplog, statistics=statistics, samples=samples)
    assert [line.startswith('warning: --batch-size 1: batch normalisation') for line in lines] == [True] * warned


def test_a_run_warns_of_all_of_it(flags, tmp_path, demo_appearance):
    few = tmp_path / 'few.txt'
    few.write_text('\n'.join(demo_appearance.train_list.read_text().splitlines()[:4]))
    given = [*flags, '--train-list', few, '--val-list', few, '--num-classes', 8, '--num-epochs', 1, '--batch-size', 1,
             '--num-segments', 1]
    for name, more, told in (('plain', [], 3), ('frozen', ['--train-params', 'head'], 2)):
        assert here(given, '--save-dir', tmp_path / name, *more) == 0
        lines = [line for line in (tmp_path / name / 'train.log').read_text().splitlines()
                 if line.startswith('warning: ')]
        assert len(lines) == told, lines
        assert 'classes have no training video' in lines[0] and 'all of 4 validation videos' in lines[1]
        assert told == 2 or '--batch-size 1' in lines[2]
