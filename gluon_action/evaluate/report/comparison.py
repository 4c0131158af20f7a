"""Several runs side by side: what differs in them, how they score, and whether that could be chance."""
from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from ...files import write_file
from ...printable import printable
from ..scores.files import ScoreFile, match_videos
from ..scores.metrics import multi_label_scores, tells_top5
from ..scores.significance import map_interval, mcnemar, wilson_interval
from .charts import Curve, line_chart, number, points
from .html import render
from .run_files import RunFiles, read_run
from .videos import video_results

#: Where runs differ without being other ones.
_OF_NO_MATTER = frozenset({'save_dir', 'logging_file', 'overwrite', 'resume', 'report', 'log_interval', 'from_recipe'})
#: Options whose files are the same one where their hashes are, wherever it lies.
_LISTS = {'val_list': 'validation list (SHA-256)', 'train_list': 'training list (SHA-256)'}
_SIGNIFICANT = 0.05
_LONGEST = 60
_COLORS = 8


@dataclass(frozen=True)
class Comparison:
    """What several runs have in common, and what not.

    Attributes
    ----------
    names : list of str
        What the runs are called (R).
    runs : list of RunFiles
    differing : list of (str, list of str)
        Options and facts that are not the same in all runs, with the value of each.
    scores : list of dict
        Of each run, over the videos that are compared: ``top1`` with ``low`` and ``high`` (95 %), ``top5`` from 6
        classes on, ``mean_class``, ``right``, ``videos``, ``scored``; of several labels ``mean_average_precision``
        with ``map_low`` and ``map_high``. Empty for a run
        without scores by video, of which ``reported`` is what it reported itself.
    pairs : list of dict
        Of each two runs with scores: ``first``, ``second``, how many videos ``both``, ``only_first``, ``only_second``
        and ``neither`` have right, and ``p``, see `mcnemar`.
    videos, of : int
        Videos that are compared, and how many the runs have in all.
    troubles : list of str
        What could not be read, a sentence each.
    """

    names: list[str]
    runs: list[RunFiles]
    differing: list[tuple[str, list[str]]]
    scores: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    videos: int
    of: int
    troubles: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {'runs': [{'name': name, 'folder': str(run.folder), **scores}
                         for name, run, scores in zip(self.names, self.runs, self.scores)],
                'videos': self.videos, 'videos_of_all': self.of, 'differing': dict(self.differing),
                'pairs': self.pairs, 'troubles': self.troubles}

    def table(self) -> str:
        """Return it as text."""
        names = [printable(name) for name in self.names]
        rows = [['', *names]]
        rows += [[label, *cells] for label, cells in self.score_rows()]
        lines = _aligned(rows)
        if self.videos < self.of:
            lines.append(f'over the {self.videos} videos that all have; there are {self.of} in all')
        lines += ['', *map(self.said, self.pairs)] if self.pairs else []
        if self.differing:
            lines += ['', 'what differs:', *_aligned([[name, *map(_cut, values)] for name, values in self.differing])]
        else:
            lines += ['', 'their options do not differ']
        return '\n'.join(printable(line) for line in [*lines, *self.troubles])

    def score_rows(self) -> list[tuple[str, list[str]]]:
        """Scores as texts, a row each."""
        rows = [('top-1, %', [_share(row.get('top1', row.get('reported'))) for row in self.scores]),
                ('  95 % interval', [_interval(row, 'low', 'high') for row in self.scores])]
        for key, label in (('top5', 'top-5, %'), ('mean_class', 'mean of the classes, %'),
                           ('mean_average_precision', 'mAP, %')):
            if any(key in row for row in self.scores):
                rows.append((label, [_share(row.get(key)) for row in self.scores]))
        if any('map_low' in row for row in self.scores):
            rows.append(('  95 % interval', [_interval(row, 'map_low', 'map_high') for row in self.scores]))
        rows.append(('videos scored', [f'{row["scored"]}/{row["videos"]}' if 'videos' in row else ''
                                       for row in self.scores]))
        return rows

    def said(self, pair: dict[str, Any]) -> str:
        """Say in a sentence what two runs have to do with each other."""
        first, second = self.names[pair['first']], self.names[pair['second']]
        sure = pair['p'] < _SIGNIFICANT
        better = first if pair['only_first'] > pair['only_second'] else second
        return (f'{first} and {second}: {pair["only_first"]} videos only the first has right, {pair["only_second"]} '
                f'only the second; p = {pair["p"]:.2g} (McNemar): '
                + (f'{better} is better' if sure else 'these videos show no difference'))


