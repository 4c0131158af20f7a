"""SAME padding: convolution and pooling of clips of any size, and graphs that follow the size."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from reference_i3d import conv, max_pool, tensorflow_same

from gluon_action.errors import ModelError
from gluon_action.nn import SameConv3D, SameMaxPool3D, SizedBlock, lay_out, same_padding

SIZES = [(4, 6, 8), (5, 7, 9), (1, 1, 1), (2, 9, 4), (7, 1, 2)]


def convolution(kernel=7, stride=2, **kwargs):
    layer = SameConv3D(4, kernel, stride, in_channels=3, **kwargs)
    layer.initialize(mx.init.Normal(1))
    return layer


def close(got, want):
    np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize('length, kernel, stride, want', [
    (224, 7, 2, (112, 2, 3)), (79, 7, 2, (40, 3, 3)), (112, 3, 2, (56, 0, 1)), (20, 2, 2, (10, 0, 0)),
    (5, 2, 2, (3, 0, 1)), (10, 3, 1, (10, 1, 1)), (1, 3, 2, (1, 1, 1)), (1, 7, 2, (1, 3, 3)), (8, 1, 2, (4, 0, 0))])
def test_padding_is_known(length, kernel, stride, want):
    assert same_padding(length, kernel, stride) == want


def test_padding_is_tensorflows_for_all_small_axes():
    for length, kernel, stride in np.ndindex(20, 8, 4):
        axis = (length + 1, kernel + 1, stride + 1)
        assert same_padding(*axis)[1:] == tensorflow_same(*axis)


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('kernel, stride', [(7, 2), ((3, 1, 2), (2, 1, 2)), (3, 1)])
def test_one_convolution_follows_every_size(kernel, stride, hybrid):
    layer = convolution(kernel, stride)
    layer.hybridize(hybrid)
    stride = (stride,) * 3 if isinstance(stride, int) else stride
    for size in SIZES + SIZES[:1]:
        x = np.random.RandomState(0).normal(size=(2, 3, *size))
        want = conv(x, layer.weight.data().asnumpy(), stride, layer.bias.data().asnumpy())
        got = layer(mx.nd.array(x))
        assert got.shape[2:] == layer.lay_out(size)
        close(got, want)


@pytest.mark.parametrize('kernel, frames', [(7, length) for length in range(1, 10)] + [(3, 3), (5, 5)])
def test_weights_have_the_gradient_of_the_padded_clip_however_few_frames_it_has(kernel, frames):
    layer = SameConv3D(64, (kernel, 3, 3), 2, in_channels=3, use_bias=False)
    layer.initialize(mx.init.Normal(1))
    x = np.random.RandomState(0).normal(size=(1, 3, frames, 7, 7)).astype(np.float32)
    _, before, after = same_padding(frames, kernel, 2)
    weight = layer.weight.data().copy()
    weight.attach_grad()
    with autograd.record():
        padded = mx.nd.array(np.pad(x, ((0, 0), (0, 0), (before, after), (1, 1), (1, 1))))
        want = mx.nd.Convolution(padded, weight, no_bias=True, kernel=(kernel, 3, 3), stride=(2, 2, 2), num_filter=64)
    head = mx.nd.random.normal(shape=want.shape)
    want.backward(head)
    stale = [mx.nd.full(weight.shape, 1e6) for _ in range(12)]  # what memory held before must not be seen
    mx.nd.waitall()
    del stale
    with autograd.record():
        got = layer(mx.nd.array(x))
    got.backward(head)
    close(got, want.asnumpy())
    close(layer.weight.grad(), weight.grad.asnumpy())


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('window, stride', [((1, 3, 3), (1, 2, 2)), (3, 2), (2, 2), (3, 1), ((2, 5, 4), (2, 3, 2))])
def test_one_pooling_follows_every_size_and_padding_never_wins(window, stride, hybrid):
    layer = SameMaxPool3D(window, stride)
    layer.hybridize(hybrid)
    window, stride = ((value,) * 3 if isinstance(value, int) else value for value in (window, stride))
    for size in SIZES + SIZES[:1]:
        x = np.random.RandomState(0).normal(-5, size=(2, 3, *size))
        close(layer(mx.nd.array(x)), max_pool(x, window, stride))


@pytest.mark.parametrize('size', [(4, 6, 8), (5, 7, 3)])
def test_gradients_are_those_of_a_convolution_of_the_padded_clip(size):
    same, plain = convolution(), gluon.nn.Conv3D(4, 7, 2, in_channels=3)
    plain.initialize()
    plain.weight.set_data(same.weight.data())
    x = mx.nd.random.normal(shape=(2, 3, *size))
    x.attach_grad()
    padded = mx.nd.array(np.pad(x.asnumpy(), ((0, 0), (0, 0), *(tensorflow_same(n, 7, 2) for n in size))))
    padded.attach_grad()
    for layer, clip in ((same, x), (plain, padded)):
        layer.hybridize()
        with autograd.record():
            loss = (layer(clip) ** 2).sum()
        loss.backward()
    close(same.weight.grad(), plain.weight.grad().asnumpy())
    inside = tuple(slice(tensorflow_same(n, 7, 2)[0], tensorflow_same(n, 7, 2)[0] + n) for n in size)
    close(x.grad, padded.grad.asnumpy()[(slice(None), slice(None), *inside)])


def test_pooling_passes_the_gradient_to_what_won():
    layer = SameMaxPool3D(3, 2)
    x = mx.nd.arange(4 * 4 * 4).reshape((1, 1, 4, 4, 4)) - 100
    x.attach_grad()
    with autograd.record():
        loss = layer(x).sum()
    loss.backward()
    assert sorted(np.flatnonzero(x.grad.asnumpy())) == [42, 43, 46, 47, 58, 59, 62, 63]


def test_sizes_with_equal_paddings_share_a_graph_and_few_graphs_are_kept():
    layer = convolution()
    layer.hybridize()
    graphs = {}
    for size in ((4, 6, 8), (5, 6, 8), (8, 8, 8), (7, 8, 6)):
        layer(mx.nd.ones((1, 3, *size)))
        assert graphs.setdefault(size[0] % 2, layer._cached_op) is layer._cached_op
    assert graphs[0] is not graphs[1]
    for odd in np.ndindex(2, 2, 2):
        layer(mx.nd.ones((1, 3, *(4 + one for one in odd))))
    assert len(layer._graphs) == 3
    layer.hybridize()
    assert not layer._graphs


def test_a_block_follows_sizes_however_its_layers_were_called_before():
    class Two(SizedBlock):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = convolution(3, 2), SameMaxPool3D(3, 2)

        def hybrid_forward(self, F, x):
            return self.pool(self.conv(x))

    block = Two()
    block.hybridize()
    even, odd = mx.nd.random.normal(shape=(1, 3, 8, 8, 8)), mx.nd.random.normal(shape=(1, 3, 7, 9, 5))
    want = [block(clip).asnumpy() for clip in (even, odd)]
    for _ in range(2):
        for clip, result in ((even, want[0]), (odd, want[1])):
            block.conv(even if clip is odd else odd)
            np.testing.assert_array_equal(block(clip).asnumpy(), result)
    block.hybridize(False)
    for clip, result in ((even, want[0]), (odd, want[1])):
        close(block(clip), result)


def test_a_symbol_is_traced_for_the_size_it_was_promised():
    layer = convolution()
    with pytest.raises(ModelError, match='a symbol has no size to pad for; call plan_for'):
        layer(mx.sym.var('data'))
    layer.plan_for(5, 6, 7)
    layer(mx.nd.ones((1, 3, 4, 4, 4)))
    _, outputs, _ = layer(mx.sym.var('data')).infer_shape(data=(1, 3, 5, 6, 7))
    assert outputs == [(1, 4, 3, 3, 4)]
    clip = mx.nd.random.normal(shape=(1, 3, 5, 6, 7))
    traced = layer(mx.sym.var('data')).eval(data=clip, **{name: parameter.data() for name, parameter
                                                          in layer.collect_params().items()})[0]
    np.testing.assert_allclose(traced.asnumpy(), layer(clip).asnumpy(), rtol=1e-5, atol=1e-5)


def test_graphs_compute_on_every_device_of_the_parameters():
    layer = convolution()
    layer.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)])
    layer.hybridize()
    for size in ((4, 4, 4), (5, 4, 4), (4, 4, 4)):
        clip = mx.nd.random.normal(shape=(1, 3, *size))
        first, second = (layer(clip.as_in_context(device)).asnumpy() for device in (mx.cpu(0), mx.cpu(1)))
        np.testing.assert_array_equal(first, second)


def test_gluons_layers_say_what_they_make_of_a_size():
    assert lay_out(gluon.nn.Conv3D(4, (3, 1, 5), (2, 1, 1), padding=(1, 0, 0)), (8, 8, 8)) == (4, 8, 4)
    assert lay_out(gluon.nn.MaxPool3D(2), (8, 9, 10)) == (4, 4, 5)
    assert lay_out(gluon.nn.Dropout(0.5), (1, 2, 3)) == (1, 2, 3)


@pytest.mark.parametrize('window, stride', [((1, 3, 3), 2), (2, 1)])
def test_windows_that_leave_out_pixels_or_have_no_middle_are_refused(window, stride):
    with pytest.raises(ValueError, match='a stride is at most as large as the window'):
        SameMaxPool3D(window, stride)
