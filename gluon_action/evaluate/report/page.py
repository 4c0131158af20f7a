"""The page of a run, ``report.html``: how it went, what it gets wrong, and what its numbers are of."""
from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files import write_file
from ..scores.calibration import Calibration
from ..scores.metrics import tells_top5
from ..scores.significance import map_interval, wilson_interval
from .charts import Curve, line_chart, number, points
from .confusion import confusion
from .frames import add_frames
from .html import render
from .run_files import RunFiles, read_run
from .time_split import time_of_test, time_of_training
from .videos import VideoResults, data_statistics, described, video_results

_log = logging.getLogger(__name__)

#: The file in the folder of a run.
REPORT = 'report.html'
#: Wrong videos that are shown, and unreadable ones that are named.
MOST_WRONG, MOST_UNREAD = 24, 20

# Rows of classes that are open; others unfold.
_OPEN_ROWS = 40
_LONGEST_VALUE = 400


def write_report(folder: str | os.PathLike, sets: Mapping[str, Any] | None = None, *, writing: str = '',
                 path: str | os.PathLike | None = None) -> Path:
    """Write the page of a run, out of what lies in its folder.

    Parameters
    ----------
    folder : path
        ``--save-dir`` of a training or of a test, or of both.
    sets : mapping, optional
        The data sets by what they are for: ``'training'``, ``'validation'``, ``'test'``. They give the statistics of
        the data; the last one also the frames of wrong videos.
    writing : str
        Who writes to the folder at this moment, for a note on the page; empty for nobody.
    path : path, optional
        Where the page goes; by default ``report.html`` in the folder.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        When the folder holds no run, or Jinja is not installed.
    OutputError
        When the page cannot be written.
    """
    run = read_run(folder)
    path = run.folder / REPORT if path is None else Path(path).expanduser()
    write_file(path, render('report.html', contents(run, sets or {}, writing)), durable=False)
    return path


def try_to_write(folder: str | os.PathLike, sets: Mapping[str, Any] | None = None) -> Path | None:
    """Write the page, or warn that it could not be: nothing of it is worth the run, whose results are there."""
    try:
        return write_report(folder, sets)
    except Exception as error:
        _log.warning('%s: cannot be written (%s: %s); the results are there, and gluon-action report %s tries again',
                     Path(folder) / REPORT, type(error).__name__, error, folder)
        return None


def contents(run: RunFiles, sets: Mapping[str, Any], writing: str = '') -> dict[str, Any]:
    """Return all that the page shows, by the names that its template has for it."""
    videos = video_results(run.scores) if run.scores is not None and run.scores.scores.size else None
    meter = videos.meter if videos else None
    source = run.results if run.is_test else run.about
    return {
        'title': _title(run), 'subtitle': _subtitle(run), 'folder': str(run.folder), 'troubles': run.troubles,
        'writing': writing, 'cards': _cards(run, videos), 'charts': curves(run),
        'scored_as': 'test' if run.is_test else 'validation', **_wrong(videos, sets),
        'unread': _unread(run), 'confusion': meter and confusion(meter, run.scores.classes),
        'classes': _classes(videos, run), 'calibration': videos and meter and _calibration(videos.calibration()),
        'time': _time(run), 'data': _data(sets), 'protocol': _facts(run.protocol),
        'command': _text(source.get('command')), 'directory': _text(source.get('directory')),
        'settings': _facts(run.config), 'versions': _facts(source.get('versions'))}


