"""GluonCV's networks for clips: its definitions and parameter files, and training steps that work on a CPU."""
from __future__ import annotations

import math
import re
from functools import partial

import mxnet as mx
from gluoncv.model_zoo import action_recognition as theirs
from mxnet import gluon

from ..errors import ModelError
from ..nn import pad_strided_frames
from ..nn.batch_norm import batch_norms, fold_batch_norms
from .loading.inflation import inflate, inflate_parameters
from .recognizer import Recognizer
from .registry import ModelCard, register_model


class ClipNetwork(Recognizer):
    """What all of GluonCV's networks for clips need to work here; it comes before GluonCV's class in a subclass.

    Parameters
    ----------
    nclass : int
        Classes K.
    base : str
        GluonCV's name of the ImageNet network that the body can start from; empty for none.
    **design
        Those of GluonCV's class.

    Notes
    -----
    Clips (B*S*C, 3, T, H, W) go in, scores (B, K) come out: features of a video's clips are averaged below the head.
    Keys of parameter files are GluonCV's, where some blocks are known by several names.
    """

    #: Parts that work on images, whose batch normalisation is fine as it is.
    flat_parts: tuple[str, ...] = ()
    may_be_joined = True

    def __init__(self, nclass: int, base: str = '', **design):
        # Some of GluonCV's classes name their layers as if no other network existed; the scope keeps them apart.
        with gluon.nn.HybridSequential().name_scope():
            super().__init__(nclass, pretrained_base=False, **design)
        self.num_classes, self.base = nclass, base
        for name, part in self._children.items():
            if name not in self.flat_parts:
                fold_batch_norms(batch_norms(part))
        pad_strided_frames(self)
        for parameter in self.collect_params().values():
            # GluonCV initialises at once; whatever is not loaded later starts by the zoo's own rule.
            parameter._data = parameter._grad = None
            parameter._deferred_init = ()

    def check_clip(self, frames: int, height: int, width: int) -> None:
        """Refuse sizes of clips that GluonCV's definition would take and score wrongly."""

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Say now whether clips of this size can be taken."""
        self.check_clip(frames, height, width)

    def from_base(self, arrays):
        """Inflate GluonCV's ImageNet network of the same layers: each filter, divided by T, in all of its T frames."""
        return inflate_parameters(arrays, self)

    def check_input(self, shape):
        """Take whole videos of clips of sizes that are scored rightly."""
        rows = self.num_segments * self.num_crop
        if len(shape) != 5 or shape[1] != 3 or 0 in shape:
            raise ModelError(f'{self._called()} takes clips N x 3 x T x H x W, got {shape}')
        if shape[0] % rows:
            raise ModelError(f'{shape[0]} clips are not a whole number of videos of {self.num_segments} segments '
                             f'x {self.num_crop} crops; batch with tsn_mp_batchify_fn and split with '
                             f'multiplier={rows}')
        self.check_clip(*shape[2:])

    def forward(self, x, *args):
        """Score clips: (B*S*C, 3, T, H, W) to (B, K), or features (B, D)."""
        if isinstance(x, mx.nd.NDArray):
            self.check_input(x.shape)
        return super().forward(x, *args)

    def _called(self) -> str:
        return self.card.name if self.card else type(self).__name__


class I3D_ResNetV1(ClipNetwork, theirs.I3D_ResNetV1):
    """Inflated ResNet v1b, with or without non-local blocks (Wang et al. 2018, arXiv:1711.07971)."""

    head_prefixes = ('fc.', 'head.')
    new_parameters = ('nonlocal_block.',)


class I3D_InceptionV1(ClipNetwork, theirs.I3D_InceptionV1):
    """Inflated Inception v1 with symmetric padding; :mod:`gluon_action.model_zoo.i3d` has DeepMind's."""

    head_prefixes = ('output.', 'head.')


