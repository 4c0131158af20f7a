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
    body : Graph, optional
        What a loop does in one step. Its variables stand in the order that the settings of a loop count in, and no
        value of it has a name of the graph around it.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    body: Graph | None = None


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
        When an operator has outputs that are more than its results, as statistics (a `BatchNorm` may have them), or is
        a loop of another kind than ``foreach``.
    """
    return _read(symbol, input_shapes)


def _read(symbol, input_shapes: Mapping[str, Shape], stem: str = '') -> Graph:
    """Read a symbol; its values are named as in it, with `stem` before."""
    content = json.loads(symbol.tojson())
    internals = symbol.get_internals()
    shapes = internals.infer_shape(**input_shapes)[1]
    if shapes is None:
        raise ValueError(f'the shapes {input_shapes} do not say how large the others are')
    values = _values(content['nodes'], list(zip(internals.list_outputs(), shapes)), stem)

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
        body = _step(node, settings, name, input_lengths, content['attrs']) if 'subgraphs' in node else None
        operators.append(Operator(node['op'], name, settings, inputs, outputs, input_lengths, output_lengths, body))
    return Graph(tuple(operators), variables, *known(content['heads']))


def _step(node: dict, settings: Mapping[str, Any], name: str, shapes: tuple[Shape, ...], about: dict) -> Graph:
    """Read what MXNet's ``foreach`` does with one frame."""
    from mxnet.symbol import load_json
    if node['op'] != '_foreach':
        raise NotImplementedError(f'{node["op"]} (of {name})')
    # Without a version it would be taken for one of MXNet 0.8, and MXNet would say so.
    inside = load_json(json.dumps({**node['subgraphs'][0], 'attrs': about}))
    # The loop takes its data, its states, and what else a step reads; the step takes them in an order of its own.
    data = settings['in_data_locs']
    places = [*data, *settings['in_state_locs'], *settings['remain_locs']]
    known = [shape[1:] if number < len(data) else shape for number, shape in enumerate(shapes)]
    names = inside.list_inputs()
    return _read(inside, {names[place]: shape for place, shape in zip(places, known)}, f'{name}_')


def _values(nodes: list[dict], shapes: list[tuple[str, Shape]], stem: str) -> list[list[tuple[str, Shape]]]:
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
        elif node['op'] == 'BatchNorm' and node['attrs'].get('output_mean_var') == 'True':
            lengths += [shapes.pop()[1] for _ in range(2)]
        unique = stem + (f'{name}_of_{place}' if name in used else name)
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