def compare_runs(folders: Sequence[str | os.PathLike], shared: bool = False) -> Comparison:
    """Compare trainings and tests.

    Parameters
    ----------
    folders : sequence of path
        Two or more.
    shared : bool
        Compare runs on different lists too, over the videos that all of them have.

    Raises
    ------
    UsageError
        When one is no run; when their lists differ and `shared` is False, or they have no video in common; when their
        classes or labels differ.
    """
    if len(folders) < 2:
        raise UsageError(f'a comparison needs two runs or more, got {len(folders)}')
    runs = [read_run(folder) for folder in folders]
    places = [run.folder.resolve() for run in runs]
    if len(set(places)) < len(places):
        raise UsageError(f'{next(place for place in places if places.count(place) > 1)} is given twice')
    names = names_of([run.folder for run in runs])
    troubles = [f'{name}: {trouble}' for name, run in zip(names, runs) for trouble in run.troubles]
    with_scores = [place for place, run in enumerate(runs) if run.scores is not None and run.scores.scores.size]
    troubles += [f'{names[place]}: has no scores by video, so it is compared by what it says itself'
                 for place in range(len(runs)) if place not in with_scores]
    files = [runs[place].scores for place in with_scores]
    _check_lists([runs[place] for place in with_scores], [names[place] for place in with_scores], shared)
    scores: list[dict[str, Any]] = [{'reported': _reported(run)} for run in runs]
    pairs, count, total = [], 0, 0
    if files:
        keys = _common(files)
        count, total = len(keys), len({key for file in files for key in file.keys})
        rights = []
        if len(files) > 1:
            match_videos(files)  # refuses other classes and other labels
        for place, file in zip(with_scores, files):
            row, right = _scored(_restricted(file, keys))
            scores[place] = row
            rights.append(right)
        pairs = [_pair(with_scores[a], with_scores[b], rights[a], rights[b])
                 for a, b in itertools.combinations(range(len(files)), 2)]
    return Comparison(names, runs, _differing(runs), scores, pairs, count, total, troubles)


def write_comparison(comparison: Comparison, path: str | os.PathLike) -> Path:
    """Write a comparison as a page.

    Raises
    ------
    UsageError
        When Jinja is not installed.
    OutputError
        When the page cannot be written.
    """
    path = Path(path).expanduser()
    colors = [f'c{place % _COLORS}' for place in range(len(comparison.names))]
    title = ' against '.join(comparison.names) if len(comparison.names) < 4 else f'{len(comparison.names)} runs'
    write_file(path, render('comparison.html', {
        'title': title, 'subtitle': ', '.join(str(run.folder.resolve()) for run in comparison.runs), 'folder': '',
        'writing': '', 'troubles': comparison.troubles, 'names': comparison.names, 'colors': colors,
        'rows': comparison.score_rows(), 'scores': comparison.scores, 'videos': comparison.videos,
        'of': comparison.of, 'pairs': [{**pair, 'said': comparison.said(pair)} for pair in comparison.pairs],
        'differing': comparison.differing, 'charts': _curves(comparison, colors)}), durable=False)
    return path


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _check_lists(runs: Sequence[RunFiles], names: Sequence[str], shared: bool) -> None:
    """Refuse runs that were scored on other videos, unless that is asked for."""
    if shared or len(runs) < 2:
        return
    for name, run in zip(names[1:], runs[1:]):
        first, other = set(runs[0].scores.keys), set(run.scores.keys)
        if first != other:
            raise UsageError(
                f'{names[0]} and {name} were scored on different lists: {len(first)} and {len(other)} videos, '
                + (f'{len(first & other)} of them in both; --shared compares over these alone' if first & other else
                   'none of them in both; test both on the same list: gluon-action test RUN LIST'))


def _common(files: Sequence[ScoreFile]) -> list[str]:
    """Videos that are in all files, in the order of the first."""
    there = set.intersection(*(set(file.keys) for file in files))
    return [key for key in dict.fromkeys(files[0].keys) if key in there]


