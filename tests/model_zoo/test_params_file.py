"""Parameter files: the bytes are MXNet's, both ways, and what is torn is refused."""
import struct

import mxnet as mx
import numpy as np
import pytest

from gluon_action.errors import OutputError
from gluon_action.model_zoo.loading.params_file import read_arrays, replace_arrays, write_arrays

DTYPES = ('float16', 'float32', 'float64', 'uint8', 'int8', 'int32', 'int64', 'bool')
RNG = np.random.default_rng(0)
ARRAYS = {f'ä.{dtype}': (RNG.random((2, 3, 4)) * 9).astype(dtype) for dtype in DTYPES}


@pytest.fixture
def theirs(tmp_path):
    """The file that MXNet writes."""
    arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in ARRAYS.items()}
    mx.nd.save(str(tmp_path / 'theirs.params'), arrays)
    return tmp_path / 'theirs.params'


def test_the_bytes_are_those_that_mxnet_writes(theirs, tmp_path):
    write_arrays(tmp_path / 'ours.params', ARRAYS)
    assert (tmp_path / 'ours.params').read_bytes() == theirs.read_bytes()


def test_arrays_in_another_order_of_axes_are_written_as_they_read(tmp_path):
    turned = {'a': np.arange(12, dtype=np.float32).reshape(3, 4).T}
    write_arrays(tmp_path / 'x.params', turned)
    assert (mx.nd.load(str(tmp_path / 'x.params'))['a'].asnumpy() == turned['a']).all()


def test_what_mxnet_wrote_is_read(theirs):
    found = read_arrays(theirs)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and (found[name] == array).all()


def test_arrays_without_names_have_numbers(tmp_path):
    mx.nd.save(str(tmp_path / 'x'), [mx.nd.ones((2,)), mx.nd.zeros((3,))])
    assert {name: array.tolist() for name, array in read_arrays(tmp_path / 'x').items()} == {'0': [1, 1],
                                                                                             '1': [0, 0, 0]}


@pytest.mark.parametrize('kind', ['version 1', 'before versions'])
def test_files_of_older_versions_of_mxnet_are_read(tmp_path, kind):
    start = struct.pack('<Iiqq', 0xF993FAC8, 2, 2, 3) if kind == 'version 1' else struct.pack('<III', 2, 2, 3)
    values = np.arange(6, dtype=np.float32)
    (tmp_path / 'x').write_bytes(struct.pack('<QQQ', 0x112, 0, 1) + start + struct.pack('<iii', 1, 0, 0)
                                 + values.tobytes() + struct.pack('<QQ', 1, 1) + b'w')
    assert mx.nd.load(str(tmp_path / 'x'))['w'].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_arrays(tmp_path / 'x')['w'].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_single_number_of_mxnets_numpy_is_read(tmp_path):
    (tmp_path / 'x').write_bytes(struct.pack('<QQQIiIiiif', 0x112, 0, 1, 0xF993FACA, 0, 0, 1, 0, 0, 2.5)
                                 + struct.pack('<QQ', 1, 1) + b'w')
    with mx.util.np_shape(True):
        theirs = mx.nd.load(str(tmp_path / 'x'))['w']
    assert theirs.shape == () and theirs.asnumpy() == 2.5
    found = read_arrays(tmp_path / 'x')['w']
    assert found.shape == () and found == np.float32(2.5)


def test_bfloat16_is_read_as_float32(tmp_path):
    values = np.array([1.5, -2, 1 / 3], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    (tmp_path / 'x').write_bytes(struct.pack('<QQQIiIqiii', 0x112, 0, 1, 0xF993FAC9, 0, 1, 3, 1, 0, 12)
                                 + halves.tobytes() + struct.pack('<QQ', 1, 1) + b'w')
    assert read_arrays(tmp_path / 'x')['w'].tolist() == [1.5, -2, 0.33203125]


def test_what_is_cut_short_anywhere_is_refused(theirs, tmp_path):
    whole = theirs.read_bytes()
    for length in range(0, len(whole), 3):
        (tmp_path / 'torn').write_bytes(whole[:length])
        with pytest.raises(ValueError, match='it ends too early'):
            read_arrays(tmp_path / 'torn')


def test_a_flipped_bit_is_refused_or_changes_a_value_but_asks_for_no_memory(theirs, tmp_path):
    whole = theirs.read_bytes()
    for place in range(0, len(whole), 5):
        data = bytearray(whole)
        data[place] ^= 0x80
        (tmp_path / 'torn').write_bytes(data)
        try:
            assert sum(array.nbytes for array in read_arrays(tmp_path / 'torn').values()) < 2 * len(whole)
        except ValueError:
            pass


def test_sparse_arrays_are_refused(tmp_path):
    mx.nd.save(str(tmp_path / 'x'), {'w': mx.nd.ones((2, 2)).tostype('csr')})
    with pytest.raises(ValueError, match='sparse'):
        read_arrays(tmp_path / 'x')


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_arrays(tmp_path / 'x.params', {'w': np.ones(2, np.float32)})
    before = (tmp_path / 'x.params').read_bytes()
    with pytest.raises(OutputError, match=r'x.params.*File too large'):
        _with_small_files(lambda: replace_arrays(tmp_path / 'x.params', {'w': np.ones(100_000, np.float32)}))
    assert (tmp_path / 'x.params').read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def _with_small_files(call):
    import resource
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, old[1]))
    try:
        call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
