"""S3D and S3D-G: I3D with separable convolutions and self-gating (Xie et al. 2018, arXiv:1712.04851)."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError
from ..nn import BatchNorm, SameConv3D, SelfGating, SizedBlock, pad_strided_frames
from ..nn.same import Size
from .i3d import BATCH_NORM, I3D, LAYERS, Parts, endpoint_named
from .registry import ModelCard, register_model

# Where convolution through time and gating can start: the stem has its own option, and 1x1 layers see one place.
_STARTS = tuple(name for name, layer in LAYERS.items() if name == 'Conv3d_2c_3x3' or name.startswith('Mixed'))


@mx.init.register
class CentreTap(mx.init.Initializer):
    """A convolution through time that starts by passing every channel on as it is."""

    def _init_weight(self, _, arr):
        channels, _, taps, _, _ = arr.shape
        identity = mx.nd.zeros(arr.shape)
        identity[:, :, taps // 2, 0, 0] = mx.nd.eye(channels)
        arr[:] = identity


class SeparableUnit(SizedBlock):
    """Convolution in space, then through time, then self-gating; each is left out where it is not asked for.

    Parameters
    ----------
    in_channels, channels : int
        Of input and output.
    kernel : tuple of 3 int
        Along frames, height and width.
    stride : int
        Along all three.
    separable : bool
        Two convolutions, 1 x h x w and t x 1 x 1, instead of one of t x h x w. A `kernel` of one frame is never split.
    gating : bool
        Gate the result.
    torch : bool
        torchvision's layout: half the kernel as padding, batch normalisation with gamma, and one after the convolution
        through time too. Otherwise slim's: SAME padding, no gamma, and a convolution through time with bias instead of
        batch normalisation, which starts as the identity.
    """

    def __init__(self, in_channels: int, channels: int, kernel: Size, stride: int = 1, *, separable: bool = True,
                 gating: bool = False, torch: bool = False, **kwargs):
        super().__init__(**kwargs)
        splits = separable and kernel[0] > 1
        frames, height, width = kernel
        convolution = _conv_halfway_padded if torch else SameConv3D
        normalisation = {'ndim': 5, 'scale': torch, 'in_channels': channels, **BATCH_NORM}
        self.temporal = self.temporal_bn = self.gating = None
        with self.name_scope():
            self.conv = convolution(channels, (1, height, width) if splits else kernel,
                                    (1, stride, stride) if splits else stride, in_channels=in_channels,
                                    use_bias=False, prefix='conv_')
            self.bn = BatchNorm(prefix='bn_', **normalisation)
            if splits:
                start = None if torch else CentreTap()
                self.temporal = convolution(channels, (frames, 1, 1), (stride, 1, 1), in_channels=channels,
                                            use_bias=not torch, weight_initializer=start, prefix='temporal_')
                if torch:
                    self.temporal_bn = BatchNorm(prefix='temporal_bn_', **normalisation)
            if gating:
                self.gating = SelfGating(channels, sized=True, prefix='gating_')

    def hybrid_forward(self, F, x):
        """Clips (N, C, T, H, W) to (N, channels, T', H', W')."""
        x = F.Activation(self.bn(self.conv(x)), act_type='relu')
        if self.temporal is not None:
            x = self.temporal(x)
            x = F.Activation(x if self.temporal_bn is None else self.temporal_bn(x), act_type='relu')
        return x if self.gating is None else self.gating(x)


def _conv_halfway_padded(channels: int, kernel: Size, strides: int | Size, **kwargs) -> gluon.nn.Conv3D:
    layer = gluon.nn.Conv3D(channels, kernel, strides, padding=tuple(size // 2 for size in kernel), **kwargs)
    pad_strided_frames(layer)
    return layer


class HalfwayPaddedMaxPool3D(SizedBlock, gluon.nn.MaxPool3D):
    """torchvision's pooling: windows of 3 are padded by 1 on both sides, windows of 2 are not; what is over is dropped.

    A window that is larger than the clip shrinks, where torchvision fails.
    """

    def __init__(self, pool_size: Size, strides: int | Size, **kwargs):
        super().__init__(pool_size=pool_size, strides=strides, padding=tuple((size - 1) // 2 for size in pool_size),
                         **kwargs)
        self._window = pool_size

    def _fit(self, size):
        settings = self._kwargs
        settings['kernel'] = tuple(min(window, length + 2 * pad)
                                   for window, length, pad in zip(self._window, size, settings['pad']))
        output = tuple((length + 2 * pad - window) // stride + 1 for length, pad, window, stride
                       in zip(size, settings['pad'], settings['kernel'], settings['stride']))
        return output, settings['kernel']


class SeparableParts(Parts):
    """What S3D is made of; options are those of :class:`S3D`."""

    def __init__(self, *, torch: bool, first_temporal_kernel_size: int, temporal_conv_startat: str,
                 gating_startat: str, depth_multiplier: float, min_depth: int):
        if first_temporal_kernel_size not in (1, 3, 5, 7):
            raise ModelError(f'first_temporal_kernel_size is 1, 3, 5 or 7, got {first_temporal_kernel_size!r}')
        if not depth_multiplier > 0:
            raise ModelError(f'depth_multiplier is greater than 0, got {depth_multiplier!r}')
        if not isinstance(min_depth, int) or min_depth < 1:
            raise ModelError(f'min_depth is a whole number from 1, got {min_depth!r}')
        self._torch, self._stem_frames = torch, first_temporal_kernel_size
        self._temporal = _from(temporal_conv_startat, 'temporal_conv_startat')
        self._gated = _from(gating_startat, 'gating_startat')
        self._depth_multiplier, self._min_depth = depth_multiplier, min_depth

    def width(self, channels: int) -> int:
        """Return the channels of the table times `depth_multiplier`, at least `min_depth`."""
        return max(int(channels * self._depth_multiplier), self._min_depth)

    def pool(self, window, stride, **kwargs):
        """Return a maximum pooling padded as the layout says."""
        return (HalfwayPaddedMaxPool3D if self._torch else super().pool)(window, stride, **kwargs)

    def unit(self, stage, in_channels, channels, kernel, stride, *, last, **kwargs):
        """Return a unit that convolves through time, and is gated, from the stages on that the options say."""
        frames, height, width = kernel
        stem = stage == 'Conv3d_1a_7x7'
        if stem:
            frames = self._stem_frames
        elif stage not in self._temporal:
            frames = 1
        return SeparableUnit(in_channels, channels, (frames, height, width), stride, separable=self._torch or not stem,
                             gating=last and stage in self._gated, torch=self._torch, **kwargs)


def _from(start: str, option: str) -> tuple[str, ...]:
    """Return the stages from `start` on; none for ``'none'``."""
    if start == 'none':
        return ()
    name = endpoint_named(start, option) if start in LAYERS or 'Conv2d' in start else start
    if name not in _STARTS:
        raise ModelError(f'{option} is one of {", ".join(_STARTS)}, or none for nowhere, got {start!r}')
    return _STARTS[_STARTS.index(name):]


class S3D(I3D):
    """Separable 3D Inception-v1, with or without gating.

    Parameters
    ----------
    nclass : int
        Classes K.
    torch : bool
        torchvision's layout instead of slim's: see :class:`SeparableUnit`; the stem is separable too.
    first_temporal_kernel_size : {1, 3, 5, 7}
        Frames that a filter of the stem sees. The paper has 7; 3 costs less and is as good.
    temporal_conv_startat, gating_startat : str
        First stage that convolves through time behind the stem, and first that is gated: 'Conv3d_2c_3x3' (slim's
        'Conv2d_2c_3x3' is understood) or a 'Mixed' block; 'none' for nowhere. Late starts give the paper's top-heavy
        networks. Gates follow the last unit of each branch.
    depth_multiplier : float
        Factor of all channels but those of the input and the scores.
    min_depth : int
        Least channels of a layer.
    **options
        Those of :class:`gluon_action.model_zoo.i3d.I3D`.
    """

    base = ''

    def __init__(self, nclass: int, *, torch: bool = False, first_temporal_kernel_size: int = 3,
                 temporal_conv_startat: str = 'Conv3d_2c_3x3', gating_startat: str = 'Conv3d_2c_3x3',
                 depth_multiplier: float = 1., min_depth: int = 16, **options):
        parts = SeparableParts(torch=torch, first_temporal_kernel_size=first_temporal_kernel_size,
                               temporal_conv_startat=temporal_conv_startat, gating_startat=gating_startat,
                               depth_multiplier=depth_multiplier, min_depth=min_depth)
        super().__init__(nclass, parts=parts, **options)


# family -> torchvision's layout?, mean, standard deviation, options of the paper's network
_FAMILIES = {
    's3dg': (False, (0.5,) * 3, (0.5,) * 3, {}),
    # What torchvision's weights were trained with.
    's3d': (True, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989),
            {'first_temporal_kernel_size': 7, 'gating_startat': 'none'}),
}


# For CPUs, and to be trained without weights of others: a sixteenth of the multiply-accumulates of a layer.
_SMALL = {'depth_multiplier': 0.25, 'min_depth': 8}


def _register(name: str, family: str, dataset: str, *, clip_length: int = 64, input_size: int = 224,
              dropout_ratio: float = 0.2, **design) -> None:
    torch, mean, std, defaults = _FAMILIES[family]

    @register_model(ModelCard.of_clips(
        name, family='S3D', dataset=dataset, clip_length=clip_length, input_size=input_size, mean=mean, std=std,
        source='arXiv:1712.04851', dropout_ratio=dropout_ratio, head='Logits.Conv3d_0c_1x1.weight',
        bn_momentum=None if dataset == 'kinetics400' else 0.9, defaults={**defaults, **design},
        supports=('final_endpoint', 'partial_bn', 'bn_frozen', 'first_temporal_kernel_size', 'temporal_conv_startat',
                  'gating_startat', 'depth_multiplier', 'min_depth')))
    def build(nclass: int, *, tsn: bool, consensus: str, **options) -> S3D:
        return S3D(nclass, torch=torch, **options)


for _family in _FAMILIES:
    for _dataset in ('kinetics400', 'custom'):
        _register(f'{_family}_{_dataset}', _family, _dataset)
_register('s3dg_small_demo_motion', 's3dg', 'demo_motion', clip_length=8, input_size=56, dropout_ratio=0., **_SMALL)
