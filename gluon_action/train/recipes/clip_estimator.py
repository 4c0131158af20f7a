"""The I3D and S3D-G estimators: train by steps, evaluate and predict on clips in TFRecords, in phases or at once."""
from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from tqdm import tqdm

from ... import engine
from ...data.dataloader import VideoLoader, split_and_load
from ...data.run_config import read_run_config
from ...errors import DeviceError, UsageError
from ...evaluate.scores.clip_scores import ClipScoring
from ...evaluate.scores.predictions import write_predictions
from ...files import to_json, write_file
from ...model_zoo import get_model
from ...model_zoo.recognizer import Recognizer
from ..hooks import Hook, SaveCheckpoints, SaveParameters
from ..loop import Loop
from ..losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from ..run.by_steps import StepLoader
from ..run.estimator_log import EstimatorRecords
from ..run.model_dir import EVALUATION, LOG, PREDICTIONS, ModelDir
from ..run.summaries import Summaries
from ..run.warm_start import WarmStart, freeze_statistics, trainable, warm_start
from .clip_estimator_config import OF_THE_NETWORK, EstimatorConfig, check_config
from .clip_estimator_data import counted_classes, open_loader

log = logging.getLogger(__name__)

#: The zoo's networks by script and channels.
MODELS = {('i3d', 3): 'i3d_rgb_custom', ('i3d', 2): 'i3d_flow_custom', ('s3dg', 3): 's3dg_custom'}


@dataclass
class EstimatorResult:
    """How a run ended.

    Attributes
    ----------
    model_dir : Path
        Where everything is.
    step : int
        Steps of the run.
    best_score : float
        Highest mean average precision (with one label a clip, top-1) of an evaluation; 0 before there was one.
    history : list of dict
        A record for each stretch of steps, see `EstimatorRecords` and `Loop.fit`.
    """

    model_dir: Path
    step: int
    best_score: float
    history: list[dict[str, Any]]

    def summary(self) -> str:
        """Say in a few lines where the run stands and where to look."""
        lines = [f'{self.step} steps are done']
        best = next((record for record in reversed(self.history) if record.get('best')), None)
        if best is not None:
            name = 'top-1' if 'val_top1' in best else 'mean average precision'
            lines.append(f'best {name} {self.best_score:.4f} after step {best["step"]}')
        lines += [str(self.model_dir / name) for name in ('history.png', 'best.params', LOG)
                  if (self.model_dir / name).exists()]
        return '\n'.join([*lines, f'tensorboard --logdir {self.model_dir}'])


def train(config: EstimatorConfig) -> EstimatorResult:
    """Train, evaluating every --monitor_steps in mode ``'train_and_eval'``; a run that is there goes on.

    Raises
    ------
    UsageError
        When choices contradict each other, or `model_dir` holds another run.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    """
    check_config(config)
    contexts = devices(config)
    folder = ModelDir(config)
    config = folder.config
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(_telling_how_to_go_on(folder))
        subsets = ('train', 'eval') if config.mode == 'train_and_eval' else ('train',)
        loaders = {subset: cleanup.enter_context(open_loader(config, subset)) for subset in subsets}
        data = data_of(loaders)
        folder.check_data(data)
        scoring = scoring_of(config, data['classes'])
        net = build_network(config, contexts)
        start = None if folder.checkpoint else start_network(config, net, folder.source(), contexts)
        loop = build_loop(config, net, contexts, scoring)
        if folder.checkpoint:
            loop.load_state_dict(folder.checkpoint.state)
        folder.begin(net, data, start)
        progress = loop.progress
        steps = StepLoader(loaders['train'], config.monitor_steps, total=config.train_steps,
                           origin=(progress.epoch, progress.step))
        if steps.stretches > progress.epoch:
            loop.fit(steps, loaders.get('eval'), epochs=steps.stretches, hooks=hooks_for(config, folder, loop, data))
        else:
            log.info('The run has done its %d steps; a larger --train_steps goes on.', progress.step)
        return EstimatorResult(folder.path, loop.progress.step, loop.progress.best, loop.progress.history)


def evaluate(config: EstimatorConfig) -> dict[str, Any]:
    """Score the evaluation clips once and write ``eval.json``; returns what is in it.

    Raises
    ------
    UsageError
        When choices contradict each other, or there is an ``eval.json`` already.
    """
    check_config(config)
    contexts = devices(config)
    folder = ModelDir(config)
    folder.reserve(EVALUATION)
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


def predict(config: EstimatorConfig) -> list[Path]:
    """Write what the network says of every clip, labelled or not, to ``predictions.csv`` and ``predictions.json``.

    Raises
    ------
    UsageError
        When choices contradict each other, or there are predictions already.
    """
    check_config(config)
    contexts = devices(config)
    folder = ModelDir(config)
    folder.reserve(*PREDICTIONS)
    with open_loader(config, 'predict') as loader:
        net, loaded = trained_network(config, contexts)
        logits, labels = score_clips(net, loader, contexts)
        protocol = _protocol(config, loader, len(logits))
        keys, classes = [sample.key for sample in loader.dataset.samples], loader.dataset.classes
    return write_predictions(folder.path, keys, classes, logits, labels, scoring_of(config, classes),
                             {'protocol': protocol, 'weights': _described(loaded)})


