"""Networks that MXNet exported: their files are checked before its loaders, which crash on damaged ones, see them."""
import json
import struct
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest

from gluon_action.compute.on_mxnet.exported import exported_size, open_exported_network
from gluon_action.errors import WeightsError


@pytest.fixture
def exported(tmp_path):
    """The files of a network that MXNet exported: its prefix, graph and scores for ones."""
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(2, 3), mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Flatten())
    net.initialize(mx.init.One())
    net.hybridize()
    scores = net(mx.nd.ones((1, 3, 8, 8))).asnumpy()
    net.export(str(tmp_path / 'net'))
    return str(tmp_path / 'net'), json.loads((tmp_path / 'net-symbol.json').read_text()), scores


def opened(prefix):
    return open_exported_network(f'{prefix}-symbol.json', f'{prefix}-0000.params', [mx.cpu()])


def test_an_exported_network_computes_what_it_did(exported):
    prefix, _, scores = exported
    np.testing.assert_array_equal(opened(prefix)(mx.nd.ones((1, 3, 8, 8))).asnumpy(), scores)


def looped(graph):
    graph['nodes'][-1]['inputs'][0][0] = len(graph['nodes']) - 1


def beyond(graph):
    graph['nodes'][-1]['inputs'][0][0] = 1 << 30


def beyond_the_outputs(graph):
    graph['heads'][0][1] = 1 << 30


def an_address(graph):
    graph['nodes'][-1].update(op='_Native', attrs={'info': '0x1234'})


@pytest.mark.parametrize('change, told', [
    (looped, 'takes what no node before it gives'), (beyond, 'takes what no node before it gives'),
    (beyond_the_outputs, 'its heads are no outputs'), (an_address, 'addresses in the memory'),
    (lambda graph: graph['nodes'].append(3), 'has no operator and name'),
    (lambda graph: graph.pop('heads'), 'nodes, arg_nodes and heads are wanted'),
    (lambda graph: graph['arg_nodes'].append(-1), 'its arg_nodes'),
    (lambda graph: graph['nodes'][0].update(attrs={'__input_size__': '1,2'}), 'fits inputs of the size')])
def test_a_graph_that_would_crash_mxnet_is_refused(exported, change, told):
    prefix, graph, _ = exported
    change(graph)
    Path(f'{prefix}-symbol.json').write_text(json.dumps(graph))
    with pytest.raises(WeightsError, match=f'net-symbol.json: .*{told}'):
        opened(prefix)
        exported_size(f'{prefix}-symbol.json')


def test_the_parameters_of_an_exported_network_are_checked_too(exported):
    prefix = exported[0]
    Path(f'{prefix}-0000.params').write_bytes(struct.pack('<QQQ', 0x112, 0, 1 << 27))
    with pytest.raises(WeightsError, match='net-0000.params are not an exported network: it ends too early'):
        opened(prefix)
