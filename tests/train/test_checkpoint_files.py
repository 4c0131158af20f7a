"""Files of TensorFlow and PyTorch are read without either, checked bit by bit, and never run."""
import math
import os
import struct
import zipfile

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
import pytest
from tf_checkpoint_writer import write_checkpoint
from torch_file_writer import Raw, Tensor, write_torch_file

from gluon_action.errors import WeightsError
from gluon_action.model_zoo.importers.formats.tensorflow import find_prefix, read_checkpoint
from gluon_action.model_zoo.importers.formats.torch_file import read_file, read_state_dict
from gluon_action.wire import masked_crc32c

VALUES = {
    'unit/w': np.arange(6, dtype=np.float32).reshape(1, 2, 3), 'unit/w/Momentum': np.ones((1, 2, 3), np.float32),
    'global_step': np.int64(-7), 'half': np.array([1.5, -2], np.float16), 'double': np.array([math.pi]),
    'flag': np.array([True, False]), 'empty': np.zeros((0, 3), np.float32), 'bytes': np.arange(3, dtype=np.uint8),
    **{f'many/{number:03d}': np.full(3, number, np.int32) for number in range(90)}}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def damage(path, offset, by=1):
    data = bytearray(path.read_bytes())
    data[offset] ^= by
    path.write_bytes(data)


def shorten(path, count):
    path.write_bytes(path.read_bytes()[:-count])


# TensorFlow.

# What TensorFlow 2.21 wrote with tf.compat.v1.train.Saver: float32, strings, bfloat16 and int64.
TENSORFLOWS_INDEX = (
    '00000608011a020801000b0b676c6f62616c5f7374657008091200280835bbd79f11000911756e69742f68616c66080e1204120208022008'
    '280435cac95bc30505116e616d65730807120412020802200c280a35605c3c8e0501157708011208120208011202080220162808353d33c8'
    'f40000000001000000001251f43f000000000100000000c0f2a1b0000102760079000000000100000000c0168e307e088b010e0000000000'
    '00000000000000000000000000000000000000000000000000000000000057fb808b247547db')
TENSORFLOWS_DATA = '0700000000000000c03f50c001034439ac2f616263640000c03f000000c0'


def test_a_checkpoint_that_tensorflow_wrote_is_read(tmp_path):
    (tmp_path / 'model.ckpt.index').write_bytes(bytes.fromhex(TENSORFLOWS_INDEX))
    (tmp_path / 'model.ckpt.data-00000-of-00001').write_bytes(bytes.fromhex(TENSORFLOWS_DATA))
    assert_same(read_checkpoint(tmp_path), {
        'global_step': np.array(7), 'unit/w': np.array([[1.5, -2]], np.float32),
        'unit/half': np.array([1.5, -3.25], np.float32), 'unit/names': np.array([b'a', b'bcd'], object)})


def test_the_checksum_is_that_of_the_standard():
    # RFC 3720, B.4: 32 bytes of 0 have CRC32C 8a9136aa; rotated by 15 and shifted.
    assert masked_crc32c(bytes(32)) == ((0x8a9136aa >> 15 | 0x8a9136aa << 17) + 0xa282ead8) % 2**32


@pytest.mark.parametrize('layout', [{}, {'per_block': 1}, {'shards': 3}, {'big_endian': True}])
def test_every_layout_of_a_checkpoint_holds_the_same(layout, tmp_path):
    assert_same(read_checkpoint(write_checkpoint(tmp_path / 'x-12', VALUES, **layout)), {
        name: np.asarray(value) for name, value in VALUES.items()})


@pytest.mark.parametrize('name', ['', 'model.ckpt', 'model.ckpt.index', 'model.ckpt.data-00000-of-00001'])
def test_a_checkpoint_may_be_named_by_folder_prefix_or_file(name, tmp_path):
    prefix = write_checkpoint(tmp_path / 'model.ckpt', VALUES)
    assert find_prefix(tmp_path / name) == prefix


