"""I3D: Inception-v1 inflated to clips (Carreira and Zisserman 2017, arXiv:1705.07750), as DeepMind published it."""
from __future__ import annotations

import warnings
from collections.abc import Iterator

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError
from ..nn import BatchNorm, Consensus, SameConv3D, SameMaxPool3D, SizedBlock, as_operators
from ..nn.same import Size
from .loading.inflation import inception_v1_to_i3d
from .recognizer import Recognizer
from .registry import ModelCard, register_model

# name -> channels, kernel, stride of a convolution; None, window, stride of a pooling; or an inception block's channels
# (branch 0; branch 1, first and second; branch 2, first and second; branch 3).
LAYERS = {
    'Conv3d_1a_7x7': (64, (7, 7, 7), 2),
    'MaxPool3d_2a_3x3': (None, (1, 3, 3), (1, 2, 2)),
    'Conv3d_2b_1x1': (64, (1, 1, 1), 1),
    'Conv3d_2c_3x3': (192, (3, 3, 3), 1),
    'MaxPool3d_3a_3x3': (None, (1, 3, 3), (1, 2, 2)),
    'Mixed_3b': (64, 96, 128, 16, 32, 32),
    'Mixed_3c': (128, 128, 192, 32, 96, 64),
    'MaxPool3d_4a_3x3': (None, (3, 3, 3), (2, 2, 2)),
    'Mixed_4b': (192, 96, 208, 16, 48, 64),
    'Mixed_4c': (160, 112, 224, 24, 64, 64),
    'Mixed_4d': (128, 128, 256, 24, 64, 64),
    'Mixed_4e': (112, 144, 288, 32, 64, 64),
    'Mixed_4f': (256, 160, 320, 32, 128, 128),
    'MaxPool3d_5a_2x2': (None, (2, 2, 2), (2, 2, 2)),
    'Mixed_5b': (256, 160, 320, 32, 128, 128),
    'Mixed_5c': (384, 192, 384, 48, 128, 128),
}
#: Names of I3D's stages in order; `final_endpoint` is one of them.
ENDPOINTS = (*LAYERS, 'Logits')

# DeepMind's checkpoints name this one unit differently from the same unit of all other blocks.
_SECOND_OF_BRANCH_2 = {'Mixed_5b': 'Conv3d_0a_3x3'}
BATCH_NORM = {'epsilon': 1e-3, 'momentum': 0.999}


class Chain(SizedBlock):
    """Layers one after the other, by name."""

    def __init__(self, layers: dict[str, gluon.HybridBlock], **kwargs):
        super().__init__(**kwargs)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def hybrid_forward(self, F, x):
        """Pass `x` through every layer."""
        for layer in self._children.values():
            x = layer(x)
        return x


