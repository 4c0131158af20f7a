"""The operators that networks are made of, one row each: as ONNX nodes, what they cost, and what int8 makes of them.

`OPERATORS` is the table, put together of the `ROWS` of each module here. An operator that is not in it cannot be
exported; a row is all that one takes. What PyTorch computes of an operator is a function of the module of the same name
in `compute/on_torch/functions`.
"""
from __future__ import annotations

from . import activations, arithmetic, layers, loops, normalisation, places, reductions, shapes
from .row import Nodes, Row

#: MXNet's name -> what is known of the operator. Only these can be exported.
OPERATORS: dict[str, Row] = {
    **layers.ROWS, **normalisation.ROWS, **activations.ROWS, **arithmetic.ROWS, **reductions.ROWS, **shapes.ROWS,
    **places.ROWS, **loops.ROWS}

#: What ONNX calls layers with weights -> their row; products of two activations go by the same names.
LAYERS = {row.layer: row for row in reversed(OPERATORS.values()) if row.layer}
#: What ONNX calls operators that pass 8 bits on.
PASSING = tuple(dict.fromkeys(kind for row in OPERATORS.values() for kind in row.passing))

__all__ = ['LAYERS', 'OPERATORS', 'PASSING', 'Nodes', 'Row']
