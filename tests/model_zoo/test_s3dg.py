"""S3D-G and S3D: counts and layouts as published, options of slim, numbers of an independent forward in float64."""
import contextlib
import json

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
from gluon_action.nn import SelfGating, as_operators

NORM = ('gamma', 'beta', 'running_mean', 'running_var')
BLOCKS = tuple(name for name in ENDPOINTS if name.startswith('Mixed'))
# Of slim's S3D-G: weights and biases, beta included, and those of the gates among them.
STAGES = {'Conv3d_1a_7x7': (28_288, 0), 'Conv3d_2b_1x1': (4_160, 0), 'Conv3d_2c_3x3': (258_432, 36_864)}


SMALL = {'pretrained_base': False, 'input_size': 32, 'clip_length': 8, 'nclass': 5}


def small(name='s3dg_custom', **options):
    return get_model(name, **{**SMALL, **options})


def bare(name='s3dg_custom', **options):
    """A small network without values."""
    return structure_of(name, **{**SMALL, **options})


def clips(rows=1, frames=8, height=32, width=32):
    return np.random.RandomState(0).uniform(-1, 1, (rows, 3, frames, height, width)).astype('float32')


def trainable(block, part=''):
    return sum(int(np.prod(parameter.shape)) for name, parameter in block.collect_params().items()
               if parameter.grad_req != 'null' and part in name)


def agree(got, want):
    assert got.shape == want.shape
    assert np.abs(got.asnumpy() - want).max() <= 1e-4 * np.abs(want).max()


def block_count(in_channels, widths):
    """Parameters of slim's block, written out: (all, of gates)."""
    zero, one_a, one_b, two_a, two_b, three = widths
    gates = zero ** 2 + one_b ** 2 + two_b ** 2 + three ** 2
    ones = in_channels * (zero + one_a + two_a + three)
    spatial = 9 * (one_a * one_b + two_a * two_b)
    temporal = 3 * (one_b ** 2 + two_b ** 2) + one_b + two_b
    return ones + spatial + temporal + sum(widths) + gates, gates


@pytest.mark.parametrize('name, options, count', [
    ('s3dg_kinetics400', {}, 9_518_848), ('s3dg_kinetics400', {'gating_startat': 'none'}, 9_518_848 - 1_219_328),
    ('s3d_kinetics400', {}, 8_320_048)])
def test_as_many_parameters_are_trained_as_published(name, options, count):
    assert trainable(bare(name, nclass=None, **options)) == count


def test_every_stage_of_slims_network_has_its_parameters():
    net = bare()
    for name, (count, gates) in STAGES.items():
        stage = getattr(net, name)
        assert (trainable(stage), trainable(stage, 'gating')) == (count, gates), name
    table = {'Mixed_3b': (192, (64, 96, 128, 16, 32, 32)), 'Mixed_4e': (512, (112, 144, 288, 32, 64, 64)),
             'Mixed_5c': (832, (384, 192, 384, 48, 128, 128))}
    for name, (in_channels, widths) in table.items():
        stage = getattr(net, name)
        assert (trainable(stage), trainable(stage, 'gating')) == block_count(in_channels, widths), name


@pytest.mark.parametrize('name, gamma, rest', [
    ('s3dg_custom', 'null', {'temporal.bias', 'gating.weight'}),
    ('s3d_custom', 'write', {f'temporal_bn.{key}' for key in NORM})])
def test_keys_say_what_a_unit_is_made_of(name, gamma, rest):
    net = bare(name)
    unit = net.Mixed_4b.Branch_1.Conv3d_0b_3x3._collect_params_with_prefix()
    assert set(unit) == {'conv.weight', 'temporal.weight', *(f'bn.{key}' for key in NORM), *rest}
    assert {layer.gamma.grad_req for layer in net.batch_norms()} == {gamma}


