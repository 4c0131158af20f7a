"""Write the report of a test: result JSON with its protocol, plots, scores and failures."""
from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import OutputError, UsageError
from ..files import check_folder_takes_files, open_file, parse_json, to_json, write_file
from ..printable import drawable, printable
from .scores.files import SCORES
from .scores.metrics import ClassificationMeter

_log = logging.getLogger(__name__)

RESULTS = 'results.json'
_NAMES = {'results': RESULTS, 'scores': SCORES, 'failures': 'failures.jsonl',
          'per_class': 'per_class_accuracy.png', 'confusion': 'confusion_matrix.png',
          'confusions_json': 'top_confusions.json', 'confusions': 'top_confusions.txt'}
#: All names of the files of a report.
FILES = (*_NAMES.values(), 'report.html')
_LONGEST_NAME = 30  # characters of a class name in a plot; Something-Something's are whole sentences
_MOST_LABELS = 130  # classes that get a label each on the axes of the confusion matrix


def open_report(directory: str | os.PathLike, overwrite: bool = False) -> Path:
    """Make the folder of a report, before the work whose result it will hold.

    Raises
    ------
    UsageError
        When it holds a file that the report would replace, and `overwrite` is False.
    OutputError
        When it cannot be made or written to.
    """
    directory = Path(directory).expanduser()
    there = next((directory / name for name in _NAMES.values() if (directory / name).exists()), None)
    if there is not None and not overwrite:
        raise UsageError(f'{there} exists; pass --overwrite to replace the report, or another --save-dir')
    try:
        check_folder_takes_files(directory)
    except OSError as error:
        raise OutputError(f'--save-dir {directory}: cannot be written to: {error.strerror or error}') from error
    return directory


def list_of(directory: Path) -> str | None:
    """Return the list that the results in a folder are of, '' where they do not say; None where there are none."""
    path = directory / RESULTS
    if not path.exists():
        return None
    try:
        with open_file(path) as file:
            found = parse_json(file.read())['protocol']['list']
    except (OSError, ValueError, LookupError, TypeError):
        return ''
    return found if isinstance(found, str) else ''


def write_report(directory: str | os.PathLike, result: dict, *, keys: Sequence[str], labels: np.ndarray,
                 scores: np.ndarray, scored: np.ndarray, failures: Sequence[dict], classes: Sequence[str],
                 meter: ClassificationMeter | None) -> dict[str, Path]:
    """Write all files of a report: numbers first, ``results.json`` the last of them, then the pictures.

    So ``results.json`` marks a report whose numbers are complete. A picture that cannot be drawn is a warning.

    Parameters
    ----------
    result : dict
        Content of ``results.json``; NaN becomes null.
    keys : sequence of str
        Videos as the list names them (N).
    labels : int ndarray (N,) or (N, K)
        True classes; 0 or 1 by class for multi-label.
    scores : float32 ndarray (N, K)
        NaN where `scored` (N,) is False.
    failures : sequence of dict
        One a line of ``failures.jsonl``.
    classes : sequence of str
        Names (K).
    meter : ClassificationMeter, optional
        Draws the plots and the confusions; None for multi-label.

    Returns
    -------
    dict of str to Path
        The files by what they hold.

    Raises
    ------
    OutputError
        When one with numbers cannot be written; there is no ``results.json`` then.
    """
    files = {kind: Path(directory) / name for kind, name in _NAMES.items()}
    for path in files.values():  # results.json first: until all numbers of the new report are there, there is none
        path.unlink(missing_ok=True)
    write_scores(files['scores'], keys, labels, scores, scored, classes)
    write_file(files['failures'], ''.join(to_json(failure, indent=None) for failure in failures))
    if meter is not None:
        write_file(files['confusions_json'], to_json(confusion_rows(meter, classes)))
        write_file(files['confusions'], confusion_text(meter, classes))
    write_file(files['results'], to_json(result))
    for kind, plot in (('per_class', plot_per_class), ('confusion', plot_confusion)) if meter is not None else ():
        try:
            plot(meter, classes, files[kind])
        except Exception as error:  # of fonts, of sizes, of a disk: nothing of it is worth the numbers
            _log.warning('%s: cannot be drawn (%s: %s); the numbers are in %s', files[kind], type(error).__name__,
                         error, files['results'])
    return {kind: path for kind, path in files.items() if path.exists()}


def label_table(labels: Sequence[int | tuple[int, ...]], num_classes: int) -> np.ndarray:
    """Return true classes int64 (N,), or (N, K) of 0 and 1 where a video may have several."""
    if not any(isinstance(label, tuple) for label in labels):
        return np.asarray(labels, np.int64)
    table = np.zeros((len(labels), num_classes), np.int64)
    for row, classes in zip(table, labels):
        row[list(classes)] = 1
    return table


def write_scores(path: Path, keys: Sequence[str], labels: np.ndarray, scores: np.ndarray, scored: np.ndarray,
                 classes: Sequence[str]) -> None:
    """Write scores keyed by video, loadable with ``numpy.load(path)``: no pickle in it."""
    data = io.BytesIO()
    np.savez_compressed(data, keys=np.array(keys, dtype=str), labels=np.asarray(labels, np.int64),
                        scores=np.asarray(scores, np.float32), scored=np.asarray(scored, bool),
                        classes=np.array(classes, dtype=str))
    write_file(path, data.getvalue())


