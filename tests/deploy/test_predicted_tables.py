"""What several videos leave: a row a video, segments in three formats, one name below the threshold, and resuming."""
import csv
import dataclasses
import errno
import io
import json
import os
import tracemalloc
import weakref

import numpy as np
import pytest
from bundles import CLIPS, LABELS, make_bundle
from videos import make_broken, write_frames, write_video

from gluon_action import __version__, unfinished
from gluon_action.cli import predict as command
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.predicted.tables import Tables, rows_of
from gluon_action.errors import UsageError
from gluon_action.files import to_json


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('place')
    make_bundle(folder / 'bundle')
    for name, count in (('a', 30), ('b', 12)):
        write_video(folder / f'{name}.mp4', count)
    make_broken('garbage', folder)
    return folder


def predict(place, *argv, bundle='bundle'):
    return run(command.parse_args, command.main, [str(place / bundle), *map(str, argv)])


def rows_in(text):
    return list(csv.DictReader(io.StringIO(text)))


# ---------------------------------------------------------------- files

def test_a_row_a_video_says_what_the_prediction_is(place, tmp_path, capsys):
    videos = [place / 'a.mp4', place / 'garbage.mp4', place / 'b.mp4']
    assert predict(place, *videos, '--csv', tmp_path / 'o.csv', '--top-k', 2) == 1
    rows, found = rows_in((tmp_path / 'o.csv').read_text()), Predictor(place / 'bundle')(videos[0])
    assert list(rows[0]) == ['video', 'label', 'score', 'top1', 'top1_score', 'top2', 'top2_score', 'seconds', 'error']
    assert rows[0]['video'] == str(videos[0]) and rows[0]['label'] == rows[0]['top1'] == found.label
    assert float(rows[0]['score']) == pytest.approx(found.score, abs=1e-4) and rows[0]['seconds'] == '1.20'
    assert (rows[0]['top2'], float(rows[0]['top2_score'])) == pytest.approx(found.top(2)[1], abs=1e-4)
    assert rows[1]['label'] == rows[1]['score'] == '' and 'not a video' in rows[1]['error'] and not rows[2]['error']
    told = capsys.readouterr()
    assert f'[1/3] {videos[0]}: {found.label}' in told.out and '[2/3]' in told.err and 'wrote' in told.out


def test_segments_are_the_same_in_each_format(place, tmp_path):
    for ending in ('csv', 'json', 'txt'):
        assert predict(place, place / 'a.mp4', place / 'b.mp4', '--segments', tmp_path / f'o.{ending}') == 0
    found = {str(place / name): Predictor(place / 'bundle')(place / name).segments for name in ('a.mp4', 'b.mp4')}
    rows = rows_in((tmp_path / 'o.csv').read_text())
    expected = [(path, segment.label, f'{segment.start:.3f}', f'{segment.end:.3f}', f'{segment.score:.4f}')
                for path, segments in found.items() for segment in segments]
    assert [tuple(row.values()) for row in rows] == expected and rows
    videos = json.loads((tmp_path / 'o.json').read_text())['videos']
    assert [video['path'] for video in videos] == list(found)
    assert [[segment['start'] for segment in video['segments']] for video in videos] == [
        [segment.start for segment in segments] for segments in found.values()]
    text = (tmp_path / 'o.txt').read_text().splitlines()
    first = found[str(place / 'a.mp4')][0]
    assert text[0] == str(place / 'a.mp4') and text[1] == (
        f'  0:00:00.00 - 0:00:{first.end:05.2f}  {first.label} ({first.score:.2f})')


def test_segments_of_a_whole_video_leave_nothing_out(place):
    found = Predictor(place / 'bundle', rolling=0.1)(place / 'a.mp4')  # windows of 3 frames, one every 4
    assert found.segments[0].start == 0 and found.segments[-1].end == pytest.approx(found.duration)
    assert all(before.end == after.start for before, after in zip(found.segments, found.segments[1:]))


