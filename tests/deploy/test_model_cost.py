"""Counts of parameters and multiply-accumulates: published ones, and the same of a network and of its export."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
import onnx
import pytest
from bundles import make_model
from onnx import TensorProto, helper, numpy_helper
from structure import structure_of

from gluon_action.deploy.onnx.export import export_onnx
from gluon_action.deploy.speed.cost import network_cost, onnx_cost
from gluon_action.errors import BundleError
from gluon_action.model_zoo import get_model

# Billions of multiply-accumulates and parameters, from the papers' own code or torchvision's tables: ResNet-50 with
# the stride in its 3x3 convolutions and 1000 classes (4.089 G, 25,557,032), which is 1.2288e6 less and 819,200 more
# parameters than with 400; I3D of 64 frames; torchvision's s3d; TimeSformer's 0.59 T of three crops.
PUBLISHED = [
    ('resnet50_v1b_kinetics400', {}, 1, (224, 224), 4.0880, 25_557_032 - 600 * 2049),
    ('i3d_rgb_kinetics400', {'clip_length': 64}, 64, (224, 224), 111.15, 12_689_984),
    ('s3d_kinetics400', {'clip_length': 16}, 16, (224, 224), 17.98, 8_320_048),
    ('timesformer_divst_8x32_kinetics400', {}, 8, (224, 224), 195.83, 121_566_352),
]


@pytest.mark.parametrize('name, options, frames, size, billions, parameters', PUBLISHED,
                         ids=[name for name, *_ in PUBLISHED])
def test_counts_are_those_that_are_published(name, options, frames, size, billions, parameters):
    net = structure_of(name, pretrained_base=False, **options)
    shape = (1, 3, *([frames] if frames > 1 else []), *size)
    cost = network_cost(net, shape)
    assert cost.macs / 1e9 == pytest.approx(billions, rel=2e-4)
    assert cost.parameters == parameters


@pytest.mark.parametrize('name, shape', [
    ('timesformer_small_custom', (1, 3, 8, 16, 16)),
    pytest.param('resnet18_v1b_custom', (1, 3, 32, 32), marks=pytest.mark.slow),
    pytest.param('i3d_rgb_custom', (1, 3, 9, 41, 40), marks=pytest.mark.slow),
    pytest.param('i3d_nl5_resnet50_v1_kinetics400', (1, 3, 8, 32, 32), marks=pytest.mark.slow)])
def test_a_network_and_its_export_count_the_same(tmp_path, name, shape):
    options = {'input_size': shape[-1], **({'clip_length': shape[2]} if len(shape) == 5 else {})}
    net = get_model(name, nclass=5, pretrained_base=False, **options)
    export_onnx(net, tmp_path / 'net.onnx', input_shape=shape)
    ours, exported = network_cost(net, shape), onnx_cost(tmp_path / 'net.onnx', shape)
    assert ours.macs == exported.macs and len(ours.layers) == len(exported.layers)
    assert ours.parameters == pytest.approx(exported.parameters, rel=0.02)  # batch normalisations are folded


def test_groups_turned_products_and_batches_are_counted_by_hand(tmp_path):
    weights = {'grouped': np.ones((6, 2, 3, 3), 'float32'), 'dense': np.ones((24, 5), 'float32')}
    nodes = [helper.make_node('Conv', ['x', 'grouped'], ['a'], group=2, pads=[1, 1, 1, 1]),
             helper.make_node('Transpose', ['a'], ['b'], perm=[0, 1, 3, 2]),
             helper.make_node('MatMul', ['a', 'b'], ['c']),
             helper.make_node('Flatten', ['c'], ['d']),
             helper.make_node('Gemm', ['d', 'dense'], ['y'])]
    graph = helper.make_graph(nodes, 'g', [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['n', 4, 2, 3])],
                              [helper.make_tensor_value_info('y', TensorProto.FLOAT, ['n', 5])],
                              [numpy_helper.from_array(value, name) for name, value in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8), tmp_path / 'm.onnx')
    cost = onnx_cost(tmp_path / 'm.onnx', (7, 4, 2, 3))
    assert cost.layers == {'a': 7 * 6 * 2 * 3 * 2 * 9, 'c': 7 * 6 * 2 * 2 * 3, 'y': 7 * 5 * 24}
    assert cost.parameters == 6 * 2 * 9 + 24 * 5


def test_what_is_no_model_or_takes_other_shapes_is_named(tmp_path):
    (tmp_path / 'broken.onnx').write_bytes(b'garbage' * 99)
    with pytest.raises(BundleError, match='broken.onnx: is no ONNX file'):
        onnx_cost(tmp_path / 'broken.onnx', (1, 3, 8, 8))
    with pytest.raises(BundleError, match='gone.onnx: cannot be read'):
        onnx_cost(tmp_path / 'gone.onnx', (1, 3, 8, 8))
    make_model(tmp_path / 'net.onnx')
    with pytest.raises(BundleError, match='cannot compute an input of 1 x 2 x 4 x 8 x 8'):
        onnx_cost(tmp_path / 'net.onnx', (1, 2, 4, 8, 8))
