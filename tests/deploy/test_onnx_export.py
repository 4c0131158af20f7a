"""Networks as ONNX: the same scores in ONNX Runtime, for any size of clip, and files that are whole or not there."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import os
import resource
import sys
from typing import NamedTuple

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from mxnet import gluon

from gluon_action.deploy.onnx import export as onnx_export
from gluon_action.deploy.onnx.export import export_onnx
from gluon_action.errors import ModelError, OutputError, UsageError
from gluon_action.model_zoo import get_model
from gluon_action.nn import BatchNorm, SameConv3D, SizedBlock


def network(name, frames, size, **options):
    """A network whose batch normalisations all do something."""
    length = {'clip_length': frames} if frames else {}
    net = get_model(name, nclass=5, pretrained_base=False, input_size=size, **length, **options)
    rng = np.random.RandomState(0)
    for key, parameter in net._collect_params_with_prefix().items():
        if key.endswith(('running_mean', 'beta', 'bias')):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.1, parameter.shape)))
        elif key.endswith('running_var'):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 2, parameter.shape)))
    return net


class Exported(NamedTuple):
    path: os.PathLike
    about: dict


def export(net, path, **options):
    return Exported(path, export_onnx(net, path, **options))


def run(exported, data):
    return onnxruntime.InferenceSession(exported.path).run(None, {'clip': data})


def assert_same(net, exported, *shape):
    data = np.random.RandomState(1).uniform(-1, 1, shape).astype('float32')
    expected = net(mx.nd.array(data)).asnumpy()
    np.testing.assert_allclose(run(exported, data)[0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def operators(exported):
    return {node.op_type for node in onnx.load(exported.path).graph.node}


class Tiny(SizedBlock):
    """The least that has SAME padding and batch normalisation."""

    num_classes = 8

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv = SameConv3D(8, 3, 2, in_channels=2, use_bias=False)
            self.bn = BatchNorm(ndim=5, in_channels=8, scale=False)

    def hybrid_forward(self, F, x):
        return F.mean(F.relu(self.bn(self.conv(x))), axis=(2, 3, 4))


@pytest.fixture
def tiny():
    net = Tiny()
    net.initialize()
    return net


@pytest.fixture(scope='module')
def i3d():
    return network('i3d_rgb_custom', 16, 32)


@pytest.fixture(scope='module')
def i3d_file(i3d, tmp_path_factory):
    return export(i3d, tmp_path_factory.mktemp('i3d') / 'i3d.onnx', input_shape=(1, 3, 16, 32, 32))


@pytest.mark.parametrize('shape', [(1, 3, 16, 32, 32), (2, 3, 9, 57, 41), (1, 3, 1, 32, 32), (1, 3, 24, 225, 32)])
def test_one_file_scores_clips_of_any_size_as_i3d_does(i3d, i3d_file, shape):
    assert_same(i3d, i3d_file, *shape)


def test_what_only_mxnet_needs_is_gone(i3d_file):
    assert not {'BatchNormalization', 'Pad', 'Reshape', 'AveragePool', 'Identity'} & operators(i3d_file)
    model = onnx.load(i3d_file.path)
    assert [value.name for value in model.graph.input] == ['clip']
    assert (model.ir_version, [opset.version for opset in model.opset_import]) == (8, [13])
    onnx.checker.check_model(model, full_check=True)


def test_the_export_says_how_to_use_the_file(i3d_file):
    about = i3d_file.about
    assert (about['model'], about['opset'], about['ir_version']) == ('i3d_rgb_custom', 13, 8)
    assert about['input'] == {'name': 'clip', 'layout': 'NCTHW', 'dtype': 'float32', 'rows_per_video': 1,
                              'shape': ['batch', 3, 'frames', 'height', 'width']}
    assert about['outputs'] == [{'name': 'logits', 'shape': ['batch', 5]}]
    assert about['checked']['input_shapes'][0] == [1, 3, 16, 32, 32] and about['checked']['difference'] <= 1e-4


def test_the_file_says_what_it_is_told_to(tiny, tmp_path):
    export(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6), metadata={'labels': '["a"]'})
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    assert session.get_modelmeta().custom_metadata_map == {'labels': '["a"]'}


def test_s3dg_exports_with_the_probabilities_of_each_label(tmp_path):
    net = network('s3dg_custom', 8, 32)
    exported = export(net, tmp_path / 'net.onnx', input_shape=(1, 3, 8, 32, 32), outputs='sigmoid')
    assert_same(net, exported, 2, 3, 11, 47, 40)
    logits, probabilities = run(exported, np.ones((1, 3, 8, 32, 32), 'float32'))
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert not {'BatchNormalization', 'MatMul', 'Reshape'} & operators(exported)


def test_segments_of_frames_export_with_the_probabilities_of_one_label(tmp_path):
    net = network('resnet18_v1b_custom', 0, 64, num_segments=3)
    exported = export(net, tmp_path / 'net.onnx', input_shape=(3, 3, 64, 64), outputs='softmax')
    assert_same(net, exported, 6, 3, 96, 75)
    logits, probabilities = run(exported, np.ones((3, 3, 64, 64), 'float32'))
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)
    assert exported.about['input']['shape'] == ['rows', 3, 'height', 'width']
    assert exported.about['outputs'][0]['shape'] == ['videos', 5]
    assert exported.about['input']['rows_per_video'] == 3


@pytest.mark.parametrize('name, frames, free', [
    pytest.param('i3d_nl5_resnet50_v1_kinetics400', 8, ['batch', 3, 'frames', 'height', 'width'],
                 marks=pytest.mark.slow),
    pytest.param('slowfast_4x16_resnet50_custom', 9, ['batch', 3, 9, 'height', 'width'], marks=pytest.mark.slow),
    pytest.param('r2plus1d_resnet18_kinetics400', 8, ['batch', 3, 'frames', 'height', 'width'],
                 marks=pytest.mark.slow),
    pytest.param('c3d_kinetics400', 16, ['batch', 3, 16, 32, 32], marks=pytest.mark.slow),
    pytest.param('i3d_inceptionv1_kinetics400', 8, ['batch', 3, 'frames', 'height', 'width'],
                 marks=pytest.mark.slow),
    pytest.param('s3d_custom', 8, ['batch', 3, 'frames', 'height', 'width'], marks=pytest.mark.slow)])
def test_other_networks_export_and_say_which_axes_are_free(tmp_path, name, frames, free):
    net = network(name, frames, 32)
    exported = export(net, tmp_path / 'net.onnx', input_shape=(1, 3, frames, 32, 32))
    assert exported.about['input']['shape'] == free
    assert_same(net, exported, 3, *(32 if axis in ('height', 'width') else axis for axis in
                                  (frames if axis == 'frames' else axis for axis in free[1:])))


def test_features_of_a_stage_export_with_their_axes(tmp_path):
    net = network('i3d_flow_custom', 8, 24, final_endpoint='Mixed_3b')
    exported = export(net, tmp_path / 'net.onnx', input_shape=(1, 2, 8, 24, 24))
    assert exported.about['outputs'] == [
        {'name': 'features', 'shape': ['batch', 256, 'output_frames', 'output_height', 'output_width']}]
    assert_same(net, exported, 2, 2, 5, 31, 17)


def test_an_exported_network_goes_on_as_before(tiny, tmp_path):
    tiny.hybridize()
    clips = [mx.nd.random.uniform(shape=shape) for shape in ((1, 2, 4, 6, 6), (1, 2, 5, 7, 6))]
    before = [tiny(clip).asnumpy() for clip in clips]
    export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 6, 8, 8))
    assert all((tiny(clip).asnumpy() == scores).all() for clip, scores in zip(clips, before))


def test_a_gamma_that_is_not_used_has_no_part_in_the_file(tiny, tmp_path):
    tiny.bn.gamma.set_data(mx.nd.full((8,), 3))
    assert_same(tiny, export(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6)), 1, 2, 4, 6, 6)


def test_the_input_is_named_as_asked(tiny, tmp_path):
    exported = export(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6), input_name='video')
    assert exported.about['input']['name'] == 'video'
    assert [value.name for value in onnx.load(exported.path).graph.input] == ['video']


@pytest.mark.parametrize('options, message', [
    ({'input_shape': (2, 4, 6)}, r'\(N, C, T, H, W\) in whole numbers from 1, got \(2, 4, 6\)'),
    ({'input_shape': (1, 2, 0, 6, 6)}, 'whole numbers from 1'),
    ({'outputs': 'ids'}, "outputs is one of logits, softmax, sigmoid, got 'ids'"),
    ({'input_name': 'logits'}, "none of the outputs', got 'logits'")])
def test_what_cannot_be_is_refused_before_anything_is_written(tiny, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export_onnx(tiny, tmp_path / 'net.onnx', **{'input_shape': (1, 2, 4, 6, 6), **options})
    assert os.listdir(tmp_path) == []


def test_a_network_of_another_precision_is_refused(tiny, tmp_path):
    tiny.cast('float16')
    with pytest.raises(UsageError, match=r"is float16; call net.cast\('float32'\)"):
        export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6))


def test_rows_that_are_no_whole_videos_are_refused(tmp_path):
    with pytest.raises(UsageError, match='the network combines 3 rows'):
        export_onnx(network('resnet18_v1b_custom', 0, 32, num_segments=3), tmp_path / 'net.onnx',
                    input_shape=(2, 3, 32, 32))


def test_an_existing_file_is_never_replaced(tiny, tmp_path):
    (tmp_path / 'net.onnx').write_text('mine')
    with pytest.raises(UsageError, match='net.onnx exists; name another file'):
        export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 8, 6, 6))
    assert (tmp_path / 'net.onnx').read_text() == 'mine'


def test_a_file_too_large_for_the_system_leaves_nothing(tiny, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match='net.onnx: cannot be written: File too large'):
            export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 8, 6, 6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_output_error(tiny, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match='Not a directory'):
        export_onnx(tiny, tmp_path / 'file' / 'net', input_shape=(1, 2, 4, 6, 6))


def test_a_model_that_does_not_agree_is_not_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, 'TOLERANCE', -1)
    with pytest.raises(ModelError, match='differs from the network .* not kept'):
        export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6))
    assert os.listdir(tmp_path) == []


def test_a_model_whose_scores_are_no_numbers_is_not_kept(tiny, tmp_path):
    tiny.bn.beta.set_data(mx.nd.full(8, float('nan')))
    with pytest.raises(ModelError, match='differs from the network by nan .* not kept'):
        export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6))
    assert os.listdir(tmp_path) == []


def test_an_operator_that_onnx_lacks_is_named(tmp_path):
    net = gluon.nn.HybridLambda('round')
    holder = gluon.nn.HybridSequential()
    holder.add(gluon.nn.Dense(2, in_units=3), net)
    holder.initialize()
    with pytest.raises(ModelError, match='HybridSequential has no counterpart in ONNX: .*round'):
        export_onnx(holder, tmp_path / 'net.onnx', input_shape=(1, 3, 1, 1))


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_a_missing_package_is_named_with_its_cure(tiny, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package} .*pip install 'gluon_action\[onnx\]'"):
        export_onnx(tiny, tmp_path / 'net.onnx', input_shape=(1, 2, 4, 6, 6))