@pytest.mark.parametrize('told', [
    'model_checkpoint_path: "/another/machine/model.ckpt"\n',
    'model_checkpoint_path: "model.ckpt-"\nall_model_checkpoint_paths: "model.ckpt"\n', ''])
def test_a_folder_whose_checkpoint_file_names_what_is_not_there_is_understood(told, tmp_path):
    # The first two are what DeepMind published.
    prefix = write_checkpoint(tmp_path / 'model.ckpt', VALUES)
    (tmp_path / 'checkpoint').write_text(told)
    assert find_prefix(tmp_path) == prefix


def test_of_several_checkpoints_the_newest_is_read_and_without_its_name_none(tmp_path):
    write_checkpoint(tmp_path / 'x-10', VALUES)
    newest = write_checkpoint(tmp_path / 'x-9', VALUES)
    assert find_prefix(tmp_path) == newest
    (tmp_path / 'checkpoint').unlink()
    with pytest.raises(WeightsError, match='holds 2 checkpoints of TensorFlow .x-10, x-9.; name one of them'):
        find_prefix(tmp_path)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match='holds 0 checkpoints'):
        read_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match='which is x.index and x.data-00000-of-00001'):
        read_checkpoint(tmp_path / 'x')
    (tmp_path / 'x').write_bytes(b'a checkpoint of 2016')
    with pytest.raises(WeightsError, match='no x.index beside it; TensorFlow before 0.12'):
        read_checkpoint(tmp_path / 'x')


@pytest.mark.parametrize('spoil, told', [
    (lambda index, data: damage(data, 400), 'variable many/.* does not match its checksum'),
    (lambda index, data: damage(index, 30), 'x.index: the block at byte 0 does not match its checksum'),
    (lambda index, data: damage(index, 800), 'x.index: the block at byte .* does not match its checksum'),
    (lambda index, data: shorten(index, 20), 'x.index: not an index of a TensorFlow checkpoint, or a torn one'),
    (lambda index, data: index.write_bytes(b''), 'its last 8 bytes are missing'),
    (lambda index, data: shorten(data, 1), 'torn: variable unit/w/Momentum ends at byte .* of'),
    (lambda index, data: data.unlink(), 'x.data-00000-of-00001: missing, it belongs to x.index'),
])
def test_a_damaged_checkpoint_is_refused_with_file_and_place(spoil, told, tmp_path):
    prefix = write_checkpoint(tmp_path / 'x', VALUES)
    spoil(tmp_path / 'x.index', tmp_path / 'x.data-00000-of-00001')
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(prefix)