@pytest.mark.parametrize('name, options', [
    ('s3dg_custom', {}), ('s3d_custom', {}),
    ('s3dg_custom', {'first_temporal_kernel_size': 7, 'temporal_conv_startat': 'Mixed_4b', 'gating_startat': 'Mixed_5b',
                     'depth_multiplier': 0.5}),
    ('s3d_custom', {'gating_startat': 'Conv2d_2c_3x3', 'first_temporal_kernel_size': 1, 'depth_multiplier': 0.25})])
def test_scores_are_those_of_an_independent_forward(name, options):
    net = small(name, **options)
    arrays = random_parameters(net)
    net.hybridize()
    for frames, height, width in ((16, 32, 48), (23, 37, 32), (1, 32, 33)):
        data = clips(1, frames, height, width)
        agree(net(mx.nd.array(data)), forward(data, arrays, torch=name == 's3d_custom')['Logits'])


@pytest.mark.slow
@pytest.mark.parametrize('name', ['s3dg_custom', 's3d_custom'])
@pytest.mark.parametrize('frames, size', [(64, 224), (79, 112)])
def test_scores_at_full_size_are_those_of_an_independent_forward(name, frames, size):
    net = small(name)
    arrays = random_parameters(net)
    data = clips(1, frames, size, size)
    agree(net(mx.nd.array(data)), forward(data, arrays, torch=name == 's3d_custom')['Logits'])


@pytest.fixture
def small_networks():
    with few_blocks():
        yield


@pytest.mark.parametrize('name', ['s3dg_custom', 's3d_custom'])
def test_it_trains_and_follows_sizes(name, small_networks):
    """Compiled for several sizes it has the loss and the gradients that it has layer by layer, and every weight one."""
    net, plain = (small(name, dropout_ratio=0, depth_multiplier=0.3, min_depth=4) for _ in range(2))
    for one in (net, plain):
        random_parameters(one)
    net.hybridize()
    for frames, height in ((8, 32), (9, 33), (8, 32)):
        losses, gradients = [], []
        for one in (net, plain):
            with autograd.record():
                loss = gluon.loss.SoftmaxCELoss()(one(mx.nd.array(clips(2, frames, height))), mx.nd.array([0, 3]))
            loss.backward()
            losses.append(loss.asnumpy())
            gradients.append({key: parameter.grad().asnumpy().ravel() for key, parameter in
                              one._collect_params_with_prefix().items() if parameter.grad_req != 'null'})
        np.testing.assert_allclose(losses[0], losses[1], rtol=5e-3)
        assert [key for key, gradient in gradients[0].items() if not gradient.any()] == []
        # A ReLU that tips over by a rounding error shows in the gradient, so it is compared as a whole.
        got, want = (np.concatenate(list(part.values())) for part in gradients)
        assert got @ want > 0.99 * np.linalg.norm(got) * np.linalg.norm(want) > 0
    before = net.Conv3d_1a_7x7.conv.weight.data().asnumpy()
    gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.01}).step(2)
    assert (net.Conv3d_1a_7x7.conv.weight.data().asnumpy() != before).mean() > 0.9
    assert np.isfinite(net(mx.nd.array(clips(2))).asnumpy()).all()


def test_convolution_through_time_starts_as_the_identity():
    still = small(temporal_conv_startat='none', first_temporal_kernel_size=3)
    moving = small(first_temporal_kernel_size=3)
    shared = still._collect_params_with_prefix()
    for key, parameter in moving._collect_params_with_prefix().items():
        if '.temporal.' not in key:
            parameter.set_data(shared[key].data())
    data = mx.nd.array(clips())
    np.testing.assert_allclose(moving(data).asnumpy(), still(data).asnumpy(), rtol=1e-4, atol=1e-8)


def test_gates_weigh_channels_by_the_mean_of_the_clip():
    gate = SelfGating(3)
    gate.initialize()
    x, weight = np.random.RandomState(0).normal(size=(2, 3, 4, 5, 6)), gate.weight.data().asnumpy()[:, :, 0, 0, 0]
    assert 0 < np.abs(weight).max() < 0.1
    want = x / (1 + np.exp(-x.mean(axis=(2, 3, 4)) @ weight.T))[:, :, None, None, None]
    np.testing.assert_allclose(gate(mx.nd.array(x)).asnumpy(), want, rtol=1e-5, atol=1e-6)