def test_times_of_long_videos_have_hours(tmp_path):
    segment = {'label': 'x', 'start': 130.5, 'end': 7325.999, 'score': 1.}
    Tables(segments=str(tmp_path / 'o.txt')).write({}, None, [{'path': 'a.mp4', 'segments': [segment]}])
    assert (tmp_path / 'o.txt').read_text() == 'a.mp4\n  0:02:10.50 - 2:02:06.00  x (1.00)\n'


def test_everything_may_go_to_standard_output(place, capsys):
    assert predict(place, place / 'a.mp4', place / 'b.mp4', '--json', '-') == 0
    told = capsys.readouterr()
    assert [video['path'] for video in json.loads(told.out)['videos']] == [str(place / 'a.mp4'), str(place / 'b.mp4')]
    assert '[2/2]' in told.err


@pytest.mark.parametrize('flags, told', [
    (('--segments', '{tmp}/o.srt'), 'its ending says the format: .csv, .json, or .txt'),
    (('--csv', '{tmp}/o.csv', '--segments', '{tmp}/o.csv'), 'is the file of --csv too'),
    (('--csv', '{place}/bundle/labels.json'), 'exists; pass --overwrite'),
    (('--csv', '{tmp}/none/o.csv'), 'there is no folder'), (('--csv', '{place}/a.mp4'), 'is the video itself')])
def test_files_that_cannot_be_are_refused_before_the_work(place, tmp_path, capsys, monkeypatch, flags, told):
    monkeypatch.setattr(Predictor, '__init__', None)
    assert predict(place, place / 'a.mp4', *(flag.format(tmp=tmp_path, place=place) for flag in flags)) == 2
    assert told in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_names_do_nothing_in_a_table():
    videos = [{'path': '=HYPERLINK("http://x")', 'label': 'two\nlines', 'found': ['two\nlines'], 'score': 0.5,
               'top': [{'label': '@x,"y"', 'probability': 0.5}], 'duration': 1.},
              {'path': 'caf\udce9\x1b[2J.mp4', 'error': '-1'}]
    first, second = rows_in(''.join(rows_of(videos)))
    assert first['video'] == '\'=HYPERLINK("http://x")' and first['label'] == r'two\nlines'
    assert first['top1'] == '\'@x,"y"' and second['video'] == r'caf\xe9\x1b[2J.mp4' and second['error'] == "'-1"
    assert ''.join(rows_of([])).startswith('video,label,score,seconds,error')


def test_an_interrupted_prediction_goes_on_from_its_rows(place, tmp_path, monkeypatch, capsys):
    stream, seen, stop = Predictor.stream, [], ['b.mp4']

    def streamed(self, source, **listeners):
        if os.path.basename(source) in stop:
            raise KeyboardInterrupt
        seen.append(os.path.basename(source))
        return stream(self, source, **listeners)

    monkeypatch.setattr(Predictor, 'stream', streamed)
    argv = [place / 'a.mp4', place / 'b.mp4', '--csv', tmp_path / 'o.csv', '--segments', tmp_path / 'o.txt']
    assert predict(place, *argv) == 130
    assert len(rows_in((tmp_path / 'o.csv').read_text())) == 1 and (tmp_path / 'o.csv.unfinished').exists()
    stop.clear()
    assert predict(place, *argv) == 0 and seen == ['a.mp4', 'b.mp4']
    assert [row['video'] for row in rows_in((tmp_path / 'o.csv').read_text())] == list(map(str, argv[:2]))
    assert sorted(os.listdir(tmp_path)) == ['o.csv', 'o.txt']


