"""Something-Something V2: 174 ways to handle things, 220,847 clips (Goyal et al. 2017, arXiv:1706.04261)."""
from . import classification
from .classification import SomethingSomethingV2, SomethingSomethingV2Attr

__all__ = ['SomethingSomethingV2', 'SomethingSomethingV2Attr', 'classification']
