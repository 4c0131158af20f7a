import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

from gluon_action.compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy, count_correct
from gluon_action.errors import UsageError


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return (nd.array(rng.normal(size=(6, 4)) * 3), nd.array(rng.integers(0, 4, 6)), nd.array(rng.normal(size=(6, 4))))


def close(a, b, tolerance=1e-5):
    return np.allclose(a.asnumpy(), b.asnumpy(), rtol=tolerance, atol=tolerance)


def test_cross_entropy_equals_gluons(batch):
    logits, label, _ = batch
    assert close(SoftmaxCrossEntropy()(nd, logits, label), mx.gluon.loss.SoftmaxCrossEntropyLoss()(logits, label))


def test_class_numbers_and_one_hot_labels_agree(batch):
    logits, label, _ = batch
    loss = SoftmaxCrossEntropy(smoothing=0.1)
    assert close(loss(nd, logits, label), loss(nd, logits, nd.one_hot(label, 4), dense=True))


def test_smoothing_equals_cross_entropy_with_smoothed_labels(batch):
    logits, label, _ = batch
    smoothed = nd.one_hot(label, 4, on_value=0.9 + 0.1 / 4, off_value=0.1 / 4)
    assert close(SoftmaxCrossEntropy(smoothing=0.1)(nd, logits, label),
                 SoftmaxCrossEntropy()(nd, logits, smoothed, dense=True))


@pytest.mark.parametrize('hard_weight', (0.0, 0.3, 1.0))
def test_distillation_equals_gluoncvs(batch, hard_weight):
    from gluoncv.loss import DistillationSoftmaxCrossEntropyLoss
    logits, label, teacher = batch
    theirs = DistillationSoftmaxCrossEntropyLoss(temperature=5, hard_weight=hard_weight)
    ours = SoftmaxCrossEntropy(temperature=5, hard_weight=hard_weight)
    assert close(ours(nd, logits, label, teacher), theirs(logits, label, nd.softmax(teacher / 5)))


def test_a_student_equal_to_its_teacher_has_no_soft_gradient(batch):
    _, label, teacher = batch
    for loss, target in ((SoftmaxCrossEntropy(hard_weight=0.0), label),
                         (SigmoidCrossEntropy(hard_weight=0.0), nd.one_hot(label, 4))):
        student = teacher.copy()
        student.attach_grad()
        with mx.autograd.record():
            value = loss(nd, student, target, teacher, dense=target.ndim == 2)
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
    assert np.allclose(ours(nd, batch[0], nd.array(several), batch[2]).asnumpy(),
                       hard_weight * hard + (1 - hard_weight) * temperature ** 2 * soft, rtol=1e-4)


def test_the_gradient_of_several_labels_hardly_depends_on_the_temperature(batch):
    """What the factor is for."""
    def gradient(temperature):
        student = batch[0].copy()
        student.attach_grad()
        with mx.autograd.record():
            value = SigmoidCrossEntropy(temperature=temperature, hard_weight=0.)(nd, student, batch[2], batch[2])
        value.backward()
        return student.grad.asnumpy()
    assert np.allclose(gradient(50), gradient(100), rtol=0.02)
    assert np.allclose(gradient(100), (batch[0] - batch[2]).asnumpy() / 4 / 4, rtol=0.02)


def test_binary_cross_entropy_equals_gluons_and_bears_large_logits(batch):
    logits, label, _ = batch
    several = nd.one_hot(label, 4)
    several[:, 0] = 1
    for scale in (1, 1000):
        assert close(SigmoidCrossEntropy()(nd, scale * logits, several),
                     mx.gluon.loss.SigmoidBinaryCrossEntropyLoss()(scale * logits, several))


def test_binary_smoothing_draws_labels_to_one_half(batch):
    logits, label, _ = batch
    several = nd.one_hot(label, 4)
    assert close(SigmoidCrossEntropy(smoothing=0.2)(nd, logits, several),
                 SigmoidCrossEntropy()(nd, logits, several * 0.8 + 0.1))


def test_validation_loss_is_not_smoothed():
    assert SoftmaxCrossEntropy(0.1).plain() == SoftmaxCrossEntropy()
    assert SigmoidCrossEntropy(0.1).plain() == SigmoidCrossEntropy()


def test_correct_counts_classes_mixtures_and_several_labels():
    logits = nd.array([[3, 1, 0], [0, 1, 3], [0, 5, 1], [9, 0, 0]])
    def correct(label):
        label = nd.array(label)
        return count_correct(nd, logits, label, dense=label.ndim == 2).asscalar()
    assert correct([0, 2, 0, 0]) == 3
    assert correct([[0.7, 0.3, 0], [0, 0.6, 0.4], [1, 0, 0], [1, 0, 0]]) == 2
    assert correct([[1, 1, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]]) == 2


@pytest.mark.parametrize('dense', (False, True))
@pytest.mark.parametrize('loss', (SoftmaxCrossEntropy(0.1, 3., 0.3), SigmoidCrossEntropy(0.1, 3., 0.3)))
def test_a_loss_is_a_graph_that_gives_the_same_numbers_and_gradients(batch, loss, dense):
    """Another engine translates the graph, so that there is nothing in it that depends on an array at hand."""
    logits, label, teacher = batch
    if dense or isinstance(loss, SigmoidCrossEntropy):
        label, dense = nd.one_hot(label, 4), True
    names = ('logits', 'label', 'teacher')
    values, correct = (fn(mx.sym, *map(mx.sym.var, names[:count]), dense=dense)
                       for fn, count in ((loss, 3), (count_correct, 2)))
    given = dict(zip(names, (logits, label, teacher)))
    grad = nd.zeros(logits.shape)
    graph = values.bind(mx.cpu(), given, args_grad={'logits': grad}, grad_req={'logits': 'write', 'label': 'null',
                                                                               'teacher': 'null'})
    logits.attach_grad()
    with mx.autograd.record():
        expected = loss(nd, logits, label, teacher, dense=dense)
    expected.backward()
    assert (graph.forward(is_train=True)[0].asnumpy() == expected.asnumpy()).all()
    graph.backward(nd.ones(6))
    assert (grad.asnumpy() == logits.grad.asnumpy()).all()
    hits = correct.bind(mx.cpu(), {name: given[name] for name in names[:2]}).forward()[0]
    assert hits.asscalar() == count_correct(nd, logits, label, dense=dense).asscalar()


@pytest.mark.parametrize('kwargs', [dict(smoothing=1.0), dict(smoothing=-0.1), dict(temperature=0),
                                    dict(hard_weight=1.5)])
def test_numbers_outside_their_range_are_refused(kwargs):
    for loss in (SoftmaxCrossEntropy, SigmoidCrossEntropy):
        with pytest.raises(UsageError):
            loss(**kwargs)
