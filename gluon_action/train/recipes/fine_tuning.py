"""Where ``--recipe finetune`` starts: weights that are on this machine, rates and normalisation that suit them."""
from __future__ import annotations

import dataclasses
import logging
import math

from ...evaluate.options.preparation import Prepared, by_card, prepare, prepared_for_file, prepared_for_start
from ...model_zoo import ModelCard
from ...model_zoo.loading.preparation import read_preparation
from ...model_zoo.loading.pretrained import start_at_hand
from ...model_zoo.registry import base_of
from ...weights.options import looking
from .config import TrainConfig

log = logging.getLogger(__name__)

# Rates for a batch of 16 videos. Those of gradient descent grow with the batch (Goyal et al. 2017, arXiv:1706.02677),
# those of Adam's kind with its root. A body that has learnt moves slowly, a new head ten times as fast.
_BATCH = 16
_RATES = {'sgd': {True: 0.002, False: 0.02}, 'adam': {True: 5e-5, False: 1e-3}}
_HEAD_FACTOR = 10.
# Batch normalisation of fewer rows a device has statistics that wander; those of the weights are better.
_FEW_ROWS = 32


def prepare_tuning(config: TrainConfig, card: ModelCard) -> Prepared:
    """Find weights to start from without asking other machines, and settle rates and normalisation by them.

    Parameters
    ----------
    config : TrainConfig
        Of the recipe; checked.
    card : ModelCard
        The zoo's own.

    Raises
    ------
    WeightsError
        When weights that were asked for by name are not there.
    """
    new_head = True
    if config.resume_params:
        if read_preparation(config.resume_params) is None:
            config = by_card(config, card)
        prepared, new_head = prepared_for_file(config, card, config.resume_params), config.new_head
    elif config.use_pretrained:
        others = config.dataset != card.dataset or config.num_classes not in (None, card.num_classes)
        prepared, new_head = prepare(config, card, replace_head=others), others
    else:
        variants = {'use_gn': config.use_gn, 'batch_norm': config.batch_norm}
        start = start_at_hand(card, base=base_of(card, variants), **looking(config)) if config.pretrained_base else None
        if start is None or start.row.kind == 'base':
            config = by_card(config, card)
        prepared = prepared_for_start(config, card, start)
        if start is None and config.pretrained_base:
            log.warning('%s', _without_weights(card))
    trained = bool(config.resume_params or prepared.start)
    return dataclasses.replace(prepared, config=_by_weights(prepared.config, card, trained, new_head))


def _by_weights(config: TrainConfig, card: ModelCard, trained: bool, new_head: bool) -> TrainConfig:
    """Return a configuration with the rates and the normalisation that suit its start."""
    kind = 'adam' if config.update_rule.startswith('adam') else 'sgd'
    batch = config.total_batch_size * config.accumulate
    scale = batch / _BATCH if kind == 'sgd' else math.sqrt(batch / _BATCH)
    normalised = ('bn_frozen' in card.supports or config.batch_norm) and not config.use_gn
    few = config.batch_size * config.num_segments < _FEW_ROWS and not config.partial_bn and config.bn_momentum is None
    rate, factor = _RATES[kind][trained] * scale, _HEAD_FACTOR if trained and new_head else 1.
    if config.train_params == 'head':
        rate, factor = rate * factor, 1.
    values = {'lr': float(f'{rate:.3g}'), 'head_lr': factor, 'freeze_bn': bool(trained and normalised and few)}
    if ':' in config.lr_decay_epoch and config.lr_mode == 'step':  # the schedule has rates of its own
        del values['lr']
    return dataclasses.replace(config, **{name: value for name, value in values.items()
                                          if name in (config.from_recipe or ())})


def _without_weights(card: ModelCard) -> str:
    where = card.starts_from or card.base
    fetched = f'gluon-action models download {where} fetches those of {where}; ' if where else ''
    return (f'{card.name}: no weights to start from are on this machine, so every layer starts at random, which takes '
            f'far more videos; {fetched}--resume-params FILE --new-head takes a file of weights')
