"""Graphs in the files that MXNet exports (``-symbol.json``), checked before its loader sees them.

That loader looks up nodes by the numbers in the file without asking whether there are so many, and follows a circle
for ever.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..files import open_file, parse_json

# Operators whose settings are addresses in the memory of the process that wrote them.
_ADDRESSES = ('_Native', '_NDArray')
_DEEPEST = 8  # loops within loops
_LARGEST = 1 << 28  # bytes; that of the largest network of the zoo has a million
_MOST_OUTPUTS = 4  # of a node that does not say how many it has
_ATTRIBUTES = ('attrs', 'attr', 'param')  # by version


def read_symbol(path: str | os.PathLike) -> dict[str, Any]:
    """Return the graph in a file as JSON has it.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When it is no graph: a node takes what no node before it gives, or something is of another kind.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError(f'it has {os.fstat(file.fileno()).st_size} bytes, more than any graph')
        graph = parse_json(file.read())
    _check(graph, _DEEPEST)
    return graph


def attribute(graph: dict[str, Any], variable: str, name: str) -> str | None:
    """Return an attribute of a variable; None where it has none."""
    for node in graph['nodes']:
        if node['op'] == 'null' and node['name'] == variable:
            return next((node[key][name] for key in _ATTRIBUTES if name in node.get(key, {})), None)
    return None


def _check(graph: Any, depth: int) -> None:
    if not depth:
        raise ValueError('it has loops in loops without end')
    if not isinstance(graph, dict) or not all(isinstance(graph.get(key), list) for key in ('nodes', 'arg_nodes',
                                                                                           'heads')):
        raise ValueError('it is no graph of MXNet: nodes, arg_nodes and heads are wanted')
    nodes = graph['nodes']
    for place, node in enumerate(nodes):
        why = next(_wrong(node, place, nodes, depth), None)
        if why:
            raise ValueError(f'node {place} {why}')
    if not graph['heads'] or not all(_is_output(entry, len(nodes), nodes) for entry in graph['heads']):
        raise ValueError('its heads are no outputs of its nodes')
    if not all(_is_number(place, len(nodes)) for place in graph['arg_nodes']):
        raise ValueError('its arg_nodes are no numbers of its nodes')
    rows = graph.get('node_row_ptr', [0])
    if not isinstance(rows, list) or not all(_is_number(row, 1 << 31) for row in rows) or rows != sorted(rows):
        raise ValueError('its node_row_ptr are no places')
    about = graph.get('attrs', {})
    if not isinstance(about, dict) or not all(
            isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
            and isinstance(value[1], (str, int)) for value in about.values()):
        raise ValueError('its attrs are none')


def _wrong(node: Any, place: int, nodes: list, depth: int) -> Iterator[str]:
    if not isinstance(node, dict) or not isinstance(node.get('op'), str) or not isinstance(node.get('name'), str):
        yield 'has no operator and name'
        return
    if node['op'] in _ADDRESSES:
        yield f'is {node["op"]}, whose settings are addresses in the memory of another process'
    inputs, after = node.get('inputs'), node.get('control_deps', [])
    if not isinstance(inputs, list) or not all(_is_output(entry, place, nodes) for entry in inputs):
        yield f'({ascii(node["name"])[:80]}) takes what no node before it gives'
    if not isinstance(after, list) or not all(_is_number(number, place) for number in after):
        yield 'waits for no node before it'
    for key in _ATTRIBUTES:
        settings = node.get(key, {})
        if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
            yield 'has settings that are no text'
    graphs = node.get('subgraphs', [])
    if not isinstance(graphs, list):
        yield 'has no list of subgraphs'
        return
    for graph in graphs:
        _check(graph, depth - 1)


def _is_output(entry: Any, count: int, nodes: list) -> bool:
    """Whether (node, number of its output, version) is one of the first `count` nodes'."""
    if not isinstance(entry, list) or len(entry) not in (2, 3) or not _is_number(entry[0], count):
        return False
    return _is_number(entry[1], _outputs(nodes[entry[0]])) and all(_is_number(rest, 1 << 31) for rest in entry[2:])


def _outputs(node: dict[str, Any]) -> int:
    if node['op'] == 'null':
        return 1
    settings = [node[key] for key in _ATTRIBUTES if key in node]
    told = [said.get(name, '') for said in settings for name in ('num_outputs', 'sections')]
    # A split at places gives a part for each of them; the first of them is 0.
    places = [said['indices'].count(',') + 1 for said in settings if 'indices' in said]
    return max([_MOST_OUTPUTS, *places, *(int(number) for number in told if number.isdecimal() and len(number) < 6)])


def _is_number(value: Any, below: int) -> bool:
    return type(value) is int and 0 <= value < below
