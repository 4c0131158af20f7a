"""What can be exported: a model of the zoo, a training run, a file of parameters; each with its preprocessing."""
from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import engine, model_zoo
from ...data.feature_input import FeatureInput
from ...data.flow.methods import BOUND
from ...data.preprocess import Preprocess
from ...errors import UsageError
from ...evaluate.network import network_of_zoo
from ...evaluate.options.preparation import Prepared, parameters_of_run, prepare, prepared_for_file, sizes_of
from ...evaluate.options.recognizer_options import RecognizerOptions
from ...model_zoo.frame_features.stored.prefix import is_stored
from ...model_zoo.frame_features.stored.reading import read_stored
from ...model_zoo.loading.params_file import read_parameters
from ...model_zoo.recognizer import Recognizer
from ...model_zoo.registry import ModelCard
from ...run_config import read_run_config
from ...train.recipes.clip_estimator.config import EstimatorConfig
from ...train.recipes.config import TrainConfig

_log = logging.getLogger(__name__)

#: Frames of a video from one single frame that is looked at to the next, unless the user says otherwise.
FRAME_STRIDE = 8


@dataclass
class Source:
    """A network and how to use it: what `gluon_action.deploy.bundle.write.write_bundle` takes.

    Attributes
    ----------
    net : Recognizer
        With its weights, for one clip or frame a score unless its consensus needs several.
    preprocess : Preprocess or FeatureInput
        As in the validation of the run, or by the model's card; of a network of features, which ones.
    labels : list of str or None
    card : ModelCard or None
        None of a sum of networks.
    name : str
    notes : dict of str to str
        For the model card: where the weights come from, and how well they did.
    origin : dict
        For the manifest: the row of published weights, see
        :func:`gluon_action.model_zoo.loading.preparation.describe_row`, as ``published`` where it is they, as
        ``trained_from`` where a training started from them.
    """

    net: Recognizer
    preprocess: Preprocess | FeatureInput
    labels: list[str] | None
    card: ModelCard | None
    name: str
    notes: dict[str, str] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choices:
    """What the user says instead of the run or the model's card; None leaves it to them.

    Attributes
    ----------
    use_pretrained : bool
        Of a model of the zoo: published weights; `hashtag` picks other ones than the first.
    weights_index, trust_first_use
        Where these are looked for, see :class:`gluon_action.weights.options.WeightsOptions`.
    no_weights : bool
        Of a model of the zoo: random weights, to try things out.
    num_classes : int or None
        Of random weights.
    labels : sequence of str or None
    clip_length, clip_stride : int or None
        Frames of a clip and their distance; of SlowFast the frames that a clip spans, and the stride of its fast
        pathway.
    input_size : int or None
        Side of the crop.
    short_side : int or None
        That frames are resized to; 0 takes them as they are.
    crops : int or None
        1, 3 or 10.
    stride : int or None
        Frames from one clip to the next.
    multi_label : bool
        Sigmoid instead of softmax.
    """

    use_pretrained: bool = False
    hashtag: str = ''
    weights_index: str = ''
    trust_first_use: bool = False
    no_weights: bool = False
    num_classes: int | None = None
    labels: Sequence[str] | None = None
    clip_length: int | None = None
    clip_stride: int | None = None
    input_size: int | None = None
    short_side: int | None = None
    crops: int | None = None
    stride: int | None = None
    multi_label: bool = False


_AS_IT_IS = Choices()


def open_source(source: str | os.PathLike, *, model: str | None = None, **choices) -> Source:
    """Open what is to be exported.

    Parameters
    ----------
    source : str or path
        The folder of a training run, a file of parameters, or the name of a model of the zoo; or a stored model of
        features, by its prefix or its train_dir.
    model : str, optional
        Of a file of parameters without the ``config.json`` of its run beside it: the network.
    **choices
        Those of `Choices`.

    Raises
    ------
    UsageError
        When it is none of these, weights are not chosen, or a choice means nothing here.
    WeightsError
        When weights cannot be read or do not fit.
    """
    wanted, path = Choices(**choices), Path(source).expanduser()
    if is_stored(path):
        return _open_stored(path, model, wanted)
    if path.is_dir() or path.is_file():
        _check_weights_of_file(wanted, path)
        about = read_run_config(path)
        if about and model not in (None, about['config'].get('model')):
            raise UsageError(f'--model {model}: {path} is of a run that trained {about["config"].get("model")}, as '
                             'config.json beside it says; leave --model out')
        if about is None and (path.is_dir() or model is None):
            raise UsageError(f'{path}: ' + (
                'holds no config.json of a training run; name the parameters in it and their --model' if path.is_dir()
                else 'has no config.json of its run beside it; name its network with --model'))
        if about and 'network' in about['config']:
            return _open_estimator(path, about, wanted)
        return _open_parameters(path, about, model, wanted)
    if model is not None:
        raise UsageError(f'{path} does not exist; --model names the network of a file of parameters')
    return _open_zoo(str(source), wanted)


