"""Networks by name: their cards, who builds them, and `get_model`."""
from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mxnet as mx

from ..class_names import class_names
from ..errors import ModelError
from ..input_kind import CLIPS, FRAMES, InputKind
from ..nn import freeze_batch_norms
from ..printable import printable
from ..weights.index import INPUT, bundled_index
from .installed_models import import_installed_models
from .loading.pretrained import Start, find_start, load_start
from .recognizer import Recognizer, initialize_rest, settle_shapes
from .tsn import TSN

#: Data set of a model's name -> (name of the data set, number of classes).
_DATASETS = {
    'ucf101': ('ucf101', 101),
    'hmdb51': ('hmdb51', 51),
    'kinetics400': ('kinetics400', 400),
    'sthsthv2': ('somethingsomethingv2', 174),
    'ssv2': ('somethingsomethingv2', 174),
    'kinetics600': ('kinetics600', 600),
    'kinetics700': ('kinetics700', 700),
    'demo_motion': ('demo_motion', 4),
    'custom': ('custom', 400),
}

#: Options of `get_model` that only some models have; None, or False where there is no such option, asks for nothing.
_OPTIONS = ('consensus', 'dropout_ratio', 'init_std', 'input_size', 'feat_ext', 'batch_norm', 'use_gn', 'use_se',
            'last_gamma', 'use_kinetics_pretrain', 'final_endpoint', 'first_temporal_kernel_size',
            'temporal_conv_startat', 'gating_startat', 'depth_multiplier', 'min_depth', 'sub_sample')

#: What weights may want other than the zoo's card says: how pixels become numbers, and which of them are seen.
PREPARATION = tuple(INPUT)
_OF_CLIPS = ('clip_length', 'clip_stride', 'clip_sampling')

#: Models that a message names.
_SHOWN = 8

_BUILDERS: dict[str, Callable[..., Recognizer]] = {}
_CARDS: dict[str, ModelCard] = {}
#: Name of the module whose import registered a model.
_MODULES: dict[str, str | None] = {}


