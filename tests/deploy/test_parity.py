"""Every network of the zoo leaves as ONNX and scores there what it scores here."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import functools
import hashlib
import json

import mxnet as mx
import numpy as np
import onnxruntime
import pytest

from gluon_action.deploy.onnx.export import export_onnx
from gluon_action.model_zoo import get_model, list_models, model_card

CLASSES = 7
TOLERANCE = 1e-4

# Frames and pixels that are least work; families that are not named take 8 of 32.
SMALLEST = {'Inception': {'inceptionv3': (1, 96), '': (1, 64)}, 'ResNet v1b': {'': (1, 64)}, 'VGG': {'': (1, 32)},
            'C3D': {'': (16, 32)}, 'P3D': {'': (16, 64)}, 'I3D of GluonCV': {'i3d_inceptionv3': (8, 80)},
            'SlowFast': {'slowfast_4x16': (9, 32), 'slowfast_8x8': (5, 32), 'slowfast_16x8': (5, 32)},
            'Tiny': {'': (1, 32)}}

# Options of networks of features that make them small, and leave each feature clusters enough.
SMALL_FEATURES = {'netvlad_cluster_size': 4, 'netvlad_hidden_size': 5, 'fv_cluster_size': 4, 'fv_hidden_size': 5,
                  'dbof_cluster_size': 16, 'dbof_hidden_size': 5, 'lstm_cells': 6, 'gru_cells': 5,
                  'nextvlad_cluster_size': 4, 'nextvlad_hidden_size': 8, 'groups': 2, 'gating_reduction': 2,
                  'iterations': 7}

# The smallest network of each family that exports in a few seconds. test_onnx_export has ResNet, I3D and S3D.
FAST = ['inceptionv1_ucf101', 'timesformer_small_custom',
        *(name for name in list_models() if not model_card(name).input.is_video)]


def small_shape(card):
    """Frames and pixels: as few as the network takes, in proportion where it is built for one size."""
    if card.family == 'TimeSformer':
        return max(2, card.clip_length // 4), card.input_size // 7
    for start, shape in SMALLEST.get(card.family, {}).items():
        if card.name.startswith(start):
            return shape
    return 8, 32


def small_options(card):
    """Options of ``get_model`` for a network that is least work."""
    if not card.input.is_video:
        return {'feature_sizes': '6,4', 'clip_length': min(card.clip_length, 9),
                **{name: value for name, value in SMALL_FEATURES.items() if name in card.supports}}
    frames, size = small_shape(card)
    return {'input_size': size, **({'clip_length': frames} if card.input_layout == 'NCTHW' else {})}


def build(name):
    """A network whose layers all do something, whatever MXNet's random numbers are."""
    card = model_card(name)
    options = small_options(card)
    net = get_model(name, nclass=CLASSES, pretrained_base=False, **options)
    rng = np.random.default_rng(0)
    for key, parameter in sorted(net._collect_params_with_prefix().items()):
        parameter.set_data(mx.nd.array(draw(rng, key, parameter.shape, calm='_nl' in name)))
    return net, net.input_shape(2, options.get('input_size'), options.get('clip_length'))


def draw(rng, key, shape, calm):
    if key.endswith('running_var'):
        return rng.uniform(0.5, 2, shape)
    if key.endswith('gamma'):
        # Activations grow from residual block to block. Non-local blocks take the exponential of their products, which
        # are in the thousands then, where float32 keeps four digits whoever computes it.
        return rng.uniform(0.3, 0.7, shape) if calm else rng.uniform(0.5, 1.5, shape)
    if len(shape) < 2 or 'embed' in key or 'token' in key:
        return rng.normal(0, 0.1, shape)
    return rng.standard_normal(shape, 'float32') * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def made_of(net, shape):
    """A hash of the operators, how they are joined, and the shapes of all parameters; names aside."""
    nodes = json.loads(net(mx.sym.var('data')).tojson())['nodes']
    graph = [[node['op'], node.get('attrs') if node['op'] != 'null' else None, node['inputs']] for node in nodes]
    shapes = [parameter.shape for _, parameter in sorted(net._collect_params_with_prefix().items())]
    return hashlib.sha256(json.dumps([graph, shapes, shape]).encode()).hexdigest()


_checked = {}


def check(name, folder):
    """Compare, once for names that build the very same network but for the number of its classes."""
    net, shape = build(name)
    key = made_of(net, shape)
    if key not in _checked:
        _checked[key] = compare(net, shape, folder / 'model.onnx')
    return _checked[key]


