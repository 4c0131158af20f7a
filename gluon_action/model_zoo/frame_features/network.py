"""What all networks of features have in common, and how they come into the zoo."""
from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

import mxnet as mx
import numpy as np
from mxnet import gluon

from ...errors import ModelError
from ...feature_architecture import DEAD, Architecture
from ...input_kind import FEATURES
from ...nn import Composed, FrameDraw, as_operators
from ...options import options_of
from ..recognizer import Recognizer
from ..registry import ModelCard, model_card, register_model

#: Name of a network -> its class.
NETWORKS: dict[str, type[FeatureNetwork]] = {}
#: Parts of a network that TensorFlow has no scope for.
_PARTS = ('classifier', 'hidden', 'gate', 'clusters')
#: Options of `Architecture` that all networks of frames have.
_OF_ALL = ('feature_names', 'feature_sizes')
#: Those that say what is asked of a network, whichever it is.
_ASKED = ('model', 'frame_features', 'num_classes', 'max_frames', 'label_loss')
#: What TensorFlow calls a part of a key otherwise.
_TENSORFLOW = {'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
_KEYS = {theirs: ours for ours, theirs in _TENSORFLOW.items()}


class FeatureNetwork(Recognizer):
    """A network that names what is in a video by features of its frames, or of the whole video.

    Features (N, T, D) as they are read go in, not normalised, zeros behind the last frame; probabilities (N, K) come
    out. A frame counts unless all its D numbers are 0; each is divided by its length, over all features together, as
    the original's training does.

    A subclass makes a descriptor of the frames, in `describe`, which ``classifier`` is given. Parameters have
    TensorFlow's names with dots for slashes, and TensorFlow's shapes, (in, out); those of the parts ``classifier``,
    ``hidden``, ``gate`` and ``clusters`` stand beside the network's own.

    Parameters
    ----------
    architecture : Architecture

    Attributes
    ----------
    architecture : Architecture
    draw : FrameDraw or None
        What draws frames, where the network looks at drawn ones.
    levels : mapping
        Of weights that are stored as few levels, by their names in the graph: the number of each weight's level, uint8,
        and the levels, float32. An exported model stores them so too.
    """

    head_prefixes = ('fully_connected.', 'gates.', 'gates1.', 'gates2.', 'experts.', 'gating_prob_')
    output_name = 'probabilities'
    #: Whether features are of frames, and whether frames are drawn.
    of_frames, draws = True, True
    levels: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({})

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(**kwargs)
        if architecture.frame_features != self.of_frames:
            raise ModelError(f'{architecture.model} takes features of {"frames" if self.of_frames else "whole videos"};'
                             f' pass --frame_features={self.of_frames} and their --feature_names and --feature_sizes')
        self.architecture = architecture
        self.num_classes = architecture.num_classes
        self.draw = FrameDraw(architecture.drawn_frames, sequence=not architecture.sample_random_frames,
                              each=architecture.sample_all) if self.draws else None

    def describe(self, F, frames, mask, num_frames, **parameters):
        """Return the descriptor (N, H) that the classifier is given.

        Parameters
        ----------
        frames : (N, S, D)
            Drawn frames, or all T of them, each of length 1; a frame that there is not is 0.
        mask : (N, T, 1)
            1 of frames that there are, 0 behind them.
        num_frames : (N, 1)
        """
        raise NotImplementedError

    def check_input(self, shape):
        """Take features of the right width."""
        width = self.architecture.width
        if len(shape) != 3 or shape[2] != width or not self.of_frames and shape[1] != 1:
            frames = 'T' if self.of_frames else '1'
            raise ModelError(f'{self.architecture.model} takes features N x {frames} x {width} '
                             f'({self.architecture.feature_names}), got {shape}')

    def forward(self, x, *args):
        """Score features: (N, T, D) to probabilities (N, K)."""
        if isinstance(x, mx.nd.NDArray):
            self.check_input(x.shape)
            return super().forward(x, *args)
        with as_operators(self):  # a symbol is for export; compiled graphs are made elsewhere
            return super().forward(x, *args)

    def hybrid_forward(self, F, x, **parameters):
        """Score features."""
        squares, mask, num_frames = self.measured(F, x)
        if self.draw is not None:
            drawn = self.draw(num_frames)
            x, squares = F.gather_nd(x, drawn), F.gather_nd(squares, drawn)
        frames = F.broadcast_mul(x, F.rsqrt(F.maximum(squares, 1e-12)))
        return self.classifier(self.describe(F, frames, mask, num_frames, **parameters))

    @staticmethod
    def measured(F, x):
        """Return of features (N, T, D) the squared lengths of frames and which there are, (N, T, 1), and their number.

        The latter is (N, 1).
        """
        # Sums over the last axis as products: MXNet's reductions take twice as long on a CPU.
        ones = F.reshape(F.ones_like(F.slice(x, begin=(0, 0, None), end=(1, 1, None))), shape=(1, -1))
        squares = F.FullyConnected(F.square(x), ones, num_hidden=1, no_bias=True, flatten=False)
        mask = F.sign(squares)
        return squares, mask, F.sum(mask, axis=1)

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Lay the network out for videos of `frames` frames; the rest says nothing."""
        if frames != self.architecture.length:
            self.architecture = replace(self.architecture, max_frames=frames)
            if self.draw is not None:
                self.draw.frames = self.architecture.drawn_frames

    def input_shape(self, rows: int, size: int | None = None, frames: int | None = None) -> tuple[int, ...]:
        """Return the shape of an input of `rows` videos."""
        return rows, frames or self.architecture.length, self.architecture.width

    def l2_factors(self) -> dict[str, float]:
        """Return key -> factor of the parameters that L2 regularization holds down.

        To the loss belongs ``factor * 0.5 * sum(weights ** 2)`` of each, as slim.l2_regularizer has it.
        """
        factors = {key: getattr(parameter, 'l2_factor', 0.)
                   for key, parameter in self._collect_params_with_prefix().items()}
        return {key: factor for key, factor in factors.items() if factor}

    def only_evaluates(self) -> FeatureNetwork:
        """Leave out of the network what only training needs, before it is hybridized, and return it.

        It draws no random frames and takes no statistics then, whatever it is used for.
        """
        self.apply(lambda layer: setattr(layer, 'composed', False) if isinstance(layer, Composed) else None)
        return self

    def _collect_params_with_prefix(self, prefix=''):
        params = super()._collect_params_with_prefix(prefix)
        start = f'{prefix}.' if prefix else ''
        return {start + _without_part(key.removeprefix(start)): parameter for key, parameter in params.items()}


def _without_part(key: str) -> str:
    part, _, rest = key.partition('.')
    return rest if part in _PARTS else key


def feature_model(name: str, *, family: str, source: str, options: tuple[str, ...]) -> Callable:
    """Return a decorator that puts a subclass of `FeatureNetwork` into the zoo.

    Parameters
    ----------
    name : str
        The original's name of it.
    family, source : str
        As on a card.
    options : tuple of str
        Options of `Architecture` that it has beside the features.
    """
    def register(network: type[FeatureNetwork]) -> type[FeatureNetwork]:
        def of_options(nclass, *, tsn=False, num_segments=1, num_crop=1, consensus='avg', **settings):
            return construct(Architecture(model=name, num_classes=nclass, **settings))

        features = {'frame_features': True, 'feature_names': 'rgb,audio', 'feature_sizes': '1024,128'} \
            if network.of_frames else {'frame_features': False, 'feature_names': 'mean_rgb,mean_audio',
                                       'feature_sizes': '1024,128'}
        usual = Architecture(model=name, **features)
        register_model(ModelCard(
            name, family=family, dataset='youtube8m', num_classes=usual.num_classes, input=FEATURES,
            channels=usual.width, clip_length=usual.length, mean=(), std=(), source=source, defaults=features,
            supports=frozenset((*_OF_ALL, *options)), head=''))(of_options)
        NETWORKS[name] = network
        return network
    return register


def build(architecture: Architecture, ctx: mx.Context | list[mx.Context] | None = None,
          seed: int = 0) -> FeatureNetwork:
    """Return the network of an architecture, initialised.

    Parameters
    ----------
    architecture : Architecture
    ctx : mxnet.Context or list, optional
        Devices to hold the parameters; the CPU by default.
    seed : int
        Of the parameters. It seeds MXNet's generator.

    Raises
    ------
    ModelError
        For an unknown model, or one that takes other features.
    """
    net = construct(architecture)
    mx.random.seed(seed)
    net.initialize(ctx=ctx or mx.cpu())
    return net


def construct(architecture: Architecture) -> FeatureNetwork:
    """Return the network of an architecture, whose parameters hold nothing.

    Raises
    ------
    ModelError
        As of `build`.
    """
    net = network_of(architecture)(architecture)
    net.card = model_card(architecture.model)
    for layer in net.batch_norms():
        layer._kwargs['momentum'] = architecture.batch_norm_decay
    return net


def options_without_effect(model: str, names: Collection[str]) -> list[str]:
    """Return those of the options `names` of `Architecture` that a network does not have, in their order there.

    Of a model that is not known, and of what no network reads (`Architecture.notes` tells of it), nothing is said.
    """
    if model not in NETWORKS:
        return []
    known = {*model_card(model).supports, *_ASKED, *DEAD}
    return [name for name in options_of(Architecture) if name in names and name not in known]


def network_of(architecture: Architecture) -> type[FeatureNetwork]:
    """Return the class of an architecture's network.

    Raises
    ------
    ModelError
        For an unknown model, with the one of the closest name.
    """
    network = NETWORKS.get(architecture.model)
    if network is None:
        names = {name.lower(): name for name in NETWORKS}
        close = difflib.get_close_matches(architecture.model.lower(), names, n=1)
        hint = f'; did you mean {names[close[0]]}?' if close else ''
        raise ModelError(f'--model: there is no network {architecture.model!r}{hint}\n'
                         f'--model is one of {", ".join(sorted(NETWORKS, key=str.lower))}')
    return network


def variables(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return TensorFlow's name and shape of every variable of a network; nothing is allocated."""
    params = construct(architecture)._collect_params_with_prefix()
    return {tensorflow_name(key): tuple(parameter.shape) for key, parameter in params.items()}


def tensorflow_name(key: str) -> str:
    """Return what TensorFlow calls a parameter: ``'gating_bn.running_var'`` is ``'gating_bn/moving_variance'``."""
    return '/'.join(_TENSORFLOW.get(part, part) for part in key.split('.'))


def key_of(variable: str) -> str:
    """Return the key of a parameter from TensorFlow's name."""
    return '.'.join(_KEYS.get(part, part) for part in variable.split('/'))


def variable(block: gluon.HybridBlock, name: str, shape: tuple[int, ...], init: mx.init.Initializer,
             l2: float = 0.) -> None:
    """Give a block a parameter, which its ``hybrid_forward`` is given by name.

    Parameters
    ----------
    shape : tuple of int
        As TensorFlow has it, (in, out).
    l2 : float
        Its factor of L2 regularization.
    """
    parameter = block.params.get(name, shape=shape, init=init, allow_deferred_init=False)
    parameter.l2_factor = l2
    setattr(block, name, parameter)


def scopes_of(architecture: Architecture) -> dict[str, str]:
    """Return what the original calls the part of a network for each feature: video, audio, or as the feature is called.

    It knows two, ``rgb`` and ``audio``, and their means over a video.

    Raises
    ------
    ModelError
        When two features are called alike.
    """
    names = [name for name, _ in architecture.features]
    scopes = {name: {'rgb': 'video'}.get(name.removeprefix('mean_'), name.removeprefix('mean_')) for name in names}
    if len(set(scopes.values())) < len(names):
        raise ModelError(f'--feature_names {architecture.feature_names}: {architecture.model} has one part for each '
                         'feature, and two of them would have the same name; leave one out')
    return scopes
