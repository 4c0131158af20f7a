"""The steps of a run, with the smallest recipes there are: made-up samples, one convolution, both kinds of folders."""
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from loops import Batches, contexts_of, make_loop, same, weights

from gluon_action.errors import UsageError, VideoReadError
from gluon_action.evaluate.scores.clip_scores import ClipScoring
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints, SaveParameters
from gluon_action.train.run.by_steps import StepsStyle, fit_by_steps
from gluon_action.train.run.folder.model_dir import ModelDir
from gluon_action.train.run.folder.run_folder import FolderMessages
from gluon_action.train.run.folder.save_dir import SaveDir
from gluon_action.train.run.history.log import RunLog
from gluon_action.train.run.run import Recipe, RunData, run

MESSAGES = FolderMessages(
    folder='--out', other_run='--out {path}: another run: {differing}', other_lists='--out {path}: {differing} changed',
    other_classes='the classes were {before}, are {now}', resume_hint='again from {checkpoint}', start_hint='anew',
    unreadable_video='Mend it.')
BY_STEPS = replace(MESSAGES, other_classes='', resumed='from step {step}', unreadable_video='')
CARD = SimpleNamespace(name='tiny', source='', mean=(0.,), std=(1.,), input_layout='NCHW')


@dataclass
class Config:
    out: str
    rate: float = 0.05
    num_epochs: int = 2
    resume: str = ''
    overwrite: bool = False
    restart: bool = False
    network: str = 'tiny'


@dataclass
class Later(Config):
    """What a later version has: one option more."""

    extra: int = 3


class Listed(list):
    """Samples of a list."""

    setting, list_sha256 = 'a.txt', 'a'


class ByEpochs(Recipe):
    """By epochs, in a `SaveDir`."""

    card, classes, sha256, more_hooks = CARD, ['x', 'y', 'z'], 'a', ()

    def check(self):
        if self.config.rate < 0:
            raise UsageError('--rate')

    def devices(self):
        return contexts_of(1)

    def open_folder(self, cleanup):
        folder = SaveDir(self.config.out, self.config, MESSAGES, ('out', 'num_epochs', 'resume', 'overwrite'),
                         resume=self.config.resume, overwrite=self.config.overwrite,
                         written=r'made-up-tiny.*|.*-best\.(params|states)|train\.log')
        folder.announce()
        return folder

    def open_data(self, cleanup):
        loaders = {'train': Batches(), 'val': Batches(shuffle=False)}
        for loader in loaders.values():
            loader.dataset = Listed(loader.label)
            loader.dataset.list_sha256 = self.sha256
        return RunData(loaders, 3, self.classes)

    def build_loop(self, data, contexts, *, restored=False):
        self.restored = restored
        return make_loop(schedule=lambda update: self.config.rate)

    def hooks(self, loop, data, folder):
        return [*self.more_hooks, RunLog(folder.path, log_interval=2, bar=False),
                SaveParameters(folder.path, 'made-up', 'tiny'),
                SaveCheckpoints(folder.checkpoints, extra=self.saved_with_state(data))]


class BySteps(ByEpochs):
    """By steps, in a `ModelDir`."""

    def open_folder(self, cleanup):
        folder = ModelDir(self.config.out, self.config, BY_STEPS, ('out', 'num_epochs', 'restart'), trains=True,
                          restart=self.config.restart)
        folder.announce()
        return folder

    def start(self, loop, data, folder):
        return str(folder.last_phase())

    def build_loop(self, data, contexts, *, restored=False):
        self.restored = restored
        return make_loop(schedule=lambda update: self.config.rate, scores=ClipScoring(3, multi_label=False))

    def fit(self, loop, data, folder):
        fit_by_steps(loop, data.train, data.val, every=5, total=5 * self.config.num_epochs,
                     hooks=lambda: self.hooks(loop, data, folder))

    def hooks(self, loop, data, folder):
        return [*self.more_hooks, RunLog(folder.path, StepsStyle(loop.scores, 0.1), log_interval=0, bar=False),
                SaveCheckpoints(folder.checkpoints, extra=self.saved_with_state(data))]


class Stop(Hook):
    """Ends a run at a step."""

    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_step(self, loop, result):
        if result.step == self.step:
            raise self.error


class KeepLoop(Hook):
    def on_end(self, loop):
        self.loop = loop


