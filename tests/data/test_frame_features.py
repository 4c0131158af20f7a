"""Records of YouTube-8M's formats: what is read, against the formats' definition and protobuf's own library."""
import errno
import gzip
import os
import struct

import numpy as np
import pytest
from feature_records import (
    FEATURES,
    MAX_FRAMES,
    MEANS,
    NUM_CLASSES,
    SMALL,
    Video,
    write_records,
    write_videos,
)
from records import records_in
from tf_messages import tf_message

from gluon_action.data.tfrecords.examples import make_example, make_sequence_example
from gluon_action.data.tfrecords.features.feature_messages import (
    dequantize,
    make_distill_record,
    make_frame_record,
    make_video_record,
    quantize,
)
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.errors import RecordError, UsageError
from gluon_action.wire import masked_crc32c


def test_frames_are_dequantized_cut_and_padded(tmp_path):
    videos = write_videos(tmp_path / 'set')
    records = FeatureRecords(tmp_path / 'set', **SMALL)
    assert len(records) == 15 and {video.num_frames > MAX_FRAMES for video in videos} == {False, True}
    for index, video in enumerate(videos):
        row, label = records.load(index)
        assert row.shape == (1, MAX_FRAMES, 8) and row.dtype == label.dtype == np.float32
        np.testing.assert_allclose(row[0], video.row(), rtol=0, atol=1e-7)
        assert (row[0, video.num_frames:] == 0).all() and (row[0, :video.num_frames] != 0).all()
        np.testing.assert_array_equal(label, video.label())
        assert records.samples[index].key == video.id
    assert records.samples[5].path == f'{tmp_path}/set/train01.tfrecord'
    assert records.samples[6].where == f'{tmp_path}/set/train02.tfrecord record 0'


@pytest.mark.parametrize('names', [('audio', 'rgb'), ('rgb',), ('audio',)])
def test_any_features_in_any_order(tmp_path, names):
    video, = write_videos(tmp_path / 'set', [1])
    sizes = dict(FEATURES)
    wanted = tuple((name, sizes[name]) for name in names)
    row, _ = FeatureRecords(tmp_path / 'set', **{**SMALL, 'features': wanted}).load(0)
    np.testing.assert_array_equal(row[0, :1], np.hstack([dequantize(video.frames[name]) for name in names]))


def test_features_of_videos_are_one_row(tmp_path):
    videos = write_videos(tmp_path / 'set', kind='video')
    records = FeatureRecords(tmp_path / 'set', **{**SMALL, 'features': MEANS}, frame_level=False)
    for index, video in enumerate(videos):
        row, label = records.load(index)
        np.testing.assert_array_equal(row, np.concatenate([video.means[name] for name, _ in MEANS])[None, None])
        np.testing.assert_array_equal(label, video.label())
        assert records.samples[index].key == video.id


def test_a_teacher_in_the_records_stands_behind_the_labels(tmp_path):
    videos = write_videos(tmp_path / 'set', kind='distill')
    records = FeatureRecords(tmp_path / 'set', **SMALL, teacher='records')
    for index, video in enumerate(videos):
        row, label = records.load(index)
        np.testing.assert_array_equal(label, np.concatenate([video.label(), video.predictions]))
        np.testing.assert_allclose(row[0], video.row(), rtol=0, atol=1e-7)
        assert records.samples[index].key == video.id
    assert FeatureRecords(tmp_path / 'set', **SMALL).load(0)[1].shape == (NUM_CLASSES,)


def test_bytes_become_the_nearest_float_of_the_formula():
    stored = np.arange(256, dtype=np.uint8)
    exact = [(q * 4 * 512 + 4 * 255 - 2 * 255 * 512) / (255 * 512) for q in range(256)]  # integers over integers
    np.testing.assert_array_equal(dequantize(stored), np.float32(exact))
    assert (dequantize(stored) != 0).all() and dequantize(stored[:, None]).shape == (256, 1)


def test_quantized_values_come_back_within_half_a_step_and_the_formats_bias():
    values = np.linspace(-2, 2, 1001)
    error = dequantize(quantize(values)) - values - 4 / 512
    assert abs(error).max() <= 4 / 510 + 1e-6
    np.testing.assert_array_equal(quantize(np.array([-9, -2, 0, 2, 9])), [0, 0, 128, 255, 255])
    with pytest.raises(UsageError, match='not finite'):
        quantize(np.array([0, np.nan]))