def devices(config: EstimatorConfig) -> list[mx.Context]:
    """Return the devices to compute on: the GPUs that were asked for, else one where there is one, else the CPU.

    Raises
    ------
    DeviceError
        When GPUs were asked for and cannot be used.
    """
    if config.num_gpus == 0:
        return [mx.cpu()]
    number, first = config.num_gpus or 1, config.gpu_num or 0
    try:
        engine.check_gpus(first + number)
    except DeviceError as error:
        cause = str(error).replace('--num-gpus', '--num_gpus')
        if config.num_gpus is not None or config.gpu_num is not None:
            raise DeviceError(cause) from error
        log.info('Computing on the CPU, as there is no GPU that can be used (%s).', cause.split(';')[0])
        return [mx.cpu()]
    return [mx.gpu(first + place) for place in range(number)]


def build_network(config: EstimatorConfig, contexts: Sequence[mx.Context]) -> Recognizer:
    """Return the network at random values, laid out for the clips; what is not trained is frozen only later."""
    options = {'depth_multiplier': config.depth_multiplier, 'min_depth': config.min_depth} \
        if config.network == 's3dg' else {}
    height, width = config.frame_size
    mx.random.seed(config.seed)
    np.random.seed(config.seed)  # initialisers of MXNet draw from both
    net = get_model(MODELS[config.network, config.channels], nclass=config.num_classes, pretrained_base=False,
                    dropout_ratio=config.dropout_rate, clip_length=config.clip_length, input_size=min(height, width),
                    bn_momentum=config.batch_norm_momentum, ctx=list(contexts), **options)
    net.plan_for(config.clip_length, height, width)
    return net


def start_network(config: EstimatorConfig, net: Recognizer, source, contexts: Sequence[mx.Context]) -> str:
    """Give a network the values that a new run starts from; returns in words what they are.

    Raises
    ------
    UsageError
        When a warm start was asked for and there is nothing to start from.
    """
    if source is not None:
        _check_same_network(config, source)
        found = str(warm_start(net, source, config.part('variables_to_warm_start'), ctx=list(contexts)))
        log.info('Warm start: %s.', found)
        return found
    if config.warm_start or config.variables_to_warm_start:
        flag = 'warm_start' if config.warm_start else 'variables_to_warm_start'
        raise UsageError(f'--{flag}: there is nothing to start from; give it with --checkpoint_path, or leave this out '
                         'to start from random values')
    log.info('No --checkpoint_path: the network starts from random values.')
    return 'random values'


def trained_network(config: EstimatorConfig, contexts: Sequence[mx.Context]) -> tuple[Recognizer, WarmStart]:
    """Return the network with the values of --checkpoint_path or of the newest checkpoint of --model_dir."""
    source = config.checkpoint_path or config.model_dir
    _check_same_network(config, source)
    net = build_network(config, contexts)
    loaded = warm_start(net, source, ctx=list(contexts))
    log.info('%s', loaded)
    return net, loaded


def build_loop(config: EstimatorConfig, net: Recognizer, contexts: Sequence[mx.Context], scoring: ClipScoring) -> Loop:
    """Return the loop over `net`, in which everything that is not trained is frozen."""
    part = config.part('variables_to_train')
    params = trainable(net, part, update_statistics=config.update_batch_norm)
    if part != 'all' and not config.update_batch_norm:
        freeze_statistics(net, params)
    net.hybridize(static_alloc=True)
    loss = SigmoidCrossEntropy() if config.multi_label else SoftmaxCrossEntropy()
    momentum = config.momentum if config.optimizer == 'momentum' else 0.
    return Loop(net, 'sgd', {'momentum': momentum, 'wd': config.weight_decay}, loss=loss, contexts=contexts,
                schedule=lambda update: config.learning_rate, params=params, no_wd=True, l1=config.weight_decay,
                seed=config.seed, scores=scoring)


def hooks_for(config: EstimatorConfig, folder: ModelDir, loop: Loop, data: dict[str, Any]) -> list[Hook]:
    """Return what happens beside training, the checkpoint last."""
    scoring, name = loop.scores, loop.net.card.name
    records = EstimatorRecords(folder.path, scoring=scoring, weight_decay=config.weight_decay, logging_file=LOG,
                               title=f'{name}, learning rate {config.learning_rate:g}')
    return [records,
            Summaries(records.events, every=config.monitor_steps, images=16 if config.add_image_summaries else 0),
            SaveParameters(folder.path, 'clips', name, frequency=0, best=config.mode == 'train_and_eval',
                           score=f'val_{scoring.decides}'),
            SaveCheckpoints(folder.checkpoints, extra={'config': dataclasses.asdict(config), **data})]


def scoring_of(config: EstimatorConfig, classes: Sequence[str] | None) -> ClipScoring:
    """Return how clips are scored."""
    return ClipScoring(config.num_classes, config.multi_label,
                       counted_classes(config.metric_weights, config.num_classes, classes))


def score_clips(net: Recognizer, loader: VideoLoader,
                contexts: Sequence[mx.Context]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (N, K) of every clip of a loader, in order, and the labels as the loader gives them."""
    net.hybridize(static_alloc=True)
    logits, labels = [], []
    for batch in tqdm(loader.epoch(0), total=len(loader), unit='batch', disable=None, leave=False):
        parts = [net(part) for part in split_and_load(batch.data, list(contexts), even_split=False)]
        logits += [part.asnumpy() for part in parts]
        labels.append(batch.label.asnumpy())
    return np.concatenate(logits), np.concatenate(labels)


def data_of(loaders: dict[str, VideoLoader]) -> dict[str, Any]:
    """Return what tells whether the data of a run are the same: SHA-256 of each set of records, and the classes."""
    return {'lists': {subset: loader.dataset.list_sha256 for subset, loader in loaders.items()},
            'classes': loaders['train'].dataset.classes}


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


@contextlib.contextmanager
def _telling_how_to_go_on(folder: ModelDir) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        log.info('Interrupted. %s', folder.way_on())
        raise
