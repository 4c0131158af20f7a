"""Gradients of strided convolutions through time, beside those in float64, which other code computes."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from gluon_action.nn import FramePaddedConv3D, lay_out, pad_strided_frames


def gradient(kernel, stride, pad, clip, dtype, mended):
    layer = gluon.nn.Conv3D(16, (kernel, 1, 1), (stride, 1, 1), (pad, 0, 0), in_channels=16, use_bias=False)
    mx.random.seed(0)
    layer.initialize(mx.init.Normal(0.1))
    if mended:
        pad_strided_frames(layer)
        assert type(layer) is FramePaddedConv3D
        assert lay_out(layer, clip.shape[2:])[0] == (clip.shape[2] + 2 * pad - kernel) // stride + 1
    layer.cast(dtype)
    data = mx.nd.array(clip, dtype=dtype)
    with autograd.record():
        out = layer(data)
        loss = (out * out).sum()
    loss.backward()
    return out.asnumpy(), layer.weight.grad().asnumpy()


@pytest.mark.parametrize('kernel, stride, pad', [(7, 2, 3), (3, 2, 1), (5, 4, 2), (7, 4, 3), (5, 2, 2)])
@pytest.mark.parametrize('frames', range(3, 13))
def test_short_clips_have_the_gradient_that_float64_has(kernel, stride, pad, frames):
    clip = np.random.default_rng(frames).uniform(-1, 1, (2, 16, frames, 6, 5))
    if frames + 2 * pad < kernel:
        pytest.skip('no window')
    got = gradient(kernel, stride, pad, clip, 'float32', mended=True)
    want = gradient(kernel, stride, pad, clip, 'float64', mended=False)
    for ours, theirs in zip(got, want):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_other_convolutions_stay_as_they_are():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv3D(2, 3, 1, 1), gluon.nn.Conv3D(2, 3, 2, 0), gluon.nn.Conv2D(2, 3, 2, 1))
    pad_strided_frames(net)
    assert not any(isinstance(layer, FramePaddedConv3D) for layer in net)