def test_protobuf_reads_our_records():
    video = Video(3)
    example = tf_message('SequenceExample').FromString(video.record())
    assert sorted(example.context.feature) == ['id', 'labels']
    assert list(example.context.feature['id'].bytes_list.value) == [b'video3']
    assert list(example.context.feature['labels'].int64_list.value) == video.labels
    for name, _ in FEATURES:
        frames = example.feature_lists.feature_list[name].feature
        assert [frame.bytes_list.value[0] for frame in frames] == [row.tobytes() for row in video.frames[name]]
    distilled = tf_message('SequenceExample').FromString(video.record('distill')).context.feature
    assert sorted(distilled) == ['labels', 'predictions', 'video_id']
    assert list(distilled['predictions'].float_list.value) == video.predictions.tolist()
    whole = tf_message('Example').FromString(video.record('video')).features.feature
    assert list(whole['mean_rgb'].float_list.value) == video.means['mean_rgb'].tolist()
    unlabelled = tf_message('SequenceExample').FromString(make_frame_record('a', video.frames, None))
    assert sorted(unlabelled.context.feature) == ['id']


def protobuf_record(video, *, sizes=None):
    """A record as protobuf's own library writes it."""
    example = tf_message('SequenceExample')()
    example.context.feature['video_id'].bytes_list.value.append(video.id.encode())
    example.context.feature['labels'].int64_list.value.extend(video.labels)
    for name, _ in FEATURES:
        for row in video.frames[name]:
            feature = example.feature_lists.feature_list[name].feature.add()
            feature.bytes_list.value.append(row.tobytes())
    return example


def test_we_read_protobufs_records(tmp_path):
    videos = [Video(number) for number in range(8)]
    write_records(tmp_path / 'a.tfrecord', [protobuf_record(video).SerializeToString() for video in videos])
    records = FeatureRecords(tmp_path, **SMALL)
    for index, video in enumerate(videos):
        row, label = records.load(index)
        np.testing.assert_allclose(row[0], video.row(), rtol=0, atol=1e-7)
        assert records.samples[index].key == video.id and (label == video.label()).all()


def test_frames_of_1024_bytes_are_read_whatever_their_frame(tmp_path):
    """Lengths of one byte and of two, and fields that nobody knows, which no fixed stride passes over."""
    rng = np.random.default_rng(0)
    for size in (1, 121, 122, 127, 128, 1024, 20000):
        frames = rng.integers(0, 256, (4, size), dtype=np.uint8)
        write_records(tmp_path / 'a.tfrecord', [make_frame_record('a', {'rgb': frames}, [0])])
        row, _ = FeatureRecords(tmp_path, features=(('rgb', size),), num_classes=2, max_frames=5).load(0)
        np.testing.assert_array_equal(row[0, :4], dequantize(frames))
    content = make_frame_record('a', {'rgb': frames[:1, :4]}, [0])
    frame = b'\x0a\x08' + b'\x0a\x06' + b'\x0a\x04' + frames[0, :4].tobytes()
    assert frame in content
    unknown = b'\x0a\x0a' + b'\x0a\x08' + b'\x0a\x04' + frames[0, 4:8].tobytes() + b'\x10\x07'
    entry = b'\x0a\x03rgb\x12' + bytes([len(frame + unknown)]) + frame + unknown
    lists = b'\x0a' + bytes([len(entry)]) + entry
    start = make_example({'id': b'a', 'labels': [0]})
    write_records(tmp_path / 'a.tfrecord', [start + b'\x12' + bytes([len(lists)]) + lists])
    row, _ = FeatureRecords(tmp_path, features=(('rgb', 4),), num_classes=2, max_frames=5).load(0)
    np.testing.assert_array_equal(row[0, :2], dequantize(frames[0, :8].reshape(2, 4)))


