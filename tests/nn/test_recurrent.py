"""Recurrent layers: TensorFlow's cells and dynamic_rnn, from their equations in float64, forwards and backwards."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
import reference_recurrent
from mxnet import autograd
from reference_recurrent import dynamic_rnn

from gluon_action.nn import GRU, LSTM

IN, UNITS, FRAMES = 5, 3, 11
LENGTHS = (11, 7, 1, 0)


def layer_of(kind, backward):
    mx.random.seed(3)
    layer = kind(IN, UNITS, backward=backward)
    layer.initialize(mx.init.Normal(1))
    for parameter in layer.collect_params().values():
        parameter.set_data(mx.nd.random.normal(shape=parameter.shape))
    return layer


def weights_of(kind, layer):
    return {f'{CELLS[kind]}.{name}': value.data().asnumpy().astype(float)
            for name, value in layer._collect_params_with_prefix().items()}


def batch():
    rng = np.random.RandomState(1)
    x, mask = rng.normal(size=(FRAMES, len(LENGTHS), IN)), np.zeros((FRAMES, len(LENGTHS), 1))
    for row, length in enumerate(LENGTHS):
        mask[:length, row] = 1  # what lies behind the last frame is no 0 here, and must not count
    return x.astype('float32'), mask.astype('float32')


CELLS = {LSTM: 'basic_lstm_cell', GRU: 'gru_cell'}
KINDS = [(LSTM, reference_recurrent.LSTM), (GRU, reference_recurrent.GRU)]


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('backward', [False, True])
@pytest.mark.parametrize('kind, cell', KINDS)
def test_cells_are_tensorflows(kind, cell, backward, hybrid):
    layer, (x, mask) = layer_of(kind, backward), batch()
    if hybrid:
        layer.hybridize()
    outputs, *ends = (value.asnumpy() for value in layer(mx.nd.array(x), mx.nd.array(mask)))
    weights = weights_of(kind, layer)
    for row, (want, *states) in enumerate(dynamic_rnn(weights, cell, '', x.swapaxes(0, 1), LENGTHS, backward)):
        np.testing.assert_allclose(outputs[:LENGTHS[row], row], want, atol=1e-5)
        assert not outputs[LENGTHS[row]:, row].any()
        for got, state in zip(ends, states):
            np.testing.assert_allclose(got[row], state, atol=1e-5)


@pytest.mark.parametrize('kind, cell', KINDS)
def test_gradients_are_differences(kind, cell):
    layer, (x, mask) = layer_of(kind, True), batch()
    layer.hybridize()
    with autograd.record():
        loss = layer(mx.nd.array(x), mx.nd.array(mask))[0].square().sum()
    loss.backward()
    parameters, weights = layer._collect_params_with_prefix(), weights_of(kind, layer)

    def computed():
        done = dynamic_rnn(weights, cell, '', x.swapaxes(0, 1), LENGTHS, True)
        return sum((outputs ** 2).sum() for outputs, *_ in done)
    for name, values in weights.items():
        place = tuple(np.random.RandomState(0).randint(values.shape))
        values[place] += 1e-5
        more = computed()
        values[place] -= 2e-5
        slope = (more - computed()) / 2e-5
        values[place] += 1e-5
        gradient = parameters[name.removeprefix(f'{CELLS[kind]}.')].grad().asnumpy()
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize('kind, cell', KINDS)
def test_a_compiled_layer_takes_batches_of_any_size_and_new_weights(kind, cell):
    layer, (x, mask) = layer_of(kind, False), batch()
    layer.hybridize()
    whole = layer(mx.nd.array(x), mx.nd.array(mask))[0].asnumpy()
    part = layer(mx.nd.array(x[:7, 1:3]), mx.nd.array(mask[:7, 1:3]))[0].asnumpy()
    np.testing.assert_allclose(part, whole[:7, 1:3], atol=1e-6)
    for parameter in layer.collect_params().values():
        parameter.set_data(parameter.data() * 0)
    assert not layer(mx.nd.array(x), mx.nd.array(mask))[0].asnumpy().any()


def test_gates_of_a_gru_start_open():
    layer = GRU(IN, UNITS)
    layer.initialize()
    start = {name: value.data().asnumpy() for name, value in layer._collect_params_with_prefix().items()}
    assert (start['gates.bias'] == 1).all() and not start['candidate.bias'].any()
    limit = np.sqrt(6 / (IN + UNITS + 2 * UNITS))
    assert 0.5 * limit < np.abs(start['gates.kernel']).max() <= limit