@dataclass(frozen=True)
class ModelCard:
    """All that is known of a model; everybody reads it here.

    Attributes
    ----------
    name, family : str
        Name for `get_model`; heading in the catalogue.
    dataset : str
        Data set that the head is for, as in ``--dataset``.
    num_classes : int
        Classes of that data set. A network, or published weights, may have others: a network's own are its
        ``num_classes`` and ``classes``.
    input : InputKind
        Frames; clips of `clip_length` frames `clip_stride` apart; or features of at most `clip_length` frames.
    channels : int
        Channels of a frame: 3 of RGB, 2 of optical flow; numbers of a frame's features.
    modality : {'rgb', 'flow'}
        What the channels are.
    input_size : int
        Height and width in pixels that the published weights were trained at.
    clip_length, clip_stride : int
        Frames of a clip, and how far apart they are.
    clip_sampling : str
        Where clips lie in a video, as ``--clip-sampling`` names it.
    mean, std : tuple of float
        Per channel, for pixels in 0..1.
    source : str
        Paper.
    base : str
        ImageNet network that the body starts from. Which weights of it, and of the model itself, are published is in
        the index of :mod:`gluon_action.weights`.
    starts_from : str
        Model of the zoo whose weights are the start of this one, except for the head.
    supports : frozenset of str
        Options of `get_model` that mean something here; networks of features have their own.
    defaults : dict
        Values of options that differ between models.
    bn_momentum : float or None
        Share of the running statistics that batch normalisation keeps at a step, where it is not what the layers have.
    head : str
        Key of the head's weights in a parameter file; their first axis is the classes.
    of : ModelCard or None
        The zoo's own card, of one that `prepared` made for weights that want another preparation.
    """

    name: str
    family: str
    dataset: str
    num_classes: int
    input: InputKind = FRAMES
    channels: int = 3
    modality: str = 'rgb'
    input_size: int = 224
    clip_length: int = 1
    clip_stride: int = 1
    clip_sampling: str = 'consecutive'
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    source: str = ''
    base: str = ''
    starts_from: str = ''
    supports: frozenset[str] = frozenset()
    defaults: dict = field(default_factory=dict)
    bn_momentum: float | None = None
    head: str = 'output.weight'
    of: ModelCard | None = None

    @classmethod
    def of_2d(cls, name: str, *, dataset: str, supports: tuple[str, ...] = (),
              starts_from: str = '', dropout_ratio: float, init_std: float, **fields) -> ModelCard:
        """Return the card of a network for frames.

        Parameters
        ----------
        dataset : str
            Data set as GluonCV's model names spell it.
        """
        options = {'tsn', 'consensus', 'feat_ext', 'dropout_ratio', 'init_std', 'input_size', *supports}
        if starts_from:
            options.add('use_kinetics_pretrain')
        return cls(
            name, dataset=_DATASETS[dataset][0], num_classes=_DATASETS[dataset][1], starts_from=starts_from,
            supports=frozenset(options), defaults={'dropout_ratio': dropout_ratio, 'init_std': init_std}, **fields)

    @classmethod
    def of_clips(cls, name: str, *, dataset: str, supports: tuple[str, ...] = (), clip_length: int,
                 clip_stride: int = 1, dropout_ratio: float, **fields) -> ModelCard:
        """Return the card of a network for clips.

        Parameters
        ----------
        dataset : str
            Data set as GluonCV's model names spell it, or ``'kinetics600'``.
        clip_length, clip_stride : int
            Frames of a clip and their distance in training.
        **fields
            Further attributes of the card.
        """
        return cls(
            name, dataset=_DATASETS[dataset][0], num_classes=_DATASETS[dataset][1], input=CLIPS,
            clip_length=clip_length, clip_stride=clip_stride,
            supports=frozenset({'dropout_ratio', 'feat_ext', 'input_size', 'clip_length', *supports}),
            **{**fields, 'defaults': {'dropout_ratio': dropout_ratio, **fields.get('defaults', {})}})

    @property
    def input_layout(self) -> str:
        """Axes of the input, as the ``config.json`` of a run notes them."""
        return self.input.layout

    def prepared(self, input: Mapping[str, Any]) -> ModelCard:
        """Return the card of this model with weights that want their input prepared in a way of their own.

        Parameters
        ----------
        input : mapping
            Any of `PREPARATION`; what is left out is as on the zoo's own card. Other keys say nothing about a card, and
            neither do those of clips where the input is none.

        Returns
        -------
        ModelCard
            The zoo's own where nothing differs.

        Raises
        ------
        ModelError
            For a mean or std of another number of channels.
        """
        own = self.of or self
        values = {name: input[name] for name in PREPARATION if input.get(name) is not None
                  and (name not in _OF_CLIPS or self.input.takes(name))}
        for name in ('mean', 'std'):
            if name in values:
                values[name] = tuple(map(float, values[name]))
                if len(values[name]) != self.channels:
                    raise ModelError(f'{own.name}: {name} has {len(values[name])} numbers and a frame {self.channels} '
                                     'channels')
        changed = {name: value for name, value in values.items() if value != getattr(own, name)}
        return replace(own, **changed, of=own) if changed else own

    @property
    def preparation(self) -> dict[str, Any]:
        """What differs from the zoo's own card, by `PREPARATION`; {} on that card."""
        return {name: getattr(self, name) for name in PREPARATION
                if self.of is not None and getattr(self, name) != getattr(self.of, name)}

    def labels(self) -> list[str] | None:
        """Return the names of the data set's classes in order, or None where it is the user's; see `num_classes`."""
        return class_names(self.dataset)

    def input_shape(self, rows: int = 1, size: int | None = None, frames: int | None = None) -> tuple[int, ...]:
        """Return the shape of an input of `rows` rows, of `frames` frames and `size` pixels where it has these."""
        size = size or self.input_size
        return self.input.shape(rows, channels=self.channels, length=frames or self.clip_length, size=(size, size))


