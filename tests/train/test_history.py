import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gluon_action.errors import OutputError, UsageError
from gluon_action.train.run.history import history_plot
from gluon_action.train.run.history.history_plot import TrainingHistory, plot_run, plot_run_by_steps

pytestmark = pytest.mark.draws

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
    assert labels_of(accuracy) == ['train', 'validation (best 75.0 in epoch 5)']
    star, = (line for line in accuracy.lines if line.get_marker() == '*')
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([5], [75.0])


def test_of_equal_scores_the_star_stands_at_the_one_that_the_run_took(figures):
    records = [{'epoch': e, 'accuracy': 0.5, 'loss': 1.0, 'val_top1': 0.5, 'best': e in (0, 2)} for e in range(5)]
    plot_run(records, 'history.png')
    star, = (line for line in figures[0].axes[0].lines if line.get_marker() == '*')
    assert list(star.get_xdata()) == [2]


def test_an_epoch_has_the_number_of_the_log_and_its_rates_reach_to_the_next(figures):
    plot_run(RUN[:3], 'history.png', rates=[(0, 0.1), (1, 0.01), (2, 0.001), (3, 0.001)])
    accuracy, loss, rate = figures[0].axes
    assert list(accuracy.lines[0].get_xdata()) == list(loss.lines[0].get_xdata()) == [0, 1, 2]
    assert list(rate.lines[0].get_xdata()) == [0, 1, 2, 3] and rate.lines[0].get_drawstyle() == 'steps-post'
    assert {axes.get_xlabel() for axes in (accuracy, loss, rate)} == {'epoch, from 0'}


@pytest.mark.parametrize('losses, scale', [
    ((2., 1.9, 1.8, 1.7, 1.6, 1.5), 'linear'), ((3., 1., .5, .2, .1, .05, .02, .01), 'linear'),
    ((2., 64., 1.8, 1.7, 1.6, 1.5), 'log'), ((2., 64., 1.8, 0., 1.6, 1.5), 'symlog'), ((0., 0.), 'linear')])
def test_a_bad_epoch_does_not_flatten_the_losses_of_the_others(figures, losses, scale):
    plot_run([{'epoch': e, 'accuracy': 0.5, 'loss': loss} for e, loss in enumerate(losses)], 'history.png')
    plot_run_by_steps([{'step': 10 * e, 'loss': loss} for e, loss in enumerate(losses, 1)], 'history.png')
    for figure, place in zip(figures, (1, 0)):
        axes = figure.axes[place]
        assert axes.get_yscale() == scale and ('logarithmic axis, up to 64' in axes.get_title()) == (scale != 'linear')
        low, high = axes.get_ylim()
        assert low < min(losses) and high > max(losses)
        if scale == 'log':  # the height of what the other epochs have, as a share of the panel
            transform = axes.transData.transform
            ends = [transform((0, value))[1] for value in (1.5, 2., low, high)]
            assert (ends[1] - ends[0]) / (ends[3] - ends[2]) > 0.05


def test_a_loss_that_is_not_finite_is_left_out(figures):
    plot_run([{'epoch': e, 'accuracy': 0.5, 'loss': 1., 'val_loss': loss} for e, loss in enumerate(
        (1., float('inf'), float('nan'), 2.))], 'history.png')
    assert list(figures[0].axes[1].lines[1].get_xdata()) == [0, 3]


def test_best_five_of_few_classes_are_not_drawn(figures):
    plot_run(RUN, 'history.png', top5=False)
    assert 'validation, top-5' not in labels_of(figures[0].axes[0])


def test_a_plot_that_is_shown_is_there_for_savefig_and_the_gallery(tmp_path):
    import matplotlib.pyplot as plt
    plt.close('all')
    history = TrainingHistory(['a'])
    history.update([0.5])
    history.update([0.6])
    try:
        with warnings.catch_warnings(action='ignore'):  # Agg shows nothing
            history.plot(colors=['#ff0000'])
            plt.savefig(tmp_path / 'mine.png')
            history.plot(colors=['#0000ff'])
        assert colored(tmp_path / 'mine.png', (255, 0, 0)).any()
        assert len(plt.get_fignums()) == 1 and len(plt.gcf().axes) == 1
        assert [line.get_color() for line in plt.gca().lines] == ['#0000ff']
    finally:
        plt.close('all')


def test_the_line_of_the_best_step_stands_at_the_last_of_the_records_that_were_best(figures):
    records = [{'step': step, 'loss': 1.0, 'val_top1': score, 'best': best} for step, score, best in (
        (10, 0.25, True), (20, 0.125, False), (30, 0.5, True), (40, 0.375, False))]
    plot_run_by_steps(records, 'history.png')
    scores = figures[0].axes[1]
    assert labels_of(scores) == ['top-1, evaluation', 'best, step 30']
    assert list(scores.lines[-1].get_xdata()) == [30, 30]
