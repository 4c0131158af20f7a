import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

from gluon_action.errors import UsageError
from gluon_action.train.losses import MixUp, SigmoidCrossEntropy, SoftmaxCrossEntropy, count_correct


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return (nd.array(rng.normal(size=(6, 4)) * 3), nd.array(rng.integers(0, 4, 6)), nd.array(rng.normal(size=(6, 4))))


def close(a, b, tolerance=1e-5):
    return np.allclose(a.asnumpy(), b.asnumpy(), rtol=tolerance, atol=tolerance)


def test_cross_entropy_equals_gluons(batch):
    logits, label, _ = batch
    assert close(SoftmaxCrossEntropy()(logits, label), mx.gluon.loss.SoftmaxCrossEntropyLoss()(logits, label))


def test_class_numbers_and_one_hot_labels_agree(batch):
    logits, label, _ = batch
    loss = SoftmaxCrossEntropy(smoothing=0.1)
    assert close(loss(logits, label), loss(logits, nd.one_hot(label, 4)))


def test_smoothing_equals_cross_entropy_with_smoothed_labels(batch):
    logits, label, _ = batch
    smoothed = nd.one_hot(label, 4, on_value=0.9 + 0.1 / 4, off_value=0.1 / 4)
    assert close(SoftmaxCrossEntropy(smoothing=0.1)(logits, label), SoftmaxCrossEntropy()(logits, smoothed))


@pytest.mark.parametrize('hard_weight', (0.0, 0.3, 1.0))
def test_distillation_equals_gluoncvs(batch, hard_weight):
    from gluoncv.loss import DistillationSoftmaxCrossEntropyLoss
    logits, label, teacher = batch
    theirs = DistillationSoftmaxCrossEntropyLoss(temperature=5, hard_weight=hard_weight)
    ours = SoftmaxCrossEntropy(temperature=5, hard_weight=hard_weight)
    assert close(ours(logits, label, teacher), theirs(logits, label, nd.softmax(teacher / 5)))


def test_a_student_equal_to_its_teacher_has_no_soft_gradient(batch):
    _, label, teacher = batch
    for loss, target in ((SoftmaxCrossEntropy(hard_weight=0.0), label),
                         (SigmoidCrossEntropy(hard_weight=0.0), nd.one_hot(label, 4))):
        student = teacher.copy()
        student.attach_grad()
        with mx.autograd.record():
            value = loss(student, target, teacher)
        value.backward()
        assert abs(student.grad.asnumpy()).max() < 1e-4


