"""Published weights: the index of what there is and where, and files fetched from there and verified."""
from __future__ import annotations

from .index import Index, Row, WeightsFile, bundled_index, read_index

__all__ = ['Index', 'Row', 'WeightsFile', 'bundled_index', 'read_index']
