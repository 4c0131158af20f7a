"""Names of classes and files that people have: reports hold their numbers and draw them, whatever letters they have."""
import os
from types import SimpleNamespace

import numpy as np
import pytest
from small_tests import results_of, small, start, warnings_of

from gluon_action.evaluate import reports
from gluon_action.evaluate.scores.files import read_scores
from gluon_action.evaluate.scores.metrics import ClassificationMeter
from gluon_action.train.run.history import log_style
from gluon_action.train.run.history.log import RunLog

#: Of what people name their classes: a formula, a byte of Latin-1, what acts on terminals, letters from right to left,
#: an emoji, a line break, what Matplotlib leaves out of legends, and what turns the direction of text.
NAMES = ['$x_1 $open', 'caf\udce9', 'clear\x1b[2Jscreen', 'مرحبا', '🏄 surfing', 'two\nlines', '_hidden', 'a\u202eb']


pytestmark = pytest.mark.usefixtures('tiny_network')


@pytest.fixture(scope='module')
def strange(tmp_path_factory, demo_appearance):
    """A folder of class folders with strange names, a video in each, and one file that is none."""
    folder = tmp_path_factory.mktemp('strange')
    videos = [line.split()[0] for line in demo_appearance.val_list.read_text().splitlines()]
    for name, video in zip(NAMES, videos):
        (folder / name).mkdir()
        (folder / name / 'v.mp4').symlink_to(demo_appearance.video_dir / video)
    (folder / NAMES[1] / 'bad\udce9\n\x1b[31m.mp4').write_bytes(b'no video')
    return folder


@pytest.mark.draws
def test_any_name_of_a_class_or_a_file_can_be_logged_written_and_drawn(strange, params8, tmp_path, capsys, caplog):
    out = tmp_path / 'out'
    assert start(*small(strange, params8, out)) == 0
    results = results_of(out)
    assert (results['n_expected'], results['n_scored']) == (9, 8)
    assert results['failures'][0]['key'].endswith('bad\udce9\n\x1b[31m.mp4')
    assert sorted(read_scores(out).classes) == sorted(NAMES)
    assert {'per_class_accuracy.png', 'confusion_matrix.png', 'top_confusions.txt'} <= set(os.listdir(out))
    for name in ('test.log', 'top_confusions.txt'):
        text = (out / name).read_bytes().decode('utf-8')
        assert '\x1b' not in text and '\u202e' not in text
    log = (out / 'test.log').read_text().splitlines()
    assert [line for line in log if 'not scored' in line and r'bad\xe9\n\x1b[31m.mp4' in line] and all(
        not line.startswith('\x1b') for line in log)
    raw = (out / 'results.json').read_bytes()
    assert b'\x1b' not in raw and '\u202e'.encode() not in raw
    assert '\x1b' not in capsys.readouterr().out
    assert sum('boxes replace the others' in line for line in warnings_of(caplog)) <= 2


@pytest.mark.filterwarnings('ignore:Glyph')
def test_names_stand_in_the_pictures_as_they_are(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(reports, 'write_figure', lambda figure, path, **about: drawn.append(figure))
    meter = ClassificationMeter(len(NAMES))
    meter.update(np.eye(len(NAMES)), np.arange(len(NAMES)))
    reports.plot_per_class(meter, NAMES, tmp_path / 'a.png')
    reports.plot_confusion(meter, NAMES, tmp_path / 'b.png')
    expected = [r'\$x_1 \$open', r'caf\xe9', r'clear\x1b[2Jscreen', 'مرحبا', '🏄 surfing', r'two\nlines', '_hidden',
                r'a\u202eb']
    for figure in drawn:
        figure.draw_without_rendering()
        axes = figure.axes[0]
        assert [text.get_text() for text in axes.get_yticklabels()] == expected


def test_a_picture_that_cannot_be_drawn_is_a_warning_and_the_numbers_are_there(strange, params8, tmp_path, monkeypatch,
                                                                             caplog):
    def fail(*args):
        raise ValueError('Image size of 70000x70000 pixels is too large')

    monkeypatch.setattr(reports, 'plot_confusion', fail)
    assert start(*small(strange, params8, tmp_path / 'out')) == 0
    assert results_of(tmp_path / 'out')['n_scored'] == 8
    assert any('confusion_matrix.png: cannot be drawn (ValueError: Image size' in line for line in warnings_of(caplog))
    assert 'confusion_matrix.png' not in os.listdir(tmp_path / 'out')
    assert 'per_class_accuracy.png' in os.listdir(tmp_path / 'out')


def test_scores_of_such_names_are_read_back_and_so_is_what_they_are(strange, params8, tmp_path):
    """A results.json that is no UTF-8 would be no protocol, and probabilities would be taken for logits."""
    assert start(*small(strange, params8, tmp_path / 'out'), '--use-softmax') == 0
    assert read_scores(tmp_path / 'out').kind == 'probabilities'
    assert read_scores(tmp_path / 'out').protocol['average'] == 'probabilities'


def test_a_confusion_matrix_shows_the_classes_that_occur(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(reports, 'write_figure', lambda figure, path, **about: drawn.append(figure))
    meter = ClassificationMeter(174)
    meter.update(np.eye(174)[[3, 3, 99, 120]], [3, 3, 3, 99])
    meter.add_failures([3])
    reports.plot_confusion(meter, [f'class number {k}' for k in range(174)], tmp_path / 'a.png')
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ['class number 3', 'class number 99',
                                                                    'class number 120']
    assert [text.get_text() for text in axes.get_xticklabels()][-1] == '(not scored)'
    assert sorted(text.get_text() for text in axes.texts) == ['1', '1', '1', '2']
    assert '3 of 174 classes occur' in axes.get_title()


def test_a_training_logs_any_name_and_goes_on_where_its_picture_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(log_style, 'plot_run', lambda *args, **about: 1 / 0)
    records = RunLog(tmp_path, bar=False)
    records._batches = 1
    loop = SimpleNamespace(schedule=None, learner=SimpleNamespace(accumulate=1),
                           progress=SimpleNamespace(history=[], place=0, update=0))
    records.draw(loop)
    records._unread = {'train': ['caf\udce9\n\x1b[2J.mp4']}
    records._say_unread(3)
    records.close()
    lines = (tmp_path / 'train.log').read_bytes().decode('utf-8').splitlines()
    assert len(lines) == 2 and 'history.png: cannot be drawn (ZeroDivisionError' in lines[0]
    assert r'could not be read in training: caf\xe9\n\x1b[2J.mp4' in lines[1]


def test_a_log_on_a_full_disk_ends_and_nothing_else_does(strange, params8, tmp_path, capsys):
    if not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'test.log').symlink_to('/dev/full')
    assert start(*small(strange, params8, tmp_path / 'out')) == 0
    told = capsys.readouterr().err
    assert told.count('the log ends here') == 1 and 'Traceback' not in told
    assert results_of(tmp_path / 'out')['n_scored'] == 8
