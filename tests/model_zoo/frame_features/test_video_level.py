"""Logistic regression and the mixture of experts, of whole videos and of the mean of their frames."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from reference_frame_features import Reference, compare, network, unit, videos

from gluon_action.errors import ModelError
from gluon_action.model_zoo import get_model
from gluon_action.model_zoo.frame_features import Architecture, build, variables
from gluon_action.model_zoo.frame_features.parts.layers import relu6
from gluon_action.model_zoo.frame_features.parts.layers import unit as unit_of_ours

SMALL = dict(feature_names='mean_rgb,mean_audio', feature_sizes='7,3', num_classes=5)


def of_video(reference, frames, architecture):
    x = frames[:, 0]
    return reference.logistic(x) if architecture.model == 'LogisticModel' else reference.moe(x, architecture)


def of_frames(reference, frames, architecture):
    counts = np.maximum((frames ** 2).sum(-1).round().sum(-1, keepdims=True), 1)
    return reference.logistic(frames.sum(1) / counts)


@pytest.mark.parametrize('options', [
    {'model': 'LogisticModel'}, {'model': 'MoeModel'}, {'model': 'MoeModel', 'moe_num_mixtures': 3},
    {'model': 'MoeModel', 'moe_low_rank_gating': 2}, {'model': 'MoeModel', 'moe_prob_gating': True},
    {'model': 'MoeModel', 'moe_prob_gating': True, 'gating_remove_diag': True},
    {'model': 'MoeModel', 'moe_prob_gating': True, 'moe_prob_gating_input': 'input'},
    {'model': 'MoeModel', 'moe_prob_gating': True, 'num_classes': 1, 'gating_remove_diag': True}])
def test_networks_of_whole_videos_are_the_equations(options):
    compare(Architecture(**{**SMALL, **options}), of_video, lengths=(1, 1, 1, 1), draws=False)


def test_the_mean_of_frames_leaves_padding_out():
    compare(Architecture(model='FrameLevelLogisticModel', frame_features=True, **SMALL), of_frames, draws=False)


def test_a_video_without_frames_gets_the_bias_and_no_nan():
    architecture = Architecture(model='FrameLevelLogisticModel', frame_features=True, **SMALL)
    net, arrays = network(architecture)
    got = net(mx.nd.array(videos(architecture, (0, 2)))).asnumpy()
    np.testing.assert_allclose(got[0], 1 / (1 + np.exp(-arrays['fully_connected.biases'])), rtol=1e-5)


def test_features_are_scaled_to_length_1_together():
    """Ten times the features are the same features; a larger part of them is not."""
    architecture = Architecture(model='LogisticModel', **SMALL)
    net, arrays = network(architecture)
    x = videos(architecture, (1, 1))
    np.testing.assert_allclose(net(mx.nd.array(10 * x)).asnumpy(), net(mx.nd.array(x)).asnumpy(), rtol=1e-5)
    x[:, :, :7] *= 10
    want = Reference(arrays, False).logistic(unit(x.astype(np.float64))[:, 0])
    np.testing.assert_allclose(net(mx.nd.array(x)).asnumpy(), want, rtol=1e-5)


def test_lengths_and_limits_are_tensorflows():
    x = mx.nd.array([[3e-5, 4e-5], [3e-7, 4e-7], [0, 0]])
    np.testing.assert_allclose(unit_of_ours(mx.nd, x).asnumpy(), [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(relu6(mx.nd, mx.nd.array([-1, 3, 7])).asnumpy(), [0, 3, 6])


def test_l2_is_of_weights_alone():
    net = build(Architecture(model='MoeModel', moe_l2=1e-6, moe_prob_gating=True, moe_low_rank_gating=2, **SMALL))
    assert net.l2_factors() == {'gates1.weights': 1e-6, 'gates2.weights': 1e-6, 'experts.weights': 1e-6}
    assert build(Architecture(model='LogisticModel', **SMALL)).l2_factors() == {'fully_connected.weights': 1e-8}


def test_variables_are_slims():
    assert variables(Architecture(model='LogisticModel', **SMALL)) == {
        'fully_connected/weights': (10, 5), 'fully_connected/biases': (5,)}
    assert variables(Architecture(model='MoeModel', moe_prob_gating=True, **SMALL)) == {
        'gates/weights': (10, 15), 'experts/weights': (10, 10), 'experts/biases': (10,), 'gating_prob_weights': (5, 5),
        'gating_prob_bn/gamma': (5,), 'gating_prob_bn/beta': (5,), 'gating_prob_bn/moving_mean': (5,),
        'gating_prob_bn/moving_variance': (5,)}


def test_weights_start_by_glorots_rule_and_biases_from_0():
    net = build(Architecture(model='MoeModel', moe_prob_gating=True, num_classes=50))
    limit = (6 / (1024 + 150)) ** 0.5
    weights = net.classifier.gates.weights.data().asnumpy()
    assert 0.98 * limit < np.abs(weights).max() <= limit and weights.std() == pytest.approx(limit / 3 ** 0.5, rel=0.02)
    assert not net.classifier.experts.biases.data().asnumpy().any()
    assert net.classifier.gating_prob_weights.data().asnumpy().std() == pytest.approx(50 ** -0.5, rel=0.05)


def test_a_seed_gives_the_same_parameters():
    first, again, other = (build(Architecture(model='LogisticModel', **SMALL), seed=seed) for seed in (1, 1, 2))
    weights = [net.classifier.fully_connected.weights.data().asnumpy() for net in (first, again, other)]
    assert (weights[0] == weights[1]).all() and (weights[0] != weights[2]).any()


@pytest.mark.parametrize('options, message', [
    ({'model': 'LogisticModel', 'frame_features': True}, 'takes features of whole videos; pass --frame_features=False'),
    ({'model': 'FrameLevelLogisticModel'}, 'takes features of frames; pass --frame_features=True'),
    ({'model': 'LogisticsModel'}, "no network 'LogisticsModel'; did you mean LogisticModel")])
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        build(Architecture(**{**SMALL, **options}))


def test_features_of_another_width_are_refused():
    net = build(Architecture(model='LogisticModel', **SMALL))
    with pytest.raises(ModelError, match=r'LogisticModel takes features N x 1 x 10 \(mean_rgb,mean_audio\), got .2, 1'):
        net(mx.nd.ones((2, 1, 9)))
    with pytest.raises(ModelError, match=r'takes features N x 1 x 10'):
        net(mx.nd.ones((2, 3, 10)))


def test_get_model_takes_the_originals_names_and_options():
    net = get_model('MoeModel', nclass=4, feature_names='mean_rgb', feature_sizes='6', moe_num_mixtures=3)
    assert net.classifier.gates.weights.shape == (6, 16) and net.card.name == 'MoeModel'
    assert get_model('moemodel', nclass=4, feature_sizes='6,2').architecture.features == (
        ('mean_rgb', 6), ('mean_audio', 2))
    with pytest.raises(ModelError, match="no option 'moe_num_mixture'; did you mean moe_num_mixtures"):
        get_model('MoeModel', moe_num_mixture=3)
    with pytest.raises(ModelError, match='LogisticModel has no moe_l2, got moe_l2=1; .* others have'):
        get_model('LogisticModel', moe_l2=1)
