"""Losses of a batch, one value a sample: classes or several labels, smoothed, mixed, distilled from a teacher.

Most are of logits. YouTube-8M's are of probabilities, since its networks give out these: see `PROBABILITY_LOSSES`.

They are written over `F`, as hybrid code of Gluon is: `mxnet.nd` computes them, `mxnet.sym` gives their graph, which
another engine can translate and differentiate. So they ask nothing of an array's shape.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

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

    def __call__(self, F, logits, label, teacher=None, *, dense: bool = False):
        """Loss of each sample (N,).

        Parameters
        ----------
        F : module
            ``mxnet.nd`` or ``mxnet.sym``; whose arrays the others are.
        logits : (N, K)
        label : (N,) class numbers, or (N, K) weights that add up to 1, as `MixUp` makes
        teacher : (N, K), optional
            The teacher's logits.
        dense : bool
            Whether the label is (N, K).
        """
        log_p = F.log_softmax(logits)
        hard = -(F.sum(F.broadcast_mul(log_p, label), axis=1) if dense else F.pick(log_p, label))
        if self.smoothing:
            hard = (1 - self.smoothing) * hard - self.smoothing * F.mean(log_p, axis=1)
        if teacher is None:
            return hard
        target = F.softmax(teacher / self.temperature)
        soft = -F.sum(F.broadcast_mul(target, F.log_softmax(logits / self.temperature)), axis=1)
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

    def __call__(self, F, logits, label, teacher=None, *, dense: bool = True):
        """Loss of each sample (N,); `logits`, `label` and `teacher` are (N, K), labels in 0..1."""
        if self.smoothing:
            label = (1 - self.smoothing) * label + self.smoothing / 2
        hard = _binary_cross_entropy(F, logits, label)
        if teacher is None:
            return hard
        soft = _binary_cross_entropy(F, logits / self.temperature, F.sigmoid(teacher / self.temperature))
        return self.hard_weight * hard + (1 - self.hard_weight) * self.temperature ** 2 * soft

    def plain(self) -> SigmoidCrossEntropy:
        """The same without smoothing."""
        return replace(self, smoothing=0.0)


@dataclass(frozen=True)
class ProbabilityCrossEntropy:
    """Binary cross entropy of probabilities, added up over the K classes: ``CrossEntropyLoss`` of YouTube-8M.

    Parameters
    ----------
    teacher_weight : float
        Weight of the teacher beside the label, in 0..1: ``w * H(teacher, p) + (1 - w) * H(label, p)``.
    epsilon : float
        Added to what a logarithm is taken of.

    Notes
    -----
    google/youtube-8m, losses.py (``epsilon = 10e-6``), and ``MixedCrossEntropyLoss`` of the winners of 2018.
    """

    teacher_weight: float = 0.5
    epsilon: float = 1e-5

    def __post_init__(self):
        if not 0 <= self.teacher_weight <= 1:
            raise UsageError(f'--loss_lambda must be in 0..1, got {self.teacher_weight}')

    def __call__(self, F, probabilities, label, teacher=None, *, dense: bool = True):
        """Loss of each sample (N,); all (N, K), and in 0..1."""
        if teacher is not None:
            # The loss is linear in the target, so the weighted sum of two losses is the loss of one weighted target.
            label = self.teacher_weight * teacher + (1 - self.teacher_weight) * label
        yes, no = F.log(probabilities + self.epsilon), F.log(1 - probabilities + self.epsilon)
        return -F.sum(F.broadcast_mul(label, yes) + F.broadcast_mul(1 - label, no), axis=1)


@dataclass(frozen=True)
class ProbabilityHinge:
    """Hinge at a margin of 1, added up over the K classes: ``HingeLoss`` of YouTube-8M, which takes probabilities."""

    def __call__(self, F, probabilities, label, *, dense: bool = True):
        """Loss of each sample (N,); both (N, K), labels 0 or 1."""
        return F.sum(F.relu(1 - F.broadcast_mul(2 * label - 1, probabilities)), axis=1)


@dataclass(frozen=True)
class ProbabilitySoftmax:
    """Cross entropy of the softmax of the probabilities with the labels' shares: ``SoftmaxLoss`` of YouTube-8M."""

    def __call__(self, F, probabilities, label, *, dense: bool = True):
        """Loss of each sample (N,); both (N, K). A sample without labels has none."""
        shares = F.broadcast_div(label, F.clip(F.sum(label, axis=1, keepdims=True), 1e-7, 1e7))
        return -F.sum(F.broadcast_mul(shares, F.log_softmax(probabilities)), axis=1)


#: YouTube-8M's names.
PROBABILITY_LOSSES = {'CrossEntropyLoss': ProbabilityCrossEntropy, 'HingeLoss': ProbabilityHinge,
                      'SoftmaxLoss': ProbabilitySoftmax}


def count_correct(F, logits, label, *, dense: bool = False):
    """Samples whose best class is their label's, as an array (1,).

    A mixed label's class is its heavier one; of several labels, any one counts.

    Parameters
    ----------
    F : module
        As for a loss.
    logits : (N, K)
    label : float32 (N,) or (N, K)
    dense : bool
        Whether the label is (N, K).
    """
    best = F.argmax(logits, axis=1)
    if not dense:
        return F.sum(F.broadcast_equal(F.cast(best, dtype='float32'), label))
    heaviest = F.max(label, axis=1)
    return F.sum(F.broadcast_equal(F.pick(label, best), heaviest) * (heaviest > 0))


def _binary_cross_entropy(F, logits, label):
    # max(x, 0) - x z + log(1 + exp(-|x|)): no exponential of a large number.
    values = F.relu(logits) - F.broadcast_mul(logits, label) + F.Activation(-F.abs(logits), act_type='softrelu')
    return F.mean(values, axis=1)


def _check(loss) -> None:
    if not 0 <= loss.smoothing < 1:
        raise UsageError(f'label smoothing must be in 0..1, got {loss.smoothing}')
    if not loss.temperature > 0:
        raise UsageError(f'--temperature must be above 0, got {loss.temperature}')
    if not 0 <= loss.hard_weight <= 1:
        raise UsageError(f'--hard-weight must be in 0..1, got {loss.hard_weight}')
