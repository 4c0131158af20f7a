"""A training run as published weights: the file, its row in an index, and a card that says what it is."""
from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, WeightsError
from ..files import output_errors, replacing, to_json, write_file
from ..run_config import read_run_config
from ..weights import Row, WeightsFile
from ..weights.index import parse_index
from .loading.params_file import read_parameters
from .loading.preparation import describe_row, input_of_run, part_of, write_preparation
from .registry import ModelCard, model_card

_VARIANTS = ('use_gn', 'use_se', 'batch_norm')


@dataclass(frozen=True)
class Published:
    """What `publish_run` has written.

    Attributes
    ----------
    model, tag : str
        What ``get_model(model, pretrained=tag)`` takes.
    parameters, index, card : Path
    """

    model: str
    tag: str
    parameters: Path
    index: Path
    card: Path


def publish_run(run: str | os.PathLike, out: str | os.PathLike, *, tag: str = '', licence: str = 'not stated',
                publisher: str = 'not stated', report: str | os.PathLike | None = None,
                overwrite: bool = False) -> Published:
    """Make file, row and card of a training run.

    The file is named by tag and SHA-256; a note beside it, ``FILE.params.json``, says how frames are prepared and names
    the classes, for whoever takes the file as it is. The row goes into ``index.json`` of the folder, which
    ``$GLUON_ACTION_INDEX`` or ``--index`` may name, as it lies there or from a server.

    Parameters
    ----------
    run : path
        Folder of the run; its ``best.params`` is published.
    out : path
        Folder to write to.
    tag : str
        Name of the weights; by default that of the run's folder.
    licence, publisher : str
        What the row says of them.
    report : path, optional
        Folder of the report of a test of ``best.params``: its accuracy is published with its protocol. By default it
        is that of the best epoch's validation.
    overwrite : bool
        Replace a row of this model and tag that has other weights, or says something else of these.

    Raises
    ------
    UsageError
        When the folder is no run's, the report is none of these weights, or the tag is taken.
    WeightsError
        When its parameters cannot be read.
    OutputError
        When the disk refuses.
    """
    run, out = Path(run).expanduser(), Path(out).expanduser()
    about = read_run_config(run) if run.is_dir() else None
    source = run / 'best.params'
    if about is None or not source.is_file():
        what = 'no such folder' if not run.is_dir() else 'has no config.json of a run' if about is None else \
            'has no best.params: no epoch has ended, or nothing was validated'
        raise UsageError(f'{run}: {what}; name the folder of a training run (--save-dir)')
    config = about['config']
    card = model_card(_model_of(about, run), about)
    tag = tag or re.sub(r'[^\w.+-]+', '-', run.resolve().name).lstrip('.')
    if not re.fullmatch(r'[\w+-][\w.+-]*', tag):
        raise UsageError(f'--tag is one word of letters, digits and .+-_ , got {tag!r}')
    arrays = read_parameters(source)
    if card.head not in arrays:
        raise WeightsError(f'{source}: has no {card.head}, it is not of {card.name}')
    num_classes = len(arrays[card.head])

    content = source.read_bytes()  # once: training may put the file of a better epoch there
    digest = hashlib.sha256(content).hexdigest()
    stem = f'{card.name}-{tag}-{digest[:8]}'
    file = WeightsFile(f'{stem}.params', (f'{stem}.params',), f'sha256:{digest}', len(content))
    names = about['classes'] or None
    own = names is not None and len(names) == num_classes and names != card.labels()
    row = Row(card.name, tag, publisher, (file,), 'params', licence,
              **(_best_validation(run) if report is None else _reported(report, card, source, digest)),
              segments=config.get('num_segments') if card.input.takes('segments') else None,
              input=_input(about, card), options=_options(about),
              classes={str(number): name for number, name in enumerate(names)} if own else {},
              note='' if names or num_classes == card.num_classes else f'{num_classes} classes without names')
    index = out / 'index.json'
    rows = _others(index, row, overwrite)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with replacing(out / file.name) as part:
        Path(part).write_bytes(content)
    write_preparation(out / file.name, card.prepared(row.input), describe_row(row), published=True,
                      classes=names if len(names or ()) == num_classes else None)
    text = out / f'{stem}.md'
    write_file(text, _card(row, about, names, num_classes))
    write_file(index, _as_text([*rows, row.as_json()]))
    return Published(card.name, tag, out / file.name, index, text)


def _model_of(about: dict[str, Any], run: Path) -> str:
    model = about.get('model')
    name = model.get('name') if isinstance(model, dict) else model
    if not isinstance(name, str):
        raise UsageError(f'{run}: its config.json names no model')
    return name


def _others(index: Path, row: Row, overwrite: bool) -> list[dict]:
    """Return the rows that an index has already, but for the one that is replaced."""
    if not index.exists():
        return []
    text = index.read_text(encoding='utf-8')
    parse_index(text, str(index.absolute()))
    rows, new = json.loads(text)['rows'], json.loads(json.dumps(row.as_json()))
    for there in rows:
        if (there['model'], there['tag']) != (row.model, row.tag) or overwrite:
            continue
        differ = [name for name in sorted({*there, *new}) if there.get(name) != new.get(name)]
        if differ:
            what = 'other weights of' if 'files' in differ else f'another {" and ".join(differ)} for'
            raise UsageError(f'{index} has {what} {row.model} under the tag {row.tag}; give another --tag, or pass '
                             '--overwrite')
    return [there for there in rows if (there['model'], there['tag']) != (row.model, row.tag)]


