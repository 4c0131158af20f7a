"""Layers that the networks of the zoo share."""
from .batch_norm import BatchNorm, batch_norms, freeze_batch_norms
from .consensus import Consensus
from .frame_padding import FramePaddedConv3D, pad_strided_frames
from .gating import SelfGating
from .group_norm import GroupNorm
from .same import SameConv3D, SameMaxPool3D, SizedBlock, lay_out, same_padding

__all__ = ['BatchNorm', 'Consensus', 'FramePaddedConv3D', 'GroupNorm', 'SameConv3D', 'SameMaxPool3D', 'SelfGating',
           'SizedBlock', 'batch_norms', 'freeze_batch_norms', 'lay_out', 'pad_strided_frames', 'same_padding']
