"""How much of a score is chance: intervals of shares, and whether two networks differ on the videos that both saw."""
from __future__ import annotations

import math

import numpy as np

#: Times that a mean average precision is drawn: as often as so many scores allow, within these bounds.
_WORK, _FEWEST, _MOST = 200_000_000, 200, 1000
#: Numbers that are in memory at a time.
_AT_ONCE = 2 ** 21

_Z95 = 1.959963984540054  # 97.5 % of a normal distribution lie below it


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Interval that holds the true share with 95 %, by Wilson's score method (Wilson 1927, JASA 22:209).

    Parameters
    ----------
    right, total : int
        `right` of `total` videos, which are taken for independent.

    Returns
    -------
    (float, float)
        In 0..1; (0, 1) where there is no video.
    """
    if not total:
        return 0., 1.
    share, square = right / total, _Z95 ** 2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _Z95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total ** 2))
    # At the ends the formula gives 0 and 1, but for rounding.
    return (0. if right == 0 else middle - half), (1. if right == total else middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Probability that two equally good networks differ as much as these, by McNemar's exact test.

    Videos that both have right, or both wrong, tell nothing about which is better. Of the others each is a coin that is
    thrown (McNemar 1947, Psychometrika 12:153; exact: binomial, both sides).

    Parameters
    ----------
    only_first, only_second : int
        Videos that only the first has right, and only the second.

    Returns
    -------
    float
        0..1; below 0.05 a difference is commonly called significant.
    """
    thrown, few = only_first + only_second, min(only_first, only_second)
    ways = total = 1
    for place in range(few):
        ways = ways * (thrown - place) // (place + 1)
        total += ways
    return min(1., 2 * total / 2 ** thrown)


def map_interval(scores: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Interval that holds the true mean average precision with 95 %, by bootstrap over videos (Efron 1979).

    As many videos as there are, are drawn with replacement, and the mean average precision of those is computed, 200 to
    1000 times; the interval leaves out the lowest and the highest 2.5 %. Classes that no video of a draw shows are left
    out of its mean. Of a video that is drawn twice both count as retrieved together.

    Parameters
    ----------
    scores : float ndarray (N, K)
        As in `gluon_action.evaluate.scores.metrics.multi_label_scores`.
    targets : int ndarray (N, K)
        1 where a video has the label. Videos are taken for independent.
    seed : int
        Of the draws: the same scores have the same interval.

    Returns
    -------
    (float, float)
        In 0..1; NaN where no video has a label, or where the fewest draws would take minutes.
    """
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets) > 0
    missing = np.isnan(scores).all(axis=1)
    scores, num_videos = np.where(np.isnan(scores), -np.inf, scores), len(scores)
    classes = np.flatnonzero(targets.any(axis=0)) if num_videos else []
    if not len(classes):
        return math.nan, math.nan
    if num_videos * len(classes) * _FEWEST > 5 * _WORK:
        return math.nan, math.nan
    orders = {k: np.argsort(-scores[:, k], kind='stable').astype(np.int32) for k in classes}
    draws = int(np.clip(_WORK // (num_videos * len(classes)), _FEWEST, _MOST))
    rng, means = np.random.default_rng(seed), []
    for first in range(0, draws, step := max(1, _AT_ONCE // num_videos)):
        times = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), min(step, draws - first))
        precisions = np.stack([_average_precision(times[:, order], targets[order, k], missing[order])
                               for k, order in orders.items()])
        there = ~np.isnan(precisions)
        drawn = there.any(axis=0)  # where labels are rare, a draw may have none
        means.append(np.nansum(precisions, axis=0)[drawn] / there.sum(axis=0)[drawn])
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _average_precision(times: np.ndarray, shows: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Average precision (D,) of D draws of videos in the order of their scores; NaN where none has the label.

    Each video was drawn so many `times` (D, N). `shows` (N,) says which have the label, `missing` (N,) which could not
    be scored and are never retrieved.
    """
    found = times * (shows & ~missing)
    precision = np.cumsum(found, axis=1) / np.maximum(np.cumsum(times, axis=1), 1)
    positives = times[:, shows].sum(axis=1)
    return np.where(positives, (found * precision).sum(axis=1) / np.maximum(positives, 1), np.nan)
