"""A plot of the predictions of a model over the time of a video."""
from __future__ import annotations

import os
import textwrap

import numpy as np

from ...errors import UsageError
from ...evaluate.reports import write_figure
from ...printable import drawable, printable
from ..predict.prediction import Prediction
from .overlay_panel import COLORS, ClassColors, clock

_KEY = '  (thick: rolling mean, thin: each window)'
_LONGEST_LABEL = 34  # characters a line


def plot_timeline(prediction: Prediction, path: str | os.PathLike, *, top_k: int = 5,
                  colors: ClassColors | None = None) -> None:
    """Draw the probabilities of the best classes over time into a PNG: of each window thin, the rolling mean thick.

    What could not be decoded is shaded.

    Parameters
    ----------
    prediction : Prediction
    path : path
    top_k : int
        Classes to draw, at most 6: those that are best for the whole video.
    colors : ClassColors, optional
        Of an overlay of the same video; by default those that it would have.

    Raises
    ------
    UsageError
        Where matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    import_matplotlib()
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 3.6), layout='constrained')
    axes = figure.subplots()
    windows = prediction.windows
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    ends = np.array([window.end for window in windows])
    raw, rolling = (np.stack([getattr(window, name) for window in windows]) for name in ('probabilities', 'rolling'))
    if colors is None:
        colors = ClassColors()
        for window in windows:
            colors.take(window.rolling)
    best = prediction.best(min(top_k, len(COLORS)))
    marker = 'o' if len(windows) < 40 else None
    labels = []
    for k, color in zip(best, colors.of(best)):
        axes.plot(middles, raw[:, k], color=color, linewidth=0.8, alpha=0.45, marker=marker, markersize=3)
        axes.plot(ends, rolling[:, k], color=color, linewidth=2.0, marker=marker, markersize=4, label=f'class {k}')
        name = textwrap.fill(printable(prediction.labels[k]), _LONGEST_LABEL, max_lines=3, placeholder=' …')
        labels.append(f'{name} ({prediction.probabilities[k]:.2f})'.replace('$', r'\$'))
    for number, gap in enumerate(prediction.skipped):
        axes.axvspan(gap.start, gap.end, color='0.8', linewidth=0, label=None if number else 'could not be decoded')
    end = max([ends[-1], 1e-3, *(gap.end for gap in prediction.skipped)])
    highest = max(raw[:, best].max(), 1e-6)
    _finish(axes, prediction, end, min(1.0, 1.15 * highest))
    legend = axes.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    for text, label in zip(legend.get_texts(), labels):  # set here, since Matplotlib leaves out _names
        text.set_text(label)
    write_figure(figure, path)


def import_matplotlib() -> None:
    """Raise `UsageError` with the cure where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"drawing a timeline needs matplotlib ({error}): pip install 'gluon_action[pictures]'"
                         ) from error


def _finish(axes, prediction: Prediction, end: float, top: float) -> None:
    """Axes and title."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    axes.set_xlim(prediction.part[0] if prediction.part else 0, end)
    axes.set_ylim(0, top)
    axes.set_ylabel('probability')
    if end >= 10:
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=[1, 1.5, 2, 3, 6, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
        axes.set_xlabel(f'time{_KEY}')
    else:
        axes.set_xlabel(f'time, s{_KEY}')
    axes.grid(axis='y', color='0.9', linewidth=0.6)
    axes.spines[['top', 'right']].set_visible(False)
    source = os.path.basename(prediction.source.rstrip('/')) or prediction.source
    vote = 'mean' if prediction.protocol['vote'] == 'mean' else 'share'
    axes.set_title(f'{_shown(source)}\n{_shown(prediction.label)} ({vote} {prediction.score:.2f} of '
                   f'{prediction.protocol["windows"]} windows)', fontsize=10, loc='left')


def _shown(text: str) -> str:
    """A text, shortened, as Matplotlib draws it."""
    text = printable(text)
    return drawable(text if len(text) <= 80 else f'{text[:39]}…{text[-40:]}')
