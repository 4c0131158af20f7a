"""What MXNet writes as ONNX, rewritten: fewer operators, and padding that fits inputs of any size."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Graph:
    """An ONNX graph that can be rewritten; it changes the model it is made of.

    Parameters
    ----------
    model : onnx.ModelProto
    weights : dict of str to ndarray
        Those that are not inside the model.
    """

    def __init__(self, model, weights: dict[str, np.ndarray]):
        from onnx import numpy_helper
        self.proto = model.graph
        self.nodes = list(self.proto.node)
        self.weights = weights | {tensor.name: numpy_helper.to_array(tensor) for tensor in self.proto.initializer}
        self._new_weights = 0

    @property
    def outputs(self) -> set[str]:
        """Names of what the graph computes."""
        return {output.name for output in self.proto.output}

    def maker(self, name: str):
        """Return the node that computes `name`; None for inputs and weights."""
        return next((node for node in self.nodes if name in node.output), None)

    def users(self, name: str) -> list:
        """Return the nodes that read `name`."""
        return [node for node in self.nodes if name in node.input]

    def add_weight(self, array: np.ndarray, stem: str) -> str:
        """Add a constant and return its name."""
        self._new_weights += 1
        name = f'{stem}_{self._new_weights}'
        self.weights[name] = array
        return name

    def replace(self, old: str, new: str) -> None:
        """Let whoever reads `old` read `new`, which is the same."""
        if old in self.outputs:
            # The output keeps its name: what computes `new` computes it under that name.
            old, new = new, old
            for node in self.nodes:
                if node.output[:1] == [old]:
                    node.output[0] = new
        for node in self.nodes:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new

    def name_output(self, name: str) -> None:
        """Give the first output another name."""
        old, self.proto.output[0].name = self.proto.output[0].name, name
        for node in self.nodes:
            for names in (node.input, node.output):
                for place in [place for place, known in enumerate(names) if known == old]:
                    names[place] = name

    def add_output(self, operator: str, name: str, **settings) -> None:
        """Add an output that `operator` computes of the first one, and that is of its shape."""
        from onnx import helper
        self.nodes.append(helper.make_node(operator, [self.proto.output[0].name], [name], name=name, **settings))
        self.proto.output.add().CopyFrom(self.proto.output[0])
        self.proto.output[-1].name = name

    def prune(self) -> set[str]:
        """Remove nodes that nobody needs, and return the names that are still read."""
        needed, kept = self.outputs, []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        self.nodes = kept[::-1]
        return needed

    def write_back(self) -> None:
        """Put nodes and weights that are still needed into the model; inputs are what is no weight."""
        from onnx import numpy_helper
        needed = self.prune()
        inputs = [value for value in self.proto.input if value.name not in self.weights]
        weights = [numpy_helper.from_array(array, name) for name, array in self.weights.items() if name in needed]
        for field, values in (('node', self.nodes), ('input', inputs), ('initializer', weights), ('value_info', [])):
            self.proto.ClearField(field)
            getattr(self.proto, field).extend(values)


def simplify(graph: Graph) -> None:
    """Take out what only MXNet needs: dropout, folding around batch normalisation and gates, guards of reductions."""
    for node in [node for node in graph.nodes if node.op_type == 'Identity']:
        graph.nodes.remove(node)
        graph.replace(node.output[0], node.input[0])
    for node in [node for node in graph.nodes if node.op_type == 'Reshape']:
        _unguard_reduction(graph, node)
        _unfold(graph, node)
    for node in [node for node in graph.nodes if node.op_type == 'Sub']:
        _add_beta(graph, node)
    graph.prune()


def _unguard_reduction(graph: Graph, node) -> None:
    # Behind a reduction MXNet's export works out a shape in eight steps, for the case that all axes are gone.
    reduction, shape = graph.maker(node.input[0]), graph.maker(node.input[1])
    if reduction and shape and reduction.op_type.startswith('Reduce') and shape.op_type == 'ScatterND':
        axes = attributes(reduction).get('axes')
        if attributes(reduction).get('keepdims') == 0 and axes and min(axes) > 0:
            graph.nodes.remove(node)
            graph.replace(node.output[0], reduction.output[0])


def _add_beta(graph: Graph, node) -> None:
    # MXNet's export ends a layer normalisation with x - (-beta); as x + beta ONNX Runtime knows the whole for one.
    negated = graph.maker(node.input[1])
    if negated is not None and negated.op_type == 'Neg' and negated.input[0] in graph.weights:
        node.op_type = 'Add'
        node.input[1] = negated.input[0]


def _unfold(graph: Graph, node) -> None:
    """Take out the pair of reshapes around an operator: `node` is the second, which restores the shape of x."""
    shape, inside = graph.maker(node.input[1]), graph.maker(node.input[0])
    if not (shape and inside and shape.op_type == 'Shape' and inside.op_type in ('BatchNormalization', 'MatMul')):
        return
    folds = [graph.maker(name) for name in inside.input[:2]]
    if inside.op_type == 'BatchNormalization' and folds[0] is not None and _folds(graph, folds[0], shape.input[0]):
        inside.input[0] = shape.input[0]
    elif inside.op_type == 'MatMul' and all(fold is not None for fold in folds) \
            and _folds(graph, folds[1], shape.input[0]) and _targets(graph, folds[0]) == [0, 0, 1, 1]:
        # (N, C, 1, 1) times (N, C, 1, THW): every channel times its gate.
        inside.op_type = 'Mul'
        inside.input[:] = [shape.input[0], folds[0].input[0]]
    else:
        return
    graph.nodes.remove(node)
    graph.replace(node.output[0], inside.output[0])


def _folds(graph: Graph, node, name: str) -> bool:
    return node.op_type == 'Reshape' and node.input[0] == name and _targets(graph, node) in ([0, 0, 0, -1],
                                                                                              [0, 0, 1, -1])


def _targets(graph: Graph, node) -> list[int] | None:
    shape = graph.weights.get(node.input[1]) if node.op_type == 'Reshape' else None
    return None if shape is None else shape.tolist()


def fold_batch_norms(graph: Graph) -> None:
    """Multiply batch normalisations into the convolutions before them, where nobody else reads those."""
    for node in [node for node in graph.nodes if node.op_type == 'BatchNormalization']:
        conv = graph.maker(node.input[0])
        if conv is None or conv.op_type != 'Conv' or len(graph.users(node.input[0])) > 1 \
                or node.input[0] in graph.outputs or len(graph.users(conv.input[1])) > 1:
            continue
        gamma, beta, mean, variance = (graph.weights[name].astype('float64') for name in node.input[1:])
        scale = gamma / np.sqrt(variance + attributes(node).get('epsilon', 1e-5))
        weight = graph.weights[conv.input[1]]
        bias = graph.weights[conv.input[2]] if len(conv.input) > 2 else 0
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        conv.input[:] = [conv.input[0], graph.add_weight(folded.astype('float32'), conv.input[1]),
                         graph.add_weight((beta + (bias - mean) * scale).astype('float32'), node.input[2])]
        graph.nodes.remove(node)
        graph.replace(node.output[0], conv.output[0])


def pad_same(graph: Graph, windows: dict[str, tuple[int, ...]]) -> None:
    """Let convolutions and poolings work out SAME padding from the size of their input.

    Parameters
    ----------
    windows : dict of str to tuple of int
        Name of the output of each -> its window; those that cover a whole axis may have been made smaller for it.
    """
    for node in [node for node in graph.nodes if node.output[0] in windows]:
        pad = graph.maker(node.input[0])
        if pad is not None and pad.op_type == 'Pad':
            node.input[0] = pad.input[0]
        settings = {'auto_pad': 'SAME_UPPER', 'kernel_shape': windows[node.output[0]]}
        change(node, drop=('pads', 'ceil_mode'), **settings)


def shrink_window(graph: Graph, name: str, window: tuple[int, int, int]) -> None:
    """Put the mean over all of `window`'s places for an average pooling behind which a mean over places follows.

    A window that is larger than what is left of the clip shrinks to it. The mean over windows is a mean of places
    weighed by how many windows see each: ``min(i + 1, n - i, k, n - k + 1)`` of ``n - k + 1``, axis by axis.

    Parameters
    ----------
    name : str
        Output of the pooling, (N, C, T, H, W); it becomes (N, C, 1, 1, 1).
    """
    from onnx import helper
    pooling = graph.maker(name)
    nodes = []

    def add(operator: str, *inputs: str, **settings) -> str:
        output = f'{name}_{operator.lower()}_{len(nodes)}'
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **settings))
        return output

    def number(*values: int, scalar: bool = False) -> str:
        return graph.add_weight(np.array(values[0] if scalar else values, 'int64'), f'{name}_number')

    zero, one = number(0, scalar=True), number(1, scalar=True)
    shape = add('Shape', pooling.input[0])
    share = None
    for axis, size in enumerate(window):
        length = add('Gather', shape, number(axis + 2, scalar=True))
        shrunk = add('Min', length, number(size, scalar=True))
        places = add('Add', add('Sub', length, shrunk), one)
        index = add('Range', zero, length, one)
        seen = add('Min', add('Add', index, one), add('Sub', length, index), shrunk, places)
        weights = add('Div', add('Cast', seen, to=1), add('Cast', add('Mul', shrunk, places), to=1))
        if axis < 2:
            weights = add('Unsqueeze', weights, number(*range(1, 3 - axis)))
        share = weights if share is None else add('Mul', share, weights)
    weighed = add('Mul', pooling.input[0], share)
    nodes.append(helper.make_node('ReduceSum', [weighed, number(2, 3, 4)], [name], name=name, keepdims=1))
    place = graph.nodes.index(pooling)
    graph.nodes[place:place + 1] = nodes


def name_axes(value, axes: Iterable[str | int]) -> None:
    """State the axes of an input or output: a number for a length that is fixed, else a name."""
    shape = value.type.tensor_type.shape
    shape.ClearField('dim')
    for axis in axes:
        shape.dim.add(**{'dim_param' if isinstance(axis, str) else 'dim_value': axis})


def attributes(node) -> dict:
    """Return the attributes of a node."""
    from onnx import helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def change(node, drop: Iterable[str], **settings) -> None:
    """Take the attributes `drop` away from a node, and set others."""
    from onnx import helper
    kept = [attribute for attribute in node.attribute if attribute.name not in {*drop, *settings}]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in settings.items())])