def test_gates_learn_by_the_gradients_of_their_plain_form():
    """In float64, over sizes of which the count of places is no power of two, compiled and not."""
    def gradients(plain, compiled, shape):
        gate = SelfGating(5, sized=True)
        gate.initialize()
        gate.cast('float64')
        gate.weight.set_data(mx.nd.array(rng.normal(size=(5, 5, 1, 1, 1)), dtype='float64'))
        if compiled:
            gate.hybridize(static_alloc=True)
        x = mx.nd.array(np.random.RandomState(1).normal(size=shape), dtype='float64')
        x.attach_grad()
        with as_operators(gate) if plain else contextlib.nullcontext(), mx.autograd.record():
            gated = gate(x)
            loss = mx.nd.square(gated).sum() + (gated * mx.nd.arange(x.size, dtype='float64').reshape(shape)).sum()
        loss.backward()
        return gated.asnumpy(), x.grad.asnumpy(), gate.weight.grad().asnumpy()

    for shape in ((2, 5, 3, 7, 5), (1, 5, 1, 1, 1), (3, 5, 4, 4, 8)):
        rng = np.random.RandomState(0)
        expected = gradients(True, False, shape)
        for compiled in (False, True):
            rng = np.random.RandomState(0)
            for ours, theirs in zip(gradients(False, compiled, shape), expected):
                np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11 * np.abs(theirs).max())


def test_gates_are_exported_as_plain_operators():
    """For any size of clip, and none of them a matrix product with numbers that are all one."""
    net = bare()
    net.plan_for(8, 32, 32)
    names = [node['op'] for node in json.loads(net(mx.sym.var('data')).tojson())['nodes']]
    assert '_linalg_gemm2' in names and 'FullyConnected' not in names and '_ones' not in names


