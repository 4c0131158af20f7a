"""Kinetics-400: 400 actions in 10 s clips from YouTube (Kay et al. 2017, arXiv:1705.06950)."""
from . import classification
from .classification import Kinetics400, Kinetics400Attr

__all__ = ['Kinetics400', 'Kinetics400Attr', 'classification']
