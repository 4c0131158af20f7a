import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from report_runs import Page, logits_of, write_test, write_training

from gluon_action.data.video_dataset import VideoClsCustom
from gluon_action.errors import OutputError, UsageError
from gluon_action.evaluate.report import frames, page
from gluon_action.evaluate.report.charts import Curve, line_chart, nice_ticks, number
from gluon_action.evaluate.report.html import ordinal
from gluon_action.evaluate.report.page import MOST_WRONG, try_to_write, write_report
from gluon_action.evaluate.report.time_split import TimeSplit
from gluon_action.evaluate.scores.files import read_scores
from gluon_action.printable import duration
from gluon_action.train.hooks import SaveScores

HOSTILE = ['</style><script>alert(1)</script>', '"><img src=http://x/y onerror=alert(1)>', 'a\u202eb\x1b[2J{{ 7*7 }}',
           '$x^2$ 走る 🏃']


@pytest.fixture
def videos(demo_appearance):
    """The validation list of demo_appearance: 16 real videos of 8 classes."""
    return VideoClsCustom(str(demo_appearance.video_dir), str(demo_appearance.val_list), train=False, test_mode=True)


def judged(folder, videos, wrong=(3, 10)):
    """A test of these videos that has some wrong: those later in `wrong` with less certainty."""
    labels = np.array([sample.label for sample in videos.samples])
    scores = 9 * np.eye(8, dtype=np.float32)[labels]
    for place, index in enumerate(wrong):
        scores[index] = (8 - place) * np.eye(8)[(labels[index] + 1) % 8]
    names = [f'class {n}' for n in range(8)]
    write_test(folder, names, labels, scores, keys=[sample.key for sample in videos.samples])
    return labels, names


def test_the_page_shows_the_wrong_videos_the_surest_first(tmp_path, videos):
    labels, names = judged(tmp_path, videos)
    found = Page(write_report(tmp_path, {'test': videos}))
    pictures = [source for source in found.fetched if source.startswith('data:image/jpeg;base64,')]
    assert len(pictures) == 2 * frames.COUNT and len(set(pictures)) > frames.COUNT
    shown = re.findall(r'is (class \d) ([\d.]+) % taken for (class \d) ([\d.]+) %', found.text)
    assert [(truth, predicted) for truth, _, predicted, _ in shown] == [
        (names[labels[n]], names[(labels[n] + 1) % 8]) for n in (3, 10)]
    sure = [float(score) for *_, score in shown]
    expected = [100 * np.exp(top) / (np.exp(top) + 7) for top in (8, 7)]
    assert sure == pytest.approx(expected, abs=0.06)
    assert '2 of 16 test videos are taken for another class' in found.text


def test_a_page_asks_no_other_machine_for_anything(tmp_path, videos):
    judged(tmp_path, videos)
    found = Page(write_report(tmp_path, {'test': videos}))
    assert found.fetched and all(source.startswith('data:') for source in found.fetched)
    assert not re.search(r'url\(|@import|https?:', found.source)
    policy = found.of('meta', **{'http-equiv': 'Content-Security-Policy'})[0]['content']
    assert policy.startswith("default-src 'none'; img-src data:;") and "script-src 'none'" in policy


def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    labels = np.arange(8) % 4
    keys = [f'{HOSTILE[n % 4]}{n}.mp4' for n in range(8)]
    write_test(tmp_path, HOSTILE, labels, np.roll(np.eye(4, dtype=np.float32)[labels], 1, axis=1), keys=keys,
               failures=[{'key': HOSTILE[0], 'message': HOSTILE[1]}])
    found = Page(write_report(tmp_path))
    assert not found.of('script') and all(source.startswith('data:') for source in found.fetched)
    assert HOSTILE[0] in found.text and '走る 🏃' in found.text and '\\u202e' in found.text
    assert '{{ 7*7 }}' in found.text and '\x1b' not in found.source


def test_few_classes_have_a_matrix_of_names_and_counts(tmp_path):
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    found = Page(write_report(write_test(tmp_path, ['run', 'swim', 'jump'], labels, scores)))
    cells = {cell['title'] for cell in found.of('td') if 'title' in cell}
    assert {'run taken for swim: 1 of 3 (33.3 %)', 'run taken for run: 2 of 3 (66.7 %)'} <= cells
    assert len(found.of('th', scope='row')) == 3 and not found.of('img', id='picture') and not found.of('script')


