"""A network's operators as a graph of `torch.fx`, of which PyTorch writes the Python that computes it."""
from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import fx

from ..graph import Graph, Operator
from .functions import FUNCTIONS, settings_of
from .simplification import simplify


@dataclass(frozen=True)
class Translation:
    """A network's graph of `torch.fx`, which reads parameters by their keys.

    Attributes
    ----------
    graph : torch.fx.Graph
    steps : dict of str to Module
        What loops do in one step, by the name that the graph knows it by; they have no parameters of their own.
    """

    graph: fx.Graph
    steps: dict[str, fx.GraphModule] = field(default_factory=dict)

    def module(self, tensors: Mapping[str, torch.Tensor]) -> fx.GraphModule:
        """Return what computes the graph; it shares `tensors`, key -> value, with whoever else has them."""
        # A module takes the graph that it is made of for its own.
        graph = fx.Graph()
        graph.output(graph.graph_copy(self.graph, {}))
        return fx.GraphModule({**tensors, **self.steps}, graph)


def translate(graph: Graph, parameters: Mapping[str, str], *, training: bool, shared: bool = False) -> Translation:
    """Translate a network of one input.

    Parameters
    ----------
    graph : Graph
    parameters : mapping of str to str
        Variables that are parameters -> their keys; the one that is left is the input.
    training : bool
        Whether dropout drops, and batch normalisations take the statistics of the batch and learn from it.
    shared : bool
        Whether that batch is those of all processes together.

    Raises
    ------
    NotImplementedError
        For an operator that has no function, or none with its settings.
    """
    made = Translation(fx.Graph())
    x = made.graph.placeholder('x')
    writer = _Writer(made, training, shared, x, {
        name: _Value(made.graph.get_attr(parameters[name]) if name in parameters else x, _empty(shape))
        for name, shape in graph.variables.items()})
    outputs = writer.write(graph)
    made.graph.output(outputs[0] if len(outputs) == 1 else outputs)
    simplify(made.graph)
    return made


@dataclass
class _Value:
    """A value of the graph, and an array without numbers of its shape."""

    node: fx.Node
    shape: torch.Tensor


class _Writer:
    """Writes operators into a translation."""

    def __init__(self, made: Translation, training: bool, shared: bool, like: fx.Node, values: dict[str, _Value]):
        self.made, self.training, self.shared, self.like, self.values = made, training, shared, like, values

    def write(self, graph: Graph) -> tuple[fx.Node, ...]:
        """Add all operators, in order, and return what the graph gives."""
        for op in graph.operators:
            self._add(op)
        return tuple(self.values[name].node for name in graph.outputs)

    def _add(self, op: Operator) -> None:
        settings = settings_of(op.kind, op.settings)
        graph, computed = self.made.graph, FUNCTIONS[op.kind]
        inputs = [self.values[name] for name in op.inputs]
        if computed.trains:
            settings['training'] = self.training
        of_shapes = dict(settings)
        if 'like' in computed.settings:  # an array out of nothing
            settings['like'], of_shapes['like'] = self.like, _empty(())
        if op.body is not None:
            of_shapes['step'] = self.made.steps[f'{op.name}_step'] = _step(op.body, self.training, self.shared)
            settings['step'] = graph.get_attr(f'{op.name}_step')
        if computed.shares and self.shared:
            settings['shared'] = True
        try:
            results = computed.function(*(value.shape for value in inputs), **of_shapes)
        except RuntimeError as error:
            raise NotImplementedError(f'{op.kind} ({op.name}): {error}') from error
        results = results if isinstance(results, tuple) else (results,)
        found = tuple(tuple(result.shape) for result in results)
        if found != op.output_shapes:
            raise NotImplementedError(f'{op.kind} ({op.name}) with {dict(op.settings)}, which gives {found} here and '
                                      f'{op.output_shapes} in MXNet')
        node = graph.create_node('call_function', computed.function, tuple(value.node for value in inputs), settings,
                                 name=op.name)
        nodes = [node] if len(results) == 1 else [graph.call_function(operator.getitem, (node, number))
                                                  for number in range(len(results))]
        self.values |= {name: _Value(*value) for name, *value in zip(op.outputs, nodes, results)}


def _step(body: Graph, training: bool, shared: bool) -> fx.GraphModule:
    """Return what a loop does with one frame, as a module of its variables in order to all results."""
    made = Translation(fx.Graph())
    values = {name: _Value(made.graph.placeholder(f'value{number}'), _empty(shape))
              for number, (name, shape) in enumerate(body.variables.items())}
    first = made.graph.find_nodes(op='placeholder')[0]
    made.graph.output(_Writer(made, training, shared, first, values).write(body))
    return made.module({})


def _empty(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, device='meta')
