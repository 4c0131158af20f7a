"""Inflation: a clip of one repeated image is to a network for clips what the image is to the network for images."""
from functools import partial

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo.action_recognition.i3d_resnet import I3D_ResNetV1
from weights_server import index_of_file

from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import get_model
from gluon_action.model_zoo.loading import inflation
from gluon_action.model_zoo.loading.inflation import inception_v1_to_i3d, inflate, inflate_parameters
from gluon_action.nn import BatchNorm

# Images and clips normalised alike, so that the borders are too.
SAME_COLOURS = {'mean': (0.5,) * 3, 'std': (0.5,) * 3}


def randomise(net, seed=0):
    """Random parameters with gammas of both signs, and the parameters by key."""
    rng = np.random.RandomState(seed)
    for key, parameter in net._collect_params_with_prefix().items():
        if key.endswith('running_var'):
            value = rng.uniform(0.5, 2, parameter.shape)
        elif key.endswith('gamma'):
            value = rng.choice([-1, 1], parameter.shape) * rng.uniform(0.5, 1.5, parameter.shape)
        elif key.endswith('weight'):
            value = rng.normal(0, np.sqrt(2 / np.prod(parameter.shape[1:])), parameter.shape)
        else:
            value = rng.normal(0, 0.2, parameter.shape)
        parameter.set_data(mx.nd.array(value))
    return {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}


def load(net, arrays):
    parameters = net._collect_params_with_prefix()
    for key, array in arrays.items():
        parameters[key].set_data(mx.nd.array(array))


def repeated(image, frames):
    return mx.nd.array(np.repeat(image[:, :, None], frames, axis=2))


def agree(got, want, tolerance=1e-4):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


@pytest.fixture(scope='module')
def googlenet():
    """Inception-v1 for images with all its parameters random, and those by key."""
    net = get_model('inceptionv1_ucf101', nclass=7, pretrained_base=False, input_size=64)
    return net, randomise(net)