class I3D_InceptionV3(ClipNetwork, theirs.I3D_InceptionV3):
    """Inflated Inception v3, for frames from 75 x 75."""

    head_prefixes = ('output.', 'head.')


class ResNet_SlowFast(ClipNetwork, theirs.ResNet_SlowFast):
    """The slow pathway of SlowFast alone."""

    head_prefixes = ('fc.', 'head.')

    def from_base(self, arrays):
        """Inflate ResNet v1b by its names: the order of layers inside a block is another one here."""
        params, inflated = self._collect_params_with_prefix(), {}
        for source, array in arrays.items():
            key = _OF_FIRST_STAGE.sub(lambda match: f'first_stage.{int(match[1] == "bn")}.', source)
            key = _OF_STAGE.sub(lambda match: f'res_layers.{int(match[1]) - 1}.', key)
            shape = params[key].shape if key in params else ()
            inflated[key] = inflate(array, shape[2]) if len(shape) == 5 else array
        return inflated


class C2D(ResNet_SlowFast):
    """A ResNet v1b for every frame of a clip, and the mean of what they see (Wang et al. 2018, arXiv:1711.07971)."""


class R2Plus1D(ClipNetwork, theirs.R2Plus1D):
    """R(2+1)D: convolutions in space and through time in turn (Tran et al. 2018, arXiv:1711.11248)."""

    head_prefixes = ('fc.',)


class WideBlock(theirs.r2plus1d.BasicBlock):
    """A block of R(2+1)D whose second convolution has as many channels inside as those of all later blocks.

    GluonCV's and torchvision's have as many as its first, which are fewer in the first block of a stage.
    """

    def __init__(self, inplanes: int, planes: int, *args, norm_layer=gluon.nn.BatchNorm, norm_kwargs=None, **kwargs):
        super().__init__(inplanes, planes, *args, norm_layer=norm_layer, norm_kwargs=norm_kwargs, **kwargs)
        if inplanes != planes:
            with self.name_scope():
                self.conv2 = theirs.r2plus1d.Conv2Plus1D(planes, planes, planes * 27 // 12, norm_layer=norm_layer,
                                                         norm_kwargs=norm_kwargs)


class R2Plus1DIG65M(R2Plus1D):
    """R(2+1)D as trained on 65 million videos of Instagram (Ghadiyaram et al. 2019, arXiv:1905.00561)."""


class P3D(ClipNetwork, theirs.P3D):
    """Pseudo-3D ResNet (Qiu et al. 2017, arXiv:1711.10305)."""

    head_prefixes = ('fc.',)
    flat_parts = ('layer4',)

    def check_clip(self, frames: int, height: int, width: int) -> None:
        """Take 16 to 31 frames: of more, the 2D part would see frames and channels mixed up."""
        if not 16 <= frames <= 31:
            raise ModelError(f'{self._called()} takes clips of 16 to 31 frames, got {frames}; pass clip_length=16 '
                             '(--new-length 16)')


