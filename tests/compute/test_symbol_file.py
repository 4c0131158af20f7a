"""Graphs that MXNet exports are read; a node has as many outputs as its operator."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import pytest

from gluon_action.compute.symbol_file import read_symbol


@pytest.mark.parametrize('parts', [7, (1, 2, 3, 4, 5, 6)])
def test_a_split_has_as_many_outputs_as_parts(tmp_path, parts):
    split = mx.sym.split_v2(mx.sym.var('data'), parts, axis=1)
    assert len(split.list_outputs()) == 7
    (split[0] + split[6]).save(str(tmp_path / 'x'))
    assert read_symbol(tmp_path / 'x')['nodes'][1]['op'] == '_split_v2'
    (tmp_path / 'x').write_text((tmp_path / 'x').read_text().replace('[1, 6, 0]', '[1, 7, 0]'))
    with pytest.raises(ValueError, match='takes what no node before it gives'):
        read_symbol(tmp_path / 'x')