def binary(logits, label):
    """Binary cross entropy of each label, as it is written in books."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


@pytest.mark.parametrize('hard_weight', (0.0, 0.3, 1.0))
@pytest.mark.parametrize('temperature', (1, 5))
@pytest.mark.parametrize('smoothing', (0.0, 0.2))
def test_distillation_of_several_labels_is_the_sum_of_both_terms(batch, hard_weight, temperature, smoothing):
    """A student that differs from its teacher: any other factor of the soft term gives another value."""
    logits, teacher = (array.asnumpy() for array in (batch[0], batch[2]))
    several = np.eye(4)[batch[1].asnumpy().astype(int)]
    several[:, 0] = 1
    soft = binary(logits / temperature, 1 / (1 + np.exp(-teacher / temperature))).mean(axis=1)
    hard = binary(logits, (1 - smoothing) * several + smoothing / 2).mean(axis=1)
    ours = SigmoidCrossEntropy(smoothing, temperature, hard_weight)
    assert np.allclose(ours(batch[0], nd.array(several), batch[2]).asnumpy(),
                       hard_weight * hard + (1 - hard_weight) * temperature ** 2 * soft, rtol=1e-4)


def test_the_gradient_of_several_labels_hardly_depends_on_the_temperature(batch):
    """What the factor is for."""
    def gradient(temperature):
        student = batch[0].copy()
        student.attach_grad()
        with mx.autograd.record():
            value = SigmoidCrossEntropy(temperature=temperature, hard_weight=0.)(student, batch[2], batch[2])
        value.backward()
        return student.grad.asnumpy()
    assert np.allclose(gradient(50), gradient(100), rtol=0.02)
    assert np.allclose(gradient(100), (batch[0] - batch[2]).asnumpy() / 4 / 4, rtol=0.02)


def test_binary_cross_entropy_equals_gluons_and_bears_large_logits(batch):
    logits, label, _ = batch
    several = nd.one_hot(label, 4)
    several[:, 0] = 1
    for scale in (1, 1000):
        assert close(SigmoidCrossEntropy()(scale * logits, several),
                     mx.gluon.loss.SigmoidBinaryCrossEntropyLoss()(scale * logits, several))


def test_binary_smoothing_draws_labels_to_one_half(batch):
    logits, label, _ = batch
    several = nd.one_hot(label, 4)
    assert close(SigmoidCrossEntropy(smoothing=0.2)(logits, several),
                 SigmoidCrossEntropy()(logits, several * 0.8 + 0.1))


def test_validation_loss_is_not_smoothed():
    assert SoftmaxCrossEntropy(0.1).plain() == SoftmaxCrossEntropy()
    assert SigmoidCrossEntropy(0.1).plain() == SigmoidCrossEntropy()


def test_mixup_mixes_samples_and_labels_alike():
    data = nd.array(np.repeat(np.eye(5), 3, axis=0) + 0.0)
    mixed, label = MixUp(num_classes=5, alpha=1.0)(data, nd.arange(5), np.random.default_rng(1), rows_per_sample=3)
    assert mixed.shape == data.shape
    assert np.allclose(mixed.asnumpy(), np.repeat(label.asnumpy(), 3, axis=0), atol=1e-6)
    assert np.allclose(label.asnumpy().sum(axis=1), 1, atol=1e-6) and (label.asnumpy().max(axis=1) < 1).any()


@pytest.mark.parametrize('alpha', (0.2, 1.0, 9.0))
def test_the_weight_of_a_mixture_is_drawn_from_the_beta_distribution_of_alpha(alpha):
    """Both of its arguments are alpha: half of the weights lie below a half, and they spread as they should."""
    rng, mix = np.random.default_rng(4), MixUp(num_classes=2, alpha=alpha)
    found = []
    while len(found) < 400:
        mixed = mix(nd.array([[0.], [1.]]), nd.array([0, 1]), rng)[1].asnumpy()[0]
        if mixed[1] != 0 or mixed[0] != 1:  # a sample that is mixed with itself tells nothing
            found.append(mixed[0])
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert np.var(found) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


def test_mixup_keeps_the_segments_of_a_sample_in_place():
    data = nd.array([[0.0], [1.0], [10.0], [11.0]])
    mixed, _ = MixUp(num_classes=2, alpha=1.0)(data, nd.array([0, 1]), np.random.default_rng(3), rows_per_sample=2)
    assert np.allclose(mixed.asnumpy()[1::2] - mixed.asnumpy()[::2], 1, atol=1e-5)


def test_mixup_is_off_from_its_last_epoch_on_and_labels_stay_dense():
    data, label = nd.array([[1.0], [2.0]]), nd.array([1, 0])
    mix = MixUp(num_classes=2, alpha=1.0, until_epoch=4)
    same, dense = mix(data, label, np.random.default_rng(0), epoch=4)
    assert (same.asnumpy() == data.asnumpy()).all() and dense.asnumpy().tolist() == [[0, 1], [1, 0]]
    changed, _ = mix(data, label, np.random.default_rng(0), epoch=3)
    assert not np.allclose(changed.asnumpy(), data.asnumpy())


def test_mixup_depends_on_its_generator_alone():
    data, label = nd.random.uniform(shape=(4, 3)), nd.arange(4)
    first, second = (MixUp(4)(data, label, np.random.default_rng(7)) for _ in range(2))
    assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(first, second))


def test_correct_counts_classes_mixtures_and_several_labels():
    logits = nd.array([[3, 1, 0], [0, 1, 3], [0, 5, 1], [9, 0, 0]])
    assert count_correct(logits, nd.array([0, 2, 0, 0])).asscalar() == 3
    assert count_correct(logits, nd.array([[0.7, 0.3, 0], [0, 0.6, 0.4], [1, 0, 0], [1, 0, 0]])).asscalar() == 2
    assert count_correct(logits, nd.array([[1, 1, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]])).asscalar() == 2


@pytest.mark.parametrize('kwargs', [dict(smoothing=1.0), dict(smoothing=-0.1), dict(temperature=0),
                                    dict(hard_weight=1.5)])
def test_numbers_outside_their_range_are_refused(kwargs):
    for loss in (SoftmaxCrossEntropy, SigmoidCrossEntropy):
        with pytest.raises(UsageError):
            loss(**kwargs)
    with pytest.raises(UsageError, match='mixup-alpha'):
        MixUp(3, alpha=0)
