"""The table of operators: every row computes in ONNX what MXNet computes, and the zoo needs no other."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import math

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from operator_cases import CASES, S, X, network_of, running
from small_networks import BODIES

from gluon_action.compute import operators
from gluon_action.compute.graph import Operator, read_graph
from gluon_action.compute.on_mxnet.tracing import trace
from gluon_action.compute.operators import LAYERS, OPERATORS, PASSING
from gluon_action.deploy.onnx.export import IR_VERSION, OPSET
from gluon_action.deploy.onnx.graph import OnnxGraph
from gluon_action.model_zoo import get_model, list_models, model_card, registry


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
    (lambda x: S.BatchNorm(x, output_mean_var=True)[0] * 2, 'BatchNorm with output_mean_var True'),
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
