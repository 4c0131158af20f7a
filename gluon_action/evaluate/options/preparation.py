"""Whose weights a configuration runs with, and how these want frames prepared: known before anything is read."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import WeightsError
from ...model_zoo import ModelCard
from ...model_zoo.loading.preparation import describe_row, prepared_for, read_preparation
from ...model_zoo.loading.pretrained import Start, find_start
from ...model_zoo.registry import base_of
from ...run_config import refuse_checkpoint
from ...weights.options import looking
from .recognizer_options import RecognizerOptions

#: Frames that the fast pathway of SlowFast takes are this far apart (arXiv:1812.03982, section 4).
_FAST_STRIDE = 2


@dataclass(frozen=True)
class Prepared:
    """A configuration of which nothing is left to the weights.

    Attributes
    ----------
    config : RecognizerOptions
        Settled: every number of `RecognizerOptions.UNSAID` is decided.
    card : ModelCard or None
        As the weights want it; None for an exported network that the zoo does not know.
    start : Start or None
        Published weights, fetched.
    row : dict or None
        Published weights that they are or were trained from, see
        :func:`gluon_action.model_zoo.loading.preparation.describe_row`.
    published : bool
        Whether the weights are the published ones themselves.
    teacher : dict or None
        Published weights that the run which is resumed distils from.
    classes : list of str or None
        Names of the classes of the weights in a file, where its note says them.
    """

    config: RecognizerOptions
    card: ModelCard | None
    start: Start | None = None
    row: dict[str, Any] | None = None
    published: bool = False
    teacher: dict[str, Any] | None = None
    classes: list[str] | None = None

    @property
    def average(self) -> str:
        """What the published score of these very weights averaged over views; empty where nobody says."""
        return str(self.row.get('average') or '') if self.published else ''

    @property
    def options(self) -> dict[str, Any]:
        """Options of `get_model` that the weights need of their network."""
        return dict((self.row or {}).get('options') or {})

    @property
    def origin(self) -> dict[str, Any]:
        """Whose weights these are, or were trained from, as a bundle says it."""
        return {'published' if self.published else 'trained_from': self.row} if self.row else {}


def weights_decide(config: RecognizerOptions, card: ModelCard | None, *, base: bool = False) -> bool:
    """Whether what nobody has said will be what weights were trained with, which have yet to be found."""
    trained = config.resume_params or config.use_pretrained or base and card is not None and card.starts_from
    return bool(trained and not config.exported)


def prepare(config: RecognizerOptions, card: ModelCard, *, base: bool = False, replace_head: bool = False) -> Prepared:
    """Find the weights of a configuration, published ones on the network, and settle what they decide.

    Parameters
    ----------
    config : RecognizerOptions
    card : ModelCard
        The zoo's own.
    base : bool
        Start from weights for images, or of the model that `card` starts from, where the configuration names no others.
    replace_head : bool
        Whether the head of published weights may be for other classes.

    Raises
    ------
    WeightsError
        When there are no such weights, or what lies beside their file cannot be understood.
    """
    if config.resume_params:
        return prepared_for_file(config, card, config.resume_params)
    start = None
    if config.use_pretrained:
        start = find_start(card, pretrained=config.hashtag or True, replace_head=replace_head, **looking(config))
    elif base:
        variants = {'use_gn': config.use_gn, 'batch_norm': config.batch_norm}
        start = find_start(card, pretrained_base=True, base=base_of(card, variants), **looking(config))
    return prepared_for_start(config, card, start)


def prepared_for_start(config: RecognizerOptions, card: ModelCard, start: Start | None) -> Prepared:
    """Settle a configuration for published weights; those for images say nothing of clips."""
    if start is None:
        return Prepared(config.settled(), card)
    said = sizes_of(start.card) if start.row.kind != 'base' else {}
    return Prepared(_settled(config, said), start.card, start, describe_row(start.row), published=not start.body_only)


def prepared_for_file(config: RecognizerOptions, card: ModelCard, path: str | os.PathLike) -> Prepared:
    """Settle a configuration for the weights in a file, or of a run, by what lies beside them.

    Raises
    ------
    WeightsError
        When that cannot be understood.
    """
    found = read_preparation(path)
    if found is None:
        return Prepared(config.settled(), card)
    card = prepared_for(card, found, path)
    said = _sizes_of_run(found.run) if found.run else sizes_of(card)
    return Prepared(_settled(config, said), card, row=found.row, published=found.published, classes=found.classes)


def parameters_of_run(folder: Path) -> Path:
    """Return the best parameters in the folder of a run, or the newest where none were validated.

    Raises
    ------
    WeightsError
        When it has none yet.
    UsageError
        When it is a checkpoint.
    """
    refuse_checkpoint(folder)
    best = folder / 'best.params'
    if best.exists():
        return best
    # A link may lead to what is no more.
    found = sorted(filter(Path.exists, folder.glob('*.params')), key=lambda path: path.stat().st_mtime)
    if not found:
        raise WeightsError(f'{folder}: the run has no parameters yet (best.params or another .params)')
    return found[-1]


def by_card(config: RecognizerOptions, card: ModelCard) -> RecognizerOptions:
    """Settle a configuration as a card says, until the weights are known."""
    return _settled(config, sizes_of(card))


def sizes_of(card: ModelCard) -> dict[str, Any]:
    """Return what a card says of clips as options of training and testing."""
    size = {'input_size': card.input_size}
    pathways = re.match(r'slowfast_(\d+)x(\d+)_', card.name)
    if pathways:  # T x tau: T frames in the slow pathway, tau apart
        slow, stride = map(int, pathways.groups())
        return {**size, 'slowfast': True, 'slow_temporal_stride': stride, 'fast_temporal_stride': _FAST_STRIDE,
                'new_length': slow * stride, 'new_step': 1}
    return {**size, 'new_length': card.clip_length, 'new_step': card.clip_stride, 'clip_sampling': card.clip_sampling}


def _sizes_of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, default in RecognizerOptions.UNSAID.items()
            if isinstance(value := run['config'].get(name), type(default)) and value}
    if run['config'].get('clip_sampling') == 'spread' and run.get('clip_stride'):
        said['new_step'] = run['clip_stride']  # as far apart as the frames usually lay
    return said


def _settled(config: RecognizerOptions, said: Mapping[str, Any]) -> RecognizerOptions:
    # Frames of a clip that is spread over a video are as far apart as that allows, and SlowFast has strides of its own.
    if (config.clip_sampling or said.get('clip_sampling')) == 'spread' or config.slowfast:
        said = {**said, 'new_step': 1}
    return config.settled(said)