def estimator_source(config: EstimatorConfig, contexts: list) -> Source:
    """Open the run of an estimator, as its configuration says."""
    from ...train.recipes.clip_estimator.network import trained_network
    net, loaded = trained_network(config, contexts)
    card, (height, width) = net.card, config.frame_size
    preprocess = Preprocess(
        layout=card.input.layout, modality=card.modality, offsets=tuple(range(config.clip_length)),
        crop=(height, width), resize={'width': config.frame_width, 'height': config.frame_height},
        corner=(config.cropy, config.cropx) if config.crop else None, stride=max(1, config.clip_length // 2),
        activation='sigmoid' if config.multi_label else 'softmax', mean=card.mean, std=card.std,
        flow_bound=BOUND if card.modality == 'flow' else None)
    labels = (read_run_config(loaded.source) or {}).get('classes')
    return Source(net, preprocess, labels, card, card.name, {'Weights': str(loaded.source)})


def _open_estimator(path: Path, about: dict[str, Any], wanted: Choices) -> Source:
    given = [name for name in ('num_classes', 'clip_length', 'clip_stride', 'input_size', 'short_side', 'crops')
             if getattr(wanted, name) is not None]
    if given:
        raise UsageError(f'{path}: its clips were stored at one size; leave out {", ".join(map(_flag, given))}')
    parameters = parameters_of_run(path) if path.is_dir() else path
    config = _record(EstimatorConfig, about['config'], model_dir=str(parameters.parent),
                     checkpoint_path=str(parameters), num_gpus=0, gpu_num=None)
    source = estimator_source(config, engine.contexts())
    source.labels = list(wanted.labels) if wanted.labels else about['classes']
    if wanted.stride:
        source.preprocess = dataclasses.replace(source.preprocess, stride=wanted.stride)
    return source


def _open_stored(path: Path, model: str | None, wanted: Choices) -> Source:
    given = [name for name in Choices.__dataclass_fields__ if name != 'labels'
             and getattr(wanted, name) != getattr(_AS_IT_IS, name)] + ['model'] * (model is not None)
    if given:
        raise UsageError(f'{path}: is a stored model of features, which says itself what it takes and gives; leave out '
                         f'{", ".join(map(_flag, given))}')
    stored = read_stored(path)
    net, features = stored.build(engine.contexts()), stored.architecture
    names = [member.architecture.model for member in stored.members]
    notes = {'Weights': f'{stored.prefix} (SHA-256 {stored.sha256[:12]}...)'}
    if len(names) > 1:
        notes['Sum of'] = ', '.join(f'{weight:g} x {name}' for weight, name in zip(stored.weights, names))
    return Source(net, FeatureInput(features.features, features.length, features.frame_features),
                  list(wanted.labels) if wanted.labels else None, net.card, ' + '.join(dict.fromkeys(names)), notes)


def _open_parameters(path: Path, about: dict[str, Any] | None, model: str | None, wanted: Choices) -> Source:
    parameters = parameters_of_run(path) if path.is_dir() else path
    if wanted.num_classes:
        raise UsageError('--num-classes: the parameters say how many classes they are for; leave it out')
    if about:
        run = _record(TrainConfig, about['config'])
        run = dataclasses.replace(run, **dict.fromkeys(run.UNSAID))  # a note beside the file comes before the run's
        own = model_zoo.model_card(run.model, about)
    else:
        own = model_zoo.model_card(model)
        run = TrainConfig(model=own.name)
    prepared = prepared_for_file(run, own, parameters)
    card = prepared.card
    if about:
        run = prepared.config
        for line in _differences(run, card, wanted):
            _log.warning('%s: %s', path, line)
        _apply_choices(run, card, wanted)
    else:
        run = published_run(card, wanted)
        weights = read_parameters(parameters).get('tsn_consensus.weight')
        if weights is not None:
            run.consensus, run.num_segments = 'weighted', weights.shape[1]
    net, weights = _build(prepared, run, resume_params=str(parameters))
    notes = {'Weights': f'{parameters}, SHA-256 {weights["sha256"]}', **_notes_of_run(parameters, about, run)}
    labels = list(wanted.labels) if wanted.labels else net.classes or (about['classes'] if about else None)
    return _source(run, prepared, wanted, net, labels, notes)


def _open_zoo(name: str, wanted: Choices) -> Source:
    card = model_zoo.model_card(name)
    for name in ('hashtag', 'weights_index', 'trust_first_use'):
        if getattr(wanted, name) and not wanted.use_pretrained:
            raise UsageError(f'{_flag(name)}: is about published weights; add --use-pretrained')
    if wanted.use_pretrained == wanted.no_weights:
        raise UsageError(f'{card.name}: choose its weights: --use-pretrained takes the published ones, --no-weights '
                         'random ones, to try things out; weights of your own are exported by the folder of their run, '
                         f'or FILE.params --model {card.name}')
    if wanted.num_classes and wanted.use_pretrained:
        raise UsageError('--num-classes: published weights have their own classes; leave it out')
    published_run(card, wanted)  # before anything is downloaded
    asked = TrainConfig(model=card.name, use_pretrained=wanted.use_pretrained, hashtag=wanted.hashtag,
                        weights_index=wanted.weights_index, trust_first_use=wanted.trust_first_use,
                        num_classes=wanted.num_classes)
    prepared = prepare(asked, card)
    run = published_run(prepared.card, wanted)
    engine.seed(0)
    net, weights = _build(prepared, run, num_classes=wanted.num_classes)
    named = net.num_classes == card.num_classes
    labels = list(wanted.labels) if wanted.labels else net.classes or (card.labels() if named else None)
    source = weights['source'] if wanted.use_pretrained else 'random: the scores mean nothing'
    return _source(run, prepared, wanted, net, labels, {'Weights': source})


def _build(prepared: Prepared, run: TrainConfig, *, resume_params: str = '',
           num_classes: int | None = None) -> tuple[Recognizer, dict[str, str]]:
    """Build the network as a test of the run would, for one view a score where the consensus allows it."""
    # Not hybridized, so that it can be called with inputs of any shape. How frames are cut is said by `preprocess_of`.
    config = dataclasses.replace(run.settled(), use_pretrained=False, hashtag='', resume_params=resume_params,
                                 num_classes=num_classes, mode='imperative', dtype='float32')
    return network_of_zoo(dataclasses.replace(prepared, config=config), None, engine.contexts())


def _differences(run: TrainConfig, card: ModelCard, wanted: Choices) -> list[str]:
    """Return a line for each choice by which the network sees something else than in the validation of its run."""
    resize = _resize(run)
    before = {'clip_length': run.new_length, 'clip_stride': run.fast_temporal_stride if run.slowfast else
              card.clip_stride if run.clip_sampling == 'spread' else run.new_step, 'input_size': run.input_size,
              'short_side': resize.get('short_side', min(resize.values(), default=0)), 'multi_label': run.multi_label}
    return [f'{_flag(name)}{"" if value is True else f" {value}"} is not what the run was validated with, {had}, as '
            'config.json beside its parameters says; leave it out to export what was trained'
            for name, had in before.items() if (value := getattr(wanted, name)) not in (None, False, had)]


def _apply_choices(run: TrainConfig, card: ModelCard, wanted: Choices) -> None:
    card.input.need_video(card.name)
    for name, value in (('clip_length', wanted.clip_length), ('clip_stride', wanted.clip_stride)):
        if value is not None and not card.input.takes(name):
            raise UsageError(f'{_flag(name)}: {card.name} takes single frames; leave it out')
        if value is not None and value < 1:
            raise UsageError(f'{_flag(name)}: must be 1 or more, got {value}')
    run.new_length = wanted.clip_length or run.new_length
    run.input_size = wanted.input_size or run.input_size
    run.num_crop = wanted.crops or run.num_crop
    run.multi_label = run.multi_label or wanted.multi_label
    if run.slowfast and wanted.clip_stride:  # as many frames, closer together or further apart
        fast, run.fast_temporal_stride = run.fast_temporal_stride, wanted.clip_stride
        run.slow_temporal_stride = run.slow_temporal_stride // fast * wanted.clip_stride
        run.new_length = wanted.clip_length or run.new_length // fast * wanted.clip_stride
    elif wanted.clip_stride or run.clip_sampling == 'spread':
        # A prediction takes frames as far apart as they usually lay in training, which the card says of a run.
        run.new_step, run.clip_sampling = wanted.clip_stride or card.clip_stride, 'consecutive'


def _source(run: TrainConfig, prepared: Prepared, wanted: Choices, net: Recognizer, labels: list[str] | None,
            notes: dict[str, str]) -> Source:
    rows, card = net.num_segments * net.num_crop, prepared.card
    return Source(net, preprocess_of(run, card, rows=rows, short_side=wanted.short_side, stride=wanted.stride), labels,
                  card, card.name, notes, prepared.origin)


def published_run(card: ModelCard, wanted: Choices = _AS_IT_IS) -> TrainConfig:
    """Return the configuration that stands for the training of a published network, as far as a clip goes.

    Raises
    ------
    UsageError
        When a choice means nothing for it.
    """
    run = TrainConfig(model=card.name, **sizes_of(card))
    _apply_choices(run, card, wanted)
    return run


def preprocess_of(run: RecognizerOptions, card: ModelCard, *, rows: int = 1, short_side: int | None = None,
                  stride: int | None = None) -> Preprocess:
    """Return how the validation of a run prepares videos.

    Parameters
    ----------
    run : RecognizerOptions
        Of the training, or of a test.
    card : ModelCard
        Of its network.
    rows : int
        That the network makes one score of.
    short_side : int, optional
        That frames are resized to, instead of what the run says; 0 takes them as they are.
    stride : int, optional
        Frames from one clip to the next; by default `FRAME_STRIDE`, or half a clip.
    """
    span = max(run.frame_plan().offsets) + 1
    resize = _resize(run) if short_side is None else {'short_side': short_side} if short_side else {}
    return run.preprocess(card, rows=rows, resize=resize,
                          stride=stride or (FRAME_STRIDE if run.frames_per_clip == 1 else max(1, span // 2)))


def _resize(run: RecognizerOptions) -> dict[str, int]:
    """How whole videos are brought to the size that the run crops from, reading included."""
    if run.read_size is None:
        return {'short_side': run.short_side}
    height, width = run.read_size
    if run.short_side:  # three crops span the short side: the same shape of frames, so much smaller
        scale = run.short_side / min(run.read_size)
        height, width = (max(run.short_side, math.floor(side * scale)) for side in run.read_size)
    return {'width': width, 'height': height}


def _notes_of_run(parameters: Path, about: dict[str, Any] | None, run: TrainConfig) -> dict[str, str]:
    if about is None:
        return {}
    notes = {'Trained on': run.dataset}
    best = re.match(r'(\d\.\d{4})-.*-(\d+)-best\.params$', parameters.resolve().name)
    if best:
        score = 'mean average precision' if run.multi_label else 'top-1'
        notes[f'Validation {score}'] = (f'{100 * float(best[1]):.2f} % (epoch {int(best[2])}, {run.num_segments} '
                                        f'segment{"s" * (run.num_segments > 1)} a video)')
    return notes


def _check_weights_of_file(wanted: Choices, path: Path) -> None:
    for name in ('use_pretrained', 'hashtag', 'weights_index', 'trust_first_use', 'no_weights'):
        if getattr(wanted, name):
            raise UsageError(f'{_flag(name)}: the weights are those of {path}; leave it out')


def _record(kind: type, values: dict[str, Any], **changes):
    """Return a configuration of what a file says, which may be of another version."""
    known = {entry.name for entry in dataclasses.fields(kind)}
    return kind(**{**{name: value for name, value in values.items() if name in known}, **changes})


def _flag(name: str) -> str:
    return '--index' if name == 'weights_index' else f'--{name.replace("_", "-")}'
