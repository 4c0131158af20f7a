import json
import os

import drawing
import numpy as np
import pytest

from gluon_action import files as safely
from gluon_action.errors import OutputError, UsageError
from gluon_action.evaluate import reports
from gluon_action.evaluate.scores.metrics import ClassificationMeter

pytestmark = pytest.mark.draws

CLASSES = ['jump', 'swim', 'throw a ball', 'Ω walk']


@pytest.fixture
def meter():
    meter = ClassificationMeter(4)
    meter.update(np.eye(4)[[0, 0, 1, 3, 3, 1]], [0, 0, 1, 2, 3, 2])
    meter.add_failures([1])
    return meter


def write(directory, meter, **result):
    scores = np.vstack([np.eye(4, dtype=np.float32)[[0, 0, 1, 3, 3, 1]], np.full((1, 4), np.nan, np.float32)])
    return reports.write_report(
        directory, {'top1': 0.5, 'loss': float('nan'), **result}, keys=[f'v {i}.mp4' for i in range(7)],
        labels=np.array([0, 0, 1, 2, 3, 2, 1]), scores=scores, scored=~np.isnan(scores[:, 0]),
        failures=[{'index': 6, 'video': 'v 6.mp4', 'cause': 'truncated'}], classes=CLASSES, meter=meter)


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b'\x89PNG\r\n\x1a\n'
    return int.from_bytes(head[16:20], 'big'), int.from_bytes(head[20:24], 'big')


def test_report_holds_every_file_and_strict_json(tmp_path, meter):
    files = write(tmp_path, meter)
    assert set(os.listdir(tmp_path)) == {path.name for path in files.values()} == {
        'results.json', 'scores.npz', 'failures.jsonl', 'per_class_accuracy.png', 'confusion_matrix.png',
        'top_confusions.json', 'top_confusions.txt'}
    result = json.loads(files['results'].read_text(), parse_constant=lambda name: pytest.fail(f'{name} in JSON'))
    assert result == {'top1': 0.5, 'loss': None}
    assert [json.loads(line) for line in files['failures'].read_text().splitlines()] == [
        {'index': 6, 'video': 'v 6.mp4', 'cause': 'truncated'}]
    assert json.loads(files['confusions_json'].read_text())[0] == {
        'true': 'throw a ball', 'predicted': 'swim', 'count': 1, 'share': 0.5}
    assert 'taken for  Ω walk' in files['confusions'].read_text()


def test_scores_load_without_pickle_and_are_keyed_by_video(tmp_path, meter):
    scores = np.load(write(tmp_path, meter)['scores'], allow_pickle=False)
    assert scores['keys'][6] == 'v 6.mp4'
    assert scores['scores'].dtype == np.float32 and scores['scores'].shape == (7, 4)
    assert scores['scored'].tolist() == [True] * 6 + [False]
    assert scores['labels'].tolist() == [0, 0, 1, 2, 3, 2, 1]
    assert scores['classes'].tolist() == CLASSES


@pytest.mark.parametrize('num_classes, narrowest', [(1, 300), (4, 400), (45, 1100), (140, 1000)])
def test_plots_grow_with_the_number_of_classes(tmp_path, num_classes, narrowest):
    drawing.draw(num_classes <= 45)  # a blank picture has the size too, and 140 names take seconds to draw
    meter = ClassificationMeter(num_classes)
    meter.update(np.eye(num_classes), np.arange(num_classes))
    names = [f'class number {i} with quite a long name' for i in range(num_classes)]
    reports.plot_confusion(meter, names, tmp_path / 'confusion.png')
    reports.plot_per_class(meter, names, tmp_path / 'classes.png')
    width, height = png_size(tmp_path / 'confusion.png')
    assert width >= narrowest and height >= min(narrowest, 300)
    assert png_size(tmp_path / 'classes.png')[1] >= 20 * num_classes  # 20 pixels a line: its label can be read


def test_plots_leave_pyplot_alone(tmp_path, meter):
    import matplotlib.pyplot as plt
    before = plt.get_fignums()
    write(tmp_path, meter)
    assert plt.get_fignums() == before


def test_an_existing_result_is_refused_unless_overwritten(tmp_path, meter):
    write(tmp_path, meter)
    with pytest.raises(UsageError, match='--overwrite'):
        reports.open_report(tmp_path)
    assert reports.open_report(tmp_path, overwrite=True) == tmp_path
    assert json.loads((tmp_path / 'results.json').read_text())['top1'] == 0.5


def test_open_report_makes_nested_folders_and_leaves_them_empty(tmp_path):
    assert os.listdir(reports.open_report(tmp_path / 'a' / 'b c')) == []


def test_a_file_in_the_way_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(OutputError, match='cannot be written'):
        reports.open_report(tmp_path / 'file' / 'results')


def test_a_folder_where_nothing_can_be_made_is_an_output_error():
    with pytest.raises(OutputError, match='--save-dir /proc/results'):
        reports.open_report('/proc/results')


def test_a_full_disk_keeps_the_file_that_was_there(tmp_path, monkeypatch):
    if not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    target = tmp_path / 'results.json'
    target.write_text('old')
    # The temporary name leads to a device that is always full, as a disk would be.
    (tmp_path / '.part').symlink_to('/dev/full')
    monkeypatch.setattr(safely, 'new_part', lambda path: path.with_name('.part'))
    with pytest.raises(OutputError, match='No space left'):
        safely.write_file(target, 'new' * 100)
    assert target.read_text() == 'old'
    assert os.listdir(tmp_path) == ['results.json']


def test_an_unfinished_report_has_no_results_file(tmp_path, meter):
    write(tmp_path, meter)
    with pytest.raises(IndexError):  # a class without a name, found while drawing
        reports.write_report(tmp_path, {'top1': 1.}, keys=[], labels=np.zeros(0), scores=np.zeros((0, 4)),
                             scored=np.zeros(0), failures=[], classes=CLASSES[:1], meter=meter)
    assert not (tmp_path / 'results.json').exists()


def test_without_meter_there_are_no_plots(tmp_path):
    files = write(tmp_path, None)
    assert set(files) == {'scores', 'failures', 'results'}
