"""EPIC-KITCHENS: actions in kitchens, filmed from the head (Damen et al. 2022, arXiv:2006.13256)."""
from . import classification
from .classification import EpicKitchens

__all__ = ['EpicKitchens', 'classification']
