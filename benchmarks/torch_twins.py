"""I3D, slim's S3D-G and TimeSformer in PyTorch, from their papers' code: what this project's are compared with.

Nothing here comes from `gluon_action`, so equal outputs mean something. Keys of parameters are this project's, with
PyTorch's words for those of a normalisation; `load` takes arrays by this project's keys.
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
        layer, dot, name = key.rpartition('.')
        state[f'{layer}{dot}{words.get(name, name)}'] = torch.from_numpy(array)
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


def timesformer(classes: int = 400, frames: int = 8, size: int = 224, **design) -> nn.Module:
    """TimeSformer with divided attention, for clips (N, 3, frames, size, size); `design` is `TimeSformer`'s."""
    return TimeSformer(classes, frames, size, **design)


def timesformer_small(classes: int = 400, frames: int = 8, size: int = 112) -> nn.Module:
    """The zoo's network for CPUs."""
    return timesformer(classes, frames, size, patch=8, dim=192, depth=6, heads=3)


class TimeSformer(nn.Module):
    """ViT whose patches attend along time, then along space, as its authors' code has it."""

    def __init__(self, classes: int, frames: int, size: int, *, patch: int = 16, dim: int = 768, depth: int = 12,
                 heads: int = 12, drop_path: float = 0.1):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, dim) * 0.02)
        self.time_embed = nn.Parameter(torch.zeros(1, frames, dim))
        self.patch_embed = nn.ModuleDict({'proj': nn.Conv2d(3, dim, patch, patch)})
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(DividedBlock(dim, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        """Score clips (N, 3, T, H, W): (N, classes)."""
        clips, _, frames = x.shape[:3]
        x = self.patch_embed['proj'](x.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        token, places = x[:clips, :1], x.shape[1] - 1
        # Time is the innermost axis of the tokens.
        x = x[:, 1:].reshape(clips, frames, places, -1).transpose(1, 2) + self.time_embed
        x = torch.cat([token, x.flatten(1, 2)], 1)
        for block in self.blocks:
            x = block(x, frames)
        return self.head(self.norm(x)[:, 0])


class DividedBlock(nn.Module):
    """Attention along time, attention along space, MLP."""

    def __init__(self, dim: int, heads: int, drop_path: float):
        super().__init__()
        self.temporal_norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.temporal_attn = SelfAttention(dim, heads)
        self.temporal_fc = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.ModuleDict({'fc1': nn.Linear(dim, 4 * dim), 'fc2': nn.Linear(4 * dim, dim)})
        self.drop_path = drop_path

    def forward(self, x, frames: int):
        """Tokens (N, 1 + S * T, D) to tokens of the same shape."""
        clips, _, dim = x.shape
        token, patches = x[:, :1], x[:, 1:]
        seen = self.temporal_attn(self.temporal_norm1(patches.reshape(-1, frames, dim)))
        patches = patches + self.temporal_fc(self.dropped(seen).reshape(patches.shape))
        pictures = patches.reshape(clips, -1, frames, dim).transpose(1, 2).flatten(0, 1)
        pictures = torch.cat([token.repeat(1, frames, 1).reshape(-1, 1, dim), pictures], 1)
        seen = self.dropped(self.attn(self.norm1(pictures))).reshape(clips, frames, -1, dim)
        token = token + seen[:, :, 0].mean(1, keepdim=True)
        patches = patches + seen[:, :, 1:].transpose(1, 2).reshape(patches.shape)
        x = torch.cat([token, patches], 1)
        hidden = functional.gelu(self.mlp['fc1'](self.norm2(x)))
        return x + self.dropped(self.mlp['fc2'](hidden))

    def dropped(self, x):
        """Stochastic depth: a path is left out for some rows, in training."""
        if not self.training or not self.drop_path:
            return x
        kept = torch.rand(len(x), 1, 1) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class SelfAttention(nn.Module):
    """Multi-head attention by PyTorch's fused operator."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        """Sequences (B, L, D) to sequences of the same shape."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(seen.transpose(1, 2).flatten(2))