def test_records_with_labels_of_segments_are_read_as_ordinary_ones(tmp_path):
    video = Video(2)
    example = protobuf_record(video)
    for name, values in (('segment_labels', [3, 3, 5]), ('segment_start_times', [0, 5, 40])):
        example.context.feature[name].int64_list.value.extend(values)
    example.context.feature['segment_scores'].float_list.value.extend([1, 0, 1])
    write_records(tmp_path / 'a.tfrecord', [example.SerializeToString()])
    row, label = FeatureRecords(tmp_path, **SMALL).load(0)
    np.testing.assert_allclose(row[0], video.row(), rtol=0, atol=1e-7)
    assert (label == video.label()).all()


def test_labels_may_be_absent_where_nobody_needs_them(tmp_path):
    video = Video(1)
    write_records(tmp_path / 'a.tfrecord', [make_frame_record('a', video.frames, None),
                                            make_frame_record('b', video.frames, []),
                                            make_frame_record('c', video.frames, [6, 2, 2])])
    records = FeatureRecords(tmp_path, **SMALL, need_labels=False)
    assert np.isnan(records.load(0)[1]).all() and records.load(1)[1].tolist() == [0] * 7
    assert records.load(2)[1].tolist() == [0, 0, 1, 0, 0, 0, 1]
    with pytest.raises(RecordError, match=r"a.tfrecord, byte 0: record 0: it has no 'labels'; the test partition"):
        FeatureRecords(tmp_path, **SMALL).load(0)


def test_patterns_name_files_folders_and_lists_of_them(tmp_path):
    for folder in ('a', 'b,c'):
        write_videos(tmp_path / folder, [1, 2])
    patterns = {f'{tmp_path}/a/*.tfrecord': 3, f'{tmp_path}/a/train01.tfrecord': 2, f'{tmp_path}/b,c': 3,
                f'{tmp_path}/b,c/train*.tfrecord': 3, f'{tmp_path}/b,[c]/train01.tfrecord': 2,
                f'{tmp_path}/a/train00*, {tmp_path}/a/train01*': 3, f'{tmp_path}/a, {tmp_path}/a/train00.tfrecord': 3}
    for pattern, count in patterns.items():
        assert len(FeatureRecords(pattern, **SMALL)) == count, pattern
    for pattern in (f'{tmp_path}/none*.tfrecord', f'{tmp_path}/a, {tmp_path}/none', ''):
        with pytest.raises(UsageError, match='no file is called'):
            FeatureRecords(pattern, **SMALL)
    write_records(tmp_path / 'empty.tfrecord', [])
    with pytest.raises(UsageError, match='no videos; 1 file without any record'):
        FeatureRecords(tmp_path / 'empty.tfrecord', **SMALL)


def frames(**changes):
    return {**Video(2).frames, **changes}


def context(**features):
    return make_sequence_example(features, Video(2).frames)


ROWS = np.zeros((3, 5), np.uint8)
BAD_RECORDS = {
    b'\xff\xff\xff': 'it is not a tf.train.SequenceExample: a number is cut short',
    b'\x0a\x05abc': 'it is not a tf.train.SequenceExample: a field of 5 bytes is cut short',
    b'': "it has neither 'id' nor 'video_id', only nothing",
    Video(2).record('video'): "it is a tf.train.Example of 'id', 'labels', 'mean_audio', 'mean_rgb', a whole video, "
                              'and frames are read here; pass records of frames, or take a network of whole videos',
    make_frame_record('a', {'rgb': ROWS}, [1]): "it has no frames of 'audio', only of 'rgb'; pass --feature_names",
    make_frame_record('a', frames(audio=ROWS), [1]): "its 'audio' has 5 bytes a frame, expected 3; pass them as",
    make_frame_record('a', {name: rows[:0] for name, rows in frames().items()}, [1]): "its 'rgb' has no frames",
    make_sequence_example({'id': b'a', 'labels': [1]}, frames(audio=ROWS[:2, :3])):
        "its 'rgb' has 3 frames and its 'audio' 2; they must be of the same frames",
    context(labels=[1]): "it has neither 'id' nor 'video_id', only 'labels'",
    context(id=b'', labels=[1]): "it has neither 'id' nor 'video_id', only 'id', 'labels'",
    context(id=b'a', labels=[1, -1]): "its 'labels' hold -1, allowed are 0..6",
    context(id=b'a', labels=[7]): "its 'labels' hold 7, allowed are 0..6; pass the --num_classes that",
    context(id=b'a', labels=[0.5]): "its 'labels' are a list of floats; whole numbers of classes are expected",
    context(id=b'a', labels=[b'1']): "its 'labels' are a list of bytes; whole numbers",
}


