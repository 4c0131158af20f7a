import math

import mxnet as mx
import numpy as np
import pytest
from loops import Batches, close, make_loop, make_net, same, weights

from gluon_action.compute.on_mxnet.adam import Adam, AdamW
from gluon_action.compute.optimizers import OPTIMIZERS
from gluon_action.errors import CheckpointError, UsageError

RNG = np.random.default_rng(0)
START = RNG.normal(size=(5, 4))
# One value per step is far below epsilon, where the two ways to add it differ.
GRADIENTS = RNG.normal(size=(7, 5, 4)) * np.geomspace(1e-9, 10, 20).reshape(5, 4)
WD = 0.3
# 7 steps of at most 0.01 in float32, whose 1 - 0.999 is right to 1.3e-5: within 1e-6 of float64.

#: The first row of the weights after 7 steps of torch.optim (PyTorch 2.13, float64) on what is above.
TORCH = {'adam': [0.0573407519589309, -0.06359627698728901, 0.5706231049429805, 0.03706009980959908],
         'adamw': [0.12484672922621513, -0.1402430216376778, 0.6176640013528795, 0.10288109139146617]}


def numpy_adam(start, gradients, lr, wd, *, decoupled, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Algorithm 1 of arXiv:1412.6980 and algorithm 2 of arXiv:1711.05101, in float64."""
    w, mean, square = start.astype(np.float64), 0., 0.
    for step, gradient in enumerate(gradients, 1):
        if decoupled:
            w = w - lr * wd * w
        else:
            gradient = gradient + wd * w
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient ** 2
        w = w - lr * (mean / (1 - beta1 ** step)) / (np.sqrt(square / (1 - beta2 ** step)) + epsilon)
    return w


def ours(name, wd, lr=0.01, scale=1.):
    """The same steps by the class, from gradients that are `scale` times as large."""
    optimizer = OPTIMIZERS[name].make(learning_rate=lr, wd=wd, rescale_grad=1 / scale)
    weight = mx.nd.array(START)
    state = optimizer.create_state(0, weight)
    for gradient in GRADIENTS:
        optimizer.update(0, weight, mx.nd.array(gradient * scale), state)
    return weight.asnumpy()


@pytest.mark.parametrize('name, wd', [('adam', 0), ('adam', WD), ('adamw', 0), ('adamw', WD)])
def test_steps_are_those_of_the_paper(name, wd):
    expected = numpy_adam(START, GRADIENTS, 0.01, wd, decoupled=name == 'adamw')
    assert np.allclose(ours(name, wd), expected, rtol=0, atol=1e-6)
    assert np.allclose(ours(name, wd, scale=64.), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('name, wd', [('adam', WD), ('adamw', WD)])
def test_steps_are_those_of_pytorch(name, wd):
    assert np.allclose(ours(name, wd)[0], TORCH[name], rtol=0, atol=1e-6)


def test_epsilon_may_be_added_before_the_correction_as_in_tensorflow():
    """Section 2 of the paper, its end: with a small gradient it makes a difference."""
    w, mean, square, gradients = START.astype(np.float64), 0., 0., GRADIENTS * 1e-6
    for step, gradient in enumerate(gradients, 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient ** 2
        w = w - 0.01 * np.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step) * mean / (np.sqrt(square) + 1e-8)
    found = {}
    for hat in (False, True):
        optimizer, weight = Adam(learning_rate=0.01, epsilon_hat=hat), mx.nd.array(START)
        state = optimizer.create_state(0, weight)
        for gradient in gradients:
            optimizer.update(0, weight, mx.nd.array(gradient), state)
        found[hat] = weight.asnumpy()
    assert np.allclose(found[True], w, rtol=0, atol=1e-6) and not np.allclose(found[False], w, rtol=0, atol=1e-4)


def test_weights_decay_by_the_rate_whatever_the_gradient():
    weight, optimizer = mx.nd.array([2.]), AdamW(learning_rate=0.5, wd=0.1)
    optimizer.update(0, weight, mx.nd.zeros(1), optimizer.create_state(0, weight))
    assert weight.asscalar() == pytest.approx(2 * (1 - 0.5 * 0.1))


def test_elements_of_the_gradient_are_limited():
    limited, free = Adam(clip_gradient=0.5), Adam()
    weights = [mx.nd.array([1.]), mx.nd.array([1.])]
    states = [limited.create_state(0, weights[0]), free.create_state(0, weights[1])]
    limited.update(0, weights[0], mx.nd.array([7.]), states[0])
    free.update(0, weights[1], mx.nd.array([0.5]), states[1])
    assert [mean.asscalar() for mean in states[0]] == [mean.asscalar() for mean in states[1]]


@pytest.mark.parametrize('name', ['sgd', 'nag', 'adam', 'adamw'])
def test_the_loop_learns_with_it(name):
    params = {'wd': 1e-3, **({'momentum': 0.9} if name in ('sgd', 'nag') else {})}
    loop = make_loop(optimizer=name, optimizer_params=params, schedule=lambda update: 0.02)
    history = loop.fit(Batches(), epochs=4)
    assert history[-1]['loss'] < 0.6 * history[0]['loss']


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_biases_and_norms_are_spared_the_decay(name):
    def moved(**kwargs):
        loop = make_loop(optimizer=name, optimizer_params={'wd': 10.}, **kwargs)
        loop.step(next(Batches().epoch(0)))
        return weights(loop)
    free, spared = moved(), moved(no_wd=True)
    differ = {key.rsplit('.', 1)[1] for key in free if not (free[key] == spared[key]).all()}
    assert differ <= {'gamma', 'beta', 'bias'} and 'gamma' in differ


@pytest.mark.parametrize('name', ['adam', 'adamw'])
@pytest.mark.parametrize('devices', [1, 2])
def test_a_run_that_goes_on_ends_in_the_same_parameters(name, devices, tmp_path):
    from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

    def loop():
        return make_loop(make_net(devices), devices, optimizer=name, optimizer_params={'wd': 0.1})
    whole = loop()
    whole.fit(Batches(), epochs=3)
    first = loop()
    first.fit(Batches(), epochs=1)
    CheckpointDir(tmp_path).save(1, first.state_dict())
    again = loop()
    again.load_state_dict(CheckpointDir(tmp_path).load_latest().state)
    again.fit(Batches(), epochs=3)
    assert same(weights(again), weights(whole))


def test_a_state_of_the_other_kind_is_refused():
    state = make_loop(optimizer='adam', optimizer_params={'wd': 0.}).state_dict()
    with pytest.raises(CheckpointError, match='of Adam, this run uses AdamW'):
        make_loop(optimizer='adamw', optimizer_params={'wd': 0.}).load_state_dict(state)


def test_states_that_a_run_had_go_when_another_is_restored():
    """What a parameter learnt after the state was taken does not stay behind."""
    loop = make_loop(optimizer='adam', optimizer_params={'wd': 0.})
    start = loop.state_dict()
    loop.fit(Batches(), epochs=1)
    once = weights(loop)
    loop.load_state_dict(start)
    assert not loop.learner.trainer._updaters[0].states
    loop.fit(Batches(), epochs=1)
    assert same(weights(loop), once)


# The norm of the gradient.

@pytest.mark.parametrize('devices, accumulate', [(1, 1), (2, 1), (1, 2)])
def test_a_gradient_that_is_too_long_is_scaled_to_the_limit(devices, accumulate):
    """With plain gradient descent a step is rate times gradient, so that its length shows the limit."""
    batches = Batches(count=8)

    def moved(**kwargs):
        loop = make_loop(make_net(devices, dropout=0., frozen=True), devices, optimizer_params={'wd': 0.},
                         schedule=lambda update: 1., accumulate=accumulate, **kwargs)
        before = weights(loop)
        for batch, _ in zip(batches.epoch(0), range(accumulate)):
            loop.step(batch)
        return {key: array - before[key] for key, array in weights(loop).items()}

    def length(step):
        return math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in step.values()))
    free = moved()
    limit = length(free) / 4
    assert length(moved(clip_norm=limit)) == pytest.approx(limit, rel=1e-4)
    assert close({key: array / 4 for key, array in free.items()}, moved(clip_norm=limit))
    assert close(free, moved(clip_norm=length(free) * 1.01), tolerance=1e-6)


def test_a_negative_norm_is_refused():
    with pytest.raises(UsageError, match='--clip-norm must be 0'):
        make_loop(clip_norm=-1.)
