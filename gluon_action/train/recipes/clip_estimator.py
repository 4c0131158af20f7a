"""The I3D and S3D-G estimators: train by steps, evaluate and predict on clips in TFRecords, in phases or at once."""
from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ... import engine
from ...compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from ...compute.on_mxnet.learner import GluonLearner
from ...compute.on_mxnet.parameters import freeze_statistics, kept_statistics, trainable
from ...compute.on_mxnet.scorer import GluonScorer
from ...data.loading.loader import VideoLoader
from ...errors import DeviceError, UsageError
from ...evaluate.scores.clip_scores import ClipScoring
from ...evaluate.scores.predictions import write_predictions
from ...files import to_json, write_file
from ...model_zoo import get_model, model_card
from ...model_zoo.recognizer import Recognizer
from ...run_config import read_run_config
from ..hook import Hook
from ..hooks import SaveCheckpoints, SaveParameters
from ..loop import Loop
from ..run.by_steps import StepsStyle, fit_by_steps
from ..run.cautions import Cautions, Cures, of_lists
from ..run.folder import FolderMessages
from ..run.lock import held
from ..run.log import RunLog
from ..run.model_dir import ModelDir
from ..run.run import Recipe, RunData, TrainResult, existing, run, tensorboard_line
from ..run.summaries import Summaries
from ..run.warm_start import WarmStart, warm_start
from .clip_estimator_config import FREE_TO_CHANGE, OF_THE_NETWORK, EstimatorConfig, check_config
from .clip_estimator_data import counted_classes, open_loader
from .clip_estimator_defaults import as_stored

log = logging.getLogger(__name__)

