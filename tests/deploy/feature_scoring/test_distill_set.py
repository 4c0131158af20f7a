"""Distillation sets hold the records of their videos and what the teacher says of them."""
import mxnet as mx
import numpy as np
import pytest
from feature_models import architecture, store

from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.data.tfrecords.examples import byte_rows, parse_sequence_example
from gluon_action.data.tfrecords.features.feature_messages import make_frame_record
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.framing import RecordFile, RecordWriter
from gluon_action.deploy.feature_scoring.distill_set import DistillSet, make_distill_set
from gluon_action.deploy.feature_scoring.scoring import Scoring
from gluon_action.deploy.sharding.shards import merge
from gluon_action.deploy.stored_models.ensemble import combine
from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.errors import OutputError, RecordError, UsageError
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.unfinished import Shard


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    made = make_feature_records(folder / 'frame', videos=23, files=3, lengths=(1, 15))
    store(folder / 'teacher', seed=1)
    store(folder / 'rgb', feature_names='rgb', feature_sizes='16')
    store(folder / 'of_videos', 'LogisticModel')
    return folder, made


def config(world, output, teacher='teacher', pattern=None, file_size=512, predictions_only=False, shard=None,
           **scoring):
    folder, made = world
    return DistillSet(Scoring(str(folder / teacher), '--model_file', **{'num_readers': 0, **scoring}),
                      pattern or made.pattern, str(output), file_size, predictions_only, shard)


def records_of(folder):
    """Every record of a set: the file's name, and what the record holds."""
    found = []
    for path in sorted(folder.glob('*.tfrecord')):
        file = RecordFile(path)
        for number in range(len(file)):
            context, lists = parse_sequence_example(file.read(number))
            found.append((path.name, context, {name: byte_rows(content) for name, content in lists.items()}))
    return found


def predictions_of(world, teacher='teacher', features=None):
    """What the teacher says of each video, one at a time."""
    folder, made = world
    stored = read_stored(folder / teacher)
    records = FeatureRecords(made.pattern, features=stored.architecture.features, num_classes=10, max_frames=12)
    net = stored.build()
    return [net(mx.nd.array(records.load(index)[0])).asnumpy()[0] for index in range(len(made.ids))]


def test_records_keep_their_bytes_and_gain_predictions(world, tmp_path):
    folder, made = world
    done = make_distill_set(config(world, tmp_path / 'set', file_size=5, batch_size=3))
    originals, found = records_of(folder / 'frame'), records_of(tmp_path / 'set')
    # 8, 7 and 8 videos a file: 5 records a file at most.
    assert [name for name, _, _ in found] == [f'predictions-0000{n}.tfrecord' for n in
                                              [0] * 5 + [1] * 3 + [2] * 5 + [3] * 2 + [4] * 5 + [5] * 3]
    for video, labels, (_, _, frames), (_, context, lists), predictions in zip(
            made.ids, made.labels, originals, found, predictions_of(world)):
        assert [bytes(value).decode() for value in context['video_id']] == [video] and 'id' not in context
        assert context['labels'].tolist() == np.flatnonzero(labels).tolist()
        assert context['predictions'] == pytest.approx(predictions, abs=1e-6)
        assert lists.keys() == frames.keys() and all(
            np.array_equal(lists[name], frames[name][:12]) for name in frames)
    assert sum(note['about']['videos'] for note in done.notes) == 23 and done.merged


def test_a_quantized_ensemble_teaches_too(world, tmp_path):
    folder, made = world
    quantize_stored(folder / 'teacher', tmp_path / 'q' / 'inference_model', min_elements=100)
    combine([folder / 'teacher', tmp_path / 'q'], tmp_path / 'both')
    make_distill_set(config(world, tmp_path / 'set', tmp_path / 'both', predictions_only=True))
    records = FeatureRecords(made.pattern, features=architecture().features, num_classes=10, max_frames=12,
                             teacher=tmp_path / 'set')
    assert records.load(3)[1][10:] == pytest.approx(predictions_of(world, tmp_path / 'both')[3], abs=6e-4)


def test_features_that_the_teacher_does_not_take_are_kept_too(world, tmp_path):
    make_distill_set(config(world, tmp_path / 'set', 'rgb'))
    _, context, lists = records_of(tmp_path / 'set')[3]
    assert lists['audio'].shape[1] == 8 and lists['rgb'].shape[1] == 16
    assert context['predictions'] == pytest.approx(predictions_of(world, 'rgb')[3], abs=1e-6)


