"""Every network of the zoo leaves as ONNX and scores there what it scores here."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import functools

import mxnet as mx
import numpy as np
import onnxruntime
import pytest
from small_networks import CLASSES, SMALL_FEATURES, build, fill, made_of, patterns

from gluon_action.deploy.onnx.export import export_onnx
from gluon_action.model_zoo import get_model, list_models, model_card

TOLERANCE = 1e-4

# The smallest network of each family that exports in a few seconds. test_onnx_export has ResNet, I3D and S3D.
FAST = ['inceptionv1_ucf101', 'timesformer_small_custom',
        *(name for name in list_models() if not model_card(name).input.is_video)]

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
    fill(net)
    about = export_onnx(net, tmp_path / 'model.onnx', input_shape=net.input_shape(2))
    assert about['input']['shape'] == ['batch', 'frames', net.architecture.width]
    x = np.random.default_rng(1).normal(size=(4, 30, net.architecture.width)).astype('float32')
    for row, length in zip(x, (0, 1, 6, 30)):
        row[length:] = 0
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    got, expected = session.run(['probabilities'], {'clip': x})[0], net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01
