"""Layers that the networks of the zoo share."""
from .batch_norm import BatchNorm, batch_norms, freeze_batch_norms
from .consensus import Consensus
from .gating import SelfGating
from .group_norm import GroupNorm
from .same import SameConv3D, SameMaxPool3D, SizedBlock, lay_out, same_padding

__all__ = ['BatchNorm', 'Consensus', 'GroupNorm', 'SameConv3D', 'SameMaxPool3D', 'SelfGating', 'SizedBlock',
           'batch_norms', 'freeze_batch_norms', 'lay_out', 'same_padding']
