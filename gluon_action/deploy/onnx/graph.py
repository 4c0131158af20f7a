"""A network's operators as an ONNX graph, rewritten: fewer nodes, and padding that fits inputs of any size."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ...compute.graph import Graph
from ...compute.operators import OPERATORS


class OnnxGraph:
    """ONNX nodes and weights that can be rewritten.

    Parameters
    ----------
    graph : Graph
        The network.
    weights : dict of str to ndarray
        Its variables but for its input.
    around : OnnxGraph, optional
        The graph that this one is the body of a node of.
    same : dict of str to str, optional
        Variables that are values of `around` -> which.

    Raises
    ------
    NotImplementedError
        When an operator, or one with its settings, has no counterpart in ONNX.
    """

    def __init__(self, graph: Graph, weights: dict[str, np.ndarray], around: OnnxGraph | None = None,
                 same: Mapping[str, str] | None = None):
        self.nodes: list = []
        self.weights = dict(weights)
        self._same = dict(same or {})
        # A body may not name a value like one that it could read.
        self._names = set() if around is None else around._names
        self._names |= {*graph.variables, *(name for op in graph.operators for name in (op.name, *op.outputs))}
        #: What made-up names begin with.
        self.stem = ''
        for op in graph.operators:
            if op.kind not in OPERATORS:
                raise NotImplementedError(f'operator {op.kind} (of {op.name}), of which there is no row in '
                                          'gluon_action/compute/operators')
            self.stem = op.name
            OPERATORS[op.kind].write(op, self)
        # Name -> shape; as they are for the input that was traced.
        self.outputs = {self._same.get(name, name): shape for name, shape in zip(graph.outputs, graph.output_shapes)}

    def add(self, kind: str, *inputs: str, output: str | Sequence[str] = '', **settings) -> str:
        """Add a node and return the name of its output, which is made up where none is given."""
        from onnx import helper
        outputs = [output or self._new_name(kind.lower())] if isinstance(output, str) else list(output)
        names = [self._same.get(name, name) for name in inputs]
        self.nodes.append(helper.make_node(kind, names, outputs, name=outputs[0], **settings))
        return outputs[0]

    def constant(self, value: float | Sequence[int] | np.ndarray, stem: str = '') -> str:
        """Add a constant and return its name; Python's whole numbers become int64, others float32."""
        if not isinstance(value, np.ndarray):
            value = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        name = self._new_name('constant', stem)
        self.weights[name] = value
        return name

    def same(self, output: str, input: str) -> None:
        """Let `output` be another name of `input`."""
        self._same[output] = self._same.get(input, input)

    def body(self, graph: Graph, inputs: Sequence[str], outputs: Sequence[str], around: Mapping[str, str]):
        """Return a graph that a node runs, as an attribute of that node.

        `inputs` and `outputs` are values of `graph`; `around` says which of its other variables are which values here.
        """
        from onnx import TensorProto, helper, numpy_helper
        inner = OnnxGraph(graph, {}, self, {name: self._same.get(value, value) for name, value in around.items()})
        results = [inner.add('Identity', name) for name in outputs]  # may not be inputs, nor the same twice
        shapes = {name: shape for op in graph.operators for name, shape in zip(op.outputs, op.output_shapes)}
        shapes |= graph.variables
        given, told = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shapes[value]))
                        for name, value in names] for names in (zip(inputs, inputs), zip(results, outputs)))
        weights = [numpy_helper.from_array(array, name) for name, array in inner.weights.items()]
        return helper.make_graph(inner.nodes, f'{self.stem}_step', given, told, weights)

    def _new_name(self, ending: str, stem: str = '') -> str:
        name = start = f'{stem or self.stem}_{ending}'
        number = 0
        while name in self._names:
            number += 1
            name = f'{start}_{number}'
        self._names.add(name)
        return name

    def maker(self, name: str):
        """Return the node that computes `name`; None for inputs and weights."""
        return next((node for node in self.nodes if name in node.output), None)

    def users(self, name: str) -> list:
        """Return the nodes that read `name`."""
        return [node for node in self.nodes if any(name in part.input for part in _parts(node))]

    def replace(self, old: str, new: str) -> None:
        """Let the nodes that read `old` read `new`, which is the same."""
        if old in self.outputs:
            # The output keeps its name: what computes `new` computes it under that name.
            old, new = new, old
            for node in self.nodes:
                if node.output[:1] == [old]:
                    node.output[0] = new
        for part in (part for node in self.nodes for part in _parts(node)):
            for place, name in enumerate(part.input):
                if name == old:
                    part.input[place] = new

    def name_output(self, name: str) -> None:
        """Give the first output another name."""
        old = next(iter(self.outputs))
        self.outputs = {name if known == old else known: shape for known, shape in self.outputs.items()}
        for part in (part for node in self.nodes for part in _parts(node)):
            for names in (part.input, part.output):
                for place in [place for place, known in enumerate(names) if known == old]:
                    names[place] = name

    def add_output(self, operator: str, name: str, **settings) -> None:
        """Add an output that `operator` computes of the first one, and that is of its shape."""
        first, shape = next(iter(self.outputs.items()))
        self.add(operator, first, output=name, **settings)
        self.outputs[name] = shape

    def prune(self) -> set[str]:
        """Remove unused nodes, and return the names that are still read."""
        needed, nodes = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                nodes.append(node)
                needed.update(name for part in _parts(node) for name in part.input)
        self.nodes = nodes[::-1]
        return needed

    def model(self, name: str, inputs: dict[str, Sequence[int]], **about):
        """Return the model.

        Parameters
        ----------
        name : str
            Of its graph.
        inputs : dict of str to sequence of int
            Names and shapes, float32 as the outputs are.
        **about
            As `onnx.helper.make_model` takes it.
        """
        from onnx import TensorProto, helper, numpy_helper
        needed = self.prune()
        given, results = ([helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)
                           for value, shape in values.items()] for values in (inputs, self.outputs))
        weights = [numpy_helper.from_array(array, value) for value, array in self.weights.items() if value in needed]
        return helper.make_model(helper.make_graph(self.nodes, name, given, results, weights), **about)


