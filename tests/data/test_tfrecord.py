"""TFRecord files, against tensorboardX's writer (its own CRC32C) and protobuf's reading of TensorFlow's definition."""
import contextlib
import gzip
import hashlib
import os
import pickle

import numpy as np
import pytest
from records import records_in
from tensorboardX.record_writer import RecordWriter as TensorboardWriter
from tf_messages import tf_message

from gluon_action.data.tfrecords import framing
from gluon_action.data.tfrecords.examples import (
    byte_rows,
    make_example,
    make_sequence_example,
    parse_example,
    parse_sequence_example,
)
from gluon_action.data.tfrecords.framing import FOOTER, HEADER, RecordFile, RecordWriter
from gluon_action.errors import OutputError, RecordError, UsageError, VideoReadError
from gluon_action.wire import make_field, masked_crc32c

RECORDS = [b'one', b'', b'three' * 1000, bytes(range(256))]


def write(path, records=RECORDS):
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


def test_what_another_writer_wrote_is_read(tmp_path):
    path = str(tmp_path / 'other.tfrecord')
    writer = TensorboardWriter(path)
    for record in RECORDS:
        writer.write(record)
    writer.close()
    assert records_in(path) == RECORDS
    assert write(tmp_path / 'ours.tfrecord').read_bytes() == (tmp_path / 'other.tfrecord').read_bytes()


def test_records_are_read_in_any_order(tmp_path):
    file = RecordFile(write(tmp_path / 'a.tfrecord'))
    assert [file.read(index) for index in (2, 0, 3, 1)] == [RECORDS[index] for index in (2, 0, 3, 1)]
    assert file.lengths.tolist() == [len(record) for record in RECORDS] and len(file) == 4
    assert file.offsets.tolist() == np.cumsum([0] + [16 + len(record) for record in RECORDS[:-1]]).tolist()
    assert file.checksums.tolist() == [masked_crc32c(record) for record in RECORDS]


def test_a_file_without_records_has_none(tmp_path):
    write(tmp_path / 'none.tfrecord', [])
    assert len(RecordFile(tmp_path / 'none.tfrecord')) == 0


@pytest.mark.parametrize('kept', [5, HEADER, HEADER + 2, HEADER + 3 + 1, 19 + 4, 19 + 16 + 400])
def test_a_torn_file_is_told_by_the_byte_of_its_first_lost_record(tmp_path, kept):
    path = write(tmp_path / 'torn.tfrecord')
    path.write_bytes(path.read_bytes()[:kept])
    lost = 0 if kept < 19 else 19 if kept < 35 else 35
    with pytest.raises(RecordError, match=rf'torn.tfrecord, byte {lost}: the file is torn') as error:
        RecordFile(path)
    assert error.value.offset == lost


def test_every_flipped_bit_is_found(tmp_path):
    path = write(tmp_path / 'flipped.tfrecord', [b'first', b'second'])
    whole = path.read_bytes()
    second = len(b'first') + HEADER + FOOTER
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(RecordError, match=rf'flipped.tfrecord, byte {0 if bit < 8 * second else second}: ') as told:
            records_in(path)
        assert 'torn' not in str(told.value)


def test_the_other_records_of_a_damaged_file_can_be_read(tmp_path):
    path = write(tmp_path / 'a.tfrecord', [b'first', b'second', b'third'])
    path.write_bytes(path.read_bytes().replace(b'second', b'secund'))
    file = RecordFile(path)
    assert (file.read(0), file.read(2)) == (b'first', b'third')
    with pytest.raises(RecordError, match=r'byte 21: record 1 of 6 bytes, which begins here, is damaged'):
        file.read(1)


def test_a_file_that_shrinks_while_it_is_used_is_told(tmp_path):
    path = write(tmp_path / 'a.tfrecord')
    file = RecordFile(path)
    write(path, [b'another'])
    with pytest.raises(RecordError, match='replaced while it was in use'):
        file.read(0)
    path.unlink()
    with pytest.raises(RecordError, match='does not exist'):
        file.read(0)


@pytest.mark.parametrize('content, told', [(gzip.compress(b'x' * 99, mtime=0), 'is compressed; unpack it with gunzip'),
                                           (b'path,label\na.mp4,1\n', 'is not a TFRecord file')])
def test_other_files_are_refused(tmp_path, content, told):
    (tmp_path / 'a.tfrecord').write_bytes(content)
    with pytest.raises(RecordError, match=f'a.tfrecord, byte 0: {told}'):
        RecordFile(tmp_path / 'a.tfrecord')


def test_an_error_is_one_of_a_sample_and_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(RecordError('a.tfrecord', 7, 'is torn')))
    assert isinstance(error, VideoReadError) and str(error) == 'a.tfrecord, byte 7: is torn'
    assert (error.path, error.offset, error.cause) == ('a.tfrecord', 7, 'is torn')


