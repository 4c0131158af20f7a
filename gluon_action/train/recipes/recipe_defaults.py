"""``--recipe finetune``: defaults for few videos of one's own, and weights that were trained on many of others."""
from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...compute.engines import ENGINES
from ...errors import UsageError
from ...input_kind import FRAMES
from ...options import options_of
from .config import FINETUNE, TrainConfig

#: What the recipe sets where nobody says otherwise.
DEFAULTS: Mapping[str, Any] = {
    'model': 'resnet50_v1b_custom', 'batch_size': 8, 'num_epochs': 30, 'patience': 8, 'lr_mode': 'cosine',
    'warmup_epochs': 2, 'clip_norm': 5., 'balance': 'sampling', 'ema_epochs': 1., 'score_start': True,
    'on_error': 'skip', 'save_frequency': 0}
#: What it decides when videos and weights are known: `for_videos`, `fine_tuning.prepare_tuning`.
LATER = ('lr', 'head_lr', 'freeze_bn', 'flip_prob')

# A training has about so many updates at least, within limits of epochs.
_UPDATES, _LEAST_EPOCHS, _MOST_EPOCHS = 400, 20, 60
# Epochs of a handful of updates say nothing of whether a network still learns: it is given about so many.
_PATIENT_UPDATES = 100
_SIDED = re.compile(r'(?<![a-zA-Z])([lL]eft|[rR]ight|LEFT|RIGHT)(?![a-z])|(?<=[a-z])(Left|Right)(?![a-z])')


def configured(given: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration of the options that were given; the others have the recipe's values, or GluonCV's.

    Parameters
    ----------
    given : mapping
        Option -> value. The recipe is taken where there are ``videos``, or ``recipe`` asks for it. Where
        ``from_recipe`` says that it was taken before, these are the values of then.

    Raises
    ------
    UsageError
        When no model is named, and no videos to choose one for.
    """
    values = dict(given)
    if wants_recipe(given):
        own = _values(given)
        values = {**own, **given, 'recipe': FINETUNE, 'from_recipe': sorted({*own, *LATER}.difference(given))}
    if 'model' not in values:
        raise UsageError('--model: say which network to train, gluon-action list-models shows them; or name the folder '
                         'of your videos, for which there is a usual one')
    return TrainConfig(**values)


def settled(config: TrainConfig) -> TrainConfig:
    """Return a configuration with the values of the recipe, if it wants one; what is not as by default was given."""
    values = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)}
    if not wants_recipe(values):
        return config
    return configured({entry.name: values[entry.name] for entry in dataclasses.fields(config)
                       if values[entry.name] != entry.default})


def decides(config: TrainConfig) -> set[str]:
    """Return the options that the recipe gives values to where a command line does not: these must be said in it."""
    taken = set(config.from_recipe or ())
    given = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)
             if entry.name not in taken and getattr(config, entry.name) != entry.default}
    return {*_values(given), *LATER}


def decided_otherwise(config: TrainConfig) -> set[str]:
    """Return the options with values of the recipe that it would not give them beside what was given.

    As in a run that was resumed with another number of epochs: it has the patience that it began with.
    """
    taken = set(config.from_recipe or ())
    if 'num_epochs' in taken:  # the videos decide it, and what depends on it
        taken -= {'num_epochs', *_lengths(1)}
    default = {entry.name: entry.default for entry in dataclasses.fields(config)}
    given = {name: getattr(config, name) for name in default if name not in (config.from_recipe or ())
             and (getattr(config, name) != default[name] or name in DEFAULTS)}
    now = {**default, **_values(given)} if taken else {}
    return {name for name in taken.difference(LATER, ['save_dir']) if getattr(config, name) != now[name]}


def wants_recipe(given: Mapping[str, Any]) -> bool:
    """Whether options ask for `FINETUNE` which has not been taken yet."""
    asked = given.get('recipe') or (FINETUNE if given.get('videos') else None)
    return asked == FINETUNE and given.get('from_recipe') is None


def for_videos(config: TrainConfig, count: int, classes: Sequence[str] | None) -> TrainConfig:
    """Return a configuration with what the recipe takes from the data.

    Parameters
    ----------
    config : TrainConfig
    count : int
        Videos to train on: few of them are seen more often.
    classes : sequence of str, optional
        Names. Where one has a side, "turn left", mirrored videos would be of another class.
    """
    free, epochs = set(config.from_recipe or ()), config.num_epochs
    updates = math.ceil(count / (config.total_batch_size * config.accumulate))
    if 'num_epochs' in free:
        epochs = min(_MOST_EPOCHS, max(_LEAST_EPOCHS, math.ceil(_UPDATES / updates)))
    changes = {'num_epochs': epochs, **_lengths(epochs)}
    patience = max(changes['patience'], math.ceil(_PATIENT_UPDATES / updates))
    changes['patience'] = patience if patience < epochs else 0
    if any(map(_SIDED.search, classes or ())):
        changes['flip_prob'] = 0.
    return dataclasses.replace(config, **{name: value for name, value in changes.items() if name in free})


def said(config: TrainConfig) -> str:
    """Say which values come from the recipe, as flags."""
    known = options_of(TrainConfig)
    flags = []
    for name in known:
        value = getattr(config, name)
        if name in (config.from_recipe or ()) and value != known[name].default:
            flags.append(known[name].flag if value is True else f'{known[name].flag} {_short(value)}')
    return f'From the recipe {config.recipe}, which flags override: {" ".join(flags)}'


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe's values for what was not given, without those that contradict what was."""
    from ...model_zoo import model_card  # and MXNet, which nothing else here needs
    card, values = model_card(given.get('model') or DEFAULTS['model']), dict(DEFAULTS)
    if card.input == FRAMES:
        values |= {'use_tsn': True, 'num_segments': 3}
    if 'slowfast' in card.supports:
        values['slowfast'] = True
    if card.family == 'TimeSformer':  # transformers do not learn by gradient descent alone
        values |= {'optimizer': 'adamw', 'wd': 0.05, 'no_wd': True}
    if given.get('videos'):
        place = os.path.abspath(os.path.expanduser(given['videos']))
        values['save_dir'] = os.path.join('runs', os.path.splitext(os.path.basename(place))[0])
    if given.get('num_epochs'):
        values |= _lengths(given['num_epochs'])
    others = ENGINES[given.get('engine') or 'mxnet']().has_others(given.get('kvstore'))
    without = {'patience': given.get('train_only') or others,
               'score_start': given.get('train_only'), 'balance': given.get('multi_label'),
               'lr_mode': any(given.get(name) for name in ('lr_decay', 'lr_decay_epoch', 'lr_decay_period')),
               'clip_norm': given.get('clip_grad'), 'ema_epochs': given.get('dtype', 'float32') != 'float32'}
    return {name: value for name, value in values.items() if name not in given and not without.get(name)}


def _lengths(epochs: int) -> dict[str, int]:
    return {'warmup_epochs': min(2, epochs // 5), 'patience': max(3, math.ceil(epochs / 4))}


def _short(value: Any) -> str:
    return f'{value:g}' if isinstance(value, float) else str(value)
