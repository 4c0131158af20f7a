"""How a run went, as pictures: one curve plot in GluonCV's manner, and a whole run in three panels."""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence

from ....errors import UsageError
from ....evaluate.reports import write_figure

# Colour-blind safe (Okabe and Ito); training is blue and validation vermilion in every panel.
_TRAIN, _VALIDATION, _TOP5, _RATE = '#0072B2', '#D55E00', '#E69F00', '#009E73'
# Losses so many times those of most epochs would make a flat line of these.
_FAR = 10


class TrainingHistory:
    """Scores by epoch, and their plot. GluonCV's class of this name, drawn on a figure of its own.

    Parameters
    ----------
    labels : list of str
        Names of the scores that each epoch brings.

    Attributes
    ----------
    history : dict of str to list of float
        Values by label.
    epochs : int
        Updates so far.
    """

    def __init__(self, labels: Sequence[str]):
        self.labels = list(labels)
        self.l = len(self.labels)  # the name it has in GluonCV
        self.history = {label: [] for label in self.labels}
        self.epochs = 0
        self._shown: int | None = None

    def update(self, values: Sequence[float]) -> None:
        """Append one epoch: a value for each label.

        Raises
        ------
        UsageError
            For another number of values than labels.
        """
        if len(values) != self.l:
            raise UsageError(f'TrainingHistory tracks {self.labels}, got {len(values)} values; pass one per label')
        for label, value in zip(self.labels, values):
            self.history[label].append(value)
        self.epochs += 1

    def plot(self, labels: Sequence[str] | None = None, colors: Sequence[str] | None = None,
             y_lim: tuple[float, float] | None = (0, 1), save_path: str | os.PathLike | None = None,
             legend_loc: str = 'upper right') -> None:
        """Draw the curves.

        A plot that is shown stays pyplot's current figure, so that ``savefig`` and notebooks find it, until this
        history is plotted again; one that is written to a file is closed.

        Parameters
        ----------
        labels : sequence of str, optional
            Scores to draw; all by default.
        colors : sequence of str, optional
            Matplotlib colours, one for each label.
        y_lim : tuple of float, optional
            Range of the value axis. None fits it to the values.
        save_path : path, optional
            Image file; without it the plot is shown on screen.
        legend_loc : str
            Matplotlib's place of the legend.

        Raises
        ------
        UsageError
            For an unknown label or another number of colours than labels.
        OutputError
            When the file cannot be written.
        """
        import matplotlib.pyplot as plt
        labels = self.labels if labels is None else list(labels)
        unknown = [label for label in labels if label not in self.history]
        if unknown:
            raise UsageError(f'TrainingHistory tracks {self.labels}, cannot plot {unknown}')
        colors = [f'C{i}' for i in range(len(labels))] if colors is None else list(colors)
        if len(colors) != len(labels):
            raise UsageError(f'{len(labels)} labels need as many colors, got {len(colors)}')
        again = save_path is None and self._shown is not None and plt.fignum_exists(self._shown)
        figure, axes = plt.subplots(num=self._shown, clear=True) if again else plt.subplots()
        for label, color in zip(labels, colors):
            axes.plot(range(self.epochs), self.history[label], color=color, label=label, marker=_marker(self.epochs))
        if y_lim is not None:
            axes.set_ylim(y_lim)
        axes.set_xlabel('epoch')
        axes.legend(loc=legend_loc)
        if save_path is None:
            self._shown = figure.number
            plt.show()
            return
        try:
            write_figure(figure, save_path, dpi=100)
        finally:
            plt.close(figure)


