"""What the folder of a run says, of a training or of a test, as far as it can be read."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from ...files import open_file, parse_json
from ..reports import RESULTS, write_scores
from ..scores.files import SCORES, VALIDATION_SCORES, ScoreFile, read_scores

_RECORDS = ('epoch', 'stretch')
_MOST_BYTES = 256 << 20  # of a text file: nothing that a run writes comes near


@dataclass(frozen=True)
class RunFiles:
    """What a run has left.

    Attributes
    ----------
    folder : Path
    about : dict
        Content of ``config.json``, which a training writes; empty where there is none.
    epochs : list of dict
        A record an epoch or stretch, in order; of one that was trained twice, after a resume, the later.
    results : dict
        Content of ``results.json``, which a test writes; empty where there is none.
    scores : ScoreFile or None
        Of every video: those of the test, else those of the best epoch's validation.
    start : dict or None
        The record of the validation before the first epoch, where there was one.
    evaluation : dict
        Content of ``eval.json``, which the evaluation of an estimator or of tags leaves; empty where there is none.
    failures : list of dict
        Videos that could not be read: ``key`` and ``message``.
    troubles : list of str
        What is damaged or missing, a sentence each.
    """

    folder: Path
    about: dict[str, Any]
    epochs: list[dict[str, Any]]
    results: dict[str, Any]
    scores: ScoreFile | None
    failures: list[dict[str, Any]]
    troubles: list[str] = field(default_factory=list)
    start: dict[str, Any] | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)

    @property
    def is_test(self) -> bool:
        """Whether it is a test, rather than a training."""
        return bool(self.results)

    @property
    def config(self) -> dict[str, Any]:
        """Every option of the run; empty where nothing says it."""
        return _dict((self.results if self.is_test else self.about).get('config'))

    @property
    def protocol(self) -> dict[str, Any]:
        """What scores depend on."""
        if self.is_test:
            return _dict(self.results.get('protocol'))
        config, model = self.config, _dict(self.about.get('model'))
        lists = _dict(self.about.get('lists'))
        val = _dict(next((about for name, about in lists.items() if name != 'train'), None))
        return {'dataset': config.get('dataset'), 'list': val.get('file'), 'list_sha256': val.get('sha256'),
                'training_list': _dict(lists.get('train')).get('file'),
                'training_list_sha256': _dict(lists.get('train')).get('sha256'),
                'model': config.get('model') or model.get('name'), 'started_from': self.about.get('started_from'),
                'num_segments': config.get('num_segments'), 'crops': config.get('num_crop'),
                'crop_size': config.get('input_size'), 'mean': model.get('mean'), 'std': model.get('std'),
                'published': model.get('row')}

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the best epoch; None where nothing was validated."""
        return next((record for record in reversed(self.epochs) if record.get('best') is True), None)

    @property
    def evaluated(self) -> dict[str, Any]:
        """Scores of the evaluation by name."""
        return _dict(self.evaluation.get('metrics') or self.evaluation.get('scores'))

    @property
    def evaluated_classes(self) -> list[dict[str, Any]]:
        """Classes of the evaluation, the worst first: ``name``, ``total``, and average precision as ``share``."""
        rows = self.evaluation.get('classes')
        found = []
        for row in rows if isinstance(rows, list) else ():
            name, total, share = (_dict(row).get(key) for key in ('class', 'positives', 'average_precision'))
            if isinstance(name, str) and type(total) is int and total > 0 and isinstance(share, (int, float)):
                found.append({'name': name, 'total': total, 'share': min(1., max(0., float(share)))})
        return sorted(found, key=lambda row: row['share'])

    @property
    def num_classes(self) -> int | None:
        """How many classes the network tells apart, where something says it."""
        if self.scores is not None:
            return len(self.scores.classes)
        found = self.about.get('num_classes')
        return found if type(found) is int and found > 0 else None