def curves(run: RunFiles) -> list[dict[str, Any]]:
    """Lay out how a training went: scores, losses and rates by epoch, or by step where it went by these."""
    records = run.epochs
    by_steps = any(record.get('kind') == 'stretch' for record in records)
    x, label = ('step', 'step') if by_steps else ('epoch', 'epoch, from 0')
    best, best_key = run.best, 'val_map' if any('val_map' in record for record in records) else 'val_top1'

    def curve(key: str, name: str, color: str, scale: float = 100., dashed: bool = False) -> Curve:
        star = points([best], x, key, scale)[0] if best and key == best_key and points([best], x, key) else None
        return Curve(name, color, points(records, x, key, scale), dashed, star)

    top5 = run.num_classes is None or tells_top5(run.num_classes)
    scores = [curve('accuracy', 'training', 'c0'), curve('train_gap', 'training, GAP', 'c6'),
              curve('train_hit_at_1', 'training, Hit@1', 'c2'), curve('train_auc', 'training, AUC', 'c0', dashed=True),
              curve('val_top1', 'validation, top-1', 'c1'), curve('val_map', 'validation, mAP', 'c3'),
              curve('val_auc', 'validation, AUC', 'c4'), curve('val_gap', 'validation, GAP', 'c4')]
    if top5:
        scores.append(curve('val_top5', 'validation, top-5', 'c2', dashed=True))
    losses = [curve('loss', 'training', 'c0', 1.), curve('val_loss', 'validation', 'c1', 1.)]
    charts = [line_chart('Scores, %', scores, x_label=label, limits=(0., 100.)),
              line_chart('Loss', losses, x_label=label, robust=True),
              line_chart('Learning rate, at the end of each epoch', [curve('lr', 'learning rate', 'c3', 1.)],
                         x_label=label)]
    return [chart for chart in charts if chart]


def _title(run: RunFiles) -> str:
    protocol = run.protocol
    model, dataset = (_text(protocol.get(name)) for name in ('model', 'dataset'))
    if protocol.get('fused'):
        model = 'fused scores'
    return f'{model or run.folder.name} on {dataset}' if dataset else model or run.folder.name


def _subtitle(run: RunFiles) -> str:
    what = ' and '.join(['training'] * bool(run.about) + ['test'] * run.is_test) or 'training'
    return f'{what[0].upper()}{what[1:]} in {run.folder.resolve()}'


def _cards(run: RunFiles, videos: VideoResults | None) -> list[dict[str, str]]:
    """The numbers that one looks for first."""
    cards = []

    def card(name: str, value: str, more: str = '') -> None:
        cards.append({'name': name, 'value': value, 'more': more})

    best = run.best
    whose = 'test' if run.is_test else 'best validation'
    meter = videos.meter if videos else None
    if meter is not None:
        right, total = int(meter.hits[1].sum()), meter.n_expected
        low, high = wilson_interval(right, total)
        card(f'{whose}, top-1', _percent(meter.top(1)), f'{100 * low:.1f} to {100 * high:.1f} % (95 %)')
        if tells_top5(meter.num_classes):
            card('top-5', _percent(meter.top(5)))
        card('mean of the classes', _percent(meter.mean_class()), f'{int((meter.expected > 0).sum())} classes')
        card('loss', f'{meter.loss:.4g}')
        card('videos scored', f'{meter.n_scored} of {total}', 'the others count as wrong' * (meter.n_scored < total))
    else:
        interval = ''
        if videos and videos.multi_label:
            low, high = map_interval(videos.file.scores, videos.file.labels)
            interval = '' if math.isnan(low) else f'{100 * low:.1f} to {100 * high:.1f} % (95 %)'
        found = run.results or {name.removeprefix('val_'): value for name, value in (best or {}).items()}
        for key, name in (('mean_average_precision', 'mean average precision'), ('map', 'mean average precision'),
                          ('top1', 'top-1'), ('hit1', 'hit@1'), ('gap', 'GAP')):
            if number(found.get(key)) is not None:
                card(f'{whose}, {name}', _percent(number(found[key])), interval if 'precision' in name else '')
    for key, name in (('gap', 'GAP'), ('map', 'mean average precision'), ('hit_at_1', 'Hit@1'), ('perr', 'PERR'),
                      ('top1', 'top-1'), ('auc', 'AUC')):
        if number(run.evaluated.get(key)) is not None:
            step = run.evaluation.get('step')
            card(f'evaluation, {name}', _percent(number(run.evaluated[key])), f'step {step}' * (type(step) is int))
    if run.epochs:
        last, of = run.epochs[-1], run.config.get('num_epochs')
        done = len(run.epochs)
        card('epochs', f'{done} of {of}' if type(of) is int else str(done),
             f'best: {best["epoch"]}' if best else 'best: the start' * bool(run.start))
        if number(last.get('loss')) is not None:
            card('training loss, last', f'{last["loss"]:.4g}')
    return cards


