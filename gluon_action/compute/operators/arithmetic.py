"""Functions of numbers one by one: of one array, of two that are broadcast, of an array and a number."""
from __future__ import annotations

from collections.abc import Callable

from ..graph import Operator
from .row import Nodes, Row, simple

# The number of ONNX's type, which is asked for without loading it.
_FLOAT = 1


def _lesser(op: Operator, to: Nodes) -> None:
    to.add('Cast', to.add('Less', *op.inputs), output=op.name, to=_FLOAT)


def _rsqrt(op: Operator, to: Nodes) -> None:
    to.add('Reciprocal', to.add('Sqrt', *op.inputs), output=op.name)


def _square(op: Operator, to: Nodes) -> None:
    to.add('Mul', *op.inputs, *op.inputs, output=op.name)


def _with_number(kind: str, turned: bool = False) -> Callable:
    """One node of the input and a number, or the other way round."""
    def write(op: Operator, to: Nodes) -> None:
        inputs = [op.inputs[0], to.constant(float(op.settings['scalar']))]
        to.add(kind, *(inputs[::-1] if turned else inputs), output=op.name)
    return write


ROWS = {
    'exp': Row(simple('Exp')),
    'log': Row(simple('Log')),
    'sqrt': Row(simple('Sqrt')),
    'rsqrt': Row(_rsqrt),
    'square': Row(_square),
    'sign': Row(simple('Sign')),
    'floor': Row(simple('Floor')),
    'abs': Row(simple('Abs')),
    'negative': Row(simple('Neg')),
    'reciprocal': Row(simple('Reciprocal')),
    'elemwise_add': Row(simple('Add'), passing=('Add',)),
    'elemwise_sub': Row(simple('Sub')),
    'elemwise_mul': Row(simple('Mul')),
    'elemwise_div': Row(simple('Div')),
    'add_n': Row(simple('Sum')),
    'broadcast_add': Row(simple('Add'), passing=('Add',)),
    'broadcast_sub': Row(simple('Sub')),
    'broadcast_mul': Row(simple('Mul')),
    'broadcast_div': Row(simple('Div')),
    'broadcast_power': Row(simple('Pow')),
    'broadcast_lesser': Row(_lesser),
    'broadcast_maximum': Row(simple('Max')),
    'broadcast_minimum': Row(simple('Min')),
    '_plus_scalar': Row(_with_number('Add')),
    '_minus_scalar': Row(_with_number('Sub')),
    '_rminus_scalar': Row(_with_number('Sub', turned=True)),
    '_mul_scalar': Row(_with_number('Mul')),
    '_div_scalar': Row(_with_number('Div')),
    '_rdiv_scalar': Row(_with_number('Div', turned=True)),
    '_power_scalar': Row(_with_number('Pow')),
    '_maximum_scalar': Row(_with_number('Max')),
    '_minimum_scalar': Row(_with_number('Min')),
}
