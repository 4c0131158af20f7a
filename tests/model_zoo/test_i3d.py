"""I3D: structure and counts as published, and numbers as an independent forward in float64 computes them."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from inception import few_blocks
from mxnet import autograd, gluon
from reference_i3d import forward, random_parameters
from structure import structure_of

from gluon_action.errors import ModelError
from gluon_action.model_zoo import get_model, model_card
from gluon_action.model_zoo.i3d import ENDPOINTS

SMALL = {'pretrained_base': False, 'input_size': 32, 'clip_length': 8}

# Of DeepMind's network at 64 x 224 x 224: shape of the output without the batch, weights of the convolutions.
PUBLISHED = {
    'Conv3d_1a_7x7': ((64, 32, 112, 112), 65_856),
    'MaxPool3d_2a_3x3': ((64, 32, 56, 56), 0),
    'Conv3d_2b_1x1': ((64, 32, 56, 56), 4_096),
    'Conv3d_2c_3x3': ((192, 32, 56, 56), 331_776),
    'MaxPool3d_3a_3x3': ((192, 32, 28, 28), 0),
    'Mixed_3b': ((256, 32, 28, 28), 385_536),
    'Mixed_3c': ((480, 32, 28, 28), 836_608),
    'MaxPool3d_4a_3x3': ((480, 16, 14, 14), 0),
    'Mixed_4b': ((512, 16, 14, 14), 736_512),
    'Mixed_4c': ((512, 16, 14, 14), 903_168),
    'Mixed_4d': ((512, 16, 14, 14), 1_102_336),
    'Mixed_4e': ((528, 16, 14, 14), 1_355_264),
    'Mixed_4f': ((832, 16, 14, 14), 1_797_120),
    'MaxPool3d_5a_2x2': ((832, 8, 7, 7), 0),
    'Mixed_5b': ((832, 8, 7, 7), 1_972_224),
    'Mixed_5c': ((1024, 8, 7, 7), 2_782_208),
    'Logits': ((400,), 409_600),
}


def small(name='i3d_rgb_custom', **options):
    return get_model(name, **{**SMALL, 'nclass': 5, **options})


def clips(rows=2, frames=8, height=32, width=32, channels=3, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (rows, channels, frames, height, width)).astype('float32')


def trainable(net):
    return sum(int(np.prod(parameter.shape)) for parameter in net.collect_params().values()
               if parameter.grad_req != 'null')


def agree(got, want, tolerance=1e-4):
    assert got.shape == want.shape
    assert np.abs(got.asnumpy() - want).max() <= tolerance * np.abs(want).max()


@pytest.fixture(scope='module')
def network():
    """A small I3D, hybridized, and its parameters as arrays."""
    net = small()
    arrays = random_parameters(net)
    net.hybridize()
    return net, arrays


@pytest.mark.parametrize('name, count', [('i3d_rgb_kinetics400', 12_689_984), ('i3d_flow_kinetics400', 12_668_032),
                                         ('i3d_rgb_kinetics600', 12_894_984)])
def test_as_many_parameters_are_trained_as_in_deepminds_checkpoints(name, count):
    net = structure_of(name, **SMALL)
    assert trainable(net) == count
    norms = [key for key in net._collect_params_with_prefix() if '.bn.' in key]
    assert len(norms) == 57 * 4
    assert all(layer._kwargs['eps'] == 1e-3 and layer._kwargs['momentum'] == 0.999 and layer._kwargs['fix_gamma']
               for layer in net.batch_norms())


def test_every_stage_has_the_published_shape_and_weights():
    net = structure_of('i3d_rgb_kinetics400', pretrained_base=False)
    assert net.endpoints == ENDPOINTS == tuple(PUBLISHED)
    data = mx.sym.var('data')
    net.lay_out((64, 224, 224))
    shapes = {}
    for name, output in net.stages(data):
        shapes[name] = output.infer_shape(data=(1, 3, 64, 224, 224))[1][0]
    shapes['Logits'] = net(data).infer_shape(data=(1, 3, 64, 224, 224))[1][0]
    for name, (shape, weights) in PUBLISHED.items():
        assert shapes[name] == (1, *shape), name
        parameters = getattr(net, name).collect_params('.*weight').values()
        assert sum(int(np.prod(parameter.shape)) for parameter in parameters) == weights, name


def test_units_are_named_as_in_deepminds_checkpoints():
    keys = list(structure_of('i3d_rgb_custom', **SMALL, nclass=5)._collect_params_with_prefix())
    units = {key.rsplit('.', 2)[0] for key in keys if '.conv.' in key}
    assert len(units) == 57
    assert {'Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3', 'Mixed_3b.Branch_0.Conv3d_0a_1x1',
            'Mixed_5b.Branch_2.Conv3d_0a_3x3', 'Mixed_5c.Branch_2.Conv3d_0b_3x3',
            'Mixed_5c.Branch_3.Conv3d_0b_1x1'} <= units
    assert 'Mixed_5b.Branch_2.Conv3d_0b_3x3' not in units
    assert [key for key in keys if key.startswith('Logits.')] == ['Logits.Conv3d_0c_1x1.weight',
                                                                 'Logits.Conv3d_0c_1x1.bias']
    assert len(keys) == 57 * 5 + 2


@pytest.mark.parametrize('frames, height, width', [(64, 32, 48), (79, 40, 32), (10, 33, 57), (1, 32, 32), (2, 1, 1),
                                                   pytest.param(64, 224, 224, marks=pytest.mark.slow),
                                                   pytest.param(79, 224, 224, marks=pytest.mark.slow),
                                                   pytest.param(64, 112, 112, marks=pytest.mark.slow),
                                                   pytest.param(10, 256, 340, marks=pytest.mark.slow)])
def test_scores_are_those_of_an_independent_forward(network, frames, height, width):
    net, arrays = network
    data = clips(1, frames, height, width)
    agree(net(mx.nd.array(data)), forward(data, arrays)['Logits'])


def test_flow_has_two_channels_and_the_same_numbers():
    net = small('i3d_flow_custom')
    arrays = random_parameters(net)
    data = clips(2, 9, 32, 40, channels=2)
    agree(net(mx.nd.array(data)), forward(data, arrays)['Logits'])


@pytest.mark.filterwarnings('error::UserWarning')
def test_every_endpoint_can_be_had_and_agrees(network, tmp_path):
    net, arrays = network
    data = clips(1, 9, 40, 48)
    want = forward(data, arrays)
    net.lay_out((9, 40, 48))
    for name, output in net.stages(mx.nd.array(data)):
        agree(output, want[name])
    net.save_parameters(str(tmp_path / 'net.params'))
    for name, endpoint in (('Mixed_4f', 'Mixed_4f'), ('MaxPool_3a_3x3', 'MaxPool3d_3a_3x3')):
        part = small(final_endpoint=name, num_segments=2)
        part.load_parameters(str(tmp_path / 'net.params'))
        part.hybridize()
        agree(part(mx.nd.array(clips(2, 9, 40, 48)))[:1], want[endpoint])


@pytest.mark.filterwarnings('error::UserWarning')
def test_feat_ext_returns_features_that_the_head_turns_into_the_scores(network, tmp_path):
    net, _ = network
    net.save_parameters(str(tmp_path / 'net.params'))
    for size in (32, 256):  # of one window, and of several
        features = small(feat_ext=True, num_segments=2, num_crop=2)
        features.load_parameters(str(tmp_path / 'net.params'))
        features.hybridize()
        data = mx.nd.array(clips(4, 4, size, 40))
        got = features(data).asnumpy()
        assert got.shape == (1, 1024) and features.feat_dim == 1024
        head = net.Logits.Conv3d_0c_1x1
        scores = got @ head.weight.data().asnumpy().reshape(5, 1024).T + head.bias.data().asnumpy()
        agree(mx.nd.array(scores), net(data).asnumpy().mean(axis=0, keepdims=True))


def test_scores_of_a_videos_clips_are_averaged(network, tmp_path):
    net, _ = network
    net.save_parameters(str(tmp_path / 'net.params'))
    video = small(num_segments=2, num_crop=3)
    video.load_parameters(str(tmp_path / 'net.params'))
    video.hybridize()
    data = mx.nd.array(clips(12))
    agree(video(data), net(data).asnumpy().reshape(2, 6, 5).mean(axis=1))
    with pytest.raises(ModelError, match='8 clips are not a whole number of videos of 2 segments x 3 crops'):
        video(data[:8])


@pytest.fixture
def small_networks():
    with few_blocks():
        yield


def test_one_network_follows_sizes_in_training_too(small_networks):
    net = small(dropout_ratio=0)
    plain = small(dropout_ratio=0)
    for one in (net, plain):
        random_parameters(one)
    net.hybridize(static_alloc=True)
    stems = [one.Conv3d_1a_7x7.conv.weight for one in (net, plain)]
    for frames, height in ((8, 48), (9, 49), (8, 48)):
        data, losses = mx.nd.array(clips(2, frames, height)), []
        for one in (net, plain):
            with autograd.record():
                loss = gluon.loss.SoftmaxCELoss()(one(data), mx.nd.array([0, 3])).mean()
            loss.backward()
            losses.append(loss.asscalar())
        assert abs(losses[0] - losses[1]) <= 1e-3 * losses[1]
        # A ReLU that tips over by a rounding error shows in the gradient, so it is compared as a whole.
        got, want = (stem.grad().asnumpy().ravel() for stem in stems)
        assert got @ want > 0.999 * np.linalg.norm(got) * np.linalg.norm(want) > 0
    gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1e-3}).step(1)
    assert np.isfinite(net(mx.nd.array(clips(2, 9, 49))).asnumpy()).all()
    assert net.Conv3d_1a_7x7.bn.running_mean.data().asnumpy().any()


@pytest.mark.parametrize('name, asked, momentum', [
    ('i3d_rgb_custom', None, 0.9), ('i3d_flow_custom', None, 0.9), ('s3dg_custom', None, 0.9),
    ('s3d_custom', None, 0.9), ('s3dg_kinetics400', None, 0.999), ('i3d_rgb_kinetics400', None, 0.999),
    ('s3dg_custom', 0.75, 0.75), ('s3dg_kinetics400', 0., 0.)])
def test_running_statistics_keep_what_the_model_or_the_user_says(name, asked, momentum):
    """A new data set's networks adapt fast, or the first thousand steps are validated with statistics of nothing."""
    options = {'depth_multiplier': 0.1, 'min_depth': 2} if name.startswith('s3d') else {}
    net = get_model(name, **SMALL, nclass=2, bn_momentum=asked, **options)
    norms = net.batch_norms()
    net = net.Conv3d_1a_7x7  # its statistics say it, and the rest of the network takes long
    data, seen = mx.nd.array(clips(1, 4, 16, 16, net.conv.weight.shape[1])), []
    for _ in range(2):
        with autograd.record():
            loss = net(data).sum()
        loss.backward()  # in which the operator notes them
        seen.append(norms[0].running_mean.data().asnumpy())
    assert norms[0] is net.bn and np.abs(seen[0]).min() > 0
    np.testing.assert_allclose(seen[1] / seen[0], 1 + momentum, rtol=1e-4)  # from 0: (1 - m) mean, (1 - m ** 2) mean
    assert {layer._kwargs['momentum'] for layer in norms} == {momentum}


