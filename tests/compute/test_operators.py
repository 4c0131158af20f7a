"""The table of operators: every row computes in ONNX what MXNet computes, and the zoo needs no other."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import math
import re

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest

from gluon_action.compute import operators
from gluon_action.compute.graph import Operator, read_graph
from gluon_action.compute.on_mxnet.tracing import trace
from gluon_action.compute.operators import LAYERS, OPERATORS, PASSING
from gluon_action.deploy.onnx.export import IR_VERSION, OPSET
from gluon_action.deploy.onnx.graph import OnnxGraph
from gluon_action.model_zoo import get_model, list_models, model_card, registry

S = mx.sym
X = (2, 4, 6, 7)



def running(x, weight, start):
    """A recurrent layer, its last state, and a weight that is read in the loop and behind it."""
    first = S.broadcast_add(S.zeros_like(S.squeeze(S.slice_axis(x, axis=0, begin=0, end=1), axis=0)), start)

    turned = S.transpose(weight)  # nobody else reads it

    def step(frame, states):
        new = S.tanh(frame + S.dot(states[0], turned) * 0.5)
        return new, [new]
    outputs, ends = S.contrib.foreach(step, x, [first])
    return S.broadcast_add(outputs, S.expand_dims(S.dot(ends[0], weight), axis=0))


def summing(x, weights):
    """A loop of two inputs and two states, one of which it gives back as it came in."""
    def step(frame, states):
        (x, weight), (total, same) = frame, states
        return total, [total + S.broadcast_mul(x, weight), same * 1]
    start = S.squeeze(S.slice_axis(x, axis=0, begin=0, end=1), axis=0)
    outputs, ends = S.contrib.foreach(step, [x, weights], [start * 2, start * 3])
    return S.broadcast_add(outputs, S.expand_dims(ends[0] - ends[1], axis=0))


# Shapes of what goes in -> what is computed of it; the first is the input, the others are weights.
CASES = [
    ([X, (4, 2, 3, 3), (4,)], lambda x, w, b: S.Convolution(x, w, b, kernel=(3, 3), num_filter=4, num_group=2,
                                                            stride=(2, 1), pad=(1, 0), dilate=(1, 2))),
    ([(1, 2, 4, 5, 6), (3, 2, 1, 2, 3)],
     lambda x, w: S.Convolution(x, w, kernel=(1, 2, 3), num_filter=3, no_bias=True)),
    ([X, (5, 168), (5,)], lambda x, w, b: S.FullyConnected(x, w, b, num_hidden=5)),
    ([X, (5, 7)], lambda x, w: S.FullyConnected(x, w, num_hidden=5, flatten=False, no_bias=True)),
    ([(3, 7), (5, 7), (5,)], lambda x, w, b: S.FullyConnected(x, w, b, num_hidden=5, flatten=False)),
    ([X], lambda x: S.linalg_gemm2(x, x, transpose_b=True, alpha=0.3)),
    ([X], lambda x: S.linalg_gemm2(x, x, transpose_a=True)),
    ([(2, 3, 4)], lambda x: S.batch_dot(x, x, transpose_a=True)),
    ([(2, 3, 4)], lambda x: S.batch_dot(x, x, transpose_b=True)),
    ([(3, 4)], lambda x: S.dot(x, x, transpose_b=True)),
    ([X, (4,), (4,), (4,), (4,)], lambda x, g, b, m, v: S.BatchNorm(x, g, b, m, v, fix_gamma=False)),
    ([X, (4,), (4,), (4,), (4,)], lambda x, g, b, m, v: S.BatchNorm(x, g, b, m, v, eps=0.1)),
    ([X, (7,), (7,)], lambda x, g, b: S.LayerNorm(x, g, b, eps=0.1)),
    ([X, (4,), (4,)], lambda x, g, b: S.LayerNorm(x, g, b, axis=1)),
    *[([X], lambda x, kind=kind: S.Activation(x, act_type=kind))
      for kind in ('relu', 'sigmoid', 'tanh', 'softrelu', 'softsign')],
    *[([X], lambda x, kind=kind: S.LeakyReLU(x, act_type=kind, slope=0.2))
      for kind in ('leaky', 'elu', 'selu', 'gelu')],
    ([X], S.relu), ([X], S.sigmoid), ([X], S.tanh), ([X], S.exp), ([X], S.square), ([X], S.abs), ([X], S.negative),
    ([X], lambda x: S.log(S.abs(x) + 1)), ([X], lambda x: S.sqrt(S.abs(x) + 1)), ([X], lambda x: S.rsqrt(S.abs(x) + 1)),
    ([X], lambda x: S.reciprocal(S.abs(x) + 1)), ([X], lambda x: S.clip(x, -0.5, 0.25)),
    ([X], S.softmax), ([X], lambda x: S.softmax(x, axis=1, temperature=2)), ([X], lambda x: S.log_softmax(x, axis=2)),
    ([X], lambda x: S.Pooling(x, kernel=(3, 2), stride=(2, 2), pad=(1, 0), pool_type='max')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 2), stride=(2, 2), pool_type='max', pooling_convention='full')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type='avg')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type='avg', count_include_pad=False)),
    ([X], lambda x: S.Pooling(x, global_pool=True, pool_type='avg')),
    ([X], lambda x: S.Pooling(x, global_pool=True, pool_type='max')),
    ([X], lambda x: S.mean(x, axis=(1, -1))), ([X], lambda x: S.mean(x, axis=2, keepdims=True)), ([X], S.mean),
    ([X], lambda x: S.mean(x, axis=(0, 1), exclude=True)), ([X], lambda x: S.mean(x, keepdims=True)),
    ([X], lambda x: S.sum(x, axis=(1, -1))), ([X], S.sum), ([X], lambda x: S.sum(x, axis=1, keepdims=True)),
    ([X], lambda x: S.max(x, axis=1)), ([X], lambda x: S.min(x, axis=1)), ([X], lambda x: S.prod(x, axis=3)),
    ([X, X], lambda x, y: x + y), ([X, X], lambda x, y: x - y), ([X, X], lambda x, y: x * y),
    ([X, X], lambda x, y: x / (S.abs(y) + 1)), ([X, X], lambda x, y: S.add_n(x, y, x)),
    ([X, (4, 1, 1)], lambda x, y: S.broadcast_add(x, S.expand_dims(y, axis=0))),
    ([X, (1, 4, 1, 1)], S.broadcast_sub), ([X, (1, 4, 1, 1)], S.broadcast_mul),
    ([X, (1, 4, 1, 1)], lambda x, y: S.broadcast_div(x, S.abs(y) + 1)),
    ([X, (1, 4, 1, 1)], lambda x, y: S.broadcast_power(S.abs(x) + 1, y)),
    ([X, (1, 4, 1, 1)], S.broadcast_maximum), ([X, (1, 4, 1, 1)], S.broadcast_minimum),
    ([X], lambda x: 3 - x - 0.25), ([X], lambda x: 3 / (S.abs(x) + 1) / 4), ([X], lambda x: 3 * x),
    ([X], lambda x: (S.abs(x) + 1) ** 1.5), ([X], lambda x: S.maximum(x, 0.1)), ([X], lambda x: S.minimum(x, 0.1)),
    ([X], lambda x: S.reshape(x, shape=(0, -1, 14))), ([X], lambda x: S.reshape(x, shape=(-1, 4, 0, 1, 7))),
    ([X, (2, 4, 42)], S.reshape_like),
    ([(2, 4, 42), X], lambda x, y: S.reshape_like(x, y, lhs_begin=2, lhs_end=None, rhs_begin=2, rhs_end=None)),
    ([X, (42, 9)], lambda x, y: S.reshape_like(x, y, lhs_begin=2, lhs_end=4, rhs_begin=0, rhs_end=1)),
    ([X, (3, 8, 2)], lambda x, y: S.reshape_like(x, y, lhs_begin=-4, lhs_end=-2, rhs_begin=1, rhs_end=-1)),
    ([X], lambda x: S.transpose(x, axes=(0, 3, 1, 2))), ([X], S.transpose), ([X], lambda x: S.expand_dims(x, axis=-1)),
    ([(2, 1, 3, 1)], S.squeeze), ([(2, 1, 3, 1)], lambda x: S.squeeze(x, axis=1)), ([X], S.flatten),
    ([X, (2, 4, 6, 7)], lambda x, y: S.concat(x, y, dim=2)), ([X, X], lambda x, y: S.stack(x, y, axis=-1)),
    ([X], lambda x: S.add_n(*S.split(x, num_outputs=2, axis=1))),
    ([X], lambda x: S.split(x, num_outputs=4, axis=1, squeeze_axis=True)[2]),
    ([X], lambda x: S.slice(x, begin=(None, 1, None, -3), end=(None, 3, 5, None))),
    ([X], lambda x: S.slice(x, begin=(0, 0), end=(2, 4), step=(1, 2))),
    ([X], lambda x: S.slice_axis(x, axis=2, begin=1, end=None)),
    ([X], lambda x: S.slice_axis(x, axis=-1, begin=0, end=-2)),
    ([(2, 1, 3)], lambda x: S.broadcast_axis(x, axis=1, size=4)),
    ([(2, 1, 1)], lambda x: S.broadcast_axis(x, axis=(1, 2), size=(4, 3))),
    ([(2, 1, 3)], lambda x: S.broadcast_to(x, shape=(0, 5, 0))),
    ([X], lambda x: S.reverse(x, axis=2)), ([X], lambda x: S.reverse(x, axis=(0, 3))),
    ([(5, 2, 3), (3, 3), (1, 3)], running), ([(5, 2, 3), (5, 2, 1)], summing),
    ([X], lambda x: S.pad(x, mode='constant', constant_value=0.5, pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.pad(x, mode='edge', pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.pad(x, mode='reflect', pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.Dropout(x, p=0.5) * 2), ([X], lambda x: S.identity(x) * 2),
    ([X], lambda x: S.stop_gradient(x) * 2),
    ([X], lambda x: S.zeros_like(x) + x), ([X], lambda x: S.ones_like(x) + x),
    ([X], lambda x: S.broadcast_add(x, S.zeros((1, 4, 1, 1)))),
    ([X], lambda x: S.broadcast_add(x, S.ones((1, 4, 1, 1)))),
    ([X], lambda x: S.sign(S.relu(x))), ([X], lambda x: S.floor(3 * x)),
    ([X, (1, 4, 1, 1)], S.broadcast_lesser),
    ([X], lambda x: S.contrib.arange_like(x, axis=1)), ([X], lambda x: S.contrib.arange_like(x, axis=-1)),
    ([(2, 5), (3, 7, 4)], lambda x, y: S.gather_nd(y, S.relu(S.floor(x)))),
    ([(2, 5, 2), (3, 7)], lambda x, y: S.gather_nd(y, S.relu(S.floor(x)))),
    ([X], S.argsort), ([X], lambda x: S.argsort(x, axis=1, is_ascend=False)),
]


def network_of(shapes, compute):
    """The operators, the arrays by name, and what MXNet computes of them."""
    names = ['x', *(f'weight{number}' for number in range(1, len(shapes)))]
    rng = np.random.RandomState(0)
    arrays = {name: rng.normal(size=shape).astype('float32') for name, shape in zip(names, shapes)}
    if len(shapes) == 5:  # the last is a variance
        arrays['weight4'] = np.abs(arrays['weight4']) + 0.5
    symbol = compute(*map(mx.sym.var, names))
    known = {name: mx.nd.array(array) for name, array in arrays.items()}
    executor = symbol.bind(mx.cpu(), {name: known[name] for name in symbol.list_arguments()},
                           aux_states={name: known[name] for name in symbol.list_auxiliary_states()})
    return read_graph(symbol, **dict(zip(names, shapes))), arrays, executor.forward()[0].asnumpy()


def run_as_onnx(graph, arrays):
    made = OnnxGraph(graph, {name: array for name, array in arrays.items() if name != 'x'})
    model = made.model('one', {'x': arrays['x'].shape}, ir_version=IR_VERSION,
                       opset_imports=[onnx.helper.make_opsetid('', OPSET)])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {'x': arrays['x']})[0]


def kinds_of(shapes, compute):
    return [op.kind for op in read_graph(compute(*(mx.sym.var(f'v{number}') for number in range(len(shapes)))),
                                         **{f'v{number}': shape for number, shape in enumerate(shapes)}).operators]


@pytest.mark.parametrize('shapes, compute', CASES)
def test_onnx_computes_what_mxnet_does(shapes, compute):
    graph, arrays, expected = network_of(shapes, compute)
    got = run_as_onnx(graph, arrays)
    assert got.shape == expected.shape == graph.output_shapes[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_every_row_is_tried():
    assert {kind for case in CASES for kind in kinds_of(*case)} >= set(OPERATORS)


@pytest.mark.parametrize('compute, message', [
    (lambda x: S.round(x), 'operator round'),
    (lambda x: S.Pooling(x, kernel=(2, 2), pool_type='sum'), 'Pooling with pool_type sum'),
    (lambda x: S.Pooling(x, kernel=(2, 2), pool_type='lp', p_value=2), 'Pooling with pool_type lp'),
    (lambda x: S.LeakyReLU(x, act_type='rrelu'), 'outputs like leakyrelu0_mask'),
    (lambda x: S.LayerNorm(x, output_mean_var=True, name='norm')[0] * 2, 'outputs like norm_mean'),
    (lambda x: S.reshape(x, shape=(-3, 0, 0)), r'Reshape to \(-3, 0, 0\)'),
    (lambda x: S.reshape(x, shape=(0, -1), reverse=True), 'Reshape with reverse True'),
    (lambda x: S.slice(x, begin=(None, None), end=(None, None), step=(1, -1)), 'slice with step'),
    (lambda x: S.dot(x, S.transpose(x)), 'dot of anything but two matrices'),
    (lambda x: S.BatchNorm(x, axis=2), 'BatchNorm with axis 2'),
    (lambda x: S.contrib.arange_like(x), '_contrib_arange_like over all axes'),
    (lambda x: S.contrib.arange_like(x, axis=0, start=1), '_contrib_arange_like with start 1')])
def test_what_onnx_lacks_is_said(compute, message):
    with mx.name.NameManager():  # numbers names from 0
        symbol = compute(mx.sym.var('x'))
    with pytest.raises(NotImplementedError, match=message):
        OnnxGraph(read_graph(symbol, x=X), {})


def operator(kind, inputs, output, **settings):
    return Operator(kind, kind, settings, tuple('abc'[:len(inputs)]), ('y',), tuple(inputs), (output,))


def test_multiply_accumulates_are_counted_by_hand():
    def count(kind, *args, **settings):
        return OPERATORS[kind].macs(operator(kind, *args, **settings))
    assert count('Convolution', [(7, 4, 2, 3), (6, 2, 3, 3)], (7, 6, 2, 3)) == 7 * 6 * 2 * 3 * 2 * 9
    assert count('FullyConnected', [(2, 3, 4), (5, 12)], (2, 5)) == 2 * 12 * 5
    assert count('FullyConnected', [(2, 3, 4), (5, 4)], (2, 3, 5), flatten=False) == 2 * 3 * 4 * 5
    assert count('_linalg_gemm2', [(2, 3, 4), (2, 4, 5)], (2, 3, 5)) == 2 * 3 * 4 * 5
    assert count('batch_dot', [(2, 4, 3), (2, 4, 5)], (2, 3, 5), transpose_a=True) == 2 * 3 * 4 * 5
    loop = read_graph(running(*map(mx.sym.var, 'xws')), x=(7, 2, 3), w=(3, 3), s=(1, 3))
    assert sum(OPERATORS[op.kind].macs(op) for op in loop.operators if op.kind == '_foreach') == 7 * 2 * 3 * 3
    assert LAYERS['Gemm'].macs(operator('Gemm', [(2, 4), (4, 5)], (2, 5))) == 2 * 4 * 5
    assert LAYERS['Gemm'].macs(operator('Gemm', [(4, 2), (5, 4)], (2, 5))) == 2 * 4 * 5  # both turned


def test_int8_knows_layers_and_what_passes_eight_bits():
    assert set(LAYERS) == {'Conv', 'Gemm', 'MatMul'}
    assert set(PASSING) == {'Relu', 'Clip', 'MaxPool', 'AveragePool', 'GlobalAveragePool', 'Concat', 'Add'}


# The smallest of each kind: the others differ in depth, strides and the number of their classes.
BODIES = {re.sub(r'(resnet|nl|slowfast_|slowonly_)\d+(x\d+)?', r'\1', name.rsplit('_', 1)[0]): name
          for name in reversed(list_models())}
OPTIONS = [('resnet18_v1b_custom', {'num_segments': 3, 'consensus': 'max'}),
           ('resnet18_v1b_custom', {'num_segments': 3, 'num_crop': 2, 'consensus': 'weighted'}),
           ('resnet18_v1b_custom', {'use_gn': True}), ('vgg16_ucf101', {'batch_norm': True})]


@pytest.fixture
def without_weights(monkeypatch):
    """Networks whose parameters hold nothing: a symbol needs none, and filling them takes most of the time."""
    monkeypatch.setattr(registry, 'initialize_rest', lambda net, devices: None)


def assert_all_have_rows(name, **options):
    card = model_card(name)
    net = get_model(name, nclass=5, pretrained_base=False, **options)
    rows = options.get('num_segments', 1) * options.get('num_crop', 1)
    missing = {op.kind for op in trace(net, card.input_shape(rows)).operators} - set(OPERATORS)
    assert not missing, f'add rows to {operators.__name__}'


@pytest.mark.parametrize('name', BODIES.values())
def test_every_operator_of_the_zoo_has_a_row(without_weights, name):
    assert_all_have_rows(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(list_models()) - set(BODIES.values())))
def test_every_operator_of_the_zoo_under_all_names_has_a_row(without_weights, name):
    assert_all_have_rows(name)


@pytest.mark.parametrize('name, options', OPTIONS, ids=['max', 'weighted', 'group norm', 'batch norm'])
def test_operators_of_options_have_rows(without_weights, name, options):
    assert_all_have_rows(name, **options)


def test_a_layer_that_is_called_twice_is_two_operators():
    x, weight = mx.sym.var('x'), mx.sym.var('w')
    once = mx.sym.FullyConnected(x, weight, num_hidden=4, no_bias=True, flatten=False, name='fc')
    twice = mx.sym.FullyConnected(mx.sym.reshape(once, shape=(0, 2, 4)), weight, num_hidden=4, no_bias=True,
                                  flatten=False, name='fc')
    graph = read_graph(twice, x=(3, 2, 4))
    first, _, second = graph.operators
    assert first.name != second.name and graph.outputs == second.outputs
    assert (first.output_shapes, second.output_shapes) == (((3, 2, 4),), ((3, 2, 4),))
    assert graph.variables == {'x': (3, 2, 4), 'w': (4, 4)}


def test_settings_are_python_values():
    graph = read_graph(mx.sym.Pooling(mx.sym.var('x'), kernel=(2, 3), pool_type='avg', count_include_pad=False),
                       x=(1, 1, 4, 6))
    settings = graph.operators[0].settings
    assert settings['kernel'] == (2, 3) and settings['pool_type'] == 'avg' and settings['count_include_pad'] is False
    assert math.prod(graph.operators[0].output_shapes[0]) == 3 * 4


def test_a_value_that_only_a_loop_reads_is_read():
    graph, arrays, _ = network_of([(5, 2, 3), (3, 3), (1, 3)], running)
    made = OnnxGraph(graph, {name: array for name, array in arrays.items() if name != 'x'})
    turned = next(node.output[0] for node in made.nodes if node.op_type == 'Transpose')
    assert [node.op_type for node in made.users(turned)] == ['Scan']
    made.replace(turned, 'weight1')
    assert not made.users(turned) and 'Scan' in [node.op_type for node in made.users('weight1')]