@pytest.mark.parametrize('bad, told', BAD_RECORDS.items(), ids=range(len(BAD_RECORDS)))
def test_a_bad_record_is_told_by_file_number_and_byte(tmp_path, bad, told):
    good = Video(0).record()
    write_records(tmp_path / 'a.tfrecord', [good, bad, good])
    records = FeatureRecords(tmp_path, **SMALL)
    with pytest.raises(RecordError) as error:
        records.load(1)
    assert str(error.value).startswith(f'{tmp_path}/a.tfrecord, byte {len(good) + 16}: record 1: {told}')
    assert error.value.offset == len(good) + 16
    assert records.load(2)[0].shape == (1, MAX_FRAMES, 8)
    assert records.samples[1].key in ('a', 'video2', 'a.tfrecord#1')


def ragged(*sizes):
    """A record whose frames have so many bytes, or hold what is no string."""
    example = tf_message('SequenceExample')()
    example.context.feature['id'].bytes_list.value.append(b'a')
    example.context.feature['labels'].int64_list.value.append(1)
    for size in sizes:
        feature = example.feature_lists.feature_list['rgb'].feature.add()
        if size == 'number':
            feature.int64_list.value.append(1)
        elif size != 'nothing':
            feature.bytes_list.value.extend([bytes(5)] * 2 if size == 'two' else [bytes(size)])
    return example.SerializeToString()


@pytest.mark.parametrize('sizes, told', [
    ((5, 5, 4), 'frame 2 has 4 bytes, frame 0 has 5'), ((4, 6), 'frame 1 has 6 bytes, frame 0 has 4'),
    ((5, 4, 6), 'frame 1 has 4 bytes, frame 0 has 5'),  # as many bytes as three frames of 5
    ((4, 4, 4, 4, 4), "has 4 bytes a frame, expected 5"),  # as many bytes as four frames of 5
    ((5, 'number'), r'frame 1 holds numbers \(int64\)'), (('nothing', 5), 'frame 0 holds 0 strings'),
    ((5, 'two'), 'frame 1 holds 2 strings')])
def test_ragged_frames_are_told_and_never_cut_anew(tmp_path, sizes, told):
    write_records(tmp_path / 'a.tfrecord', [ragged(*sizes)])
    with pytest.raises(RecordError, match=f"a.tfrecord, byte 0: record 0: its 'rgb':? {told}"):
        FeatureRecords(tmp_path, **{**SMALL, 'features': FEATURES[:1]}).load(0)


MEAN = Video(2).means
BAD_VIDEOS = {
    Video(2).record(): "it is a tf.train.SequenceExample with frames of 'audio', 'rgb', and whole videos are "
                      'read here; pass records of these, or take a network of frames (trained with --frame_features)',
    make_video_record('a', {'mean_rgb': MEAN['mean_rgb']}, [1]):
        "it has no 'mean_audio', only 'id', 'labels', 'mean_rgb'",
    make_video_record('a', {**MEAN, 'mean_audio': [1, 2]}, [1]): "its 'mean_audio' has 2 numbers, expected 3",
    make_video_record('a', {**MEAN, 'mean_rgb': [1, 2, np.nan, 3, np.inf]}, [1]): "its 'mean_rgb' is not finite at 2",
    make_example({'id': b'a', 'labels': [1], 'mean_rgb': [1, 2, 3, 4, 5]}):
        "its 'mean_rgb' is a list of whole numbers; a list of floats is expected",
    make_video_record('a', MEAN, [9]): "its 'labels' hold 9, allowed are 0..6",
}