class C3D(ClipNetwork, theirs.C3D):
    """C3D (Tran et al. 2015, arXiv:1412.0767); its first dense layer fits one size of clips only.

    GluonCV's is for 16 frames of 112 x 112, as are its weights. Here the dense layer fits what `plan_for` is told.
    """

    head_prefixes = ('fc8.',)
    _STAGES = ('conv1', 'pool1', 'conv2', 'pool2', 'conv3a', 'conv3b', 'pool3', 'conv4a', 'conv4b', 'pool4',
               'conv5a', 'conv5b', 'pool5')

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.feat_dim = 4096
        self._places = self._pooled(16, 112, 112)

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Fit the first dense layer to clips of this size."""
        self._places = self._pooled(frames, height, width)
        self.fc6.weight._shape = (4096, 512 * math.prod(self._places))

    def check_clip(self, frames: int, height: int, width: int) -> None:
        """Take the sizes that the first dense layer fits."""
        if self._pooled(frames, height, width) != self._places:
            raise ModelError(f'this {self._called()} is for another size of clips than {frames} frames of {height} x '
                             f'{width}; build it with the clip_length and input_size that you use')

    @staticmethod
    def _pooled(frames: int, height: int, width: int) -> tuple[int, int, int]:
        if min(frames, height, width) < 16:
            raise ModelError(f'C3D takes clips of at least 16 frames of 16 x 16, got {frames} of {height} x {width}')
        return frames // 16, height // 32 + 1, width // 32 + 1

    def hybrid_forward(self, F, x):
        """Score clips as GluonCV's does, whatever size of clips it was planned for."""
        for name in self._STAGES:
            x = getattr(self, name)(x)
            if name.startswith('conv'):
                x = self.relu(x)
        x = F.reshape(x, shape=(-1, self.num_segments * self.num_crop, 512 * math.prod(self._places)))
        x = F.mean(x, axis=1)
        x = self.dropout(self.relu(self.fc6(x)))
        return x if self.feat_ext else self.fc8(self.dropout(self.relu(self.fc7(x))))


