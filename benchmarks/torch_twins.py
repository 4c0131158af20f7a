"""I3D and slim's S3D-G in PyTorch, written from their papers' code: what this project's networks are compared with.

Nothing here comes from `gluon_action`, so equal outputs mean something. Keys of parameters are this project's, with
PyTorch's words for those of a batch normalisation; `load` takes arrays by this project's keys.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# Branch 0; branch 1, first and second; branch 2, first and second; branch 3.
BLOCKS = {'3b': (64, 96, 128, 16, 32, 32), '3c': (128, 128, 192, 32, 96, 64),
          '4b': (192, 96, 208, 16, 48, 64), '4c': (160, 112, 224, 24, 64, 64), '4d': (128, 128, 256, 24, 64, 64),
          '4e': (112, 144, 288, 32, 64, 64), '4f': (256, 160, 320, 32, 128, 128),
          '5b': (256, 160, 320, 32, 128, 128), '5c': (384, 192, 384, 48, 128, 128)}


def i3d(classes: int = 400, channels: int = 3, dropout: float = 0.5) -> nn.Module:
    """DeepMind's I3D for clips (N, channels, T, H, W) of any size."""
    return Inception(Unit, classes, channels, stem_frames=7, dropout=dropout)


def s3dg(classes: int = 400, channels: int = 3, dropout: float = 0.2) -> nn.Module:
    """S3D-G as slim has it, for clips (N, channels, T, H, W) of any size."""
    return Inception(GatedUnit, classes, channels, stem_frames=3, dropout=dropout)


def load(net: nn.Module, arrays: dict) -> None:
    """Give `net` parameters by this project's keys; each must be there, none may be over."""
    words = {'gamma': 'weight', 'beta': 'bias'}
    state = {}
    for key, array in arrays.items():
        layer, _, name = key.rpartition('.')
        state[f'{layer}.{words.get(name, name)}'] = torch.from_numpy(array)
    missing, over = net.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    if missing or over:
        raise KeyError(f'without values: {missing}; for nobody: {over}')


class Inception(nn.Module):
    """The layout that both share; `unit` makes its convolutions."""

    def __init__(self, unit: type, classes: int, channels: int, *, stem_frames: int, dropout: float):
        super().__init__()
        # The stem and 1x1 convolutions are plain in both.
        self.Conv3d_1a_7x7 = Unit(channels, 64, (stem_frames, 7, 7), 2)
        self.pool_2a = SamePool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64, (1, 1, 1))
        self.Conv3d_2c_3x3 = unit(64, 192, (3, 3, 3))
        self.pool_3a = SamePool((1, 3, 3), (1, 2, 2))
        width = 192
        for name, widths in BLOCKS.items():
            second = 'Conv3d_0a_3x3' if name == '5b' else 'Conv3d_0b_3x3'
            setattr(self, f'Mixed_{name}', Mixed(unit, width, widths, second))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.pool_4a = SamePool((3, 3, 3), (2, 2, 2))
        self.pool_5a = SamePool((2, 2, 2), (2, 2, 2))
        self.Logits = nn.ModuleDict({'Conv3d_0c_1x1': nn.Conv3d(width, classes, 1)})
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """Score clips (N, channels, T, H, W): (N, classes)."""
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(self.pool_2a(self.Conv3d_1a_7x7(x))))
        x = self.pool_3a(x)
        for name in BLOCKS:
            if name in ('4b', '5b'):
                x = getattr(self, f'pool_{name[0]}a')(x)
            x = getattr(self, f'Mixed_{name}')(x)
        window = [min(length, size) for length, size in zip(x.shape[2:], (2, 7, 7))]
        x = self.dropout(functional.avg_pool3d(x, window, stride=1))
        return self.Logits['Conv3d_0c_1x1'](x).mean((2, 3, 4))


