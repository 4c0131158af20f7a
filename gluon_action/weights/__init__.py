"""Published weights: the index of what there is and where, and files fetched from there and verified."""
from __future__ import annotations

from .fetch import fetch, weights_root
from .index import Index, Row, WeightsFile, read_index

__all__ = ['Index', 'Row', 'WeightsFile', 'fetch', 'read_index', 'weights_root']
