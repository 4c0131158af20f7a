"""What learns from features of frames, and where: the loop over a network at random values, and its devices."""
from __future__ import annotations

import logging
from collections.abc import Sequence

from ....compute.engines import ENGINES, Engine, OnMXNet
from ....compute.losses import PROBABILITY_LOSSES, ProbabilityCrossEntropy
from ....errors import DeviceError
from ....evaluate.scores.video_tags import VideoTagScoring
from ....model_zoo.frame_features import build
from ...loop import Loop
from ...schedules import stairs
from .config import OPTIMIZERS, FeatureTraining

log = logging.getLogger(__name__)


def computing(name: str, num_gpu: int) -> tuple[Engine, list]:
    """Return an engine on up to `num_gpu` GPUs, or on the CPU where there is none that can be used.

    With it come MXNet's contexts for the network.
    """
    kind = ENGINES[name]
    for count in range(num_gpu, 0, -1):
        try:
            contexts = kind(count).contexts()
        except DeviceError as error:
            cause = error.told().removeprefix(f'--num-gpus {count}: ').split(';')[0]  # what to do names others' flags
        else:
            log.info('Using the following GPUs: %s.', ', '.join(f'gpu({number})' for number in range(count)))
            return kind(count), contexts
    if num_gpu:
        log.info('No GPUs found. Computing on the CPU (%s).', cause)
    return kind(), kind().contexts()


def build_loop(config: FeatureTraining, contexts: Sequence, ahead: float = 0, computes: Engine | None = None) -> Loop:
    """Return the loop over a network at random values; its schedule is `ahead` by so many examples.

    MXNet computes by default.
    """
    net = build(config.architecture, ctx=list(contexts), seed=config.seed)
    net.hybridize(static_alloc=True)
    name, arguments = OPTIMIZERS[config.optimizer]
    loss = ProbabilityCrossEntropy(config.loss_lambda) if config.distill else PROBABILITY_LOSSES[config.label_loss]()
    learner = (computes or OnMXNet()).learner(
        net, name, {'wd': 0., **arguments}, loss=loss, contexts=contexts, sum_devices=True,
        l2={key: config.regularization_penalty * factor for key, factor in net.l2_factors().items()},
        clip_each=config.clip_gradient_norm, average=config.average, stored_teacher=config.distill)
    schedule = stairs(config.base_learning_rate, config.learning_rate_decay, config.learning_rate_decay_examples,
                      config.batch_size * learner.num_devices, ahead)
    return Loop(learner, schedule=schedule, seed=config.seed, scores=VideoTagScoring(config.num_classes),
                advice='a lower --base_learning_rate or --clip_gradient_norm')