def _parts(node) -> Iterator:
    """Yield a node and those of the graphs that it runs, which read values around them."""
    yield node
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _parts(inner)


def simplify(graph: OnnxGraph) -> None:
    """Take out the reshapes that only MXNet needs around batch normalisations and gates."""
    for node in [node for node in graph.nodes if node.op_type == 'Reshape']:
        _unfold(graph, node)
    graph.prune()


def _unfold(graph: OnnxGraph, node) -> None:
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


def _folds(graph: OnnxGraph, node, name: str) -> bool:
    return node.op_type == 'Reshape' and node.input[0] == name and _targets(graph, node) in ([0, 0, 0, -1],
                                                                                              [0, 0, 1, -1])


def _targets(graph: OnnxGraph, node) -> list[int] | None:
    shape = graph.weights.get(node.input[1]) if node.op_type == 'Reshape' else None
    return None if shape is None else shape.tolist()


def fold_batch_norms(graph: OnnxGraph) -> None:
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
        conv.input[:] = [conv.input[0], graph.constant(folded.astype('float32'), conv.input[1]),
                         graph.constant((beta + (bias - mean) * scale).astype('float32'), node.input[2])]
        graph.nodes.remove(node)
        graph.replace(node.output[0], conv.output[0])


def pad_same(graph: OnnxGraph, windows: dict[str, tuple[int, ...]]) -> None:
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


def shrink_window(graph: OnnxGraph, name: str, window: tuple[int, int, int]) -> None:
    """Put the mean over all of `window`'s places for an average pooling behind which a mean over places follows.

    A window that is larger than what is left of the clip shrinks to it. The mean over windows is a mean of places
    weighed by how many windows see each: ``min(i + 1, n - i, k, n - k + 1)`` of ``n - k + 1``, axis by axis.

    Parameters
    ----------
    name : str
        Output of the pooling, (N, C, T, H, W); it becomes (N, C, 1, 1, 1).
    """
    pooling, add, number = graph.maker(name), graph.add, graph.constant
    others, graph.nodes, graph.stem = graph.nodes, [], name
    shape = add('Shape', pooling.input[0])
    zero, one, share = number(0), number(1), None
    for axis, size in enumerate(window):
        length = add('Gather', shape, number(axis + 2))
        shrunk = add('Min', length, number(size))
        places = add('Add', add('Sub', length, shrunk), one)
        index = add('Range', zero, length, one)
        seen = add('Min', add('Add', index, one), add('Sub', length, index), shrunk, places)
        weights = add('Div', add('Cast', seen, to=1), add('Cast', add('Mul', shrunk, places), to=1))
        if axis < 2:
            weights = add('Unsqueeze', weights, number(range(1, 3 - axis)))
        share = weights if share is None else add('Mul', share, weights)
    add('ReduceSum', add('Mul', pooling.input[0], share), number([2, 3, 4]), output=name, keepdims=1)
    place = others.index(pooling)
    graph.nodes = others[:place] + graph.nodes + others[place + 1:]


def keep_levels(graph: OnnxGraph, levels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Store weights as the numbers of their levels, which the model looks up: a quarter of the bytes.

    Parameters
    ----------
    graph : OnnxGraph
    levels : mapping
        Name of a weight -> numbers of levels uint8, in the weight's shape, and the levels float32. Weights that were
        rewritten are left as they are.
    """
    from onnx import TensorProto, helper
    for name, (quants, space) in levels.items():
        if name not in graph.weights or not np.array_equal(graph.weights[name], space[quants]):
            continue
        del graph.weights[name]
        numbers, table, places = (f'{name}_{part}' for part in ('quants', 'space', 'places'))
        graph.weights |= {numbers: quants, table: space}
        graph.nodes[:0] = [helper.make_node('Cast', [numbers], [places], name=places, to=TensorProto.INT32),
                           helper.make_node('Gather', [table, places], [name], name=name)]


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
