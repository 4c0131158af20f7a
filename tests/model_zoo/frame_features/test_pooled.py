"""NetVLAD, LightVLAD, NetFV and bags of frames: the originals' equations, names, shapes and numbers of parameters."""
import math
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from reference_frame_features import Reference, compare, network, relu6, sigmoid, softmax, unit, videos

from gluon_action.errors import ModelError
from gluon_action.model_zoo.frame_features import Architecture, build, variables
from gluon_action.nn import set_round

TINY = dict(frame_features=True, feature_names='rgb,audio', feature_sizes='6,4', num_classes=5, iterations=12)
SCOPES = {'rgb': 'video', 'audio': 'audio', 'text': 'text'}


def parts_of(architecture, x):
    """Name and numbers of each feature of frames."""
    ends = np.cumsum([size for _, size in architecture.features])
    return [(SCOPES[name], part) for (name, _), part in zip(architecture.features, np.split(x, ends[:-1], axis=-1))]


def assign(reference, scope, x, normalised):
    product = x @ reference[f'{scope}.cluster_weights']
    product = reference.bn(f'{scope}.cluster_bn', product) if normalised else \
        product + reference[f'{scope}.cluster_biases']
    return softmax(product)


def finish(reference, architecture, x, relu, normalised, gating, remove_diag=False, hidden=True):
    if hidden:
        x = x @ reference['hidden1_weights']
        x = reference.bn('hidden1_bn', x) if relu and normalised else x + reference['hidden1_biases']
        x = relu6(x) if relu else x
    if gating:
        gates = x @ reference['gating_weights_2']
        if remove_diag:
            gates = gates - np.diag(reference['gating_weights_2']) * x
        gates = reference.bn('gating_bn', gates) if normalised else gates + reference['gating_biases']
        x = x * sigmoid(gates)
    return reference.classify(x, architecture)


def netvlad(reference, frames, architecture):
    a = architecture
    x = reference.bn('input_bn', frames) if a.netvlad_add_batch_norm else frames
    pooled = []
    for scope, part in parts_of(a, x):
        shares = assign(reference, f'{scope}_VLAD', part, a.netvlad_add_batch_norm)
        vlad = np.einsum('nsk,nsd->ndk', shares, part)
        if not a.lightvlad:
            vlad -= shares.sum(1)[:, None] * reference[f'{scope}_VLAD.cluster_weights2']
        pooled.append(unit(unit(vlad, 1).reshape(len(vlad), -1)))
    return finish(reference, a, np.concatenate(pooled, 1), a.netvlad_relu, a.netvlad_add_batch_norm, a.gating,
                  a.gating_remove_diag)


def fisher(reference, frames, architecture):
    a = architecture
    x = reference.bn('input_bn', frames) if a.netvlad_add_batch_norm else frames
    pooled = []
    for scope, part in parts_of(a, x):
        name = f'{scope}_FV'
        shares = assign(reference, name, part, a.netvlad_add_batch_norm)
        centres = a.fv_coupling_factor * reference[f'{name}.cluster_weights'][None] if a.fv_couple_weights else \
            reference[f'{name}.cluster_weights2']
        spread = reference[f'{name}.covar_weights'] ** 2 + 1e-6
        from_centre = part[:, :, :, None] - centres[:, None]  # (N, S, D, K)
        first = np.einsum('nsk,nsdk->ndk', shares, from_centre) / spread
        second = np.einsum('nsk,nsdk->ndk', shares, from_centre ** 2) / spread ** 2 - shares.sum(1)[:, None]
        pooled += [unit(unit(first, 1).reshape(len(x), -1)), unit(second.reshape(len(x), -1))]
    return finish(reference, a, np.concatenate(pooled, 1), a.fv_relu, a.netvlad_add_batch_norm, a.gating)


def soft_bags(reference, frames, architecture):
    a = architecture
    x = reference.bn('input_bn', frames) if a.dbof_add_batch_norm else frames
    pooled = []
    for scope, part in parts_of(a, x):
        name = f'{scope}_DBOF'
        shares = assign(reference, name, part, a.dbof_add_batch_norm)
        largest = unit(shares.max(1))
        if a.model == 'GatedDbofModelLF' and scope != 'audio':
            gates = largest @ reference[f'{name}.dim_red'] @ reference[f'{name}.cluster_weights_2']
            gates = reference.bn(f'{name}.cluster_bn_2', gates) if a.dbof_add_batch_norm else \
                gates + reference[f'{name}.cluster_biases_2']
            pooled.append(unit(sigmoid(gates) * shares.sum(1)))
        else:
            pooled += [unit(shares.sum(1))] + [largest] * a.softdbof_maxpool
    return finish(reference, a, np.concatenate(pooled, 1), a.dbof_relu, a.dbof_add_batch_norm, False,
                  hidden=a.fc_dimred)


