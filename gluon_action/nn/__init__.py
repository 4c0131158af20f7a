"""Layers that the networks of the zoo share."""
from .attention import MLP, Attention, Linear
from .batch_norm import BatchNorm, batch_norms, freeze_batch_norms
from .consensus import Consensus
from .drop_path import DropPath
from .frame_padding import FramePaddedConv3D, pad_strided_frames
from .gating import SelfGating
from .group_norm import GroupNorm
from .layer_norm import LayerNorm, as_operators
from .same import SameConv3D, SameMaxPool3D, SizedBlock, lay_out, same_padding

__all__ = ['MLP', 'Attention', 'BatchNorm', 'Consensus', 'DropPath', 'FramePaddedConv3D', 'GroupNorm', 'LayerNorm',
           'Linear', 'SameConv3D', 'SameMaxPool3D', 'SelfGating', 'SizedBlock', 'as_operators', 'batch_norms',
           'freeze_batch_norms', 'lay_out', 'pad_strided_frames', 'same_padding']
