"""YouTube-8M's losses are what its equations say, in double precision and in gradients."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

from gluon_action.compute.losses import PROBABILITY_LOSSES, ProbabilityCrossEntropy
from gluon_action.errors import UsageError


@pytest.fixture
def batch():
    rng = np.random.default_rng(2)
    p, teacher = rng.random((5, 7)), rng.random((5, 7))
    y = (rng.random((5, 7)) < 0.3).astype(float)
    y[2] = 0
    p[0, 0], p[1, 1], y[0, 0], y[1, 1] = 0, 1, 1, 0  # as wrong as can be
    return p, y, teacher


def cross_entropy(p, y):
    return -(y * np.log(p + 1e-5) + (1 - y) * np.log(1 - p + 1e-5)).sum(axis=1)


def hinge(p, y):
    return np.maximum(0, 1 - (2 * y - 1) * p).sum(axis=1)


def softmax(p, y):
    shares = y / np.maximum(y.sum(axis=1, keepdims=True), 1e-7)
    return -(shares * np.log(np.exp(p) / np.exp(p).sum(axis=1, keepdims=True))).sum(axis=1)


EQUATIONS = {'CrossEntropyLoss': cross_entropy, 'HingeLoss': hinge, 'SoftmaxLoss': softmax}


@pytest.mark.parametrize('name', PROBABILITY_LOSSES)
def test_a_loss_and_its_gradient_are_those_of_the_equation(name, batch):
    p, y, _ = batch
    x = nd.array(p)
    x.attach_grad()
    with mx.autograd.record():
        values = PROBABILITY_LOSSES[name]()(nd, x, nd.array(y), dense=True)
    values.backward()
    assert values.shape == (5,) and np.allclose(values.asnumpy(), EQUATIONS[name](p, y), rtol=2e-5)
    inside = (p > 0.01) & (p < 0.99)
    for place in np.argwhere(inside):
        step = np.zeros_like(p)
        step[tuple(place)] = 1e-6
        slope = (EQUATIONS[name](p + step, y) - EQUATIONS[name](p - step, y)).sum() / 2e-6
        assert x.grad.asnumpy()[tuple(place)] == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize('weight', [0., 0.3, 1.])
def test_a_teacher_has_its_weight(weight, batch):
    p, y, teacher = batch
    found = ProbabilityCrossEntropy(teacher_weight=weight)(nd, nd.array(p), nd.array(y), nd.array(teacher))
    assert np.allclose(found.asnumpy(), weight * cross_entropy(p, teacher) + (1 - weight) * cross_entropy(p, y),
                       rtol=2e-5)


def test_without_a_teacher_its_weight_means_nothing(batch):
    p, y, _ = batch
    found = ProbabilityCrossEntropy(teacher_weight=0.9)(nd, nd.array(p), nd.array(y))
    assert np.allclose(found.asnumpy(), cross_entropy(p, y), rtol=2e-5)


@pytest.mark.parametrize('weight', [-0.1, 1.1, float('nan')])
def test_a_weight_that_cannot_be_is_refused(weight):
    with pytest.raises(UsageError, match='--loss_lambda must be in 0..1'):
        ProbabilityCrossEntropy(teacher_weight=weight)
