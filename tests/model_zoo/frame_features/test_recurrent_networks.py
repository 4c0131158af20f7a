"""Networks that read frames in order: the originals' equations, names, shapes, and that only they tell orders apart."""
from dataclasses import replace

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from reference_frame_features import LENGTHS, compare, listed_variables, network, relu6, sigmoid, videos
from reference_recurrent import GRU, LSTM, dynamic_rnn, padded

from gluon_action.model_zoo.frame_features import Architecture, build, variables

TINY = dict(frame_features=True, feature_names='rgb,audio', feature_sizes='4,3', num_classes=3, max_frames=9,
            lstm_cells=4, gru_cells=3, lstm_layers=2, gru_layers=2)
SHORT = (1, 7, 9, 2)


def lengths_of(frames):
    """Lengths of videos whose frames are not 0."""
    return [int(np.abs(video).sum(-1).astype(bool).sum()) for video in frames]


def both_ways(reference, cell, prefix, x, lengths):
    """Outputs of both directions behind each other, then the last states of the layer above."""
    outputs = []
    for way, backward in (('fw', False), ('bw', True)):
        scope = f'{prefix}bidirectional_rnn.{way}.multi_rnn_cell.cell_0'
        outputs.append(padded(dynamic_rnn(reference, cell, scope, x, lengths, backward), x.shape[1]))
    scope = f'{prefix}rnn.multi_rnn_cell.cell_0'
    return dynamic_rnn(reference, cell, scope, np.concatenate(outputs, 2), lengths)


def stacked(reference, cell, prefix, x, layers):
    lengths, last = lengths_of(x), []
    for number in range(layers):
        done = dynamic_rnn(reference, cell, f'{prefix}.multi_rnn_cell.cell_{number}', x, lengths)
        x = padded(done, x.shape[1])
        last.append(np.stack([h for _, h, _ in done]))
    return last


def lstm(reference, x, a):
    return reference.classify(stacked(reference, LSTM, 'rnn', x, a.lstm_layers)[-1], a)


def gru(reference, x, a):
    if a.gru_backward:  # tf.reverse_sequence: the frames that there are, turned
        x = np.stack([np.concatenate([video[:length][::-1], video[length:]]) for video, length
                      in zip(x, lengths_of(x))])
    return reference.classify(np.concatenate(stacked(reference, GRU, 'RNN.rnn', x, a.gru_layers), 1), a)


def lstm_both_ways(reference, x, a):
    return reference.classify(np.stack([c for *_, c in both_ways(reference, LSTM, '', x, lengths_of(x))]), a)


def gated(reference, x, a):
    return x * sigmoid(x @ reference['gating_weights_2'] + reference['gating_biases']) if a.gating else x


def gru_both_ways(reference, x, a):
    last = np.stack([h for _, h, _ in both_ways(reference, GRU, '', x, lengths_of(x))])
    return reference.classify(gated(reference, last, a), a)


def branched(reference, x, a):
    lengths, last = lengths_of(x), []
    for place, (scope, part) in enumerate(zip(('video', 'audio'), np.split(x, [4], axis=2))):
        weights = reference[f'fully_connected{f"_{place}" if place else ""}.weights']
        part = reference.bn(f'{scope}_input_bn', part, unbiased=False) @ weights
        part = relu6(reference.bn(f'{scope}_cluster_bn', part, unbiased=False))
        last.append(np.stack([h for _, h, _ in both_ways(reference, GRU, f'{scope}.', part, lengths)]))
    x = gated(reference, np.concatenate(last, 1), a)
    if a.video_level_classifier_model == 'MoeModel':
        return reference.moe(x, a)
    return sigmoid(x @ reference['fully_connected_2.weights'] + reference['fully_connected_2.biases'])


NETWORKS = [
    ({'model': 'LstmModel'}, lstm), ({'model': 'LstmModel', 'lstm_layers': 1}, lstm), ({'model': 'GruModel'}, gru),
    ({'model': 'GruModel', 'gru_backward': True}, gru),
    ({'model': 'Lstmbidirect'}, lstm_both_ways), ({'model': 'Lstmbidirect', 'lstm_cells': 5}, lstm_both_ways),
    ({'model': 'GRUbidirect'}, gru_both_ways),
    ({'model': 'GRUbidirect', 'gating': True, 'video_level_classifier_model': 'LogisticModel'}, gru_both_ways),
    ({'model': 'GRUbidirect_branchedBN', 'video_level_classifier_model': 'LogisticModel'}, branched),
    ({'model': 'GRUbidirect_branchedBN', 'gating': True}, branched)]


@pytest.mark.parametrize('options, reference', NETWORKS)
def test_networks_are_the_equations(options, reference):
    compare(Architecture(**{**TINY, **options}), reference, lengths=SHORT, draws=False)


@pytest.mark.slow
@pytest.mark.parametrize('options, reference', NETWORKS)
def test_networks_of_300_frames_are_the_equations(options, reference):
    compare(Architecture(**{**TINY, **options, 'max_frames': 300}), reference, lengths=LENGTHS, draws=False,
            directions=0)


