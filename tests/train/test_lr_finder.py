import dataclasses
import json
import math
from dataclasses import dataclass, field

import mxnet as mx
import numpy as np
import pytest
from loops import Batches, make_loop, make_net, same, weights

from gluon_action.errors import TrainingError, UsageError
from gluon_action.train.progress import Progress
from gluon_action.train.recipes.lr_finder import RangeTest, RateCurve, conclusion, find_rate, loss_limits, plot_rates


@dataclass
class Row:
    data: np.ndarray
    label: np.ndarray
    indices: list
    failures: list = field(default_factory=list)


class Rows:
    """Batches of a linear regression; `spoil` gives the loss of the batch with this number no value."""

    def __init__(self, curvature, noise=0.05, count=400, size=8, spoil=None):
        rng = np.random.default_rng(0)
        self.x = rng.normal(0, math.sqrt(curvature), (count, 4)).astype('float32')
        self.y = (self.x @ np.array([1, -2, 3, 0.5]) + rng.normal(0, noise, count)).astype('float32')
        self.size, self.spoil, self.read = size, spoil, 0

    def __len__(self):
        return len(self.x) // self.size

    def epoch(self, epoch, start_batch=0):
        for number in range(start_batch, len(self)):
            rows = slice(number * self.size, (number + 1) * self.size)
            x = self.x[rows] * (math.nan if self.read == self.spoil else 1)
            self.read += 1
            yield Row(x.astype(np.float32), self.y[rows], list(range(self.size)))


def regression(optimizer='sgd', **kwargs):
    net = mx.gluon.nn.Dense(1, use_bias=False, in_units=4)
    net.initialize(mx.init.Zero())

    def loss(F, logits, label, dense):
        return (F.reshape(logits, shape=(-1,)) - label) ** 2 / 2
    return make_loop(net, optimizer=optimizer, optimizer_params=kwargs.pop('params', {}), loss=loss,
                     schedule=lambda update: 1e-3, **kwargs)


@pytest.mark.parametrize('curvature', [0.01, 1, 100])
@pytest.mark.parametrize('steps', [60, 100])
def test_on_a_convex_problem_the_suggestion_is_within_a_decade_of_the_best_rate(curvature, steps):
    """The best rate of a quadratic function is the inverse of its curvature; twice that diverges."""
    curve = find_rate(regression(), Rows(curvature), RangeTest(1e-6, 1e4, steps))
    # In four dimensions and batches of 8 the best is between 0.1 and 1 of the inverse curvature.
    assert 0.03 <= curve.suggestion * curvature <= 1
    assert 'times that of the start' in curve.ended or 'finite' in curve.ended
    assert len(curve.rates) < steps and curve.rates[-1] * curvature > 1


def test_the_best_rate_learns_more_in_its_steps_than_a_decade_off():
    """The suggestion is of use: it beats a tenth and ten times of it."""
    def left(rate):
        loop = regression()
        loop.schedule = lambda update: rate
        return np.mean([loop.step(batch).loss_sum for batch in Rows(1).epoch(0)])
    found = find_rate(regression(), Rows(1), RangeTest(1e-6, 1e4)).suggestion
    assert left(found) < 0.5 * left(found / 10) and not left(30 * found) < left(found)


@pytest.mark.parametrize('before', [0, 1])
def test_rates_rise_by_one_factor_and_reach_the_optimizer(before):
    """Also those of a loop that has trained before."""
    test, used, loop = RangeTest(1e-4, 1e-2, 12), [], regression()
    if before:
        loop.train_epoch(Rows(1, count=40), 0)
    assert loop.progress.update == 5 * before
    update = loop.learner.trainer._optimizer.update_multi_precision

    def noted(*args):
        used.append(loop.learner.trainer.learning_rate)
        return update(*args)
    loop.learner.trainer._optimizer.update_multi_precision = noted
    curve = find_rate(loop, Rows(1), test)
    assert curve.rates[0] == pytest.approx(1e-4) and curve.rates[-1] == pytest.approx(1e-2)
    assert np.allclose(np.diff(np.log(curve.rates)), math.log(100) / 11) and np.allclose(used, curve.rates)
    assert 'all 12 steps' in curve.ended


