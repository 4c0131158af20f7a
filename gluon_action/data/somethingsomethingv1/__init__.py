"""Something-Something V1: 174 ways to handle things, 108,499 clips (Goyal et al. 2017, arXiv:1706.04261)."""
from . import classification
from .classification import SomethingSomethingV1

__all__ = ['SomethingSomethingV1', 'classification']
