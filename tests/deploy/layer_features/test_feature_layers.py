"""Features are what the network itself gives for frames that are read without this package."""
import gluon_action  # noqa: F401  (prepares MXNet)

# isort: split
import av
import numpy as np
import pytest
import tiny
from bundles import make_bundle
from inception import few_blocks
from mxnet import gluon
from videos import write_video

from gluon_action.compute.on_mxnet.layers import LayerNetwork
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.deploy.layer_features.extractor import FeatureExtractor
from gluon_action.deploy.predict.open_predictor import NetworkModel
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.errors import ModelError, UsageError
from gluon_action.model_zoo import get_model
from gluon_action.model_zoo.recognizer import Recognizer

CLASSES = 3
#: name -> size of the crop, frames of a clip, and where clips of a video of 20 frames begin, 6 frames apart.
NETWORKS = {tiny.NAME: (32, 1, (0, 6, 12, 18, 19)), 'i3d_rgb_custom': (32, 8, (0, 6, 12)),
            'timesformer_small_custom': (16, 4, (0, 6, 12, 16))}


@pytest.fixture(scope='module')
def opened(tiny_network):
    """Networks with random weights, as a run of theirs would be opened."""
    with few_blocks():
        yield {name: _open(name) for name in NETWORKS}


def _open(name):
    size, length, _ = NETWORKS[name]
    clips = {} if length == 1 else {'clip_length': length, 'clip_stride': 1}
    return open_source(name, no_weights=True, num_classes=CLASSES, input_size=size, short_side=0, **clips)


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('video') / 'a.mp4', 20, size=(48, 32))


def extractor(opened, name, **choices):
    source = opened[name]
    return FeatureExtractor(Predictor(source, model=NetworkModel(source.net), stride=6), **choices)


def clips_of(video, name):
    """The input of the network, made of frames by NumPy alone: float32 (clips, 3, T, H, W) or (clips, 3, H, W)."""
    with av.open(str(video)) as file:
        frames = np.stack([frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)])
    size, length, starts = NETWORKS[name]
    top, left = (frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2
    mean, std = {'timesformer_small_custom': (0.45, 0.225), 'i3d_rgb_custom': (0.5, 0.5)}.get(
        name, ((.485, .456, .406), (.229, .224, .225)))
    seen = (frames[:, top:top + size, left:left + size] / 255 - mean) / std
    clips = np.stack([seen[start:start + length] for start in starts]).astype('float32').transpose(0, 4, 1, 2, 3)
    return clips[:, :, 0] if length == 1 else clips


def by_itself(opened, name, video, tmp_path):
    """What the same weights give in a network that was built to give features: (clips, D)."""
    from mxnet import nd
    size, length, _ = NETWORKS[name]
    opened[name].net.save_parameters(str(tmp_path / 'x.params'))
    net = get_model(name, nclass=CLASSES, pretrained_base=False, feat_ext=True, input_size=size,
                    **({} if length == 1 else {'clip_length': length}))
    net.load_parameters(str(tmp_path / 'x.params'))
    return net(nd.array(clips_of(video, name))).asnumpy()


@pytest.mark.parametrize('name', NETWORKS)
def test_a_video_has_the_mean_of_what_the_network_gives_for_its_clips(opened, name, video, tmp_path):
    expected = by_itself(opened, name, video, tmp_path)
    found = extractor(opened, name)(video)
    assert found.values.dtype == np.float32 and found.about['clips'] == len(NETWORKS[name][2])
    np.testing.assert_allclose(found.values, expected.mean(axis=0), rtol=1e-3, atol=1e-5)
    assert (found.start, found.end) == (0, pytest.approx(0.8))


@pytest.mark.parametrize('name', NETWORKS)
def test_each_clip_has_its_own_features_and_times(opened, name, video, tmp_path):
    expected = by_itself(opened, name, video, tmp_path)
    found = extractor(opened, name, window='clip')(video)
    _, length, starts = NETWORKS[name]
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.start, np.array(starts) / 25)
    np.testing.assert_allclose(found.end, (np.array(starts) + length) / 25)