class SlowFast(ClipNetwork, theirs.SlowFast):
    """SlowFast (Feichtenhofer et al. 2019, arXiv:1812.03982).

    Clips (N, 3, Tf + Ts, H, W) hold the frames of the fast pathway, then those of the slow one, as the data sets give
    them with ``slowfast=True``. Tf is `alpha` times Ts, which may be any number.
    """

    head_prefixes = ('fc.',)

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Divide clips of this many frames between the pathways."""
        if frames % (self.alpha + 1):
            raise ModelError(f'a {self._called()} takes {self.alpha} frames in its fast pathway for each in its slow '
                             f'one, so clips of a multiple of {self.alpha + 1} frames, got {frames}; --slowfast takes '
                             f'them, with a --slow-temporal-stride of {self.alpha} times --fast-temporal-stride')
        self.slow_frames = frames // (self.alpha + 1)
        self.fast_frames = frames - self.slow_frames

    def check_clip(self, frames: int, height: int, width: int) -> None:
        """Take as many frames as were divided between the pathways."""
        if frames != self.fast_frames + self.slow_frames:
            raise ModelError(f'this {self._called()} takes clips of {self.fast_frames} + {self.slow_frames} frames, '
                             f'got {frames}; build it with clip_length={frames}')


# Names of ResNet v1b: the stem, and the blocks of a stage.
_OF_FIRST_STAGE = re.compile(r'^(conv|bn)1\.')
_OF_STAGE = re.compile(r'^layer(\d)\.')


def _every_other(count: int) -> tuple[int, ...]:
    return tuple(1 - index % 2 for index in range(count))


def _at(count: int, *places: int) -> tuple[int, ...]:
    return tuple(int(index in places) for index in range(count))


def _i3d(depth: int, *non_local: tuple[int, ...], **options) -> dict:
    """Return what GluonCV builds an inflated ResNet of; `non_local` marks blocks of the second and third stage."""
    third = {50: 6, 101: 23}[depth]
    design = {'depth': depth, 'out_indices': [3], 'base': f'resnet{depth}_v1b',
              'inflate_freq': ((1, 1, 1), (1, 0, 1, 0), _every_other(third), (0, 1, 0)), **options}
    if non_local:
        design |= {'nonlocal_stages': (1, 2), 'nonlocal_freq': (_at(3), *non_local, _at(3)),
                   'nonlocal_cfg': {'nonlocal_type': 'gaussian'}}
    return design


def _slowfast(depth: int, frames: int, alpha: int, kernel: int = 5, temporal: int | None = None) -> dict:
    """Return what GluonCV builds a SlowFast of; `frames` are those of the slow pathway."""
    return {'layers': _LAYERS[depth], 'slow_frames': frames, 'fast_frames': alpha * frames, 'alpha': alpha,
            'fusion_kernel_size': kernel, 'num_block_temp_kernel_fast': temporal,
            'num_block_temp_kernel_slow': temporal}


def _slow(depth: int, **options) -> dict:
    return {'depth': depth, 'out_indices': [3], **options}


def _build(network: type[ClipNetwork], design: dict, nclass: int, *, tsn: bool, consensus: str,
           sub_sample: bool = False, **options) -> ClipNetwork:
    if sub_sample:
        design = {**design, 'nonlocal_cfg': {**design['nonlocal_cfg'], 'sub_sample': True}}
    return network(nclass, **design, **options)


_LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# No frame is passed over before the second pooling.
_ALL_FRAMES = {'conv1_stride_t': 1, 'pool1_stride_t': 1}

# name -> GluonCV's class here, its design
_NETWORKS = {
    'c3d_kinetics400': (C3D, {}),
    'c3d_ucf101': (C3D, {}),
    **{f'p3d_resnet{depth}_kinetics400': (P3D, {'block': theirs.p3d.Bottleneck, 'layers': _LAYERS[depth]})
       for depth in (50, 101)},
    **{f'r2plus1d_resnet{depth}_kinetics400':
       (R2Plus1D, {'block': theirs.r2plus1d.Bottleneck if depth >= 50 else theirs.r2plus1d.BasicBlock,
                   'layers': _LAYERS[depth]})
       for depth in _LAYERS},
    'r2plus1d_ig65m_resnet34_kinetics400': (R2Plus1DIG65M, {'block': WideBlock, 'layers': _LAYERS[34]}),
    'i3d_inceptionv1_kinetics400': (I3D_InceptionV1, {'base': 'googlenet'}),
    'i3d_inceptionv3_kinetics400': (I3D_InceptionV3, {'base': 'inceptionv3'}),
    **{f'i3d_resnet50_v1_{dataset}': (I3D_ResNetV1, _i3d(50))
       for dataset in ('kinetics400', 'ucf101', 'hmdb51', 'sthsthv2', 'custom')},
    'i3d_resnet101_v1_kinetics400': (I3D_ResNetV1, _i3d(101)),
    'i3d_nl5_resnet50_v1_kinetics400': (I3D_ResNetV1, _i3d(50, _at(4, 1, 3), _at(6, 1, 3, 5))),
    'i3d_nl10_resnet50_v1_kinetics400': (I3D_ResNetV1, _i3d(50, _at(4, 0, 1, 2, 3), _at(6, 0, 1, 2, 3, 4, 5))),
    'i3d_nl5_resnet101_v1_kinetics400': (I3D_ResNetV1, _i3d(101, _at(4, 1, 3), _at(23, 6, 13, 20))),
    'i3d_nl10_resnet101_v1_kinetics400': (I3D_ResNetV1, _i3d(101, _at(4, 0, 1, 2, 3), _at(23, 2, 6, 10, 14, 18, 22))),
    'i3d_8x8_resnet50_kinetics400': (I3D_ResNetV1, _i3d(50, **_ALL_FRAMES)),
    'i3d_heavy_resnet50_kinetics400': (I3D_ResNetV1, _i3d(50, **_ALL_FRAMES, inflate_freq=(1, 1, 1, 1))),
    **{f'c2d_resnet{depth}_kinetics400': (C2D, _slow(depth, inflate_freq=(0, 0, 0, 0), base=f'resnet{depth}_v1b'))
       for depth in (50, 101)},
    'i3d_slow_resnet101_f16s4_kinetics700': (ResNet_SlowFast, _slow(101)),
    **{f'slowonly_{name}': (ResNet_SlowFast, _slow(depth, base=f'resnet{depth}_v1b'))
       for name, depth in (('4x16_resnet50_kinetics400', 50), ('8x8_resnet50_kinetics400', 50),
                           ('8x8_resnet50_kinetics700', 50), ('8x8_resnet101_kinetics400', 101))},
    'slowfast_4x16_resnet50_kinetics400': (SlowFast, _slowfast(50, 4, 8)),
    'slowfast_4x16_resnet50_custom': (SlowFast, _slowfast(50, 4, 8)),
    'slowfast_8x8_resnet50_kinetics400': (SlowFast, _slowfast(50, 8, 4, kernel=7)),
    'slowfast_4x16_resnet101_kinetics400': (SlowFast, _slowfast(101, 4, 8)),
    'slowfast_8x8_resnet101_kinetics400': (SlowFast, _slowfast(101, 8, 4)),
    'slowfast_16x8_resnet101_kinetics400': (SlowFast, _slowfast(101, 16, 4)),
    'slowfast_16x8_resnet101_50_50_kinetics400': (SlowFast, _slowfast(101, 16, 4, temporal=6)),
}

# class -> heading, paper, frames of a clip and their distance, pixels
_FAMILIES = {
    C3D: ('C3D', 'arXiv:1412.0767', 16, 2, 112),
    P3D: ('P3D', 'arXiv:1711.10305', 16, 2, 224),
    R2Plus1D: ('R(2+1)D', 'arXiv:1711.11248', 16, 2, 112),
    R2Plus1DIG65M: ('R(2+1)D', 'arXiv:1711.11248, 1905.00561', 32, 1, 112),
    C2D: ('C2D', 'arXiv:1711.07971', 8, 8, 224),
    I3D_InceptionV1: ('I3D of GluonCV', 'arXiv:1705.07750', 32, 2, 224),
    I3D_InceptionV3: ('I3D of GluonCV', 'arXiv:1705.07750', 32, 2, 299),
    I3D_ResNetV1: ('I3D of GluonCV', 'arXiv:1705.07750', 32, 2, 224),
    ResNet_SlowFast: ('SlowFast', 'arXiv:1812.03982', 16, 4, 224),
    SlowFast: ('SlowFast', 'arXiv:1812.03982', 0, 1, 224),
}

# start of a name -> frames of a clip and their distance, where they are not those of the class
_CLIPS = {'c3d_ucf101': (16, 1), 'i3d_8x8_': (8, 8), 'slowonly_4x16_': (4, 16), 'slowonly_8x8_': (8, 8)}


def _card(name: str, network: type[ClipNetwork], design: dict) -> ModelCard:
    dataset = name.rsplit('_', 1)[1]
    family, source, frames, stride, size = _FAMILIES[network]
    frames, stride = next((clip for start, clip in _CLIPS.items() if name.startswith(start)), (frames, stride))
    small = network is I3D_ResNetV1 and dataset in ('ucf101', 'hmdb51', 'custom')
    if network is SlowFast:
        frames = design['fast_frames'] + design['slow_frames']
    elif dataset == 'sthsthv2':
        frames = 16
    starts_from = re.sub('_(ucf101|hmdb51|custom)$', '_kinetics400', name)
    supports = ['init_std', *(() if network is C3D else ('partial_bn', 'bn_frozen'))]
    if starts_from != name:
        supports.append('use_kinetics_pretrain')
    if network is SlowFast:
        supports.append('slowfast')
    if '_nl' in name:
        supports.append('sub_sample')
    return ModelCard.of_clips(
        name, dataset=dataset, family=family, clip_length=frames, clip_stride=stride, input_size=size,
        source=source + (', 1711.07971' if '_nl' in name else ''), base=design.get('base', ''),
        supports=tuple(supports),
        starts_from='' if starts_from == name else starts_from, head=f'{network.head_prefixes[0]}weight',
        dropout_ratio=0.8 if small else 0.5,
        defaults={'init_std': 0.001 if small or issubclass(network, (C3D, P3D, R2Plus1D)) else 0.01})


for _name, (_network, _design) in _NETWORKS.items():
    register_model(_card(_name, _network, _design))(partial(_build, _network, _design))
