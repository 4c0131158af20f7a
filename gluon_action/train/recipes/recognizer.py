"""Train a recogniser from a `TrainConfig`: what a run on lists of videos is made of."""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...compute.engines import engine_of
from ...compute.learner import LearnerState
from ...compute.on_mxnet.parameters import kept_statistics
from ...errors import CheckpointError, DeviceError, UsageError
from ...evaluate.log_header import header
from ...evaluate.options.preparation import Prepared, by_card
from ...model_zoo import Recognizer, model_card
from ...model_zoo.registry import outside_module
from ...options import command_of, command_without, flag_of, options_of
from ...run_config import read_run_config
from ..hook import Hook
from ..hooks import SaveCheckpoints, SaveParameters, SaveScores, SayStalled
from ..run.cautions import Cautions, Cures, of_lists
from ..run.folder.checkpoint import understood
from ..run.folder.checkpoint_dir import read_optimizer
from ..run.folder.lock import held
from ..run.folder.run_folder import FolderMessages, versions
from ..run.folder.save_dir import SaveDir
from ..run.history.log import RunLog
from ..run.run import Recipe, TrainResult, existing, run
from ..schedules import updates_per_epoch
from .config import FINETUNE, FREE_ON_RESUME, OF_THE_NETWORK, TrainConfig, check_config
from .multi_label_log import MultiLabelStyle
from .own_videos import LISTS, OwnVideos, lists_of_run, own_videos
from .parts import (
    build_loop,
    build_recipe,
    check_early,
    check_training,
    from_run,
    open_data,
    prepare_restored,
    prepare_training,
)
from .recipe_defaults import decided_otherwise, decides, said, settled

log = logging.getLogger(__name__)

#: What is said about the folder of a run, in the words of ``scripts/train_recognizer.py``.
MESSAGES = FolderMessages(
    folder='--save-dir', flag=functools.partial(flag_of, TrainConfig),
    other_run='--resume: the run was another one: {differing}. Give what it was started with; or resume from it with '
              'what is given now, in another --save-dir: --resume-params with a .params file of {path}, '
              '--resume-states {path} for what the optimizer remembers, --resume-epoch with the number of epochs done; '
              'or start a new run from its parameters, with --resume-params alone',
    other_lists='--resume: the content of {differing} is not what the run was started with. Restore it, or start a new '
                'run from its parameters: --resume-params, with another --save-dir',
    other_classes='--resume: the classes were {before} and are {now}. Restore them, or start a new run: with another '
                  '--save-dir',
    resume_hint='The same command with --resume auto resumes from {checkpoint}.',
    start_hint='{path} holds no checkpoint yet: the same command starts anew.',
    unreadable_video='Mend the video, take it off the list, or leave out what cannot be read with --on-error skip.',
    overwrite='--overwrite')


def train_recognizer(config: TrainConfig, *, net: Recognizer | None = None, train_set=None, val_set=None,
                     hooks: Sequence[Hook] = ()) -> TrainResult:
    """Train a network on videos and keep everything that is learnt on the way.

    Parameters
    ----------
    config : TrainConfig
        With ``videos``, what is as by default has the values of the recipe.
    net : Recognizer, optional
        Trained instead of a network of the zoo; what is not initialised starts at random. It has a ``card``, whose name
        stands for the model's, and as many classes as the data. Tests and exports of the run find it again where a
        constructor is registered under that name, see `register_model`.
    train_set, val_set : data set, optional
        Trained and validated on instead of what lists name. Each has ``len()``, ``load(index, epoch=, view=)``, which
        gives float32 (S, ...) and a label without using MXNet, and ``samples``, ``num_classes``, ``classes``,
        ``multi_label``, ``setting`` and ``list_sha256`` as `VideoClsCustom` has.
    hooks : sequence of Hook
        Called beside those of the run, after the log and before files are saved.

    Returns
    -------
    TrainResult

    Raises
    ------
    UsageError
        When options contradict each other, or `save_dir` holds another run.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    """
    config = settled(config)
    if config.eval:
        if net is not None or train_set is not None or val_set is not None or hooks:
            raise UsageError('eval: scores what the configuration names; leave out net, train_set, val_set and hooks')
        return evaluate_only(config)
    return run(RecognizerRecipe(config, net=net, train_set=train_set, val_set=val_set, hooks=hooks))


