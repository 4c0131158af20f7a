"""The operators that networks are made of, one row each: as ONNX nodes, what they cost, and what int8 makes of them.

`OPERATORS`, at the end, is the table. An operator that is not in it cannot be exported; a row is all that one takes.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .graph import Graph, Operator

# Larger than any axis: ONNX has no word for "to the end".
_END = 2 ** 63 - 1
# Numbers of ONNX's types, which are asked for without loading it.
_FLOAT, _INT64 = 1, 7


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


def _only(op: Operator, name: str, *values, default=None) -> None:
    """Refuse values of a setting that have no counterpart."""
    value = op.settings.get(name, default)
    if value not in values:
        raise NotImplementedError(f'{op.kind} with {name} {value}')


def _simple(kind: str) -> Callable:
    """One node of the same inputs."""
    def write(op: Operator, to: Nodes) -> None:
        to.add(kind, *op.inputs, output=op.name)
    return write


def _with_number(kind: str, turned: bool = False) -> Callable:
    """One node of the input and a number, or the other way round."""
    def write(op: Operator, to: Nodes) -> None:
        inputs = [op.inputs[0], to.constant(float(op.settings['scalar']))]
        to.add(kind, *(inputs[::-1] if turned else inputs), output=op.name)
    return write


def _identity(op: Operator, to: Nodes) -> None:
    to.same(op.name, op.inputs[0])


def _axes(op: Operator) -> tuple[int, ...] | None:
    axis = op.settings.get('axis')
    return (axis,) if isinstance(axis, int) else axis or None


# Layers with weights, and products.

def _convolution(op: Operator, to: Nodes) -> None:
    _only(op, 'layout', None, 'NCW', 'NCHW', 'NCDHW')
    to.add('Conv', *op.inputs, output=op.name, group=op.settings.get('num_group', 1), **_window(op))


def _window(op: Operator) -> dict:
    settings = {'kernel_shape': op.settings['kernel']}
    if op.settings.get('pad'):
        settings['pads'] = (*op.settings['pad'], *op.settings['pad'])
    if op.settings.get('stride'):
        settings['strides'] = op.settings['stride']
    if op.settings.get('dilate'):
        settings['dilations'] = op.settings['dilate']
    return settings


def _convolution_macs(op: Operator) -> int:
    return math.prod(op.output_shapes[0]) * math.prod(op.input_shapes[1][1:])


def _dense(op: Operator, to: Nodes) -> None:
    x, *weights = op.inputs
    if len(op.input_shapes[0]) == 2:
        to.add('Gemm', x, *weights, output=op.name, transB=1)
    elif op.settings.get('flatten', True):
        to.add('Gemm', to.add('Flatten', x), *weights, output=op.name, transB=1)
    else:
        rows = to.add('Gemm', to.add('Flatten', x, axis=-1), *weights, output=f'{op.name}_gemm', transB=1)
        before = to.add('Slice', to.add('Shape', x), to.constant([0]), to.constant([-1]))
        shape = to.add('Concat', before, to.constant([op.settings['num_hidden']]), axis=0)
        to.add('Reshape', rows, shape, output=op.name)


def _dense_macs(op: Operator) -> int:
    # Every number of the input is multiplied once for each unit, whichever way the matrices lie.
    return math.prod(op.input_shapes[0]) * op.output_shapes[0][-1]


def _product(op: Operator, to: Nodes) -> None:
    _only(op, 'axis', None, -2)
    operands = []
    for name, shape, turned in zip(op.inputs, op.input_shapes, ('transpose_a', 'transpose_b')):
        places = list(range(len(shape)))
        places[-2:] = places[:-3:-1]
        operands.append(to.add('Transpose', name, perm=places) if op.settings.get(turned) else name)
    if op.settings.get('alpha', 1) == 1:
        to.add('MatMul', *operands, output=op.name)
    else:
        product = to.add('MatMul', *operands, output=f'{op.name}_matmul')
        to.add('Mul', product, to.constant(float(op.settings['alpha'])), output=op.name)


def _dot(op: Operator, to: Nodes) -> None:
    if [len(shape) for shape in op.input_shapes] != [2, 2]:
        raise NotImplementedError(f'{op.kind} of anything but two matrices')
    _product(op, to)


def _product_macs(op: Operator) -> int:
    # ONNX's MatMul has no transposed operands.
    return math.prod(op.output_shapes[0]) * op.input_shapes[0][-2 if op.settings.get('transpose_a') else -1]


# Normalisation.

def _batch_norm(op: Operator, to: Nodes) -> None:
    _only(op, 'axis', 1, default=1)
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


# Activations.

def _activation(op: Operator, to: Nodes) -> None:
    kinds = {'relu': 'Relu', 'sigmoid': 'Sigmoid', 'tanh': 'Tanh', 'softrelu': 'Softplus', 'softsign': 'Softsign'}
    _only(op, 'act_type', *kinds)
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
        _only(op, 'act_type', *kinds, default='leaky')
        to.add(kinds[kind], x, output=op.name, alpha=float(op.settings.get('slope', 0.25)))


def _softmax(kind: str) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        _only(op, 'use_length', None, False)
        x = op.inputs[0]
        if op.settings.get('temperature') not in (None, 1):
            x = to.add('Div', x, to.constant(float(op.settings['temperature'])))
        to.add(kind, x, output=op.name, axis=op.settings.get('axis', -1))
    return write


def _clip(op: Operator, to: Nodes) -> None:
    limits = [to.constant(float(op.settings[name])) for name in ('a_min', 'a_max')]
    to.add('Clip', *op.inputs, *limits, output=op.name)


# Pooling and sums.

def _pooling(op: Operator, to: Nodes) -> None:
    kinds = {'max': 'MaxPool', 'avg': 'AveragePool'}
    _only(op, 'layout', None, 'NCW', 'NCHW', 'NCDHW')
    _only(op, 'pool_type', *kinds, default='max')
    pool_type = op.settings.get('pool_type', 'max')
    if op.settings.get('global_pool'):
        to.add(f'Global{kinds[pool_type]}', *op.inputs, output=op.name)
        return
    _only(op, 'pooling_convention', 'valid', 'full', default='valid')
    # MXNet's 'full' keeps a window that begins behind the input, which ONNX Runtime leaves out (microsoft/onnxruntime
    # #16752), and before mid 2026 that counted what lies behind the padding in averages of opset 13 (#16203, #29629).
    # No network of the zoo has either; of others the comparison that follows an export refuses the file.
    settings = {'ceil_mode': int(op.settings.get('pooling_convention') == 'full')}
    if pool_type == 'avg':
        settings['count_include_pad'] = int(op.settings.get('count_include_pad') in (None, True))
    to.add(kinds[pool_type], *op.inputs, output=op.name, **settings, **_window(op))


def _reduction(kind: str) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        axes, ndim, keep = _axes(op), len(op.input_shapes[0]), bool(op.settings.get('keepdims'))
        if op.settings.get('exclude') and axes:
            axes = tuple(set(range(ndim)) - {axis % ndim for axis in axes})
        inputs, settings = list(op.inputs), {'keepdims': int(keep)}
        if axes and kind == 'ReduceSum':  # the only one whose axes opset 13 has as an input
            inputs.append(to.constant(axes))
        elif axes:
            settings['axes'] = axes
        if axes or keep:
            to.add(kind, *inputs, output=op.name, **settings)
        else:  # MXNet has no arrays without axes
            to.add('Reshape', to.add(kind, *inputs, **settings), to.constant([1]), output=op.name)
    return write


# Shapes.

def _reshape(op: Operator, to: Nodes) -> None:
    _only(op, 'reverse', False, default=False)
    if min(op.settings['shape']) < -1:
        raise NotImplementedError(f'{op.kind} to {op.settings["shape"]}: of the codes ONNX has 0 and -1 only')
    to.add('Reshape', op.inputs[0], to.constant(op.settings['shape']), output=op.name)


def _reshape_like(op: Operator, to: Nodes) -> None:
    sides = []
    for name, shape, side in zip(op.inputs, op.input_shapes, ('lhs', 'rhs')):
        begin, end = (op.settings.get(f'{side}_{limit}') for limit in ('begin', 'end'))
        begin, end = begin or 0, len(shape) if end is None else end
        sides.append((name, len(shape), *(place + len(shape) if place < 0 else place for place in (begin, end))))
    (x, ndim, begin, end), (like, others, start, stop) = sides
    if (begin, end, start, stop) == (0, ndim, 0, others):
        to.add('Reshape', x, to.add('Shape', like), output=op.name)
        return
    # The axes of x before and behind those that take the lengths of the other's.
    parts = [(x, 0, begin), (like, start, stop), (x, end, ndim)]
    lengths = [to.add('Slice', to.add('Shape', name), to.constant([first]), to.constant([last]))
               for name, first, last in parts if first < last]
    to.add('Reshape', x, to.add('Concat', *lengths, axis=0), output=op.name)


def _transpose(op: Operator, to: Nodes) -> None:
    axes = op.settings.get('axes') or tuple(range(len(op.input_shapes[0])))[::-1]
    to.add('Transpose', *op.inputs, output=op.name, perm=axes)


def _expand_dims(op: Operator, to: Nodes) -> None:
    to.add('Unsqueeze', *op.inputs, to.constant([op.settings['axis']]), output=op.name)


def _squeeze(op: Operator, to: Nodes) -> None:
    axes = _axes(op)
    to.add('Squeeze', *op.inputs, *([to.constant(axes)] if axes else []), output=op.name)


def _concat(op: Operator, to: Nodes) -> None:
    to.add('Concat', *op.inputs, output=op.name, axis=op.settings.get('dim', 1))


def _split(op: Operator, to: Nodes) -> None:
    axis = op.settings.get('axis', 1)
    if not op.settings.get('squeeze_axis'):
        to.add('Split', *op.inputs, output=op.outputs, axis=axis)
        return
    parts = [f'{name}_part' for name in op.outputs]
    to.add('Split', *op.inputs, output=parts, axis=axis)
    for part, output in zip(parts, op.outputs):
        to.add('Squeeze', part, to.constant([axis]), output=output)


def _stack(op: Operator, to: Nodes) -> None:
    axis = op.settings.get('axis', 0)
    axis %= len(op.output_shapes[0])
    parts = [to.add('Unsqueeze', name, to.constant([axis])) for name in op.inputs]
    to.add('Concat', *parts, output=op.name, axis=axis)


def _slice(op: Operator, to: Nodes) -> None:
    begins, ends, steps = (op.settings.get(name) or () for name in ('begin', 'end', 'step'))
    steps = [step or 1 for step in steps] or [1] * len(begins)
    if min(steps) < 0:
        raise NotImplementedError(f'{op.kind} with step {op.settings["step"]}')
    limits = [[begin or 0 for begin in begins], [_END if end is None else end for end in ends], range(len(begins)),
              steps]
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


def _slice_axis(op: Operator, to: Nodes) -> None:
    end = op.settings.get('end')
    limits = [op.settings['begin']], [_END if end is None else end], [op.settings['axis']]
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


def _broadcast_axis(op: Operator, to: Nodes) -> None:
    # ONNX keeps the length of an axis that is asked to become 1.
    shape = [1] * len(op.input_shapes[0])
    sizes = op.settings['size']
    for axis, size in zip(_axes(op), (sizes,) if isinstance(sizes, int) else sizes):
        shape[axis] = size
    to.add('Expand', *op.inputs, to.constant(shape), output=op.name)


def _broadcast_to(op: Operator, to: Nodes) -> None:
    to.add('Expand', *op.inputs, to.constant([length or 1 for length in op.settings['shape']]), output=op.name)


def _pad(op: Operator, to: Nodes) -> None:
    widths, mode = op.settings['pad_width'], op.settings['mode']
    _only(op, 'mode', 'constant', 'edge', 'reflect')
    value = [to.constant(float(op.settings.get('constant_value', 0)))] if mode == 'constant' else []
    to.add('Pad', *op.inputs, to.constant((*widths[::2], *widths[1::2])), *value, output=op.name, mode=mode)


# Places.

def _numbers_like(op: Operator, to: Nodes) -> None:
    _only(op, 'start', None, 0, 0.0)
    _only(op, 'step', None, 1, 1.0)
    _only(op, 'repeat', None, 1)
    _only(op, 'ctx', None, '')
    axis = op.settings.get('axis')
    if axis is None:
        raise NotImplementedError(f'{op.kind} over all axes')
    axis %= len(op.input_shapes[0])
    length = to.add('Slice', to.add('Shape', *op.inputs), to.constant([axis]), to.constant([axis + 1]))
    numbers = to.add('Range', to.constant(0), to.add('Squeeze', length, to.constant([0])), to.constant(1))
    to.add('Cast', numbers, output=op.name, to=_FLOAT)


def _gather_nd(op: Operator, to: Nodes) -> None:
    data, places = op.inputs
    axes = len(op.input_shapes[1])
    # ONNX has what MXNet has along the first axis of the places along the last one.
    turned = to.add('Transpose', to.add('Cast', places, to=_INT64), perm=[*range(1, axes), 0])
    to.add('GatherND', data, turned, output=op.name)


def _argsort(op: Operator, to: Nodes) -> None:
    _only(op, 'dtype', None, 'float32')
    axis = op.settings.get('axis', -1)
    length = to.add('Slice', to.add('Shape', *op.inputs), to.constant([axis]), to.constant([axis + 1 or _END]))
    values = f'{op.name}_values'
    to.add('TopK', *op.inputs, length, output=[values, f'{op.name}_places'], axis=axis,
           largest=int(not op.settings.get('is_ascend', True)))
    to.add('Cast', f'{op.name}_places', output=op.name, to=_FLOAT)


def _lesser(op: Operator, to: Nodes) -> None:
    to.add('Cast', to.add('Less', *op.inputs), output=op.name, to=_FLOAT)


# Loops.

def _foreach(op: Operator, to: Nodes) -> None:
    data, states, others = (op.settings[name] for name in ('in_data_locs', 'in_state_locs', 'remain_locs'))
    variables, results = list(op.body.variables), op.settings['num_out_data']
    before = len(data) + len(states)
    # Scan has states first, MXNet what comes frame by frame.
    around = {variables[place]: name for place, name in zip(others, op.inputs[before:])}
    body = to.body(op.body, [variables[place] for place in (*states, *data)],
                   [*op.body.outputs[results:], *op.body.outputs[:results]], around)
    to.add('Scan', *op.inputs[len(data):before], *op.inputs[:len(data)], body=body, num_scan_inputs=len(data),
           output=[*op.outputs[results:], *op.outputs[:results]])


def _foreach_macs(op: Operator) -> int:
    step = (OPERATORS[inner.kind].macs(inner) for inner in op.body.operators
            if inner.kind in OPERATORS and OPERATORS[inner.kind].macs)
    return op.input_shapes[0][0] * sum(step)


def _reverse(op: Operator, to: Nodes) -> None:
    axes = _axes(op)
    # From the last to before the first; -1 would be the last itself.
    limits = [-1] * len(axes), [-_END] * len(axes), axes, [-1] * len(axes)
    to.add('Slice', *op.inputs, *map(to.constant, limits), output=op.name)


# Constants.

def _filled_like(value: float) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        to.add('Expand', to.constant(value), to.add('Shape', *op.inputs), output=op.name)
    return write


def _filled(value: float) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        to.same(op.name, to.constant(np.full(op.output_shapes[0], value, np.float32)))
    return write


def _rsqrt(op: Operator, to: Nodes) -> None:
    to.add('Reciprocal', to.add('Sqrt', *op.inputs), output=op.name)


def _square(op: Operator, to: Nodes) -> None:
    to.add('Mul', *op.inputs, *op.inputs, output=op.name)


#: MXNet's name -> what is known of the operator. Only these can be exported.
OPERATORS = {
    'Convolution': Row(_convolution, macs=_convolution_macs, layer='Conv'),
    'FullyConnected': Row(_dense, macs=_dense_macs, layer='Gemm'),
    '_linalg_gemm2': Row(_product, macs=_product_macs, layer='MatMul'),
    'batch_dot': Row(_product, macs=_product_macs, layer='MatMul'),
    'dot': Row(_dot, macs=_product_macs, layer='MatMul'),
    'BatchNorm': Row(_batch_norm),
    'LayerNorm': Row(_layer_norm),
    'Activation': Row(_activation, passing=('Relu',)),
    'relu': Row(_simple('Relu'), passing=('Relu',)),
    'sigmoid': Row(_simple('Sigmoid')),
    'tanh': Row(_simple('Tanh')),
    'LeakyReLU': Row(_leaky),
    'softmax': Row(_softmax('Softmax')),
    'log_softmax': Row(_softmax('LogSoftmax')),
    'clip': Row(_clip, passing=('Clip',)),
    'exp': Row(_simple('Exp')),
    'log': Row(_simple('Log')),
    'sqrt': Row(_simple('Sqrt')),
    'rsqrt': Row(_rsqrt),
    'square': Row(_square),
    'sign': Row(_simple('Sign')),
    'floor': Row(_simple('Floor')),
    'abs': Row(_simple('Abs')),
    'negative': Row(_simple('Neg')),
    'reciprocal': Row(_simple('Reciprocal')),
    'Pooling': Row(_pooling, passing=('MaxPool', 'AveragePool', 'GlobalAveragePool')),
    'mean': Row(_reduction('ReduceMean')),
    'sum': Row(_reduction('ReduceSum')),
    'max': Row(_reduction('ReduceMax')),
    'min': Row(_reduction('ReduceMin')),
    'prod': Row(_reduction('ReduceProd')),
    'elemwise_add': Row(_simple('Add'), passing=('Add',)),
    'elemwise_sub': Row(_simple('Sub')),
    'elemwise_mul': Row(_simple('Mul')),
    'elemwise_div': Row(_simple('Div')),
    'add_n': Row(_simple('Sum')),
    'broadcast_add': Row(_simple('Add'), passing=('Add',)),
    'broadcast_sub': Row(_simple('Sub')),
    'broadcast_mul': Row(_simple('Mul')),
    'broadcast_div': Row(_simple('Div')),
    'broadcast_power': Row(_simple('Pow')),
    'broadcast_lesser': Row(_lesser),
    'broadcast_maximum': Row(_simple('Max')),
    'broadcast_minimum': Row(_simple('Min')),
    '_plus_scalar': Row(_with_number('Add')),
    '_minus_scalar': Row(_with_number('Sub')),
    '_rminus_scalar': Row(_with_number('Sub', turned=True)),
    '_mul_scalar': Row(_with_number('Mul')),
    '_div_scalar': Row(_with_number('Div')),
    '_rdiv_scalar': Row(_with_number('Div', turned=True)),
    '_power_scalar': Row(_with_number('Pow')),
    '_maximum_scalar': Row(_with_number('Max')),
    '_minimum_scalar': Row(_with_number('Min')),
    'Reshape': Row(_reshape),
    'reshape_like': Row(_reshape_like),
    'transpose': Row(_transpose),
    'expand_dims': Row(_expand_dims),
    'squeeze': Row(_squeeze),
    'Flatten': Row(_simple('Flatten')),
    'Concat': Row(_concat, passing=('Concat',)),
    'stack': Row(_stack),
    'SliceChannel': Row(_split),
    'slice': Row(_slice),
    'slice_axis': Row(_slice_axis),
    'reverse': Row(_reverse),
    '_foreach': Row(_foreach, macs=_foreach_macs),
    'broadcast_axis': Row(_broadcast_axis),
    'broadcast_to': Row(_broadcast_to),
    'Pad': Row(_pad),
    '_contrib_arange_like': Row(_numbers_like),
    'gather_nd': Row(_gather_nd),
    'argsort': Row(_argsort),
    'Dropout': Row(_identity),
    '_copy': Row(_identity),
    'BlockGrad': Row(_identity),
    'zeros_like': Row(_filled_like(0.0)),
    'ones_like': Row(_filled_like(1.0)),
    '_zeros': Row(_filled(0.0)),
    '_ones': Row(_filled(1.0)),
}

#: What ONNX calls layers with weights -> their row; products of two activations go by the same names.
LAYERS = {row.layer: row for row in reversed(OPERATORS.values()) if row.layer}
#: What ONNX calls operators that pass 8 bits on.
PASSING = tuple(dict.fromkeys(kind for row in OPERATORS.values() for kind in row.passing))