def get_model(name: str, *, nclass: int | None = None, pretrained: bool | str | Start = False,
              pretrained_base: bool | str | Start = True, tsn: bool = False, use_tsn: bool = False,
              num_segments: int = 1, num_crop: int = 1, clip_length: int | None = None, partial_bn: bool = False,
              bn_frozen: bool = False, bn_momentum: float | None = None, replace_head: bool = False,
              ctx: mx.Context | list[mx.Context] | None = None, root: str | None = None, trust_first_use: bool = False,
              index: str | None = None, initialize: bool = True, **options) -> Recognizer:
    """Return a network by name, its parameters initialised and all shapes known.

    Parameters
    ----------
    name : str
        One of `list_models`; case does not matter.
    nclass : int, optional
        Classes; by default those of the data set in the name.
    pretrained : bool, str or Start
        Load published weights of this model: the best that can be had, those with this tag, or what `find_start` found.
        The logger ``gluon_action`` says at level INFO which were taken.
        Needs the `nclass` they were trained with, unless `replace_head`. The network's card has their preparation then.
    pretrained_base : bool, str or Start
        Start the body from ImageNet weights (of this tag). False starts at random: nothing is downloaded.
    tsn, use_tsn : bool
        Work over segments even if there is only one. Several segments or crops always do.
    num_segments, num_crop : int
        Rows of the input that make one video are ``num_segments * num_crop``, segments outermost.
    clip_length : int, optional
        Frames of a clip that the network is laid out for, and exported with; by default the card's.
    partial_bn, bn_frozen : bool
        Freeze all batch normalisations but the first, or all: statistics, gamma and beta.
    bn_momentum : float, optional
        Share of its running statistics, in 0..1, that a batch normalisation keeps at each step; by default the
        model's.
    replace_head : bool
        With `pretrained`: keep the body and start a new head for `nclass` classes.
    ctx : mxnet.Context or list, optional
        Devices to hold the parameters; the CPU by default.
    root : str, optional
        Folder of downloaded weights; by default ``$MXNET_HOME/models`` or ``~/.mxnet/models``.
    trust_first_use : bool
        Take weights whose publisher gives no digest as they come the first time.
    index : str, optional
        File or address of an index of published weights that comes before the package's; by default
        ``$GLUON_ACTION_INDEX``.
    initialize : bool
        Draw values for parameters that no weights are loaded into. False leaves that to `initialize_rest`, for whoever
        loads weights next: random values of a large network take longer than its file.
    **options
        consensus : {'avg', 'max', 'weighted'}; dropout_ratio, init_std : float, by default the model's; input_size :
        int, pixels; feat_ext : bool, return features instead of scores; batch_norm : bool, variant of VGG16;
        use_gn, last_gamma : bool, variants of ResNet; use_kinetics_pretrain : bool, start ``*_custom`` models from
        Kinetics400 weights, by default where `pretrained_base` is True; sub_sample : bool, non-local blocks look at one
        of four places; final_endpoint : str, where I3D and S3D stop;
        those of S3D, see :class:`gluon_action.model_zoo.s3dg.S3D`; those of networks of features, see
        :class:`gluon_action.model_zoo.frame_features.Architecture`.

    Returns
    -------
    Recognizer
        Hybridizable; frames (B * num_segments * num_crop, 3, H, W), or for networks of clips (B * num_segments *
        num_crop, C, T, H, W), to scores (B, nclass).

    Raises
    ------
    ModelError
        Unknown name (the closest are named), or an option that the model does not have.
    WeightsError
        Weights that do not exist, cannot be downloaded, or do not fit.
    """
    card = model_card(name)
    settings, kinetics = _settings(card, options, pretrained)
    for option, value in (('nclass', nclass), ('num_segments', num_segments), ('num_crop', num_crop),
                          ('input_size', settings.get('input_size')), ('clip_length', clip_length)):
        by_default = value is None and option in ('nclass', 'input_size', 'clip_length')
        if not by_default and (not isinstance(value, int) or value < 1):
            raise ModelError(f'{card.name}: {option} is a whole number from 1, got {value!r}')
    _check_sampling(card, tsn or use_tsn, num_segments * num_crop, clip_length)
    if settings.get('last_gamma') and (pretrained or pretrained_base):
        raise ModelError(f'{card.name}: last_gamma is a start from nothing, pretrained weights would overwrite it; '
                         'use it with pretrained_base=False')
    given = pretrained or pretrained_base
    start = given if isinstance(given, Start) else find_start(
        card, pretrained=pretrained, pretrained_base=pretrained_base, kinetics=kinetics, replace_head=replace_head,
        base=base_of(card, settings), root=root, trust_first_use=trust_first_use, index=index)
    if start:
        if start.card.name != card.name:
            raise ModelError(f'{card.name}: cannot start from what was found for {start.card.name}')
        card = start.card
        settings |= {option: value for option, value in start.row.options.items() if options.get(option) is None}
        if nclass is None and not (replace_head or start.body_only):
            nclass = start.num_classes
    nclass = card.num_classes if nclass is None else nclass
    size = settings.pop('input_size', card.input_size)
    frames = card.clip_length if clip_length is None else clip_length
    net = _BUILDERS[card.name.lower()](nclass, tsn=tsn or use_tsn, num_segments=num_segments, num_crop=num_crop,
                                       **settings)
    if not isinstance(net, Recognizer):
        raise ModelError(f'{card.name}: its constructor returned {type(net).__name__}, which is no '
                         'gluon_action.model_zoo.Recognizer; let the network inherit from that')
    net = _for_rows(card, net, num_segments, num_crop, settings.get('consensus', 'avg'))
    net.card, net.options = card, settings
    net.plan_for(frames, size, size)
    settle_shapes(net, net.input_shape(num_segments * num_crop, size, frames))
    _set_momentum(net, card.bn_momentum if bn_momentum is None else bn_momentum)
    _freeze(net, partial_bn, bn_frozen)

    devices = [ctx] if isinstance(ctx, mx.Context) else list(ctx or [mx.cpu()])
    if start:
        load_start(net, start, ignore_head=replace_head, ctx=devices)
    if initialize:
        initialize_rest(net, devices)
    return net