def _restricted(file: ScoreFile, keys: Sequence[str]) -> ScoreFile:
    rows = {key: row for row, key in enumerate(file.keys)}
    chosen = [rows[key] for key in keys]
    return ScoreFile(file.name, file.path, list(keys), file.labels[chosen], file.scores[chosen], file.scored[chosen],
                     file.classes, file.kind, file.protocol)


def _scored(file: ScoreFile) -> tuple[dict[str, Any], np.ndarray]:
    """Scores of a run, and which videos it has right."""
    found = video_results(file)
    right, total = int(found.right.sum()), len(file.keys)
    low, high = wilson_interval(right, total)
    row = {'top1': right / total if total else None, 'low': low, 'high': high, 'right': right, 'videos': total,
           'scored': int(found.file.scored.sum())}
    if found.multi_label:
        row['mean_average_precision'] = multi_label_scores(file.scores, file.labels).mean_average_precision
        row['map_low'], row['map_high'] = map_interval(file.scores, file.labels)
    elif found.meter is not None:
        row['mean_class'] = found.meter.mean_class()
        row |= {'top5': found.meter.top(5)} if tells_top5(len(file.classes)) else {}
    return row, found.right


def _pair(first: int, second: int, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    return {'first': first, 'second': second, 'both': int((a & b).sum()), 'only_first': only_first,
            'only_second': only_second, 'neither': int((~a & ~b).sum()), 'p': mcnemar(only_first, only_second)}


def _reported(run: RunFiles) -> float | None:
    found = run.results or {name.removeprefix('val_'): value for name, value in (run.best or {}).items()}
    return next((value for name in ('top1', 'mean_average_precision', 'map')
                 if (value := number(found.get(name))) is not None), None)


def _differing(runs: Sequence[RunFiles]) -> list[tuple[str, list[str]]]:
    """What is said of the runs, where they do not say the same."""
    told = []
    for run in runs:
        weights = run.protocol.get('weights')
        facts = {**run.config, 'validation list (SHA-256)': _short(run.protocol.get('list_sha256')),
                 'training list (SHA-256)': _short(run.protocol.get('training_list_sha256')),
                 'weights (SHA-256)': _short(weights.get('sha256') if isinstance(weights, dict) else None),
                 'epochs done': len(run.epochs) or None}
        told.append({name: value for name, value in facts.items() if name not in _OF_NO_MATTER})
    # A training has options that a test has not, and the other way round: these do not tell them apart.
    alike = len({run.is_test for run in runs}) == 1
    names = dict.fromkeys(name for facts in told for name in facts
                          if (alike or all(other.get(name) is not None for other in told))
                          and not (name in _LISTS and _are_one([facts[_LISTS[name]] for facts in told])))
    rows = [(str(name), [_said(facts[name]) if name in facts else '' for facts in told]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _curves(comparison: Comparison, colors: Sequence[str]) -> list[dict[str, Any]]:
    """Validation scores and training losses of all runs over each other."""
    def chart(title: str, key: str, scale: float, **more) -> dict[str, Any] | None:
        lines = [Curve(name, color, points(run.epochs, 'epoch', key, scale))
                 for name, color, run in zip(comparison.names, colors, comparison.runs)]
        return line_chart(title, lines, x_label='epoch, from 0', **more)

    several = any('val_map' in record for run in comparison.runs for record in run.epochs)
    charts = [chart('Validation, mAP, %' if several else 'Validation, top-1, %', 'val_map' if several else 'val_top1',
                    100., limits=(0., 100.)),
              chart('Validation loss', 'val_loss', 1., robust=True), chart('Training loss', 'loss', 1., robust=True)]
    return [found for found in charts if found]


def _short(digest: Any) -> str | None:
    return digest[:12] if isinstance(digest, str) else None


def _are_one(hashes: Sequence[str | None]) -> bool:
    return None not in hashes and len(set(hashes)) == 1


def _said(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # 0.0 by a recipe and 0 by a flag are one value
        value = int(value)
    return '' if value is None else str(value)


def _interval(row: dict[str, Any], low: str, high: str) -> str:
    there = low in row and not math.isnan(row[low])
    return f'{100 * row[low]:.1f} to {100 * row[high]:.1f}' if there else ''


def _share(value: float | None) -> str:
    return '' if value is None else f'{100 * value:.2f}'


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST - 1] + '…'


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(f'{cell:<{width}}' if place == 0 else f'{cell:>{width}}'
                      for place, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
