"""Networks of features in NumPy's float64, written from the equations, and what compares ours with them."""
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import autograd

from gluon_action.model_zoo.frame_features import build

#: Lengths of videos that go awry: one frame, few, all.
LENGTHS = (1, 7, 300)


class Reference:
    """The parts of the originals' networks, for parameters by key and a mode; keeps running statistics."""

    def __init__(self, arrays, training):
        self.arrays = {key: array.astype(np.float64) for key, array in arrays.items()}
        self.training = training
        self.kept = {}

    def __getitem__(self, key):
        return self.arrays[key]

    def bn(self, name, x, unbiased=True, decay=0.999):
        """slim.batch_norm over all axes but the last."""
        mean, variance = self[f'{name}.running_mean'], self[f'{name}.running_var']
        if self.training:
            rows = x.reshape(-1, x.shape[-1])
            now, spread = rows.mean(0), rows.var(0)
            n = len(rows)
            self.kept[f'{name}.running_mean'] = decay * mean + (1 - decay) * now
            self.kept[f'{name}.running_var'] = decay * variance + (1 - decay) * spread * (
                n / (n - 1) if unbiased and n > 1 else 1)
            mean, variance = now, spread
        return (x - mean) / np.sqrt(variance + 1e-3) * self[f'{name}.gamma'] + self[f'{name}.beta']

    def logistic(self, x):
        return sigmoid(x @ self['fully_connected.weights'] + self['fully_connected.biases'])

    def moe(self, x, architecture):
        a, k = architecture, architecture.num_classes
        gates = x @ self['gates.weights'] if a.moe_low_rank_gating == -1 else \
            x @ self['gates1.weights'] @ self['gates2.weights']
        experts = x @ self['experts.weights'] + self['experts.biases']
        shares = softmax(gates.reshape(len(x), k, -1))
        p = (shares[..., :-1] * sigmoid(experts.reshape(len(x), k, -1))).sum(-1)
        if a.moe_prob_gating:
            w = self['gating_prob_weights']
            gates = p @ w if a.moe_prob_gating_input == 'prob' else x @ w
            if a.gating_remove_diag:
                gates = gates - np.diag(w) * p
            p = p * sigmoid(self.bn('gating_prob_bn', gates))
        return p

    def classify(self, x, architecture):
        return self.logistic(x) if architecture.video_level_classifier_model == 'LogisticModel' else \
            self.moe(x, architecture)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def unit(x, axis=-1):
    return x / np.sqrt(np.maximum((x ** 2).sum(axis, keepdims=True), 1e-12))


def relu6(x):
    return np.clip(x, 0, 6)


def listed_variables(name):
    """Names and shapes of a published network's variables."""
    lines = (Path(__file__).parents[1] / f'model_zoo/frame_features/variables/{name}.txt').read_text().split('\n')
    return {name: tuple(map(int, shape.split('x'))) for name, shape in map(str.split, filter(None, lines))}


def videos(architecture, lengths=LENGTHS, seed=0):
    """Features (N, T, D) of videos of these lengths, as they are read: of 8 bits, zeros behind the last frame."""
    rng = np.random.default_rng(seed)
    x = np.zeros((len(lengths), architecture.length, architecture.width))
    for row, length in zip(x, lengths):
        row[:length] = rng.integers(0, 256, (length, architecture.width)) * 4 / 255 + 4 / 512 - 2
    return x.astype(np.float32)


def network(architecture, seed=0):
    """A network whose parameters and statistics are drawn, so that each has its effect; and its arrays by key."""
    net, rng = build(architecture), np.random.default_rng(seed)
    for key, parameter in sorted(net._collect_params_with_prefix().items()):
        shape = parameter.shape
        value = rng.uniform(0.5, 1.5, shape) if key.endswith(('gamma', 'running_var')) else \
            rng.normal(size=shape) * (0.3 if len(shape) == 1 else 1.5 / np.sqrt(np.prod(shape[:-1])))
        if 'covar' in key:
            value = rng.uniform(0.7, 1.3, shape)
        parameter.set_data(mx.nd.array(value))
    return net, arrays_of(net)


