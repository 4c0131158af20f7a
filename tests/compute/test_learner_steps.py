"""What is added to a step: L2 of single parameters, limits of single gradients, towers, averages, stored teachers."""
import mxnet as mx
import numpy as np
import pytest
from loops import Batch, contexts_of

from gluon_action.compute.losses import ProbabilityCrossEntropy
from gluon_action.compute.on_mxnet import averages
from gluon_action.compute.on_mxnet.averages import GluonAverages
from gluon_action.compute.on_mxnet.learner import GluonLearner
from gluon_action.compute.on_mxnet.trainer import sums_of_squares
from gluon_action.errors import CheckpointError, UsageError
from gluon_action.train.loop import Loop

RATE = 0.5


class Probabilities(mx.gluon.HybridBlock):
    """p = sigmoid(x W + b), with batch normalisation of x where that is wanted."""

    def __init__(self, devices, normalised=False):
        super().__init__()
        with self.name_scope():
            self.norm = mx.gluon.nn.BatchNorm(in_channels=5, momentum=0.9) if normalised else None
            self.dense = mx.gluon.nn.Dense(3, in_units=5)
        mx.random.seed(4)
        self.initialize(mx.init.Normal(0.5), ctx=contexts_of(devices))
        self.dense.bias.set_data(mx.nd.array([0.3, -0.2, 0.1]))

    def hybrid_forward(self, F, x):
        return F.sigmoid(self.dense(x if self.norm is None else self.norm(x)))