#: The zoo's networks by script and channels.
MODELS = {('i3d', 3): 'i3d_rgb_custom', ('i3d', 2): 'i3d_flow_custom', ('s3dg', 3): 's3dg_custom'}


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
        return devices(self.config)

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
        return build_loop(self.config, build_network(self.config, contexts), contexts, scoring)

    def start(self, loop, data, folder):
        """Take over --checkpoint_path, or the phase that was put aside last."""
        source = self.config.checkpoint_path
        if source is None and self.config.restart:
            source = folder.last_phase()
        return start_network(self.config, loop.learner.net, source)

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
                         samples=max(1, config.batch_size // len(loop.learner.contexts)),
                         guessing=math.log(2 if config.multi_label else config.num_classes)),
                Summaries(records.events, every=config.monitor_steps, images=16 if config.add_image_summaries else 0),
                SaveParameters(folder.path, 'clips', self.card.name, frequency=0,
                               best=config.mode == 'train_and_eval', score=f'val_{scoring.best_metric}'),
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

    Raises
    ------
    UsageError
        When choices contradict each other, or there is an ``eval.json`` already.
    """
    config = as_stored(config, given)
    check_config(config)
    contexts = devices(config)
    folder = open_folder(config)
    folder.reserve(EVALUATION, overwrite=config.overwrite)
    with open_loader(config, 'eval') as loader:
        classes = loader.dataset.classes
        net, loaded = trained_network(config, contexts)
        loop = build_loop(config, net, contexts, scoring_of(config, classes))
        keep = _KeepScores()
        found = loop.validate(loader, [keep])
        names = classes or [str(k) for k in range(config.num_classes)]
        result = {
            'metrics': found, 'protocol': _protocol(config, loader, found['count']), 'weights': _described(loaded),
            'classes': [{'class': name, **scores} for name, scores in zip(names, keep.scores.per_class())]}
    write_file(folder.path / EVALUATION, to_json(result))
    return result


def predict(config: EstimatorConfig, given: Collection[str] | None = None) -> list[Path]:
    """Write what the network says of every clip, labelled or not, to ``predictions.csv`` and ``predictions.json``.

    Parameters as `train`'s.

    Raises
    ------
    UsageError
        When choices contradict each other, or there are predictions already.
    """
    config = as_stored(config, given)
    check_config(config)
    contexts = devices(config)
    folder = open_folder(config)
    folder.reserve(*PREDICTIONS, overwrite=config.overwrite)
    with open_loader(config, 'predict') as loader:
        net, loaded = trained_network(config, contexts)
        logits, labels = score_clips(net, loader, contexts)
        protocol = _protocol(config, loader, len(logits))
        keys, classes = [sample.key for sample in loader.dataset.samples], loader.dataset.classes
    return write_predictions(folder.path, keys, classes, logits, labels, scoring_of(config, classes),
                             {'protocol': protocol, 'weights': _described(loaded)})


def devices(config: EstimatorConfig) -> list:
    """Return the devices to compute on: the GPUs that were asked for, else one where there is one, else the CPU.

    Raises
    ------
    DeviceError
        When GPUs were asked for and cannot be used.
    """
    if config.num_gpus == 0:
        return engine.contexts()
    try:
        return engine.contexts(config.num_gpus or 1, first_gpu=config.gpu_num or 0)
    except DeviceError as error:
        cause = str(error).replace('--num-gpus', '--num_gpus')
        if config.num_gpus is not None or config.gpu_num is not None:
            raise DeviceError(cause) from error
        log.info('Computing on the CPU, as there is no GPU that can be used (%s).', cause.split(';')[0])
        return engine.contexts()


def build_network(config: EstimatorConfig, contexts: Sequence) -> Recognizer:
    """Return the network at random values, laid out for the clips; what is not trained is frozen only later."""
    options = {'depth_multiplier': config.depth_multiplier, 'min_depth': config.min_depth} \
        if config.network == 's3dg' else {}
    height, width = config.frame_size
    engine.seed(config.seed)
    np.random.seed(config.seed)  # initialisers of MXNet draw from both
    net = get_model(MODELS[config.network, config.channels], nclass=config.num_classes, pretrained_base=False,
                    dropout_ratio=config.dropout_rate, clip_length=config.clip_length, input_size=min(height, width),
                    bn_momentum=config.batch_norm_momentum, ctx=list(contexts), **options)
    net.plan_for(config.clip_length, height, width)
    return net


def start_network(config: EstimatorConfig, net: Recognizer, source) -> str:
    """Give a network the values that a new run starts from; returns in words what they are.

    Raises
    ------
    UsageError
        When a warm start was asked for and there is nothing to start from.
    """
    if source is not None:
        _check_same_network(config, source)
        found = str(warm_start(net, source, config.part('variables_to_warm_start')))
        log.info('Warm start: %s.', found)
        return found
    if config.warm_start or config.variables_to_warm_start:
        flag = 'warm_start' if config.warm_start else 'variables_to_warm_start'
        raise UsageError(f'--{flag}: there is nothing to start from; give it with --checkpoint_path, or leave this out '
                         'to start from random values')
    log.info('No --checkpoint_path: the network starts from random values.')
    return 'random values'


def trained_network(config: EstimatorConfig, contexts: Sequence) -> tuple[Recognizer, WarmStart]:
    """Return the network with the values of --checkpoint_path or of the newest checkpoint of --model_dir."""
    source = config.checkpoint_path or config.model_dir
    _check_same_network(config, source)
    net = build_network(config, contexts)
    loaded = warm_start(net, source, ctx=list(contexts))
    log.info('%s', loaded)
    return net, loaded


def build_loop(config: EstimatorConfig, net: Recognizer, contexts: Sequence, scoring: ClipScoring) -> Loop:
    """Return the loop over `net`, in which everything that is not trained is frozen."""
    part = config.part('variables_to_train')
    params = trainable(net, part, update_statistics=config.update_batch_norm)
    if part != 'all' and not config.update_batch_norm:
        freeze_statistics(net, params)
    net.hybridize(static_alloc=True)
    loss = SigmoidCrossEntropy() if config.multi_label else SoftmaxCrossEntropy()
    momentum = config.momentum if config.optimizer == 'momentum' else 0.
    learner = GluonLearner(net, 'sgd', {'momentum': momentum, 'wd': config.weight_decay}, loss=loss, contexts=contexts,
                           params=params, no_wd=True, l1=config.weight_decay)
    return Loop(learner, schedule=lambda update: config.learning_rate, seed=config.seed, scores=scoring,
                advice='a lower --learning_rate')


def scoring_of(config: EstimatorConfig, classes: Sequence[str] | None) -> ClipScoring:
    """Return how clips are scored."""
    return ClipScoring(config.num_classes, config.multi_label,
                       counted_classes(config.metric_weights, config.num_classes, classes))


def score_clips(net: Recognizer, loader: VideoLoader, contexts: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (N, K) of every clip of a loader, in order, and the labels as the loader gives them."""
    net.hybridize(static_alloc=True)
    scorer = GluonScorer(net, contexts)
    logits, labels = [], []
    for batch in tqdm(loader.epoch(0), total=len(loader), unit='batch', disable=None, leave=False):
        logits.append(scorer(batch.data)())
        labels.append(batch.label)
    return np.concatenate(logits), np.concatenate(labels)


class _KeepScores(Hook):
    """Keeps what a validation collects."""

    scores = None

    def on_scored(self, loop, scores, batch):
        """Remember it."""
        self.scores = scores


def _check_same_network(config: EstimatorConfig, source) -> None:
    before = (read_run_config(source) or {}).get('config', {})
    differing = [f'--{name} was {before.get(name)!r} and is {getattr(config, name)!r}' for name in OF_THE_NETWORK
                 if before.get('network') and before.get(name) != getattr(config, name)]
    if differing:
        raise UsageError(f'{source} is of another network: {"; ".join(differing)}')


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