@pytest.mark.parametrize('layout, told', [
    ({'compression': 1}, 'the block at byte 0 is compressed .Snappy.*restore and save it again'),
    ({'compression': 4}, 'compressed .method 4'),
    ({'parts': ['unit/w']}, 'variable unit/w is stored in 2 partitions'),
    ({'dtypes': {'half': 21}}, 'variable half has type 21 of types.proto'),
    ({'dtypes': {'half': 1}}, r'variable half \(2,\) has 4 bytes instead of 8'),
    ({'dtypes': {'bytes': 7}}, 'variable bytes .* does not match its checksum'),
])
def test_what_is_not_read_of_a_checkpoint_is_refused_by_name(layout, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(write_checkpoint(tmp_path / 'x', VALUES, **layout))


def test_no_flipped_bit_of_an_index_goes_unnoticed(tmp_path):
    prefix = write_checkpoint(tmp_path / 'x', {'unit/w': np.ones(3, np.float32)})
    index = tmp_path / 'x.index'
    size = index.stat().st_size
    footer = size - 48
    unused, length = index.read_bytes()[footer:footer + 2]  # a block that nothing reads
    for offset in [*range(unused), *range(unused + length + 5, footer), footer + 2, footer + 3, *range(size - 8, size)]:
        damage(index, offset, 1 << offset % 8)
        with pytest.raises(WeightsError, match='x.index: '):
            read_checkpoint(prefix)
        damage(index, offset, 1 << offset % 8)


# PyTorch.

ARRAYS = {
    'a.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 4), 'a.bias': np.float64([1, 2]),
    'count': np.array(128), 'half': np.float16([0.5]), 'i32': np.int32([1]), 'i16': np.int16([-1]),
    'i8': np.int8([-1]), 'u8': np.uint8([200]), 'flags': np.array([True, False]), 'empty': np.zeros((0, 2), np.float32)}


@pytest.mark.parametrize('big_endian', [False, True])
def test_tensors_of_all_kinds_are_read(big_endian, tmp_path):
    assert_same(read_state_dict(write_torch_file(tmp_path / 'x.pth', ARRAYS, big_endian=big_endian)), ARRAYS)


def test_bfloat16_becomes_float32(tmp_path):
    bits = np.uint16([0x3fc0, 0xc050, 0x7f80])
    found = read_state_dict(write_torch_file(tmp_path / 'x.pth', {'a': bits}))
    assert_same(found, {'a': np.float32([1.5, -3.25, np.inf])})


def test_views_of_one_storage_are_read_as_they_look(tmp_path):
    data = np.arange(24, dtype=np.float32)
    whole = data.reshape(2, 3, 4)
    content = {'whole': Tensor(data, (2, 3, 4), (12, 4, 1)), 'turned': Tensor(data, (4, 2, 3), (1, 12, 4)),
               'part': Tensor(data, (3, 2), (4, 2), offset=13), 'one': Tensor(data, (), (), offset=5)}
    assert_same(read_state_dict(write_torch_file(tmp_path / 'x.pth', content)), {
        'whole': whole, 'turned': whole.transpose(2, 0, 1), 'part': whole[1, :, 1::2], 'one': np.array(5, np.float32)})


def test_weights_are_found_among_what_else_training_saved(tmp_path):
    path = write_torch_file(tmp_path / 'x.pth', {
        'epoch': 3, 'state_dict': {f'module.{name}': array for name, array in ARRAYS.items()},
        'optimizer': {'state': {'0': np.ones(3)}}, 'arch': 's3d', 'best': 0.7})
    arrays, others = read_file(path)
    assert_same(arrays, ARRAYS)
    assert others == ['epoch', 'optimizer', 'arch', 'best']


@pytest.mark.parametrize('code, named', [
    (b'cposix\nsystem\n(' + b'X\x0d\x00\x00\x00touch run.txt' + b'tR', 'posix.system'),
    (b'cbuiltins\neval\n(' + b'X\x1b\x00\x00\x00open("run.txt", "w").close()'[:32] + b'tR', 'builtins.eval'),
    (b'ctorch.nn.modules.container\nSequential\n)R', 'torch.nn.modules.container.Sequential'),
    (b'ctorch\nload\n(X\x01\x00\x00\x00xtR', 'torch.load'),
    (b'ctorch.storage\n_load_from_bytes\n(C\x01xtR', 'torch.storage._load_from_bytes'),
    (b'\x8c\x05posix\x8c\x06system\x93', 'posix.system'),
    (b'(X\x02\x00\x00\x00lsiposix\nsystem\n', 'it would load posix.system and run it'),
    (b'(cposix\nsystem\nX\x02\x00\x00\x00lso', 'posix.system'),
    (b'cposix\nsystem\n)\x81', 'posix.system'),
    (b'\x82\x01', 'operation EXT1'),
    (b'P1\n', 'operation PERSID'),
])
def test_what_a_file_would_run_is_named_and_not_run(code, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_torch_file(tmp_path / 'x.pth', {'weight': np.ones(2), 'extra': Raw(code)})
    with pytest.raises(WeightsError, match=f'x.pth: .*{named}'):
        read_state_dict(path)
    assert os.listdir(tmp_path) == ['x.pth']


@pytest.mark.parametrize('tensor', [
    Tensor(np.ones(6, np.float32), (2, 4), (4, 1)), Tensor(np.ones(6, np.float32), (2, 3), (3, 1), offset=1),
    Tensor(np.ones(6, np.float32), (2, 3), (3, -1), offset=3), Tensor(np.ones(6, np.float32), (2, -3), (3, 1)),
    Tensor(np.ones(6, np.float32), (2, 3), (3,)), Tensor(np.ones(6, np.float32), (1 << 30, 1 << 30), (0, 0)),
    Tensor(np.ones(6, np.float32), (1,), (1,), offset=-1)])
def test_a_tensor_that_does_not_fit_its_storage_is_refused(tensor, tmp_path):
    with pytest.raises(WeightsError, match='tensor weight '):
        read_state_dict(write_torch_file(tmp_path / 'x.pth', {'weight': tensor}))


@pytest.mark.parametrize('content, told', [
    (b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.', 'its version is damaged'),
    (b'', 'begins with nothing'), (b'\x89HDF', 'not a file of torch.save: it begins with 89484446'),
    (b'PK\x03\x04', 'torn or damaged')])
def test_other_files_are_refused_with_what_to_do(content, told, tmp_path):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(WeightsError, match=f'x.pth: .*{told}'):
        read_state_dict(tmp_path / 'x.pth')


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match='x.pth: cannot be read: No such file'):
        read_state_dict(tmp_path / 'x.pth')


@pytest.mark.parametrize('options, told', [
    ({'extra': ['constants.pkl']}, 'a TorchScript program'), ({'compression': zipfile.ZIP_DEFLATED}, 'compressed')])
def test_other_archives_are_refused(options, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        read_state_dict(write_torch_file(tmp_path / 'x.pth', {'weight': np.ones(2)}, **options))


def test_a_file_without_weights_is_refused_with_what_it_holds(tmp_path):
    with pytest.raises(WeightsError, match='no dict of tensors but a dict of epoch, lr'):
        read_state_dict(write_torch_file(tmp_path / 'x.pth', {'epoch': 3, 'lr': 0.1}))


@pytest.mark.parametrize('torn', [10, 100, 500])
def test_a_torn_file_is_refused(torn, tmp_path):
    path = write_torch_file(tmp_path / 'x.pth', ARRAYS)
    shorten(path, torn)
    with pytest.raises(WeightsError, match='torn or damaged'):
        read_state_dict(path)


def test_no_flipped_bit_of_the_weights_goes_unnoticed(tmp_path):
    path = write_torch_file(tmp_path / 'x.pth', {'weight': np.float32([math.pi] * 50)})
    start = path.read_bytes().index(struct.pack('<f', math.pi))
    for offset in range(start, start + 200, 7):
        damage(path, offset)
        with pytest.raises(WeightsError, match='damaged'):
            read_state_dict(path)
        damage(path, offset)


@pytest.mark.parametrize('seed', range(40))
def test_a_pickle_of_noise_is_refused_and_nothing_else_happens(seed, tmp_path):
    path = write_torch_file(tmp_path / 'x.pth', {'a': np.ones(3), 'b': np.zeros((2, 2)), 'c': {'d': 1}})
    with zipfile.ZipFile(path) as file:
        members = {name: bytearray(file.read(name)) for name in file.namelist()}
    rng = np.random.default_rng(seed)
    pickle = members['archive/data.pkl']
    for offset in rng.integers(2, len(pickle), 1 + seed % 5):
        pickle[offset] = rng.integers(256)
    with zipfile.ZipFile(path, 'w') as file:
        for name, data in members.items():
            file.writestr(name, bytes(data))
    try:
        found = read_state_dict(path)
    except WeightsError as error:
        assert 'x.pth' in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())
