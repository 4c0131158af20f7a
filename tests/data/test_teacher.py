"""A teacher's predictions beside the records."""
import numpy as np
import pytest
from feature_records import NUM_CLASSES, SMALL, Video, write_records, write_videos
from records import records_in
from tf_messages import tf_message

from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.tfrecords.examples import make_example
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.features.teacher import make_prediction_record
from gluon_action.errors import RecordError, UsageError


def write_beside(folder, sizes=(5, 1, 9), order=lambda videos: videos):
    """Predictions of what `write_videos` writes."""
    folder.mkdir()
    for number, size in enumerate(sizes):
        videos = [Video(sum(sizes[:number]) + place) for place in range(size)]
        write_records(folder / f'train{number:02d}.tfrecord',
                      [make_prediction_record(video.id, video.predictions) for video in order(videos)])


@pytest.mark.parametrize('order', [lambda videos: videos, lambda videos: videos[::-1],
                                   lambda videos: [*videos[2:], Video(99), *videos[:2]]])
@pytest.mark.parametrize('kind', ['frame', 'video'])
def test_predictions_are_found_by_id_in_any_order(tmp_path, kind, order):
    videos = write_videos(tmp_path / 'set', kind=kind)
    write_beside(tmp_path / 'teacher', order=order)
    options = {**SMALL, **({} if kind == 'frame' else dict(features=(('mean_rgb', 5),), frame_level=False))}
    records = FeatureRecords(tmp_path / 'set', **options, teacher=tmp_path / 'teacher')
    for num_workers in (0, 2):
        with VideoLoader(records, 4, shuffle=True, num_workers=num_workers) as loader:
            for batch in loader.epoch(0):
                for index, label in zip(batch.indices, batch.label):
                    assert label[:NUM_CLASSES].tolist() == videos[index].label().tolist()
                    np.testing.assert_array_equal(label[NUM_CLASSES:], np.float16(videos[index].predictions))


def test_a_prediction_takes_two_bytes_a_class(tmp_path):
    record = make_prediction_record('a', np.linspace(0, 1, 3862))
    assert 2 * 3862 < len(record) < 2 * 3862 + 60
    feature = tf_message('Example').FromString(record).features.feature
    assert feature['id'].bytes_list.value[0] == b'a'
    stored = np.frombuffer(feature['predictions'].bytes_list.value[0], '<f2')
    assert abs(stored - np.linspace(0, 1, 3862)).max() < 2.5e-4


def test_a_folder_that_lacks_files_is_told(tmp_path):
    write_videos(tmp_path / 'set')
    write_beside(tmp_path / 'teacher', sizes=(5,))
    with pytest.raises(UsageError, match='teacher lacks the predictions of 2 of 3 files, such as train01.tfrecord'):
        FeatureRecords(tmp_path / 'set', **SMALL, teacher=tmp_path / 'teacher')
    write_videos(tmp_path / 'set2', [1])
    with pytest.raises(UsageError, match='train00.tfrecord is the name of several'):
        FeatureRecords(f'{tmp_path}/set,{tmp_path}/set2', **SMALL, teacher=tmp_path / 'teacher')


def test_a_torn_file_of_predictions_is_told(tmp_path):
    write_videos(tmp_path / 'set')
    write_beside(tmp_path / 'teacher')
    path = tmp_path / 'teacher' / 'train01.tfrecord'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordError, match='teacher/train01.tfrecord, byte 0: the file is torn'):
        FeatureRecords(tmp_path / 'set', **SMALL, teacher=tmp_path / 'teacher')


def example(predictions):
    return make_example({'id': b'video0', 'predictions': predictions})


@pytest.mark.parametrize('record, told', [
    (make_prediction_record('other', np.zeros(7)), "set/train00.tfrecord, byte 0: record 0: .*teacher/train00.tfrecord "
     'has no predictions of its video video0; make them'),
    (make_prediction_record('video0', np.zeros(6)), "teacher/train00.tfrecord, byte 0: record 0: its 'predictions' "
     'have 12 bytes, expected 2 for each of 7 classes'),
    (make_prediction_record('video0', [0, np.nan] + [0] * 5), "teacher/train00.tfrecord, .*hold nan for class 1"),
    (make_prediction_record('video0', [0, 2] + [0] * 5), "teacher/train00.tfrecord, .*hold 2 for class 1; probab"),
    (make_example({'id': b'video0'}), "teacher/train00.tfrecord, byte 0: record 0: it has no 'predictions'"),
    (example([0.5] * 7), 'teacher/train00.tfrecord, .*is a list of numbers'),
    (b'\xff', 'teacher/train00.tfrecord, byte 0: record 0: it is not a tf.train.Example')])
def test_bad_predictions_are_told_by_their_file(tmp_path, record, told):
    write_videos(tmp_path / 'set', [1])
    (tmp_path / 'teacher').mkdir()
    write_records(tmp_path / 'teacher' / 'train00.tfrecord', [record])
    records = FeatureRecords(tmp_path / 'set', **SMALL, teacher=tmp_path / 'teacher')
    with pytest.raises(RecordError, match=told):
        records.load(0)


def test_damaged_predictions_are_told(tmp_path):
    write_videos(tmp_path / 'set', [2])
    write_beside(tmp_path / 'teacher', sizes=(2,))
    path = tmp_path / 'teacher' / 'train00.tfrecord'
    content = bytearray(path.read_bytes())
    second = len(records_in(path)[0]) + 16
    content[second + 30] ^= 1
    path.write_bytes(content)
    records = FeatureRecords(tmp_path / 'set', **SMALL, teacher=tmp_path / 'teacher')
    with pytest.raises(RecordError, match=f'teacher/train00.tfrecord, byte {second}: record 1 of .* is damaged'):
        records.load(1)
    assert records.load(0)[1].shape == (2 * NUM_CLASSES,)
