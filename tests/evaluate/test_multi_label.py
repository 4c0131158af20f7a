import numpy as np
import pytest

from gluon_action.errors import UsageError
from gluon_action.evaluate.scores.metrics import multi_label_scores
from gluon_action.evaluate.scores.multi_label import (
    MultiLabelMeter,
    best_class,
    multi_label_metrics,
    roc_auc,
    sigmoid,
    softmax_odds,
)


def made(samples=60, classes=7, seed=0, ties=False):
    """Log odds that know something of the targets."""
    rng = np.random.default_rng(seed)
    targets = rng.random((samples, classes)) < rng.uniform(0.1, 0.6, classes)
    odds = rng.normal(size=targets.shape) * 2 + 1.5 * targets - 0.7
    return (np.round(odds) if ties else odds), targets


def pairs_auc(scores, targets):
    """The definition: over every pair of a positive and a negative case."""
    above, below = scores[targets][:, None], scores[~targets][None]
    return float(((above > below) + 0.5 * (above == below)).mean())


def trapezoid_auc(scores, targets):
    """The area under the curve that thresholds draw, in double precision."""
    points = [(0., 0.)]
    for threshold in np.unique(scores)[::-1]:
        given = scores >= threshold
        points.append(((given & ~targets).sum() / (~targets).sum(), (given & targets).sum() / targets.sum()))
    x, y = np.array(points).T
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('reference', [pairs_auc, trapezoid_auc])
def test_the_area_is_that_of_all_pairs_and_of_the_curve(reference, ties):
    odds, targets = made(ties=ties)
    found = multi_label_metrics(odds, targets)
    assert found.auc == pytest.approx(reference(odds.ravel(), targets.ravel()), abs=1e-12)
    expected = [reference(odds[:, k], targets[:, k]) for k in range(7)]
    assert found.auc_per_class == pytest.approx(expected, abs=1e-12)
    assert found.auc_macro == pytest.approx(np.mean(expected), abs=1e-12)


def test_probabilities_have_the_area_of_their_odds():
    odds, targets = made(ties=True)
    assert roc_auc(sigmoid(odds), targets) == roc_auc(odds, targets)


def test_decisions_are_counted_over_all_pairs():
    odds, targets = made()
    found, given = multi_label_metrics(odds, targets), sigmoid(odds) > 0.5
    precision, recall = (given & targets).sum() / given.sum(), (given & targets).sum() / targets.sum()
    assert (found.precision, found.recall) == pytest.approx((precision, recall))
    assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.auc_rounded == pytest.approx(trapezoid_auc(given.astype(float).ravel(), targets.ravel()))
    assert found.mean_average_precision == multi_label_scores(odds, targets).mean_average_precision


def test_a_probability_of_one_half_is_no_label_as_rounding_to_even_says():
    found = multi_label_metrics(np.zeros((1, 2)), np.array([[1, 0]]))
    assert (found.recall, found.precision, found.f1) == (0, 0, 0)


def test_where_a_kind_is_missing_nothing_is_invented():
    found = multi_label_metrics(np.array([[1., -1.], [2., 1.]]), np.array([[1, 0], [1, 1]]))
    assert np.isnan(found.auc_per_class[0]) and found.auc_per_class[1] == found.auc_macro == 1
    nothing = multi_label_metrics(np.zeros((3, 2)) - 1, np.zeros((3, 2)))
    assert np.isnan([nothing.auc, nothing.auc_macro, nothing.auc_rounded, nothing.mean_average_precision]).all()
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)


def test_classes_that_do_not_count_are_left_out_of_everything():
    odds, targets = made()
    counted = np.array([1, 0, 1, 1, 0, 0, 1], bool)
    found, alone = multi_label_metrics(odds, targets, counted=counted), multi_label_metrics(
        odds[:, counted], targets[:, counted])
    assert found.as_numbers() == alone.as_numbers()
    assert np.isnan(found.auc_per_class[~counted]).all() and np.isnan(found.average_precision[~counted]).all()
    assert (found.auc_per_class[counted] == alone.auc_per_class).all()


def test_a_score_that_is_no_number_ranks_last():
    odds, targets = np.array([[np.nan], [0.], [-9.]]), np.array([[1], [1], [0]])
    assert multi_label_metrics(odds, targets).auc == 0.5


@pytest.mark.parametrize('ties', [False, True])
def test_a_stream_in_any_parts_gives_the_scores_of_the_whole(ties):
    odds, targets = made(samples=400, ties=ties)
    counted = np.array([1, 1, 0, 1, 1, 1, 1], bool)
    whole = MultiLabelMeter(7, counted)
    whole.update(odds, targets)
    parts = MultiLabelMeter(7, counted)
    for begin in range(0, 400, 37):
        part = MultiLabelMeter(7, counted)
        part.update(odds[begin:begin + 37], targets[begin:begin + 37])
        parts.merge(part)
    assert parts.metrics().as_numbers() == pytest.approx(whole.metrics().as_numbers(), nan_ok=True, abs=0)
    exact, found = multi_label_metrics(odds, targets, counted=counted), whole.metrics()
    for name in ('precision', 'recall', 'f1', 'auc_rounded'):
        assert getattr(found, name) == getattr(exact, name)
    assert found.auc == pytest.approx(exact.auc, abs=0 if ties else 2e-3)
    assert found.auc_per_class == pytest.approx(exact.auc_per_class, abs=0 if ties else 5e-3, nan_ok=True)
    assert np.isnan(found.mean_average_precision)


def test_a_stream_takes_odds_of_any_size():
    meter = MultiLabelMeter(1)
    meter.update(np.array([[np.inf], [1e9], [-np.inf], [np.nan]]), np.array([[1], [1], [0], [0]]))
    assert meter.metrics().auc == 1


def test_odds_of_a_softmax_are_those_of_its_probabilities():
    logits = np.random.default_rng(1).normal(size=(20, 5)) * 6
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert sigmoid(softmax_odds(logits)) == pytest.approx(shares, rel=1e-9)
    assert softmax_odds(np.array([[900., 0., -900.]])).tolist() == [[900., -900., -1800.]]
    one = best_class(logits)
    assert (one.sum(axis=1) == 1).all() and (one.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-1e4, 0., 1e4])).tolist() == [0., 0.5, 1.]


@pytest.mark.parametrize('call', [
    lambda: multi_label_metrics(np.zeros((2, 3)), np.zeros((2, 2))),
    lambda: multi_label_metrics(np.zeros((2, 3)), np.zeros((2, 3)), counted=np.zeros(3, bool)),
    lambda: multi_label_metrics(np.zeros(3), np.zeros(3)),
    lambda: MultiLabelMeter(3, np.ones(2, bool)),
    lambda: MultiLabelMeter(2).merge(MultiLabelMeter(3))])
def test_what_cannot_be_scored_is_refused(call):
    with pytest.raises(UsageError, match='classes'):
        call()