def _wrong(videos: VideoResults | None, sets: Mapping[str, Any]) -> dict[str, Any]:
    if videos is None:
        return {'wrong': None, 'wrong_none': False}
    places, scored = videos.wrong(), int(videos.file.scored.sum())
    if not len(places):
        return {'wrong': None, 'wrong_none': scored > 0}
    shown = described(videos, places[:MOST_WRONG])
    scored_set = next((data for name, data in sets.items() if name != 'training'), None)
    why = add_frames(shown, scored_set)
    return {'wrong': {'videos': shown, 'total': len(places), 'of': scored, 'why': why,
                      'frames': any(video['frames'] for video in shown)}, 'wrong_none': False}


def _unread(run: RunFiles) -> dict[str, Any] | None:
    return {'total': len(run.failures), 'videos': run.failures[:MOST_UNREAD]} if run.failures else None


def _classes(videos: VideoResults | None, run: RunFiles) -> dict[str, Any] | None:
    rows = videos.classes() if videos else run.evaluated_classes
    if not rows:
        return None
    shares = videos is not None and not videos.multi_label
    what = 'Share of its videos that are right' if shares else 'Average precision' + ' in the evaluation' * (not videos)
    for row in rows:
        for name in ('low', 'high', 'taken_for'):
            row.setdefault(name, None)
    return _folded(rows, {'what': what, 'interval': shares})


def _data(sets: Mapping[str, Any]) -> dict[str, Any] | None:
    # Of records nobody knows the labels before they are read.
    found = data_statistics({name: data for name, data in sets.items() if any(
        hasattr(sample, 'label') for sample in getattr(data, 'samples', ()))})
    if found is None:
        return None
    return _folded(found['classes'], {**found, 'frames': any(row['frames'] for row in found['lists'])})


def _folded(rows: Sequence[dict], more: dict[str, Any]) -> dict[str, Any]:
    shown = len(rows) if len(rows) <= _OPEN_ROWS else _OPEN_ROWS // 2
    return {**more, 'first': rows[:shown], 'more': rows[shown:]}


def _calibration(found: Calibration) -> dict[str, Any]:
    most = max(1, int(found.counts.max()))
    size = len(found.counts)
    bins = [{'low': place / size, 'high': (place + 1) / size, 'count': int(count), 'accuracy': float(accuracy),
             'confidence': float(confidence), 'radius': round(2.5 + 4.5 * (count / most) ** 0.5, 1)}
            for place, (count, accuracy, confidence) in enumerate(zip(found.counts, found.accuracy, found.confidence))
            if count]
    points_off = 100 * abs(found.excess)
    verdict = (f'It is {points_off:.1f} points {"too sure" if found.excess > 0 else "less sure than it could be"} on '
               'average' if points_off >= 1 else 'On average it is as sure as it is right')
    few = int(found.counts.sum())
    return {'bins': bins, 'error': found.error,
            'verdict': f'{verdict}, over {few} videos{": too few for more than a hint" if few < 200 else ""}.'}


def _time(run: RunFiles) -> dict[str, Any] | None:
    split = time_of_test(run.results) if run.is_test else time_of_training(run.epochs)
    if split is None:
        return None
    workers = run.config.get('num_workers')
    parts = [('waiting for videos', split.data, 'c1'), ('waiting for the network', split.devices, 'c0'),
             ('the process itself', split.rest, 'c7'), ('validation', split.validation, 'c3')]
    speeds = [number(record.get('speed')) for record in run.epochs if number(record.get('speed'))]
    median = sorted(speeds)[len(speeds) // 2] if speeds else 0
    speed = f'Training went at {median:{",.0f" if median >= 100 else ".3g"}} videos a second.' if speeds else ''
    return {'verdict': split.verdict(workers if type(workers) is int else None), 'speed': speed,
            'parts': [{'name': name, 'seconds': seconds, 'share': seconds / split.total, 'color': color}
                      for name, seconds, color in parts if seconds]}


def _facts(values: Any) -> list[tuple[str, str]]:
    """Names and values of a dictionary, those that say something."""
    if not isinstance(values, Mapping):
        return []
    return [(str(name).replace('_', ' '), _text(value)) for name, value in values.items()
            if value not in (None, '', [])]


def _text(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, Mapping) and value and not any(isinstance(part, Mapping) for part in value.values()):
        text = ', '.join(f'{str(name).replace("_", " ")} {_text(part)}' for name, part in value.items()
                         if part is not None)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE - 1] + '…'


def _percent(share: float) -> str:
    return f'{100 * share:.2f} %'
