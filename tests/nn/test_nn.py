"""Layers: batch normalisation on clips, freezing, group normalisation and consensus."""
import contextlib
import json

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import gluoncv.nn.gn
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from gluon_action.errors import ModelError
from gluon_action.nn import (
    BatchNorm,
    Consensus,
    DropPath,
    GroupNorm,
    LayerNorm,
    RowBatchNorm,
    RowScaling,
    as_operators,
    batch_norms,
    freeze_batch_norms,
)


def trained_twice(layer, data, weights):
    """Outputs, the gradient of the input and the running mean after two training steps."""
    data.attach_grad()
    for _ in range(2):
        with autograd.record():
            output = layer(data)
            loss = (output * weights).sum()
        loss.backward()
    return [array.asnumpy() for array in (output, data.grad, layer.running_mean.data(), layer.running_var.data())]


@pytest.mark.parametrize('hybrid', [False, True])
def test_batch_norm_on_clips_equals_batch_norm_on_the_same_numbers_as_images(hybrid):
    clip, weights = (mx.nd.random.normal(shape=(2, 3, 4, 5, 6)) for _ in range(2))
    ours, images = BatchNorm(ndim=5, in_channels=3), gluon.nn.BatchNorm(in_channels=3)
    for layer in (ours, images):
        layer.initialize()
        layer.hybridize(hybrid)
    got = trained_twice(ours, clip, weights)
    want = trained_twice(images, clip.reshape((2, 3, 4, 30)), weights.reshape((2, 3, 4, 30)))
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b.reshape(a.shape), rtol=1e-5, atol=1e-5)


def test_batch_norm_trains_behind_a_3d_convolution():
    """Its gradients are those of the same convolution and Gluon's normalisation of the same numbers as images."""
    conv, ours, images = gluon.nn.Conv3D(4, 3, in_channels=3), BatchNorm(ndim=5, in_channels=4), gluon.nn.BatchNorm(
        in_channels=4)
    for layer in (conv, ours, images):
        layer.initialize(mx.init.Normal(0.5))
    data, way = mx.nd.random.normal(shape=(2, 3, 4, 8, 7)), mx.nd.random.normal(shape=(2, 4, 2, 6 * 5))
    found = []
    for norm, shape in ((ours, (0, 0, 0, 0, 0)), (images, (0, 0, 0, -3))):
        with autograd.record():
            loss = (norm(conv(data).reshape(shape)).relu().reshape((2, 4, 2, 30)) * way).sum()
        loss.backward()
        found.append([parameter.grad().asnumpy() for parameter in (conv.weight, norm.gamma, norm.beta)])
    for got, want in zip(*found):
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_batch_norm_refuses_other_numbers_of_axes():
    with pytest.raises(ValueError, match='4 .images. or 5 .clips., got 3'):
        BatchNorm(ndim=3)


def test_frozen_batch_norms_keep_statistics_gamma_and_beta():
    net = gluon.nn.HybridSequential()
    net.add(BatchNorm(in_channels=3), gluon.nn.Conv2D(3, 1, in_channels=3), BatchNorm(in_channels=3))
    net.initialize()
    first, second = batch_norms(net)
    freeze_batch_norms([second])
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1., 'wd': 0.1})
    before = [parameter.data().asnumpy() for parameter in second.collect_params().values()]
    with autograd.record():
        loss = (net(mx.nd.random.normal(loc=3, shape=(2, 3, 4, 4))) ** 3).sum()
    loss.backward()
    trainer.step(1)
    after = [parameter.data().asnumpy() for parameter in second.collect_params().values()]
    assert all((a == b).all() for a, b in zip(before, after))
    assert (first.running_mean.data().asnumpy() != 0).all()
    assert (first.beta.data().asnumpy() != 0).all()


