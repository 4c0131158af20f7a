"""Training on features of frames: YouTube-8M's, with or without a teacher, and moving averages of a model."""
from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Collection
from pathlib import Path

from .... import engine
from ....compute.engines import ENGINES
from ....data.loading.loader import VideoLoader
from ....data.tfrecords.features.frame_features import FeatureRecords
from ....errors import UsageError
from ....feature_architecture import FILE, SAMPLING, Architecture
from ....model_zoo import model_card
from ....model_zoo.frame_features import options_without_effect
from ....model_zoo.frame_features.network import network_of
from ....model_zoo.frame_features.stored.model import StoredModel
from ....model_zoo.frame_features.stored.reading import read_stored
from ....model_zoo.loading.fit import assign
from ....options import command_of, options_of
from ....run_config import read_run_config
from ...hooks import SaveCheckpoints
from ...progress import Progress
from ...run.by_steps import fit_by_steps
from ...run.folder.lock import held
from ...run.folder.run_folder import FolderMessages
from ...run.folder.save_dir import SaveDir
from ...run.history.log import RunLog
from ...run.history.summaries import Summaries
from ...run.run import Recipe, RunData, TrainResult, existing, run, tensorboard_line
from .config import FREE_TO_CHANGE, SCHEDULED, FeatureTraining, check_config
from .learning import build_loop, computing
from .log import DrawHistory, NoteTorn, TagStyle, unsettled

log = logging.getLogger(__name__)

LOG = 'train.log'
#: What training, evaluation and import leave in a folder, beside what every run does.
_WRITTEN = r'train\.log|model_flags\.json|evallog\.txt|eval\.json|inference_model\.(params|json)'
_ANEW = '--start_new_model deletes that run, another --train_dir keeps it'
_MESSAGES = FolderMessages(
    folder='--train_dir', flag=lambda name: 'train_distill' if name == 'distill' else f'--{name}',
    list_flag='--{name}_data_pattern',
    other_run=f'--train_dir {{path}} holds another run: {{differing}}. Give what it was started with to resume it; '
              f'{_ANEW}',
    other_lists=f'{{path}} holds a run on other records: {{differing}} or what is in --predictions changed. Give what '
                f'it was started with; {_ANEW}',
    resumed='Going on from {checkpoint} (step {step}).',
    resume_hint='The same command resumes from {checkpoint}.',
    start_hint='{path} holds no checkpoint yet: the same command starts again.',
    unreadable_video='Where few records are like this, --on_error skip leaves them out.', overwrite='--start_new_model')
#: What a run that is resumed does not take over from before.
_OF_THE_COMMAND = frozenset({'train_dir', 'start_new_model', 'strict_flags', 'num_gpu', 'engine'})
_ARCHITECTURE = tuple(field.name for field in dataclasses.fields(Architecture))


def train(config: FeatureTraining, given: Collection[str] | None = None) -> TrainResult:
    """Train; a run that is in ``config.train_dir`` is resumed.

    Parameters
    ----------
    config : FeatureTraining
    given : collection of str, optional
        Options that were asked for. A stored model or a run that is resumed decides the others; by default those count
        as asked for that are not what they are by default.

    Raises
    ------
    UsageError
        When options contradict each other, or the folder holds another run.
    GluonActionError
        When records, the model, devices or the disk fail; what was saved before is kept.
    """
    return run(FeatureRecipe(config, given))


