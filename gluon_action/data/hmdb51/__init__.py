"""HMDB51: 51 actions in 6,766 clips, mostly from films (Kuehne et al. 2011)."""
from . import classification
from .classification import HMDB51, HMDB51Attr

__all__ = ['HMDB51', 'HMDB51Attr', 'classification']
