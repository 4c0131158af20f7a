"""TimeSformer: counts as published, numbers as an independent forward computes them, and what it refuses."""
import math

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from mxnet import autograd, gluon
from reference_timesformer import forward, random_parameters

from gluon_action.deploy.onnx.export import export_onnx
from gluon_action.errors import ModelError
from gluon_action.model_zoo import get_model, list_models, model_card
from gluon_action.model_zoo.recognizer import settle_shapes
from gluon_action.model_zoo.timesformer import ATTENTIONS, TimeSformer
from gluon_action.nn import Attention, DropPath, LayerNorm
from gluon_action.weights import read_index

TINY = {'patch': 4, 'dim': 24, 'depth': 3, 'heads': 3, 'mlp_ratio': 2}
SMALL = {'pretrained_base': False, 'input_size': 24, 'clip_length': 4, 'nclass': 5}

# Without the head; with 400, 174 and 2 classes.
BODY = 121_258_752
PUBLISHED = {'timesformer_divst_8x32_kinetics400': 121_566_352, 'timesformer_divst_8x32_ssv2': 121_392_558}


def clips(rows=2, frames=4, height=24, width=24, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 3, frames, height, width)).astype('float32')


def tiny(frames=3, height=12, width=8, **options):
    net = TimeSformer(5, **{**TINY, **options})
    net.plan_for(frames, height, width)
    return net


def layout(name, nclass):
    """Shapes of the parameters of a network of the zoo, of which nothing is allocated."""
    card = model_card(name)
    attention = {'divst': 'divided', 'jointst': 'joint', 'spaceonly': 'space_only'}[name.split('_')[1]]
    net = TimeSformer(nclass, attention=attention)
    net.plan_for(card.clip_length, card.input_size, card.input_size)
    settle_shapes(net, card.input_shape())
    return {key: parameter.shape for key, parameter in net._collect_params_with_prefix().items()}


def count(shapes, start=''):
    return sum(math.prod(shape) for key, shape in shapes.items() if key.startswith(start))