def list_models(pattern: str = '*') -> list[str]:
    """Return the names that match a shell pattern such as ``'resnet*_kinetics400'``, with numbers in their order.

    Models of installed packages are among them, see :mod:`gluon_action.model_zoo.installed_models`.
    """
    import_installed_models()
    found = sorted(fnmatch.filter(_CARDS, pattern.lower()),
                   key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)])
    return [_CARDS[name].name for name in found]


def model_card(name: str, run: Mapping[str, Any] | None = None) -> ModelCard:
    """Return the card of a model; case does not matter.

    A name that the zoo does not have is looked for in installed packages, see
    :mod:`gluon_action.model_zoo.installed_models`.

    Parameters
    ----------
    name : str
    run : mapping, optional
        What `read_run_config` found of the run that trained it.

    Raises
    ------
    ModelError
        For a name that nobody has; the closest are named. What registered the network of a run is named, and is not
        imported: that a file names a module is no reason to run it.
    """
    key = str(name).lower()
    if key not in _CARDS:
        import_installed_models()
    card = _CARDS.get(key)
    if card is None:
        of_run = (run or {}).get('model')
        module = of_run.get('import') if isinstance(of_run, dict) and of_run.get('name') == name else None
        if isinstance(module, str):
            raise ModelError(f'the zoo has no model {name!r}, which is a network of your own; add --import '
                             f'{printable(module)}, as config.json of its run says')
        raise ModelError(f'the zoo has no model {name!r}; {_known_like(str(name))}')
    return card


def _known_like(name: str) -> str:
    """Say which models a name may mean: those that it begins, as a network alone does, or those it is close to."""
    typed = re.sub(r'\W|_', '', name.lower())
    begun = [other for other in list_models() if len(typed) > 1
             and re.sub(r'\W|_', '', other.lower()).startswith(typed)]
    close = difflib.get_close_matches(name.lower(), _CARDS, n=3)
    if len(begun) < 2:
        return f'did you mean {" or ".join(close)}?' if close else 'gluon-action list-models names them all'
    index = bundled_index()
    living = {other for other in begun if any(map(index.can_be_had, (other, _CARDS[other.lower()].starts_from)))}
    # Those for own classes first, then those that can be had with weights.
    begun.sort(key=lambda other: (not other.endswith('_custom'), other not in living))
    shown = [other + '*' * (other in living) for other in begun[:_SHOWN]]
    rest = f' and {len(begun) - _SHOWN} more, which gluon-action list-models "{name.lower()}*" lists' \
        if len(begun) > _SHOWN else ''
    return f'it has {", ".join(shown)}{rest}' + ' (*: with published weights)' * any('*' in other for other in shown)


