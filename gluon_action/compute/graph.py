"""A network as a list of operators, read once from its symbol."""
from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """One operator of a network.

    Attributes
    ----------
    kind : str
        What MXNet calls it, as ``'Convolution'``.
    name : str
        Its own; no other operator of the graph has it.
    settings : mapping of str to object
        Those that were given, as Python values: ``{'kernel': (3, 3), 'no_bias': True, 'layout': 'NCHW'}``.
    inputs, outputs : tuple of str
        Names of values: variables of the graph, or outputs of other operators.
    input_shapes, output_shapes : tuple of tuple of int
        Theirs.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Graph:
    """The operators of a network in an order in which they can be computed.

    Attributes
    ----------
    operators : tuple of Operator
    variables : dict of str to tuple of int
        Names and shapes of the inputs and parameters.
    outputs : tuple of str
        Names of the values that the network gives.
    output_shapes : tuple of tuple of int
        Theirs.
    """

    operators: tuple[Operator, ...]
    variables: dict[str, Shape]
    outputs: tuple[str, ...]
    output_shapes: tuple[Shape, ...]


def read_graph(symbol, **input_shapes: Shape) -> Graph:
    """Read an MXNet symbol.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    **input_shapes
        Shapes of its inputs; those of parameters follow from them.

    Raises
    ------
    ValueError
        When they do not.
    NotImplementedError
        When an operator has outputs that are more than its results, as statistics.
    """
    content = json.loads(symbol.tojson())
    internals = symbol.get_internals()
    shapes = internals.infer_shape(**input_shapes)[1]
    if shapes is None:
        raise ValueError(f'the shapes {input_shapes} do not say how large the others are')
    values = _values(content['nodes'], list(zip(internals.list_outputs(), shapes)))

    def known(entries: list[list[int]]) -> tuple[tuple[str, ...], tuple[Shape, ...]]:
        names, lengths = zip(*(values[node][number] for node, number, *_ in entries)) if entries else ((), ())
        return names, lengths

    operators, variables = [], {}
    for place, node in enumerate(content['nodes']):
        if node['op'] == 'null':
            name, shape = values[place][0]
            variables[name] = shape
            continue
        inputs, input_lengths = known(node['inputs'])
        outputs, output_lengths = zip(*values[place])
        settings = {name: _python(text) for name, text in node.get('attrs', {}).items()}
        name = outputs[0] if len(outputs) == 1 else outputs[0].removesuffix('0')
        operators.append(Operator(node['op'], name, settings, inputs, outputs, input_lengths, output_lengths))
    return Graph(tuple(operators), variables, *known(content['heads']))


def _values(nodes: list[dict], shapes: list[tuple[str, Shape]]) -> list[list[tuple[str, Shape]]]:
    """Name and shape of each output of each node.

    A layer that is called twice makes two nodes of one name, so outputs are not looked up by name but taken in order,
    which is that of the nodes.
    """
    shapes = shapes[::-1]
    values, used = [], set()
    for place, node in enumerate(nodes):
        name = node['name']
        label, shape = shapes.pop()
        if label not in (name, f'{name}_output', f'{name}_output0'):
            raise NotImplementedError(f'operators with outputs like {label}')
        lengths = [shape]
        if label == f'{name}_output0':
            while shapes and shapes[-1][0] == f'{name}_output{len(lengths)}':
                lengths.append(shapes.pop()[1])
        unique = f'{name}_of_{place}' if name in used else name
        used.add(unique)
        names = [unique] if len(lengths) == 1 else [f'{unique}{number}' for number in range(len(lengths))]
        values.append(list(zip(names, lengths)))
    if shapes:
        raise NotImplementedError(f'operators with outputs like {shapes[-1][0]}')
    return values


def _python(text: str) -> Any:
    """'(3, 3)' -> (3, 3), 'True' -> True, 'relu' -> 'relu'."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
