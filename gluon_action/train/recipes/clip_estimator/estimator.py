"""The I3D and S3D-G estimators: train by steps, evaluate and predict on clips in TFRecords, in phases or at once."""
from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .... import __version__
from ....compute.engines import Engine
from ....compute.on_mxnet.parameters import kept_statistics
from ....data.loading.loader import VideoLoader
from ....errors import UsageError
from ....evaluate.interrupted import KeptClips
from ....evaluate.report.page import try_to_write
from ....evaluate.scores.predictions import write_predictions
from ....files import to_json, write_file
from ....model_zoo import model_card
from ....model_zoo.recognizer import Recognizer
from ....options import command_of
from ....unfinished import Unfinished, kept, take_up
from ...hook import Hook
from ...hooks import SaveCheckpoints, SaveParameters, SaveScores
from ...run.by_steps import StepsStyle, fit_by_steps
from ...run.cautions import Cautions, Cures, of_lists
from ...run.folder.lock import held
from ...run.folder.model_dir import ModelDir
from ...run.folder.run_folder import FolderMessages
from ...run.history.log import RunLog
from ...run.history.summaries import Summaries
from ...run.run import Recipe, RunData, TrainResult, existing, run, tensorboard_line
from ...run.warm_start import WarmStart
from .config import FREE_TO_CHANGE, EstimatorConfig, check_config
from .data import open_loader
from .defaults import as_stored
from .network import MODELS, build_loop, build_network, computing, scoring_of, start_network, trained_network

log = logging.getLogger(__name__)

LOG = 'train.log'
EVALUATION = 'eval.json'
PREDICTIONS = ('predictions.csv', 'predictions.json')

_CURES = Cures(rate='--learning_rate', batch='--batch_size', momentum='--batch_norm_momentum', frozen='',
               val_list='--eval_subset_dir_path')
_NEW_PHASE = ('--restart puts it aside in a folder of its own and starts a new phase from its parameters; another '
              '--model_dir keeps both')
_MESSAGES = FolderMessages(
    folder='--model_dir', flag=lambda name: f'--{name}', list_flag='--{name}_subset_dir_path',
    classes_source='classes.txt beside the records',
    other_run='--model_dir {path} holds another run: {differing}. Give what it was started with to resume it; '
              f'{_NEW_PHASE}',
    other_lists='{path} holds a run with other data: {differing} changed. Give what it was started with; '
                f'{_NEW_PHASE}',
    resumed='Going on from {checkpoint} (step {step}).',
    resume_hint='The same command resumes from {checkpoint}.',
    start_hint='{path} holds no checkpoint yet: the same command starts again.')


def train(config: EstimatorConfig, given: Collection[str] | None = None) -> TrainResult:
    """Train, evaluating every --monitor_steps in mode ``'train_and_eval'``; a run that is there is resumed.

    Parameters
    ----------
    config : EstimatorConfig
    given : collection of str, optional
        See `as_stored`.

    Raises
    ------
    UsageError
        When options contradict each other, or `model_dir` holds another run.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    """
    return run(EstimatorRecipe(as_stored(config, given)))