def test_many_classes_have_a_picture_and_the_worst_of_them_by_name(tmp_path):
    labels = np.repeat(np.arange(400), 3)
    names = [f'a class with quite a long name, number {n}' for n in range(400)]
    scores = logits_of(labels, 400, noise=0.8)
    found = Page(write_report(write_test(tmp_path, names, labels, scores)))
    data = json.loads(next(text for text in found.scripts if text.lstrip().startswith('{')))
    wrong = (scores.argmax(axis=1) != labels).sum()
    assert data['size'] == 400 and sum(count for *_, count in data['cells']) == 1200
    assert sum(count for row, column, count in data['cells'] if row != column) == wrong > 20
    assert found.of('img', id='picture') and 10 < len(found.of('th', scope='row')) <= 25
    assert len(found.source) < 1_000_000 and 'number 399' in found.text
    digest = re.search(r"script-src 'sha256-([^']+)'", found.source)[1]
    assert digest and len(found.of('script')) == 2


def test_only_so_many_wrong_videos_are_shown(tmp_path):
    labels = np.zeros(100, int)
    write_test(tmp_path, ['a', 'b'], labels, np.tile(np.float32([0, 1]), (100, 1)))
    found = Page(write_report(tmp_path))
    assert found.text.count('taken for b') >= MOST_WRONG and len(found.of('figure', **{'class': 'video'})) == MOST_WRONG
    assert '100 of 100 test videos' in found.text and f'These are the {MOST_WRONG}' in found.text


@pytest.mark.parametrize('classes, told', [(5, False), (6, True)])
def test_the_best_five_are_told_from_six_classes_on(tmp_path, classes, told):
    labels = np.arange(12) % classes
    names = [f'c{n}' for n in range(classes)]
    write_test(tmp_path / 'test', names, labels, logits_of(labels, classes))
    write_training(tmp_path / 'train', classes=names)
    for folder in ('test', 'train'):
        assert ('top-5' in Page(write_report(tmp_path / folder)).text) == told


def test_a_training_shows_curves_time_and_the_command(tmp_path):
    labels = np.arange(6) % 3
    write_training(tmp_path, labels=labels, scores=np.eye(3, dtype=np.float32)[labels], num_workers=0)
    found = Page(write_report(tmp_path))
    assert len(found.of('figure', **{'class': 'chart'})) == 4  # scores, loss, rate; and the calibration
    assert 'Reading videos limits' in found.text and '-j 4' in found.text
    assert 'waiting for videos: 32.0 s (66.7 %)' in found.text and 'validation: 8.0 s (16.7 %)' in found.text
    assert 'gluon-action train --model net' in found.text and '34' * 32 in found.text
    assert 'None: every scored video has its own class' in found.text


def test_the_scores_of_the_best_epoch_and_of_no_other_are_kept(tmp_path):
    samples = [SimpleNamespace(key=f'v{n}.mp4', label=n % 2) for n in range(4)]
    hook = SaveScores(tmp_path, SimpleNamespace(samples=samples), ['a', 'b'])

    def epoch(value, **record):
        for indices in ([0, 1], [3]):
            hook.on_scored(None, SimpleNamespace(logits=np.full((3, 2), value, np.float32)),
                           SimpleNamespace(indices=indices))
        if record:
            hook.on_epoch(None, record)
        else:
            hook.on_start_scored(None, {})
        return read_scores(tmp_path)
    found = epoch(1.)
    assert found.scored.tolist() == [True, True, False, True] and found.labels.tolist() == [0, 1, 0, 1]
    assert [epoch(value, best=best).scores[0, 0] for value, best in ((2., True), (3., False), (4., True))] == [2, 2, 4]


def test_videos_with_several_labels_have_no_confusions(tmp_path):
    labels = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]])
    scores = np.float32([[2, -1, -3], [3, -2, -4], [1, 2, -5]])
    found = Page(write_report(write_test(tmp_path, ['a', 'b', 'c'], labels, scores, mean_average_precision=0.75)))
    assert '75.00 %' in found.text and 'Average precision' in found.text and not found.has('confusion')
    assert re.search(r'mean average precision\s*75.00 %\s*[\d.]+ to [\d.]+ % \(95 %\)', found.text)
    assert '1 of 3 test videos' in found.text and 'is b 11.9 % taken for a 95.3 %' in found.text


def test_what_is_damaged_is_left_out_and_said(tmp_path):
    write_training(tmp_path)
    with open(tmp_path / 'metrics.jsonl', 'ab') as file:
        file.write(b'{"kind": "epoch", "epoch": 9, "lo\n\xff\n[1]\n')
    (tmp_path / 'results.json').write_text('{"top1": ')
    (tmp_path / 'scores.npz').write_bytes(b'PK broken')
    found = Page(write_report(tmp_path))
    for told in ('3 of 7 lines of metrics.jsonl cannot be read', 'results.json cannot be read', 'scores.npz is not'):
        assert told in found.text
    assert found.has('curves') and '4 of 4' in found.text


def test_numbers_that_are_none_are_not_drawn(tmp_path):
    write_training(tmp_path)
    record = {'kind': 'epoch', 'epoch': 4, 'accuracy': 'x', 'loss': None, 'lr': [1], 'val_top1': 10 ** 400,
              'val_loss': True, 'seconds': {}, 'best': 'yes'}
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write(json.dumps(record) + '\n')
    assert Page(write_report(tmp_path)).has('curves')