def arrays_of(net):
    mx.nd.waitall()
    return {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}


def drawn_in_training(net, lengths, seed):
    """Frames that a network draws when it trains after this seed, (N, S)."""
    mx.random.seed(seed)
    with autograd.record():
        return net.draw(mx.nd.array([[length] for length in lengths]))[1].asnumpy().astype(int)


def drawn_in_evaluation(architecture, lengths):
    """Frames (N, S) that are looked at outside of training, of networks that draw single ones."""
    count = architecture.drawn_frames
    fractions = ((np.arange(count, dtype=np.float32) + np.float32(0.499)) / np.float32(count)).astype(np.float32)
    return np.array([np.maximum(np.floor(fractions * np.float32(n)), 0) for n in lengths]).astype(int)


def pick(x, places):
    """Frames (N, S, D) by number, each of length 1."""
    return unit(np.stack([row[picked] for row, picked in zip(x.astype(np.float64), places)]))


def compare(architecture, reference, lengths=LENGTHS, hybrid=True, directions=2, draws=True):
    """Compare a network with `reference(Reference, frames, architecture)` -> probabilities.

    In evaluation and in training: probabilities, what batch normalisations keep, and gradients against differences of
    the reference.
    """
    net, arrays = network(architecture)
    net.hybridize(hybrid)
    x, lengths = videos(architecture, lengths), list(lengths)
    frames = pick(x, drawn_in_evaluation(architecture, lengths)) if draws else unit(x.astype(np.float64))
    np.testing.assert_allclose(net(mx.nd.array(x)).asnumpy(), reference(Reference(arrays, False), frames, architecture),
                               rtol=1e-5, atol=1e-5)
    assert all((arrays[key] == now).all() for key, now in arrays_of(net).items())
    if draws:
        frames = pick(x, drawn_in_training(net, lengths, seed=3))
        mx.random.seed(3)
    with autograd.record():
        got = net(mx.nd.array(x))
        weights = np.random.default_rng(1).normal(size=got.shape)
        loss = (got * mx.nd.array(weights)).sum()
    loss.backward()
    wanted = Reference(arrays, True)
    np.testing.assert_allclose(got.asnumpy(), reference(wanted, frames, architecture), rtol=1e-5, atol=1e-5)
    after = arrays_of(net)
    statistics = {key for key in after if 'running' in key}
    assert set(wanted.kept) == statistics
    for key in statistics:
        np.testing.assert_allclose(after[key], wanted.kept[key], rtol=1e-5, atol=1e-5, err_msg=key)
        # A step changes them by a thousandth, which the tolerance hides.
        np.testing.assert_allclose(after[key] - arrays[key], wanted.kept[key] - arrays[key], rtol=1e-2, atol=1e-6,
                                   err_msg=key)
    compare_gradients(net, arrays, lambda now: (reference(Reference(now, True), frames, architecture) * weights).sum(),
                      directions)
    return net


def compare_gradients(net, arrays, loss, directions):
    """Compare the gradients of a network, parameter by parameter, with differences of a loss in random directions."""
    rng = np.random.default_rng(2)
    for key, parameter in net._collect_params_with_prefix().items():
        if parameter.grad_req == 'null':
            continue
        for _ in range(directions):
            way, step = rng.normal(size=arrays[key].shape), 1e-5
            ends = [loss({**arrays, key: arrays[key].astype(np.float64) + sign * step * way}) for sign in (1, -1)]
            wanted = (ends[0] - ends[1]) / (2 * step)
            gradient = parameter.grad().asnumpy().astype(np.float64)
            np.testing.assert_allclose((gradient * way).sum(), wanted, rtol=1e-3,
                                       atol=2e-5 * max(1, np.abs(gradient).sum() ** 0.5), err_msg=key)