def test_by_window_it_is_the_mean_of_the_clips_in_the_middle_of_it(opened, video, tmp_path):
    expected = by_itself(opened, tiny.NAME, video, tmp_path)  # whose middles are at 0.02, 0.26, 0.50, 0.74, 0.78 s
    found = extractor(opened, tiny.NAME, window=0.4, stride=0.3)(video)
    np.testing.assert_allclose(found.start, (0, 0.3, 0.6))
    np.testing.assert_allclose(found.end, (0.4, 0.7, 0.8))
    np.testing.assert_allclose(found.values, [expected[:2].mean(0), expected[2], expected[3:].mean(0)], rtol=1e-3,
                               atol=1e-5)


def test_clips_come_closer_together_where_windows_are_short(opened, video):
    found = extractor(opened, tiny.NAME, window=0.1)(video)  # 2.5 frames
    assert found.about['clips'] == 11 and len(found.values) == 8
    assert all(not np.array_equal(a, b) for a, b in zip(found.values, found.values[1:]))


def stage(opened, name, video, path):
    """What a block of the network gives, seen from outside while the network runs: one array of all clips."""
    from mxnet import nd
    net, seen = opened[name].net, []
    block = getattr(net, 'basenet', net)
    for part in path.split('.'):
        block = block[int(part)] if part.isdigit() else getattr(block, part)
    handle = block.register_forward_hook(lambda block, inputs, output: seen.append(output.asnumpy()))
    net(nd.array(clips_of(video, name)))
    handle.detach()
    return seen[-1]


@pytest.mark.parametrize('name, layer, places', [
    (tiny.NAME, 'layers.2', (2, 3)), ('i3d_rgb_custom', 'Mixed_3b', (2, 3, 4)),
    ('i3d_rgb_custom', 'Mixed_3b.Branch_0.Conv3d_0a_1x1.bn', (2, 3, 4)),
    ('timesformer_small_custom', 'blocks.1', (1,)), ('timesformer_small_custom', 'blocks.1.temporal_attn', (1, 2))])
def test_any_layer_can_be_taken(opened, name, layer, places, video):
    given = stage(opened, name, video, layer)
    kept = extractor(opened, name, layer=layer, pool='none')(video)
    np.testing.assert_allclose(kept.values, given.mean(axis=0), rtol=1e-3, atol=1e-4)
    pooled = extractor(opened, name, layer=layer)(video)
    np.testing.assert_allclose(pooled.values, given.mean(axis=places).mean(axis=0), rtol=1e-3, atol=1e-4)


def test_a_layer_whose_rows_are_frames_is_that_of_each_clip_by_itself(opened, video):
    """Attention along space has a row for each frame of each clip; they are not mixed up between clips."""
    given = stage(opened, 'timesformer_small_custom', video, 'blocks.1.attn')  # (clips * 4, 1 + 4, 96)
    found = extractor(opened, 'timesformer_small_custom', layer='blocks.1.attn', window='clip')(video)
    expected = given.reshape(4, 4 * 5, 96).mean(axis=1)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-4)


class Turned(Recognizer):
    """A network inside of which time comes first, as in recurrent ones: clips (N, T, D) to scores (N, D)."""

    def __init__(self):
        super().__init__()
        self.turn = gluon.nn.HybridLambda(lambda F, x: F.transpose(x, axes=(1, 0, 2)))
        self.scale = gluon.nn.Dense(4, in_units=4)

    def hybrid_forward(self, F, x):
        return self.scale(F.mean(self.turn(x), axis=0))


def test_a_layer_whose_first_axis_is_time_is_not_taken_for_clips():
    net, clips = Turned(), np.random.default_rng(0).normal(size=(5, 2, 4)).astype('float32')
    net.initialize()
    found = LayerNetwork(net, 'turn', (1, 2, 4)).run(clips)
    np.testing.assert_array_equal(found, clips[:, :, None])