def batch(count=7, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    return Batch(rng.normal(size=(count, 5)).astype('float32'), (rng.random((count, classes)) < 0.4).astype('float32'),
                 list(range(count)))


def learner(devices=1, normalised=False, **kwargs):
    return GluonLearner(Probabilities(devices, normalised), 'sgd', {'wd': 0., 'momentum': 0.},
                        loss=ProbabilityCrossEntropy(), contexts=contexts_of(devices), **kwargs)


def parameters(made):
    found = made.parameters()
    return found['dense.weight'].astype(np.float64), found['dense.bias'].astype(np.float64)


def step(made, given):
    """Gradient that an update went by: what it subtracted, over the rate."""
    before = parameters(made)
    made.gradients(given, (0, 0))
    made.update(RATE, len(given.indices))
    return tuple((old - new) / RATE for old, new in zip(before, parameters(made)))


def gradients(weight, bias, x, y):
    """Gradients of the mean cross entropy, in double precision."""
    p = 1 / (1 + np.exp(-(x @ weight.T + bias)))
    slope = (-y / (p + 1e-5) + (1 - y) / (1 - p + 1e-5)) * p * (1 - p) / len(x)
    return slope.T @ x, slope.sum(axis=0)


def limited(gradient, limit):
    return gradient * min(1, limit / np.sqrt((gradient ** 2).sum()))


def close(found, expected, tolerance=1e-5):
    return all(np.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in zip(found, expected))


def test_parameters_have_l2_terms_of_their_own():
    made, given = learner(l2={'dense.weight': 0.3}), batch()
    weight, bias = parameters(made)
    assert made.penalty() == pytest.approx(0.3 / 2 * (weight ** 2).sum(), rel=1e-5)
    expected = gradients(weight, bias, given.data, given.label)
    assert close(step(made, given), (expected[0] + 0.3 * weight, expected[1]))
    assert learner().penalty() == 0


@pytest.mark.parametrize('limit', [0.05, 1000.])
def test_each_gradient_has_its_own_limit(limit):
    made, given = learner(clip_each=limit, l2={'dense.weight': 0.3}), batch()
    weight, bias = parameters(made)
    free = gradients(weight, bias, given.data, given.label)
    expected = (limited(free[0] + 0.3 * weight, limit), limited(free[1], limit))
    assert close(step(made, given), expected)


def test_the_gradients_of_towers_are_added_up_or_averaged():
    given = batch(8)
    halves = [slice(0, 4), slice(4, 8)]
    one = learner(2, l2={'dense.weight': 0.3})
    weight, bias = parameters(one)
    parts = [gradients(weight, bias, given.data[half], given.label[half]) for half in halves]
    total = [sum(part) for part in zip(*parts)]
    assert close(step(one, given), (total[0] / 2 + 0.3 * weight, total[1] / 2))
    towers = learner(2, l2={'dense.weight': 0.3}, sum_devices=True)
    assert close(step(towers, given), (total[0] + 2 * 0.3 * weight, total[1]))
    clipped = learner(2, l2={'dense.weight': 0.3}, sum_devices=True, clip_each=0.1)
    assert close(step(clipped, given), (limited(total[0] + 2 * 0.3 * weight, 0.1), limited(total[1], 0.1)))
    first, second = (clipped._params['dense.weight'].list_data()[device].asnumpy() for device in (0, 1))
    assert (first == second).all()


def test_a_batch_that_leaves_a_tower_idle_counts_those_that_worked():
    made, given = learner(2, sum_devices=True), batch(1)
    expected = gradients(*parameters(made), given.data, given.label)
    assert close(step(made, given), expected)


def test_a_stored_teacher_teaches_and_is_no_label():
    given = batch()
    teacher = np.random.default_rng(9).random((7, 3)).astype('float32')
    taught = Batch(given.data, np.concatenate([given.label, teacher], axis=1), given.indices)
    made = learner(stored_teacher=True)
    expected = gradients(*parameters(made), given.data, (given.label + teacher) / 2)
    shard, = made.gradients(taught, (0, 0))
    assert (shard.label == given.label).all() and shard.correct == _right(shard.logits, given.label)
    before = parameters(made)
    made.update(RATE, 7)
    assert close([(old - new) / RATE for old, new in zip(before, parameters(made))], expected)


def _right(scores, label):
    return sum(bool(row[best]) for row, best in zip(label, scores.argmax(axis=1)))


def test_averages_follow_parameters_and_statistics():
    made = learner(normalised=True, average=0.75)
    expected = {key: array.astype(np.float64) for key, array in made.parameters().items()}
    assert 'norm.running_mean' in expected
    for number in range(4):
        step(made, batch(seed=number))
        now = made.parameters()
        expected = {key: 0.75 * average + 0.25 * now[key] for key, average in expected.items()}
    found = made.averages.arrays()
    assert found.keys() == now.keys() and all(np.allclose(found[key], expected[key], rtol=1e-5, atol=1e-6)
                                              for key in found)
    assert not np.allclose(found['norm.running_mean'], now['norm.running_mean'])
    assert learner().averages is None and learner().state().averages == {}


def test_an_average_of_what_stays_stays(monkeypatch):
    monkeypatch.setattr(averages, '_PIECE', 4)  # the weights are 15 numbers
    made = learner(average=1 - 1 / 2000)
    before = made.averages.arrays()
    for _ in range(50):
        made.averages.update()
    assert all((array == before[key]).all() for key, array in made.averages.arrays().items())
    made.net.dense.weight.set_data(made.net.dense.weight.data() + 2000)
    made.averages.update()
    assert np.allclose(made.averages.arrays()['dense.weight'], before['dense.weight'] + 1, atol=1e-3)


def loop_of(**kwargs):
    return Loop(learner(normalised=True, **kwargs), schedule=lambda update: RATE)


def test_averages_are_part_of_the_state():
    whole, first = loop_of(average=0.75), loop_of(average=0.75)
    for number in range(3):
        whole.step(batch(seed=number))
    first.step(batch(seed=0))
    second = loop_of(average=0.75)
    second.load_state_dict(first.state_dict())
    for number in (1, 2):
        second.step(batch(seed=number))
    assert all((array == second.state_dict()['averages'][key]).all()
               for key, array in whole.state_dict()['averages'].items())
    with pytest.raises(CheckpointError, match='without moving averages'):
        loop_of(average=0.75).load_state_dict(loop_of().state_dict())
    loop_of().load_state_dict(whole.state_dict())


def test_averages_begin_anew_where_the_values_do():
    made = learner(average=0.9)
    made.net.dense.bias.set_data(mx.nd.array([7, 8, 9]))
    made.averages.reset()
    assert (made.averages.arrays()['dense.bias'] == [7, 8, 9]).all()


@pytest.mark.parametrize('decay', [-0.1, 1, float('nan')])
def test_a_decay_that_cannot_be_is_refused(decay):
    with pytest.raises(UsageError, match='must be in 0..1'):
        GluonAverages({}, decay)


def test_a_negative_limit_is_refused():
    with pytest.raises(UsageError, match="each parameter's gradient must be 0"):
        learner(clip_each=-1)


def test_squares_of_a_large_array_are_all_counted():
    """Added up number by number in float32 these would be 32, or 17."""
    few, many = mx.nd.array([3, 4]), mx.nd.full((5000, 4000), 0.001)
    assert np.allclose(sums_of_squares([few, many]).asnumpy(), [25, 20], rtol=1e-3)