def bag(reference, frames, architecture):
    a = architecture
    x = reference.bn('input_bn', frames) if a.dbof_add_batch_norm else frames
    x = x @ reference['cluster_weights']
    x = relu6(reference.bn('cluster_bn', x) if a.dbof_add_batch_norm else x + reference['cluster_biases'])
    x = x.max(1) if a.dbof_pooling_method == 'max' else x.mean(1)
    return finish(reference, a, x, True, a.dbof_add_batch_norm, False)


NETVLAD = dict(model='NetVLADModelLF', netvlad_cluster_size=4, netvlad_hidden_size=7)
NETFV = dict(model='NetFVModelLF', fv_cluster_size=4, fv_hidden_size=7)
SOFT = dict(model='SoftDbofModelLF', dbof_cluster_size=16, dbof_hidden_size=7)
GATED = {**SOFT, 'model': 'GatedDbofModelLF'}
BAG = {**SOFT, 'model': 'DbofModel'}
CASES = {
    'netvlad': (netvlad, NETVLAD),
    'netvlad_winner': (netvlad, {**NETVLAD, 'netvlad_relu': False, 'gating': True, 'moe_prob_gating': True}),
    'netvlad_remove_diag': (netvlad, {**NETVLAD, 'gating': True, 'gating_remove_diag': True}),
    'netvlad_no_batch_norm': (netvlad, {**NETVLAD, 'gating': True, 'netvlad_add_batch_norm': False}),
    'netvlad_no_batch_norm_no_relu': (netvlad, {**NETVLAD, 'netvlad_relu': False, 'netvlad_add_batch_norm': False}),
    'lightvlad': (netvlad, {**NETVLAD, 'lightvlad': True}),
    'lightvlad_no_batch_norm': (netvlad, {**NETVLAD, 'lightvlad': True, 'netvlad_add_batch_norm': False}),
    'netvlad_logistic': (netvlad, {**NETVLAD, 'video_level_classifier_model': 'LogisticModel'}),
    'netvlad_rgb_only': (netvlad, {**NETVLAD, 'feature_names': 'rgb', 'feature_sizes': '6'}),
    'netvlad_audio_only': (netvlad, {**NETVLAD, 'feature_names': 'audio', 'feature_sizes': '4'}),
    'netvlad_audio_first': (netvlad, {**NETVLAD, 'feature_names': 'audio,rgb', 'feature_sizes': '4,6'}),
    'netvlad_three': (netvlad, {**NETVLAD, 'feature_names': 'text,rgb,audio', 'feature_sizes': '2,6,4'}),
    'netvlad_all_frames': (netvlad, {**NETVLAD, 'iterations': 300}),
    'netfv': (fisher, NETFV),
    'netfv_own_centres': (fisher, {**NETFV, 'fv_couple_weights': False, 'fv_relu': False, 'gating': True}),
    'netfv_no_batch_norm': (fisher, {**NETFV, 'netvlad_add_batch_norm': False, 'gating': True}),
    'soft': (soft_bags, SOFT), 'soft_largest': (soft_bags, {**SOFT, 'softdbof_maxpool': True}),
    'soft_no_hidden': (soft_bags, {**SOFT, 'fc_dimred': False}),
    'soft_no_batch_norm': (soft_bags, {**SOFT, 'dbof_add_batch_norm': False}),
    'gated': (soft_bags, GATED), 'gated_no_relu': (soft_bags, {**GATED, 'dbof_relu': False}),
    'gated_no_batch_norm': (soft_bags, {**GATED, 'dbof_add_batch_norm': False}),
    'gated_largest': (soft_bags, {**GATED, 'softdbof_maxpool': True}),
    'gated_audio_only': (soft_bags, {**GATED, 'feature_names': 'audio', 'feature_sizes': '4'}),
    'bag': (bag, BAG), 'bag_average': (bag, {**BAG, 'dbof_pooling_method': 'average'}),
    'bag_no_batch_norm': (bag, {**BAG, 'dbof_add_batch_norm': False}),
}


