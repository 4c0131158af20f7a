"""Timings of models side by side: a table, JSON and a plot."""
from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluate.reports import write_figure
from ...files import to_json, write_file
from .processor import processor_name
from .timing import Subject, Timing

_COLUMNS = ('model', 'runtime', 'precision', 'input', 'M params', 'GMACs', 'MB', 'batch', 'ms median', 'ms p90',
            'per second')


def rows_of(subject: Subject, timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Return one record for each batch size, with what is known of the model in each."""
    return [{'model': subject.name, 'runtime': subject.runtime, 'precision': subject.precision,
             'input': [subject.rows, *subject.row], 'parameters': subject.cost.parameters, 'macs': subject.cost.macs,
             'bytes': subject.size, 'batch': timing.batch, 'runs': timing.runs, 'median_seconds': timing.median,
             'p90_seconds': timing.p90, 'per_second': timing.throughput} for timing in timings]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the records as a table; multiply-accumulates are those of one score."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_COLUMNS))]
    return '\n'.join('  '.join(f'{cell:<{width}}' if place < 4 else f'{cell:>{width}}'
                               for place, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in cells)


def write_json(rows: Sequence[dict[str, Any]], path: Path, threads: int) -> None:
    """Write the records and the machine that they were measured on.

    Raises
    ------
    OutputError
    """
    machine = {'processor': processor_name(), 'threads': threads, 'python': platform.python_version()}
    write_file(path, to_json({'machine': machine, 'rows': list(rows)}))


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw throughput over batch size, and latency of one score over multiply-accumulates, a colour for each model.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    models: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        models.setdefault(f'{row["model"]}, {row["runtime"]}, {row["precision"]}', []).append(row)
    for number, (name, own) in enumerate(models.items()):
        own = sorted(own, key=lambda row: row['batch'])
        marker = 'osD^vP*X'[number % 8]
        line, = left.plot([row['batch'] for row in own], [row['per_second'] for row in own], marker=marker, label=name)
        right.plot(own[0]['macs'] / 1e9, 1000 * own[0]['median_seconds'] / own[0]['batch'], marker, ms=9,
                   color=line.get_color())
    batches = sorted({row['batch'] for row in rows})
    left.set(xlabel='batch size', ylabel='scores a second', title='Throughput', xscale='log', yscale='log')
    left.set_xticks(batches, list(map(str, batches)))
    left.minorticks_off()
    right.set(xlabel='billions of multiply-accumulates a score', ylabel='milliseconds a score',
              title='Latency (smallest batch)', xscale='log', yscale='log')
    for axes in (left, right):
        axes.grid(alpha=0.3, which='both')
    figure.legend(*left.get_legend_handles_labels(), loc='outside lower center', ncols=min(2, len(models)),
                  fontsize='small')
    write_figure(figure, path, dpi=120)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (row['model'], row['runtime'], row['precision'], 'x'.join(map(str, row['input'])),
            f'{row["parameters"] / 1e6:.2f}', f'{row["macs"] / 1e9:.3f}', f'{row["bytes"] / 1e6:.1f}',
            str(row['batch']), f'{1000 * row["median_seconds"]:.1f}', f'{1000 * row["p90_seconds"]:.1f}',
            f'{row["per_second"]:.2f}')