def plot_run(epochs: Iterable[Mapping], save_path: str | os.PathLike, *, rates: Sequence[tuple[float, float]] = (),
             title: str = '', top5: bool = True) -> None:
    """Draw a whole run in three panels: accuracy, loss and learning rate by epoch.

    Epochs have the numbers that they have in the log, from 0: what was scored after epoch 2 stands at 2, and the rates
    that it was trained with reach from there to 3. The axis of losses is logarithmic where a few values would flatten
    all the others, and says so.

    Parameters
    ----------
    epochs : iterable of mapping
        One for each epoch, with ``epoch`` (from 0), ``accuracy`` and ``loss`` of training, and, where it was
        validated, ``val_top1``, ``val_top5`` and ``val_loss``; ``val_map`` where videos have several labels, which is
        their score then. Accuracies are in 0..1.
    save_path : path
        PNG file, replaced whole or not at all.
    rates : sequence of (float, float)
        Epoch, with fraction, and learning rate from there on. Without it the ``lr`` of each epoch is drawn.
    title : str
        Line above the panels.
    top5 : bool
        Whether to draw ``val_top5``, which says nothing of five classes or fewer.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    epochs = list(epochs)
    figure, (accuracy, loss, rate) = _three_panels(title)
    _curve(accuracy, epochs, 'accuracy', 'train', _TRAIN, scale=100)
    if top5:
        _curve(accuracy, epochs, 'val_top5', 'validation, top-5', _TOP5, scale=100, linestyle=':')
    labels = any(record.get('val_map') is not None for record in epochs)
    _curve(accuracy, epochs, 'val_top1', 'validation, top-1' if labels else 'validation', _RATE if labels else
           _VALIDATION, scale=100, best=not labels)
    _curve(accuracy, epochs, 'val_map', 'validation, mAP', _VALIDATION, scale=100, best=True)
    _curve(loss, epochs, 'loss', 'train', _TRAIN)
    _curve(loss, epochs, 'val_loss', 'validation', _VALIDATION)
    marker = None if rates else 'o'
    rates = list(rates) or [(record['epoch'], record['lr']) for record in epochs if record.get('lr') is not None]
    rate.plot([place for place, _ in rates], [value for _, value in rates], color=_RATE, linewidth=2,
              marker=marker, drawstyle='default' if marker else 'steps-post')
    accuracy.set(title='accuracy', ylabel='%' if labels else 'top-1, %', ylim=(0, 104))
    _fit_losses(loss, 'loss')
    _fit_values(rate, 'learning rate')
    rate.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3))
    last = max([record['epoch'] for record in epochs] + [place for place, _ in rates] + [1])
    for axes in (accuracy, loss, rate):
        axes.set(xlabel='epoch, from 0', xlim=(-0.03 * last, 1.03 * last))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes is not rate and axes.lines:
            axes.legend(loc='best', framealpha=0.8)
    write_figure(figure, save_path, dpi=100)


def plot_run_by_steps(history: Sequence[Mapping], path: str | os.PathLike, *, title: str = '') -> None:
    """Draw a run in three panels by step: loss, scores and learning rate.

    Parameters
    ----------
    history : sequence of mapping
        The records of the stretches, see `gluon_action.train.run.by_steps.StepsStyle`.
    path : path
        PNG file, replaced whole or not at all.
    title : str
        Line above the panels.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    figure, (loss, scores, rate) = _three_panels(title)
    _curve_by_steps(loss, history, 'loss', 'train', _TRAIN)
    _curve_by_steps(loss, history, 'val_loss', 'evaluation', _VALIDATION)
    _fit_losses(loss, 'loss, without regularisation')
    _curve_by_steps(scores, history, 'train_auc', 'AUC, train', _TRAIN, linestyle=':')
    _curve_by_steps(scores, history, 'val_auc', 'AUC, evaluation', _VALIDATION)
    _curve_by_steps(scores, history, 'val_map', 'mAP, evaluation', _TOP5)
    _curve_by_steps(scores, history, 'train_gap', 'GAP, train', _TRAIN)
    _curve_by_steps(scores, history, 'train_hit_at_1', 'Hit@1, train', _TOP5)
    _curve_by_steps(scores, history, 'val_top1', 'top-1, evaluation', _RATE)
    for record in [record for record in history if record.get('best')][-1:]:
        scores.axvline(record['step'], color='0.6', linestyle='--', linewidth=1, label=f'best, step {record["step"]}')
    scores.set(title='scores', ylim=(-0.02, 1.04))
    _curve_by_steps(rate, history, 'lr', 'learning rate', _RATE)
    rate.set(title='learning rate', ylim=(0, None))
    for axes in (loss, scores, rate):
        axes.set(xlabel='step', xlim=(0, 1.03 * max([record['step'] for record in history] + [1])))
        axes.grid(alpha=0.3)
        if axes is not rate and axes.lines:
            axes.legend(loc='best', framealpha=0.8)
    write_figure(figure, path, dpi=100)


def _curve(axes, epochs, key, label, color, *, scale=1, linestyle='-', best=False):
    records = [record for record in epochs if record.get(key) is not None and math.isfinite(record[key])]
    if not records:
        return
    xs, ys = [record['epoch'] for record in records], [record[key] * scale for record in records]
    if best:
        # As the run decided; a history that does not say so has the best where the score is highest.
        top = max(range(len(ys)), key=lambda place: (ys[place], bool(records[place].get('best')), place))
        label = f'{label} (best {ys[top]:.1f} in epoch {xs[top]})'
        axes.plot(xs[top], ys[top], marker='*', markersize=13, color=color, zorder=3, clip_on=False)
    axes.plot(xs, ys, color=color, label=label, linewidth=2, linestyle=linestyle, marker=_marker(len(xs)), markersize=4)


def _fit_values(axes, name: str) -> None:
    top = max(_values(axes) + [1e-12])
    axes.set(title=name, ylim=(-0.02 * top, 1.06 * top))  # from just below 0, so that a curve at 0 is seen


def _fit_losses(axes, name: str) -> None:
    """Let an axis show all losses: a logarithmic one where the highest fifth is far above the rest."""
    values = sorted(_values(axes))
    if not values or values[-1] <= _FAR * max(values[int(0.8 * (len(values) - 1))], 0):
        _fit_values(axes, name)
        return
    low, high = min(value for value in values if value > 0), values[-1]
    if values[0] > 0:
        axes.set_yscale('log')
    else:
        axes.set_yscale('symlog', linthresh=low)
    axes.set(title=f'{name}: logarithmic axis, up to {high:.3g}', ylim=(low / 1.5 if values[0] > 0 else -0.1 * low,
                                                                      1.5 * high))


def _values(axes) -> list[float]:
    return [float(value) for line in axes.lines for value in line.get_ydata() if math.isfinite(value)]


def _three_panels(title: str):
    # Figure without pyplot: no display, no global state, safe in threads. It is drawn after every epoch, and margins
    # that matplotlib finds by itself double the time that takes.
    from matplotlib.figure import Figure
    figure = Figure(figsize=(15, 4.4))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.12, top=0.86, wspace=0.18)
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(1, 3)


def _curve_by_steps(axes, history, key, label, color, linestyle='-') -> None:
    points = [(record['step'], record[key]) for record in history
              if record.get(key) is not None and math.isfinite(record[key])]
    if points:
        axes.plot(*zip(*points), color=color, label=label, linewidth=2, linestyle=linestyle,
                  marker=_marker(len(points)), markersize=4)


def _marker(num_points: int) -> str | None:
    # A curve of one point would be invisible without one; many would hide the curve.
    return 'o' if num_points <= 30 else None