class Unit(SizedBlock):
    """Convolution with SAME padding, batch normalisation without gamma, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: Size, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.conv = SameConv3D(channels, kernel, stride, in_channels=in_channels, use_bias=False, prefix='conv_')
            self.bn = BatchNorm(ndim=5, scale=False, in_channels=channels, prefix='bn_', **BATCH_NORM)

    def hybrid_forward(self, F, x):
        """Clips (N, C, T, H, W) to (N, channels, T', H', W')."""
        return F.Activation(self.bn(self.conv(x)), act_type='relu')


class Mixed(SizedBlock):
    """Inception block: four branches side by side, joined along the channels."""

    def __init__(self, branches: list[Chain], **kwargs):
        super().__init__(**kwargs)
        self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3 = branches

    def _fit(self, size):
        outputs = [branch.lay_out(size) for branch in self._children.values()]
        return outputs[0], self._plans_inside()

    def hybrid_forward(self, F, x):
        """Clips (N, C, T, H, W) to (N, C', T, H, W)."""
        return F.concat(*(branch(x) for branch in self._children.values()), dim=1)


class Head(SizedBlock):
    """Average over windows of 2x7x7, dropout, scores at every place, mean over the places.

    The window shrinks to what a short or small clip leaves of it.
    """

    WINDOW = (2, 7, 7)

    def __init__(self, in_channels: int, classes: int, dropout_ratio: float, **kwargs):
        super().__init__(**kwargs)
        self.window = (2, 7, 7)
        with self.name_scope():
            self.dropout = gluon.nn.Dropout(dropout_ratio)
            self.Conv3d_0c_1x1 = gluon.nn.Conv3D(classes, 1, in_channels=in_channels, prefix='Conv3d_0c_1x1_',
                                                 weight_initializer=mx.init.Xavier())

    def _fit(self, size):
        self.window = tuple(min(length, window) for length, window in zip(size, self.WINDOW))
        return (1, 1, 1), self.window

    def pooled(self, F, x):
        """Average `x`, (N, C, T, H, W), over windows, and drop some."""
        return self.dropout(F.Pooling(x, kernel=self.window, stride=(1, 1, 1), pool_type='avg'))

    def features(self, F, x):
        """Return the mean (N, C) of all windows."""
        return F.mean(self.pooled(F, x), axis=(2, 3, 4))

    def hybrid_forward(self, F, x):
        """Score `x`, (N, C, T, H, W): (N, K)."""
        return F.mean(self.Conv3d_0c_1x1(self.pooled(F, x)), axis=(2, 3, 4))


class Parts:
    """What I3D is made of; other networks of its shape are made of other parts."""

    def width(self, channels: int) -> int:
        """Return how many channels stand for those of the table."""
        return channels

    def pool(self, window: Size, stride: int | Size, **kwargs) -> gluon.HybridBlock:
        """Return a maximum pooling."""
        return SameMaxPool3D(window, stride, **kwargs)

    def unit(self, stage: str, in_channels: int, channels: int, kernel: Size, stride: int, *, last: bool,
             **kwargs) -> gluon.HybridBlock:
        """Return a convolution unit of `stage`; `last` says that it ends a branch of an inception block."""
        return Unit(in_channels, channels, kernel, stride, **kwargs)


class I3D(SizedBlock, Recognizer):
    """Inception-v1 for clips.

    Parameters
    ----------
    nclass : int
        Classes K.
    channels : {3, 2}
        Channels of the input: RGB or optical flow.
    dropout_ratio : float
        Rate of the dropout before the logits.
    num_segments, num_crop : int
        Clips of a video; their scores are averaged.
    feat_ext : bool
        Return features (B, D) instead of scores (B, K).
    parts : Parts, optional
        What it is made of.
    final_endpoint : str
        Stage to stop at, one of `endpoints`. Before ``'Logits'`` the result is that stage's output for every clip,
        (N, C, T, H, W), and clips of a video are not averaged.

    Notes
    -----
    Clips (N, channels, T, H, W) with values in [-1, 1] go in; T, H and W may be any numbers from 1, and may differ
    between calls. A symbol is traced for the size given to `plan_for`. Keys of its parameters are DeepMind's
    endpoints and units: ``Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight``.
    """

    head_prefixes = ('Logits.',)
    base = 'googlenet'
    may_be_joined = True

    def __init__(self, nclass: int, *, channels: int = 3, dropout_ratio: float = 0.5, num_segments: int = 1,
                 num_crop: int = 1, feat_ext: bool = False, final_endpoint: str = 'Logits',
                 parts: Parts | None = None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.channels, self.feat_ext = nclass, channels, feat_ext
        self.num_segments, self.num_crop = num_segments, num_crop
        self.final_endpoint = endpoint_named(final_endpoint, 'final_endpoint')
        self._rows = num_segments * num_crop
        with self.name_scope():
            width = channels
            for name, layer in LAYERS.items():
                stage, width = _stage(parts or Parts(), name, layer, width)
                setattr(self, name, stage)
            self.feat_dim = width
            self.Logits = Head(width, nclass, dropout_ratio, prefix='Logits_')
            self.consensus = Consensus(num_segments, num_crop)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of the stages in order."""
        return ENDPOINTS

    def from_base(self, arrays):
        """Inflate ImageNet's Inception-v1: see :func:`gluon_action.model_zoo.loading.inflation.inception_v1_to_i3d`."""
        return inception_v1_to_i3d(arrays, self.channels)

    def _fit(self, size):
        for name in LAYERS:
            size = getattr(self, name).lay_out(size)
        return self.Logits.lay_out(size), self._plans_inside()

    def stages(self, x) -> Iterator[tuple[str, mx.nd.NDArray]]:
        """Yield the name and the output (N, C, T, H, W) of each stage before the head."""
        for name in LAYERS:
            x = getattr(self, name)(x)
            yield name, x

    def check_input(self, shape):
        """Take clips of the right channels, and whole videos."""
        if len(shape) != 5 or shape[1] != self.channels:
            raise ModelError(f'{self._called()} takes clips N x {self.channels} x T x H x W, got {shape}')
        if shape[0] % self._rows:
            raise ModelError(f'{shape[0]} clips are not a whole number of videos of {self.num_segments} segments '
                             f'x {self.num_crop} crops; batch with tsn_mp_batchify_fn and split with '
                             f'multiplier={self._rows}')

    def forward(self, x, *args):
        """Score clips: (B*S*C, channels, T, H, W) to (B, K), or what `feat_ext` and `final_endpoint` ask for."""
        if isinstance(x, mx.nd.NDArray):
            self.check_input(x.shape)
            return super().forward(x, *args)
        with as_operators(self):  # a symbol is for export; compiled graphs are made elsewhere
            return super().forward(x, *args)

    def hybrid_forward(self, F, x):
        """Score clips."""
        for name, output in self.stages(x):
            if name == self.final_endpoint:
                return output
        output = self.Logits.features(F, output) if self.feat_ext else self.Logits(output)
        return self.consensus(output) if self._rows > 1 else output

    def _build_cache(self, *args):
        with warnings.catch_warnings():
            if self.feat_ext or self.final_endpoint != 'Logits':
                # What comes after the endpoint is there for parameter files.
                warnings.filterwarnings('ignore', 'Parameter .* is not used by any computation')
            super()._build_cache(*args)

    def _called(self) -> str:
        return self.card.name if self.card else type(self).__name__


def _stage(parts: Parts, name: str, layer: tuple, in_channels: int) -> tuple[gluon.HybridBlock, int]:
    """Return the stage of this name and the channels of its output."""
    prefix = f'{name}_'
    if layer[0] is None:
        return parts.pool(*layer[1:], prefix=prefix), in_channels
    if len(layer) == 3:
        width = parts.width(layer[0])
        return parts.unit(name, in_channels, width, *layer[1:], last=True, prefix=prefix), width
    widths = [parts.width(channels) for channels in layer]
    branches = _branches(parts, name, in_channels, widths)
    return Mixed(branches, prefix=prefix), widths[0] + widths[2] + widths[4] + widths[5]


def _branches(parts: Parts, block: str, in_channels: int, widths: list[int]) -> list[Chain]:
    zero, one_a, one_b, two_a, two_b, three = widths
    second = _SECOND_OF_BRANCH_2.get(block, 'Conv3d_0b_3x3')
    # (name, channels before, channels after, kernel) of each unit
    branches = ((('Conv3d_0a_1x1', in_channels, zero, 1),),
                (('Conv3d_0a_1x1', in_channels, one_a, 1), ('Conv3d_0b_3x3', one_a, one_b, 3)),
                (('Conv3d_0a_1x1', in_channels, two_a, 1), (second, two_a, two_b, 3)),
                (('Conv3d_0b_1x1', in_channels, three, 1),))
    chains = []
    for number, units in enumerate(branches):
        layers = {'MaxPool3d_0a_3x3': parts.pool((3, 3, 3), 1)} if number == 3 else {}
        for unit in units:
            name, before, after, kernel = unit
            layers[name] = parts.unit(block, before, after, (kernel,) * 3, 1, last=unit is units[-1],
                                      prefix=f'{block}_Branch_{number}_{name}_')
        chains.append(Chain(layers))
    return chains


def endpoint_named(name: str, option: str) -> str:
    """Return an endpoint's name as DeepMind spells it; slim's ``Conv2d_`` and ``MaxPool_`` are understood.

    Raises
    ------
    ModelError
        For a name that no stage has.
    """
    spelt = str(name).replace('Conv2d_', 'Conv3d_').replace('MaxPool_', 'MaxPool3d_')
    if spelt not in ENDPOINTS:
        raise ModelError(f'{option} is one of {", ".join(ENDPOINTS)}, got {name!r}')
    return spelt


# stream -> channels, mean, standard deviation. Values of a stored flow are 0..255 with 128 for no motion.
STREAMS = {'rgb': (3, (0.5,) * 3, (0.5,) * 3), 'flow': (2, (128 / 255,) * 2, (127 / 255,) * 2)}


def _register(stream: str, dataset: str) -> None:
    channels, mean, std = STREAMS[stream]

    @register_model(ModelCard.of_clips(
        f'i3d_{stream}_{dataset}', family='I3D', dataset=dataset, channels=channels, modality=stream, clip_length=64,
        mean=mean, std=std, base='googlenet', source='arXiv:1705.07750', dropout_ratio=0.5,
        head='Logits.Conv3d_0c_1x1.weight', bn_momentum=0.9 if dataset == 'custom' else None,
        supports=('final_endpoint', 'partial_bn', 'bn_frozen')))
    def build(nclass: int, *, tsn: bool, consensus: str, **options) -> I3D:
        return I3D(nclass, channels=channels, **options)


for _stream, _dataset in (('rgb', 'kinetics400'), ('flow', 'kinetics400'), ('rgb', 'kinetics600'), ('rgb', 'custom'),
                          ('flow', 'custom')):
    _register(_stream, _dataset)
