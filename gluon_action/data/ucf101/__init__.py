"""UCF101: 101 actions in 13,320 clips from YouTube (Soomro et al. 2012, arXiv:1212.0402)."""
from . import classification
from .classification import UCF101, UCF101Attr

__all__ = ['UCF101', 'UCF101Attr', 'classification']
