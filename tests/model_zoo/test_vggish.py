"""VGGish: what it computes, from the files that its publishers have."""
import mxnet as mx
import numpy as np
import pytest
from tf_checkpoint_writer import write_checkpoint
from torch_file_writer import write_torch_file
from vggish_files import embed, in_port, in_slim, random_vggish

from gluon_action.errors import WeightsError
from gluon_action.model_zoo.vggish import VGGish, load_vggish

PIECES = np.random.default_rng(5).standard_normal((3, 96, 64)).astype(np.float32)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder, layers = tmp_path_factory.mktemp('vggish'), random_vggish()
    write_checkpoint(folder / 'vggish_model.ckpt', {**in_slim(layers), 'global_step': np.array(7)})
    write_torch_file(folder / 'vggish.pth', {**in_port(layers), 'pproc.pca_means': np.zeros((7, 1), np.float32)})
    return folder, layers


@pytest.mark.parametrize('name', ['vggish_model.ckpt', 'vggish.pth'])
def test_embeddings_follow_the_definition_from_either_publisher(files, name):
    folder, layers = files
    net = load_vggish(folder / name)
    np.testing.assert_allclose(net(mx.nd.array(PIECES)).asnumpy(), embed(PIECES, layers), rtol=2e-4, atol=2e-5)
    assert net.feat_dim == 7


def test_its_own_parameters_are_read_too(files, tmp_path):
    net = load_vggish(files[0] / 'vggish.pth')
    net.save_parameters(str(tmp_path / 'own.params'))
    again = load_vggish(tmp_path / 'own.params')
    np.testing.assert_array_equal(net(mx.nd.array(PIECES)).asnumpy(), again(mx.nd.array(PIECES)).asnumpy())


def test_the_published_network_has_the_published_number_of_parameters():
    net = VGGish()
    output = net(mx.sym.var('data'))
    shapes = output.infer_shape(data=(1, 96, 64))[0]
    sizes = {name: np.prod(shape) for name, shape in zip(output.list_arguments(), shapes) if name != 'data'}
    assert len(sizes) == 18 and sum(sizes.values()) == 72141184


def spoiled(**changes):
    arrays = {**in_port(random_vggish()), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize('changes, told', [
    ({'features.3.bias': None}, '0 variables are the bias of conv2'),
    ({'features.6.weight': np.zeros((3, 4, 3, 3), np.float32)}, r'weight of conv3_1 is \(3, 4, 3, 3\), it should be'),
    ({'embeddings.0.weight': np.zeros((6, 90), np.float32)}, r'weight of fc1_1 is \(6, 90\), it should be \(6, 96\)'),
    ({'fc2.bias': np.zeros(7, np.float32)}, '2 variables are the bias of fc2')])
def test_files_of_other_networks_are_refused(tmp_path, changes, told):
    write_torch_file(tmp_path / 'x.pth', spoiled(**changes))
    with pytest.raises(WeightsError, match=f'x.pth: is not of VGGish: {told}|x.pth: is not of VGGish: the {told}'):
        load_vggish(tmp_path / 'x.pth')