def register_model(card: ModelCard) -> Callable:
    """Return a decorator that puts a constructor into the zoo under the name on `card`.

    The constructor is called as ``build(nclass, tsn=, num_segments=, num_crop=, consensus=, **options)``, with the
    options of `get_model` that the card supports; those of ``card.defaults`` always. It returns a
    :class:`gluon_action.model_zoo.Recognizer` of `nclass` classes that maps ``num_segments * num_crop`` rows a video to
    scores (B, nclass) before softmax, its parameters not initialised; keys of the head begin with its `head_prefixes`.
    A network of frames may leave `tsn`, `num_segments`, `num_crop` and `consensus` alone: where a video has several
    rows, `TSN` is put around it. One of clips takes them, and says so by its `num_segments` and `num_crop`.

    Parameters
    ----------
    card : ModelCard

    Raises
    ------
    ModelError
        When the card lacks something, the name is taken, or the constructor cannot be called so.
    """
    _check_card(card)

    def register(build: Callable[..., Recognizer]) -> Callable[..., Recognizer]:
        _check_constructor(card, build)
        key = card.name.lower()
        if key in _CARDS:
            raise ModelError(f'two models are named {card.name}')
        _CARDS[key], _BUILDERS[key], _MODULES[key] = card, build, _module_that_runs()
        return build
    return register


def outside_module(name: str) -> str | None:
    """Return what ``--import`` takes for a model that was registered by a module outside this package; None for others.

    Parameters
    ----------
    name : str
        Of a model that is registered.
    """
    module = sys.modules.get(_MODULES.get(name.lower()) or '')
    if module is None or module.__name__ == '__main__' or module.__name__.split('.')[0] == __package__.split('.')[0]:
        return None
    file = Path(getattr(module, '__file__', None) or '')
    # Of a package, and of a module in one, no file can be imported alone.
    return str(file) if file.name == f'{module.__name__}.py' else module.__name__