class Mixed(nn.Module):
    """Inception block: four branches, joined along the channels."""

    def __init__(self, unit: type, inputs: int, widths: tuple, second: str):
        super().__init__()
        zero, one_a, one_b, two_a, two_b, three = widths
        self.Branch_0 = branch(Conv3d_0a_1x1=gated(unit, inputs, zero))
        self.Branch_1 = branch(Conv3d_0a_1x1=Unit(inputs, one_a, (1, 1, 1)), Conv3d_0b_3x3=unit(one_a, one_b))
        self.Branch_2 = branch(Conv3d_0a_1x1=Unit(inputs, two_a, (1, 1, 1)), **{second: unit(two_a, two_b)})
        self.Branch_3 = branch(pool=SamePool((3, 3, 3), (1, 1, 1)), Conv3d_0b_1x1=gated(unit, inputs, three))

    def forward(self, x):
        """Pass `x` through all branches."""
        return torch.cat([self.Branch_0(x), self.Branch_1(x), self.Branch_2(x), self.Branch_3(x)], 1)


def branch(**layers: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


def gated(unit: type, inputs: int, width: int) -> nn.Module:
    """A 1x1x1 unit that ends a branch: S3D-G gates it too."""
    return unit(inputs, width, (1, 1, 1))


class Unit(nn.Module):
    """Convolution, batch normalisation without gamma, ReLU."""

    def __init__(self, inputs: int, width: int, kernel: tuple = (3, 3, 3), stride: int = 1):
        super().__init__()
        self.conv = SameConv(inputs, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=1e-3, momentum=1e-3)
        self.bn.weight.requires_grad_(False)

    def forward(self, x):
        """Pass `x` through all three."""
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class GatedUnit(Unit):
    """Convolution in space, then through time where the kernel has frames, then self-gating."""

    def __init__(self, inputs: int, width: int, kernel: tuple = (3, 3, 3)):
        super().__init__(inputs, width, (1, *kernel[1:]))
        if kernel[0] > 1:
            self.temporal = SameConv(width, width, (kernel[0], 1, 1), 1)
        self.gating = nn.Conv3d(width, width, 1, bias=False)

    def forward(self, x):
        """Convolve and gate `x`."""
        x = super().forward(x)
        if hasattr(self, 'temporal'):
            x = functional.relu(self.temporal(x), inplace=True)
        return x * torch.sigmoid(self.gating(x.mean((2, 3, 4), keepdim=True)))


def around(size, kernel, stride) -> list[tuple[int, int]]:
    """What TensorFlow's SAME puts before and after each axis."""
    total = [max((-(-length // s) - 1) * s + k - length, 0) for length, k, s in zip(size, kernel, stride)]
    return [(pad // 2, pad - pad // 2) for pad in total]


class SameConv(nn.Conv3d):
    """Convolution with SAME padding."""

    def forward(self, x):
        """Convolve `x`."""
        pads = around(x.shape[2:], self.kernel_size, self.stride)
        if any(before != after for before, after in pads):  # the convolution pads both sides alike
            x = functional.pad(x, [n for before, after in reversed(pads) for n in (0, after - before)])
        return functional.conv3d(x, self.weight, self.bias, self.stride, [before for before, _ in pads])


class SamePool(nn.Module):
    """Largest of each window, with SAME padding that never wins."""

    def __init__(self, window: tuple, stride: tuple):
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x):
        """Pool `x`."""
        # One more line after an axis is what rounding the number of windows up reads.
        pads = around(x.shape[2:], self.window, self.stride)
        if all(after - before < 2 and before <= window // 2 for (before, after), window in zip(pads, self.window)) \
                and all(length > 1 for length in x.shape[2:]):
            return functional.max_pool3d(x, self.window, self.stride, [before for before, _ in pads], ceil_mode=True)
        x = functional.pad(x, [n for pad in reversed(pads) for n in pad], value=float('-inf'))
        return functional.max_pool3d(x, self.window, self.stride)