def test_labels_are_sorted_and_absent_ones_stay_absent(world, tmp_path):
    rows = {'rgb': np.ones((2, 16), np.uint8), 'audio': np.ones((2, 8), np.uint8)}
    with RecordWriter(tmp_path / 'a.tfrecord') as writer:
        writer.write(make_frame_record('b', rows, [7, 2, 2]))
        writer.write(make_frame_record('c', rows, None))
    make_distill_set(config(world, tmp_path / 'set', pattern=str(tmp_path / 'a.tfrecord')))
    (_, first, _), (_, second, _) = records_of(tmp_path / 'set')
    assert first['labels'].tolist() == [2, 7] and 'labels' not in second


def test_predictions_alone_lie_beside_the_records(world, tmp_path):
    folder, made = world
    done = make_distill_set(config(world, tmp_path / 'set', predictions_only=True, batch_size=3))
    assert sorted(path.name for path in (tmp_path / 'set').iterdir()) == [path.name for path in made.paths]
    records = FeatureRecords(made.pattern, features=architecture().features, num_classes=10, max_frames=12,
                             teacher=tmp_path / 'set')
    for index, predictions in enumerate(predictions_of(world)):
        label = records.load(index)[1]
        assert label[:10].tolist() == made.labels[index].tolist()
        assert np.array_equal(label[10:], predictions.astype(np.float16)) or label[10:] == pytest.approx(
            predictions, abs=6e-4)
    assert sum(note['about']['videos'] for note in done.notes) == 23


def test_both_formats_teach_the_same(world, tmp_path):
    folder, made = world
    make_distill_set(config(world, tmp_path / 'records'))
    make_distill_set(config(world, tmp_path / 'beside', predictions_only=True))
    options = {'features': architecture().features, 'num_classes': 10, 'max_frames': 12}
    whole = FeatureRecords(tmp_path / 'records', teacher='records', **options)
    beside = FeatureRecords(made.pattern, teacher=tmp_path / 'beside', **options)
    for index in range(23):
        (first, label), (second, other) = whole.load(index), beside.load(index)
        assert np.array_equal(first, second) and np.array_equal(label.astype(np.float16), other.astype(np.float16))


def test_a_file_without_records_has_a_file_without_predictions(world, tmp_path):
    folder, made = world
    with RecordWriter(tmp_path / 'a.tfrecord'):
        pass
    pattern = f'{tmp_path}/a.tfrecord,{made.paths[0]}'
    make_distill_set(config(world, tmp_path / 'set', pattern=pattern, predictions_only=True))
    assert [len(RecordFile(tmp_path / 'set' / name)) for name in ('a.tfrecord', made.paths[0].name)] == [0, 8]
    make_distill_set(config(world, tmp_path / 'records', pattern=pattern))
    assert len(records_of(tmp_path / 'records')) == 8


@pytest.mark.parametrize('predictions_only', [False, True])
def test_shards_make_what_one_process_makes(world, tmp_path, predictions_only):
    options = {'file_size': 3, 'predictions_only': predictions_only, 'batch_size': 4}
    make_distill_set(config(world, tmp_path / 'one', **options))
    for index in (1, 2):
        make_distill_set(config(world, tmp_path / 'two', shard=Shard(index, 2), **options))
    merge(tmp_path / 'two')
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ('one', 'two'))
    assert one == two


def test_what_cannot_be_made_is_refused(world, tmp_path):
    folder, made = world
    (tmp_path / 'there').mkdir()
    (tmp_path / 'again').mkdir()
    (tmp_path / 'again' / made.paths[0].name).write_bytes(made.paths[0].read_bytes())
    twice = f'{made.paths[0]},{tmp_path}/again/*.tfrecord'
    for error, told, asked in (
            (OutputError, 'there: exists', {'output': tmp_path / 'there'}),
            (UsageError, '--file_size: must be 1 or more, got 0', {'file_size': 0}),
            (UsageError, r'--model_file .*of_videos/inference_model: takes features of whole videos',
             {'teacher': 'of_videos'}),
            (UsageError, f'--predictions_only: .*several are called {made.paths[0].name}',
             {'pattern': twice, 'predictions_only': True})):
        with pytest.raises(error, match=told):
            make_distill_set(config(world, **{'output': tmp_path / 'set', **asked}))
    assert not (tmp_path / 'set').exists()


def test_a_damaged_record_is_named_or_left_out(world, tmp_path):
    folder, made = world
    content = bytearray(made.paths[0].read_bytes())
    content[40] ^= 1
    (tmp_path / 'a.tfrecord').write_bytes(content)
    with pytest.raises(RecordError, match='a.tfrecord, byte 0: record 0'):
        make_distill_set(config(world, tmp_path / 'set', pattern=str(tmp_path / 'a.tfrecord')))
    assert not (tmp_path / 'set').exists()
    done = make_distill_set(config(world, tmp_path / 'skipped', pattern=str(tmp_path / 'a.tfrecord'), on_error='skip'))
    assert [note['about'] for note in done.notes] == [{'videos': 7, 'skipped': 1, 'torn': None}]
    assert len(records_of(tmp_path / 'skipped')) == 7