@pytest.mark.parametrize('optimizer, params, devices', [('sgd', {'momentum': 0.9, 'wd': 1e-3}, 2), ('adamw', {}, 1)])
def test_everything_is_as_it_was(optimizer, params, devices):
    """Also in the middle of a run: what follows is what would have followed."""
    def loop():
        return make_loop(make_net(devices), devices, optimizer=optimizer, optimizer_params=params)
    untouched, tested = loop(), loop()
    for each in (untouched, tested):
        each.fit(Batches(), epochs=1)
    find_rate(tested, Batches(), RangeTest(1e-5, 1, 12))
    assert same(weights(tested), weights(untouched))
    assert [dataclasses.replace(loop.progress, history=[]) for loop in (tested, untouched)] == \
        [Progress(epoch=1, step=6, update=6, loss_sum=untouched.progress.loss_sum, count=22,
                  correct=untouched.progress.correct)] * 2
    for each in (untouched, tested):
        each.fit(Batches(), epochs=2)
    assert same(weights(tested), weights(untouched))


def test_gathered_batches_have_one_rate():
    curve = find_rate(regression(accumulate=3), Rows(1), RangeTest(1e-4, 1e-2, 20))
    assert len(curve.rates) == 20


@pytest.mark.parametrize('accumulate', [1, 3])
def test_a_loss_is_the_mean_over_the_samples_of_its_update_alone(accumulate):
    """At rates that move nothing, of a network of zeros: half of the square of each target."""
    rows = Rows(1)
    curve = find_rate(regression(accumulate=accumulate), rows, RangeTest(1e-20, 1e-19, 12))
    targets = rows.y[:12 * accumulate * rows.size].reshape(12, -1).astype(np.float64)
    assert curve.losses == pytest.approx((targets ** 2 / 2).mean(axis=1), rel=1e-5)


def test_epochs_shorter_than_the_test_are_repeated():
    rows = Rows(1, count=24)
    assert len(find_rate(regression(), rows, RangeTest(1e-5, 1e-3, 20)).rates) == 20 and rows.read == 20


def test_a_loss_without_value_ends_the_test():
    curve = find_rate(regression(), Rows(1, spoil=30), RangeTest(1e-6, 1, 100))
    assert len(curve.losses) == 30 and 'not finite' in curve.ended and all(map(math.isfinite, curve.losses))


def test_a_loss_without_value_from_the_start_is_an_error():
    loop = regression()
    with pytest.raises(TrainingError, match='after 3 steps; begin lower with --find-lr-from'):
        find_rate(loop, Rows(1, spoil=3), RangeTest(1e-6, 1, 100))
    assert (weights(loop)['weight'] == 0).all()


@pytest.mark.parametrize('numbers, told', [((1e-7, 10, 9), '--find-lr-steps 9.*10 at least'), ((1, 0.1), 'above the'),
                                           ((0, 1), 'above 0'), ((1e-3, math.inf), 'above the')])
def test_a_range_that_cannot_be_is_refused(numbers, told):
    with pytest.raises(UsageError, match=told):
        RangeTest(*numbers)


def test_a_loss_that_only_wavers_suggests_nothing():
    rates = np.geomspace(1e-6, 1, 60)
    losses = 0.7 + 0.1 * np.random.default_rng(0).normal(size=60)
    curve = RateCurve(tuple(rates), tuple(losses), 'all steps')
    with pytest.raises(TrainingError, match='fell nowhere more than it wavers'):
        conclusion(curve, '--lr', 'folder')
    rising = RateCurve(tuple(rates), tuple(1 + rates), 'all steps')
    assert rising.suggestion is None


def test_the_picture_shows_the_whole_fall_and_the_foot_of_the_rise():
    rates = np.geomspace(1e-6, 1, 40)
    losses = np.concatenate([2 + 0.5 * np.cos(np.arange(20) * 2), np.linspace(2, 0.1, 12), np.geomspace(0.3, 60, 8)])
    low, high = loss_limits(RateCurve(tuple(rates), tuple(losses), 'broke'))
    assert 0 <= low < losses.min() and losses[:20].max() < high < 6
    low, high = loss_limits(RateCurve(tuple(rates), tuple(100 + losses), 'broke'))  # a fall that is small beside it
    assert 90 < low < 100.1 and 102.5 < high < 125


@pytest.mark.draws
def test_the_conclusion_is_the_flag_to_pass_and_the_curve_is_drawn(tmp_path):
    curve = find_rate(regression(), Rows(1), RangeTest(1e-6, 1e4))
    plot_rates(curve, tmp_path / 'lr_finder.png', title='a line')
    assert (tmp_path / 'lr_finder.png').read_bytes()[:4] == b'\x89PNG'
    last = conclusion(curve, '--lr', tmp_path).splitlines()[-1]
    assert last.split()[0] == '--lr' and float(last.split()[1]) == pytest.approx(curve.suggestion, rel=0.05)
    about = json.loads(curve.as_json())
    assert about['suggestion'] == curve.suggestion and len(about['rates']) == len(about['losses']) == len(curve.rates)