def agree(got, want, tolerance=1e-4):
    assert got.shape == want.shape
    assert np.abs(got.asnumpy() - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize('name', PUBLISHED)
def test_there_are_as_many_parameters_as_in_the_released_files(name):
    shapes = layout(name, model_card(name).num_classes)
    assert count(shapes) == PUBLISHED[name]
    assert count(shapes) - count(shapes, 'head.') == BODY
    assert count(shapes, 'blocks.7.') == 10_042_368
    assert count(layout(name, 2)) == 121_260_290


@pytest.mark.parametrize('name, frames, places', [
    ('timesformer_divst_16x16_448_kinetics600', 16, 28 * 28), ('timesformer_divst_96x4_kinetics400', 96, 14 * 14),
    ('timesformer_divst_64_ssv2', 64, 14 * 14)])
def test_longer_and_larger_clips_have_more_embeddings_and_nothing_else(name, frames, places):
    shapes = layout(name, 400)
    assert shapes['time_embed'] == (1, frames, 768) and shapes['pos_embed'] == (1, 1 + places, 768)
    assert count(shapes) - count(shapes, 'head.') == BODY + (frames - 8 + places - 196) * 768


@pytest.mark.parametrize('name, body', [('timesformer_jointst_8x32_kinetics400', 85_798_656 + 8 * 768),
                                        ('timesformer_spaceonly_8x32_kinetics400', 85_798_656)])
def test_one_attention_a_block_is_vit(name, body):
    shapes = layout(name, 400)
    assert count(shapes) - count(shapes, 'head.') == body
    assert not any('temporal' in key for key in shapes)
    assert ('time_embed' in shapes) == ('joint' in name)


def test_parameters_have_the_names_of_the_released_files():
    shapes = layout('timesformer_divst_8x32_kinetics400', 400)
    assert shapes['blocks.3.temporal_attn.qkv.weight'] == (2304, 768)
    assert shapes['blocks.11.mlp.fc1.bias'] == (3072,) and shapes['blocks.0.temporal_fc.bias'] == (768,)
    assert shapes['patch_embed.proj.weight'] == (768, 3, 16, 16) and shapes['head.weight'] == (400, 768)
    assert {key for key in shapes if not key.startswith('blocks.')} == {
        'cls_token', 'pos_embed', 'time_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias', 'norm.gamma',
        'norm.beta', 'head.weight', 'head.bias'}


def test_every_name_of_the_family_has_a_card():
    names = list_models('timesformer_*')
    assert {f'timesformer_divst_{clip}_{data}' for clip in ('8x32', '16x16_448', '96x4')
            for data in ('kinetics400', 'kinetics600', 'ssv2')} < set(names)
    for name in names:
        card = model_card(name)
        assert (card.input_layout, card.mean, card.std) == ('NCTHW', (0.45,) * 3, (0.225,) * 3)
        assert card.head == 'head.weight' and card.family == 'TimeSformer'
        assert all(row.protocol == '1x3' for row in read_index().rows_of(name))
    assert model_card('timesformer_divst_16x16_448_ssv2').input_shape() == (1, 3, 16, 448, 448)
    assert model_card('timesformer_divst_96x4_kinetics600').clip_stride == 4
    assert len(model_card('timesformer_divst_8x32_ssv2').labels()) == 174


@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('frames, height, width', [(3, 12, 8), (1, 4, 20), (5, 20, 12)])
def test_scores_are_those_of_an_independent_forward(attention, frames, height, width):
    net = tiny(frames, height, width, attention=attention)
    arrays = random_parameters(net)
    data = clips(3, frames, height, width)
    _, want = forward(data, arrays, attention=attention, heads=3, patch=4)
    agree(net(mx.nd.array(data)), want)
    net.hybridize(static_alloc=True)
    agree(net(mx.nd.array(data)), want)
    agree(net(mx.nd.array(data[:1])), want[:1])


def test_the_small_network_scores_as_an_independent_forward():
    net = get_model('timesformer_small_custom', **{**SMALL, 'input_size': 56, 'clip_length': 12})
    arrays = random_parameters(net)
    data = clips(1, 12, 56, 56)
    agree(net(mx.nd.array(data)), forward(data, arrays, attention='divided', heads=6, patch=8)[1])


def test_a_network_without_weights_of_others_tells_the_order_of_frames_from_the_start():
    data = clips(4, 4, 24, 24)

    def moved_by_the_order(start):
        mx.random.seed(3)
        net = TimeSformer(5, patch=8, dim=96, depth=2, heads=6, feat_ext=True, start=start)
        net.plan_for(4, 24, 24)
        net.initialize()
        forwards, backwards = net(mx.nd.array(data)), net(mx.nd.array(data[:, :, ::-1]))
        return float((forwards - backwards).abs().mean().asscalar())

    assert moved_by_the_order('vit') < 1e-6
    assert moved_by_the_order('scratch') > 0.01


def test_feat_ext_returns_the_class_token_that_the_head_scores():
    net = tiny(feat_ext=True)
    arrays = random_parameters(net)
    net.hybridize()
    data = clips(2, 3, 12, 8)
    agree(net(mx.nd.array(data)), forward(data, arrays, attention='divided', heads=3, patch=4)[0])


def test_scores_of_a_videos_clips_are_averaged():
    net, video = tiny(), tiny(num_segments=2, num_crop=3)
    for one in (net, video):
        random_parameters(one)
        one.hybridize()
    data = mx.nd.array(clips(12, 3, 12, 8))
    agree(video(data), net(data).asnumpy().reshape(2, 6, 5).mean(axis=1))
    with pytest.raises(ModelError, match='8 clips are not a whole number of videos of 2 segments x 3 crops'):
        video(data[:8])


def test_gradients_are_the_slopes_of_the_independent_forward():
    net = tiny(drop_path=0)
    arrays = random_parameters(net)
    net.hybridize()
    data = clips(2, 3, 12, 8)
    with autograd.record():
        loss = (net(mx.nd.array(data)) * mx.nd.array([[1, -2, 3, -4, 5]])).sum()
    loss.backward()
    keys = net._collect_params_with_prefix()
    rng = np.random.default_rng(1)
    for name in ('cls_token', 'pos_embed', 'time_embed', 'patch_embed.proj.weight', 'blocks.0.temporal_attn.qkv.weight',
                 'blocks.1.temporal_norm1.gamma', 'blocks.0.temporal_fc.bias', 'blocks.1.attn.qkv.bias',
                 'blocks.2.norm1.beta', 'blocks.0.mlp.fc1.weight'):
        way = rng.normal(size=arrays[name].shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = {**arrays, name: arrays[name] + step * way}
            ends.append((forward(data, moved, attention='divided', heads=3, patch=4)[1] * [1, -2, 3, -4, 5]).sum())
        slope = (ends[0] - ends[1]) / 2e-5
        gradient = keys[name].grad().asnumpy().astype('float64')
        assert abs((gradient * way).sum() - slope) <= 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(way), name


def test_it_starts_as_a_vit_that_the_order_of_frames_does_not_matter_to():
    net = tiny()
    net.initialize()
    assert not net.time_embed.data().asnumpy().any()
    for block in net.blocks:
        assert not block.temporal_fc.weight.data().asnumpy().any()
        assert not block.temporal_fc.bias.data().asnumpy().any()
    weights = net.blocks[0].attn.qkv.weight.data().asnumpy()
    assert abs(weights.std() - 0.02) < 2e-3 and not net.blocks[0].attn.qkv.bias.data().asnumpy().any()
    data = clips(1, 3, 12, 8)
    agree(net(mx.nd.array(data[:, :, ::-1].copy())), net(mx.nd.array(data)).asnumpy())


def test_drop_path_grows_from_block_to_block_and_scales_whole_paths():
    np.testing.assert_allclose([block.drop_path._rate for block in tiny(depth=6).blocks], np.linspace(0, 0.1, 6))
    drop = DropPath(0.25, row_axes=(0, 2), ndim=4)
    x = mx.nd.random.uniform(1, 2, shape=(40, 3, 30, 4))
    assert (drop(x) == x).asnumpy().all()
    with autograd.record():
        kept = (drop(x) / x).asnumpy()
    assert set(np.unique(kept.round(4))) == {0, np.float32(1.3333)}
    np.testing.assert_allclose(kept, np.broadcast_to(kept[:, :1, :, :1], kept.shape), rtol=1e-6)
    assert abs((kept[:, 0, :, 0] == 0).mean() - 0.25) < 0.06


@pytest.mark.parametrize('path', ['temporal', 'spatial', 'mlp'])
def test_each_path_of_a_block_is_dropped_for_its_own_rows(path):
    """In time a place is dropped as a whole, in space a frame, in the MLP a clip; only one path does something."""
    frames, places, dim, count = 3, 5, 6, 40
    mx.random.seed(2)
    net = TimeSformer(2, patch=4, dim=dim, depth=2, heads=2, mlp_ratio=2, drop_path=0.5)
    net.plan_for(frames, 4, 4 * places)
    net.initialize()
    block = net.blocks[1]
    for key, parameter in block._collect_params_with_prefix().items():
        if key.endswith('.weight'):
            parameter.set_data(mx.nd.random.normal(0, 0.5, parameter.shape))
    ends = {'temporal': block.temporal_fc, 'spatial': block.attn.proj, 'mlp': block.mlp.fc2}
    for name in ends.keys() - {path}:
        ends[name].weight.set_data(mx.nd.zeros(ends[name].weight.shape))
    tokens = mx.nd.random.normal(shape=(count, 1 + frames * places, dim))
    whole = (block(tokens) - tokens).asnumpy()
    with autograd.train_mode():
        found = (block(tokens) - tokens).asnumpy()
    shares = ((found * whole).sum(axis=2) / (whole ** 2).sum(axis=2).clip(1e-12))[:, 1:].reshape(count, frames, places)
    assert set(shares.round(2).ravel()) == {0, 2}
    lost = shares < 1
    fates = {'temporal': lost[:, :1], 'spatial': lost[:, :, :1], 'mlp': lost[:, :1, :1]}[path]
    np.testing.assert_array_equal(lost, np.broadcast_to(fates, lost.shape))
    assert abs(fates.mean() - 0.5) < 0.25
    by_clip = fates.reshape(count, -1)
    assert path == 'mlp' or (by_clip.any(axis=1) & ~by_clip.all(axis=1)).any()  # a clip loses some and keeps some


def test_a_whole_network_loses_paths_in_training_only():
    mx.random.seed(1)
    data = mx.nd.array(clips(6, 3, 12, 8))
    for rate in (0, 0.5):
        net = tiny(drop_path=rate)
        random_parameters(net)
        tested = net(data).asnumpy()
        with autograd.train_mode():
            trained = net(data).asnumpy()
        assert np.allclose(tested, trained, atol=1e-5) == (rate == 0)
        np.testing.assert_array_equal(net(data).asnumpy(), tested)


def test_the_small_network_loses_nothing_in_training_unless_asked():
    net, data = get_model('timesformer_small_custom', **SMALL), mx.nd.array(clips())
    with autograd.train_mode():
        np.testing.assert_array_equal(net(data).asnumpy(), net(data).asnumpy())
    embedded = TimeSformer(5, patch=4, dim=96, depth=1, heads=2)
    embedded.plan_for(8, 32, 32)
    embedded.initialize()
    for name in ('cls_token', 'pos_embed'):
        assert abs(getattr(embedded, name).data().asnumpy().std() - 0.02) < 5e-3


def test_training_reaches_every_parameter():
    net = get_model('timesformer_small_custom', **SMALL)
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    for _ in range(2):  # behind temporal_fc, which is 0, nothing has a gradient in the first step
        with autograd.record():
            loss = gluon.loss.SoftmaxCELoss()(net(mx.nd.array(clips())), mx.nd.array([0, 3]))
        loss.backward()
        trainer.step(2)
    parameters = net._collect_params_with_prefix()
    assert [key for key, parameter in parameters.items() if not parameter.grad().asnumpy().any()] == []


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_it_exports_for_any_batch(attention, tmp_path):
    net = tiny(3, 16, 12, attention=attention)
    random_parameters(net)
    export_onnx(net, tmp_path / 'model.onnx', input_shape=(1, 3, 3, 16, 12))
    session = onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'), providers=['CPUExecutionProvider'])
    assert session.get_inputs()[0].shape == ['batch', 3, 3, 16, 12]
    for rows in (1, 4):
        data = clips(rows, 3, 16, 12)
        agree(net(mx.nd.array(data)), session.run(None, {'clip': data})[0])


def test_layer_normalisations_are_exported_as_what_onnx_runtime_fuses(tmp_path):
    net = tiny()
    random_parameters(net)
    export_onnx(net, tmp_path / 'model.onnx', input_shape=(1, 3, 3, 12, 8))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimised.onnx')
    onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'), options, providers=['CPUExecutionProvider'])
    kinds = [node.op_type for node in onnx.load(tmp_path / 'optimised.onnx').graph.node]
    assert kinds.count('LayerNormalization') == 3 * TINY['depth'] + 1


@pytest.mark.parametrize('options, message', [
    ({'input_size': 30}, r'cuts frames into patches of 8 x 8 pixels, which do not divide 30 x 30; .* such as 32'),
    ({'input_size': 5}, 'do not divide 5 x 5; .* such as 8'),
    ({'partial_bn': True}, 'no batch normalisation for partial_bn to freeze'),
    ({'bn_momentum': 0.9}, 'no batch normalisation that bn_momentum'),
    ({'tsn': True}, 'takes clips and averages over segments as it is'),
    ({'dropout_ratio': 1.5}, 'dropout_ratio is at least 0 and less than 1, got 1.5'),
    ({'final_endpoint': 'Logits'}, 'timesformer_small_custom has no final_endpoint')])
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        get_model('timesformer_small_custom', **{**SMALL, **options})


@pytest.mark.parametrize('shape, message', [
    ((1, 3, 8, 24, 24), 'is for clips of 4 frames of 24 x 24, got 8 of 24 x 24; build it with clip_length=8 and '),
    ((1, 3, 4, 24, 32), 'is for clips of 4 frames of 24 x 24, got 4 of 24 x 32; build it with clip_length=4$'),
    ((1, 2, 4, 24, 24), r'takes clips N x 3 x T x H x W, got \(1, 2, 4, 24, 24\)'),
    ((1, 3, 24, 24), 'takes clips N x 3 x T x H x W')])
def test_clips_of_another_size_are_refused(shape, message):
    net = get_model('timesformer_small_custom', **SMALL)
    with pytest.raises(ModelError, match=message):
        net(mx.nd.zeros(shape))


def test_what_the_constructor_cannot_build_is_refused():
    with pytest.raises(ModelError, match="attention is one of divided, joint, space_only, got 'time'"):
        TimeSformer(5, attention='time')
    with pytest.raises(ModelError, match='a width of 10 cannot be divided into 3 heads'):
        Attention(10, 3)
    with pytest.raises(ModelError, match=r'call plan_for\(frames, height, width\) first'):
        TimeSformer(5, **TINY)(mx.nd.zeros((1, 3, 2, 8, 8)))
    with pytest.raises(ModelError, match='is for clips of 3 frames of 12 x 8, got 3 of 8 x 8'):
        tiny().plan_for(3, 8, 8)


@pytest.mark.parametrize('hybridize', [False, True])
def test_a_network_in_double_precision_scores_as_in_single(hybridize):
    net, x = tiny(), mx.nd.array(clips(frames=3, height=12, width=8))
    net.initialize()
    single = net(x).asnumpy()
    net.cast('float64')
    net.hybridize(hybridize)
    double = net(x.astype('float64'))
    assert double.dtype == np.float64
    agree(double, single, 1e-5)


def test_a_layer_normalisation_written_as_products_is_the_operator():
    layer = LayerNorm(7)
    for parameter in layer.collect_params().values():
        parameter.initialize(mx.init.Uniform(1), force_reinit=True)
    gamma, beta = layer.gamma.data().copy(), layer.beta.data().copy()
    x, way = mx.nd.random.normal(3, 2, shape=(4, 3, 7)), mx.nd.random.normal(shape=(4, 3, 7))
    found = []
    for run in (layer, lambda x: mx.nd.LayerNorm(x, gamma, beta, eps=1e-6)):
        for array in (x, gamma, beta):
            array.attach_grad()
        with autograd.record():
            loss = (run(x) * way).sum()
        loss.backward()
        parts = (layer.gamma.grad(), layer.beta.grad()) if run is layer else (gamma.grad, beta.grad)
        found.append([run(x).asnumpy(), x.grad.asnumpy(), *(part.asnumpy() for part in parts)])
    for got, want in zip(*found):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
