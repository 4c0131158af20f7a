"""A plot of the predictions of a model over the time of a video."""
from __future__ import annotations

import logging
import os
import textwrap
import warnings

import numpy as np

from ...errors import UsageError
from ...evaluate.reports import write_figure
from .overlay_panel import clock
from .predictor import Prediction

_log = logging.getLogger(__name__)

#: The overlay's, darker.
COLORS = ('#c77d00', '#1677b3', '#c0392b', '#3d8b37', '#7d3fb2', '#6b5b4b')

_KEY = '  (thick: rolling mean, thin: each window)'
_LONGEST_LABEL = 34  # characters a line


def plot_timeline(prediction: Prediction, path: str | os.PathLike, *, top_k: int = 5) -> None:
    """Draw the probabilities of the best classes over time into a PNG: of each window thin, the rolling mean thick.

    What could not be decoded is shaded.

    Parameters
    ----------
    prediction : Prediction
    path : path
    top_k : int
        Classes to draw, at most 6: those that are best for the whole video.

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
    names = dict(prediction.top(min(top_k, len(COLORS))))
    marker = 'o' if len(windows) < 40 else None
    for name, color in zip(names, COLORS):
        k = prediction.labels.index(name)
        axes.plot(middles, raw[:, k], color=color, linewidth=0.8, alpha=0.45, marker=marker, markersize=3)
        text = textwrap.fill(name, _LONGEST_LABEL, max_lines=3, placeholder=' …').replace('$', r'\$')
        label = f'{text} ({names[name]:.2f})'
        axes.plot(ends, rolling[:, k], color=color, linewidth=2.0, marker=marker, markersize=4, label=label)
    for number, gap in enumerate(prediction.skipped):
        axes.axvspan(gap.start, gap.end, color='0.8', linewidth=0, label=None if number else 'could not be decoded')
    end = max([ends[-1], 1e-3, *(gap.end for gap in prediction.skipped)])
    highest = max(raw[:, [prediction.labels.index(name) for name in names]].max(), 1e-6)
    _finish(axes, prediction, end, min(1.0, 1.15 * highest))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        write_figure(figure, path)
    if any('Glyph' in str(warning.message) for warning in told):  # matplotlib tells of each letter
        _log.warning('%s: the font has not all letters of the labels; boxes replace the others', path)


def import_matplotlib() -> None:
    """Raise `UsageError` with the cure where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"drawing a timeline needs matplotlib ({error}): pip install 'gluon_action[pictures]'"
                         ) from error


def _finish(axes, prediction: Prediction, end: float, top: float) -> None:
    """Axes, title and legend."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    axes.set_xlim(0, end)
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
    axes.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)


def _shown(text: str) -> str:
    """A text, shortened, with the signs escaped that Matplotlib takes for a formula."""
    return (text if len(text) <= 80 else f'{text[:39]}…{text[-40:]}').replace('$', r'\$')
