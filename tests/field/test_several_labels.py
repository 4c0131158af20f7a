"""Videos with several labels: what people expect of their lists, their best epoch, and their tests."""
import numpy as np
import pytest
import tiny
from small_tests import results_of, small, start

from gluon_action.evaluate.scores.files import read_scores
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.recognizer import train_recognizer

MODEL = tiny.NAME


pytestmark = pytest.mark.usefixtures('tiny_network')


@pytest.fixture
def several(tmp_path, demo_appearance):
    """A list whose videos have the label of their class and, every other one, 7 as well."""
    rows = [line.split() for line in demo_appearance.val_list.read_text().splitlines()]
    path = tmp_path / 'several.txt'
    path.write_text('\n'.join(f'{video} {label}' + ',7' * (n % 2) for n, (video, _, label) in enumerate(rows)))
    return path


def test_a_list_of_several_labels_is_recognised_where_one_was_expected(several, demo_appearance, params8, tmp_path,
                                                                      capsys):
    argv = [*small(demo_appearance.video_dir, params8, tmp_path / 'out'), '--val-list', several]
    assert start(*argv) == 1
    told = capsys.readouterr().err
    assert 'line 2: gives a video several labels; pass --multi-label' in told and 'integer' not in told
    assert start(*argv, '--multi-label') == 0
    assert 0 < results_of(tmp_path / 'out')['mean_average_precision'] <= 1


@pytest.mark.parametrize('line', ['a.mp4 3', 'a,b.mp4 3', 'a.mp4 120 3', 'dir/a 3', '"a b" 3', 'a.mp4,3'])
def test_commas_of_other_lists_are_no_labels(tmp_path, line):
    from gluon_action.data.lists.annotations import read_annotations
    (tmp_path / 'list.txt').write_text(f'{line}\n{line}')
    assert [sample.label for sample in read_annotations(str(tmp_path / 'list.txt')).samples] == [3, 3]


@pytest.fixture(scope='module')
def of_several(tmp_path_factory, demo_appearance):
    """A run on videos with several labels."""
    place = tmp_path_factory.mktemp('several')
    for name in ('train', 'val'):
        rows = [line.split() for line in getattr(demo_appearance, f'{name}_list').read_text().splitlines()]
        (place / f'{name}.txt').write_text('\n'.join(
            f'{video} {label} {(int(label) + 1) % 8}' if n % 2 else f'{video} {label}'
            for n, (video, _, label) in enumerate(rows)))
    config = TrainConfig(
        model=MODEL, dataset='custom', data_dir=str(demo_appearance.video_dir), train_list=str(place / 'train.txt'),
        val_list=str(place / 'val.txt'), list_format='multi_label', multi_label=True, pretrained_base=False,
        input_size=32, batch_size=8, num_epochs=3, lr=0.05, lr_mode='constant', num_workers=0,
        save_dir=str(place / 'run'), log_interval=0)
    return place / 'run', train_recognizer(config)


def average_precision(scores, targets):
    """By the definition: the precision at each right answer, meaned."""
    found = []
    for k in range(targets.shape[1]):
        order = sorted(range(len(scores)), key=lambda n: (-scores[n, k], n))
        hits, precisions = 0, []
        for place, n in enumerate(order, 1):
            if targets[n, k]:
                hits += 1
                precisions.append(hits / place)
        if precisions:
            found.append(sum(precisions) / len(precisions))
    return sum(found) / len(found)


def test_of_several_labels_the_best_epoch_is_that_of_the_highest_mean_average_precision(of_several):
    folder, result = of_several
    scores = [record['val_map'] for record in result.history]
    best = result.history[int(np.argmax(scores))]
    assert result.best_epoch == best['epoch'] and result.best_score == max(scores)
    assert (folder / 'best.params').resolve().name == (
        f'{max(scores):.4f}-custom-{MODEL}-{best["epoch"]:03d}-best.params')
    assert f'mAP={100 * scores[-1]:.2f}' in (folder / 'train.log').read_text()
    assert any('best validation mean average precision' in line for line in result.lines)


def test_a_test_of_such_a_run_needs_no_flag_and_gives_its_score(of_several, tmp_path):
    folder, result = of_several
    assert start(folder, '-j', 0, '--save-dir', tmp_path / 'out') == 0
    results, stored = results_of(tmp_path / 'out'), read_scores(tmp_path / 'out')
    assert results['mean_average_precision'] == pytest.approx(result.best_score, abs=1e-4)
    assert results['mean_average_precision'] == pytest.approx(average_precision(stored.scores, stored.labels), abs=1e-6)
    assert (stored.labels.sum(axis=1) == 2).sum() == len(stored.keys) // 2


def test_a_run_that_chose_by_top1_goes_on_and_chooses_by_mean_average_precision(tmp_path):
    from gluon_action.train.hooks import SaveParameters
    from gluon_action.train.progress import Progress
    before = Progress(epoch=1, best=0.9, best_epoch=0, history=[{'epoch': 0, 'val_top1': 0.9, 'best': True}])
    for epoch, score in ((1, 0.4), (2, 0.3), (3, 0.5)):
        before.finish_epoch({'epoch': epoch, 'val_top1': 0.1, 'val_map': score}, 'val_map')
    assert [record['best'] for record in before.history] == [True, True, False, True]
    saving = SaveParameters(tmp_path, 'custom', 'm', score='val_map')
    assert [saving.best_path(record).name[:6] for record in before.history[::3]] == ['0.9000', '0.5000']