@pytest.mark.parametrize('case', CASES)
def test_networks_are_the_originals_equations(case):
    reference, options = CASES[case]
    compare(Architecture(**{**TINY, **options}), reference)


FULL = dict(frame_features=True, feature_names='rgb,audio', feature_sizes='1024,128')
GATED_VLAD = dict(model='NetVLADModelLF', netvlad_relu=False, gating=True, moe_prob_gating=True, iterations=300)
WINNERS = {
    'NetVLAD1': (321_528_380, {**GATED_VLAD, 'netvlad_cluster_size': 256, 'netvlad_hidden_size': 1024}),
    'NetVLAD2': (242_718_556, {**GATED_VLAD, 'netvlad_cluster_size': 192, 'netvlad_hidden_size': 992}),
    'FVNet': (369_059_888, dict(model='NetFVModelLF', fv_cluster_size=96, fv_hidden_size=1540, fv_relu=False,
                                fv_couple_weights=False, gating=True, moe_prob_gating=True)),
    'DBoF1': (37_168_940, dict(model='GatedDbofModelLF', dbof_cluster_size=4096, dbof_hidden_size=1024,
                               dbof_relu=False)),
    'DBoF2': (59_287_340, dict(model='GatedDbofModelLF', dbof_cluster_size=6144, dbof_hidden_size=1536,
                               dbof_relu=False)),
    'DBoF3': (32_980_412, dict(model='GatedDbofModelLF', dbof_cluster_size=3684, dbof_hidden_size=920,
                               dbof_relu=False)),
}


@pytest.mark.parametrize('name', WINNERS)
def test_variables_are_those_of_the_winners_checkpoints(name):
    """Lists of the original's networks, made by its own code; running statistics count as no parameters."""
    count, options = WINNERS[name]
    lines = (Path(__file__).parent / 'variables' / f'{name}.txt').read_text().splitlines()
    wanted = {line.split()[0]: tuple(map(int, line.split()[1].split('x'))) for line in lines}
    got = variables(Architecture(**FULL, **options))
    assert got == wanted
    assert sum(math.prod(shape) for key, shape in got.items() if 'moving' not in key) == count


def small(**options):
    return Architecture(**{**TINY, **options})


def test_order_of_the_frames_changes_nothing():
    """Of a video of as many frames as are drawn, each of which evaluation sees once."""
    architecture = small(**NETVLAD, gating=True)
    net, _ = network(architecture)
    x = videos(architecture, (12, 12))
    x[1, :12] = x[0, np.random.default_rng(0).permutation(12)]
    scores = net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_a_row_of_zeros_ends_a_video_whatever_the_padding_is():
    architecture = small(**NETVLAD, sample_all=True, max_frames=20)
    net, _ = network(architecture)
    x = videos(architecture, (7, 12))
    long, short = (net(mx.nd.array(part)).asnumpy() for part in (x, x[:, :12]))
    np.testing.assert_array_equal(long, short)


@pytest.mark.parametrize('training', [False, True])
def test_a_video_without_frames_is_scored_too(training):
    architecture = small(**NETVLAD)
    net, _ = network(architecture)
    with autograd.record(train_mode=training):
        scores = net(mx.nd.array(videos(architecture, (0, 7))))
        loss = scores.sum()
    loss.backward()
    assert np.isfinite(scores.asnumpy()).all()
    assert all(np.isfinite(parameter.grad().asnumpy()).all() for parameter in net.collect_params().values()
               if parameter.grad_req != 'null')


def test_training_draws_others_each_time_and_the_same_after_a_seed():
    architecture = small(**NETVLAD)
    net, _ = network(architecture)
    net.hybridize()
    x, scores = mx.nd.array(videos(architecture)), []
    for seed in (1, 1, 2):
        mx.random.seed(seed)
        with autograd.record():
            scores.append(net(x).asnumpy())
    assert (scores[0] == scores[1]).all() and (scores[0] != scores[2]).any()
    assert (net(x).asnumpy() == net(x).asnumpy()).all()