class RecognizerRecipe(Recipe):
    """A network on lists of videos, by epochs, in GluonCV's files.

    Parameters
    ----------
    config : TrainConfig
    net, train_set, val_set, hooks
        As in `train_recognizer`.
    """

    packages = ('gluon_action', 'numpy', 'decord', 'av')
    command = 'gluon-action train'
    messages = MESSAGES
    cures = Cures()

    _prepared: Prepared | None = None
    _teacher: dict[str, Any] | None = None

    def __init__(self, config: TrainConfig, *, net: Recognizer | None = None, train_set=None, val_set=None,
                 hooks: Sequence[Hook] = ()):
        if net is not None and (not isinstance(net, Recognizer) or net.card is None):
            raise UsageError('net: is a gluon_action.model_zoo.Recognizer with a card (net.card = ModelCard...), got '
                             f'{type(net).__name__}{"" if isinstance(net, Recognizer) else ", which is none"}')
        own = {'model': net.card.name} if net is not None else {}
        if train_set is not None and config.dataset == TrainConfig.dataset:  # what files are named after
            own['dataset'] = 'custom'
        super().__init__(from_run(dataclasses.replace(config, **own)))  # a file, which --overwrite is to leave alone
        self._net, self._sets, self._hooks = net, {'train_set': train_set, 'val_set': val_set}, tuple(hooks)

    @property
    def has_others(self) -> bool:
        """Whether other machines train with this one."""
        return self.engine.has_others(self.config.kvstore)

    @property
    def card(self):
        """The card of the network, as its weights want it."""
        return self._prepared.card if self._prepared else self._own_card

    @property
    def _own_card(self):
        return model_card(self.config.model, _run_of(self.config)) if self._net is None else self._net.card

    @property
    def row(self):
        """Published weights that the run started from."""
        return self._prepared.row if self._prepared else None

    @property
    def engine(self):
        """The engine of the configuration."""
        return engine_of(self.config)

    def check(self):
        """Refuse options that contradict each other or mean nothing for the model."""
        check_early(self.config, self.card)

    def devices(self):
        """Check the GPUs that were asked for, or as many parts of the CPU; return where Gluon's networks lie."""
        return self.engine.contexts(several=True)

    def about_command(self):
        """Return the command line, where one can say it: not of a network or a data set that exists in memory."""
        asked, made = self.asked, self._net is not None or any(given is not None for given in self._sets.values())
        if made or self._hooks or not self.command:
            return {}
        # What came from the recipe comes from it again, and it would come instead of a default that was asked for.
        otherwise = decided_otherwise(self.config)
        if asked.videos and not asked.train_list and asked.resume is None:  # new videos decide this one again
            otherwise -= {'patience'}
        asked = dataclasses.replace(asked, **{name: getattr(self.config, name) for name in otherwise})
        without = {'resume', 'overwrite', *(asked.from_recipe or ())} - otherwise
        with_lists = asked.videos and asked.train_list
        before = read_run_config(asked.resume) if with_lists and asked.resume else None
        if before and before.get('command'):  # resumed by its folder: with its lists, which VIDEOS contradict
            had = {name: option.default for name, option in options_of(TrainConfig).items()} | before['config']
            new = {name for name in options_of(TrainConfig) if getattr(asked, name) != had[name]}
            new = (new | otherwise) - without - {'save_dir'}
            changes = command_of('', asked, options_of(TrainConfig).keys() - new, instead=dict.fromkeys(new, ...))
            kept = command_without(before['command'], TrainConfig, new)
            return {'command': f'{kept} {changes}'.rstrip(), 'directory': before.get('directory')}
        instead = dict.fromkeys(decides(asked) | otherwise if asked.from_recipe is not None else (), ...)
        module = outside_module(asked.model)
        if with_lists:  # of the run whose config.json was given: its lists are read, and VIDEOS would divide anew
            without |= {'videos', 'val', 'val_share'}
        first = [*filter(None, [not with_lists and asked.videos]), *(['--import', module] if module else [])]
        return {'command': command_of(self.command, asked, without, first, instead),
                'directory': os.getcwd()}

    def open_folder(self, cleanup):
        """Return `save_dir`, which is this run's from now on."""
        if not self.has_others:
            cleanup.enter_context(held(self.config.save_dir, self.messages.folder))
        own = self._own_videos()
        folder = open_folder(self.config, self.messages)
        if folder.checkpoint:
            _warn_of_another_schedule(folder.checkpoint.state['config'], self.config)
        folder.announce()
        if own:
            own.write(folder.path / LISTS)
            own.tell()
        return folder

    def _own_videos(self) -> OwnVideos | None:
        """Settle which lists are read; return what is to be written of them, where no run has done so before."""
        if not self.config.videos or self.config.train_list:
            return None
        before = lists_of_run(self.config)
        if before:
            self.config = before
            return None
        own = own_videos(self.config, Path(self.config.save_dir).expanduser() / LISTS)
        self.config = own.config
        return own

    def prepare(self, folder):
        """Find the weights to start from, or what the run that is resumed started from."""
        own, checkpoint = self._own_card, folder.checkpoint if folder else None
        self._prepared = prepare_restored(self.config, own, checkpoint) if checkpoint else self.find_start(own)
        self._stands = json.dumps(checkpoint.state['loop'], sort_keys=True) if checkpoint else ''
        self.config = self._prepared.config
        check_config(self.config, self.card)
        if self.config.recipe == FINETUNE:
            log.info('%s', said(self.config))

    def find_start(self, card):
        """Return what a new run starts from."""
        if self._net is not None:
            return Prepared(by_card(self.config, card), card)
        return prepare_training(self.config, card)

    def open_data(self, cleanup):
        """Open the lists. Of several machines, the folder belongs to the first."""
        data = open_data(self.config, self.card, cleanup, **self._sets)
        self.engine.check_same(data.store, {'checkpoint': self._stands})
        if self.has_others and data.rank == 0:
            cleanup.enter_context(held(self.config.save_dir, self.messages.folder))
        return data

    def build_loop(self, data, contexts, *, restored=False):
        """Return the loop."""
        loop = build_loop(self._prepared, data, contexts, restored=restored, net=self._net)
        self._teacher = getattr(loop.learner.teacher, 'row', None)
        return loop

    def about_model(self):
        """Return the usual, and which published weights are distilled from."""
        return {**super().about_model(), **({'teacher': self._teacher} if self._teacher else {})}

    def start(self, loop, data, folder):
        """Take over the optimizer's state, and stand at the epoch that was asked for."""
        config, batches = self.config, len(data.train)
        if config.resume_states:
            loop.learner.load_optimizer_state(*read_optimizer(config.resume_states))
        loop.progress.epoch = config.resume_epoch
        # The schedule continues where that many epochs would have left it.
        loop.progress.update = config.resume_epoch * updates_per_epoch(batches, config.accumulate)
        loop.progress.step = config.resume_epoch * batches

    def more_about(self, data, started_from):
        """Return the usual distance of frames, which tests and exports use."""
        return {'clip_stride': usual_stride(self.config, data)}

    def fit(self, loop, data, folder):
        """Train for all epochs, or until they have been no better for long."""
        config = self.config
        loop.fit(data.train, data.val, epochs=config.num_epochs, score_start=config.score_start,
                 patience=config.patience, hooks=self.hooks(loop, data, folder) if data.rank == 0 else ())
        loop.learner.settle()

    def hooks(self, loop, data, folder):
        """Return the log, GluonCV's files of parameters, and the checkpoints."""
        style = MultiLabelStyle() if data.multi_label else None
        names = {'train': 'training', 'val': 'validation'}
        lines = header(self.config, loop.learner.net, {names[name]: loader.dataset
                                                       for name, loader in data.loaders.items()},
                       classes=data.classes, trains=True, command=self.about_command().get('command', ''),
                       versions=versions([*self.packages, *self.engine.packages]))
        config, records = self.config, self.run_log(folder, style, lines)
        return [records, self.cautions(records, loop, data), SayStalled(records, config.patience), *self._hooks,
                SaveParameters(folder.path, config.dataset, config.model, best=not config.train_only,
                               frequency=0 if config.train_only else config.save_frequency,
                               score=f'val_{loop.scores.best_metric}', checkpoints=folder.checkpoints),
                *([SaveScores(folder.path, data.val.dataset, data.classes)] if data.val is not None else []),
                SaveCheckpoints(folder.checkpoints, config.checkpoint_steps, extra=self.saved_with_state(data),
                                minutes=config.checkpoint_minutes)]

    def cautions(self, records, loop, data):
        """Return what warns of lists and options that make a training worthless."""
        config, net = self.config, loop.learner.net
        lists = of_lists(data.train.dataset, data.val.dataset if data.val is not None else None, self.cures)
        return Cautions(records, self.cures, lists=lists, statistics=kept_statistics(net),
                        samples=config.batch_size * config.num_segments * (data.processes if config.sync_bn else 1),
                        guessing=math.log(2 if data.multi_label else max(2, data.num_classes)))

    def run_log(self, folder, style=None, lines=()):
        """Return the log."""
        config = self.config
        return RunLog(folder.path, style, logging_file=config.logging_file, log_interval=config.log_interval,
                      title=f'{config.model} on {config.dataset}', header=lines)

    def summary_lines(self, result):
        """Say the best score, and where the files are."""
        return summary_lines(self.config, result)