def test_memory_does_not_grow_with_the_number_of_videos(place, tmp_path, monkeypatch, capsys):
    for number in range(120):
        (tmp_path / 'v').mkdir(exist_ok=True)
        (tmp_path / 'v' / f'{number}.mp4').write_bytes(b'x')
    one = Predictor(place / 'bundle')(place / 'a.mp4')
    given, used = [], []

    def streamed(self, source, **listeners):
        assert sum(prediction() is not None for prediction in given) <= 2
        used.append(tracemalloc.get_traced_memory()[0])
        prediction = dataclasses.replace(one, source=str(source), windows=one.windows * 50)
        given.append(weakref.ref(prediction))
        return prediction

    monkeypatch.setattr(Predictor, 'stream', streamed)
    tracemalloc.start()
    try:
        assert predict(place, tmp_path / 'v', '--json', tmp_path / 'o.json', '--csv', tmp_path / 'o.csv') == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    written = json.loads((tmp_path / 'o.json').read_text())['videos']
    size = (tmp_path / 'o.json').stat().st_size
    assert len(written) == 120 and len(given) == 120 and size > 2e6
    assert used[-1] - used[20] < size / 20 and peak - used[20] < size / 4


def test_json_is_what_it_was_when_it_was_written_at_once(tmp_path):
    videos = [{'path': 'a', 'segments': [{'label': '[]', 'start': 0, 'end': 1}], 'score': float('nan')}, {'path': 'b'}]
    for number in range(3):
        Tables(json=str(tmp_path / 'o.json')).write({'model': 'm'}, ['[]'], videos[:number])
        assert (tmp_path / 'o.json').read_text() == to_json(
            {'gluon_action': __version__, 'model': {'model': 'm'}, 'labels': ['[]'], 'videos': videos[:number]})


def test_a_prediction_that_the_disk_has_no_room_for_is_written_all_the_same(place, tmp_path, monkeypatch, caplog):
    def full(stream, value):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(unfinished, '_write', full)
    assert predict(place, place / 'a.mp4', place / 'b.mp4', '--csv', tmp_path / 'o.csv') == 0
    assert len(rows_in((tmp_path / 'o.csv').read_text())) == 2 and 'if this is interrupted now' in caplog.text


def test_a_terminal_shows_how_many_videos_are_done(place, capsys, monkeypatch):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    assert predict(place, place / 'a.mp4', place / 'b.mp4') == 0
    told = capsys.readouterr()
    assert '1/2 [' in told.err and 'video/s]' in told.err and 'frame/s]' in told.err and '[2/2]' in told.out


# ---------------------------------------------------------------- threshold

def test_below_the_threshold_a_video_is_none_of_these(place, tmp_path, capsys):
    best = Predictor(place / 'bundle')(place / 'a.mp4')
    found = Predictor(place / 'bundle', threshold=best.score + 0.01)(place / 'a.mp4')
    assert (found.label, found.index, found.found) == ('none of these', None, []) and found.score == best.score
    assert found.top(3) == best.top(3)
    assert Predictor(place / 'bundle', threshold=best.score)(place / 'a.mp4').label == best.label
    argv = [place / 'a.mp4', '--threshold', 0.999]
    assert predict(place, *argv, '--csv', tmp_path / 'o.csv', '--segments', tmp_path / 'o.txt') == 0
    assert f'none of these (at most {best.score:.2f}, {best.label})' in capsys.readouterr().out
    row, = rows_in((tmp_path / 'o.csv').read_text())
    assert row['label'] == 'none of these' and row['top1'] == best.label
    assert (tmp_path / 'o.txt').read_text().splitlines()[1:] == ['  none of these']


