"""Functions that follow layers."""
from __future__ import annotations

import math
from collections.abc import Callable

from ..graph import Operator
from .row import Nodes, Row, only, simple


def _activation(op: Operator, to: Nodes) -> None:
    kinds = {'relu': 'Relu', 'sigmoid': 'Sigmoid', 'tanh': 'Tanh', 'softrelu': 'Softplus', 'softsign': 'Softsign'}
    only(op, 'act_type', *kinds)
    to.add(kinds[op.settings['act_type']], *op.inputs, output=op.name)


def _leaky(op: Operator, to: Nodes) -> None:
    kind, x = op.settings.get('act_type', 'leaky'), op.inputs[0]
    if kind == 'gelu':
        erf = to.add('Erf', to.add('Div', x, to.constant(math.sqrt(2))))
        whole = to.add('Mul', x, to.add('Add', erf, to.constant(1.0)))
        to.add('Mul', whole, to.constant(0.5), output=op.name)
    elif kind == 'selu':
        to.add('Selu', x, output=op.name)
    else:
        kinds = {'leaky': 'LeakyRelu', 'elu': 'Elu'}
        only(op, 'act_type', *kinds, default='leaky')
        to.add(kinds[kind], x, output=op.name, alpha=float(op.settings.get('slope', 0.25)))


def _softmax(kind: str) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        only(op, 'use_length', None, False)
        x = op.inputs[0]
        if op.settings.get('temperature') not in (None, 1):
            x = to.add('Div', x, to.constant(float(op.settings['temperature'])))
        to.add(kind, x, output=op.name, axis=op.settings.get('axis', -1))
    return write


def _clip(op: Operator, to: Nodes) -> None:
    limits = [to.constant(float(op.settings[name])) for name in ('a_min', 'a_max')]
    to.add('Clip', *op.inputs, *limits, output=op.name)


ROWS = {
    'Activation': Row(_activation, passing=('Relu',)),
    'LeakyReLU': Row(_leaky),
    'softmax': Row(_softmax('Softmax')),
    'log_softmax': Row(_softmax('LogSoftmax')),
    'clip': Row(_clip, passing=('Clip',)),
    'relu': Row(simple('Relu'), passing=('Relu',)),
    'sigmoid': Row(simple('Sigmoid')),
    'tanh': Row(simple('Tanh')),
}
