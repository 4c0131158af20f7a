"""Layers that the networks of the zoo share."""
from .batch_norm import BatchNorm, batch_norms, freeze_batch_norms
from .consensus import Consensus
from .group_norm import GroupNorm

__all__ = ['BatchNorm', 'Consensus', 'GroupNorm', 'batch_norms', 'freeze_batch_norms']
