"""ONNX files that keep numbers in other files: refused, in whatever corner of the graph they do."""
import os

import numpy as np
import onnx
import pytest
from bundles import make_model
from onnx import TensorProto, helper, numpy_helper

from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.deploy.onnx.header import read_header
from gluon_action.deploy.onnx.model import OnnxModel
from gluon_action.deploy.speed.cost import onnx_cost
from gluon_action.errors import BundleError


def elsewhere(name):
    """A tensor whose numbers are in the file ``secret`` beside the model."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='secret')
    return tensor


def constant(tensor):
    return helper.make_node('Constant', [], ['outside'], value=tensor)


def branch(*nodes, initializers=()):
    return helper.make_graph([*nodes, helper.make_node('Identity', ['outside'], ['result'])], 'branch', [],
                             [helper.make_tensor_value_info('result', TensorProto.FLOAT, [3])], initializers)


def chosen(graph):
    """A node that computes a graph, whichever way it goes."""
    return helper.make_node('If', ['yes'], ['chosen'], then_branch=graph, else_branch=graph)


def sparse(outside):
    return helper.make_sparse_tensor(outside, numpy_helper.from_array(np.arange(3), 'places'), [9])


ELSEWHERE = {
    'a weight': lambda model: model.graph.initializer.append(elsewhere('outside')),
    'a constant': lambda model: model.graph.node.insert(0, constant(elsewhere('value'))),
    'a constant in a branch': lambda model: model.graph.node.insert(0, chosen(branch(constant(elsewhere('value'))))),
    'a weight of a branch': lambda model: model.graph.node.insert(
        0, chosen(branch(initializers=[elsewhere('outside')]))),
    'a sparse weight': lambda model: model.graph.sparse_initializer.append(sparse(elsewhere('outside'))),
    'a sparse constant': lambda model: model.graph.node.insert(0, helper.make_node(
        'Constant', [], ['outside'], sparse_value=sparse(elsewhere('value')))),
    'a function': lambda model: model.functions.append(helper.make_function(
        'of.somebody', 'F', [], ['outside'], [constant(elsewhere('value'))], [helper.make_opsetid('', 13)])),
    'training': lambda model: model.training_info.add().initialization.initializer.append(elsewhere('outside'))}


@pytest.mark.parametrize('place', ELSEWHERE)
def test_numbers_in_another_file_are_refused_wherever_a_model_keeps_them(tmp_path, place):
    path = make_model(tmp_path / 'model.onnx')
    assert read_header(path).whole
    model = onnx.load(path)
    ELSEWHERE[place](model)
    path.write_bytes(model.SerializeToString())
    (tmp_path / 'mine').write_bytes(np.full(3, 7, np.float32).tobytes())
    os.link(tmp_path / 'mine', tmp_path / 'secret')  # a link to anywhere on the disk would serve
    assert not read_header(path).whole
    for use in (read_bundle, OnnxModel, lambda path: onnx_cost(path, (1, 3, 2, 8, 8))):
        with pytest.raises(BundleError, match='model.onnx: keeps numbers in another file'):
            use(path)


def test_onnx_runtime_does_not_try_again_and_print(tmp_path, capfd, monkeypatch):
    def fail(*_):
        raise RuntimeError('broken')
    path = make_model(tmp_path / 'model.onnx')
    monkeypatch.setattr('onnxruntime.InferenceSession._create_inference_session', fail)
    with pytest.raises(BundleError, match='model.onnx: ONNX Runtime cannot load it: broken'):
        OnnxModel(path)
    assert capfd.readouterr().out == ''


def test_a_model_that_onnx_runtime_refuses_is_told_once_and_not_on_standard_output(tmp_path, capfd):
    model = onnx.load(make_model(tmp_path / 'model.onnx'))
    model.graph.node[0].op_type = 'Nothing'
    (tmp_path / 'model.onnx').write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match='model.onnx: ONNX Runtime cannot load it'):
        OnnxModel(tmp_path / 'model.onnx')
    assert capfd.readouterr().out == ''