def compare(net, shape, path):
    about = export_onnx(net, path, input_shape=shape)
    data = patterns((3, *shape[1:]))
    expected = net(mx.nd.array(data)).asnumpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    got = onnxruntime.InferenceSession(path, options).run([net.output_name], {'clip': data})[0]
    path.unlink()
    return about, got, expected


def patterns(shape):
    """Waves over each channel: noise alone looks the same to a network that takes means."""
    rng = np.random.default_rng(1)
    places = np.meshgrid(*(np.linspace(0, 1, length) for length in shape[2:]), indexing='ij')
    data = rng.uniform(-0.3, 0.3, shape)
    for channel in data.reshape(-1, *shape[2:]):
        phase = sum(rng.uniform(-4, 4) * place for place in places) + rng.uniform()
        channel += rng.normal() + rng.uniform(0, 2) * np.sin(2 * np.pi * phase)
    return data.astype('float32')


def assert_parity(name, folder):
    about, got, expected = check(name, folder)
    difference = np.abs(got - expected).max()
    assert difference <= TOLERANCE * np.abs(expected).max()
    assert difference <= 0.01 * np.ptp(expected, axis=0).max()  # as a part of what the input makes of the scores
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert about['input']['shape'][0] == 'batch' and about['outputs'][0]['shape'] == ['batch', CLASSES]


@pytest.mark.parametrize('name', FAST)
def test_a_small_network_of_a_family_scores_the_same_as_onnx(name, tmp_path):
    assert_parity(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(list_models()) - set(FAST)))
def test_every_network_scores_the_same_as_onnx(name, tmp_path):
    assert_parity(name, tmp_path)


@functools.cache
def fingerprint(name):
    return made_of(*build(name))


@pytest.mark.slow
def test_names_share_a_comparison_only_when_they_build_the_same_network():
    assert fingerprint('resnet18_v1b_ucf101') == fingerprint('resnet18_v1b_hmdb51')
    assert fingerprint('resnet18_v1b_ucf101') != fingerprint('resnet18_v1b_kinetics400')  # another dropout
    assert fingerprint('resnet18_v1b_ucf101') != fingerprint('resnet34_v1b_ucf101')
    assert fingerprint('i3d_rgb_custom') != fingerprint('i3d_flow_custom')


FEATURES = dict(feature_sizes='6,4', iterations=7, clip_length=20)
VARIANTS = [
    ('NetVLADModelLF', dict(gating=True, gating_remove_diag=True, moe_prob_gating=True, netvlad_relu=False)),
    ('NetVLADModelLF', dict(sample_all=True, netvlad_add_batch_norm=False, gating=True)),
    ('NetVLADModelLF', dict(sample_random_frames=False, lightvlad=True, moe_low_rank_gating=2)),
    ('NetVLADModelLF', dict(feature_names='audio', feature_sizes='4', video_level_classifier_model='LogisticModel')),
    ('NetFVModelLF', dict(fv_couple_weights=False, fv_relu=False, gating=True, moe_prob_gating=True,
                          moe_prob_gating_input='input')),
    ('GatedDbofModelLF', dict(softdbof_maxpool=True, dbof_relu=False)), ('SoftDbofModelLF', dict(fc_dimred=False)),
    ('DbofModel', dict(dbof_pooling_method='average', dbof_add_batch_norm=False))]


@pytest.mark.parametrize('name, options', VARIANTS)
def test_variants_of_networks_of_features_score_padded_videos_as_onnx(name, options, tmp_path):
    small = {key: value for key, value in SMALL_FEATURES.items() if key in model_card(name).supports}
    net = get_model(name, nclass=CLASSES, **{**small, **FEATURES, **options})
    rng = np.random.default_rng(0)
    for key, parameter in sorted(net._collect_params_with_prefix().items()):
        parameter.set_data(mx.nd.array(draw(rng, key, parameter.shape, calm=False)))
    about = export_onnx(net, tmp_path / 'model.onnx', input_shape=net.input_shape(2))
    assert about['input']['shape'] == ['batch', 'frames', net.architecture.width]
    x = rng.normal(size=(4, 30, net.architecture.width)).astype('float32')
    for row, length in zip(x, (0, 1, 6, 30)):
        row[length:] = 0
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    got, expected = session.run(['probabilities'], {'clip': x})[0], net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01
