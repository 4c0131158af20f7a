"""Every loss gives the same of tensors as of MXNet's arrays, and the same gradients."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest

from gluon_action.compute.losses import (
    PROBABILITY_LOSSES,
    ProbabilityCrossEntropy,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    count_correct,
)

torch = pytest.importorskip('torch', reason='PyTorch is not installed: make test-torch installs it')

from gluon_action.compute.on_torch.functions import F  # noqa: E402

N, K = 6, 4
LABELS = {'numbers': np.array([0, 3, 2, 1, 1, 0.]), 'shares': np.eye(K)[[0, 3, 2, 1, 1, 0]] * 0.7 + 0.3 / K,
          'several': np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1.]])}
OF_LOGITS = [(SoftmaxCrossEntropy, 'numbers'), (SoftmaxCrossEntropy, 'shares'), (SigmoidCrossEntropy, 'shares'),
             (SigmoidCrossEntropy, 'several')]
CASES = [(loss(smoothing, temperature, hard), label, taught) for loss, label in OF_LOGITS for smoothing in (0., 0.1)
         for temperature, hard, taught in ((20., 0.5, False), (20., 0.5, True), (3., 0.2, True), (1., 1., True))]
CASES += [(loss(), 'several', False) for loss in PROBABILITY_LOSSES.values()]
CASES += [(ProbabilityCrossEntropy(*options), 'several', True) for options in ((0., 1e-5), (0.3, 1e-5), (0.3, 0.1))]


def arrays(loss, label, dtype):
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(0, 3, (N, K)), rng.normal(0, 2, (N, K))
    logits[2] = logits[2, 0]  # all classes alike
    if type(loss) in PROBABILITY_LOSSES.values():
        logits, teacher = (1 / (1 + np.exp(-array)) for array in (logits, teacher))
        logits[0] = 0, 1, 0.5, 1
    return [array.astype(dtype) for array in (logits, LABELS[label], teacher)]


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-4), ('float64', 1e-9)])
@pytest.mark.parametrize('loss, label, taught', CASES, ids=lambda value: str(value))
def test_a_loss_and_its_gradient_are_mxnets(loss, label, taught, dtype, tolerance):
    logits, *others = arrays(loss, label, dtype)
    others, dense = others[:1 + taught], label != 'numbers'
    theirs, ours = mx.nd.array(logits, dtype=dtype), torch.tensor(logits, requires_grad=True)
    theirs.attach_grad()
    with mx.autograd.record():
        expected = loss(mx.nd, theirs, *(mx.nd.array(array, dtype=dtype) for array in others), dense=dense)
    got = loss(F, ours, *map(torch.tensor, others), dense=dense)
    weights = np.arange(1, N + 1).astype(dtype)
    expected.backward(mx.nd.array(weights, dtype=dtype))
    got.backward(torch.tensor(weights))
    assert got.shape == (N,) and str(got.dtype) == f'torch.{dtype}'
    np.testing.assert_allclose(got.detach().numpy(), expected.asnumpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.asnumpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('label', LABELS)
def test_correct_samples_are_counted_as_in_mxnet(label):
    logits = np.random.default_rng(1).normal(size=(N, K)).astype('float32')
    logits[0] = 1  # a tie is won by the first
    truth, dense = LABELS[label].astype('float32'), label != 'numbers'
    expected = count_correct(mx.nd, mx.nd.array(logits), mx.nd.array(truth), dense=dense).asnumpy()
    got = count_correct(F, torch.tensor(logits), torch.tensor(truth), dense=dense).numpy()
    assert got.shape == expected.shape == (1,) and got == expected > 0


def test_what_there_is_no_function_for_is_named():
    with pytest.raises(AttributeError, match='no function erfinv of tensors'):
        F.erfinv()
    with pytest.raises(AttributeError, match='no function Dropout of tensors'):
        F.Dropout()
