"""Intervals, tests and calibration, against their definitions."""
import math
from fractions import Fraction

import numpy as np
import pytest

from gluon_action.evaluate.scores.calibration import calibrate
from gluon_action.evaluate.scores.metrics import multi_label_scores
from gluon_action.evaluate.scores.significance import _average_precision, map_interval, mcnemar, wilson_interval


@pytest.mark.parametrize('right, total', [(0, 10), (3, 10), (10, 10), (81, 263), (19000, 20000)])
def test_the_ends_of_an_interval_are_shares_that_the_observed_one_is_just_compatible_with(right, total):
    share = right / total
    for end in wilson_interval(right, total):
        if 0 < end < 1:
            assert abs(end - share) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / total), rel=1e-4)
        else:
            assert end == share


def test_without_videos_every_share_is_possible():
    assert wilson_interval(0, 0) == (0, 1)


@pytest.mark.parametrize('first, second', [(0, 0), (5, 5), (0, 6), (3, 12), (40, 20)])
def test_mcnemar_counts_the_coins(first, second):
    thrown = first + second
    tail = Fraction(sum(math.comb(thrown, heads) for heads in range(min(first, second) + 1)), 2 ** thrown)
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(float(min(1, 2 * tail)))


def test_mcnemar_bears_many_videos():
    assert mcnemar(5000, 5000) == 1 and 0 < mcnemar(4800, 5200) < 1e-4


def labelled(videos, seed=1, classes=5):
    rng = np.random.default_rng(seed)
    targets = (rng.random((videos, classes)) < 0.3).astype(int)
    return rng.normal(size=targets.shape) + 1.2 * targets, targets


def test_a_draw_of_every_video_once_has_the_mean_average_precision():
    scores, targets = labelled(60)
    scores[7] = np.nan  # one that could not be scored
    found = multi_label_scores(scores, targets).average_precision
    for k in range(5):
        order = np.argsort(-np.where(np.isnan(scores[:, k]), -np.inf, scores[:, k]), kind='stable')
        once = np.ones((1, 60), int)
        assert _average_precision(once, targets[order, k] > 0, order == 7) == pytest.approx(found[k])
        assert np.isnan(_average_precision(once * (targets[order, k] == 0), targets[order, k] > 0, order == 7))


def test_the_interval_of_a_mean_average_precision_is_that_of_drawing_videos_again():
    scores, targets = labelled(80)
    rng = np.random.default_rng(3)
    drawn = [multi_label_scores(scores[rows], targets[rows]).mean_average_precision
             for rows in (rng.integers(0, 80, 80) for _ in range(400))]
    assert map_interval(scores, targets) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.02)
    assert map_interval(scores, targets) == map_interval(scores, targets) != map_interval(scores, targets, seed=1)


def test_rare_labels_have_an_interval_and_what_takes_minutes_has_none(recwarn):
    scores, targets = np.random.default_rng(0).random((20, 2)), np.zeros((20, 2), int)
    targets[3, 0] = 1  # a third of the draws lack it
    low, high = map_interval(scores, targets)
    assert 0 < low <= high <= 1 and not recwarn.list
    assert math.isnan(map_interval(np.zeros((3000, 2000)), np.eye(3000, 2000))[0])


def test_the_interval_holds_the_score_and_narrows_with_videos():
    widths = []
    for videos in (30, 300, 1500):
        scores, targets = labelled(videos)
        low, high = map_interval(scores, targets)
        assert low < multi_label_scores(scores, targets).mean_average_precision < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 3 * widths[2]
    assert map_interval(targets, targets) == (1, 1)
    assert all(map(math.isnan, (*map_interval(np.zeros((0, 3)), np.zeros((0, 3))), *map_interval(
        scores, np.zeros_like(targets)))))


def test_calibration_is_the_mean_distance_between_said_and_right():
    confidence = np.array([0.95, 0.91, 0.55, 0.51, 1.0])
    right = np.array([True, False, True, True, True])
    found = calibrate(confidence, right)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    expected = (2 * abs(0.53 - 1) + 3 * abs((0.95 + 0.91 + 1) / 3 - 2 / 3)) / 5
    assert found.error == pytest.approx(expected)
    assert found.excess == pytest.approx(confidence.mean() - right.mean())
    assert math.isnan(calibrate(np.zeros(0), np.zeros(0, bool)).error)