def _as_text(rows: list[dict]) -> str:
    return '{"version": 1,\n "rows": [\n' + ',\n'.join(json.dumps(row, ensure_ascii=False) for row in rows) + '\n]}\n'


def _options(about: dict[str, Any]) -> dict[str, Any]:
    config, model = about['config'], part_of(about, 'model')
    started_with = (model.get('row') or {}).get('options') or {}
    options = started_with | {name: True for name in _VARIANTS if config.get(name)}
    if config.get('consensus', 'avg') != 'avg':
        options['consensus'] = config['consensus']
    return options


def _input(about: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """Return the preparation that the run trained with."""
    prepared = card.prepared(input_of_run(about))
    return {name: getattr(prepared, name) for name in input_of_run(about)
            if not name.startswith('clip_') or card.input.takes(name)}


def _reported(report: str | os.PathLike, card: ModelCard, source: Path, digest: str) -> dict[str, Any]:
    """Return accuracy and protocol of a test's report, which is one of the file `source` with this SHA-256."""
    path = Path(report).expanduser() / 'results.json'
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        protocol, tested = found['protocol'], found['protocol'].get('weights') or {}
        score = {**_percents(found.get('top1'), found.get('top5')), 'protocol': str(protocol['views']),
                 'average': protocol['average'] if protocol['average'] in ('probabilities', 'scores', 'features')
                 else ''}
        model, of = protocol.get('model'), tested.get('sha256')
    except OSError as error:
        raise UsageError(f'--report: {path} cannot be read: {error.strerror or error}') from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f'--report: {path} is not the report of a test ({error})') from error
    again = f'test them: --model {card.name} --resume-params {source}'
    if str(model).lower() != card.name:
        raise UsageError(f'--report: {path} is of a test of {model or "a network without a name"}, and these are '
                         f'weights of {card.name}; {again}')
    if of != digest:
        raise UsageError(f'--report: {path} is of other weights ({tested.get("source", "it does not say which")}, '
                         f'SHA-256 {of}) than {source} (SHA-256 {digest}); {again}')
    return score


def _best_validation(run: Path) -> dict[str, Any]:
    try:
        records = [json.loads(line) for line in (run / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()]
        best = max((record for record in records if record.get('val_top1') is not None),
                   key=lambda record: record['val_top1'])
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {**_percents(best['val_top1'], best.get('val_top5')), 'protocol': 'best validation in training'}


def _percents(top1: float | None, top5: float | None) -> dict[str, float]:
    return {name: round(100 * value, 3) for name, value in (('top1', top1), ('top5', top5)) if value is not None}


def _beginning(about: dict[str, Any]) -> str:
    """Say in words which weights a run started from."""
    config, model = about['config'], part_of(about, 'model')
    row, file = model.get('row'), config.get('resume_params')
    published = f'`{row.get("model")}`, tag `{row.get("tag")}`, by {row.get("publisher")}, licence ' \
                f'{row.get("licence")}' if isinstance(row, dict) and row else ''
    if about.get('started_from'):
        return str(about['started_from'])
    if file:
        return f'the file `{Path(file).name}`' + (f', of {published}' if published else '')
    if published:
        return published
    # A run that started from published weights notes them; None is noted where there were none.
    return 'random weights' if 'row' in model or config.get('pretrained_base') is False else 'not noted'


def _card(row: Row, about: dict[str, Any], names: list[str] | None, num_classes: int) -> str:
    """Return the card in Markdown: what the weights are, for whoever finds the file."""
    file = row.files[0]
    lists = part_of(about, 'lists')
    facts = {'Model': f'`{row.model}`, tag `{row.tag}`', 'File': f'`{file.name}`, {file.bytes:,} bytes',
             'SHA-256': f'`{file.digits}`', 'Publisher': row.publisher, 'Licence': row.licence,
             'Accuracy': row.score or 'not measured',
             'Started from': _beginning(about)}
    data = [f'- {name}: `{Path(str(entry.get("file"))).name}`, {entry.get("videos")} videos, SHA-256 '
            f'`{entry.get("sha256")}`' for name, entry in lists.items() if isinstance(entry, dict)]
    preparation = [f'- {name.replace("_", " ")}: {value}' for name, value in row.input.items()]
    if row.segments:
        preparation.append(f'- segments in training: {row.segments}')
    versions = part_of(about, 'versions')
    parts = [f'# {row.model} {row.tag}', '\n'.join(f'- {name}: {value}' for name, value in facts.items()),
             '## Use', f'```python\nfrom gluon_action.model_zoo import get_model\n\nnet = get_model({row.model!r}, '
             f"pretrained={row.tag!r}, index='index.json')\n```",
             '## Data', '\n'.join(data) or 'not noted', '## Preparation of frames',
             'Values are in 0..1 before mean and std.\n\n' + '\n'.join(preparation),
             f'## {num_classes} classes', '\n'.join(f'{number}. {name}' for number, name in enumerate(names or ()))
             or 'without names', '## Versions', '\n'.join(f'- {name}: {value}' for name, value in versions.items())
             or 'not noted', '## Options of the run', '```json\n' + to_json(about['config']) + '```']
    return '\n\n'.join(parts) + '\n'