def confusion_rows(meter: ClassificationMeter, classes: Sequence[str], limit: int = 50) -> list[dict]:
    """List the most frequent confusions with class names."""
    return [{'true': classes[c.true], 'predicted': classes[c.predicted], 'count': c.count, 'share': round(c.share, 4)}
            for c in meter.top_confusions(limit)]


def confusion_text(meter: ClassificationMeter, classes: Sequence[str], limit: int = 50) -> str:
    """Put the most frequent confusions into a table for reading."""
    rows = confusion_rows(meter, [printable(name) for name in classes], limit)
    if not rows:
        return 'no scored video was taken for another class\n'
    width = max(len(row['true']) for row in rows)
    lines = [f'{row["count"]:5d}  {row["share"]:6.1%}  {row["true"]:<{width}}  taken for  {row["predicted"]}'
             for row in rows]
    return '\n'.join(['videos   share  (of the videos of the true class)', *lines]) + '\n'


def plot_per_class(meter: ClassificationMeter, classes: Sequence[str], path: Path) -> None:
    """Draw the top-1 accuracy of every class as a bar, best on top."""
    accuracy, expected = meter.per_class(), meter.expected
    present = np.flatnonzero(expected)
    order = present[np.lexsort((present, -accuracy[present]))]
    figure, axes = _figure(width=8., height=max(1.6, 1.1 + 0.19 * len(order)))
    places = np.arange(len(order))
    axes.barh(places, 100 * accuracy[order], height=0.78, color='tab:blue')
    for place, k in zip(places, order):
        axes.text(101, place, f'{meter.hits[1][k]}/{expected[k]}', va='center', fontsize=7, color='0.3')
    mean = 100 * meter.mean_class()
    axes.axvline(mean, color='tab:orange', linewidth=1.2)
    axes.set_yticks(places, [_short(classes[k]) for k in order], fontsize=7.5)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 110)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel('top-1 accuracy, %')
    axes.set_title(f'{meter.n_expected} videos, top-1 {meter.top(1):.1%}, mean of the classes {mean:.1f}% (line)',
                   fontsize=10)
    axes.spines[['top', 'right']].set_visible(False)
    write_figure(figure, path)


def plot_confusion(meter: ClassificationMeter, classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix, rows normalised to the true class; failed videos are a last column.

    Classes without a video that no video was taken for are left out.
    """
    from matplotlib.colors import PowerNorm
    there = np.flatnonzero((meter.expected > 0) | (meter.confusion.sum(axis=0) > 0))
    counts, expected = meter.confusion[np.ix_(there, there)], meter.expected[there]
    missing = expected - counts.sum(axis=1)
    names = [_short(classes[k]) for k in there]
    columns = [*names, '(not scored)'] if missing.any() else names
    if missing.any():
        counts = np.hstack([counts, missing[:, None]])
    shares = 100 * counts / np.maximum(expected, 1)[:, None]
    num_classes = len(there)
    cell = 0.55 if num_classes <= 20 else 0.16 if num_classes <= _MOST_LABELS else 0.045
    side = max(2., cell * num_classes)
    figure, axes = _figure(width=side + 3.2, height=side + 2.4)
    # A root scale: a class lost to ten others by 5 % each would be invisible beside a diagonal of 100 %.
    image = axes.imshow(np.ma.masked_equal(shares, 0), cmap='Blues', norm=PowerNorm(0.5, 0, 100),
                        interpolation='nearest', aspect='equal')
    if num_classes <= 20:
        for i, j in zip(*np.nonzero(counts)):
            axes.text(j, i, counts[i, j], ha='center', va='center', fontsize=8,
                      color='white' if shares[i, j] > 35 else 'black')
    step = 1 if num_classes <= _MOST_LABELS else math.ceil(num_classes / 60)
    font = 8 if num_classes <= 20 else 6
    axes.set_xticks(range(0, len(columns), step), columns[::step], rotation=90, fontsize=font)
    axes.set_yticks(range(0, num_classes, step), names[::step], fontsize=font)
    if 20 < num_classes <= _MOST_LABELS:
        axes.set_xticks(np.arange(-0.5, len(columns)), minor=True)
        axes.set_yticks(np.arange(-0.5, num_classes), minor=True)
        axes.grid(which='minor', color='0.93', linewidth=0.4)
        axes.tick_params(which='minor', length=0)
    axes.set_xlabel('predicted class')
    axes.set_ylabel('true class')
    some = '' if num_classes == meter.num_classes else f'\n{num_classes} of {meter.num_classes} classes occur'
    axes.set_title(f'{meter.n_expected} videos, top-1 {meter.top(1):.1%}{some}', fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=min(0.6, 4 / side), pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.set_label("% of the true class's videos", fontsize=8)
    write_figure(figure, path)


def write_figure(figure, path: str | os.PathLike, *, dpi: int = 110) -> None:
    """Write a figure of matplotlib to a file atomically; its ending is the format, PNG where it has none.

    Raises
    ------
    OutputError
    """
    path = Path(path).expanduser()
    data = io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        figure.savefig(data, format=path.suffix.lstrip('.').lower() or 'png', dpi=dpi)
    if any('Glyph' in str(warning.message) for warning in told):  # matplotlib tells of each letter
        _log.warning('%s: the font has not all letters of the names in it; boxes replace the others', path)
    write_file(path, data.getvalue())


def _short(name: str) -> str:
    name = printable(name)
    return drawable(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME - 1] + '…')


def _figure(width: float, height: float):
    # A figure of its own, not pyplot's: nothing is shared with plots of the caller, no display is needed.
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout='constrained')
    return figure, figure.subplots()