@pytest.mark.parametrize('bad, told', BAD_VIDEOS.items(), ids=range(len(BAD_VIDEOS)))
def test_a_bad_record_of_a_video_is_told(tmp_path, bad, told):
    write_records(tmp_path / 'a.tfrecord', [bad])
    with pytest.raises(RecordError) as error:
        FeatureRecords(tmp_path, **{**SMALL, 'features': MEANS}, frame_level=False).load(0)
    assert str(error.value).startswith(f'{tmp_path}/a.tfrecord, byte 0: record 0: {told}')


@pytest.mark.parametrize('predictions, told', [
    ([0.5] * 6, 'are 6, expected one for each of 7 classes'), ([0.5, np.nan] + [0] * 5, 'hold nan for class 1'),
    ([0, 0, 1.5] + [0] * 4, 'hold 1.5 for class 2; probabilities are'), ([-1e-3] + [0] * 6, 'hold -0.001 for class 0')])
def test_a_teachers_predictions_must_be_probabilities(tmp_path, predictions, told):
    write_records(tmp_path / 'a.tfrecord', [make_distill_record('a', Video(2).frames, [1], np.float32(predictions))])
    with pytest.raises(RecordError, match=f"record 0: its 'predictions' {told}"):
        FeatureRecords(tmp_path, **SMALL, teacher='records').load(0)


def test_a_teachers_predictions_may_be_one_and_a_rounding_error(tmp_path):
    predictions = np.float32([np.nextafter(np.float32(1), np.float32(2)), 1, 0, -1e-9, 0.5, 0, 0])
    write_records(tmp_path / 'a.tfrecord', [make_distill_record('a', Video(2).frames, [1], predictions)])
    _, label = FeatureRecords(tmp_path, **SMALL, teacher='records').load(0)
    assert label[NUM_CLASSES:].tolist() == predictions.tolist()


def test_a_record_without_a_teachers_predictions_is_told(tmp_path):
    write_records(tmp_path / 'a.tfrecord', [Video(2).record(), context(id=b'a', labels=[1], predictions=[1] * 7)])
    records = FeatureRecords(tmp_path, **SMALL, teacher='records')
    for index, told in enumerate(["it has no 'predictions', only 'id', 'labels'", "its 'predictions' are a list of"]):
        with pytest.raises(RecordError, match=f'record {index}: {told}'):
            records.load(index)


def framed(length):
    header = struct.pack('<Q', length)
    return header + struct.pack('<I', masked_crc32c(header))


#: How a file of three records is damaged -> (records that are left, what is told of the file).
TORN = {
    'header': (lambda whole, second: whole[:second + 7], 1, 'it ends after 7 of the 12 bytes that begin record 1'),
    'content': (lambda whole, second: whole[:second + 40], 1, 'record 1, which begins here, lacks its last'),
    'footer': (lambda whole, second: whole[:-2], 2, 'record 2, which begins here, lacks its last 2 of'),
    'length': (lambda whole, second: whole[:second] + framed(1 << 50) + whole[second + 12:], 1,
               'record 1, which begins here, lacks its last 1125899906'),
    'checksum of a length': (lambda whole, second: whole[:second + 9] + b'\x00\x01' + whole[second + 11:], 1,
                             'the length of record 1 is damaged'),
    'gzip': (lambda whole, second: gzip.compress(whole), 0, 'is compressed; unpack it with gunzip'),
}


@pytest.mark.parametrize('damage, left, told', TORN.values(), ids=TORN)
def test_a_torn_file_is_refused_or_read_up_to_there(tmp_path, damage, left, told, caplog):
    write_videos(tmp_path / 'set', [3, 2])
    path = tmp_path / 'set' / 'train00.tfrecord'
    path.write_bytes(damage(path.read_bytes(), len(records_in(path)[0]) + 16))
    with pytest.raises(RecordError, match='set/train00.tfrecord, byte') as error:
        FeatureRecords(tmp_path / 'set', **SMALL)
    assert told in str(error.value)
    records = FeatureRecords(tmp_path / 'set', **SMALL, on_error='skip')
    assert [sample.key for sample in records.samples] == [f'video{n}' for n in (*range(left), 3, 4)]
    assert [str(torn) for torn in records.torn] == [str(error.value)] and f'skipped: {error.value}' in caplog.text