@pytest.mark.parametrize('taps', [1, 3, 4, 7])
@pytest.mark.parametrize('mode', ['average', 'centre'])
def test_a_filter_answers_a_repeated_image_as_before(mode, taps):
    weight = np.random.RandomState(0).normal(size=(4, 3, 5, 5))
    inflated = inflate(weight, taps, mode)
    assert inflated.shape == (4, 3, taps, 5, 5)
    np.testing.assert_allclose(inflated.sum(axis=2), weight)
    if mode == 'average':
        assert np.ptp(inflated, axis=2).max() < 1e-12
    else:
        np.testing.assert_array_equal(inflated[:, :, taps // 2], weight)


@pytest.mark.parametrize('frames', [16, 9])
def test_i3d_from_inception_v1_scores_a_repeated_image_as_the_image_is_scored(googlenet, frames):
    flat, arrays = googlenet
    net = get_model('i3d_rgb_custom', nclass=7, pretrained_base=False, input_size=64, clip_length=8)
    load(net, inception_v1_to_i3d(arrays, mode='centre', **SAME_COLOURS))
    image = np.random.RandomState(1).normal(size=(2, 3, 64, 96)).astype('float32')
    # GluonCV pads the stem by 3 on both sides, TensorFlow by 2 and 3: the same image lies one pixel further on.
    image[:, :, 0], image[:, :, :, 0] = 0, 0
    shifted = np.zeros_like(image)
    shifted[:, :, :-1, :-1] = image[:, :, 1:, 1:]
    agree(net(repeated(image, frames)).asnumpy(), flat(mx.nd.array(shifted)).asnumpy())


def test_i3d_from_inception_v1_is_the_same_in_the_middle_of_the_clip_with_filters_averaged(googlenet):
    flat, arrays = googlenet
    net = get_model('i3d_rgb_custom', pretrained_base=False, input_size=64, clip_length=8,
                    final_endpoint='Conv3d_2c_3x3')
    inflated = inception_v1_to_i3d(arrays, **SAME_COLOURS)
    load(net, {key: array for key, array in inflated.items() if not key.startswith('Logits')})
    image = np.random.RandomState(1).normal(size=(1, 3, 64, 64)).astype('float32')
    image[:, :, 0], image[:, :, :, 0] = 0, 0
    shifted = np.zeros_like(image)
    shifted[:, :, :-1, :-1] = image[:, :, 1:, 1:]
    want = flat.conv3(flat.conv2(flat.maxpool1(flat.conv1(mx.nd.array(shifted))))).asnumpy()
    got = net(repeated(image, 24)).asnumpy()
    got *= np.abs(arrays['conv3.1.gamma'])[:, None, None, None]  # what the next layer's filters make up for
    for frame in range(3, 9):
        agree(got[:, :, frame], want)
    assert np.abs(got[:, :, 0] - want).max() > 0.01 * np.abs(want).max()


def test_imagenets_colours_are_built_into_the_first_filters(googlenet):
    flat, arrays = googlenet
    net = get_model('i3d_rgb_custom', pretrained_base=False, input_size=64, clip_length=8,
                    final_endpoint='Conv3d_1a_7x7')
    inflated = inception_v1_to_i3d(arrays, mode='centre')
    load(net, {key: array for key, array in inflated.items() if not key.startswith('Logits')})
    pixels = np.random.RandomState(1).uniform(size=(1, 3, 64, 64)).astype('float32')
    colours = [np.array(values)[:, None, None] for values in (inflation.IMAGENET_MEAN, inflation.IMAGENET_STD)]
    want = flat.conv1(mx.nd.array((np.roll(pixels, -1, (2, 3)) - colours[0]) / colours[1])).asnumpy()
    got = net(repeated(pixels * 2 - 1, 8)).asnumpy()[:, :, 2] * np.abs(arrays['conv1.1.gamma'])[:, None, None]
    agree(got[:, :, 2:-3, 2:-3], want[:, :, 2:-3, 2:-3])


@pytest.mark.parametrize('gamma', [1e-3, -1e-4, 2e-5])
def test_channels_of_small_gammas_are_not_switched_off(googlenet, gamma):
    """Weight decay leaves gammas of a thousandth; what they pass on is small, and counts."""
    _, arrays = googlenet
    gammas = arrays['conv2.1.gamma'].copy()
    gammas[3] = gamma
    inflated = inception_v1_to_i3d({**arrays, 'conv2.1.gamma': gammas}, mode='centre', **SAME_COLOURS)
    own, following = inflated['Conv3d_2b_1x1.conv.weight'][3], inflated['Conv3d_2c_3x3.conv.weight'][:, 3, 1]
    assert np.abs(own).max() > 0.01
    sign = np.sign(arrays['conv3.1.gamma'])[:, None, None]
    np.testing.assert_allclose(following, arrays['conv3.0.weight'][:, 3] * sign * abs(gamma), rtol=1e-5)
    assert inflated['Conv3d_2b_1x1.bn.beta'][3] == pytest.approx(arrays['conv2.1.beta'][3] / abs(gamma), rel=1e-5)


def test_a_channel_that_gamma_switches_off_is_constant(googlenet):
    _, arrays = googlenet
    gamma = arrays['conv2.1.gamma'].copy()
    gamma[3] = 0
    inflated = inception_v1_to_i3d({**arrays, 'conv2.1.gamma': gamma})
    assert not inflated['Conv3d_2b_1x1.conv.weight'][3].any()
    assert inflated['Conv3d_2b_1x1.bn.running_mean'][3] == 0
    assert inflated['Conv3d_2b_1x1.bn.beta'][3] == arrays['conv2.1.beta'][3]
    assert np.isfinite(inflated['Conv3d_2b_1x1.bn.beta']).all()


def test_flow_starts_from_the_mean_of_the_colours(googlenet):
    _, arrays = googlenet
    weight = inception_v1_to_i3d(arrays, stem_channels=2)['Conv3d_1a_7x7.conv.weight']
    assert weight.shape == (64, 2, 7, 7, 7)
    np.testing.assert_array_equal(weight[:, 0], weight[:, 1])
    signs = np.sign(arrays['conv1.1.gamma'])[:, None, None]
    np.testing.assert_allclose(weight.sum(axis=(1, 2)), arrays['conv1.0.weight'].sum(axis=1) * signs, atol=1e-5)


@pytest.mark.parametrize('name', ['i3d_rgb_custom', 'i3d_flow_custom'])
def test_pretrained_base_starts_i3d_from_imagenet(googlenet, name, tmp_path, monkeypatch):
    flat, arrays = googlenet
    flat.save_parameters(str(tmp_path / 'googlenet.params'))
    monkeypatch.setenv('GLUON_ACTION_INDEX', index_of_file(tmp_path, 'googlenet', 'googlenet.params', 'base'))
    net = get_model(name, nclass=3, pretrained_base=True, input_size=32, clip_length=8, root=tmp_path / 'models')
    want = inception_v1_to_i3d(arrays, net.channels)
    for key, parameter in net._collect_params_with_prefix().items():
        if not key.startswith('Logits'):
            np.testing.assert_allclose(parameter.data().asnumpy(), want[key], rtol=1e-6, err_msg=key)
    assert net.card.base == 'googlenet'


def test_s3d_has_no_imagenet_weights_and_says_so():
    with pytest.raises(WeightsError, match='no ImageNet weights are published for s3dg_custom; pass .*=False'):
        get_model('s3dg_custom', pretrained_base='c7c89366', input_size=32, clip_length=8)


def resnets(**options):
    flat = get_model('resnet50_v1b_custom', pretrained_base=False, nclass=7, input_size=32)
    deep = I3D_ResNetV1(7, 50, pretrained_base=False, norm_layer=partial(BatchNorm, ndim=5), out_indices=[3],
                        inflate_freq=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), **options)
    deep.head_prefixes = ('fc.', 'head.')
    return flat, deep


def test_an_inflated_resnet_scores_a_repeated_image_as_the_resnet_scores_the_image():
    flat, deep = resnets()
    arrays = randomise(flat)
    inflated = inflate_parameters(arrays, deep, mode='centre')
    load(deep, inflated)
    deep.fc.weight.set_data(flat.output.weight.data())
    deep.fc.bias.set_data(flat.output.bias.data())
    image = np.random.RandomState(1).normal(size=(2, 3, 48, 64)).astype('float32')
    agree(deep(repeated(image, 8)).asnumpy(), flat(mx.nd.array(image)).asnumpy())
    averaged = inflate_parameters(arrays, deep)
    key = next(key for key in averaged if key.endswith('0.weight') and averaged[key].shape[2] == 5)
    np.testing.assert_allclose(averaged[key], np.repeat(arrays['conv1.weight'][:, :, None] / 5, 5, axis=2), rtol=1e-6)


def test_non_local_blocks_are_new_and_left_out():
    flat, deep = resnets(nonlocal_stages=(1, 2), nonlocal_freq=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
                         nonlocal_cfg={'nonlocal_type': 'gaussian'})
    inflated = inflate_parameters(randomise(flat), deep)
    assert inflated and not any('nonlocal' in deep._collect_params_with_prefix()[key].name for key in inflated)
    assert len(inflated) == 53 * 5


def test_other_networks_and_modes_are_refused(googlenet):
    _, arrays = googlenet
    net = get_model('i3d_rgb_custom', pretrained_base=False, input_size=32, clip_length=8)
    shuffled = dict(sorted(arrays.items(), reverse=True))
    with pytest.raises(WeightsError, match='cannot be inflated to Conv3d_1a_7x7.conv.weight'):
        inflate_parameters(shuffled, net)
    with pytest.raises(WeightsError, match='do not match the 285 of a body'):
        inflate_parameters(dict(list(arrays.items())[:9]), net)
    with pytest.raises(ModelError, match="weights are inflated by average or centre, got 'middle'"):
        inflate(np.zeros((1, 1, 3, 3)), 3, 'middle')
