"""Attention over frames: the original's equations, names and shapes."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from reference_frame_features import LENGTHS, compare, network, relu6, sigmoid, softmax, unit, videos

from gluon_action.model_zoo.frame_features import Architecture, build, variables

TINY = dict(model='attention_frames_v0', frame_features=True, feature_names='rgb,audio', feature_sizes='4,3',
            num_classes=3)


def attention(reference, x, a):
    pooled = []
    for place, (scope, part) in enumerate(zip(('video', 'audio'), np.split(x, [4], axis=2))):
        part = reference.bn(f'{scope}_input_bn', part, unbiased=False)
        layer = part @ reference['fully_connected_1.weights' if place else 'fully_connected.weights']
        layer = relu6(reference.bn(f'{scope}_cluster_bn', layer, unbiased=False))
        weights = softmax((part @ reference[f'fully_connected_{2 + place}.weights'])[..., 0])  # padding has its share
        pooled.append((layer * weights[..., None]).sum(1))
    return sigmoid(np.concatenate(pooled, 1) @ reference['fully_connected_4.weights']
                   + reference['fully_connected_4.biases'])


@pytest.mark.parametrize('frames, lengths', [(9, (1, 7, 9, 2)), (300, LENGTHS)])
def test_attention_is_the_equations(frames, lengths):
    compare(Architecture(max_frames=frames, **TINY), attention, lengths=lengths, draws=False,
            directions=2 if frames == 9 else 1)


def test_the_variance_that_is_kept_is_the_biased_one():
    """Of few rows, and with nothing kept from before, that is a large difference."""
    architecture = Architecture(max_frames=2, **TINY)
    net, _ = network(architecture)
    net.video_input_bn.running_var.set_data(mx.nd.zeros(4))
    x = videos(architecture, (2, 2))
    with autograd.record():
        loss = net(mx.nd.array(x)).sum()
    loss.backward()
    rows = unit(x.astype(np.float64))[..., :4].reshape(4, 4)
    np.testing.assert_allclose(net.video_input_bn.running_var.data().asnumpy() * 1000, rows.var(0), rtol=1e-3)


def test_names_and_shapes_are_slims():
    shapes = variables(Architecture(**{**TINY, 'feature_sizes': '1024,128', 'num_classes': 3862}))
    assert shapes['fully_connected/weights'] == (1024, 2048) and shapes['fully_connected_1/weights'] == (128, 256)
    assert shapes['fully_connected_2/weights'] == (1024, 1) and shapes['fully_connected_3/weights'] == (128, 1)
    assert shapes['fully_connected_4/weights'] == (2304, 3862) and shapes['fully_connected_4/biases'] == (3862,)
    assert len(shapes) == 22  # 4 batch normalisations of 4, 4 layers without biases, and the classifier


def test_the_penalty_is_of_the_classifier_alone():
    assert build(Architecture(**TINY)).l2_factors() == {'fully_connected_4.weights': 1e-8}
