"""Layers with weights, and products of matrices."""
from __future__ import annotations

import math

from ..graph import Operator
from .row import Nodes, Row, only, window


def _convolution(op: Operator, to: Nodes) -> None:
    only(op, 'layout', None, 'NCW', 'NCHW', 'NCDHW')
    to.add('Conv', *op.inputs, output=op.name, group=op.settings.get('num_group', 1), **window(op))


def _convolution_macs(op: Operator) -> int:
    return math.prod(op.output_shapes[0]) * math.prod(op.input_shapes[1][1:])


def _dense(op: Operator, to: Nodes) -> None:
    x, *weights = op.inputs
    if len(op.input_shapes[0]) == 2:
        to.add('Gemm', x, *weights, output=op.name, transB=1)
    elif op.settings.get('flatten', True):
        to.add('Gemm', to.add('Flatten', x), *weights, output=op.name, transB=1)
    else:
        rows = to.add('Gemm', to.add('Flatten', x, axis=-1), *weights, output=f'{op.name}_gemm', transB=1)
        before = to.add('Slice', to.add('Shape', x), to.constant([0]), to.constant([-1]))
        shape = to.add('Concat', before, to.constant([op.settings['num_hidden']]), axis=0)
        to.add('Reshape', rows, shape, output=op.name)


def _dense_macs(op: Operator) -> int:
    # Every number of the input is multiplied once for each unit, whichever way the matrices lie.
    return math.prod(op.input_shapes[0]) * op.output_shapes[0][-1]


def _product(op: Operator, to: Nodes) -> None:
    only(op, 'axis', None, -2)
    operands = []
    for name, shape, turned in zip(op.inputs, op.input_shapes, ('transpose_a', 'transpose_b')):
        places = list(range(len(shape)))
        places[-2:] = places[:-3:-1]
        operands.append(to.add('Transpose', name, perm=places) if op.settings.get(turned) else name)
    if op.settings.get('alpha', 1) == 1:
        to.add('MatMul', *operands, output=op.name)
    else:
        product = to.add('MatMul', *operands, output=f'{op.name}_matmul')
        to.add('Mul', product, to.constant(float(op.settings['alpha'])), output=op.name)


def _dot(op: Operator, to: Nodes) -> None:
    if [len(shape) for shape in op.input_shapes] != [2, 2]:
        raise NotImplementedError(f'{op.kind} of anything but two matrices')
    _product(op, to)


def _product_macs(op: Operator) -> int:
    # ONNX's MatMul has no transposed operands.
    return math.prod(op.output_shapes[0]) * op.input_shapes[0][-2 if op.settings.get('transpose_a') else -1]


ROWS = {
    'Convolution': Row(_convolution, macs=_convolution_macs, layer='Conv'),
    'FullyConnected': Row(_dense, macs=_dense_macs, layer='Gemm'),
    '_linalg_gemm2': Row(_product, macs=_product_macs, layer='MatMul'),
    'batch_dot': Row(_product, macs=_product_macs, layer='MatMul'),
    'dot': Row(_dot, macs=_product_macs, layer='MatMul'),
}
