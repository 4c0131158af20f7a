"""Your own videos."""
from . import classification
from .classification import VideoClsCustom

__all__ = ['VideoClsCustom', 'classification']
