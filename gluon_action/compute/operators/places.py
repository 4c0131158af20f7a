"""Places in arrays: numbering, picking and ordering; and arrays filled with a number."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Operator
from .row import END, Nodes, Row, only

# Numbers of ONNX's types, which are asked for without loading it.
_FLOAT, _INT64 = 1, 7


def _numbers_like(op: Operator, to: Nodes) -> None:
    only(op, 'start', None, 0, 0.0)
    only(op, 'step', None, 1, 1.0)
    only(op, 'repeat', None, 1)
    only(op, 'ctx', None, '')
    axis = op.settings.get('axis')
    if axis is None:
        raise NotImplementedError(f'{op.kind} over all axes')
    axis %= len(op.input_shapes[0])
    length = to.add('Slice', to.add('Shape', *op.inputs), to.constant([axis]), to.constant([axis + 1]))
    numbers = to.add('Range', to.constant(0), to.add('Squeeze', length, to.constant([0])), to.constant(1))
    to.add('Cast', numbers, output=op.name, to=_FLOAT)


def _gather_nd(op: Operator, to: Nodes) -> None:
    data, places = op.inputs
    axes = len(op.input_shapes[1])
    # ONNX has what MXNet has along the first axis of the places along the last one.
    turned = to.add('Transpose', to.add('Cast', places, to=_INT64), perm=[*range(1, axes), 0])
    to.add('GatherND', data, turned, output=op.name)


def _argsort(op: Operator, to: Nodes) -> None:
    only(op, 'dtype', None, 'float32')
    axis = op.settings.get('axis', -1)
    length = to.add('Slice', to.add('Shape', *op.inputs), to.constant([axis]), to.constant([axis + 1 or END]))
    values = f'{op.name}_values'
    to.add('TopK', *op.inputs, length, output=[values, f'{op.name}_places'], axis=axis,
           largest=int(not op.settings.get('is_ascend', True)))
    to.add('Cast', f'{op.name}_places', output=op.name, to=_FLOAT)


def _filled_like(value: float) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        to.add('Expand', to.constant(value), to.add('Shape', *op.inputs), output=op.name)
    return write


def _filled(value: float) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        to.same(op.name, to.constant(np.full(op.output_shapes[0], value, np.float32)))
    return write


ROWS = {
    '_contrib_arange_like': Row(_numbers_like),
    'gather_nd': Row(_gather_nd),
    'argsort': Row(_argsort),
    'zeros_like': Row(_filled_like(0.0)),
    'ones_like': Row(_filled_like(1.0)),
    '_zeros': Row(_filled(0.0)),
    '_ones': Row(_filled(1.0)),
}
