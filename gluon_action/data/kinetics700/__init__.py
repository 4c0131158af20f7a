"""Kinetics-700: 700 actions in 10 s clips from YouTube (Carreira et al. 2019, arXiv:1907.06987)."""
from . import classification
from .classification import Kinetics700, Kinetics700Attr

__all__ = ['Kinetics700', 'Kinetics700Attr', 'classification']
