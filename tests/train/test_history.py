import matplotlib
import numpy as np
import pytest
from PIL import Image

from gluon_action.errors import OutputError, UsageError
from gluon_action.train.run import history_plot
from gluon_action.train.run.history_plot import TrainingHistory, plot_run, plot_run_by_steps

matplotlib.use('Agg')

RUN = [{'epoch': e, 'accuracy': e / 10, 'loss': 3.0 / (e + 1), 'val_top1': e / 12, 'val_top5': e / 10,
        'val_loss': 3.3 / (e + 1), 'lr': 0.1 / (e + 1)} for e in range(8)]


def colored(path, rgb, tolerance=12):
    pixels = np.asarray(Image.open(path).convert('RGB')).astype(int)
    return (abs(pixels - rgb).max(axis=2) <= tolerance)


def test_history_keeps_values_by_label():
    history = TrainingHistory(['train-acc', 'val-acc'])
    history.update([0.1, 0.2])
    history.update([0.3, 0.4])
    assert history.history == {'train-acc': [0.1, 0.3], 'val-acc': [0.2, 0.4]} and history.epochs == 2


def test_a_wrong_number_of_values_names_the_labels():
    with pytest.raises(UsageError, match="'acc'"):
        TrainingHistory(['acc']).update([1, 2])


def test_successive_plots_do_not_overlap(tmp_path):
    first, second = TrainingHistory(['a']), TrainingHistory(['b'])
    first.update([0.5])
    first.update([0.5])
    second.update([0.9])
    first.plot(colors=['#ff0000'], save_path=tmp_path / 'a.png')
    second.plot(colors=['#0000ff'], save_path=str(tmp_path / 'b.png'))
    assert colored(tmp_path / 'a.png', (255, 0, 0)).any() and not colored(tmp_path / 'b.png', (255, 0, 0)).any()
    import matplotlib.pyplot as plt
    assert not plt.get_fignums()


def test_values_above_one_are_seen_when_the_limits_are_free(tmp_path):
    history = TrainingHistory(['loss'])
    history.update([5.0])
    history.update([4.0])
    history.plot(colors=['#ff0000'], y_lim=None, save_path=tmp_path / 'free.png', legend_loc='lower left')
    history.plot(colors=['#ff0000'], save_path=tmp_path / 'clipped.png', legend_loc='lower left')
    assert colored(tmp_path / 'free.png', (255, 0, 0)).sum() > colored(tmp_path / 'clipped.png', (255, 0, 0)).sum() + 99


def test_an_unknown_label_or_a_missing_color_is_named():
    history = TrainingHistory(['a', 'b'])
    with pytest.raises(UsageError, match=r"\['c'\]"):
        history.plot(labels=['c'])
    with pytest.raises(UsageError, match='2 labels'):
        history.plot(colors=['red'])


def test_a_run_is_drawn_in_three_panels(tmp_path):
    plot_run(RUN, tmp_path / 'history.png', title='resnet18 on demo')
    width = Image.open(tmp_path / 'history.png').width
    blue, orange, green = (colored(tmp_path / 'history.png', rgb).any(axis=0)
                           for rgb in ((0, 114, 178), (213, 94, 0), (0, 158, 115)))
    thirds = slice(0, width // 3), slice(width // 3, 2 * width // 3), slice(2 * width // 3, width)
    assert [bool(blue[part].any()) for part in thirds] == [True, True, False]
    assert [bool(orange[part].any()) for part in thirds] == [True, True, False]
    assert [bool(green[part].any()) for part in thirds] == [False, False, True]


@pytest.mark.parametrize('records', [[], RUN[:1], [{'epoch': 0, 'accuracy': 0.5, 'loss': 1.0}]])
def test_a_run_of_few_records_is_drawn_too(records, tmp_path):
    plot_run(records, tmp_path / 'history.png', rates=[(0.5, 0.1), (1.0, 0.05)])
    assert Image.open(tmp_path / 'history.png').height > 300


def test_a_plot_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match='history.png'):
        plot_run(RUN, tmp_path / 'missing' / 'history.png')


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, which are not written."""
    drawn = []
    monkeypatch.setattr(history_plot, 'write_figure', lambda figure, path, **about: drawn.append(figure))
    return drawn


def labels_of(axes):
    return axes.get_legend_handles_labels()[1]


def test_the_best_epoch_is_named_by_its_number_where_not_every_one_is_validated(figures):
    records = [{'epoch': e, 'accuracy': 0.5, 'loss': 1.0, 'val_top1': {2: 0.25, 5: 0.75, 8: 0.5}.get(e)}
               for e in range(9)]
    plot_run(records, 'history.png')
    accuracy, *_ = figures[0].axes
    assert labels_of(accuracy) == ['train', 'validation (best 75.0 after epoch 6)']
    star, = (line for line in accuracy.lines if line.get_marker() == '*')
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([6], [75.0])


def test_the_line_of_the_best_step_stands_at_the_last_of_the_records_that_were_best(figures):
    records = [{'step': step, 'loss': 1.0, 'val_top1': score, 'best': best} for step, score, best in (
        (10, 0.25, True), (20, 0.125, False), (30, 0.5, True), (40, 0.375, False))]
    plot_run_by_steps(records, 'history.png')
    scores = figures[0].axes[1]
    assert labels_of(scores) == ['top-1, evaluation', 'best, step 30']
    assert list(scores.lines[-1].get_xdata()) == [30, 30]
