"""NumPy's files: what NumPy writes is read, and what claims more than it has is refused before memory is taken."""
import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from gluon_action.array_files import read_npy, read_npz
from gluon_action.data.reading.single_clip import flow_clip
from gluon_action.errors import VideoReadError


def npy(descr="'<f4'", shape='(2,)', data=bytes(8), order='False', text=None):
    header = (text or f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}").encode() + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + data


@pytest.mark.parametrize('content, told', [
    (npy(shape='(1099511627776,)'), '8 behind its header'), (npy(shape='(3,)'), '12 bytes, and has 8'),
    (npy(shape='(1,)'), '4 bytes, and has 8'), (npy(text="{'descr': '<f4', 'shape': (2,"), 'its header is damaged'),
    (npy(shape='(-1,)'), 'its shape cannot be'), (npy(shape='(0, 4611686018427387904)'), 'its shape cannot be'),
    (npy(shape='(True, 2)'), 'its shape cannot be'), (npy(descr="'|O'"), 'which are pickles and could run code'),
    (npy(descr="[('a', '<f4')]"), 'numbers and text are read'), (npy(descr="'<f3'"), 'which NumPy does not know'),
    (npy(descr="'<i4'"), 'are whole numbers, and decimal numbers'), (npy(text='(' * 3000), 'its header is damaged'),
    (npy(text='-' * 4000 + '1'), 'its header'), (npy()[:60], 'cut short'), (b'\x93NUMPY\x09\0', 'version 9'),
    (b'text', 'no array of NumPy')], ids=lambda value: value if isinstance(value, str) else 'x')
def test_an_array_that_claims_what_is_not_there_is_refused_before_memory_is_taken(tmp_path, content, told):
    (tmp_path / 'x.npy').write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_npy(tmp_path / 'x.npy', 'f')
    with pytest.raises(VideoReadError, match='x.npy: cannot be read by numpy'):
        flow_clip(tmp_path / 'x.npy')


@pytest.mark.parametrize('array', [
    np.arange(6, dtype='>i8').reshape(2, 3), np.asfortranarray(np.arange(6.).reshape(2, 3)), np.array(2.5),
    np.zeros((0, 3), np.float16), np.array(['ä', 'bc']), np.array([True, False]), np.arange(4, dtype=np.uint8)])
@pytest.mark.parametrize('version', [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read(tmp_path, array, version):
    with open(tmp_path / 'x.npy', 'wb') as file:
        np.lib.format.write_array(file, array, version)
    found = read_npy(tmp_path / 'x.npy', 'biufU')
    assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all()
    np.savez_compressed(tmp_path / 'x.npz', a=array, b=array)
    assert (read_npz(tmp_path / 'x.npz', {'a': 'biufU'})['a'] == array).all()


def test_an_archive_that_would_unpack_to_gigabytes_is_refused_at_once(tmp_path):
    """Zeros shrink to a thousandth: 3 GB in 3 MB. Here the archive only says so, which is all that is looked at."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('flow.npy', npy(descr="'|u1'", shape='(3221225472,)', data=bytes(1 << 16)))
        size = archive.infolist()[0].file_size
    claimed = data.getvalue().replace(struct.pack('<I', size), struct.pack('<I', 3 << 30))
    (tmp_path / 'flow.npz').write_bytes(claimed)
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f'its {len(claimed)} bytes would unpack to {3 << 30}'):
            read_npz(tmp_path / 'flow.npz', {'flow': 'u'})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5
