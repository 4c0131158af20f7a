"""Normalisation, and dropout, of which nothing is left in an exported network."""
from __future__ import annotations

import numpy as np

from ..graph import Operator
from .row import Nodes, Row, identity, only


def _batch_norm(op: Operator, to: Nodes) -> None:
    only(op, 'axis', 1, default=1)
    only(op, 'output_mean_var', None, False)
    x, gamma, *others = op.inputs
    if op.settings.get('fix_gamma', True):  # MXNet takes 1 whatever is stored, ONNX what is stored
        gamma = to.constant(np.ones(op.input_shapes[1], np.float32))
    to.add('BatchNormalization', x, gamma, *others, output=op.name, epsilon=float(op.settings.get('eps', 1e-3)))


def _layer_norm(op: Operator, to: Nodes) -> None:
    x, gamma, beta = op.inputs
    axis, axes = op.settings.get('axis', -1), len(op.input_shapes[0])
    # In the words that ONNX Runtime fuses into one operator. MXNet's exporter ends with x - (-beta), because ONNX
    # Runtime 1.6 gave NaN (apache/mxnet#19661), and so is not fused; of 1.20 and newer only rows whose numbers are all
    # the same are known to give NaN (microsoft/onnxruntime#21935).
    centred = to.add('Sub', x, to.add('ReduceMean', x, axes=[axis]))
    variance = to.add('ReduceMean', to.add('Pow', centred, to.constant(2.0)), axes=[axis])
    spread = to.add('Sqrt', to.add('Add', variance, to.constant(float(op.settings.get('eps', 1e-5)))))
    if axis % axes != axes - 1:
        shape = to.constant([-1 if place == axis % axes else 1 for place in range(axes)])
        gamma, beta = to.add('Reshape', gamma, shape), to.add('Reshape', beta, shape)
    to.add('Add', to.add('Mul', to.add('Div', centred, spread), gamma), beta, output=op.name)


ROWS = {
    'BatchNorm': Row(_batch_norm),
    'LayerNorm': Row(_layer_norm),
    'Dropout': Row(identity),
}