def read_run(folder: str | os.PathLike) -> RunFiles:
    """Read what a run has left; what is damaged is left out and said.

    Parameters
    ----------
    folder : path
        ``--save-dir`` of a training or a test. A file in it stands for it.

    Raises
    ------
    UsageError
        When it does not exist, or no run has written there.
    """
    folder = Path(folder).expanduser()
    folder = folder.parent if folder.is_file() else folder
    if not folder.is_dir():
        raise UsageError(f'{folder} does not exist; give the --save-dir of a training or of a test')
    troubles: list[str] = []
    about = _of_config(_json(folder / 'config.json', troubles), folder, troubles)
    results, evaluation = (_json(folder / name, troubles) for name in (RESULTS, 'eval.json'))
    records = _lines(folder / 'metrics.jsonl', troubles)
    epochs = _epochs(records)
    start = next((record for record in reversed(records) if record.get('kind') == 'start'), None)
    scores = _scores(folder, troubles)
    if not (about or results or epochs or scores):
        why = f' ({"; ".join(troubles)})' if troubles else ''
        raise UsageError(f'{folder} holds no run: neither config.json of a training nor results.json of a test{why}; '
                         'give the --save-dir of one')
    if (folder / 'scores.unfinished').exists() and not results:
        troubles.append('The test has not ended: the same command resumes with the videos that are left, and numbers '
                        'are there when all are scored.')
    return RunFiles(folder, about, epochs, results, scores, _failures(folder, troubles), troubles, start,
                    evaluation)


def write_validation_scores(folder: Path, samples: Sequence[Any], classes: Sequence[str], indices: Sequence[int],
                            logits: np.ndarray, labels: np.ndarray) -> None:
    """Write what the best parameters of a training made of the validation videos.

    Parameters
    ----------
    folder : path
    samples : sequence
        All N of the list, with ``key``.
    classes : sequence of str
        Names (K).
    indices : sequence of int
        Videos that were scored (M).
    logits : (M, K)
    labels : (N,) or (N, K)

    Raises
    ------
    OutputError
    """
    scores = np.full((len(samples), len(classes)), np.nan, np.float32)
    scored = np.zeros(len(samples), bool)
    scores[list(indices)], scored[list(indices)] = logits, True
    write_scores(Path(folder) / VALIDATION_SCORES, [sample.key for sample in samples], labels, scores, scored, classes)


def _of_config(about: dict[str, Any], folder: Path, troubles: list[str]) -> dict[str, Any]:
    if about and not isinstance(about.get('config'), dict):
        troubles.append(f'{folder / "config.json"} is of something else than a training of this program.')
        return {}
    return about


def _json(path: Path, troubles: list[str]) -> dict[str, Any]:
    try:
        value = parse_json(_content(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        troubles.append(f'{path.name} cannot be read ({error}) and is left out.')
        return {}
    if not isinstance(value, dict):
        troubles.append(f'{path.name} is not what a run writes and is left out.')
        return {}
    return value


def _lines(path: Path, troubles: list[str]) -> list[dict[str, Any]]:
    try:
        lines = _content(path).decode('utf-8', 'surrogateescape').splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        troubles.append(f'{path.name} cannot be read ({error}) and is left out.')
        return []
    records, damaged = [], 0
    for line in lines:
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            records.append(value)
        else:
            damaged += 1
    if damaged:
        troubles.append(f'{damaged} of {len(lines)} lines of {path.name} cannot be read and are left out.')
    return records


def _content(path: Path) -> bytes:
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise ValueError(f'it is larger than {_MOST_BYTES >> 20} MiB')
        return file.read()


def _epochs(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = {record['epoch']: dict(record) for record in records
             if record.get('kind') in _RECORDS and type(record.get('epoch')) is int and record['epoch'] >= 0}
    return [found[number] for number in sorted(found)]


def _scores(folder: Path, troubles: list[str]) -> ScoreFile | None:
    for name in (SCORES, VALIDATION_SCORES):
        if (folder / name).exists():
            try:
                return read_scores(folder / name)
            except UsageError as error:
                troubles.append(f'{error}; it is left out.')
    return None


def _failures(folder: Path, troubles: list[str]) -> list[dict[str, Any]]:
    found = {}
    for record in _lines(folder / 'failures.jsonl', troubles):
        key, message = record.get('key'), record.get('message')
        if isinstance(key, str) and isinstance(message, str):
            found[key] = {'key': key, 'message': message, 'split': record.get('split')}
    return list(found.values())


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
