"""TimeSformer: a ViT whose patches attend along time and along space (Bertasius et al. 2021, arXiv:2102.05095)."""
from __future__ import annotations

import math

import mxnet as mx
import numpy as np
from mxnet import gluon

from ..errors import ModelError
from ..nn import MLP, Attention, Consensus, DropPath, LayerNorm, Linear, as_operators
from .recognizer import Recognizer
from .registry import ModelCard, register_model

ATTENTIONS = ('divided', 'joint', 'space_only')


class PatchEmbed(gluon.HybridBlock):
    """Cut frames into patches and make a token of each."""

    def __init__(self, patch: int, dim: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.proj = gluon.nn.Conv2D(dim, patch, patch, in_channels=3, prefix='proj_',
                                        weight_initializer=mx.init.Xavier('uniform', 'in', 1))

    def hybrid_forward(self, F, x):
        """Frames (N, 3, H, W) to tokens (N, S, D), row by row."""
        return F.transpose(F.reshape(self.proj(x), shape=(0, 0, -1)), axes=(0, 2, 1))


class Block(gluon.HybridBlock):
    """A transformer's block: tokens attend, then pass an MLP, each on a residual path behind a normalisation."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.norm1 = LayerNorm(dim, prefix='norm1_')
            self.attn = Attention(dim, heads, prefix='attn_')
            self.norm2 = LayerNorm(dim, prefix='norm2_')
            self.mlp = MLP(dim, int(dim * mlp_ratio), prefix='mlp_')
            self.drop_path = DropPath(drop_path)

    def plan_for(self, frames: int, places: int) -> None:
        """Know how many frames and places the tokens are of; here it does not matter."""

    def hybrid_forward(self, F, x):
        """Tokens (N, L, D) to tokens (N, L, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class DividedBlock(Block):
    """A block in which a patch attends to the same place in all frames, then to the other patches of its frame.

    Stochastic depth drops the first for each place, the second for each frame and the MLP for each clip by itself, as
    the authors' code does. The class token takes no part in the first; in the second every frame has a copy of it, and
    the mean of what they see is added to it.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float, **kwargs):
        super().__init__(dim, heads, mlp_ratio, drop_path, **kwargs)
        self._dim, self._frames, self._places = dim, None, None
        with self.name_scope():
            self.temporal_norm1 = LayerNorm(dim, prefix='temporal_norm1_')
            self.temporal_attn = Attention(dim, heads, axis=1, ndim=4, prefix='temporal_attn_')
            # At 0 the block starts as ViT's.
            self.temporal_fc = Linear(dim, dim, weight_initializer='zeros', prefix='temporal_fc_')
            self.temporal_drop_path = DropPath(drop_path, row_axes=(0, 2), ndim=4)

    def plan_for(self, frames: int, places: int) -> None:
        """Know how many frames T and places S the tokens are of."""
        self._frames, self._places = frames, places

    def hybrid_forward(self, F, x):
        """Tokens (N, 1 + T * S, D), frame by frame behind the class token, to tokens of the same shape."""
        frames, places, dim = self._frames, self._places, self._dim
        token = F.slice_axis(x, axis=1, begin=0, end=1)
        patches = F.reshape(F.slice_axis(x, axis=1, begin=1, end=None), shape=(-1, frames, places, dim))
        seen = self.temporal_drop_path(self.temporal_attn(self.temporal_norm1(patches)))
        patches = patches + self.temporal_fc(seen)

        copies = F.broadcast_axis(F.expand_dims(token, axis=1), axis=1, size=frames)
        pictures = F.reshape(F.concat(copies, patches, dim=2), shape=(-1, 1 + places, dim))
        seen = self.drop_path(self.attn(self.norm1(pictures)))
        seen = F.reshape(seen, shape=(-1, frames, 1 + places, dim))
        token = token + F.mean(F.slice_axis(seen, axis=2, begin=0, end=1), axis=1)
        patches = patches + F.slice_axis(seen, axis=2, begin=1, end=None)
        x = F.concat(token, F.reshape(patches, shape=(0, -1, dim)), dim=1)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class TimeSformer(Recognizer):
    """A vision transformer for clips.

    Parameters
    ----------
    nclass : int
        Classes K.
    attention : {'divided', 'joint', 'space_only'}
        Time and space one after the other in every block; all tokens of a clip at once; each frame by itself, and the
        mean of the frames at the end.
    patch : int
        Height and width of a patch in pixels; it divides those of the input.
    dim, depth, heads : int
        Width D of a token, blocks, heads of each attention. By default those of ViT-B.
    mlp_ratio : float
        Width of the layer inside an MLP, as a multiple of D.
    drop_path : float
        Rate of stochastic depth of the last block; it grows linearly from 0 at the first.
    dropout_ratio : float
        Rate of the dropout before the head.
    start : {'vit', 'scratch'}
        Random values to start with: the authors', for a network that takes most of its weights from images; or those
        that a narrow network learns motion from without any, see `start_from_scratch`.
    num_segments, num_crop : int
        Clips of a video; their scores are averaged.
    feat_ext : bool
        Return the class token (B, D) instead of scores (B, K).

    Notes
    -----
    Clips (N, 3, T, H, W) go in. Their size belongs to the network, as it has an embedding for every frame and every
    place: `plan_for` sets it, once. Parameters have the authors' names: ``blocks.3.temporal_attn.qkv.weight``; only
    their normalisations' weight and bias are gamma and beta here.
    """

    head_prefixes = ('head.',)

    def __init__(self, nclass: int, *, attention: str = 'divided', patch: int = 16, dim: int = 768, depth: int = 12,
                 heads: int = 12, mlp_ratio: float = 4, drop_path: float = 0.1, dropout_ratio: float = 0.,
                 start: str = 'vit', num_segments: int = 1, num_crop: int = 1, feat_ext: bool = False, **kwargs):
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ModelError(f'attention is one of {", ".join(ATTENTIONS)}, got {attention!r}')
        if start not in ('vit', 'scratch'):
            raise ModelError(f'start is vit or scratch, got {start!r}')
        self.num_classes, self.feat_dim, self.feat_ext = nclass, dim, feat_ext
        self.num_segments, self.num_crop, self._rows = num_segments, num_crop, num_segments * num_crop
        self.attention, self.patch, self._size = attention, patch, None
        block = DividedBlock if attention == 'divided' else Block
        with self.name_scope():
            # How many places and frames there are, 0 here, is known from `plan_for` on.
            self.cls_token = self.params.get('cls_token', shape=(1, 1, dim), init=mx.init.Normal(0.02))
            self.pos_embed = self.params.get('pos_embed', shape=(1, 0, dim), init=mx.init.Normal(0.02))
            if attention != 'space_only':
                self.time_embed = self.params.get('time_embed', shape=(1, 0, dim), init='zeros')
            self.patch_embed = PatchEmbed(patch, dim, prefix='patch_embed_')
            self.blocks = gluon.nn.HybridSequential(prefix='blocks_')
            with self.blocks.name_scope():
                for number in range(depth):
                    rate = drop_path * number / max(depth - 1, 1)
                    self.blocks.add(block(dim, heads, mlp_ratio, rate, prefix=f'{number}_'))
            self.norm = LayerNorm(dim, prefix='norm_')
            self.dropout = gluon.nn.Dropout(dropout_ratio)
            self.head = Linear(dim, nclass, prefix='head_')
            self.consensus = Consensus(num_segments, num_crop)
        if start == 'scratch':
            start_from_scratch(self)

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Have an embedding for every frame and every place of clips of this size.

        Raises
        ------
        ModelError
            When the patches do not divide the height and width, or the network is for another size already.
        """
        if height % self.patch or width % self.patch:
            raise ModelError(f'{self._called()} cuts frames into patches of {self.patch} x {self.patch} pixels, which '
                             f'do not divide {height} x {width}; choose an input size (--input-size) that is a '
                             f'multiple of {self.patch}, such as '
                             f'{(height // self.patch + 1) * self.patch}')
        if self._size not in (None, (frames, height, width)):
            raise ModelError(self._refusal((frames, height, width)))
        self._size = frames, height, width
        places = (height // self.patch) * (width // self.patch)
        self.pos_embed.shape = (1, 1 + places, self.feat_dim)
        if self.attention != 'space_only':
            self.time_embed.shape = (1, frames, self.feat_dim)
        for block in self.blocks:
            block.plan_for(frames, places)

    def fitted(self, arrays):
        """Resize the embeddings of another number of frames or places: nearest, as the authors do for their clips.

        Places are a square there, and rows and columns are resized each by itself.
        """
        arrays, notes = dict(arrays), {}
        time, places = arrays.get('time_embed'), arrays.get('pos_embed')
        if self._size and time is not None and time.ndim == 3 and time.shape[1] != self._size[0] \
                and self.attention != 'space_only':
            arrays['time_embed'] = time[:, nearest(time.shape[1], self._size[0])]
            notes['time_embed'] = f'resized from {time.shape[1]} to {self._size[0]} frames, nearest'
        side = math.isqrt(places.shape[1] - 1) if places is not None and places.ndim == 3 else 0
        if self._size and side and side ** 2 == places.shape[1] - 1 and self.grid != (side, side):
            rows, columns = (nearest(side, length) for length in self.grid)
            arrays['pos_embed'] = places[:, np.append(0, 1 + np.add.outer(side * rows, columns))]
            notes['pos_embed'] = (f'resized from {side} x {side} to {self.grid[0]} x {self.grid[1]} places, nearest in '
                                  'both directions')
        return arrays, notes

    def from_base(self, arrays):
        """Let a ViT for images start a network for clips, as `time_from_space` says."""
        params = self._collect_params_with_prefix()
        return {**arrays, **{key: array for key, (array, _) in time_from_space(arrays, params).items()}}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches in a frame."""
        return self._size[1] // self.patch, self._size[2] // self.patch

    def check_input(self, shape):
        """Take whole videos of clips of the one size."""
        if len(shape) != 5 or shape[1] != 3:
            raise ModelError(f'{self._called()} takes clips N x 3 x T x H x W, got {shape}')
        if shape[2:] != self._size:
            raise ModelError(self._refusal(shape[2:]))
        if shape[0] % self._rows:
            raise ModelError(f'{shape[0]} clips are not a whole number of videos of {self.num_segments} segments '
                             f'x {self.num_crop} crops; batch with tsn_mp_batchify_fn and split with '
                             f'multiplier={self._rows}')

    def forward(self, x, *args):
        """Score clips: (B*S*C, 3, T, H, W) to (B, K), or features (B, D)."""
        if self._size is None:
            raise ModelError(f'{self._called()} has an embedding for every frame and place; call plan_for(frames, '
                             'height, width) first')
        if isinstance(x, mx.nd.NDArray):
            self.check_input(x.shape)
            return super().forward(x, *args)
        with as_operators(self):  # a symbol is for export; compiled graphs are made elsewhere
            return super().forward(x, *args)

    def hybrid_forward(self, F, x, cls_token, pos_embed, time_embed=None):
        """Score clips."""
        x = self._embed(F, x, cls_token, pos_embed, time_embed)
        for block in self.blocks:
            x = block(x)
        if self.attention == 'space_only':
            x = F.mean(F.reshape(x, shape=(-1, self._size[0], 1 + math.prod(self.grid), self.feat_dim)), axis=1)
        # The normalisation looks at each token by itself, and only the class token is read.
        token = self.norm(F.slice_axis(x, axis=1, begin=0, end=1))
        x = F.reshape(token, shape=(0, -1))
        if not self.feat_ext:
            x = self.head(self.dropout(x))
        return self.consensus(x) if self._rows > 1 else x

    def _embed(self, F, x, cls_token, pos_embed, time_embed):
        """Clips to tokens (N, 1 + T * S, D), frame by frame; (N * T, 1 + S, D) where frames know nothing of another."""
        frames, height, width = self._size
        places, dim = math.prod(self.grid), self.feat_dim
        pictures = F.reshape(F.transpose(x, axes=(0, 2, 1, 3, 4)), shape=(-1, 3, height, width))
        patches = F.broadcast_add(self.patch_embed(pictures), F.slice_axis(pos_embed, axis=1, begin=1, end=None))
        if time_embed is not None:
            patches = F.broadcast_add(F.reshape(patches, shape=(-1, frames, places, dim)),
                                      F.expand_dims(time_embed, axis=2))
            patches = F.reshape(patches, shape=(0, -1, dim))
        token = F.broadcast_add(cls_token, F.slice_axis(pos_embed, axis=1, begin=0, end=1))
        tokens = F.broadcast_add(F.zeros_like(F.slice_axis(patches, axis=1, begin=0, end=1)), token)
        return F.concat(tokens, patches, dim=1)

    def _called(self) -> str:
        return self.card.name if self.card else type(self).__name__

    def _refusal(self, size: tuple[int, ...]) -> str:
        (frames, height, width), (had_frames, had_height, had_width) = size, self._size
        square = f' and input_size={height}' if height == width else ''
        return (f'this {self._called()} is for clips of {had_frames} frames of {had_height} x {had_width}, got '
                f'{frames} of {height} x {width}; build it with clip_length={frames}{square}')


def time_from_space(arrays: dict[str, np.ndarray], params: dict) -> dict[str, tuple[np.ndarray, str]]:
    """Return what weights without attention along time lack, as the authors' code starts it.

    Attention along time starts as that along space, and what leads from it to the patches at 0, so that the network
    starts as the one that the weights are of.

    Parameters
    ----------
    arrays : dict
        Key -> array of the weights.
    params : dict
        Key -> parameter of the network.

    Returns
    -------
    dict
        Key -> array, and the key that it is a copy of, or nothing; empty for weights that know of time.
    """
    added = {}
    for key, parameter in params.items() if not any('.temporal_' in key for key in arrays) else ():
        space = key.replace('temporal_', '')
        if key in arrays:
            continue
        if space != key and space in arrays:
            added[key] = arrays[space].copy(), space
        elif key == 'time_embed' or '.temporal_fc.' in key:
            added[key] = np.zeros(parameter.shape, np.float32), ''
    return added


def start_from_scratch(net: TimeSformer) -> None:
    """Let attention tell frames apart from the first step on.

    With ViT's deviation of 0.02, queries and keys of a narrow network are so small, and time embeddings of 0 so equal,
    that every frame gets the same share: attention along time averages frames, and nothing that is computed depends on
    their order. Hundreds of steps do not lead away from there. Here weights have the variance 1 / inputs, time
    embeddings outweigh the pictures, and queries and keys along time are sharper by half.
    """
    for key, parameter in net._collect_params_with_prefix().items():
        if key == 'time_embed':
            parameter.init = mx.init.Normal(2.)
        elif key == 'pos_embed':
            parameter.init = mx.init.Normal(0.3)
        elif key.startswith('blocks.') and key.endswith('.weight'):
            parameter.init = FanIn(sharper=1.5 if 'temporal_attn.qkv' in key else 1.)


@mx.init.register
class FanIn(mx.init.Initializer):
    """Normal values of variance 1 / inputs; `sharper` times as large in queries and keys, two thirds of the rows."""

    def __init__(self, sharper: float = 1.):
        super().__init__(sharper=sharper)
        self._sharper = sharper

    def _init_weight(self, _, arr):
        rows, inputs = arr.shape
        mx.random.normal(0, inputs ** -0.5, out=arr)
        if self._sharper != 1:
            arr[:2 * rows // 3] *= self._sharper


def nearest(length: int, wanted: int) -> np.ndarray:
    """Return which of `length` places each of `wanted` places takes its value from, as PyTorch's interpolate does."""
    step = np.float32(length) / np.float32(wanted)
    return np.minimum((np.arange(wanted, dtype=np.float32) * step).astype(int), length - 1)


# layout as the authors name it -> attention, frames, their distance, pixels, data sets
_LAYOUTS = {
    'divst_8x32': ('divided', 8, 32, 224, ('kinetics400', 'kinetics600', 'ssv2', 'custom')),
    'divst_16x16_448': ('divided', 16, 16, 448, ('kinetics400', 'kinetics600', 'ssv2')),
    'divst_96x4': ('divided', 96, 4, 224, ('kinetics400', 'kinetics600', 'ssv2')),
    # What they publish as their long network for this data set has fewer frames.
    'divst_64': ('divided', 64, 4, 224, ('ssv2',)),
    'jointst_8x32': ('joint', 8, 32, 224, ('kinetics400',)),
    'spaceonly_8x32': ('space_only', 8, 32, 224, ('kinetics400',)),
}
# For CPUs, and to be trained without weights of others: half a percent of ViT-B's parameters.
_SMALL = {'patch': 8, 'dim': 96, 'depth': 4, 'heads': 6, 'drop_path': 0., 'start': 'scratch'}


def _register(name: str, attention: str, dataset: str, frames: int, stride: int, size: int, base: str = '',
              **design) -> None:
    @register_model(ModelCard.of_clips(
        name, family='TimeSformer', dataset=dataset, clip_length=frames, clip_stride=stride, input_size=size,
        mean=(0.45,) * 3, std=(0.225,) * 3, source='arXiv:2102.05095', base=base, head='head.weight',
        dropout_ratio=0.))
    def build(nclass: int, *, tsn: bool, consensus: str, **options) -> TimeSformer:
        return TimeSformer(nclass, attention=attention, **design, **options)


for _layout, (_attention, _frames, _stride, _size, _datasets) in _LAYOUTS.items():
    for _dataset in _datasets:
        _register(f'timesformer_{_layout}_{_dataset}', _attention, _dataset, _frames, _stride, _size,
                  base='vit_base_patch16')
_register('timesformer_small_custom', 'divided', 'custom', 8, 4, 112, **_SMALL)
