"""A network of the zoo computed by PyTorch gives what MXNet gives: scores, gradients and statistics."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import math

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from small_networks import BODIES, build, made_of, patterns

from gluon_action.compute.losses import ProbabilityCrossEntropy, SoftmaxCrossEntropy
from gluon_action.compute.on_mxnet.parameters import freeze_statistics, trainable, unique_parameters
from gluon_action.model_zoo import list_models, model_card
from gluon_action.model_zoo.timesformer import TimeSformer
from gluon_action.nn import batch_norms

torch = pytest.importorskip('torch', reason='PyTorch is not installed: make test-torch installs it')

from gluon_action.compute.on_torch.functions import F  # noqa: E402
from gluon_action.compute.on_torch.network import TorchNetwork  # noqa: E402

#: Those whose smallest network takes a second or less.
FAST = [name for name in BODIES.values() if name.startswith((
    'resnet18', 'inceptionv1', 'i3d_rgb', 's3dg', 'timesformer_small'))]
FAST += [name for name in list_models() if not model_card(name).input.is_video]
TSN = 'resnet18_v1b_custom'


def scores(net, data):
    """What a `TorchNetwork` gives outside of training."""
    with torch.no_grad():
        return net(torch.tensor(data)).numpy()


def assert_same_scores(net, shape):
    data = patterns(shape)
    expected = net(mx.nd.array(data)).asnumpy()
    got = scores(TorchNetwork(net), data)
    assert got.shape == expected.shape and np.ptp(expected) > 0
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


_checked = set()


def assert_parity(name):
    net, shape = build(name)
    key = made_of(net, shape)
    if key not in _checked:  # many names differ in their classes alone
        assert_same_scores(net, shape)
        _checked.add(key)


@pytest.mark.parametrize('name', FAST)
def test_a_network_of_a_family_scores_as_in_mxnet(name):
    assert_parity(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(list_models()) - set(FAST)))
def test_every_network_scores_as_in_mxnet(name):
    assert_parity(name)


def learns(net, shape):
    """What both engines give, forth and back, in float64 without dropout: scores, and the network of PyTorch."""
    net.cast('float64')
    net.apply(lambda layer: setattr(layer, '_rate', 0) if isinstance(layer, gluon.nn.Dropout) else None)
    for layer in batch_norms(net):
        # MXNet takes 0.9 for the float32 number next to it, which is another one: these are the same in both.
        layer._kwargs['momentum'] = math.floor(64 * layer._kwargs['momentum']) / 64
    rng = np.random.default_rng(0)
    if net.card.input.is_video:
        loss, data = SoftmaxCrossEntropy(0.1), patterns(shape).astype('float64')
    else:
        loss, data = ProbabilityCrossEntropy(), rng.normal(size=shape)
    ours = TorchNetwork(net)  # with the statistics from before
    with autograd.record():
        expected = net(mx.nd.array(data, dtype='float64'))
        label = rng.dirichlet(np.ones(expected.shape[1]), len(expected))
        loss(mx.nd, expected, mx.nd.array(label, dtype='float64'), dense=True).backward()
    output = ours(torch.tensor(data), training=True)
    loss(F, output, torch.tensor(label), dense=True).sum().backward()
    return expected.asnumpy(), output.detach().numpy(), ours


def assert_same_step(net, shape):
    """Both engines learn the same; returns the keys of what has a gradient."""
    expected, output, ours = learns(net, shape)

    def close(got, expected, scale, key=''):
        # MXNet's GELU computes in float32, whatever it is given.
        tolerance = 3e-6 if isinstance(net, TimeSformer) else 1e-9
        assert np.abs(got - expected).max() <= tolerance * scale, key

    close(output, expected, np.abs(expected).max())
    params = unique_parameters(net)
    gradients = {key: param.grad().asnumpy() for key, param in params.items() if param.grad_req != 'null'}
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    assert largest > 0
    for key, gradient in gradients.items():
        assert ours.params[key].requires_grad
        found = ours.params[key].grad
        close(0 if found is None else found.numpy(), gradient, max(np.abs(gradient).max(), 1e-3 * largest), key)
    for key, statistic in ours.statistics.items():
        if key.endswith('gamma'):  # which is not read; MXNet writes 1 over it
            continue
        array = params[key].data().asnumpy()
        close(statistic.numpy(), array, np.abs(array).max(), key)
    frozen = set(ours.params) - set(gradients)
    assert all(ours.params[key].grad is None for key in frozen)
    return set(gradients)


STEPS = ['inceptionv1_ucf101', 'i3d_rgb_custom', 's3dg_custom', 'timesformer_small_custom']


@pytest.mark.parametrize('name', STEPS)
def test_a_step_of_a_small_network_is_mxnets(name):
    assert_same_step(*build(name))


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in BODIES.values() if model_card(name).input.is_video
                                  and name not in STEPS])
def test_a_step_of_a_network_of_each_family_is_mxnets(name):
    net, shape = build(name)
    # Four rows: the last normalisations of small clips see one number of each, and two numbers that are nearly the same
    # make 1e-7 of what rounding does to them, whoever computes.
    assert_same_step(net, (4, *shape[1:]))


@pytest.mark.parametrize('name', [name for name in list_models() if not model_card(name).input.is_video])
def test_a_step_of_a_network_of_features_is_mxnets(name):
    # Frames drawn at random would be others in each engine.
    net, shape = build(name, **({'sample_all': True} if 'sample_all' in model_card(name).supports else {}))
    assert_same_step(net, (4, *shape[1:]))


OPTIONS = {'partial_bn': {'partial_bn': True}, 'bn_frozen': {'bn_frozen': True}, 'group norm': {'use_gn': True},
           'weighted': {'consensus': 'weighted', 'num_crop': 2}, 'max': {'consensus': 'max'}}


@pytest.mark.parametrize('option', OPTIONS)
def test_a_step_with_an_option_is_mxnets(option):
    net, shape = build(TSN, num_segments=2, **OPTIONS[option])
    rows = net.num_segments * net.num_crop
    learnt = assert_same_step(net, (2 * rows, *shape[1:]))
    if option == 'bn_frozen':
        assert not any('gamma' in key for key in learnt)
    if option == 'weighted':
        assert 'tsn_consensus.weight' in learnt


def test_a_step_with_a_frozen_body_is_mxnets():
    net, shape = build(TSN, num_segments=2)
    net.cast('float64')
    ours = TorchNetwork(net)
    ours.graph(shape, training=True)
    frozen = freeze_statistics(net, trainable(net, 'head|layer4'))
    ours.forget_graphs()
    kept = [key for key, param in ours.params.items() if param.requires_grad]
    assert frozen and kept and all(key.startswith(('output', 'layer4')) for key in kept)
    learnt = assert_same_step(net, shape)
    assert learnt == set(kept)
    before = ours.arrays()
    ours(torch.tensor(patterns(shape)).double(), training=True).sum().backward()
    changed = {key for key, array in ours.arrays().items() if (array != before[key]).any()}
    assert changed and all(key.startswith('layer4') and 'running' in key for key in changed)


@pytest.mark.parametrize('name', ['i3d_rgb_custom', 's3dg_custom'])
def test_same_padding_at_odd_sizes_is_mxnets(name):
    net, _ = build(name)
    ours = TorchNetwork(net)
    for size in ((7, 33, 47), (1, 32, 35), (12, 40, 41)):
        data = patterns((1, 3, *size))
        expected = net(mx.nd.array(data)).asnumpy()
        assert np.abs(scores(ours, data) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert_same_step(net, (1, 3, 5, 33, 47))


def test_features_instead_of_scores_are_mxnets():
    net, shape = build(TSN, num_segments=2, feat_ext=True)
    assert_same_scores(net, shape)