@pytest.mark.parametrize('sized', [False, True])
def test_a_gate_takes_clips_of_other_sizes(sized):
    """Each by a graph of its own where it is `sized`."""
    gate = SelfGating(3, sized=sized)
    gate.initialize()
    clips = [mx.nd.random.normal(shape=shape) for shape in ((2, 3, 4, 5, 6), (1, 3, 2, 2, 2), (2, 3, 4, 5, 6))]
    plain = [gate(clip).asnumpy() for clip in clips]
    gate.hybridize()
    for clip, expected in zip(clips, plain):
        np.testing.assert_allclose(gate(clip).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_gate_in_a_network_that_says_no_size_takes_clips_of_any():
    net = mx.gluon.nn.HybridSequential()
    net.add(SelfGating(3))
    net.initialize()
    clips = [mx.nd.random.normal(shape=shape) for shape in ((2, 3, 4, 5, 6), (2, 3, 8, 5, 6), (1, 3, 2, 2, 2))]
    net.hybridize()  # before it has seen any
    compiled = [net(clip).asnumpy() for clip in clips]
    net.hybridize(False)
    for clip, ours in zip(clips, compiled):
        np.testing.assert_allclose(ours, net(clip).asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('shape', [(2, 3, 8, 5, 6), (4, 3, 2, 5, 6), (2, 6, 2, 5, 6)])
def test_a_graph_for_one_size_refuses_another(shape):
    """Twice the frames, and what has as many numbers in all."""
    gate = SelfGating(3, sized=True)
    gate.initialize()
    gate.plan_for(4, 5, 6)
    graph = mx.gluon.SymbolBlock(gate(mx.sym.var('data')), mx.sym.var('data'), params=gate.collect_params())
    with pytest.raises(mx.MXNetError):
        graph(mx.nd.zeros(shape)).wait_to_read()


def test_gates_start_nearly_open_by_half():
    gate = SelfGating(128)
    gate.initialize()
    assert abs(gate.weight.data().asnumpy().std() - 0.01) < 5e-4


def test_no_layer_has_fewer_than_16_channels_unless_told():
    net = bare(depth_multiplier=0.1)
    widths = {key: parameter.shape[0] for key, parameter in net._collect_params_with_prefix().items()
              if key.endswith('conv.weight')}
    assert min(widths.values()) == 16 and max(widths.values()) == 38
    assert bare().Conv3d_1a_7x7.conv.weight.shape == (64, 3, 3, 7, 7)


@pytest.mark.parametrize('start', ['Conv3d_2c_3x3', 'Conv2d_2c_3x3', 'Mixed_3b', 'Mixed_4f', 'Mixed_5c', 'none'])
def test_time_and_gates_start_where_they_are_told(start):
    stages = ('Conv3d_2c_3x3', *BLOCKS)
    first = len(stages) if start == 'none' else stages.index(start.replace('2d', '3d'))
    net = bare(temporal_conv_startat=start, gating_startat='none')
    gated = bare(temporal_conv_startat='none', gating_startat=start)
    for number, name in enumerate(stages):
        temporal = [key for key in getattr(net, name)._collect_params_with_prefix() if 'temporal.weight' in key]
        gates = [key for key in getattr(gated, name)._collect_params_with_prefix() if 'gating' in key]
        starts = number >= first
        assert len(temporal) == starts * (2 if name in BLOCKS else 1)
        assert len(gates) == starts * (4 if name in BLOCKS else 1)
    assert not any('gating' in key for key in net.collect_params())


@pytest.mark.parametrize('taps', [1, 3, 5, 7])
def test_the_stem_sees_as_many_frames_as_asked_for(taps):
    assert bare(first_temporal_kernel_size=taps).Conv3d_1a_7x7.conv.weight.shape == (64, 3, taps, 7, 7)
    torch = bare('s3d_custom', first_temporal_kernel_size=taps).Conv3d_1a_7x7
    assert torch.conv.weight.shape == (64, 3, 1, 7, 7)
    assert (torch.temporal.weight.shape == (64, 64, taps, 1, 1)) if taps > 1 else torch.temporal is None


def test_layers_are_as_wide_as_the_multiplier_says_and_no_narrower_than_the_least():
    net = bare(depth_multiplier=0.3, min_depth=24)
    assert net.Conv3d_2c_3x3.conv.weight.shape[:2] == (57, 24)
    assert net.Mixed_3b.Branch_2.Conv3d_0a_1x1.conv.weight.shape[0] == 24
    assert net.feat_dim == 115 + 115 + 38 + 38
    assert small(depth_multiplier=0.3, min_depth=24, feat_ext=True)(mx.nd.array(clips(2))).shape == (2, net.feat_dim)


def test_cards_normalise_as_the_weights_were_trained():
    for name in ('s3dg_kinetics400', 's3dg_custom', 's3d_kinetics400', 's3d_custom'):
        card = model_card(name)
        assert (card.clip_length, card.input_layout, card.channels) == (64, 'NCTHW', 3)
        assert card.mean == ((0.5,) * 3 if name.startswith('s3dg') else (0.43216, 0.394666, 0.37645))


@pytest.mark.parametrize('options, message', [
    ({'first_temporal_kernel_size': 2}, 'first_temporal_kernel_size is 1, 3, 5 or 7, got 2'),
    ({'depth_multiplier': -1}, 'depth_multiplier is greater than 0, got -1'),
    ({'min_depth': 0}, 'min_depth is a whole number from 1, got 0'), ({'min_depth': 1.5}, 'whole number'),
    ({'bn_momentum': 'x'}, 'bn_momentum'),
    ({'gating_startat': 'Mixed_6a'}, 'gating_startat is one of Conv3d_2c_3x3, Mixed_3b, .*, or none for nowhere'),
    ({'temporal_conv_startat': 'Conv3d_1a_7x7'}, "temporal_conv_startat is one of .* got 'Conv3d_1a_7x7'"),
    ({'final_endpoint': 'Mixed_9z'}, 'final_endpoint is one of')])
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        small(**options)