def open_folder(config: TrainConfig, messages: FolderMessages = MESSAGES) -> SaveDir:
    """Return the folder that a configuration names; see `SaveDir` for what it refuses."""
    needed = {name: getattr(config, name) for name in ('resume_params', 'resume_states', 'teacher_params')}
    name = f'{re.escape(config.dataset)}-{re.escape(config.model)}'
    weights = rf'(\d\.\d{{4}}-)?{name}-(\d{{3,}}|start)(-best)?\.(params|states)'
    # What was not given is as it was when the run began.
    may_differ = FREE_ON_RESUME.union(config.unsaid, config.from_recipe or ())
    evaluated = set(OF_THE_NETWORK).difference(config.unsaid)
    return SaveDir(config.save_dir, config, messages, may_differ, resume=config.resume, overwrite=config.overwrite,
                   written=f'{weights}|{re.escape(config.logging_file)}', needed=needed,
                   evaluated=sorted(evaluated) if config.eval else None)


def summary_lines(config: TrainConfig, result: TrainResult) -> list[str]:
    """Say the best score and over which views it is, and where the files are."""
    lines = []
    if result.best_epoch is not None or result.start is not None:
        segments, crops = config.num_segments, config.num_crop
        views = segments * crops
        score = 'mean average precision' if any('val_map' in record for record in result.history) else 'top-1'
        when = 'before the first epoch: none was better, and best.params is the start' if result.best_epoch is None \
            else f'in epoch {result.best_epoch}'
        lines.append(f'best validation {score} {100 * result.best_score:.2f} % {when} '
                     f'({views} view{"s" * (views > 1)} a video, {segments}x{crops} segments x crops: '
                     'not comparable to scores over other views)')
    return lines + existing(result.save_dir, 'report.html', 'history.png', 'best.params', config.logging_file,
                            'failures.jsonl')


