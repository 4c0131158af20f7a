"""What is known of an operator: a row of the table, and what several rows are written with."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..graph import Graph, Operator

#: Larger than any axis: ONNX has no word for "to the end".
END = 2 ** 63 - 1


class Nodes(Protocol):
    """The ONNX graph that rows write into (version 13 of ONNX's operators)."""

    def add(self, kind: str, *inputs: str, output: str | Sequence[str] = '', **settings) -> str:
        """Add a node and return the name of its output, which is made up where none is given."""

    def constant(self, value: float | Sequence[int] | np.ndarray) -> str:
        """Add a constant and return its name; Python's whole numbers become int64, others float32."""

    def same(self, output: str, input: str) -> None:
        """Let `output` be another name of `input`."""

    def body(self, graph: Graph, inputs: Sequence[str], outputs: Sequence[str], around: Mapping[str, str]):
        """Return a graph that a node runs, as an attribute of that node.

        `inputs` and `outputs` are values of `graph`; `around` says which of its other variables are which values here.
        """


@dataclass(frozen=True)
class Row:
    """What is known of an operator.

    Attributes
    ----------
    write : callable
        Adds the ONNX nodes of an `Operator` to `Nodes`; NotImplementedError where ONNX has none for its settings.
    macs : callable, optional
        Multiply-accumulates of an `Operator`; none are counted for operators without. It looks at shapes, and at
        settings where it must, so that it serves nodes of ONNX of the kind `layer` too.
    layer : str
        What ONNX calls it, where it has weights that int8 can hold.
    passing : tuple of str
        What ONNX calls it, where it passes 8 bits on as they come in.
    """

    write: Callable[[Operator, Nodes], None]
    macs: Callable[[Operator], int] | None = None
    layer: str = ''
    passing: tuple[str, ...] = ()


def only(op: Operator, name: str, *values, default=None) -> None:
    """Refuse values of a setting that have no counterpart."""
    value = op.settings.get(name, default)
    if value not in values:
        raise NotImplementedError(f'{op.kind} with {name} {value}')


def simple(kind: str) -> Callable:
    """One node of the same inputs."""
    def write(op: Operator, to: Nodes) -> None:
        to.add(kind, *op.inputs, output=op.name)
    return write


def identity(op: Operator, to: Nodes) -> None:
    """No node: what goes in comes out."""
    to.same(op.name, op.inputs[0])


def axes_of(op: Operator) -> tuple[int, ...] | None:
    """Return the axes that a setting names, None where it names none."""
    axis = op.settings.get('axis')
    return (axis,) if isinstance(axis, int) else axis or None


def window(op: Operator) -> dict:
    """Return ONNX's settings of a window that slides over axes."""
    settings = {'kernel_shape': op.settings['kernel']}
    if op.settings.get('pad'):
        settings['pads'] = (*op.settings['pad'], *op.settings['pad'])
    if op.settings.get('stride'):
        settings['strides'] = op.settings['stride']
    if op.settings.get('dilate'):
        settings['dilations'] = op.settings['dilate']
    return settings