def _module_that_runs() -> str | None:
    """Return the name of the module whose own lines run, which a constructor may come from elsewhere into."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != '<module>':
        frame = frame.f_back
    return frame.f_globals.get('__name__') if frame is not None else None


def _check_card(card: ModelCard) -> None:
    if not isinstance(card, ModelCard):
        raise ModelError(f'register_model takes a ModelCard, got {type(card).__name__}: '
                         '@register_model(ModelCard.of_2d(...)) above the constructor')
    wrong = [what for broken, what in (
        (not re.fullmatch(r'[\w.-]+', card.name), 'its name is of letters, digits, "_", "-" and "."'),
        (not isinstance(card.num_classes, int) or card.num_classes < 1, 'num_classes is a whole number from 1'),
        (not isinstance(card.input, InputKind), 'input is FRAMES or CLIPS of gluon_action.input_kind'),
        (card.input in (FRAMES, CLIPS) and {len(card.mean), len(card.std)} != {card.channels},
         f'mean and std have a number for each of its {card.channels} channels'),
    ) if broken]
    if wrong:
        raise ModelError(f'the card of {card.name!r} cannot be used: {"; ".join(wrong)}')


def _check_constructor(card: ModelCard, build: Callable[..., Recognizer]) -> None:
    if not callable(build):
        raise ModelError(f'{card.name}: what is registered is called to build the network, and {build!r} cannot be')
    try:
        inspect.signature(build).bind(card.num_classes, tsn=False, num_segments=1, num_crop=1, consensus='avg',
                                      **{name: value for name, value in card.defaults.items() if name != 'consensus'})
    except TypeError as error:
        raise ModelError(f'{card.name}: its constructor is called as build(nclass, tsn=, num_segments=, num_crop=, '
                         f'consensus=, **options), and cannot be: {error}') from error


def _settings(card: ModelCard, options: dict, pretrained: bool | str | Start) -> tuple[dict, bool | None]:
    """Return what the constructor is given, and whether to start from Kinetics (None: if weights are wanted)."""
    settings = {'consensus': 'avg', **card.defaults}
    for option, value in options.items():
        known = {*_OPTIONS, *(name for other in _CARDS.values() for name in other.supports)}
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            raise ModelError(f'get_model has no option {option!r}'
                             + (f'; did you mean {close[0]}?' if close else
                                f', of {card.name} only {", ".join(sorted(card.supports))}'))
        if value is None or (value is False and option not in card.supports):
            continue
        if option not in card.supports:
            others = [other.name for other in _CARDS.values() if option in other.supports]
            raise ModelError(f'{card.name} has no {option}, got {option}={value!r}; '
                             + (f'{others[0]} and {len(others) - 1} others have' if others else 'no model has'))
        settings[option] = value
    rate = settings.get('dropout_ratio', 0)
    if not 0 <= rate < 1:
        raise ModelError(f'{card.name}: dropout_ratio is at least 0 and less than 1, got {rate!r}')
    return settings, settings.pop('use_kinetics_pretrain', None)


def base_of(card: ModelCard, settings: Mapping) -> str:
    """Return the ImageNet network that a variant of a model resembles."""
    variant = '_gn' if settings.get('use_gn') else '_bn' if settings.get('batch_norm') else ''
    return card.base and card.base + variant


def _for_rows(card: ModelCard, net: Recognizer, num_segments: int, num_crop: int, consensus: str) -> Recognizer:
    """Return a network that takes these rows a video: its own ones, or frames by frame within `TSN`.

    Raises
    ------
    ModelError
        When a network of clips takes other ones.
    """
    rows, taken = num_segments * num_crop, net.num_segments * net.num_crop
    if rows == taken:
        return net
    scores = _scores_of_two(card, net, rows) if taken == 1 else None
    if scores == 2:  # it averages its rows, and does not say so
        net.num_segments, net.num_crop = num_segments, num_crop
        return net
    if card.input != FRAMES or scores != 2 * rows:
        raise ModelError(f'{card.name}: its constructor was asked for {num_segments} segments x {num_crop} crops and '
                         f'returned a network of {net.num_segments} x {net.num_crop}; average the scores of that many '
                         'rows, and set num_segments and num_crop of the network to what was asked for')
    video = TSN(net, num_segments, num_crop, consensus)
    video.head_prefixes = net.head_prefixes
    return video


def _scores_of_two(card: ModelCard, net: Recognizer, rows: int) -> int | None:
    """Return how many scores a network makes of two videos of so many rows; None where its graph does not tell."""
    try:
        return net(mx.sym.var('data')).infer_shape(data=card.input_shape(2 * rows))[1][0][0]
    except (mx.MXNetError, ModelError):
        return None


def _check_sampling(card: ModelCard, tsn: bool, rows: int, clip_length: int | None) -> None:
    if clip_length is not None and not card.input.takes('clip_length'):
        raise ModelError(f'{card.name} takes frames, not clips; leave out clip_length, got {clip_length}')
    if not card.input.takes('segments') and (tsn or rows > 1):
        raise ModelError(f'{card.name} takes {card.input}, a row for each video; leave out tsn (--use-tsn), '
                         'num_segments and num_crop')
    if tsn and 'tsn' not in card.supports:
        raise ModelError(f'{card.name} takes clips and averages over segments as it is; leave out tsn (--use-tsn)')


def _set_momentum(net: Recognizer, momentum: float | None) -> None:
    if momentum is None:
        return
    layers = net.batch_norms()
    if not layers or not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
        raise ModelError(f'{net.card.name}: bn_momentum (--bn-momentum) is in 0..1, got {momentum!r}' if layers else
                         f'{net.card.name} has no batch normalisation that bn_momentum (--bn-momentum) could be for')
    for layer in layers:
        layer._kwargs['momentum'] = momentum


def _freeze(net: Recognizer, partial_bn: bool, bn_frozen: bool) -> None:
    if not partial_bn and not bn_frozen:
        return
    layers = net.batch_norms()
    if not layers:
        option = 'bn_frozen' if bn_frozen else 'partial_bn'
        raise ModelError(f'{net.card.name} has no batch normalisation for {option} to freeze')
    freeze_batch_norms(layers if bn_frozen else layers[1:])