@pytest.mark.parametrize('options', [{'model': 'LstmModel'}, {'model': 'GRUbidirect_branchedBN'}])
def test_networks_train_as_they_are_compiled_for_it(options):
    """With memory that is laid out once, MXNet's loops have no gradient."""
    architecture, found = Architecture(**{**TINY, **options}), []
    for flags in ({'active': False}, {'static_alloc': True, 'static_shape': True}):
        net, _ = network(architecture)
        net.hybridize(**flags)
        trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        for lengths in (SHORT, SHORT[:2], SHORT):
            with mx.autograd.record():
                loss = net(mx.nd.array(videos(architecture, lengths))).square().sum()
            loss.backward()
            trainer.step(1)
        found.append(net(mx.nd.array(videos(architecture, SHORT))).asnumpy())
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize('options', [{'model': 'LstmModel'}, {'model': 'GRUbidirect'}])
def test_a_video_without_frames_leaves_the_states_at_0(options):
    architecture = Architecture(video_level_classifier_model='LogisticModel', **{**TINY, **options})
    net, arrays = network(architecture)
    got = net(mx.nd.array(videos(architecture, (0, 2)))).asnumpy()
    np.testing.assert_allclose(got[0], sigmoid(arrays['fully_connected.biases']), rtol=1e-5)


def test_shuffled_frames_are_read_in_another_order():
    """Outside of training in one that is always the same, and padding stays behind."""
    plain = Architecture(model='Lstmbidirect', **TINY)
    net, shuffling = (network(one)[0] for one in (plain, replace(plain, frame_shuffle=True)))
    x = mx.nd.array(videos(plain, SHORT))
    picked = shuffling.shuffle(mx.nd.array((np.arange(9) < np.array(SHORT)[:, None]).astype('float32')))
    order = picked[1].asnumpy().astype(int)
    for row, length in zip(order, SHORT):
        assert sorted(row[:length]) == list(range(length)) and list(row[length:]) == list(range(length, 9))
    assert (order[2] != np.arange(9)).any()
    shuffled = mx.nd.array(np.stack([video[row] for video, row in zip(x.asnumpy(), order)]))
    np.testing.assert_allclose(shuffling(x).asnumpy(), net(shuffled).asnumpy(), atol=1e-6)
    assert np.abs((net(shuffled) - net(x)).asnumpy()).max() > 1e-3


FULL = dict(frame_features=True, feature_names='rgb,audio', feature_sizes='1024,128',
            video_level_classifier_model='LogisticModel')


@pytest.mark.parametrize('model, listed', [('Lstmbidirect', 'RNN1'), ('GRUbidirect', 'RNN3')])
def test_names_and_shapes_are_the_winners(model, listed):
    assert variables(Architecture(model=model, **FULL)) == listed_variables(listed)


def test_scopes_are_tensorflows():
    names = set(variables(Architecture(model='GruModel', gating=True, **{**TINY, 'gru_layers': 1})))
    assert 'RNN/rnn/multi_rnn_cell/cell_0/gru_cell/candidate/kernel' in names
    names = set(variables(Architecture(model='LstmModel', **TINY)))
    assert 'rnn/multi_rnn_cell/cell_1/basic_lstm_cell/kernel' in names
    shapes = variables(Architecture(model='GRUbidirect_branchedBN', gating=True, **FULL))
    assert shapes['video_input_bn/gamma'] == (1024,) and shapes['fully_connected_1/weights'] == (128, 128)
    assert shapes['audio/bidirectional_rnn/bw/multi_rnn_cell/cell_0/gru_cell/gates/kernel'] == (192, 128)
    assert shapes['fully_connected_2/weights'] == (1152, 3862) and shapes['gating_weights_2'] == (1152, 1152)
    assert 'fully_connected/biases' not in shapes and 'video_cluster_bn/moving_mean' in shapes


def test_weights_start_as_the_originals():
    net = build(Architecture(model='GRUbidirect', gating=True, **{**TINY, 'lstm_cells': 40}))
    start = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    cell = 'rnn.multi_rnn_cell.cell_0.gru_cell.'
    assert (start[f'{cell}gates.bias'] == 1).all() and not start[f'{cell}candidate.bias'].any()
    assert start['gating_weights_2'].std() == pytest.approx(40 ** -0.5, rel=0.1)
    assert start['gating_biases'].std() == pytest.approx(40 ** -0.5, rel=0.4)


def test_one_feature_is_enough():
    """Of the branches, and of the numbers of slim's layers, one is left."""
    a = Architecture(model='GRUbidirect_branchedBN', video_level_classifier_model='LogisticModel',
                     **{**TINY, 'feature_names': 'rgb', 'feature_sizes': '4'})
    net, _ = network(a)
    assert net(mx.nd.array(videos(a, SHORT))).shape == (4, 3)
    assert {'fully_connected/weights', 'fully_connected_1/weights', 'fully_connected_1/biases'} <= set(variables(a))