def test_a_network_that_cannot_be_asked_gives_what_its_head_takes(opened, video):
    net = opened[tiny.NAME].net
    expected = LayerNetwork(net, 'pooled', (1, 3, 32, 32)).run(clips_of(video, tiny.NAME))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.Tiny, 'hybrid_forward', lambda self, F, x: self.output(self.body(x)))
        found = LayerNetwork(net, 'pooled', (1, 3, 32, 32)).run(clips_of(video, tiny.NAME))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        patch.setattr(net, 'card', None)
        with pytest.raises(ModelError, match='does not tell its features from its scores; name the layer'):
            LayerNetwork(net, 'pooled', (1, 3, 32, 32))


def test_scores_are_a_layer_too(opened, video):
    name = 'i3d_rgb_custom'
    found = extractor(opened, name, layer='scores', window='clip')(video)
    from mxnet import nd
    np.testing.assert_allclose(found.values, opened[name].net(nd.array(clips_of(video, name))).asnumpy(), rtol=1e-3,
                               atol=1e-5)


def test_a_consensus_over_segments_sees_as_many_frames_as_it_was_trained_with(tiny_network, video, tmp_path):
    """Of a trained weighting of three segments, a window is three frames, and its features are their weighted sum."""
    from mxnet import nd
    net = get_model(tiny.NAME, nclass=CLASSES, pretrained_base=False, num_segments=3, consensus='weighted')
    net.tsn_consensus.weight.set_data(nd.array([[[0.5], [0.25], [0.25]]]))
    net.save_parameters(str(tmp_path / 'weighted.params'))
    seen = FeatureExtractor(tmp_path / 'weighted.params', model=tiny.NAME, clip_step=2, window='clip')
    single = get_model(tiny.NAME, nclass=CLASSES, pretrained_base=False, feat_ext=True)
    single.load_parameters(str(tmp_path / 'weighted.params'), ignore_extra=True)
    assert seen.predictor.preprocess.rows == 3
    first = seen(video)
    with av.open(str(video)) as file:
        frames = np.stack([frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)])[[0, 2, 4]]
    rows = single(nd.array(seen.predictor.preprocess.apply(frames))).asnumpy()
    np.testing.assert_allclose(first.values[0], [0.5, 0.25, 0.25] @ rows, rtol=1e-3, atol=1e-5)


def test_a_layer_that_is_not_there_is_refused_by_the_names_of_those_that_are(opened):
    with pytest.raises(UsageError, match=r'no such layer; did you mean Mixed_3b\? It has pooled, .*Conv3d_1a_7x7, .*'
                       r'scores and .* more inside of these; --list-layers'):
        extractor(opened, 'i3d_rgb_custom', layer='Mixed_3x')
    layers = extractor(opened, tiny.NAME).layers
    assert layers['pooled'] == (16,) and layers['layers.2'] == (8, 15, 15) and layers['scores'] == (CLASSES,)


def test_a_bundle_gives_its_scores_and_says_so(tmp_path, caplog):
    video = write_video(tmp_path / 'a.mp4', 12, size=(24, 20))
    bundle = make_bundle(tmp_path / 'bundle')
    found = FeatureExtractor(bundle, window='clip')
    assert found.layer == 'logits' and 'gives its scores alone' in caplog.text
    windows = Predictor(bundle)(video).windows
    values = np.exp(found(video).values)
    np.testing.assert_allclose(values / values.sum(axis=1, keepdims=True),
                               [window.probabilities for window in windows], rtol=1e-4)
    with pytest.raises(UsageError, match="--layer pooled: .*It has logits; an exported model gives nothing else"):
        FeatureExtractor(bundle, layer='pooled')


@pytest.mark.parametrize('choices, told', [
    ({'stride': 1.}, '--stride: is how far apart windows of --window'), ({'window': -1.}, '--window must be a number'),
    ({'window': 'x'}, "--window must be a number of seconds or clip, got 'x'"), ({'clip_step': 0}, '--clip-step must'),
    ({'pool': 'max'}, 'pool must be one of mean, none')])
def test_what_cannot_be_is_refused_before_the_model_is_opened(choices, told):
    with pytest.raises(UsageError, match=told):
        FeatureExtractor('/nowhere', **choices)