def test_a_symbol_is_traced_at_the_size_of_get_model(network):
    net, arrays = network
    with_size = small(clip_length=11, input_size=45)
    random_parameters(with_size)
    output = with_size(mx.sym.var('data'))
    data = clips(1, 11, 45, 45)
    values = {parameter.name: parameter.data() for parameter in with_size.collect_params().values()}
    bound = output.bind(mx.cpu(), {'data': mx.nd.array(data), **{name: values[name] for name in output.list_arguments()
                                                                if name != 'data'}},
                        aux_states={name: values[name] for name in output.list_auxiliary_states()})
    agree(bound.forward()[0], forward(data, arrays)['Logits'])


def test_networks_compute_on_several_devices():
    net = small()
    random_parameters(net)
    net.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)])
    net.hybridize()
    for frames in (8, 9):
        data = mx.nd.array(clips(1, frames))
        first, second = (net(data.as_in_context(device)).asnumpy() for device in (mx.cpu(0), mx.cpu(1)))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('name, channels, modality', [('i3d_rgb_custom', 3, 'rgb'),
                                                      ('i3d_flow_kinetics400', 2, 'flow')])
def test_cards_bring_pixels_and_flow_into_minus_one_to_one(name, channels, modality):
    card = model_card(name)
    assert (card.channels, card.modality, card.input_layout, card.clip_length) == (channels, modality, 'NCTHW', 64)
    stored = np.array([0, 255]) if modality == 'rgb' else np.array([1, 255])
    scaled = (stored / 255 - card.mean[0]) / card.std[0]
    np.testing.assert_allclose(scaled, [-1, 1], atol=1e-6)
    if modality == 'flow':
        assert abs((128 / 255 - card.mean[0]) / card.std[0]) < 1e-7


