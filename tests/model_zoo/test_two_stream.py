import mxnet as mx
import numpy as np
import pytest

from gluon_action.errors import ModelError
from gluon_action.model_zoo import get_model
from gluon_action.model_zoo.two_stream import TwoStream


def stream(modality, nclass=5, seed=0, **options):
    mx.random.seed(seed)
    return get_model(f'i3d_{modality}_custom', nclass=nclass, pretrained_base=False, clip_length=4, input_size=16,
                     **options)


@pytest.fixture(scope='module')
def streams():
    return stream('rgb'), stream('flow', seed=1)


@pytest.fixture(scope='module')
def clips():
    rng = np.random.default_rng(0)
    return [mx.nd.array(rng.uniform(-1, 1, (2, channels, 4, 16, 16))) for channels in (3, 2)]


def test_logits_are_added_with_their_weights(streams, clips):
    rgb, flow = (net(clip).asnumpy() for net, clip in zip(streams, clips))
    np.testing.assert_allclose(TwoStream(*streams)(*clips).asnumpy(), rgb + flow, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(TwoStream(*streams, (0, 1.5))(*clips).asnumpy(), 1.5 * flow, rtol=1e-5, atol=1e-6)


def test_streams_may_see_clips_of_different_sizes_compiled_or_not(streams, clips):
    net = TwoStream(*streams)
    longer = mx.nd.concat(clips[1], clips[1][:, :, :1], dim=2)[:, :, :, :15, :13]
    eager = net(clips[0], longer).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(clips[0], longer).asnumpy(), eager, rtol=1e-5, atol=1e-6)
    assert net(*clips).shape == (2, 5)
    net.hybridize(False)


def test_symbols_compute_the_same(streams, clips):
    net = TwoStream(*streams)
    net.plan_for(4, 16, 16)
    symbol = net(mx.sym.var('rgb'), mx.sym.var('flow'))
    arrays = {name: parameter.data() for name, parameter in net.collect_params().items()}
    inside = {name: array for name, array in arrays.items() if name in symbol.list_arguments()}
    states = {name: array for name, array in arrays.items() if name in symbol.list_auxiliary_states()}
    bound = symbol.bind(mx.cpu(), {**inside, 'rgb': clips[0], 'flow': clips[1]}, aux_states=states)
    np.testing.assert_allclose(bound.forward()[0].asnumpy(), net(*clips).asnumpy(), rtol=1e-4, atol=1e-6)


def test_parameters_are_kept_under_the_name_of_their_stream(streams, clips, tmp_path):
    net = TwoStream(*streams)
    path = str(tmp_path / 'two.params')
    net.save_parameters(path)
    assert 'rgb.Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight' in mx.nd.load(path)
    other = TwoStream(stream('rgb', seed=2), stream('flow', seed=3))
    assert not np.allclose(other(*clips).asnumpy(), net(*clips).asnumpy())  # which rearranges weights inside MXNet
    other.load_parameters(path)
    np.testing.assert_array_equal(other(*clips).asnumpy(), net(*clips).asnumpy())
    assert other.head_prefixes == ('rgb.Logits.', 'flow.Logits.')
    assert len(net.batch_norms()) == 2 * len(streams[0].batch_norms())


@pytest.mark.parametrize('build, complaint', [
    (lambda rgb, flow: (flow, rgb), 'rgb stream of .* takes rgb, and i3d_flow_custom takes flow'),
    (lambda rgb, flow: (rgb, stream('flow', nclass=6)), 'rgb stream has 5 classes and the flow stream 6'),
    (lambda rgb, flow: (rgb, stream('flow', num_segments=2)), '1 segments and the flow stream 2'),
    (lambda rgb, flow: (stream('rgb', feat_ext=True), flow), 'without feat_ext'),
    (lambda rgb, flow: (rgb, flow, (1, float('nan'))), 'two finite numbers'),
    (lambda rgb, flow: (rgb, flow, (1,)), 'two finite numbers')])
def test_streams_that_do_not_fit_are_refused(streams, build, complaint):
    with pytest.raises(ModelError, match=complaint):
        TwoStream(*build(*streams))
