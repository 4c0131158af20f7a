"""Score files of tests, read back and matched video by video."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...array_files import read_npz
from ...errors import UsageError
from ...files import open_file, parse_json

#: Scores of a test.
SCORES = 'scores.npz'
#: Scores of the validation videos by the best parameters of a training: the same arrays.
VALIDATION_SCORES = 'validation_scores.npz'
# The arrays of a file, and what they hold.
_ARRAYS = {'keys': 'U', 'labels': 'iub', 'scores': 'f', 'scored': 'b', 'classes': 'U'}


@dataclass(frozen=True)
class ScoreFile:
    """What a ``scores.npz`` holds, and what the ``results.json`` beside it says of it.

    Attributes
    ----------
    name : str
        How reports call it: the folder it lies in.
    path : Path
    keys : list of str
        The videos as the list names them (N).
    labels : int64 ndarray (N,) or (N, K)
        True classes; 0 or 1 by class where videos have several labels.
    scores : float64 ndarray (N, K)
    scored : bool ndarray (N,)
    classes : list of str
        Names (K).
    kind : {'logits', 'probabilities'}
    protocol : dict
        Of the test; empty where there is none.
    """

    name: str
    path: Path
    keys: list[str]
    labels: np.ndarray
    scores: np.ndarray
    scored: np.ndarray
    classes: list[str]
    kind: str
    protocol: dict


@dataclass(frozen=True)
class Videos:
    """The videos of several score files, each once, in the order of the first file.

    Attributes
    ----------
    keys : list of str
        N of them.
    labels : int64 ndarray (N,) or (N, K)
    classes : list of str
        Names (K).
    scores : float64 ndarray (S, N, K)
        By file; NaN where it has none.
    scored : bool ndarray (S, N)
        Which file scored which video.
    failures : list of dict
        Videos that some file has no scores of: ``index``, ``key``, ``message``.
    """

    keys: list[str]
    labels: np.ndarray
    classes: list[str]
    scores: np.ndarray
    scored: np.ndarray
    failures: list[dict]

    @property
    def complete(self) -> np.ndarray:
        """Videos that every file scored: bool (N,)."""
        return self.scored.all(axis=0)

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.labels.ndim == 2


def read_scores(path: str | os.PathLike) -> ScoreFile:
    """Read the scores of a report.

    Parameters
    ----------
    path : path
        The folder of a test, or of a training that validated, or the file of scores in it.

    Raises
    ------
    UsageError
        When there is none, or it is something else.
    """
    place = Path(path).expanduser()
    file = place
    if place.is_dir():
        file = next((place / name for name in (SCORES, VALIDATION_SCORES) if (place / name).exists()), place / SCORES)
    try:
        arrays = read_npz(file, _ARRAYS)
    except FileNotFoundError:
        raise UsageError(f'{file} does not exist; test_recognizer.py writes it into --save-dir') from None
    except (OSError, ValueError) as error:
        raise UsageError(f'{file} is not a score file of test_recognizer.py ({error})') from error
    shape, labels = arrays['scores'].shape, arrays['labels']
    if len(shape) != 2 or arrays['keys'].shape != shape[:1] or arrays['classes'].shape != shape[1:] \
            or labels.shape not in (shape[:1], shape) or arrays['scored'].shape != shape[:1]:
        sizes = ', '.join(f'{name} {array.shape}' for name, array in arrays.items())
        raise UsageError(f'{file} is damaged: its arrays are of lengths that do not fit ({sizes})')
    most = 1 if labels.ndim == 2 else shape[1] - 1
    if labels.size and not 0 <= labels.min() <= labels.max() <= most:
        raise UsageError(f'{file} is damaged: its labels run from {labels.min()} to {labels.max()}, not within '
                         f'0..{most}')
    protocol = _protocol(file)
    scores, scored = arrays['scores'].astype(np.float64), arrays['scored'].astype(bool)
    named_by_folder = file.name in (SCORES, VALIDATION_SCORES)
    return ScoreFile(file.resolve().parent.name if named_by_folder else file.name, file,
                     [str(key) for key in arrays['keys']], arrays['labels'].astype(np.int64), scores, scored,
                     [str(name) for name in arrays['classes']], _kind(protocol, scores[scored]), protocol)


def read_streams(paths: Sequence[str | os.PathLike]) -> list[ScoreFile]:
    """Read the scores of several reports, under names that tell them apart.

    Folders of one name, as in ``rgb/test`` and ``flow/test``, are called by the part of the path that differs.
    """
    files = [read_scores(path) for path in paths]
    if len({file.name for file in files}) == len(files):
        return files
    parts = [file.path.resolve().parts for file in files]
    first = len(os.path.commonprefix(parts))
    last = len(os.path.commonprefix([path[first:][::-1] for path in parts]))
    names = ['/'.join(path[first:len(path) - last]) for path in parts]
    return [dataclasses.replace(file, name=name or str(file.path)) for file, name in zip(files, names)]


def match_videos(files: Sequence[ScoreFile]) -> Videos:
    """Bring the videos of several files into one order, by their keys.

    Raises
    ------
    UsageError
        When the files are of other classes, disagree on a label, name a video twice, or have no video in common.
    """
    for other in files[1:]:
        _check_classes(files[0], other)
    rows = [_rows(file) for file in files]
    keys = list(dict.fromkeys(key for file in files for key in file.keys))
    if not set.intersection(*(set(row) for row in rows)):
        examples = ', '.join(f'{file.path} has {file.keys[0]!r}' if file.keys else f'{file.path} has none'
                             for file in files)
        raise UsageError(f'no video is in all of the reports: {examples}; videos are matched by the names that their '
                         'lists give them, so test every stream on the same list')
    labels = np.stack([_label(key, files, rows) for key in keys])
    scores = np.full((len(files), len(keys), files[0].scores.shape[1]), np.nan)
    scored = np.zeros((len(files), len(keys)), bool)
    for s, (file, row) in enumerate(zip(files, rows)):
        there = np.array([key in row for key in keys])
        places = [row[key] for key in keys if key in row]
        scores[s, there], scored[s, there] = file.scores[places], file.scored[places]
    scored &= np.isfinite(scores).all(axis=2)
    failures = [{'index': n, 'key': keys[n], 'message': _cause(keys[n], scored[:, n], files, rows)}
                for n in np.flatnonzero(~scored.all(axis=0)).tolist()]
    return Videos(keys, labels, _class_names(files), scores, scored, failures)


def _rows(file: ScoreFile) -> dict[str, int]:
    rows = {key: row for row, key in enumerate(file.keys)}
    if len(rows) < len(file.keys):
        twice = next(key for key in file.keys if file.keys.count(key) > 1)
        raise UsageError(f'{file.path} names the video {twice!r} twice, so scores cannot be matched by video; list '
                         'each video once')
    return rows


def _check_classes(first: ScoreFile, other: ScoreFile) -> None:
    if len(first.classes) != len(other.classes):
        raise UsageError(f'{first.path} is of {len(first.classes)} classes and {other.path} of {len(other.classes)}; '
                         'only scores for the same classes go together')
    if first.labels.ndim != other.labels.ndim:
        raise UsageError(f'{(first if first.labels.ndim == 2 else other).path} is of videos with several labels, the '
                         'other report of videos with one; test both in the same way')
    if _unnamed(first) or _unnamed(other):
        return
    differing = next((k for k, names in enumerate(zip(first.classes, other.classes)) if len(set(names)) > 1), None)
    if differing is not None:
        raise UsageError(f'class {differing} is {first.classes[differing]!r} in {first.path} and '
                         f'{other.classes[differing]!r} in {other.path}; only scores for the same classes go together')


def _unnamed(file: ScoreFile) -> bool:
    return file.classes == [f'class {k}' for k in range(len(file.classes))]


def _class_names(files: Sequence[ScoreFile]) -> list[str]:
    return next((file.classes for file in files if not _unnamed(file)), files[0].classes)


def _label(key: str, files: Sequence[ScoreFile], rows: Sequence[dict[str, int]]) -> np.ndarray:
    labels = [(file, file.labels[row[key]]) for file, row in zip(files, rows) if key in row]
    for file, label in labels[1:]:
        if not np.array_equal(label, labels[0][1]):
            told = [f'{value.nonzero()[0].tolist() if value.ndim else int(value)} in {where.path}'
                    for where, value in (labels[0], (file, label))]
            raise UsageError(f'{key} has label {" and ".join(told)}; test every stream on the same list')
    return labels[0][1]


def _cause(key: str, scored: np.ndarray, files: Sequence[ScoreFile], rows: Sequence[dict[str, int]]) -> str:
    causes = [f'{"could not be scored" if key in row else "is missing"} in {file.path}'
              for file, row, there in zip(files, rows, scored) if not there]
    return f'{key}: {" and ".join(causes)}'


def _protocol(file: Path) -> dict:
    try:
        with open_file(file.parent / 'results.json') as results:
            protocol = parse_json(results.read()).get('protocol')
    except (OSError, ValueError, AttributeError):
        return {}
    return protocol if isinstance(protocol, dict) else {}


def _kind(protocol: dict, scores: np.ndarray) -> str:
    """What the scores are: as the protocol says, or by their looks; scores that add up to 1 are probabilities."""
    # Reports of before said logits and softmax.
    recorded = {'features': 'logits', 'scores': 'logits', 'logits': 'logits', 'softmax': 'probabilities',
                'probabilities': 'probabilities'}
    told = protocol.get('average') or protocol.get('scores')
    if isinstance(told, str) and told in recorded:
        return recorded[told]
    likely = len(scores) and (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    return 'probabilities' if likely else 'logits'
