"""NeXtVLAD: the equations, names, shapes and numbers of parameters of its authors."""
import math

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from reference_frame_features import LENGTHS, compare, listed_variables, network, sigmoid, softmax, unit, videos

from gluon_action.errors import ModelError
from gluon_action.model_zoo.frame_features import Architecture, build, variables

TINY = dict(model='NeXtVLADModel', frame_features=True, feature_names='rgb,audio', feature_sizes='4,3', num_classes=3,
            nextvlad_cluster_size=6, nextvlad_hidden_size=8, groups=4, expansion=2, gating_reduction=4, drop_rate=0.,
            video_level_classifier_model='LogisticModel')
FULL = dict(model='NeXtVLADModel', frame_features=True, feature_names='rgb,audio', feature_sizes='1024,128',
            nextvlad_hidden_size=2048, groups=8, video_level_classifier_model='LogisticModel')


def nextvlad(reference, x, a):
    there = (np.abs(x).sum(-1) > 0).astype(float)
    pooled = []
    for scope, part, share in (('video', x[..., :4], 1), ('audio', x[..., 4:], 2)):
        name, k, g = f'{scope}_VLAD', a.nextvlad_cluster_size // share, a.groups // share
        wide = part @ reference[f'{name}.fully_connected.weights'] + reference[f'{name}.fully_connected.biases']
        attention = wide @ reference[f'{name}.fully_connected_1.weights']
        attention = sigmoid(attention + reference[f'{name}.fully_connected_1.biases']) * there[..., None]
        shares = reference.bn(f'{name}.cluster_bn', wide @ reference[f'{name}.cluster_weights'], unbiased=False)
        shares = softmax(shares.reshape(*shares.shape[:2], g, k)) * attention[..., None]
        groups = wide.reshape(*wide.shape[:2], g, -1)
        centres = reference[f'{name}.cluster_weights2'][0]
        vectors = unit(np.einsum('ntgk,ntgdk->ndk', shares, groups[..., None] - centres), 1)
        pooled.append(reference.bn(f'{name}.vlad_bn', vectors.reshape(len(x), -1), unbiased=False))
    hidden = reference.bn('hidden1_bn', np.concatenate(pooled, 1) @ reference['hidden1_weights'], unbiased=False)
    gates = np.maximum(reference.bn('gating_bn', hidden @ reference['gating_weights_1']), 0)
    return reference.classify(hidden * sigmoid(gates @ reference['gating_weights_2']), a)


@pytest.mark.parametrize('options', [{}, {'video_level_classifier_model': 'MoeModel', 'expansion': 4}])
def test_networks_are_the_equations(options):
    compare(Architecture(**{**TINY, **options, 'max_frames': 9}), nextvlad, lengths=(1, 7, 9, 2, 5), draws=False)


def test_networks_of_300_frames_are_the_equations():
    compare(Architecture(**TINY), nextvlad, lengths=(*LENGTHS, 20), draws=False, directions=1)


@pytest.mark.parametrize('clusters, reduction, listed, learnt', [
    (128, 8, 'NeXtVLAD_K128_H2048_g8_r8', 88_889_378), (112, 16, 'NeXtVLAD_K112_H2048_g8_r16', 78_643_170)])
def test_names_shapes_and_numbers_are_the_authors(clusters, reduction, listed, learnt):
    shapes = variables(Architecture(nextvlad_cluster_size=clusters, gating_reduction=reduction, **FULL))
    assert shapes == listed_variables(listed)
    assert sum(math.prod(shape) for name, shape in shapes.items() if '/moving_' not in name) == learnt


def test_dropout_is_of_the_descriptor_in_training_alone():
    architecture = Architecture(**{**TINY, 'drop_rate': 0.9, 'max_frames': 9})
    net, _ = network(architecture)
    x = mx.nd.array(videos(architecture, (1, 7, 9)))
    assert (net(x) == net(x)).asnumpy().all()
    with autograd.record():
        assert (net(x) != net(x)).asnumpy().any()
    with autograd.record():
        kept = net.drop(mx.nd.ones((100, 100))).asnumpy()
    assert kept.max() == pytest.approx(10) and kept.mean() == pytest.approx(1, abs=0.2)


def test_the_penalty_is_of_weights_and_biases_of_logistic_regression():
    assert build(Architecture(**TINY)).l2_factors() == {'fully_connected.weights': 1e-5, 'fully_connected.biases': 1e-5}
    other = Architecture(**{**TINY, 'l2_penalty': 0.})
    assert build(other).l2_factors() == {}
    assert set(build(Architecture(**{**TINY, 'video_level_classifier_model': 'MoeModel'})).l2_factors()) == {
        'gates.weights', 'experts.weights'}


def test_weights_start_by_slims_variance_scaling():
    net = build(Architecture(**{**TINY, 'feature_sizes': '400,8'}))
    weights = net.clusters.video_VLAD.fully_connected.weights.data().asnumpy()
    deviation = math.sqrt(2.6 / 400)
    assert 1.97 * deviation < np.abs(weights).max() <= 2.001 * deviation
    assert weights.std() == pytest.approx(0.8796 * deviation, rel=0.01)  # of a normal distribution cut off at 2
    assert net.clusters.video_VLAD.cluster_weights2.data().asnumpy().std() == pytest.approx(
        0.8796 * math.sqrt(2.6 / 200), rel=0.06)
    assert not net.clusters.video_VLAD.fully_connected.biases.data().asnumpy().any()


@pytest.mark.parametrize('options, message', [
    ({'groups': 3}, '--groups: a feature of 4 numbers, 2 times as wide .--expansion., cannot be divided into 3 groups'),
    ({'gating_reduction': 9}, '--gating_reduction 9 leaves nothing of the 8 units of --nextvlad_hidden_size')])
def test_what_does_not_divide_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        build(Architecture(**{**TINY, **options}))