@pytest.mark.parametrize('content, told', [(None, 'holds no run'), (b'[]', 'config.json is not what a run writes'),
                                           (b'{"a": 1}', 'of something else than a training')])
def test_a_folder_without_a_run_is_refused(tmp_path, content, told):
    if content is not None:
        (tmp_path / 'config.json').write_bytes(content)
    with pytest.raises(UsageError, match=told):
        write_report(tmp_path)
    with pytest.raises(UsageError, match='does not exist'):
        write_report(tmp_path / 'nowhere')


def test_a_page_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch, caplog):
    write_training(tmp_path)
    for error in (OutputError('no space'), ZeroDivisionError('x')):
        caplog.clear()
        monkeypatch.setattr(page, 'write_file', lambda *args, error=error, **kwargs: (_ for _ in ()).throw(error))
        assert try_to_write(tmp_path) is None
        assert len(caplog.records) == 1 and 'report.html: cannot be written' in caplog.text
        assert f'gluon-action report {tmp_path}' in caplog.text
    assert not os.path.exists(tmp_path / 'report.html')


def test_a_video_that_is_gone_costs_its_frames_only(tmp_path, videos):
    judged(tmp_path, videos)
    gone = [sample for sample in videos.samples if sample.key != videos.samples[3].key]
    videos.samples = gone
    found = Page(write_report(tmp_path, {'test': videos}))
    assert len([source for source in found.fetched if 'jpeg' in source]) == frames.COUNT
    assert '1 of these videos cannot be read now' in found.text and 'is not on the list any more' in found.text


def test_statistics_of_the_data_have_the_classes_with_fewest_videos_first(tmp_path, videos):
    judged(tmp_path, videos)
    videos.samples = videos.samples[:-1]
    rare = videos.classes[videos.samples[-1].label] if videos.classes else None
    found = Page(write_report(tmp_path, {'test': videos}))
    assert found.has('data') and '8 of 8' in found.text and rare is None or rare in found.text


def test_a_run_that_is_being_written_is_said_to_be(tmp_path):
    write_training(tmp_path)
    assert 'still being written (by process 7)' in Page(write_report(tmp_path, writing='by process 7')).text


@pytest.mark.parametrize('data, devices, rest, limit', [
    (8, 1, 1, 'both'), (9, 0.1, 1, 'data'), (1, 8, 1, 'network'), (1, 1, 8, 'process'), (4, 4, 1, 'network')])
def test_what_limits_is_told_by_what_was_waited_for(data, devices, rest, limit):
    assert TimeSplit(data, devices, rest).limit == limit


@pytest.mark.parametrize('low, high, whole, expected', [
    (0, 100, False, [0, 20, 40, 60, 80, 100]), (0, 3, True, [0, 1, 2, 3]), (0, 0.07, False, [0, 0.02, 0.04, 0.06]),
    (5, 5, False, [5]), (-1, 1, False, [-1, -0.5, 0, 0.5, 1]), (0, 1, True, [0, 1])])
def test_ticks_are_round_numbers(low, high, whole, expected):
    assert nice_ticks(low, high, whole=whole) == pytest.approx(expected)


def test_one_bad_epoch_does_not_flatten_the_others():
    losses = [(n, 1 / (n + 1)) for n in range(20)] + [(20, 500.)]
    plain, robust = (line_chart('loss', [Curve('a', 'c0', losses)], x_label='epoch', robust=robust)
                     for robust in (False, True))

    def height(chart):
        ys = [y for _, y, _ in chart['lines'][0]['marks'][:20]]
        return max(ys) - min(ys)
    assert height(plain) < 2 and height(robust) > 50
    assert robust['note'] == 'logarithmic axis, up to 500' and not plain['note']


def test_charts_have_no_line_where_there_is_no_point():
    assert line_chart('x', [Curve('a', 'c0', [])], x_label='x') is None
    assert [number(value) for value in (True, 'x', None, float('nan'), 10 ** 400, 1e200, 3)] == [None] * 6 + [3.]


def test_times_and_places_are_said_as_people_do():
    assert [duration(s) for s in (4.25, 200, 3720)] == ['4.2 s', '3 min 20 s', '1 h 02 min']
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 113)] == ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']


def test_seconds_are_too_short_to_tell_what_limits():
    assert 'The network limits' in TimeSplit(4, 6, 1).verdict()
    assert TimeSplit(1.9, 1.5, 0.1).verdict() == 'It took 3.5 s, which is too short to show what limits.'


def test_where_weights_are_from_is_read_as_words():
    weights = {'source': 'runs/own/best.params', 'sha256': '8f37', 'sha256_of': 'file', 'index': None}
    assert page._facts({'weights': weights}) == [
        ('weights', 'source runs/own/best.params, sha256 8f37, sha256 of file')]
