"""A set of features that is given as a list of files: whose each sample is, and what the videos are called."""
import numpy as np
import pytest

from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.data.tfrecords.examples import make_sequence_example, parse_context
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.framing import RecordFile, RecordWriter

FEATURES = (('rgb', 16), ('audio', 8))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make_feature_records(tmp_path_factory.mktemp('features'), videos=11, files=3, lengths=(1, 9))


def test_files_are_taken_in_the_order_of_the_list_and_may_be_empty(made, tmp_path):
    with RecordWriter(tmp_path / 'nothing.tfrecord'):
        pass
    files = [str(made.paths[2]), str(tmp_path / 'nothing.tfrecord'), str(made.paths[0])]
    records = FeatureRecords(files, features=FEATURES, num_classes=10, max_frames=9)
    assert records.starts.tolist() == [0, 4, 4, 8]
    assert [sample.key for sample in records.samples] == [*made.ids[7:], *made.ids[:4]]
    assert len(FeatureRecords(files[1:2], features=FEATURES, num_classes=10)) == 0


def test_the_id_of_a_long_record_is_read_without_the_rest(made, monkeypatch, tmp_path):
    rows = np.zeros((300, 1024), np.uint8)
    with RecordWriter(tmp_path / 'long.tfrecord') as writer:
        writer.write(make_sequence_example({'id': b'abcd', 'labels': [3, 4]}, {'rgb': rows}))
    records = FeatureRecords([str(tmp_path / 'long.tfrecord')], features=(('rgb', 1024),), num_classes=10)
    monkeypatch.setattr(RecordFile, 'read', None)
    assert records.samples[0].key == 'abcd'


def test_a_context_that_is_cut_is_an_error_and_one_that_is_not_there_is_empty():
    record = make_sequence_example({'id': b'abcd' * 100}, {'rgb': np.zeros((2, 3), np.uint8)})
    assert bytes(parse_context(record[:420])['id'][0]) == b'abcd' * 100
    with pytest.raises(ValueError, match='cut short'):
        parse_context(record[:300])
    assert parse_context(b'') == parse_context(make_sequence_example({}, {'rgb': np.zeros((2, 3), np.uint8)})[2:]) == {}
