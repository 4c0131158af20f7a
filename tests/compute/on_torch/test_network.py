"""What a network computed by PyTorch offers: its files, graphs, replicas, random numbers and refusals."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from small_networks import build, patterns

from gluon_action.compute.on_mxnet.parameters import arrays_of
from gluon_action.errors import CheckpointError, ModelError, UsageError
from gluon_action.model_zoo.loading.params_file import write_arrays
from gluon_action.model_zoo.recognizer import Recognizer
from gluon_action.nn import DropPath

torch = pytest.importorskip('torch', reason='PyTorch is not installed: make test-torch installs it')

from gluon_action.compute.on_torch.network import TorchNetwork  # noqa: E402


class Small(Recognizer):
    """Two convolutions, a normalisation and a classifier; what `between` is called on stands before it."""

    def __init__(self, between=None, **kwargs):
        super().__init__(**kwargs)
        self.layers = gluon.nn.HybridSequential()
        self.layers.add(gluon.nn.Conv2D(4, 3, in_channels=3), gluon.nn.BatchNorm(in_channels=4),
                        *([between] if between else []), gluon.nn.GlobalAvgPool2D(), gluon.nn.Dense(5, in_units=4))
        self.initialize(mx.init.Xavier())

    def hybrid_forward(self, F, x):
        return self.layers(x)


class Rounding(gluon.HybridBlock):
    """An operator that no network of the zoo has."""

    def hybrid_forward(self, F, x):
        return F.round(x)


@pytest.fixture
def small():
    return TorchNetwork(Small())


def pictures(rows=2, size=8):
    return torch.tensor(patterns((rows, 3, size, size)))


def test_frames_are_scored_with_the_channels_last(small, monkeypatch):
    seen = []
    graph = small.graph((2, 3, 8, 8))
    monkeypatch.setattr(small, 'graph', lambda *_: lambda x: seen.append(x) or graph(x))
    assert torch.equal(small(pictures()), graph(pictures().contiguous(memory_format=torch.channels_last)))
    small(pictures(), training=True)
    assert [x.is_contiguous(memory_format=torch.channels_last) for x in seen] == [True, False]


def test_parameters_go_there_and_back_by_a_file(tmp_path):
    net, shape = build('i3d_inceptionv1_kinetics400')
    ours = TorchNetwork(net)
    x = torch.tensor(patterns(shape))
    ours(x, training=True).square().mean().backward()
    with torch.no_grad():
        for param in ours.params.values():
            param -= 0.01 * param.grad
        expected = ours(x).numpy()
    write_arrays(tmp_path / 'x.params', ours.arrays())
    before = net(mx.nd.array(x.numpy())).asnumpy()
    net.load_parameters(str(tmp_path / 'x.params'))
    got = net(mx.nd.array(x.numpy())).asnumpy()
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max() < np.abs(before - expected).max()
    # A block that is known by two names is there once, and in a file twice.
    arrays = arrays_of(net)
    assert arrays.keys() == ours.arrays().keys()
    assert len(ours.params) + len(ours.statistics) < len(arrays)
    assert all((array == arrays[key]).all() for key, array in ours.arrays().items())


def test_what_it_holds_is_told_in_copies_and_loaded_in_place(small):
    before, held = small.arrays(), {**small.params, **small.statistics}
    places = {key: tensor.data_ptr() for key, tensor in held.items()}
    small.load({key: np.full_like(array, 0.5) for key, array in before.items()})
    assert all((tensor == 0.5).all() and tensor.data_ptr() == places[key] for key, tensor in held.items())
    assert not any((array == 0.5).all() for key, array in before.items())
    small.load({'layers.1.gamma': before['layers.1.gamma']})
    assert (small.params['layers.1.gamma'] == 1).all() and (small.params['layers.3.bias'] == 0.5).all()


@pytest.mark.parametrize('arrays, message', [
    ({'layers.9.bias': np.zeros(3, 'f')}, 'has layers.9.bias'),
    ({'layers.3.bias': np.zeros(3, 'f')}, r'layers.3.bias is of shape \(3,\) there and \(5,\) here'),
    ({'layers.3.bias': np.zeros(5, 'd')}, 'layers.3.bias is of float64 there and float32 here')])
def test_what_is_of_another_network_is_refused(small, arrays, message):
    with pytest.raises(CheckpointError, match=message):
        small.load(arrays)


def test_a_replica_computes_the_same_by_values_of_its_own(small):
    replica, x = small.replica('cpu'), pictures()
    assert (small(x) == replica(x)).all()
    before = small.arrays()
    small(x, training=True)
    assert (small.statistics['layers.1.running_mean'] != replica.statistics['layers.1.running_mean']).all()
    assert all((array == before[key]).all() for key, array in replica.arrays().items())
    replica.params['layers.3.bias'].data += 1
    assert torch.allclose(replica(x), TorchNetwork(small.net)(x) + 1)


def test_training_leaves_statistics_of_the_batch_and_evaluation_none(small):
    x = pictures()
    before = small.arrays()
    small(x)
    assert all((array == before[key]).all() for key, array in small.arrays().items())
    inside = torch.nn.functional.conv2d(x, small.params['layers.0.weight'], small.params['layers.0.bias']).detach()
    small(x, training=True)
    mean, variance = inside.mean((0, 2, 3)), inside.var((0, 2, 3), unbiased=False)
    assert torch.allclose(small.statistics['layers.1.running_mean'], 0.1 * mean, atol=1e-6)
    assert torch.allclose(small.statistics['layers.1.running_var'], 0.9 + 0.1 * variance, atol=1e-6)


def test_a_batch_of_one_number_a_channel_is_normalised_to_beta():
    ours = TorchNetwork(Small())
    ours.params['layers.1.beta'].data += 0.25
    ours(pictures(1, 3), training=True).sum().backward()
    weight = ours.params['layers.3.weight'].detach()
    assert torch.allclose(ours.params['layers.3.weight'].grad, torch.full((5, 4), 0.25))
    assert torch.allclose(ours.params['layers.1.beta'].grad, weight.sum(0))
    assert (ours.params['layers.0.weight'].grad == 0).all()
    assert torch.allclose(ours.statistics['layers.1.running_var'], torch.tensor(0.9))


def test_sizes_that_are_laid_out_alike_share_a_graph_and_all_share_parameters():
    net, _ = build('i3d_rgb_custom')
    ours = TorchNetwork(net)
    first, same, other = (ours.graph((1, 3, *size)) for size in ((16, 32, 32), (24, 32, 32), (7, 33, 32)))
    assert first is same and first is not other
    assert ours.graph((2, 3, 16, 32, 32)) is first and ours.graph((1, 3, 16, 32, 32), training=True) is not first
    params = dict(first.named_parameters())
    assert params and all(param is ours.params[key] for key, param in params.items())
    assert all(param is ours.params[key] for key, param in other.named_parameters())


def test_what_mxnet_alone_needs_is_left_out_of_a_graph():
    net, shape = build('i3d_rgb_custom')
    calls = [node.target for node in TorchNetwork(net).graph(shape).graph.nodes if node.op == 'call_function']
    names = [call.__name__ for call in calls]
    assert names.count('batch_norm') == names.count('relu_') > 50 and 'reshape_like' not in names
    assert 'activation' not in names and names.count('reshape') < 5


def test_dropout_drops_its_share_in_training_alone():
    class Ones(gluon.HybridBlock):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def hybrid_forward(self, F, x):
            return self.layer(x)

    x = torch.ones(400, 5, 50)
    for layer in (gluon.nn.Dropout(0.2), DropPath(0.2, row_axes=(0, 1))):
        net = TorchNetwork(Ones(layer))
        torch.manual_seed(1)
        first = net(x, training=True)
        assert set(first.unique().tolist()) == {0, 1.25} and abs(first.mean().item() - 1) < 0.05
        rows = first.std(2).unique()
        assert (len(rows) == 1) == isinstance(layer, DropPath)
        torch.manual_seed(1)
        assert (net(x, training=True) == first).all()
        assert (net(x) == x).all()


@pytest.mark.parametrize('name', ['resnet18_v1b_custom', 'i3d_rgb_custom', 'timesformer_small_custom'])
def test_a_network_trains_in_bfloat16(name):
    net, shape = build(name)
    ours, x = TorchNetwork(net), torch.tensor(patterns(shape))
    with torch.no_grad():
        expected = ours(x)
    with torch.autocast('cpu', torch.bfloat16):
        with torch.no_grad():
            got = ours(x)
        ours(x, training=True).float().square().mean().backward()
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(param.grad.dtype == torch.float32 and param.grad.isfinite().all() for param in ours.params.values())
    assert all(value.dtype == torch.float32 for value in ours.statistics.values())


def test_an_operator_without_a_function_is_named_with_the_network():
    ours = TorchNetwork(Small(Rounding()))
    with pytest.raises(UsageError, match='cannot compute Small: it has the operator round.*--engine mxnet'):
        ours(pictures())


def test_networks_of_features_draw_frames_at_random_in_training_alone():
    net, shape = build('NetVLADModelLF', iterations=2)
    ours = TorchNetwork(net)
    x = torch.tensor(np.random.default_rng(0).normal(size=shape).astype('float32'))
    with torch.no_grad():
        assert (ours(x) == ours(x)).all()
        drawn = {tuple(ours(x, training=True).flatten().tolist()) for _ in range(5)}
    assert len(drawn) > 1


@pytest.mark.parametrize('name, options, shape, message', [
    ('resnet18_v1b_custom', {'num_segments': 3}, (4, 3, 64, 64), '4 frames are not a whole number of videos'),
    ('i3d_rgb_custom', {}, (1, 2, 8, 32, 32), 'takes clips N x 3 x T x H x W'),
    ('timesformer_small_custom', {}, (1, 3, 3, 32, 32), 'frames')])
def test_an_input_that_does_not_fit_is_refused_in_the_words_of_the_network(name, options, shape, message):
    net, _ = build(name, **options)
    with pytest.raises(ModelError, match=message):
        TorchNetwork(net)(torch.zeros(shape))
