"""The same numbers in other shapes, and parts of arrays."""
from __future__ import annotations

from ..graph import Operator
from .row import END, Nodes, Row, axes_of, identity, only, simple


def _reshape(op: Operator, to: Nodes) -> None:
    only(op, 'reverse', False, default=False)
    if min(op.settings['shape']) < -1:
        raise NotImplementedError(f'{op.kind} to {op.settings["shape"]}: of the codes ONNX has 0 and -1 only')
    to.add('Reshape', op.inputs[0], to.constant(op.settings['shape']), output=op.name)


def _reshape_like(op: Operator, to: Nodes) -> None:
    sides = []
    for name, shape, side in zip(op.inputs, op.input_shapes, ('lhs', 'rhs')):
        begin, end = (op.settings.get(f'{side}_{limit}') for limit in ('begin', 'end'))
        begin, end = begin or 0, len(shape) if end is None else end
        sides.append((name, len(shape), *(place + len(shape) if place < 0 else place for place in (begin, end))))
    (x, ndim, begin, end), (like, others, start, stop) = sides
    if (begin, end, start, stop) == (0, ndim, 0, others):
        to.add('Reshape', x, to.add('Shape', like), output=op.name)
        return
    # The axes of x before and behind those that take the lengths of the other's.
    parts = [(x, 0, begin), (like, start, stop), (x, end, ndim)]
    lengths = [to.add('Slice', to.add('Shape', name), to.constant([first]), to.constant([last]))
               for name, first, last in parts if first < last]
    to.add('Reshape', x, to.add('Concat', *lengths, axis=0), output=op.name)


def _transpose(op: Operator, to: Nodes) -> None:
    axes = op.settings.get('axes') or tuple(range(len(op.input_shapes[0])))[::-1]
    to.add('Transpose', *op.inputs, output=op.name, perm=axes)


def _expand_dims(op: Operator, to: Nodes) -> None:
    to.add('Unsqueeze', *op.inputs, to.constant([op.settings['axis']]), output=op.name)


def _squeeze(op: Operator, to: Nodes) -> None:
    axes = axes_of(op)
    to.add('Squeeze', *op.inputs, *([to.constant(axes)] if axes else []), output=op.name)


def _concat(op: Operator, to: Nodes) -> None:
    to.add('Concat', *op.inputs, output=op.name, axis=op.settings.get('dim', 1))


def _split(op: Operator, to: Nodes) -> None:
    axis = op.settings.get('axis', 1)
    if not op.settings.get('squeeze_axis'):
        to.add('Split', *op.inputs, output=op.outputs, axis=axis)
        return
    parts = [f'{name}_part' for name in op.outputs]
    to.add('Split', *op.inputs, output=parts, axis=axis)
    for part, output in zip(parts, op.outputs):
        to.add('Squeeze', part, to.constant([axis]), output=output)


def _stack(op: Operator, to: Nodes) -> None:
    axis = op.settings.get('axis', 0)
    axis %= len(op.output_shapes[0])
    parts = [to.add('Unsqueeze', name, to.constant([axis])) for name in op.inputs]
    to.add('Concat', *parts, output=op.name, axis=axis)


def _slice(op: Operator, to: Nodes) -> None:
    begins, ends, steps = (op.settings.get(name) or () for name in ('begin', 'end', 'step'))
    steps = [step or 1 for step in steps] or [1] * len(begins)
    if min(steps) < 0:
        raise NotImplementedError(f'{op.kind} with step {op.settings["step"]}')
    limits = [[begin or 0 for begin in begins], [END if end is None else end for end in ends], range(len(begins)),
              steps]
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


def _slice_axis(op: Operator, to: Nodes) -> None:
    end = op.settings.get('end')
    limits = [op.settings['begin']], [END if end is None else end], [op.settings['axis']]
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


def _broadcast_axis(op: Operator, to: Nodes) -> None:
    # ONNX keeps the length of an axis that is asked to become 1.
    shape = [1] * len(op.input_shapes[0])
    sizes = op.settings['size']
    for axis, size in zip(axes_of(op), (sizes,) if isinstance(sizes, int) else sizes):
        shape[axis] = size
    to.add('Expand', *op.inputs, to.constant(shape), output=op.name)


def _broadcast_to(op: Operator, to: Nodes) -> None:
    to.add('Expand', *op.inputs, to.constant([length or 1 for length in op.settings['shape']]), output=op.name)


def _pad(op: Operator, to: Nodes) -> None:
    widths, mode = op.settings['pad_width'], op.settings['mode']
    only(op, 'mode', 'constant', 'edge', 'reflect')
    value = [to.constant(float(op.settings.get('constant_value', 0)))] if mode == 'constant' else []
    to.add('Pad', *op.inputs, to.constant((*widths[::2], *widths[1::2])), *value, output=op.name, mode=mode)


def _reverse(op: Operator, to: Nodes) -> None:
    axes = axes_of(op)
    # From the last to before the first; -1 would be the last itself.
    limits = [-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes)
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


ROWS = {
    'Reshape': Row(_reshape),
    'reshape_like': Row(_reshape_like),
    'transpose': Row(_transpose),
    'expand_dims': Row(_expand_dims),
    'squeeze': Row(_squeeze),
    'Flatten': Row(simple('Flatten')),
    'Concat': Row(_concat, passing=('Concat',)),
    'stack': Row(_stack),
    'SliceChannel': Row(_split),
    'slice': Row(_slice),
    'slice_axis': Row(_slice_axis),
    'reverse': Row(_reverse),
    'broadcast_axis': Row(_broadcast_axis),
    'broadcast_to': Row(_broadcast_to),
    'Pad': Row(_pad),
    '_copy': Row(identity),
    'BlockGrad': Row(identity),
}
