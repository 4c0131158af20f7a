"""Losses of a batch, one value a sample: classes or several labels, smoothed, mixed, distilled from a teacher."""
from __future__ import annotations

from dataclasses import dataclass, replace

import mxnet as mx
import numpy as np
from mxnet import nd

from ..errors import UsageError


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Cross entropy of one class among K.

    Parameters
    ----------
    smoothing : float
        Share of the label spread evenly over all classes, in 0..1.
    temperature : float
        Softens logits and teacher alike when a teacher is given; above 0.
    hard_weight : float
        Weight of the label beside the teacher, in 0..1.

    Notes
    -----
    Distillation is Hinton et al. 2015 (arXiv:1503.02531): the soft term is multiplied by temperature squared,
    which keeps its gradient comparable to the hard one's. The values equal GluonCV's.
    """

    smoothing: float = 0.0
    temperature: float = 20.0
    hard_weight: float = 0.5

    def __post_init__(self):
        _check(self)

    def __call__(self, logits: nd.NDArray, label: nd.NDArray, teacher: nd.NDArray | None = None) -> nd.NDArray:
        """Loss of each sample.

        Parameters
        ----------
        logits : (N, K)
        label : (N,) class numbers, or (N, K) weights that add up to 1, as `MixUp` makes
        teacher : (N, K), optional
            The teacher's logits.

        Returns
        -------
        NDArray (N,)
        """
        log_p = nd.log_softmax(logits)
        hard = -(nd.pick(log_p, label) if label.ndim == 1 else (log_p * label).sum(axis=1))
        if self.smoothing:
            hard = (1 - self.smoothing) * hard - self.smoothing * log_p.mean(axis=1)
        if teacher is None:
            return hard
        target = nd.softmax(teacher / self.temperature)
        soft = -(target * nd.log_softmax(logits / self.temperature)).sum(axis=1)
        return self.hard_weight * hard + (1 - self.hard_weight) * self.temperature ** 2 * soft

    def plain(self) -> SoftmaxCrossEntropy:
        """The same without smoothing: what validation reports, comparable between recipes."""
        return replace(self, smoothing=0.0)


@dataclass(frozen=True)
class SigmoidCrossEntropy:
    """Binary cross entropy of K labels that do not exclude each other, averaged over them.

    Parameters
    ----------
    smoothing : float
        Share by which each label is drawn to one half, in 0..1.
    temperature, hard_weight : float
        As in `SoftmaxCrossEntropy`.
    """

    smoothing: float = 0.0
    temperature: float = 20.0
    hard_weight: float = 0.5

    def __post_init__(self):
        _check(self)

    def __call__(self, logits: nd.NDArray, label: nd.NDArray, teacher: nd.NDArray | None = None) -> nd.NDArray:
        """Loss of each sample (N,); `logits`, `label` and `teacher` are (N, K), labels in 0..1."""
        if self.smoothing:
            label = (1 - self.smoothing) * label + self.smoothing / 2
        hard = _binary_cross_entropy(logits, label)
        if teacher is None:
            return hard
        soft = _binary_cross_entropy(logits / self.temperature, nd.sigmoid(teacher / self.temperature))
        return self.hard_weight * hard + (1 - self.hard_weight) * self.temperature ** 2 * soft

    def plain(self) -> SigmoidCrossEntropy:
        """The same without smoothing."""
        return replace(self, smoothing=0.0)


@dataclass(frozen=True)
class MixUp:
    """Training on weighted pairs of samples and their labels (Zhang et al. 2018, arXiv:1710.09412).

    Parameters
    ----------
    num_classes : int
        K.
    alpha : float
        The weight of a batch is drawn from Beta(alpha, alpha); above 0.
    until_epoch : int, optional
        Epochs from this one on, counted from 0, are not mixed.
    """

    num_classes: int
    alpha: float = 0.2
    until_epoch: int | None = None

    def __post_init__(self):
        if not self.alpha > 0:
            raise UsageError(f'--mixup-alpha must be above 0, got {self.alpha}')

    def __call__(self, data: nd.NDArray, label: nd.NDArray, rng: np.random.Generator, *, epoch: int = 0,
                 rows_per_sample: int = 1) -> tuple[nd.NDArray, nd.NDArray]:
        """Mix a batch with itself in another order.

        Parameters
        ----------
        data : (N * rows_per_sample, ...)
            The rows of a sample stay together, segment with segment.
        label : (N,) class numbers or (N, K) weights
        rng : numpy.random.Generator
        epoch : int
            Decides whether mixing is still on.
        rows_per_sample : int

        Returns
        -------
        data : as it came in
        label : (N, K)
            Also where nothing is mixed, so that the loss is the same operator throughout a run.
        """
        if label.ndim == 1:
            label = nd.one_hot(label, self.num_classes)
        if self.until_epoch is not None and epoch >= self.until_epoch:
            return data, label
        weight = float(rng.beta(self.alpha, self.alpha))
        partner = nd.array(rng.permutation(label.shape[0]), ctx=label.context, dtype='int32')
        samples = data.reshape((-1, rows_per_sample, *data.shape[1:]))
        mixed = weight * samples + (1 - weight) * samples.take(partner.as_in_context(data.context))
        return mixed.reshape(data.shape), weight * label + (1 - weight) * label.take(partner)


def count_correct(logits: nd.NDArray, label: nd.NDArray) -> nd.NDArray:
    """Samples whose best class is their label's, as an NDArray (1,) that nobody has waited for.

    A mixed label's class is its heavier one; of several labels, any one counts.

    Parameters
    ----------
    logits : (N, K)
    label : (N,) or (N, K)
    """
    best = logits.argmax(axis=1)
    if label.ndim == 1:
        return (best == label.astype(best.dtype, copy=False)).sum()
    heaviest = label.max(axis=1)
    return ((nd.pick(label, best) == heaviest) * (heaviest > 0)).sum()


def _binary_cross_entropy(logits: mx.nd.NDArray, label: mx.nd.NDArray) -> mx.nd.NDArray:
    # max(x, 0) - x z + log(1 + exp(-|x|)): no exponential of a large number.
    values = nd.relu(logits) - logits * label + nd.Activation(-nd.abs(logits), act_type='softrelu')
    return values.mean(axis=1)


def _check(loss) -> None:
    if not 0 <= loss.smoothing < 1:
        raise UsageError(f'label smoothing must be in 0..1, got {loss.smoothing}')
    if not loss.temperature > 0:
        raise UsageError(f'--temperature must be above 0, got {loss.temperature}')
    if not 0 <= loss.hard_weight <= 1:
        raise UsageError(f'--hard-weight must be in 0..1, got {loss.hard_weight}')