@pytest.mark.parametrize('record', [
    b'\x0a\x02\x08\x01', b'\x0a\x04\x0a\x02\x08\x03', b'\x0a\x06\x0a\x04\x12\x02\x08\x07', b'\x08\x01',
    b'\x0a\x04\x0a\x02\x10\x05'])
def test_a_protocol_buffer_of_another_kind_is_refused(record):
    """Numbers where messages, names or lists should be; all of it with checksums that fit."""
    for parse in (parse_example, parse_sequence_example):
        with contextlib.suppress(ValueError):
            assert not any(parse(record))  # a message without features is one of no features


def test_a_full_disk_leaves_nothing_and_hides_no_other_error(tmp_path, monkeypatch):
    part = tmp_path / '.part'
    monkeypatch.setattr(framing, 'new_part', lambda path: part)
    part.symlink_to('/dev/full')
    with pytest.raises(OutputError, match='a.tfrecord: cannot be written: No space left'):
        writer = RecordWriter(tmp_path / 'a.tfrecord')
        writer.write(b'half')
        writer.close()
    assert os.listdir(tmp_path) == []
    part.symlink_to('/dev/full')
    with pytest.raises(RuntimeError, match='on the way'):
        with RecordWriter(tmp_path / 'a.tfrecord') as writer:
            writer.write(b'half')
            raise RuntimeError('on the way')
    assert os.listdir(tmp_path) == []


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    with pytest.raises(RuntimeError, match='on the way'):
        with RecordWriter(tmp_path / 'a.tfrecord') as writer:
            writer.write(b'half')
            assert not (tmp_path / 'a.tfrecord').exists()
            raise RuntimeError('on the way')
    assert os.listdir(tmp_path) == []


def test_all_of_a_file_is_on_disk_before_it_gets_its_name(tmp_path, disk):
    path = tmp_path / 'a.tfrecord'
    with RecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    (_, synced, size), (_, renamed, name), (_, folder, _) = disk
    assert [event[0] for event in disk] == ['sync', 'rename', 'sync'] and folder == str(tmp_path)
    assert synced == renamed and name == str(path)
    assert size == path.stat().st_size == writer.num_bytes


def test_the_writer_knows_what_it_wrote(tmp_path):
    with RecordWriter(tmp_path / 'a.tfrecord') as writer:
        for record in RECORDS:
            writer.write(record)
    content = (tmp_path / 'a.tfrecord').read_bytes()
    assert writer.sha256 == hashlib.sha256(content).hexdigest()
    assert (writer.num_records, writer.num_bytes) == (len(RECORDS), len(content))


def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OutputError, match='a.tfrecord: cannot be written: No such file or directory'):
        RecordWriter(tmp_path / 'missing' / 'a.tfrecord')


FEATURES = {'clip': b'\x00\xff' * 200, 'names': [b'a', b'', b'bc'], 'score': np.float32([0.5, -2, 1e9]),
            'count': np.array([0, 1, 127, 128, -1, 2 ** 63 - 1, -2 ** 63]), 'flag': [True, False], 'one': 7,
            'half': 0.5}


def test_tensorflow_reads_our_examples():
    feature = tf_message('Example').FromString(make_example(FEATURES)).features.feature
    assert sorted(feature) == sorted(FEATURES)
    assert list(feature['clip'].bytes_list.value) == [FEATURES['clip']]
    assert list(feature['names'].bytes_list.value) == FEATURES['names']
    assert list(feature['score'].float_list.value) == FEATURES['score'].tolist()
    assert list(feature['count'].int64_list.value) == FEATURES['count'].tolist()
    assert (list(feature['flag'].int64_list.value), list(feature['one'].int64_list.value)) == ([1, 0], [7])
    assert list(feature['half'].float_list.value) == [0.5]


def test_we_read_tensorflows_examples():
    example = tf_message('Example')()
    example.features.feature['clip'].bytes_list.value.append(FEATURES['clip'])
    example.features.feature['score'].float_list.value.extend(FEATURES['score'])
    example.features.feature['count'].int64_list.value.extend(FEATURES['count'].tolist())
    many = [number * 7 ** power for power in range(0, 22, 3) for number in (-1, 0, 1, 5)]  # more than 48 bytes
    example.features.feature['many'].int64_list.value.extend(many)
    example.features.feature['nothing'].int64_list.SetInParent()
    example.features.feature['unset'].SetInParent()
    parsed = parse_example(example.SerializeToString())
    assert sorted(parsed) == ['clip', 'count', 'many', 'nothing', 'score', 'unset'] and parsed['unset'] == []
    assert parsed['many'].dtype == np.int64 and parsed['many'].tolist() == many
    assert [bytes(item) for item in parsed['clip']] == [FEATURES['clip']]
    assert parsed['score'].dtype == np.float32 and parsed['score'].tolist() == FEATURES['score'].tolist()
    assert parsed['count'].dtype == np.int64 and parsed['count'].tolist() == FEATURES['count'].tolist()
    assert parsed['nothing'].dtype == np.int64 and parsed['nothing'].tolist() == []


