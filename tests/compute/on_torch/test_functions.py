"""The table of functions: every operator gives in PyTorch what it gives in MXNet, and its gradients."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from operator_cases import CASES, S, X, arrays_of

from gluon_action.compute.graph import read_graph
from gluon_action.compute.operators import OPERATORS

torch = pytest.importorskip('torch', reason='PyTorch is not installed: make test-torch installs it')

from torch.nn import functional  # noqa: E402

from gluon_action.compute.on_torch.functions import FUNCTIONS, reductions  # noqa: E402
from gluon_action.compute.on_torch.translation import translate  # noqa: E402


def by_mxnet(symbol, arrays, training):
    """Outputs, gradients of their sum with weights, and statistics afterwards."""
    known = {name: mx.nd.array(array) for name, array in arrays.items()}
    names = symbol.list_arguments()
    gradients = {name: mx.nd.zeros(known[name].shape) for name in names}
    states = {name: known[name] for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), {name: known[name] for name in names}, args_grad=gradients, aux_states=states)
    output = executor.forward(is_train=training)[0]
    if training:
        executor.backward(mx.nd.array(weights(output.shape)))
    return [{name: array.asnumpy() for name, array in found.items()} for found in ({'': output}, gradients, states)]


def by_torch(graph, arrays, training):
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    module = translate(graph, {name: name for name in tensors if name != 'x'}, training=training).module(tensors)
    states = {name for name in tensors if name in ('weight3', 'weight4') and 'weight4' in tensors}
    learnt = {name: tensor.requires_grad_() for name, tensor in tensors.items() if name not in states}
    output = module(tensors['x'])
    gradients = {}
    if training and output.requires_grad:
        output.backward(torch.tensor(weights(output.shape)))
        gradients = {name: tensor.grad.numpy() for name, tensor in learnt.items() if tensor.grad is not None}
    return {'': output.detach().numpy()}, gradients, {name: tensors[name].numpy() for name in states}


def weights(shape):
    return np.random.RandomState(1).normal(size=tuple(shape)).astype('float32')


@pytest.mark.parametrize('training', (False, True), ids=['evaluation', 'training'])
@pytest.mark.parametrize('shapes, compute', CASES)
def test_tensors_give_what_mxnet_gives(shapes, compute, training):
    arrays = arrays_of(shapes)
    symbol = compute(*map(mx.sym.var, arrays))
    graph = read_graph(symbol, **dict(zip(arrays, shapes)))
    if training and graph.operators[0].kind == 'Dropout':
        pytest.skip('it is random')
    if training and graph.operators[0].settings.get('act_type') == 'selu':
        pytest.skip("MXNet's gradient of SELU takes its result for its input, and is wrong")
    for theirs, ours in zip(by_mxnet(symbol, arrays, training), by_torch(graph, arrays, training)):
        for name, expected in theirs.items():
            # Where MXNet writes zeros, PyTorch may write nothing.
            got = ours.get(name, np.zeros_like(expected))
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize('compute', [
    lambda x: S.max(x, axis=2), lambda x: S.min(x, axis=(1, 3)), S.max,
    lambda x: S.broadcast_maximum(x, S.reverse(x, axis=1)), lambda x: S.broadcast_minimum(x, S.reverse(x, axis=1)),
    lambda x: S.maximum(x, 1), lambda x: S.minimum(x, 1),
    lambda x: S.clip(x, -1, 1), S.relu, S.abs, lambda x: S.Activation(x, act_type='relu'),
    lambda x: S.LeakyReLU(x, act_type='leaky'), lambda x: S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type='max')])
def test_gradients_where_numbers_are_equal_are_mxnets(compute):
    """Features behind a ReLU are often 0, all of a window, or of the segments of a video."""
    symbol, arrays = compute(mx.sym.var('x')), {'x': np.random.RandomState(0).randint(-2, 3, X).astype('float32')}
    expected, got = (by_mxnet(symbol, arrays, True)[1], by_torch(read_graph(symbol, x=X), arrays, True)[1])
    np.testing.assert_allclose(got['x'], expected['x'], rtol=1e-5)


@pytest.mark.parametrize('shape, window, options', [
    ((2, 5, 9, 8), (3, 3), {'stride': (2, 2), 'padding': (1, 1)}),
    ((2, 5, 9, 8), (2, 3), {'stride': (2, 1), 'ceil_mode': True}),
    ((2, 5, 4, 7, 8), (3, 3, 3), {'stride': (1, 1, 1), 'padding': (1, 1, 1)}),
    ((1, 5, 3, 8, 7), (1, 2, 2), {'stride': (1, 2, 2), 'ceil_mode': True})])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('turned', [False, True])
def test_maxima_on_a_cpu_are_pytorchs_whatever_the_layout(shape, window, options, dtype, turned):
    """Which of several that are equal gets the gradient, too; and what follows has the usual layout."""
    x = torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    x = x.transpose(-1, -2) if turned else x
    plain, ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = {4: functional.max_pool2d, 5: functional.max_pool3d}[x.ndim](plain, window, **options)
    got = FUNCTIONS['Pooling'].function(
        ours, kernel=window, stride=options['stride'], pad=options.get('padding'),
        pooling_convention='full' if options.get('ceil_mode') else 'valid')
    assert torch.equal(got, expected) and got.is_contiguous()
    back = torch.arange(got.numel(), dtype=dtype).reshape(got.shape)
    for result in (expected, got):
        result.backward(back)
    assert torch.equal(ours.grad, plain.grad)
    with torch.inference_mode():
        assert torch.equal(FUNCTIONS['Pooling'].function(x, kernel=window), FUNCTIONS['Pooling'].function(
            x.contiguous(), kernel=window))


def test_maxima_on_a_cpu_are_taken_with_the_channels_last(monkeypatch):
    seen, plain = [], dict(reductions._LARGEST)
    for axes, layout in ((2, torch.channels_last), (3, torch.channels_last_3d)):
        monkeypatch.setitem(reductions._LARGEST, axes, lambda x, *args, axes=axes, layout=layout, **options: (
            seen.append(x.is_contiguous(memory_format=layout)) or plain[axes](x, *args, **options)))
        FUNCTIONS['Pooling'].function(torch.zeros(2, 5, 6, *[7] * (axes - 1)), kernel=(2,) * axes)
    assert seen == [True, True]


def test_maxima_of_frames_whose_channels_lie_last_stay_so():
    x = torch.randint(-2, 3, (2, 5, 9, 8), generator=torch.Generator().manual_seed(0)).float()
    plain, ours = x.clone().requires_grad_(), x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = functional.max_pool2d(plain, 3, stride=2, padding=1)
    got = FUNCTIONS['Pooling'].function(ours, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    assert torch.equal(got, expected) and got.is_contiguous(memory_format=torch.channels_last)
    back = torch.arange(got.numel(), dtype=torch.float32).reshape(got.shape)
    for result in (expected, got):
        result.backward(back.contiguous(memory_format=torch.channels_last))
    assert torch.equal(ours.grad, plain.grad)


def test_every_operator_of_the_table_has_a_function_and_its_module():
    missing = set(OPERATORS) - set(FUNCTIONS)
    assert not missing, 'write functions in gluon_action/compute/on_torch/functions'
    rooms = {kind: row.write.__module__.rsplit('.', 1)[1] for kind, row in OPERATORS.items()}
    ours = {kind: computed.function.__module__.rsplit('.', 1)[1] for kind, computed in FUNCTIONS.items()
            if computed.function.__module__ and computed.function.__module__.startswith('gluon_action')}
    assert {kind: room for kind, room in ours.items() if kind in rooms and rooms[kind] not in (room, 'row')} == {}


@pytest.mark.parametrize('compute, message', [
    (lambda x: S.round(x), 'the operator round'),
    (lambda x: S.Pooling(x, kernel=(2, 2), pool_type='sum'), 'Pooling with pool_type sum'),
    (lambda x: S.Pooling(x, kernel=(2, 2), pool_type='lp', p_value=2), 'Pooling with p_value 2'),
    (lambda x: S.Pooling(x, kernel=(1, 2), stride=(4, 4), pool_type='max', pooling_convention='full'),
     'begin behind the input'),
    (lambda x: S.LeakyReLU(x, S.var('gamma', shape=(4,)), act_type='prelu'), 'LeakyReLU with act_type prelu'),
    (lambda x: S.reshape(x, shape=(-3, 0, 0)), r'Reshape to \(-3, 0, 0\)'),
    (lambda x: S.reshape(x, shape=(0, -1), reverse=True), 'Reshape with reverse True'),
    (lambda x: S.slice(x, begin=(None, None), end=(None, None), step=(1, -1)), 'slice with step'),
    (lambda x: S.dot(x, S.transpose(x)), 'dot of anything but two matrices'),
    (lambda x: S.BatchNorm(x, axis=2), 'BatchNorm with axis 2'),
    (lambda x: S.contrib.arange_like(x), '_contrib_arange_like over all axes'),
    (lambda x: S.contrib.arange_like(x, axis=0, start=1), '_contrib_arange_like with start 1')])
def test_what_has_no_counterpart_is_said(compute, message):
    symbol = compute(mx.sym.var('x'))
    names = set(symbol.list_inputs()) - {'x'}
    with pytest.raises(NotImplementedError, match=message):
        translate(read_graph(symbol, x=X), {name: name for name in names}, training=False)


def test_a_function_that_gives_another_shape_than_mxnet_is_not_taken(monkeypatch):
    monkeypatch.setitem(FUNCTIONS, 'square', replace(FUNCTIONS['square'], function=lambda x: x[:1]))
    with pytest.raises(NotImplementedError, match=r'square \(.*gives \(\(1, 4, 6, 7\),\) here and \(\(2, 4, 6, 7\),\)'):
        translate(read_graph(S.square(S.var('x')), x=X), {}, training=False)