def usual_stride(config: TrainConfig, data) -> int | None:
    """Return the distance of the frames of a clip that is spread over a training video of median length.

    None where clips are not spread, or the lists do not say how long videos are.
    """
    if config.clip_sampling != 'spread':
        return None
    lengths = sorted(length for length in map(_length, data.train.dataset.samples) if length)
    return max(1, round(lengths[len(lengths) // 2] / config.new_length)) if lengths else None


def _run_of(config: TrainConfig) -> dict[str, Any] | None:
    """Return what ``config.json`` says of the run that is resumed, or that the parameters are of."""
    places = (config.save_dir if config.resume == 'auto' else config.resume, config.resume_params)
    return next(filter(None, map(read_run_config, filter(None, places))), None)


def _length(sample) -> int | None:
    if sample.first is not None and sample.last is not None:
        return sample.last - sample.first + 1
    if sample.num_frames is None and os.path.isdir(sample.path):
        return len(os.listdir(sample.path))
    return sample.num_frames


def _warn_of_another_schedule(before: dict[str, Any], config: TrainConfig) -> None:
    epochs = before.get('num_epochs', TrainConfig.num_epochs)
    if 'num_epochs' in (config.from_recipe or ()):  # it is as it was
        return
    if epochs != config.num_epochs and config.lr_mode in ('poly', 'cosine', 'linear'):
        log.warning('--num-epochs was %s and is %d: the %s schedule is another one from here on.', epochs,
                    config.num_epochs, config.lr_mode)


def evaluate_only(config: TrainConfig) -> TrainResult:
    """Score the validation set once, with the parameters that the configuration names; nothing is written."""
    card, checkpoint = model_card(config.model, _run_of(config)), None
    check_early(config, card)
    contexts = engine_of(config).contexts()
    if config.resume:
        folder = open_folder(config)
        folder.announce()
        checkpoint = folder.checkpoint
        if checkpoint is None:
            raise CheckpointError(f'--eval: {config.save_dir} holds no checkpoint; give parameters with '
                                  '--resume-params')
    prepared = prepare_restored(config, card, checkpoint) if checkpoint else prepare_training(config, card)
    check_config(prepared.config, prepared.card)
    with contextlib.ExitStack() as cleanup:
        parts = build_recipe(config, card, contexts, cleanup, prepared=prepared, restored=checkpoint is not None)
        if checkpoint is not None:
            # What the run validates alone: seed, optimizer and devices do not matter here.
            learner, held = parts.loop.learner, checkpoint.state.get('averages') or checkpoint.state['params']
            with understood(checkpoint):
                learner.load(LearnerState(held, *learner.optimizer_state(), averages=held))
        scores = parts.loop.validate(parts.val_loader)
    top5 = f' acc-top5={100 * scores["top5"]:.2f}' if parts.data.num_classes > 5 else ''
    mean_precision = f' mAP={100 * scores["map"]:.2f}' if 'map' in scores else ''
    log.info('validation: acc-top1=%.2f%s loss=%f%s (%d of %d videos scored)', 100 * scores['top1'], top5,
             scores['loss'], mean_precision, scores['count'], scores['expected'])
    return TrainResult(None, scores[parts.loop.scores.best_metric], None,
                       [{f'val_{name}': value for name, value in scores.items()}])


def dry_run(config: TrainConfig) -> str:
    """Build everything, train on one batch and write nothing; say what a run would be.

    GPUs that are not there are replaced by as many parts of the CPU, so that it can be asked elsewhere.
    """
    config = settled(config)
    card = model_card(config.model, _run_of(config))
    prepared = check_training(config, card)
    config = dataclasses.replace(prepared.config, train_only=config.train_only or config.eval, eval=False)
    try:
        contexts, elsewhere = engine_of(config).contexts(), []
    except DeviceError as error:
        if config.dtype != 'float32' or config.use_amp:
            raise
        config = dataclasses.replace(config, num_gpus=0, num_cpus=config.num_gpus)
        contexts = engine_of(config).contexts()
        elsewhere = [f'tried on as many parts of the CPU, since here the run itself would fail: {error}']
    with contextlib.ExitStack() as cleanup:
        parts = build_recipe(config, card, contexts, cleanup, prepared=dataclasses.replace(prepared, config=config))
        loader, loop = parts.train_loader, parts.loop
        batches = loader.epoch(0)
        batch = next(batches)
        batches.close()
        result = loop.step(batch)
        loss = result.loss_sum / max(1, result.count)
    size = sum(math.prod(param.shape) for param in loop.learner.net.collect_params().values())
    lines = [f'{config.model}: {size / 1e6:.1f} million parameters, {parts.data.num_classes} classes, '
             f'on {", ".join(map(str, getattr(loop.learner, "devices", contexts)))}',
             f'{len(loader.dataset)} training videos in {len(loader)} batches of {config.total_batch_size}, '
             f'{len(parts.val_loader.dataset) if parts.val_loader else 0} validation videos',
             f'first batch: frames {batch.data.shape}, learning rate {result.lr:g}, loss {loss:.3f}', *elsewhere,
             'nothing was written']
    return '\n'.join(lines)
