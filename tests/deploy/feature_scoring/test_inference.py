"""Tags of videos as a CSV: the best classes of each, best first, whatever the batches, readers and shards."""
import dataclasses
import os

import mxnet as mx
import numpy as np
import pytest
from feature_models import architecture, arrays_of, store
from interrupting import counted

from gluon_action import engine
from gluon_action.cli import main as commands
from gluon_action.cli.youtube8m.scoring_flags import counts
from gluon_action.compute.on_mxnet.scorer import GluonScorer
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.framing import RecordWriter
from gluon_action.deploy.feature_scoring import scoring as scoring_module
from gluon_action.deploy.feature_scoring.evaluation import evaluate_stored
from gluon_action.deploy.feature_scoring.inference import HEADER, Inference, csv_lines, infer, open_inference
from gluon_action.deploy.feature_scoring.scoring import FileScorer, Scoring
from gluon_action.deploy.sharding.shards import merge
from gluon_action.deploy.stored_models.ensemble import combine
from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.errors import OutputError, PartsError, RecordError, UsageError, WeightsError
from gluon_action.evaluate.scores.video_tags import VideoTagScoring
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.unfinished import Shard


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Records of frames and of videos, with and without labels, and models of both."""
    folder = tmp_path_factory.mktemp('world')
    made = {name: make_feature_records(folder / name, videos=23, files=3, partition=partition, lengths=(1, 15),
                                       video_level=name == 'video')
            for name, partition in (('test', 'test'), ('validate', 'validate'), ('video', 'validate'))}
    store(folder / 'model', seed=1)
    store(folder / 'of_videos', 'LogisticModel', seed=1)
    combine([folder / 'model', folder / 'model'], folder / 'ensemble')
    quantize_stored(folder / 'model', folder / 'quantized' / 'inference_model', min_elements=100)
    return folder, made


def config(world, output, pattern=None, model='model', top_k=20, shard=None, **scoring):
    folder, made = world
    return Inference(Scoring(str(folder / model), **{'num_readers': 0, **scoring}), pattern or made['test'].pattern,
                     str(output), top_k, shard)


def expected_rows(folder, made, model='model', **features):
    """Id and probabilities of each video, by the network on one video at a time."""
    stored = read_stored(folder / model)
    records = FeatureRecords(made.pattern, features=stored.architecture.features, num_classes=10,
                             frame_level=stored.architecture.frame_features, max_frames=12, need_labels=False)
    net = stored.build()
    return {video: net(mx.nd.array(records.load(index)[0])).asnumpy()[0] for index, video in enumerate(made.ids)}


def read_csv(path):
    lines = path.read_text().splitlines(keepends=True)
    assert lines[0] == 'VideoId,LabelConfidencePairs\n' == HEADER
    rows = {}
    for line in lines[1:]:
        video, pairs = line.rstrip('\n').split(',')
        words = pairs.split(' ')
        rows[video] = [(int(k), float(p)) for k, p in zip(words[::2], words[1::2])]
    return rows


@pytest.mark.parametrize('model, records', [('model', 'test'), ('ensemble', 'test'), ('quantized', 'test'),
                                            ('of_videos', 'video')])
def test_each_video_has_its_best_classes_in_order(world, tmp_path, model, records):
    folder, made = world
    done = infer(config(world, tmp_path / 'out.csv', made[records].pattern, model, top_k=4, batch_size=5))
    rows, expected = read_csv(tmp_path / 'out.csv'), expected_rows(folder, made[records], model)
    assert list(rows) == made[records].ids
    for video, probabilities in expected.items():
        best = np.argsort(-probabilities, kind='stable')[:4]
        assert [k for k, _ in rows[video]] == best.tolist()
        assert [p for _, p in rows[video]] == pytest.approx(probabilities[best].tolist(), abs=2e-6)
    assert sum(note['about']['videos'] for note in done.notes) == 23 and done.merged
    assert not (tmp_path / 'out.csv.parts').exists()


def test_twenty_pairs_are_written_as_the_original_writes_them():
    probabilities = np.random.default_rng(0).random((3, 3862)).astype(np.float32)
    probabilities[0, 7] = 1e-7
    probabilities[1, 5:7] = 0.123456789, 1
    probabilities[1, 7:] *= 0.01
    for line, row, video in zip(csv_lines(['a', 'b', 'c'], probabilities), probabilities, 'abc'):
        pairs = sorted(enumerate(row), key=lambda pair: -pair[1])[:20]
        assert line == video + ',' + ' '.join(f'{k:d} {p:g}' for k, p in pairs) + '\n'
    assert next(iter(csv_lines(['a'], np.array([[0.5, 0.25]])))) == 'a,0 0.5 1 0.25\n'


def test_batches_readers_and_shards_change_no_byte(world, tmp_path):
    infer(config(world, tmp_path / 'one.csv', batch_size=4))
    one = (tmp_path / 'one.csv').read_bytes()
    infer(config(world, tmp_path / 'two.csv', batch_size=4, num_readers=2))
    assert (tmp_path / 'two.csv').read_bytes() == one
    for index in (2, 1):
        assert infer(config(world, tmp_path / 's.csv', batch_size=4, shard=Shard(index, 2))).merged is None
        assert not (tmp_path / 's.csv').exists()
    merge(tmp_path / 's.csv')
    assert (tmp_path / 's.csv').read_bytes() == one
    infer(config(world, tmp_path / 'all.csv', batch_size=100))
    assert read_csv(tmp_path / 'all.csv').keys() == read_csv(tmp_path / 'one.csv').keys()


def test_a_shard_does_not_look_at_the_files_of_others(world, tmp_path):
    folder, made = world
    for name in ('a', 'c'):
        (tmp_path / f'{name}.tfrecord').write_bytes(made['test'].paths[0].read_bytes())
    (tmp_path / 'b.tfrecord').write_bytes(b'torn')
    done = infer(config(world, tmp_path / 'out.csv', str(tmp_path / '*.tfrecord'), shard=Shard(1, 2)))
    assert [note['about']['videos'] for note in done.notes] == [8, 8]


def test_what_is_done_is_kept_and_a_damaged_file_mended_later(world, tmp_path, monkeypatch):
    folder, made = world
    paths = [tmp_path / path.name for path in made['test'].paths]
    for path, source in zip(paths, made['test'].paths):
        path.write_bytes(source.read_bytes())
    content = bytearray(paths[1].read_bytes())
    content[40] ^= 1
    paths[1].write_bytes(content)
    asked = config(world, tmp_path / 'out.csv', str(tmp_path / '*.tfrecord'))
    with pytest.raises(RecordError, match=f'{paths[1]}, byte 0: record 0'):
        infer(asked)
    assert not (tmp_path / 'out.csv').exists()
    paths[1].write_bytes(made['test'].paths[1].read_bytes())
    scored = []
    score = FileScorer.score
    monkeypatch.setattr(FileScorer, 'score', lambda self, number: scored.append(number) or score(self, number))
    done = infer(asked)
    assert scored == [1, 2] and done.found == 1 and list(read_csv(tmp_path / 'out.csv')) == made['test'].ids


def test_videos_that_cannot_be_read_are_left_out_when_asked(world, tmp_path):
    folder, made = world
    content = bytearray(made['test'].paths[0].read_bytes())
    content[40] ^= 1
    (tmp_path / 'a.tfrecord').write_bytes(content)
    done = infer(config(world, tmp_path / 'out.csv', str(tmp_path / 'a.tfrecord'), on_error='skip', batch_size=1))
    assert [note['about'] for note in done.notes] == [{'videos': len(read_csv(tmp_path / 'out.csv')), 'skipped': 1,
                                                       'torn': None}]
    assert list(read_csv(tmp_path / 'out.csv')) == made['test'].ids[1:8]


def test_a_run_that_a_damaged_record_ended_goes_on_without_it_and_tells_so_whoever_joins(world, tmp_path, capsys):
    folder, made = world
    paths = [tmp_path / path.name for path in made['test'].paths]
    for path, source in zip(paths, made['test'].paths):
        path.write_bytes(source.read_bytes())
    content = bytearray(paths[1].read_bytes())
    content[40] ^= 1
    paths[1].write_bytes(content)
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    asked = [config(world, tmp_path / 'out.csv', str(tmp_path / '*.tfrecord'), on_error=choice, shard=Shard(1, 1))
             for choice in ('raise', 'skip')]
    with pytest.raises(RecordError):
        infer(asked[0])
    done = infer(asked[1])
    said = counts(done.notes)
    assert said.startswith(f'21 videos, 1 skipped; 1 files are torn, what follows there is left out: {paths[2]}, byte ')
    again = infer(asked[1])
    assert again.found == 3 and counts(again.notes) == said
    assert commands.main(['youtube8m', 'merge', str(tmp_path / 'out.csv'), '--keep_parts']) == 0
    assert f'2 inputs hold what could not be read and is left out, first {paths[1]}' in capsys.readouterr().out
    with pytest.raises(RecordError):  # who does not allow it is not given what others left out
        infer(asked[0], overwrite=True)


def test_a_torn_file_ends_a_run_when_its_turn_comes_and_what_is_done_is_not_opened_again(world, tmp_path, monkeypatch):
    folder, made = world
    paths = [tmp_path / path.name for path in made['test'].paths]
    for path, source in zip(paths, made['test'].paths):
        path.write_bytes(source.read_bytes())
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    asked = config(world, tmp_path / 'out.csv', str(tmp_path / '*.tfrecord'))
    with pytest.raises(RecordError, match=f'{paths[2]}, .*torn'):
        infer(asked)
    opened, window = [], scoring_module._Window
    monkeypatch.setattr(scoring_module, '_Window', lambda *given: opened.append(given[3]) or window(*given))
    paths[2].write_bytes(made['test'].paths[2].read_bytes())
    assert infer(asked).found == 2 and opened == [[2]]
    assert list(read_csv(tmp_path / 'out.csv')) == made['test'].ids


def test_a_worker_that_is_handed_files_one_by_one_opens_no_others(world, tmp_path, monkeypatch):
    job = open_inference(config(world, tmp_path / 'out.csv'))
    opened, window = [], scoring_module._Window
    monkeypatch.setattr(scoring_module, '_Window', lambda *given: opened.append(given[3]) or window(*given))
    for index in (2, 0):
        (tmp_path / str(index)).mkdir()
        job.make(index, tmp_path / str(index))
    assert opened == [[2], [0]]


def test_a_file_without_records_adds_no_line(world, tmp_path):
    folder, made = world
    with RecordWriter(tmp_path / 'a.tfrecord'):
        pass
    pattern = f'{tmp_path}/a.tfrecord,{made["test"].paths[0]}'
    infer(config(world, tmp_path / 'out.csv', pattern))
    assert len(read_csv(tmp_path / 'out.csv')) == 8


def test_a_file_that_is_there_is_replaced_only_when_asked(world, tmp_path):
    (tmp_path / 'out.csv').write_text('mine')
    with pytest.raises(OutputError, match='out.csv: exists; choose another name, or remove it, or pass --overwrite$'):
        infer(config(world, tmp_path / 'out.csv'))
    assert (tmp_path / 'out.csv').read_text() == 'mine'
    infer(config(world, tmp_path / 'out.csv'), overwrite=True)
    assert len(read_csv(tmp_path / 'out.csv')) == 23


def test_parts_of_another_model_are_not_taken(world, tmp_path):
    infer(config(world, tmp_path / 'out.csv', shard=Shard(1, 2)))
    for changes in ({'model': 'quantized'}, {'top_k': 3}, {'sampling': (('sample_all', True),)}):
        with pytest.raises(Exception, match='holds parts of another job'):
            infer(config(world, tmp_path / 'out.csv', shard=Shard(2, 2), **changes))


@pytest.mark.parametrize('changes, weights', [({}, [0.3, 0.7]), ({'iterations': 7}, [0.5, 0.5]),
                                              ({'sample_all': True}, [0.5, 0.5])])
def test_parts_of_a_model_with_other_weights_or_frames_are_not_taken(world, tmp_path, changes, weights):
    made, arrays = architecture(), [arrays_of(architecture(), seed) for seed in range(2)]
    write_stored(tmp_path / 'm', [(made, each) for each in arrays], [0.5, 0.5])
    infer(config(world, tmp_path / 'out.csv', model=tmp_path / 'm', shard=Shard(1, 2)))
    write_stored(tmp_path / 'm', [(dataclasses.replace(made, **changes), each) for each in arrays], weights,
                 overwrite=True)
    with pytest.raises(PartsError, match='holds parts of another job: settings model '):
        infer(config(world, tmp_path / 'out.csv', model=tmp_path / 'm', shard=Shard(2, 2)))


def test_wrong_arguments_are_named(world, tmp_path):
    folder, _ = world
    with pytest.raises(UsageError, match='--top_k: must be 1 or more, got 0'):
        infer(config(world, tmp_path / 'out.csv', top_k=0))
    with pytest.raises(UsageError, match='no file is called'):
        infer(config(world, tmp_path / 'out.csv', str(tmp_path / 'none*.tfrecord')))
    with pytest.raises(WeightsError, match='--train_dir .*nothing: there is no stored model'):
        infer(config(world, tmp_path / 'out.csv', model='nothing'))
    assert os.listdir(tmp_path) == []


def test_a_network_gone_wrong_is_no_submission(world, tmp_path):
    made = architecture()
    arrays = arrays_of(made)
    arrays['fully_connected.biases'][3] = np.nan
    write_stored(tmp_path / 'm', [(made, arrays)])
    with pytest.raises(WeightsError, match=r'm: gives numbers that are not finite, first for te000000 \('):
        infer(config(world, tmp_path / 'out.csv', model=tmp_path / 'm'))


def test_who_has_no_gpu_is_told_why_and_no_flag_of_another_command(monkeypatch, caplog):
    monkeypatch.setattr(engine, 'mxnet_distribution', lambda: 'mxnet')
    with caplog.at_level('INFO'):
        assert scoring_module.gpus_of(Scoring('m', gpu=True)) == 0
    assert 'Computing on the CPU (the installed MXNet (mxnet) was built without CUDA' in caplog.text
    assert '--num' not in caplog.text


def test_workers_are_started_once_and_read_ahead_into_the_next_file(world, monkeypatch):
    folder, made = world
    epochs, made_loaders = [], []
    epoch, init = VideoLoader.epoch, VideoLoader.__init__
    monkeypatch.setattr(VideoLoader, 'epoch', lambda self, *a, **k: epochs.append(a) or epoch(self, *a, **k))
    monkeypatch.setattr(VideoLoader, '__init__', lambda self, *a, **k: made_loaders.append(self) or init(self, *a, **k))
    files = [str(path) for path in made['test'].paths]
    with FileScorer(Scoring(str(folder / 'model'), batch_size=3, num_readers=1), files) as scorer:
        ids = [video for number in range(3) for batch in scorer.score(number) for video in batch.ids]
        assert ids == made['test'].ids and len(made_loaders) == 1 and epochs == [(0, 0)]
        again = [video for batch in scorer.score(1) for video in batch.ids]
        assert again == made['test'].ids[8:15] and len(made_loaders) == 1 and epochs[1:] == [(0, 3)]


def test_files_beyond_those_that_are_opened_together_follow(world, monkeypatch):
    folder, made = world
    monkeypatch.setattr(scoring_module, '_TOGETHER', 2)
    files = [str(path) for path in made['test'].paths]
    with FileScorer(Scoring(str(folder / 'model'), num_readers=0), files) as scorer:
        assert [video for number in range(3) for batch in scorer.score(number) for video in batch.ids] == \
            made['test'].ids
    with FileScorer(Scoring(str(folder / 'model'), num_readers=0), files, upcoming=[2, 0]) as scorer:
        assert [batch.ids[0] for number in (2, 0) for batch in scorer.score(number)] == [
            made['test'].ids[15], made['test'].ids[0]]


def test_a_batch_is_no_larger_than_memory_allows(world, monkeypatch, caplog):
    folder, made = world
    row = 4 * 12 * 24
    monkeypatch.setattr(scoring_module, 'BATCH_BYTES', 3 * row + 1)
    with caplog.at_level('INFO'), FileScorer(Scoring(str(folder / 'model'), batch_size=8192, num_readers=0),
                                             [str(made['test'].paths[0])]) as scorer:
        assert [len(batch.indices) for batch in scorer.score(0)] == [3, 3, 2]
    assert '--batch_size 8192: 3 videos at a time' in caplog.text


def test_frames_are_drawn_as_asked(tmp_path, world):
    _, made = world
    network = architecture('FrameLevelLogisticModel')
    write_stored(tmp_path / 'm', [(network, arrays_of(network))])
    scoring = Scoring(str(tmp_path / 'm'), sampling=(('iterations', 5), ('sample_all', True)))
    opened = scoring.open().architecture
    assert (opened.iterations, opened.sample_all) == (5, True) and opened == dataclasses.replace(
        network, iterations=5, sample_all=True)


@pytest.mark.parametrize('model, records', [('model', 'validate'), ('quantized', 'validate'), ('of_videos', 'video')])
def test_scores_of_a_stored_model_are_those_of_its_probabilities(world, model, records):
    folder, made = world
    told = []
    found = evaluate_stored(Scoring(str(folder / model), batch_size=5, num_readers=0), made[records].pattern, top_k=4,
                            progress=told.append)
    expected = VideoTagScoring(10, 4)()
    expected.add(np.stack(list(expected_rows(folder, made[records], model).values())), made[records].labels)
    assert {name: found[name] for name in found} == pytest.approx(
        {name: value for name, value in (expected.summary() | {'torn': 0}).items() if name != 'loss'}, abs=1e-6)
    assert sum(told) == found['count'] == 23


def test_a_stored_model_is_scored_on_what_can_be_read_and_the_rest_is_told(world, tmp_path, caplog):
    folder, made = world
    contents = [path.read_bytes() for path in made['validate'].paths]
    damaged = bytearray(contents[0])
    damaged[40] ^= 1
    for number, content in enumerate((damaged, contents[1][:-7], b'torn')):
        (tmp_path / f'{number}.tfrecord').write_bytes(content)
    found = evaluate_stored(Scoring(str(folder / 'model'), num_readers=0, on_error='skip'), str(tmp_path))
    # 8 and 7 videos: one is damaged, one is torn off, and the last file ends within its first.
    assert (found['count'], found['expected'], found['torn']) == (13, 14, 2)
    assert '2 torn files, what follows there is not counted: ' in caplog.text
    assert all(f'{tmp_path}/{name}.tfrecord, byte' in caplog.text for name in range(3))


def test_an_interrupted_scoring_of_a_stored_model_goes_on_beside_others_of_it(world, tmp_path):
    folder, made = world
    store(tmp_path / 'model', seed=1)
    scoring = Scoring(str(tmp_path / 'model'), batch_size=4, num_readers=0)
    whole = evaluate_stored(scoring, made['validate'].pattern)
    for top_k in (20, 4):
        with counted(GluonScorer, '__call__', 4), pytest.raises(KeyboardInterrupt):
            evaluate_stored(scoring, made['validate'].pattern, top_k=top_k, keep=True)
    assert len(list(tmp_path.rglob('*.unfinished'))) == 2
    told = []
    with counted(GluonScorer, '__call__') as scored:
        found = evaluate_stored(scoring, made['validate'].pattern, keep=True, progress=told.append)
    assert found == whole and len(scored) == 6 - 4 and sum(told) == 23
    assert len(list(tmp_path.rglob('*.unfinished'))) == 1


def test_files_that_are_torn_are_all_named_before_any_is_scored(world, tmp_path):
    folder, made = world
    paths = [tmp_path / path.name for path in made['validate'].paths]
    for path, source in zip(paths, made['validate'].paths):
        path.write_bytes(source.read_bytes()[:-5] if path != paths[0] else source.read_bytes())
    told = []
    with pytest.raises(RecordError, match=f'{paths[1]}, .*And of the 3 files also: {paths[2]}, '):
        evaluate_stored(Scoring(str(folder / 'model'), num_readers=0), str(tmp_path), progress=told.append)
    assert told == []


def test_what_has_no_labels_is_not_scored(world):
    folder, made = world
    with pytest.raises(RecordError, match="it has no 'labels'"):
        evaluate_stored(Scoring(str(folder / 'model'), num_readers=0), made['test'].pattern)
    with pytest.raises(UsageError, match='--top_k: must be 1 or more'):
        evaluate_stored(Scoring(str(folder / 'model'), num_readers=0), made['validate'].pattern, top_k=0)


def test_records_of_another_kind_are_told(world, tmp_path):
    folder, made = world
    with pytest.raises(RecordError, match='a whole video, and frames are read here; pass records of frames'):
        infer(config(world, tmp_path / 'a.csv', made['video'].pattern))
    with pytest.raises(RecordError, match="frames of 'audio', 'rgb', and whole videos are read here; pass records of"):
        infer(config(world, tmp_path / 'b.csv', made['test'].pattern, 'of_videos'))
