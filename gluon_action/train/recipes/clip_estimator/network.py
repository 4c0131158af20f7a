"""The network of an estimator: where it computes, what it starts from, which part of it is trained."""
from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from .... import engine
from ....compute.engines import ENGINES, Engine, OnMXNet
from ....compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from ....compute.on_mxnet.parameters import freeze_statistics, trainable
from ....errors import DeviceError, UsageError
from ....evaluate.scores.clip_scores import ClipScoring
from ....model_zoo import get_model
from ....model_zoo.recognizer import Recognizer
from ....run_config import read_run_config
from ...loop import Loop
from ...run.warm_start import WarmStart, warm_start
from .config import OF_THE_NETWORK, EstimatorConfig
from .data import counted_classes

log = logging.getLogger(__name__)

#: The zoo's networks by script and channels.
MODELS = {('i3d', 3): 'i3d_rgb_custom', ('i3d', 2): 'i3d_flow_custom', ('s3dg', 3): 's3dg_custom'}


def computing(config: EstimatorConfig) -> tuple[Engine, list]:
    """Return the engine on its devices, and MXNet's contexts for the network.

    The devices are the GPUs that were asked for, else one where there is one, else the CPU.

    Raises
    ------
    DeviceError
        When GPUs were asked for and cannot be used.
    """
    kind, cpu = ENGINES[config.engine], ENGINES[config.engine]()
    if config.num_gpus == 0:
        return cpu, cpu.contexts()
    try:
        asked = kind(config.num_gpus or 1, first_gpu=config.gpu_num or 0)
        return asked, asked.contexts()
    except DeviceError as error:
        cause = error.told().replace('--num-gpus', '--num_gpus')
        if config.gpu_num is not None:
            cause = _of_one(config.gpu_num, cause)
        if config.num_gpus is not None or config.gpu_num is not None:
            raise DeviceError(cause) from error
        log.info('Computing on the CPU, as there is no GPU that can be used (%s).', cause.split(';')[0])
        return cpu, cpu.contexts()


def _of_one(gpu: int, cause: str) -> str:
    """Return why a GPU cannot be used, which was asked for as the last of so many, with cures that go with its flag."""
    asked = f'--num_gpus {gpu + 1}:'
    if cause.startswith(f'{asked} this machine has'):
        there = len(engine.gpu_capabilities())
        others = 'pass --gpu_num 0, ' if there == 1 else f'pass --gpu_num 0 to {there - 1}, ' if there else ''
        cause = f'{asked} this machine has {there}, numbered from 0; {others}look at CUDA_VISIBLE_DEVICES, or use ' \
                '--num_gpus 0 to compute on the CPU'
    return cause.replace(asked, f'--gpu_num {gpu}:').replace('--num_gpus 0', '--num_gpus 0 without --gpu_num')


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


def build_loop(config: EstimatorConfig, net: Recognizer, contexts: Sequence, scoring: ClipScoring,
               computes: Engine | None = None) -> Loop:
    """Return the loop over `net`, in which everything that is not trained is frozen; MXNet's by default."""
    part = config.part('variables_to_train')
    params = trainable(net, part, update_statistics=config.update_batch_norm)
    if part != 'all' and not config.update_batch_norm:
        freeze_statistics(net, params)
    net.hybridize(static_alloc=True)
    loss = SigmoidCrossEntropy() if config.multi_label else SoftmaxCrossEntropy()
    momentum = config.momentum if config.optimizer == 'momentum' else 0.
    learner = (computes or OnMXNet()).learner(
        net, 'sgd', {'momentum': momentum, 'wd': config.weight_decay}, loss=loss, contexts=contexts, params=params,
        no_wd=True, l1=config.weight_decay)
    return Loop(learner, schedule=lambda update: config.learning_rate, seed=config.seed, scores=scoring,
                advice='a lower --learning_rate')


def scoring_of(config: EstimatorConfig, classes: Sequence[str] | None) -> ClipScoring:
    """Return how clips are scored."""
    return ClipScoring(config.num_classes, config.multi_label,
                       counted_classes(config.metric_weights, config.num_classes, classes))


def _check_same_network(config: EstimatorConfig, source) -> None:
    before = (read_run_config(source) or {}).get('config', {})
    differing = [f'--{name} was {before.get(name)!r} and is {getattr(config, name)!r}' for name in OF_THE_NETWORK
                 if before.get('network') and before.get(name) != getattr(config, name)]
    if differing:
        raise UsageError(f'{source} is of another network: {"; ".join(differing)}')
