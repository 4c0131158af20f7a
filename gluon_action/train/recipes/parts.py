"""What a `TrainConfig` stands for: data, network, loss, schedule and loop, put together."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import engine
from ...compute.engines import engine_of
from ...compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from ...compute.on_mxnet.parameters import (
    chosen_keys,
    freeze_statistics,
    kept_statistics,
    trainable,
    unique_parameters,
)
from ...compute.on_mxnet.renormalised import Renormalised
from ...compute.optimizers import takes_momentum
from ...data.loading.epoch_order import EpochOrder, class_weights
from ...data.loading.loader import VideoLoader
from ...errors import UsageError, WeightsError
from ...evaluate.network import clip_option
from ...evaluate.options.preparation import Prepared, by_card, parameters_of_run, prepare, weights_decide
from ...evaluate.scores.validation import LabelScores, Scores
from ...model_zoo import ModelCard, get_model, load_weights, model_card
from ...model_zoo.loading.preparation import preparation_of_run, prepared_for, read_preparation
from ...model_zoo.recognizer import initialize_rest, settle_shapes
from ...run_config import folder_of_run, read_run_config
from ...weights.options import looking
from ..loop import Loop
from ..mixup import CutMix, Mixtures, MixUp
from ..run.folder.checkpoint import Checkpoint
from ..run.run import RunData
from ..schedules import make_schedule, updates_per_epoch
from .config import FINETUNE, TrainConfig, check_config
from .fine_tuning import prepare_tuning
from .own_videos import own_videos

log = logging.getLogger(__name__)

#: What --label-smoothing takes from the true class.
SMOOTHING = 0.1


@dataclass
class Parts:
    """What `build_recipe` makes.

    Attributes
    ----------
    loop : Loop
        Holds the network.
    data : RunData
    """

    loop: Loop
    data: RunData

    @property
    def train_loader(self) -> VideoLoader | None:
        """The training batches."""
        return self.data.train

    @property
    def val_loader(self) -> VideoLoader | None:
        """The validation batches."""
        return self.data.val


def build_recipe(config: TrainConfig, card: ModelCard, contexts: list, cleanup: contextlib.ExitStack, *,
                 prepared: Prepared | None = None, restored: bool = False) -> Parts:
    """Open the data, build the network and the loop; for what is less than a run.

    Parameters
    ----------
    config : TrainConfig
        Checked by `check_config`.
    card : ModelCard
        The zoo's own.
    contexts : list
        Of MXNet, from the `Engine` of the configuration.
    cleanup : contextlib.ExitStack
        Closes the loaders' processes in the end.
    prepared : Prepared, optional
        What `check_training` found of the configuration, or what a checkpoint that will follow says.
    restored : bool
        Whether a checkpoint will follow, so that no weights need be fetched.
    """
    prepared = prepared or prepare_training(config, card)
    if prepared.config.videos and not prepared.config.train_list:
        lists = cleanup.enter_context(tempfile.TemporaryDirectory())  # what is no run leaves nothing
        own = own_videos(prepared.config, lists)
        own.write(lists)
        prepared = dataclasses.replace(prepared, config=own.config)
    data = open_data(prepared.config, prepared.card, cleanup)
    return Parts(build_loop(prepared, data, contexts, restored=restored), data)


def check_training(config: TrainConfig, card: ModelCard) -> Prepared:
    """Find the weights that a training starts from, and settle what they decide.

    Parameters
    ----------
    config : TrainConfig
    card : ModelCard
        The zoo's own.

    Raises
    ------
    UsageError
        When options contradict each other, or mean nothing for the network and its weights.
    WeightsError
        When there are no such weights.
    """
    check_early(config, card)
    prepared = prepare_training(config, card)
    check_config(prepared.config, prepared.card)
    return prepared


def check_early(config: TrainConfig, card: ModelCard) -> None:
    """Refuse what can be refused before weights are looked for, and data."""
    later = config.resume or config.recipe == FINETUNE or weights_decide(config, card, base=config.pretrained_base)
    check_config(by_card(config, card) if later else config, card, sizes=not later or config.input_size is not None)


def from_run(config: TrainConfig) -> TrainConfig:
    """Return a configuration that starts from the best parameters of the run whose folder it names.

    Raises
    ------
    WeightsError
        When the run has none yet.
    UsageError
        When the folder is a checkpoint.
    """
    place = Path(config.resume_params).expanduser() if config.resume_params else None
    if place is None or not place.is_dir() or folder_of_run(place) is None:
        return config
    return dataclasses.replace(config, resume_params=str(parameters_of_run(place)))


def prepare_training(config: TrainConfig, card: ModelCard) -> Prepared:
    """Find the weights that a checked configuration starts from."""
    config = from_run(config)
    if config.recipe == FINETUNE:
        return prepare_tuning(config, card)
    others = config.dataset != card.dataset or config.num_classes not in (None, card.num_classes)
    return prepare(config, card, base=config.pretrained_base, replace_head=others and not config.eval)


def prepare_restored(config: TrainConfig, card: ModelCard, checkpoint: Checkpoint) -> Prepared:
    """Settle a configuration for the run of a checkpoint: as that began, whatever is published by now.

    Raises
    ------
    WeightsError
        When its ``config.json`` cannot be understood.
    """
    before, model = checkpoint.state['config'], checkpoint.state.get('model')
    config = config.settled({name: before.get(name) for name in config.unsaid})
    # What no flag gives is as the recipe decided it when the run began.
    config = dataclasses.replace(config, **{name: before[name] for name in config.from_recipe or () if name in before})
    # Versions that did not write down their rule had GluonCV's.
    config = dataclasses.replace(config, schedule_rule=before.get('schedule_rule', 'gluoncv'))
    found = preparation_of_run(checkpoint.state, checkpoint.path) if model else read_preparation(checkpoint.path)
    return Prepared(config, prepared_for(card, found, checkpoint.path) if found else card,
                    row=found and found.row, teacher=(model or {}).get('teacher'))


def open_data(config: TrainConfig, card: ModelCard, cleanup: contextlib.ExitStack, *, train_set=None,
              val_set=None) -> RunData:
    """Open the lists that are wanted, unless data sets are given, and loaders of them."""
    computing = engine_of(config)
    store, num_machines, rank = computing.meet(config.kvstore, cleanup)
    if train_set is None:
        train_set, val_set = open_datasets(config, card)
    elif val_set is None and not config.train_only:
        raise UsageError('val_set: give the data set to validate on beside train_set, or train_only=True')
    some_set = train_set or val_set
    if some_set.multi_label and config.consensus != 'avg':
        raise UsageError(f'--consensus {config.consensus}: several labels a video need avg')
    reading = dict(num_workers=config.num_workers, prefetch=config.prefetch, timeout=config.timeout)
    loaders = {}
    if train_set is not None:
        loaders['train'] = cleanup.enter_context(VideoLoader(
            in_order(config, train_set), config.total_batch_size, shuffle=True, seed=config.seed, last='wrap',
            on_error=config.on_error, max_skip_share=config.max_skip_share, num_parts=num_machines, part_index=rank,
            **reading))
    validates = rank == 0 or computing.all_validate
    if val_set is not None:
        if not validates:
            reading['num_workers'] = 0  # its list alone is asked for
        # A video that cannot be read counts as wrong; it never stops a validation.
        loaders['val'] = cleanup.enter_context(VideoLoader(
            val_set, config.total_batch_size, last='keep', on_error='skip', max_skip_share=1., **reading))
    log.info('Load %d training samples and %d validation samples.', len(train_set or ()), len(val_set or ()))
    computing.check_same(store, {'options': json.dumps(dataclasses.asdict(config), sort_keys=True), 'lists': json.dumps(
        {name: loader.dataset.list_sha256 for name, loader in loaders.items()}, sort_keys=True)})
    return RunData(loaders, some_set.num_classes, some_set.classes, some_set.multi_label, rank, store,
                   validates=validates, processes=num_machines)


def open_datasets(config: TrainConfig, card: ModelCard) -> tuple:
    """Return the training and the validation set; None for the one that is not wanted."""
    shared = dict(modality=card.modality, time_axis=config.input_5d, seed=config.seed)
    train_set = val_set = None
    if not config.eval:
        train_set = config.open_videos(train=True, transform=config.augmentation(card), **shared)
        train_set = train_set.as_pixels() if config.send_pixels else train_set
        # The training list numbers the classes; a validation folder that lacks one must not renumber them.
        names = dict(num_classes=train_set.num_classes, classes=train_set.classes)
    else:
        names = classes_of_run(config)
    if not config.train_only:
        val_set = config.open_videos(
            train=False, num_crop=config.num_crop, **names, **shared,
            transform=config.preprocess(card).transform)
    return train_set, val_set


def classes_of_run(config: TrainConfig) -> dict[str, Any]:
    """Return how the run that is evaluated numbered its classes, as arguments of a data set.

    Without this, a validation folder or a list of names that lacks a class would number the others anew. Where the
    parameters are of no run, or ``--num-classes`` says otherwise, the list numbers the classes.
    """
    place = config.save_dir if config.resume == 'auto' else config.resume or config.resume_params
    about = (read_run_config(place) if place else None) or {}
    if config.num_classes not in (None, about.get('num_classes')):
        return {'num_classes': config.num_classes}
    found = {'num_classes': about.get('num_classes') or config.num_classes, 'classes': about.get('classes')}
    return {name: value for name, value in found.items() if value}


def own_network(net, prepared: Prepared, num_classes: int, contexts: list):
    """Make a network that was given ready to be trained; what it has learnt stays."""
    if net.num_classes != num_classes:
        raise UsageError(f'net: scores {net.num_classes} classes, and the data have {num_classes}')
    config, card = prepared.config, prepared.card
    # Some parameters may have no shape before the network sees an input.
    settle_shapes(net, net.input_shape(config.num_segments * net.num_crop, config.input_size, config.frames_per_clip))
    initialize_rest(net, contexts)
    net.collect_params().reset_ctx(contexts)
    net.card = card
    if config.mode != 'imperative':
        compile_to_train(net, contexts)
    return net


def build_network(prepared: Prepared, num_classes: int, contexts: list, *, restored: bool = False):
    """Return the network with the weights that the configuration asks for."""
    config, card, start = prepared.config, prepared.card, prepared.start
    given = {'dropout_ratio': config.dropout, 'use_gn': config.use_gn or None, 'batch_norm': config.batch_norm or None,
             'use_se': config.use_se or None, 'last_gamma': config.last_gamma, 'bn_momentum': config.bn_momentum,
             'consensus': None if config.consensus == 'avg' else config.consensus}
    options = {**prepared.options, **{name: value for name, value in given.items() if value is not None},
               'input_size': config.input_size, **clip_option(card, config)}
    engine.seed(config.seed)
    net = get_model(
        config.model, nclass=num_classes, tsn=config.use_tsn, num_segments=config.num_segments,
        partial_bn=config.partial_bn, bn_frozen=config.freeze_bn, ctx=contexts, pretrained=start or False,
        replace_head=num_classes != (start or card).num_classes, pretrained_base=False, **options)
    net.card, net.row = card, prepared.row
    if config.resume_params and not restored:
        load_weights(net, config.resume_params, ctx=contexts, ignore_head=config.new_head)
    if config.mode != 'imperative':
        compile_to_train(net, contexts)
    return net


def compile_to_train(net, contexts: list) -> None:
    """Compile a network; on a CPU its graphs keep their memory unless `engine.gives_memory_back`."""
    on_cpu = all(context.device_type == 'cpu' for context in contexts)
    net.hybridize(static_alloc=not (on_cpu and engine.gives_memory_back()))


def build_loop(prepared: Prepared, data: RunData, contexts: list, *, restored: bool = False, net=None) -> Loop:
    """Return the loop over the network, if given that one; the schedule depends on the length of an epoch."""
    config = prepared.config
    net = build_network(prepared, data.num_classes, contexts, restored=restored) if net is None else \
        own_network(net, prepared, data.num_classes, contexts)
    per_epoch = updates_per_epoch(len(data.train or [0]), config.accumulate)
    schedule = make_schedule(
        config.lr_mode, config.lr, config.num_epochs, per_epoch,
        decay=config.decay, factor=config.lr_decay, warmup_epochs=config.warmup_epochs, warmup_lr=config.warmup_lr,
        rule=config.schedule_rule)
    kind = SigmoidCrossEntropy if data.multi_label else SoftmaxCrossEntropy
    loss = kind(smoothing=SMOOTHING if config.label_smoothing else 0., temperature=config.temperature,
                hard_weight=config.hard_weight)
    mixup = build_mixtures(config, data, net.num_classes)
    params = None if config.train_params == 'all' else _chosen(config, net)
    if config.sync_bn and not kept_statistics(net):
        raise UsageError(f'--sync-bn: no batch normalisation learns here, since --train-params {config.train_params} '
                         'freezes those of what is not trained; leave out --sync-bn')
    for key, param in unique_parameters(net).items():
        if key.startswith(net.head_prefixes):
            param.lr_mult = config.head_lr
    # An average reaches back over 1 / (1 - decay) updates.
    reach = max(1., config.ema_epochs * per_epoch)
    momentum = {'momentum': config.momentum} if takes_momentum(config.update_rule) else {}
    learner = engine_of(config).learner(
        net, config.update_rule, {'wd': config.wd, **momentum}, loss=loss, contexts=contexts,
        rows_per_sample=config.num_segments, val_crops=config.num_crop, accumulate=config.accumulate,
        kvstore=data.store, clip_grad=config.clip_grad, clip_norm=config.clip_norm, amp=config.use_amp,
        sync_bn=config.sync_bn, compiles=config.compile, dtype=config.dtype, no_wd=config.no_wd, params=params,
        average=1 - 1 / reach,
        teacher=build_teacher(prepared, net.num_classes, contexts) if config.teacher else None)
    return Loop(learner, schedule=schedule, seed=config.seed, mixup=mixup, averaged=bool(config.ema_epochs),
                scores=LabelScores if data.multi_label else Scores)


def in_order(config: TrainConfig, train_set):
    """Return the training set as an epoch shows it."""
    balanced, repeats = config.balance == 'sampling', config.repeat_augmentation
    return EpochOrder(train_set, balanced=balanced, repeats=repeats) if balanced or repeats > 1 else train_set


def build_mixtures(config: TrainConfig, data: RunData, num_classes: int) -> Mixtures | None:
    """Return what is done to batches before they are trained on; None where nothing is."""
    last = config.num_epochs - config.mixup_off_epoch
    mixtures = [kind(num_classes, alpha, until_epoch=last) for wanted, kind, alpha in (
        (config.mixup, MixUp, config.mixup_alpha), (config.cutmix, CutMix, config.cutmix_alpha)) if wanted]
    weights = None
    if config.balance == 'weights' and data.train is not None:
        weights = class_weights(data.train.dataset.samples, num_classes)
    return Mixtures(num_classes, mixtures, weights) if mixtures or weights is not None else None


def _chosen(config: TrainConfig, net) -> list[str]:
    """Return what --train-params names; everything else of the network stays as it is from now on."""
    try:
        keys = chosen_keys(net, config.train_params)
        if config.new_head and not any(key.startswith(net.head_prefixes) for key in keys):
            raise UsageError('leaves the head of --new-head at random values for good; name it as well: '
                             f'"{config.train_params}|^({"|".join(map(re.escape, net.head_prefixes))})"')
        params = trainable(net, config.train_params)
    except UsageError as error:
        raise UsageError(f'--train-params {config.train_params}: {error}') from error
    freeze_statistics(net, params)
    return params


def build_teacher(prepared: Prepared, num_classes: int, contexts: list):
    """Return the network that is distilled from: published weights, or those of --teacher-params.

    It sees what the student sees, in the numbers that it was trained on. That of a run which is resumed has the weights
    that it had.
    """
    config, student, card = prepared.config, prepared.card, model_card(prepared.config.teacher)
    if (card.input, card.modality) != (student.input, student.modality):
        raise UsageError(f'--teacher {card.name} looks at other input than {student.name}: {card.input} of '
                         f'{card.modality} against {student.input} of {student.modality}')
    before = prepared.teacher or {}
    teacher = get_model(config.teacher, nclass=num_classes, tsn=config.use_tsn, num_segments=config.num_segments,
                        pretrained=not config.teacher_params and (before.get('tag') or True), pretrained_base=False,
                        ctx=contexts, input_size=config.input_size, **looking(config), **clip_option(card, config))
    if config.teacher_params:
        load_weights(teacher, config.teacher_params, ctx=contexts)
    elif not all(now.startswith(then) or then.startswith(now)
                 for now, then in zip(teacher.row['digests'], before.get('digests') or ())):
        raise WeightsError(f'--teacher {card.name}: the run was started with other weights of the tag {before["tag"]}, '
                           f'{", ".join(before["digests"])}; name them with --index, or start a new run')
    card, row = teacher.card, teacher.row
    if (card.mean, card.std) != (student.mean, student.std):
        log.info('The teacher %s was trained on frames of another mean and deviation than the student sees: its input '
                 'is normalised anew.', card.name)
        teacher = Renormalised(teacher, student, card, contexts)
        teacher.row = row
    teacher.hybridize(static_alloc=True)
    return teacher