@pytest.mark.parametrize('kind', [ByEpochs, BySteps])
def test_a_stopped_run_is_resumed_as_if_never_stopped(tmp_path, kind, caplog):
    caplog.set_level('INFO')
    ends = []
    for place, stops in (('whole', [None]), ('stopped', [KeyboardInterrupt(), None])):
        for stop in stops:
            config = Config(str(tmp_path / place), resume='auto' if kind is ByEpochs else '')
            recipe, kept = kind(config), KeepLoop()
            recipe.more_hooks = [kept, *([Stop(8, stop)] if stop else [])]
            if stop:
                with pytest.raises(KeyboardInterrupt):
                    run(recipe)
                assert f'Interrupted. again from {tmp_path / place}/checkpoints/step-' in caplog.text
            else:
                result = run(recipe)
            assert recipe.restored == (stop is None and place == 'stopped')  # else weights may have to be fetched
        ends.append((weights(kept.loop), result.step, result.best_score, result.best_epoch))
    assert same(ends[0][0], ends[1][0]) and ends[0][1:] == ends[1][1:]
    assert len((tmp_path / 'stopped' / 'metrics.jsonl').read_text().splitlines()) == len(
        (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines())


@pytest.mark.parametrize('kind', [ByEpochs, BySteps])
def test_config_json_says_what_was_run(tmp_path, kind):
    run(kind(Config(str(tmp_path))))
    about = json.loads((tmp_path / 'config.json').read_text())
    assert list(about) == ['config', 'num_classes', 'classes', 'model', 'lists', 'started_from', 'versions']
    assert about['lists']['train'] == {'file': 'a.txt', 'sha256': 'a', 'videos': 22}
    assert about['config']['rate'] == 0.05 and about['model']['name'] == 'tiny'


@pytest.mark.parametrize('kind', [ByEpochs, BySteps])
@pytest.mark.parametrize('change, told', [
    ({'rate': 0.5}, 'another run: --rate was 0.05 and is 0.5'),
    ({'sha256': 'b'}, '--train-list and --val-list changed'),
    ({'classes': ['x', 'z', 'y']}, 'classes')])
def test_another_run_is_refused_before_anything_is_written(tmp_path, kind, change, told):
    run(kind(Config(str(tmp_path), num_epochs=1)))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    recipe = kind(Config(str(tmp_path), resume='auto' if kind is ByEpochs else '', rate=change.get('rate', 0.05)))
    vars(recipe).update(change)
    with pytest.raises(UsageError, match=told):
        run(recipe)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


@pytest.mark.parametrize('kind', [ByEpochs, BySteps])
def test_an_option_that_came_later_was_what_it_is_by_default(tmp_path, kind):
    run(kind(Config(str(tmp_path), num_epochs=1)))
    resume = 'auto' if kind is ByEpochs else ''
    with pytest.raises(UsageError, match='another run: --extra was 3 and is 4$'):
        run(kind(Later(str(tmp_path), num_epochs=1, resume=resume, extra=4)))
    assert run(kind(Later(str(tmp_path), num_epochs=1, resume=resume))).step


@pytest.mark.parametrize('kind, told', [(ByEpochs, r'torn. Mend it. again from .*step-00000006$'), (BySteps, 'torn$')])
def test_a_video_that_stops_a_run_is_told_with_what_can_be_done(tmp_path, kind, told):
    recipe = kind(Config(str(tmp_path)))
    recipe.more_hooks = [Stop(8, VideoReadError('x.avi', 'pyav', 'torn'))]
    with pytest.raises(VideoReadError, match=told):
        run(recipe)


def test_the_first_step_refuses_options_before_a_folder_is_made(tmp_path):
    with pytest.raises(UsageError, match='--rate'):
        run(ByEpochs(Config(str(tmp_path / 'run'), rate=-1)))
    assert not list(tmp_path.iterdir())


def test_only_the_first_of_several_machines_writes(tmp_path):
    class Second(ByEpochs):
        def open_data(self, cleanup):
            data = super().open_data(cleanup)
            data.rank = 1
            return data
    assert run(Second(Config(str(tmp_path)))).step == 12 and not list(tmp_path.iterdir())


def test_a_restart_puts_the_run_aside_and_a_finished_one_says_so(tmp_path, caplog):
    run(BySteps(Config(str(tmp_path), num_epochs=1)))
    config = Config(str(tmp_path), num_epochs=1, restart=True, rate=0.01)
    assert run(BySteps(config)).step == 5
    assert json.loads((tmp_path / 'config.json').read_text())['started_from'] == str(tmp_path / 'phase-1')
    caplog.set_level('INFO')
    assert run(BySteps(config)).step == 5
    assert 'The run has done its 5 steps; a larger --train_steps resumes it.' in caplog.text
    assert [path.name for path in tmp_path.glob('phase-*')] == ['phase-1']