def test_rounds_of_an_evaluation_score_other_frames():
    architecture = small(**NETVLAD)
    net, _ = network(architecture)
    net.hybridize()
    x, scores = mx.nd.array(videos(architecture)), []
    for number in (0, 1, 0):
        set_round(net, number)
        scores.append(net(x).asnumpy())
    np.testing.assert_array_equal(scores[0][0], scores[1][0])  # of one frame
    assert (scores[0][2] != scores[1][2]).all() and (scores[0] == scores[2]).all()


def test_a_sequence_is_drawn_where_single_frames_are_not_wanted():
    architecture = small(**NETVLAD, sample_random_frames=False)
    compare_sequence(architecture, start=144)  # 0.499 of the 289 places where 12 of 300 frames begin


def compare_sequence(architecture, start):
    net, arrays = network(architecture)
    x = videos(architecture, (300,))
    frames = unit(x[:, start:start + 12].astype(np.float64))
    np.testing.assert_allclose(net(mx.nd.array(x)).asnumpy(), netvlad(Reference(arrays, False), frames, architecture),
                               rtol=1e-5, atol=1e-5)


def test_what_only_evaluates_scores_the_same_and_draws_nothing():
    architecture = small(**GATED, softdbof_maxpool=True)
    net, _ = network(architecture)
    x = mx.nd.array(videos(architecture))
    wanted = net(x).asnumpy()
    net.only_evaluates().hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    assert 'Dropout' not in net(mx.sym.var('data')).tojson()


@pytest.mark.parametrize('options, deviations', [
    ({**NETVLAD, 'netvlad_cluster_size': 64, 'netvlad_hidden_size': 512, 'netvlad_relu': False, 'gating': True}, {
        'video_VLAD.cluster_weights': 1 / 8, 'video_VLAD.cluster_weights2': 1 / 8, 'audio_VLAD.cluster_weights': 1 / 4,
        'hidden1_weights': 1 / 8, 'hidden1_biases': 0.01, 'gating_weights_2': 512 ** -0.5}),
    ({**NETVLAD, 'netvlad_cluster_size': 64, 'netvlad_hidden_size': 512, 'netvlad_add_batch_norm': False,
      'gating': True}, {'video_VLAD.cluster_biases': 1 / 8, 'gating_biases': 80 ** -0.5}),
    ({**NETFV, 'fv_cluster_size': 64}, {'video_FV.covar_weights': 1 / 8, 'video_FV.cluster_weights': 1 / 8}),
    ({**GATED, 'dbof_cluster_size': 512}, {
        'video_DBOF.dim_red': 1 / 8, 'video_DBOF.cluster_weights_2': 1 / 8, 'audio_DBOF.cluster_weights': 1 / 4,
        'hidden1_weights': 512 ** -0.5})])
def test_weights_start_as_the_originals(options, deviations):
    net = build(small(**{**options, 'feature_sizes': '64,16'}))
    parameters = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    for key, deviation in deviations.items():
        values = parameters[key]
        # Four deviations of the estimate.
        assert values.std() == pytest.approx(deviation, rel=4 / (2 * values.size) ** 0.5), key
        middle = 1 if 'covar' in key else 0
        assert abs(values.mean() - middle) < 4 * deviation / values.size ** 0.5, key
    assert (parameters['input_bn.gamma'] == 1).all() if 'input_bn.gamma' in parameters else True


def test_l2_is_of_the_classifier_alone():
    net = build(small(**NETVLAD, moe_l2=1e-6, gating=True, moe_prob_gating=True))
    assert net.l2_factors() == {'gates.weights': 1e-6, 'experts.weights': 1e-6}


def test_two_features_of_one_name_are_refused():
    with pytest.raises(ModelError, match='--feature_names rgb,mean_rgb: NetVLADModelLF has one part for each feature'):
        build(small(**NETVLAD, feature_names='rgb,mean_rgb', feature_sizes='4,4'))


def test_files_of_parameters_have_tensorflows_names_and_round_trip(tmp_path):
    architecture = small(**NETVLAD, gating=True)
    net, _ = network(architecture)
    net.save_parameters(str(tmp_path / 'net.params'))
    assert {'video_VLAD.cluster_bn.running_var', 'hidden1_weights', 'gates.weights', 'gating_bn.gamma'} <= set(
        mx.nd.load(str(tmp_path / 'net.params')))
    other = build(architecture, seed=5)
    other.load_parameters(str(tmp_path / 'net.params'))
    x = mx.nd.array(videos(architecture))
    np.testing.assert_array_equal(other(x).asnumpy(), net(x).asnumpy())