@pytest.mark.parametrize('unbiased', [True, False])
@pytest.mark.parametrize('hybrid', [False, True])
def test_batch_norm_of_rows_keeps_the_variance_that_tensorflow_keeps(hybrid, unbiased):
    rows = np.random.RandomState(0).normal(size=(5, 3)) * [1, 3, 0.1] + [0, 2, -1]
    layer = RowBatchNorm(3, unbiased=unbiased, momentum=0.5)
    layer.initialize()
    layer.hybridize(hybrid)
    with autograd.record():
        out = layer(mx.nd.array(rows))
    out.backward()
    np.testing.assert_allclose(out.asnumpy(), (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean.data().asnumpy(), rows.mean(0) / 2, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.data().asnumpy(), 0.5 + rows.var(0, ddof=int(unbiased)) / 2, rtol=1e-5)
    with autograd.record():
        out = layer(mx.nd.array(rows[:1]))  # which has no unbiased variance
    out.backward()
    assert np.isfinite(layer.running_var.data().asnumpy()).all()


@pytest.mark.parametrize('kind', [RowBatchNorm, RowScaling])
@pytest.mark.parametrize('unbiased', [True, False])
def test_statistics_of_rows_are_not_left_to_cudnn(kind, unbiased):
    made = kind(3, unbiased=unbiased, momentum=0.5)(mx.sym.Variable('x'))
    graph = json.loads(mx.sym.Group(list(made)).tojson())
    found = [node['attrs'] for node in graph['nodes'] if node['op'] == 'BatchNorm']
    assert [norm.get('cudnn_off') for norm in found if float(norm['momentum']) != 1] == ['True']


@pytest.mark.parametrize('kind', [RowBatchNorm, RowScaling])
@pytest.mark.parametrize('frozen', [False, True])
def test_batch_norms_of_rows_are_frozen_as_others(kind, frozen):
    layer, rows = kind(3), mx.nd.random.normal(loc=3, shape=(5, 3))
    layer.initialize()
    if frozen:
        freeze_batch_norms([layer])
    layer.hybridize()
    before = layer(rows)
    rows.attach_grad()
    with autograd.record():
        after = layer(rows)
        loss = sum((part ** 2).sum() for part in after) if kind is RowScaling else (after * rows).sum()
    if not frozen or kind is RowBatchNorm:  # a frozen scaling has nothing to learn
        loss.backward()
    assert (layer.running_mean.data().asnumpy() == 0).all() == frozen
    assert all((a.asnumpy() == b.asnumpy()).all() for a, b in zip(before, after)) == frozen


@pytest.mark.parametrize('training', [False, True])
def test_the_scaling_of_rows_is_that_of_their_batch_norm(training):
    rows = mx.nd.random.normal(loc=1, scale=0.3, shape=(50, 3))
    norm, scaling = RowBatchNorm(3), RowScaling(3)
    for layer in (norm, scaling):
        layer.initialize()
        layer.running_var.set_data(mx.nd.array([0.5, 1, 2]))
        layer.gamma.set_data(mx.nd.array([1, 2, 3]))
    with autograd.record(train_mode=training):
        wanted, (scale, shift) = norm(rows), scaling(rows)
    np.testing.assert_allclose((rows * scale + shift).asnumpy(), wanted.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('hybrid', [False, True])
def test_group_norm_equals_gluoncvs_with_the_same_parameters(hybrid):
    ours, theirs = GroupNorm(64), gluoncv.nn.gn.GroupNorm(in_channels=64)
    for layer in (ours, theirs):
        layer.initialize()
    for name in ('gamma', 'beta'):
        values = mx.nd.random.normal(shape=(64,))
        getattr(ours, name).set_data(values)
        getattr(theirs, name).set_data(values)
    ours.hybridize(hybrid)
    x = mx.nd.random.normal(loc=1, shape=(2, 64, 5, 6))
    np.testing.assert_allclose(ours(x).asnumpy(), theirs(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_group_norm_refuses_channels_that_do_not_divide():
    with pytest.raises(ValueError, match='48 channels cannot be divided into 32 groups'):
        GroupNorm(48)


@pytest.mark.parametrize('operators', [False, True])
def test_layer_norm_of_equal_numbers_is_beta_and_has_a_gradient(operators):
    layer = LayerNorm(6)
    layer.initialize()
    layer.beta.set_data(mx.nd.arange(6))
    x = mx.nd.array([[3.] * 6, [0.] * 6, [1., 2., 3., 4., 5., 6.]])
    x.attach_grad()
    with as_operators(layer) if operators else contextlib.nullcontext(), autograd.record():
        out = layer(x)
        (out * mx.nd.array([[1., -2., 3., -4., 5., 7.]])).sum().backward()
    np.testing.assert_allclose(out.asnumpy()[:2], [np.arange(6)] * 2, atol=1e-5)
    assert np.isfinite(x.grad.asnumpy()).all() and np.isfinite(layer.gamma.grad().asnumpy()).all()


@pytest.mark.parametrize('layer, axis, eps', [
    (LayerNorm(64), -1, 1e-6), (LayerNorm(64, epsilon=1e-3), -1, 1e-3), (GroupNorm(64), (2, 3), 1e-5),
    (GroupNorm(64, epsilon=1e-2), (2, 3), 1e-2)])
def test_what_is_added_to_the_variance_counts_where_numbers_hardly_differ(layer, axis, eps):
    layer.initialize()
    x = eps ** 0.5 * np.random.RandomState(0).normal(size=(3, 64) if axis == -1 else (3, 64, 4, 5))
    if axis == -1:
        want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    else:
        groups = x.reshape(3, 32, -1)
        want = ((groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + eps)
                ).reshape(x.shape)
    np.testing.assert_allclose(layer(mx.nd.array(x)).asnumpy(), want, rtol=1e-3, atol=1e-4)


def test_group_norm_of_equal_numbers_is_beta():
    layer = GroupNorm(32)
    layer.initialize()
    layer.beta.set_data(mx.nd.arange(32))
    out = layer(mx.nd.ones((2, 32, 3, 5)) * 7).asnumpy()
    np.testing.assert_allclose(out, np.broadcast_to(np.arange(32)[:, None, None], out.shape), atol=1e-4)


def test_drop_path_drops_whole_samples_unless_told_otherwise():
    drop = DropPath(0.5)
    x = mx.nd.ones((40, 5, 7))
    with autograd.train_mode():
        kept = drop(x).asnumpy()
    assert set(kept.ravel()) == {0, 2}
    np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1, :1], kept.shape))


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('kind, reduce', [('avg', np.mean), ('max', np.max), ('weighted', np.mean)])
def test_consensus_averages_crops_and_combines_segments(kind, reduce, hybrid):
    rows = np.random.RandomState(0).randn(2, 3, 4, 5).astype('float32')  # videos, segments, crops, classes
    layer = Consensus(3, 4, kind)
    layer.initialize()
    layer.hybridize(hybrid)
    got = layer(mx.nd.array(rows.reshape(24, 5))).asnumpy()
    np.testing.assert_allclose(got, reduce(rows.mean(axis=2), axis=1), rtol=1e-5, atol=1e-6)


def test_weighted_consensus_learns_what_each_segment_is_worth():
    layer = Consensus(2, kind='weighted')
    layer.initialize()
    with autograd.record():
        loss = layer(mx.nd.array([[1., 2.], [30., 40.]])).sum()
    loss.backward()
    assert layer.weight.grad().asnumpy().ravel().tolist() == [3., 70.]


def test_average_and_max_have_no_parameters():
    assert not list(Consensus(3).collect_params()) and not list(Consensus(3, kind='max').collect_params())


def test_an_unknown_consensus_is_refused_by_name():
    with pytest.raises(ModelError, match="one of avg, max, weighted, got 'median'"):
        Consensus(3, kind='median')