def test_numbers_that_are_not_packed_are_read():
    floats = tf_message('UnpackedFloats')(value=[1.5, -2]).SerializeToString()
    numbers = tf_message('UnpackedInts')(value=[3, -4, 300]).SerializeToString()
    for content, name, expected in ((b'\x12' + bytes([len(floats)]) + floats, 'a', [1.5, -2]),
                                    (b'\x1a' + bytes([len(numbers)]) + numbers, 'b', [3, -4, 300])):
        entry = b'\x0a\x01' + name.encode() + b'\x12' + bytes([len(content)]) + content
        record = b'\x0a' + bytes([len(entry) + 2]) + b'\x0a' + bytes([len(entry)]) + entry
        assert list(tf_message('Example').FromString(record).features.feature) == [name]
        assert parse_example(record)[name].tolist() == expected


@pytest.mark.parametrize('end, told', [(b'\x80', 'cut short'), (b'\xff' * 10 + b'\x01', 'more than 64 bits')])
@pytest.mark.parametrize('size', [4, 100])
def test_numbers_that_are_no_numbers_are_refused(size, end, told):
    content = make_field(1, b'\x05' * size + end)
    record = make_field(1, make_field(1, make_field(1, b'a') + make_field(2, make_field(3, content))))
    with pytest.raises(ValueError, match=told):
        parse_example(record)


def test_bytes_are_views_of_the_record():
    record = make_example({'clip': b'x' * 1000})
    assert parse_example(record)['clip'][0].obj is record


def test_equal_features_give_equal_bytes():
    assert make_example(FEATURES) == make_example(dict(reversed(FEATURES.items())))
    assert b'one' in make_example(FEATURES)


def test_random_bytes_are_refused():
    rng = np.random.default_rng(0)
    whole = make_example(FEATURES)
    refused = 0
    for number in range(300):
        record = rng.bytes(50) if number % 2 else whole[:rng.integers(1, len(whole))]
        for parse in (parse_example, parse_sequence_example):
            try:
                parse(record)
            except ValueError:
                refused += 1
    assert refused > 500


def test_features_of_no_kind_are_refused():
    with pytest.raises(UsageError, match='a feature is bytes, a list of bytes, or numbers; got str'):
        make_example({'name': 'text'})


LISTS = {'rgb': np.arange(60, dtype=np.uint8).reshape(3, 20), 'audio': np.zeros((2, 300), np.uint8),
         'none': np.zeros((0, 4), np.uint8), 'bare': np.zeros((2, 0), np.uint8)}


def test_tensorflow_reads_our_sequences():
    example = tf_message('SequenceExample').FromString(make_sequence_example(FEATURES, LISTS))
    assert sorted(example.context.feature) == sorted(FEATURES)
    lists = example.feature_lists.feature_list
    assert {name: [list(step.bytes_list.value) for step in lists[name].feature] for name in lists} == {
        name: [[row.tobytes()] for row in rows] for name, rows in LISTS.items()}


def test_we_read_tensorflows_sequences():
    example = tf_message('SequenceExample')()
    example.context.feature['count'].int64_list.value.extend([3, -1])
    for name, rows in LISTS.items():
        example.feature_lists.feature_list[name].SetInParent()
        for row in rows:
            example.feature_lists.feature_list[name].feature.add().bytes_list.value.append(row.tobytes())
    context, lists = parse_sequence_example(example.SerializeToString())
    assert list(context) == ['count'] and context['count'].tolist() == [3, -1] and sorted(lists) == sorted(LISTS)
    for name, rows in LISTS.items():
        assert byte_rows(lists[name]).tobytes() == rows.tobytes() and len(byte_rows(lists[name])) == len(rows)


def test_rows_are_a_view_of_the_record():
    record = make_sequence_example({}, LISTS)
    rows = byte_rows(parse_sequence_example(record)[1]['rgb'])
    assert np.shares_memory(rows, np.frombuffer(record, np.uint8)) and rows.shape == (3, 20)


def test_equal_sequences_give_equal_bytes():
    assert make_sequence_example(FEATURES, LISTS) == make_sequence_example(dict(reversed(FEATURES.items())),
                                                                           dict(reversed(LISTS.items())))