class FeatureRecipe(Recipe):
    """A network of features on YouTube-8M's records, by steps.

    Parameters
    ----------
    config : FeatureTraining
    given : collection of str, optional
        See `train`.
    """

    packages = ('gluon_action', 'numpy')

    def __init__(self, config: FeatureTraining, given: Collection[str] | None = None):
        super().__init__(config)
        self.given = frozenset(
            field.name for field in dataclasses.fields(config) if getattr(config, field.name) != field.default
        ) if given is None else frozenset(given)
        self._source = self._before = None

    @property
    def card(self):
        """The card of the network."""
        return model_card(self.config.model)

    def check(self):
        """Refuse options that contradict each other, and a network that there is not."""
        check_config(self.config)
        network_of(self.config)

    def devices(self):
        """Return as many GPUs as there are, up to --num_gpu, or the CPU; of the engine of the run that is resumed."""
        config = self.config if self.config.start_new_model else _computed_as_before(self.config, self.given)
        self.engine, contexts = computing(config.engine, config.num_gpu)
        self.config = dataclasses.replace(config, towers=self.engine.num_devices)
        return contexts

    def about_command(self):
        """Return the command line that trains the same anew: what a run that is resumed was begun with is in it."""
        command = f'gluon-action youtube8m {"train_distill" if self.config.distill else "train"}'
        return {'command': command_of(command, self.config, without=('start_new_model',)), 'directory': os.getcwd()}

    def open_folder(self, cleanup):
        """Return `train_dir`. What was not asked for is as it was in the run that is resumed."""
        config = self.config
        cleanup.enter_context(held(config.train_dir, _MESSAGES.folder))
        unsaid = {field.name for field in dataclasses.fields(config)} - self.given - {'distill'}
        messages = dataclasses.replace(_MESSAGES, resume_hint='The same command without --start_new_model resumes from '
                                       '{checkpoint}.') if config.start_new_model else _MESSAGES
        folder = SaveDir(config.train_dir, config, messages, FREE_TO_CHANGE.union(_ARCHITECTURE, unsaid),
                         resume='' if config.start_new_model else 'auto', overwrite=config.start_new_model,
                         written=_WRITTEN, inside=('eval',), needed={'ema_source': config.ema_source})
        if folder.checkpoint:
            self._resume(folder)
        folder.announce()
        return folder

    def prepare(self, folder):
        """Find the model to start from, which decides what the network is."""
        if self.config.ema_source and folder.checkpoint is None:
            self._source = read_stored(self.config.ema_source)
            self._adopt(_as_trained(self._source), f'--ema_source {self.config.ema_source}')
        for note in self.config.architecture.notes():
            log.info('%s.', note)
        if unread := options_without_effect(self.config.model, self.given):
            log.info('%s: %s does not have %s, no effect.', ', '.join(f'--{name}' for name in unread),
                     self.config.model, 'it' if len(unread) == 1 else 'them')

    def open_data(self, cleanup):
        """Open the records."""
        config = self.config
        architecture = config.architecture
        records = FeatureRecords(
            config.patterns, features=architecture.features, num_classes=architecture.num_classes,
            max_frames=architecture.max_frames, frame_level=architecture.frame_features,
            teacher=(config.predictions or 'records') if config.distill else None, on_error=config.on_error)
        log.info('Using batch size of %d for training.', config.batch_size)
        self._keep_count(len(records))
        loader = cleanup.enter_context(VideoLoader(
            records, config.step_size, shuffle=True, seed=config.seed, on_error=config.on_error,
            max_skip_share=config.max_skip_share, num_workers=min(config.num_readers, engine.usable_cores())))
        return RunData({'train': loader}, architecture.num_classes, None, multi_label=True)

    def build_loop(self, data, contexts, *, restored=False):
        """Return the loop."""
        config = self.config
        ahead = config.done_epochs * len(data.train.dataset) - config.done_steps * config.step_size if data else 0
        return build_loop(config, contexts, ahead, self.engine)

    def start(self, loop, data, folder):
        """Take over the values of --ema_source, which are also the first averages."""
        if self._source is None:
            return 'random values'
        source, self._source = self._source, None
        assign(loop.learner.net, dict(source.members[0].parameters()), source.prefix)
        loop.learner.adopt()
        return f'{source.prefix} ({source.sha256})'

    def saved_with_state(self, data):
        """Say also what the features came through: a model knows no others."""
        return {**super().saved_with_state(data), 'features': data.train.dataset.origin}

    def fit(self, loop, data, folder):
        """Train until --num_epochs or --max_steps are done."""
        config, batches = self.config, len(data.train)
        config.architecture.write(folder.path)
        shift = _shift(config, batches)
        total = config.num_epochs * batches - shift
        ends = config.max_steps is not None and config.max_steps < total
        total = max(1, config.max_steps if ends else total)
        _stand_in_epoch(loop.progress, batches, shift, total)
        fit_by_steps(loop, data.train, every=batches, total=total, shift=shift,
                     hooks=lambda: self.hooks(loop, data, folder), flag='--max_steps' if ends else '--num_epochs')

    def hooks(self, loop, data, folder):
        """Return the log, TensorBoard's histograms, and the checkpoints."""
        config = self.config
        folder.checkpoints.keep, batches = config.keep_checkpoints, len(data.train)
        style = TagStyle(loop.scores, batches, _shift(config, batches))
        records = RunLog(folder.path, style, logging_file=LOG, log_interval=0, draws=False, title=(
            f'{config.model} on {len(data.train.dataset)} videos, learning rate {config.base_learning_rate:g}'))
        return [records, NoteTorn(records, data.train.dataset.torn),
                Summaries(records.events, every=len(data.train), images=0, activations=False),
                SaveCheckpoints(folder.checkpoints, extra=self.saved_with_state(data), minutes=config.save_minutes),
                DrawHistory(records)]

    def result(self, loop, data, folder):
        """Return how the run ended, with a warning where it was too short to be evaluated."""
        config = self.config
        if warning := unsettled(config, loop.learner.net._collect_params_with_prefix(), loop.progress.update,
                                dataclasses.asdict(config)):
            log.warning('%s', warning)
        return super().result(loop, data, folder)

    def summary_lines(self, result):
        """Say where the run stands, and where to look."""
        return ['Done training -- epoch limit reached.' if result.step and self.config.max_steps is None else
                f'Done training -- {result.step} steps.',
                *existing(result.save_dir, 'history.png', LOG, 'failures.jsonl'),
                tensorboard_line(result.save_dir)]

    def _resume(self, folder) -> None:
        """Take over what was not asked for from the run that is resumed, and say what is another from here on."""
        state = folder.checkpoint.state
        before = {field.name: field.default for field in dataclasses.fields(self.config)} | state['config']
        if 'train_data_pattern' not in state['config']:
            raise UsageError(f'--train_dir {folder.path} holds a run of another command; give another folder')
        stored = Architecture(**{name: before[name] for name in _ARCHITECTURE})
        kept = {name: before[name] for name in options_of(FeatureTraining) if name not in self.given | _OF_THE_COMMAND}
        self.config = dataclasses.replace(self.config, **kept)
        self._adopt(stored, f'the run in --train_dir {folder.path}')
        self._before = dataclasses.replace(self.config, **{name: before[name] for name in (
            'batch_size', 'towers', 'done_steps', 'done_epochs')}), state['loop']['progress']['step']
        if before['towers'] != self.config.towers:
            log.info('A batch was shared by %d devices and is by %d from step %d on.', before['towers'],
                     self.config.towers, state['loop']['progress']['step'])
        for name in SCHEDULED:
            now = getattr(self.config, name)
            if before[name] != now:
                log.info('--%s was %s and is %s from step %d on.', name, before[name], now,
                         state['loop']['progress']['step'])

    def _keep_count(self, videos: int) -> None:
        """Remember how often a run that is resumed with batches of another size has been over its records."""
        if self._before is None:
            return
        before, step = self._before
        steps, epochs = before.done_steps, before.done_epochs
        if before.step_size != self.config.step_size:
            steps, epochs = step, epochs + (step - steps) / -(-videos // before.step_size)
        self.config = dataclasses.replace(self.config, done_steps=steps, done_epochs=epochs)

    def _adopt(self, stored: Architecture, where: str) -> None:
        """Be the network that is stored, and say what was asked for in vain."""
        asked = {name: getattr(self.config, name) for name in _ARCHITECTURE if name in self.given}
        architecture, warnings = stored.merged(asked)
        for warning in warnings:
            if self.config.strict_flags:
                raise UsageError(f'--strict_flags: {where}: {warning}')
            log.warning('%s: %s.', where, warning)
        if self.config.distill:  # whatever the stored network was trained by
            architecture = dataclasses.replace(architecture, label_loss=FeatureTraining.label_loss)
        self.config = dataclasses.replace(self.config, **{name: getattr(architecture, name) for name in _ARCHITECTURE})


def _as_trained(source: StoredModel) -> Architecture:
    """Return the architecture of the model that training starts from.

    An evaluation may have drawn frames otherwise, which is a part of the model that it wrote; how they were drawn in
    training, the file of the run beside it says.
    """
    architecture, folder = source.single('--ema_source').architecture, source.prefix.parent
    if not (folder / FILE).is_file():
        return architecture
    run = Architecture.read(folder)
    return dataclasses.replace(architecture, **{name: getattr(run, name) for name in SAMPLING})


def _shift(config: FeatureTraining, batches: int) -> int:
    """Return how many batches further the data are than the run, of epochs of so many batches."""
    return round(config.done_epochs * batches) - config.done_steps


def _stand_in_epoch(progress: Progress, batches: int, shift: int, total: int) -> None:
    """Let a run that is not done continue its epoch of the data, which --max_steps may have ended early.

    Parameters
    ----------
    progress : Progress
    batches : int
        Of an epoch.
    shift : int
        As in `StepLoader`.
    total : int
        Steps of the run.
    """
    if progress.step < total:
        progress.epoch, progress.batch = divmod(progress.step + shift, batches)
        progress.history = [record for record in progress.history if record['epoch'] < progress.epoch]


def _computed_as_before(config: FeatureTraining, given: Collection[str]) -> FeatureTraining:
    """Return options with the engine and the --num_gpu of the run in the folder, where nobody asked for others."""
    folder = Path(config.train_dir).expanduser()
    about = read_run_config(folder) if (folder / 'config.json').is_file() else None
    before = (about or {'config': {}})['config']
    kept = {name: before[name] for name in ('num_gpu', 'engine') if name in before and name not in given}
    if kept.get('engine') not in ENGINES:  # of a version that had no choice
        kept.pop('engine', None)
    if kept.get('engine', config.engine) != config.engine:
        log.info('--engine %s, as the run in %s was trained.', kept['engine'], folder)
    return dataclasses.replace(config, **kept)