@pytest.mark.parametrize('shape, message', [
    ((2, 2, 8, 32, 32), r'i3d_rgb_custom takes clips N x 3 x T x H x W, got \(2, 2, 8, 32, 32\)'),
    ((2, 3, 32, 32), 'takes clips N x 3 x T x H x W')])
def test_what_is_no_clip_of_its_channels_is_refused(network, shape, message):
    with pytest.raises(ModelError, match=message):
        network[0](mx.nd.zeros(shape))


def test_weights_start_by_hes_rule_and_the_heads_by_xaviers():
    net = small()
    for key in ('Conv3d_1a_7x7', 'Conv3d_2c_3x3', 'Mixed_4b.Branch_1.Conv3d_0b_3x3'):
        weight = net._collect_params_with_prefix()[f'{key}.conv.weight'].data().asnumpy()
        assert weight.std() == pytest.approx((2 / np.prod(weight.shape[1:])) ** 0.5, rel=0.05), key
        assert np.abs(weight).max() > 3 * weight.std()  # a normal distribution
    head = net.Logits.Conv3d_0c_1x1
    bound = (3 / ((1024 + 5) / 2)) ** 0.5
    assert 0.95 * bound < np.abs(head.weight.data().asnumpy()).max() <= bound and not head.bias.data().asnumpy().any()


def test_an_unknown_endpoint_is_refused_by_name():
    with pytest.raises(ModelError, match="final_endpoint is one of Conv3d_1a_7x7, .*, Logits, got 'Mixed_6a'"):
        small(final_endpoint='Mixed_6a')