def test_a_damaged_record_is_told_and_the_others_are_read(tmp_path):
    write_videos(tmp_path / 'set', [3])
    path = tmp_path / 'set' / 'train00.tfrecord'
    content = bytearray(path.read_bytes())
    second = len(records_in(path)[0]) + 16
    content[second + 30] ^= 8
    path.write_bytes(content)
    records = FeatureRecords(tmp_path / 'set', **SMALL)
    rows = np.full((3, *records.row_shape), np.nan, np.float32)
    labels, errors = records.load_many([2, 1, 0], list(rows))  # views, as a loader passes them
    assert list(errors) == [1] and f'byte {second}: record 1 of ' in str(errors[1])
    assert (rows[1] == 0).all() and np.isfinite(rows).all() and labels[2].tolist() == Video(0).label().tolist()
    np.testing.assert_allclose(rows[0], Video(2).row(), rtol=0, atol=1e-7)


def test_a_file_that_is_gone_is_told_for_each_of_its_videos(tmp_path):
    write_videos(tmp_path / 'set', [2, 2])
    records = FeatureRecords(tmp_path / 'set', **SMALL)
    (tmp_path / 'set' / 'train01.tfrecord').unlink()
    _, errors = records.load_many(range(4), np.empty((4, *records.row_shape), np.float32))
    assert sorted(errors) == [2, 3] and 'train01.tfrecord, byte 0: does not exist' in str(errors[3])


def test_a_place_that_a_disk_cannot_read_costs_its_video_alone(tmp_path, monkeypatch):
    write_videos(tmp_path / 'set', [3])
    records = FeatureRecords(tmp_path / 'set', **SMALL)
    second, pread = int(records.samples[1].file.offsets[1]), os.pread

    def failing(file, size, offset):
        if offset > second + 11 and offset < second + 20:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(file, size, offset)
    monkeypatch.setattr(os, 'pread', failing)
    _, errors = records.load_many(range(3), np.empty((3, *records.row_shape), np.float32))
    assert {place: str(error) for place, error in errors.items()} == {
        1: f'{tmp_path}/set/train00.tfrecord, byte {second}: record 1 cannot be read: Input/output error'}


def test_samples_are_a_sequence(tmp_path):
    write_videos(tmp_path / 'set')
    samples = FeatureRecords(tmp_path / 'set', **SMALL).samples
    assert [sample.key for sample in samples] == [f'video{n}' for n in range(15)]
    assert samples[-1].key == 'video14' and [sample.key for sample in samples[4:7]] == ['video4', 'video5', 'video6']
    for index in (15, -16):
        with pytest.raises(IndexError, match='there are 15 samples'):
            samples[index]


def test_an_id_is_read_wherever_it_stands_in_a_record(tmp_path):
    long = make_sequence_example({'id': 'ü'.encode(), 'a': bytes(70000), 'labels': [1]}, Video(2).frames)
    record = Video(2).record()
    context = len(make_example({'id': b'video2', 'labels': Video(2).labels}))
    write_records(tmp_path / 'a.tfrecord', [long, record[context:] + record[:context]])
    assert [sample.key for sample in FeatureRecords(tmp_path, **SMALL).samples] == ['ü', 'video2']


def test_what_is_read_is_known_by_its_content(tmp_path):
    for folder, sizes in (('a', [2, 3]), ('b', [2, 3]), ('c', [3, 2])):
        write_videos(tmp_path / folder, sizes)
    one, same, other = (FeatureRecords(tmp_path / folder, **SMALL).list_sha256 for folder in 'abc')
    assert one == same != other and len(one) == 64


@pytest.mark.parametrize('options', [dict(num_classes=0), dict(max_frames=0), dict(on_error='ignore')])
def test_settings_that_cannot_be_are_told(tmp_path, options):
    write_videos(tmp_path / 'set', [1])
    with pytest.raises(UsageError, match='got'):
        FeatureRecords(tmp_path / 'set', **{**SMALL, **options})


def test_features_that_cannot_be_written_are_told():
    with pytest.raises(UsageError, match="equally many frames, got {'rgb': 3, 'audio': 2}"):
        make_frame_record('a', frames(audio=ROWS[:2]), [])
    with pytest.raises(UsageError, match='uint8'):
        make_frame_record('a', {'rgb': ROWS.astype(np.float32)}, [])
