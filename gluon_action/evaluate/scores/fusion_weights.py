"""Weights of a fusion: the weighted sum, and the weights under which the true labels are most likely."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UsageError
from .metrics import log_softmax

_PULL = 1e-3  # towards equal weights, in nats: decides where the data do not, as where every video is right
_FOLDS = 5


def fuse(scores: np.ndarray, weights: np.ndarray, kind: str) -> np.ndarray:
    """Weighted sum of logits, or weighted mean of probabilities.

    Parameters
    ----------
    scores : float ndarray (S, N, K)
    weights : float ndarray (S,) or (S, N)
        0 or more; for all videos or by video.
    kind : {'logits', 'probabilities'}

    Returns
    -------
    float32 ndarray (N, K)
    """
    weights = np.asarray(weights, np.float64)
    if kind == 'probabilities':
        weights = weights / weights.sum(axis=0)
    weights = weights.reshape(len(scores), -1, 1)
    return (scores * weights).sum(axis=0).astype(np.float32)


def fit_weights(scores: np.ndarray, labels: np.ndarray, kind: str) -> np.ndarray:
    """Weights (S,), 0 or more, that make the true labels most likely.

    Parameters
    ----------
    scores : float ndarray (S, N, K)
        Finite.
    labels : int ndarray (N,) or (N, K)
        True classes; 0 or 1 by class where videos have several labels.
    kind : {'logits', 'probabilities'}

    Raises
    ------
    UsageError
        Without a video.

    Notes
    -----
    Of logits the cross entropy of the sum is minimal, so that its softmax is calibrated as well; a video pulls the
    weights slightly towards 1. Of probabilities that of the mean is, and the weights add up to the number of streams.
    Both problems are convex and have one solution.
    """
    if not scores.shape[1]:
        raise UsageError('weights cannot be fitted: no video was scored by every stream')
    if kind == 'probabilities' and labels.ndim == 1:
        return _fit_mixture(scores, labels)
    if kind == 'probabilities':
        raise UsageError('--fit: weights for probabilities of several labels a video cannot be fitted; test with '
                         '--average logits')
    return _fit_sum(scores, labels)


def cross_validate(scores: np.ndarray, labels: np.ndarray, keys: Sequence[str], complete: np.ndarray,
                   kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit weights for each fold of the videos on the other folds.

    Parameters
    ----------
    scores : float ndarray (S, N, K)
    labels : int ndarray (N,) or (N, K)
    keys : sequence of str
        Names of the videos (N), which decide the folds: they do not depend on the order of the videos.
    complete : bool ndarray (N,)
        Videos to take.
    kind : {'logits', 'probabilities'}

    Returns
    -------
    mean, by_video, folds : float ndarray (S,), (S, N), (F, S)
        Mean of the folds' weights, the weights to fuse each video with, and those of each fold.

    Raises
    ------
    UsageError
        With fewer than two videos.
    """
    there = np.flatnonzero(complete)
    if len(there) < 2:
        raise UsageError(f'--fit: cross-validation needs two videos or more that every report scored, got {len(there)}')
    shuffled = np.random.default_rng(0).permutation(sorted(there.tolist(), key=lambda n: keys[n]))
    folds = [shuffled[f::_FOLDS] for f in range(min(_FOLDS, len(there)))]
    by_video, fitted = np.ones((len(scores), len(keys))), []
    for fold in folds:
        others = np.setdiff1d(there, fold)
        fitted.append(fit_weights(scores[:, others], labels[others], kind))
        by_video[:, fold] = fitted[-1][:, None]
    return np.mean(fitted, axis=0), by_video, np.array(fitted)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis; NaN stays NaN."""
    return np.exp(log_softmax(logits))


def _fit_sum(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Minimise the mean cross entropy of the weighted sum by Newton's method, projected to weights of 0 or more."""
    weights = np.ones(len(scores))
    if labels.ndim == 1:
        scores = scores - scores.max(axis=2, keepdims=True)
    value, slope, curvature = _loss_of_sum(weights, scores, labels)
    for _ in range(100):
        free = (weights > 0) | (slope < 0)
        if np.abs(np.where(free, slope, 0)).max() < 1e-9:
            break
        step = np.zeros_like(weights)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        for shrink in 0.5 ** np.arange(40):
            trial = np.maximum(weights + shrink * step, 0)
            tried = _loss_of_sum(trial, scores, labels)
            if tried[0] <= value + 1e-4 * slope @ (trial - weights):
                break
        else:
            break  # nothing lower in reach: this is as exact as the numbers allow
        weights, (value, slope, curvature) = trial, tried
    return weights


def _loss_of_sum(weights: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss, gradient (S,) and Hessian (S, S) at `weights`."""
    summed = np.tensordot(weights, scores, 1)
    if labels.ndim == 1:
        log_p = log_softmax(summed)
        p, target = np.exp(log_p), np.eye(scores.shape[2])[labels]
        loss = -(log_p * target).sum(axis=1).mean()
        mean = (scores * p).sum(axis=2)
        spread = np.einsum('snk,tnk,nk->st', scores, scores, p) - mean @ mean.T
    else:
        p, target = 0.5 * (1 + np.tanh(summed / 2)), labels
        loss = (np.logaddexp(0, summed) - target * summed).sum(axis=1).mean()
        spread = np.einsum('snk,tnk,nk->st', scores, scores, p * (1 - p))
    slope = np.einsum('snk,nk->s', scores, p - target) / len(labels)
    pull = weights - 1
    return (loss + _PULL / 2 * pull @ pull, slope + _PULL * pull,
            spread / len(labels) + _PULL * np.eye(len(weights)))


def _fit_mixture(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Maximise the likelihood of the weighted mean by expectation maximisation."""
    own = np.maximum(scores[:, np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
    shares = np.full(len(scores), 1 / len(scores))
    for _ in range(2000):
        expected = shares[:, None] * own
        update = (expected / expected.sum(axis=0)).mean(axis=1)
        if np.abs(update - shares).max() < 1e-10:
            break
        shares = update
    return shares * len(scores)