def test_of_several_labels_all_above_the_threshold_are_the_answer(place, tmp_path, capsys):
    look = Preprocess(layout='NCHW', offsets=(0,), stride=5, crop=(8, 8), mean=(.4,) * 3, std=(.2,) * 3,
                      resize={'width': 12, 'height': 10}, activation='sigmoid')
    bundle = make_bundle(tmp_path / 'several', look)
    alone = Predictor(bundle)(place / 'a.mp4')
    limit = float(np.sort(alone.probabilities)[1])
    found = Predictor(bundle, threshold=limit)(place / 'a.mp4')
    assert len(alone.found) == 1 and len(found.found) == 2 and found.found[0] == found.index == alone.index
    assert run(command.parse_args, command.main, [str(bundle), str(place / 'a.mp4'), '--threshold', str(limit),
                                                  '--csv', str(tmp_path / 'o.csv')]) == 0
    names = [LABELS[k] for k in found.found]
    assert all(f'{name} (' in capsys.readouterr().out.splitlines()[0] for name in names[:1])
    assert rows_in((tmp_path / 'o.csv').read_text())[0]['label'] == ';'.join(names)


@pytest.mark.parametrize('value', ['-0.1', '1.5', 'nan', '60'])
def test_a_threshold_is_a_probability(place, capsys, value):
    with pytest.raises(SystemExit) as stop:
        predict(place, place / 'a.mp4', '--threshold', value)
    assert stop.value.code == 2 and '--threshold must be a probability in 0..1' in (told := capsys.readouterr().err)
    assert ('60 % is 0.6' in told) == (value == '60')
    with pytest.raises(UsageError, match='threshold must be a probability'):
        Predictor(place / 'bundle', threshold=float(value))


# ---------------------------------------------------------------- frames in memory, and lists of videos, in Python

def test_frames_in_memory_are_predicted_as_the_pictures_of_a_folder(place, tmp_path):
    from gluon_action.data.reading.video_reader import VideoReader
    folder = write_frames(tmp_path / 'frames', range(1, 31), pattern='%03d.png')
    with VideoReader(folder, name_pattern='%03d.png') as reader:
        frames = reader.read(range(len(reader)))
    predictor = Predictor(place / 'bundle')
    stored, here = predictor(folder, fps=10), predictor(frames, fps=10)
    np.testing.assert_array_equal([window.probabilities for window in here.windows],
                                  [window.probabilities for window in stored.windows])
    assert [window.end for window in here.windows] == [window.end for window in stored.windows]
    assert here.source == '30 frames in memory' and here.protocol['fps'] == 10
    turned = predictor(np.ascontiguousarray(frames[..., ::-1])[..., ::-1])  # as OpenCV's are turned
    np.testing.assert_array_equal(turned.probabilities, predictor(frames).probabilities)
    assert [found.source for found in predictor([folder, frames])] == [str(folder), '30 frames in memory']


def test_flow_is_computed_of_frames_in_memory(tmp_path):
    from flows import write_moving_video

    from gluon_action.data.reading.video_reader import VideoReader
    look = Preprocess(layout='NCTHW', modality='flow', offsets=(0, 1, 2), stride=3, crop=(24, 24), mean=(.5, .5),
                      std=(.5, .5), flow_bound=20., resize={'short_side': 24})
    bundle = make_bundle(tmp_path / 'b', look, ['right', 'down', 'left'], weights=np.eye(3, 2, dtype='float32'))
    video = write_moving_video(tmp_path / 'a.mp4', (2, 0), 10, (64, 48))
    with VideoReader(video) as reader:
        frames = reader.read(range(len(reader)))
    predictor = Predictor(bundle, flow_method='farneback')
    np.testing.assert_allclose(predictor(frames).probabilities, predictor(video).probabilities, rtol=1e-5)


@pytest.mark.parametrize('wrong', [
    np.zeros((8, 16, 16, 3), np.float32), np.zeros((8, 3, 16, 16), np.uint8), np.zeros((16, 16, 3), np.uint8),
    np.zeros((0, 16, 16, 3), np.uint8)])
def test_frames_of_another_kind_are_refused(place, wrong):
    with pytest.raises(UsageError, match=r'must be uint8 \(T, H, W, 3\), RGB in 0..255, got'):
        Predictor(place / 'bundle')(wrong)


assert CLIPS.span == 3