class EstimatorRecipe(Recipe):
    """I3D or S3D-G on clips in TFRecords, by steps, in the folder of an estimator.

    Parameters
    ----------
    config : EstimatorConfig
    """

    @property
    def card(self):
        """The card of the network."""
        return model_card(MODELS[self.config.network, self.config.channels])

    def check(self):
        """Refuse options that contradict each other."""
        check_config(self.config)

    def devices(self):
        """Return the GPUs, or the CPU."""
        self.engine, contexts = computing(self.config)
        return contexts

    def about_command(self):
        """Return the command line; its mode is never left out."""
        command = f'gluon-action estimator {self.config.network}'
        return {'command': command_of(command, self.asked, instead={'mode': ...}), 'directory': os.getcwd()}

    def open_folder(self, cleanup):
        """Return `model_dir`, which is this run's from now on. A run that is resumed keeps its `restart`."""
        cleanup.enter_context(held(self.config.model_dir, _MESSAGES.folder))
        folder = open_folder(self.config)
        folder.announce()
        if folder.checkpoint:
            before = folder.checkpoint.state['config']
            self.config = dataclasses.replace(self.config, restart=before.get('restart', EstimatorConfig.restart))
            if self.config.checkpoint_path is not None:
                log.info('--checkpoint_path %s is ignored: %s has a checkpoint of its own.',
                         self.config.checkpoint_path, folder.path)
        return folder

    def open_data(self, cleanup):
        """Open the records."""
        subsets = ('train', 'eval') if self.config.mode == 'train_and_eval' else ('train',)
        loaders = {subset: cleanup.enter_context(open_loader(self.config, subset)) for subset in subsets}
        return RunData(loaders, self.config.num_classes, loaders['train'].dataset.classes, self.config.multi_label)

    def build_loop(self, data, contexts, *, restored=False):
        """Return the loop."""
        scoring = scoring_of(self.config, data.classes)
        return build_loop(self.config, build_network(self.config, contexts), contexts, scoring, self.engine)

    def start(self, loop, data, folder):
        """Take over --checkpoint_path, or the phase that was put aside last."""
        source = self.config.checkpoint_path
        if source is None and self.config.restart:
            source = folder.last_phase()
        found = start_network(self.config, loop.learner.net, source)
        loop.learner.adopt()
        return found

    def about_list(self, name, dataset):
        """Return where the records are."""
        return {'file': getattr(self.config, f'{name}_subset_dir_path'), 'sha256': dataset.list_sha256}

    def fit(self, loop, data, folder):
        """Train until --train_steps are done."""
        fit_by_steps(loop, data.train, data.val, every=self.config.monitor_steps, total=self.config.train_steps,
                     hooks=lambda: self.hooks(loop, data, folder))

    def hooks(self, loop, data, folder):
        """Return the log, TensorBoard's summaries, the files of parameters, and the checkpoints."""
        config, scoring = self.config, loop.scores
        records = RunLog(folder.path, StepsStyle(scoring, config.weight_decay), logging_file=LOG, log_interval=0,
                         title=f'{self.card.name}, learning rate {config.learning_rate:g}')
        lists = of_lists(data.train.dataset, data.val.dataset if data.val is not None else None, _CURES)
        return [records,
                Cautions(records, _CURES, lists=lists, statistics=kept_statistics(loop.learner.net),
                         samples=max(1, config.batch_size // loop.learner.num_devices),
                         guessing=math.log(2 if config.multi_label else config.num_classes)),
                Summaries(records.events, every=config.monitor_steps, images=16 if config.add_image_summaries else 0),
                SaveParameters(folder.path, 'clips', self.card.name, frequency=0,
                               best=config.mode == 'train_and_eval', score=f'val_{scoring.best_metric}',
                               checkpoints=folder.checkpoints),
                *([SaveScores(folder.path, data.val.dataset, data.classes)] if data.val is not None else []),
                SaveCheckpoints(folder.checkpoints, extra=self.saved_with_state(data), minutes=config.save_minutes)]

    def summary_lines(self, result):
        """Say where the run stands, its best score, and where to look."""
        lines = [f'{result.step} steps are done']
        best = next((record for record in reversed(result.history) if record.get('best')), None)
        if best is not None:
            name = 'top-1' if 'val_top1' in best else 'mean average precision'
            lines.append(f'best {name} {result.best_score:.4f} after step {best["step"]}')
        return [*lines, *existing(result.save_dir, 'history.png', 'best.params', LOG),
                tensorboard_line(result.save_dir)]


def open_folder(config: EstimatorConfig) -> ModelDir:
    """Return `model_dir`; see `ModelDir` for what it refuses."""
    path = Path(config.model_dir).expanduser()
    if not (config.trains or config.checkpoint_path or path.is_dir()):
        raise UsageError(f'--model_dir {path} does not exist, and there is no --checkpoint_path')
    return ModelDir(path, config, _MESSAGES, FREE_TO_CHANGE, trains=config.trains, restart=config.restart)


def evaluate(config: EstimatorConfig, given: Collection[str] | None = None) -> dict[str, Any]:
    """Score the evaluation clips once and write ``eval.json``; returns what is in it. Parameters as `train`'s.

    An evaluation that was interrupted resumes with the clips that are left.

    Raises
    ------
    UsageError
        When choices contradict each other, or there is an ``eval.json`` already.
    """
    config = as_stored(config, given)
    check_config(config)
    computes, contexts = computing(config)
    folder = open_folder(config)
    folder.reserve(EVALUATION, overwrite=config.overwrite)
    with open_loader(config, 'eval') as loader:
        classes = loader.dataset.classes
        net, loaded = trained_network(config, contexts)
        loop = build_loop(config, net, contexts, scoring_of(config, classes), computes)
        unfinished, clips = _kept_clips(config, loader, computes, contexts, loaded)
        keep = _KeepScores(clips)
        scores = loop.scores(len(loader))
        scores.parts, scores.loss_sum, scores.count = list(clips.parts), clips.loss_sum, clips.clips
        scores.expected = clips.clips
        with kept(unfinished, 'clips'):
            found = loop.validate(loader, [keep], scores=scores, start_batch=clips.batches)
        names = classes or [str(k) for k in range(config.num_classes)]
        result = {
            'metrics': found, 'protocol': _protocol(config, loader, found['count']), 'weights': _described(loaded),
            'classes': [{'class': name, **row} for name, row in zip(names, scores.per_class())]}
    write_file(folder.path / EVALUATION, to_json(result))
    unfinished.remove()
    if (folder.path / 'config.json').is_file():
        try_to_write(folder.path)
    return result


def predict(config: EstimatorConfig, given: Collection[str] | None = None) -> list[Path]:
    """Write what the network says of every clip, labelled or not, to ``predictions.csv`` and ``predictions.json``.

    A prediction that was interrupted resumes with the clips that are left. Parameters as `train`'s.

    Raises
    ------
    UsageError
        When choices contradict each other, or there are predictions already.
    """
    config = as_stored(config, given)
    check_config(config)
    computes, contexts = computing(config)
    folder = open_folder(config)
    folder.reserve(*PREDICTIONS, overwrite=config.overwrite)
    with open_loader(config, 'predict') as loader:
        net, loaded = trained_network(config, contexts)
        unfinished, clips = _kept_clips(config, loader, computes, contexts, loaded)
        with kept(unfinished, 'clips'):
            score_clips(net, loader, clips, computes, contexts)
        logits, labels = map(np.concatenate, zip(*clips.parts))
        protocol = _protocol(config, loader, len(logits))
        keys, classes = [sample.key for sample in loader.dataset.samples], loader.dataset.classes
    written = write_predictions(folder.path, keys, classes, logits, labels, scoring_of(config, classes),
                                {'protocol': protocol, 'weights': _described(loaded)})
    unfinished.remove()
    return written


def score_clips(net: Recognizer, loader: VideoLoader, clips: KeptClips, computes: Engine, contexts: Sequence) -> None:
    """Add logits and labels of all batches of a loader to `clips`, which has the first ones perhaps already."""
    net.hybridize(static_alloc=True)
    scorer = computes.scorer(net, contexts=contexts)
    batches = loader.epoch(0, clips.batches)
    for batch in tqdm(batches, total=len(loader), initial=clips.batches, unit='batch', disable=None, leave=False):
        clips.add([(scorer(batch.data)(), batch.label)])


def _kept_clips(config: EstimatorConfig, loader: VideoLoader, computes: Engine, contexts: Sequence,
                loaded: WarmStart) -> tuple[Unfinished, KeptClips]:
    """Return what an interrupted command left of this evaluation or prediction, in --model_dir.

    Raises
    ------
    UsageError
        When it was of another one, and there is no --overwrite.
    """
    decides = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE_TO_CHANGE}
    job = {'options': decides, 'protocol': _protocol(config, loader, 0), 'weights': loaded.sha256,
           'devices': [config.engine, computes.num_devices, *map(str, contexts)], 'version': __version__}
    results = {'eval': EVALUATION, 'predict': PREDICTIONS[1]}[config.mode]
    unfinished = take_up(
        Path(config.model_dir).expanduser() / f'{results.removesuffix(".json")}.unfinished', job,
        overwrite=config.overwrite, instead='another --model_dir',
        other=f'another --mode {config.mode}, which was interrupted: of other weights, clips or options')
    sizes = list(map(len, loader.batch_indices(0)))
    clips = KeptClips(unfinished, sizes, config.num_classes, config.multi_label)
    if clips.batches:
        log.info('%d of %d clips were scored before the interruption.', clips.clips, sum(sizes))
    return unfinished, clips


class _KeepScores(Hook):
    """Keeps what a validation finds of each batch."""

    def __init__(self, clips: KeptClips):
        self._clips = clips

    def on_scored(self, loop, scores, batch):
        """Keep what came last."""
        self._clips.add(scores.parts[len(self._clips.parts):], scores.loss_sum)


def _protocol(config: EstimatorConfig, loader: VideoLoader, scored: int) -> dict[str, Any]:
    clips = loader.dataset
    height, width = config.frame_size
    return {'data': clips.setting, 'list_sha256': clips.list_sha256, 'n_expected': len(clips), 'n_scored': scored,
            'clip': {'frames': config.clip_length, 'height': height, 'width': width, 'channels': config.channels,
                     'window': config.window},
            'views_per_clip': 1, 'label_mode': config.label_mode, 'metric_weights': config.metric_weights,
            'threshold': 0.5 if config.multi_label else None, 'model': MODELS[config.network, config.channels]}


def _described(loaded: WarmStart) -> dict[str, str]:
    return {'source': str(loaded.source), 'sha256': loaded.sha256}
