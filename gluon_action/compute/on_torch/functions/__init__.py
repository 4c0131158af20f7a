"""MXNet's operators computed of tensors by PyTorch, each by a function of its inputs and settings.

`FUNCTIONS` is the table that networks are translated by. `F` has the same functions under the names that hybrid code
calls them by: ``loss(F, logits, label)`` computes a loss of tensors, with its gradients. A function stands in the
module of the same name as its ONNX nodes in `compute/operators`, and takes the operator's settings by MXNet's names.
"""
from __future__ import annotations

from . import activations, arithmetic, layers, loops, normalisation, places, reductions, shapes  # noqa: F401
from .table import FUNCTIONS, Computed, F, settings_of

__all__ = ['FUNCTIONS', 'Computed', 'F', 'settings_of']
