"""A network whose layers MXNet has joined for scoring: the same scores, and the network is left as it is."""
import json
import logging
import re

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from gluon_action import engine
from gluon_action.compute.on_mxnet import joined
from gluon_action.compute.on_mxnet.joined import JoinedNetwork, is_joined
from gluon_action.compute.on_mxnet.scorer import GluonScorer
from gluon_action.model_zoo import get_model, model_card
from gluon_action.nn import BatchNorm, SelfGating, batch_norms, only_scoring
from tests.support.small_networks import BODIES, build, fill, patterns

SMALL = 's3dg_small_demo_motion'


def compare(net, *shapes):
    """Scores of a network and of what is joined of it; returns what is joined."""
    scorer = JoinedNetwork(net, mx.cpu())
    for shape in shapes:
        x = mx.nd.array(patterns(shape))
        scores, expected = scorer(x).asnumpy(), net(x).asnumpy()
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert all(graph is not net for graph in scorer._graphs.values())
    return scorer


def operators(graph):
    """Names of what a compiled graph computes."""
    return [node.name for node in graph._cached_graph[1].get_internals()]


def kinds(symbol):
    """The kinds of operators in a graph."""
    return {node['op'] for node in json.loads(symbol.tojson())['nodes']}


def normalised():
    """Names of the networks that have batch normalisations; the larger ones of a kind take their time."""
    for name in BODIES.values():
        card = model_card(name)
        if card.input.is_video and card.family not in ('TimeSformer', 'VGG', 'C3D'):
            quick = re.match('resnet18|inceptionv1|r2plus1d_resnet18|i3d_(rgb|resnet50)|s3dg?_', name)
            yield pytest.param(name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize('name', normalised())
def test_the_whole_zoo_scores_alike(name):
    net, shape = build(name)
    assert is_joined(net, [mx.cpu()])
    scorer = compare(net, shape)
    graph, = scorer._graphs.values()
    assert 'BatchNorm' in kinds(net(mx.sym.var('data')))
    assert '_sg_mkldnn_conv' in (left := kinds(graph._cached_graph[1])) and 'BatchNorm' not in left


@pytest.mark.parametrize(('name', 'options', 'size'), [
    ('i3d_rgb_custom', {}, (9, 57, 43)), ('i3d_rgb_custom', {'num_segments': 2}, (1, 33, 33)),
    ('i3d_flow_custom', {'feat_ext': True}, (5, 63, 32)),
    ('i3d_rgb_custom', {'final_endpoint': 'Mixed_3c'}, (4, 29, 30)),
    ('s3dg_custom', {}, (7, 63, 45)), ('s3dg_custom', {'gating_startat': 'Mixed_4b'}, (1, 35, 34)),
    ('s3dg_custom', {'feat_ext': True, 'num_segments': 2, 'num_crop': 2}, (6, 33, 47)),
    ('s3d_custom', {}, (11, 51, 37)), ('s3d_custom', {'first_temporal_kernel_size': 3}, (8, 32, 65))])
def test_odd_sizes_score_alike(name, options, size):
    net = get_model(name, nclass=5, pretrained_base=False, **options)
    fill(net)
    rows = options.get('num_segments', 1) * options.get('num_crop', 1)
    compare(net, (2 * rows, net.channels, *size))


def small(**options):
    net = get_model(SMALL, nclass=4, pretrained_base=False, **options)
    fill(net)
    return net


def test_sizes_and_rows_may_change():
    """From call to call; of the sizes the last ones are kept."""
    net = small()
    shapes = [(2, 3, 8, 56, 56), (3, 3, 8, 56, 56), (1, 3, 8, 56, 56), (2, 3, 5, 33, 47), (2, 3, 8, 56, 56),
              (1, 3, 4, 32, 32), (4, 3, 8, 56, 56)]
    scorer = compare(net, *shapes)
    assert list(scorer._graphs) == [(3, 4, 32, 32), (3, 8, 56, 56)]


def test_normalisations_are_inside_of_convolutions():
    net = small()
    scorer = compare(net, (1, 3, 8, 56, 56))
    graph, = scorer._graphs.values()
    assert not [name for name in operators(graph) if 'batchnorm' in name or name.endswith('_bn_fwd')]
    net.hybridize()
    net(mx.nd.zeros((1, 3, 8, 56, 56)))
    assert [name for name in operators(net) if name.endswith('_bn_fwd')]


@pytest.mark.parametrize('part', ['conv.weight', 'temporal.bias', 'gating.weight', 'bn.beta', 'bn.running_mean',
                                  'bn.running_var', 'Logits.Conv3d_0c_1x1.weight'])
@pytest.mark.parametrize('way', ['loaded', 'trained', 'one number'])
def test_new_weights_are_seen(part, way):
    """Of whatever kind; a joined convolution would keep its own copies."""
    net = small()
    scorer = compare(net, (2, 3, 8, 56, 56))
    parameter = [value for key, value in net._collect_params_with_prefix().items() if key.endswith(part)][-1]
    numbers = parameter.data().asnumpy()
    if way == 'one number':
        numbers.flat[numbers.size // 2 + 1] += 3
    new = mx.nd.array(numbers if way == 'one number' else numbers * 1.5 + 0.3)
    if way != 'trained':
        engine.make_writable(parameter)
        parameter.set_data(new)
    else:
        mx.nd.identity(new, out=parameter.data())  # in place, as optimizers write
    x = mx.nd.array(patterns((2, 3, 8, 56, 56)))
    before = scorer(x).asnumpy()
    other = small()
    for ours, theirs in zip(net.collect_params().values(), other.collect_params().values()):
        theirs.set_data(mx.nd.array(ours.data().asnumpy()))
    np.testing.assert_allclose(before, other(x).asnumpy(), rtol=1e-5, atol=1e-6)


def test_graphs_are_kept_while_the_weights_stay():
    net = small()
    scorer = compare(net, (2, 3, 8, 56, 56))
    scorer(mx.nd.zeros((2, 3, 8, 56, 56)))
    graph, = scorer._graphs.values()
    net(mx.nd.zeros((2, 3, 8, 56, 56)))  # which puts weights into an order of oneDNN's
    scorer(mx.nd.zeros((1, 3, 8, 56, 56)))
    assert list(scorer._graphs.values()) == [graph]


def test_training_is_what_it_was(tmp_path):
    """Scores, gradients, statistics and what is exported, after a network was scored joined as before."""
    def train(net):
        with mx.autograd.record():
            loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(x), mx.nd.array([1, 3]))
        loss.backward()
        return {key: (value.data().asnumpy(), value.grad().asnumpy() if value.grad_req != 'null' else 0)
                for key, value in net._collect_params_with_prefix().items()}

    x = mx.nd.array(patterns((2, 3, 8, 56, 56)))
    nets = [small(dropout_ratio=0.) for _ in range(2)]
    for net in nets:
        net.hybridize(static_alloc=True)
    expected, got = train(nets[0]), None
    compare(nets[1], (2, 3, 8, 56, 56))
    got = train(nets[1])
    for key, (value, gradient) in expected.items():
        np.testing.assert_array_equal(got[key][0], value, err_msg=key)
        np.testing.assert_allclose(got[key][1], gradient, rtol=1e-4, atol=1e-6, err_msg=key)
    for number, net in enumerate(nets):
        net.export(str(tmp_path / f'{number}'))
    exported = [(tmp_path / f'{number}-symbol.json').read_text() for number in range(2)]
    assert 'mkldnn' not in exported[1].lower() and '"op": "BatchNorm"' in exported[1]
    assert exported[0].count('"op"') == exported[1].count('"op"')


def test_layers_are_back_in_their_form():
    net = small()
    with pytest.raises(KeyError), only_scoring(net):
        assert all(layer.only_scores for layer in batch_norms(net))
        raise KeyError
    layers = []
    net.apply(lambda layer: layers.append(layer) if isinstance(layer, BatchNorm | SelfGating) else None)
    assert layers and not any(layer.only_scores for layer in layers)


def test_what_cannot_be_joined_is_scored_as_it_is(monkeypatch, caplog):
    """And the log says so, once."""
    def refuse(*_, **__):
        raise mx.MXNetError('no such backend')

    monkeypatch.setattr(joined.gluon.SymbolBlock, 'optimize_for', refuse)
    net, x = small(), mx.nd.array(patterns((2, 3, 8, 56, 56)))
    scorer = JoinedNetwork(net, mx.cpu())
    with caplog.at_level(logging.INFO):
        scores = [scorer(x).asnumpy() for _ in range(2)]
    np.testing.assert_array_equal(scores, [net(x).asnumpy()] * 2)
    assert caplog.text.count('cannot join the layers of S3D for an input of (2, 3, 8, 56, 56)') == 1


@pytest.mark.parametrize('cause', ['could not create a memory object', 'Failed to allocate CPU Memory'])
def test_memory_that_was_short_is_asked_for_again(monkeypatch, caplog, cause):
    """Not at each call, which would take longer than it saves."""
    tried = []

    def refuse_once(graph, *given, optimize_for=gluon.SymbolBlock.optimize_for, **options):
        tried.append(graph)
        if len(tried) > 1:
            return optimize_for(graph, *given, **options)
        raise mx.MXNetError(f'Traceback (most recent call last):\nMXNetError: {cause}\n')

    net, x = small(), mx.nd.array(patterns((2, 3, 8, 56, 56)))
    scorer = JoinedNetwork(net, mx.cpu())
    monkeypatch.setattr(joined, '_CALLS_UNTIL_MEMORY', 2)
    monkeypatch.setattr(joined.gluon.SymbolBlock, 'optimize_for', refuse_once)
    with caplog.at_level(logging.INFO):
        for tries in (1, 1, 1, 2, 2):
            expected = net(x).asnumpy()
            np.testing.assert_allclose(scorer(x).asnumpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
            assert len(tried) == tries
    assert [graph is tried[1] for graph in scorer._graphs.values()] == [True]
    assert caplog.text.count(f'There is not the memory to join the layers of S3D for an input of (2, 3, 8, 56, 56), '
                             f'which takes longer so: MXNetError: {cause}') == 1


def test_graphs_are_given_up_where_memory_is_short(monkeypatch):
    def refuse(*_, **__):
        raise mx.MXNetError('std::bad_alloc')

    scorer = compare(small(), (2, 3, 8, 56, 56))
    assert len(scorer._graphs) == 1
    monkeypatch.setattr(joined.gluon.SymbolBlock, 'optimize_for', refuse)
    scorer(mx.nd.zeros((1, 3, 4, 32, 32)))
    assert not scorer._graphs


def test_what_the_network_cannot_score_either_is_its_own_error(caplog):
    """And nothing says that it would take longer."""
    net = get_model('inceptionv1_hmdb51', pretrained_base=False)
    fill(net)
    scorer, data = JoinedNetwork(net, mx.cpu()), mx.nd.array(patterns((1, 3, 20, 20)))
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            with pytest.raises(mx.MXNetError, match='kernel size .* exceeds input'):
                scorer(data)
    assert not caplog.records and not scorer._calls_without and not scorer._graphs


def test_a_scorer_joins_what_it_may(monkeypatch):
    """Not where it is to run the network operator by operator, on several devices, or without oneDNN."""
    net, data = small(), patterns((2, 3, 8, 56, 56))
    assert isinstance(GluonScorer(net, [mx.cpu()]).net, JoinedNetwork)
    for scorer in (GluonScorer(net, [mx.cpu()], compiled=False), GluonScorer(net, [mx.cpu(0), mx.cpu(1)])):
        assert scorer.net is net
    monkeypatch.setenv('MXNET_MKLDNN_ENABLED', '0')
    assert not is_joined(net, [mx.cpu()])
    monkeypatch.delenv('MXNET_MKLDNN_ENABLED')
    assert not is_joined(net, [mx.gpu()]) and not is_joined(net, [mx.cpu()], 'float16')
    assert not is_joined(get_model('vgg16_ucf101', pretrained_base=False, nclass=2, input_size=32), [mx.cpu()])
    scores = GluonScorer(net, [mx.cpu()])(data)()
    np.testing.assert_allclose(scores, net(mx.nd.array(data)).asnumpy(), rtol=0, atol=1e-5)
