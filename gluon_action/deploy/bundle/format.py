"""Bundles: the folder that an exported model lives in, how one is read and checked, and how it is verified."""
from __future__ import annotations

import hashlib
import json
import os
import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...array_files import read_npz
from ...data.feature_input import FeatureInput
from ...data.preprocess import Preprocess
from ...errors import BundleError, UsageError
from ...files import Changed, check_sealed, open_file, parse_json
from ..onnx.header import OnnxHeader, read_header
from ..onnx.model import OnnxModel

FORMAT = 2
MODEL, PREPROCESS, LABELS, CARD = 'model.onnx', 'preprocess.json', 'labels.json', 'model_card.md'
REFERENCE, MANIFEST = 'reference.npz', 'manifest.json'
#: Files of a bundle that the manifest answers for; anything else in the folder is ignored when it is read.
FILES = (MODEL, PREPROCESS, LABELS, CARD, REFERENCE)
#: Largest difference that passes, as a part of the largest score, by the precision of the model. Processors with and
#: without instructions for 8 bits round differently.
TOLERANCES = {'float32': 1e-4, 'int8': 0.05}

_SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"\n}\n\Z')
# What file managers leave in folders by themselves: it goes with the bundle that it lies in.
_DROPPINGS = {'.DS_Store', 'Thumbs.db', 'desktop.ini', '.directory'}
_LARGEST_TEXT = 16 * 2 ** 20  # bytes of a JSON file; the longest lists of labels have 1


@dataclass(frozen=True)
class Bundle:
    """An exported model and all that is needed to use it.

    Attributes
    ----------
    path : Path
        The folder; of a bare model its file.
    model : Path
        The ONNX file.
    preprocess : Preprocess or FeatureInput
    labels : list of str or None
        Names of the classes, in order of the scores.
    manifest : dict
        Content of ``manifest.json``; empty for a bare model.
    num_classes : int
        Scores that the model gives for a video.
    """

    path: Path
    model: Path
    preprocess: Preprocess | FeatureInput
    labels: list[str] | None
    manifest: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 0

    @property
    def name(self) -> str:
        """Name of the network, or where that is not known, of the file."""
        return str(self.manifest.get('model') or self.model.stem)


def read_bundle(path: str | os.PathLike, *, features: bool = False) -> Bundle:
    """Read a bundle and check every byte of it.

    Parameters
    ----------
    path : path
        The folder of a bundle, the ``model.onnx`` in it, or an ONNX file alone that carries its preprocessing.
    features : bool
        Whether the model may take features; otherwise it looks at videos.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        When a file is missing, was changed, lies elsewhere, or does not fit the others; the message names it.
    UsageError
        When it takes features and is not to.
    """
    path = Path(path).expanduser()
    if not (path.is_dir() or path.is_file()):
        raise BundleError(f'{path}: there is no bundle; name a folder that `gluon-action export` wrote, or the ONNX '
                          'file in it')
    if path.is_file() and not (path.name == MODEL and (path.parent / MANIFEST).exists()):
        bundle = _read_bare(path)
    else:
        bundle = _read_folder(path if path.is_dir() else path.parent)
    if not features:
        bundle.preprocess.input.need_video(str(path))
    return bundle


def seal(manifest: dict[str, Any]) -> str:
    """Return a manifest as text that ends with its own SHA-256, computed with zeros in its place."""
    text = json.dumps({**manifest, 'sha256': '0' * 64}, indent=2, ensure_ascii=False) + '\n'
    place = text.rindex('0' * 64)
    return text[:place] + hashlib.sha256(text.encode()).hexdigest() + text[place + 64:]


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise `UsageError` for a folder that exists, unless it is a bundle that is to be replaced."""
    if not (folder.exists() or folder.is_symlink()):
        return
    if not overwrite:
        raise UsageError(f'{folder} exists; name another folder, or pass overwrite=True (--overwrite) to replace it')
    content = {path.name for path in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else set()
    if not {MODEL, MANIFEST} <= content:
        raise UsageError(f'{folder} is not what an export wrote, so it is not replaced; name another folder')
    others = sorted(name for name in content - {*FILES, MANIFEST, *_DROPPINGS} if not name.startswith('._'))
    if others:
        raise UsageError(f'{folder} is not what an export wrote: it also holds {others[0]}; move that away or name '
                         'another folder')


def check_labels(labels: Any, num_classes: int | None, where: str) -> list[str] | None:
    """Return the labels if they are names for that many classes.

    Raises
    ------
    BundleError
        When they are no list of distinct names, or their number is not the head's.
    """
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(isinstance(name, str) and name.strip() for name in labels):
        raise BundleError(f'{where} must be a list of names in order of the classes, or null')
    seen: dict[str, int] = {}
    for number, name in enumerate(labels):
        # They would act on the terminal that names are printed on, or cannot be written at all.
        if any(unicodedata.category(letter) in ('Cc', 'Cs', 'Zl', 'Zp') for letter in name):
            raise BundleError(f'{where}: class {number} is named {ascii(name[:80])}; names must be of one line, '
                              'without control characters')
        if name in seen:
            raise BundleError(f'{where}: classes {seen[name]} and {number} have the same name {name!r}; give each its '
                              'own')
        seen[name] = number
    if num_classes is not None and len(labels) != num_classes:
        raise BundleError(f'{where} names {len(labels)} classes, and the model gives {num_classes} scores; they must '
                          'be as many')
    return labels


@dataclass(frozen=True)
class Verdict:
    """The result of a replay.

    Attributes
    ----------
    difference : float
        Largest difference to the expected scores, as a part of the largest of them.
    top1_equal : bool
        Whether the class with the highest score is the expected one.
    seconds : float
        That the model took, the first call of a session included.
    tolerance : float
        Largest difference that passes.
    """

    difference: float
    top1_equal: bool
    seconds: float
    tolerance: float = TOLERANCES['float32']

    @property
    def ok(self) -> bool:
        """Whether the bundle does here what it did where it was made."""
        return self.top1_equal and self.difference <= self.tolerance


def verify(path: str | os.PathLike, *, threads: int | None = None) -> Verdict:
    """Check every file of a bundle and replay its reference clip, or features.

    Parameters
    ----------
    path : path
        Folder of the bundle, or the model in it.
    threads : int, optional
        Threads of ONNX Runtime; all cores by default.

    Raises
    ------
    BundleError
        When a file is missing or changed, or the folder holds no reference clip.
    """
    bundle = read_bundle(path, features=True)
    if not bundle.manifest:
        raise BundleError(f'{bundle.path}: is a model alone, with no reference clip to replay; verify the folder of '
                          'its bundle')
    frames, expected = read_reference(bundle)
    model = OnnxModel(bundle.model, threads=threads, output=bundle.preprocess.output_name)
    try:
        rows = bundle.preprocess.apply(frames)
    except UsageError as error:
        raise BundleError(f'{bundle.path / REFERENCE}: {error}') from error
    scores, started = [], time.perf_counter()
    for part in np.split(rows, max(1, len(rows) // bundle.preprocess.rows)):
        scores.append(model.run(part))
    seconds = time.perf_counter() - started
    got = np.concatenate(scores)
    if got.shape != expected.shape:
        raise BundleError(f'{bundle.path / REFERENCE}: expects scores {expected.shape}, the model gives {got.shape}')
    tolerance = TOLERANCES.get(bundle.manifest.get('precision'), TOLERANCES['float32'])
    # Crops of one clip count together, as they do in a prediction. Several tags may be as good as sure, and any of them
    # the first.
    best, found = expected.mean(axis=0).argmax(), got.mean(axis=0)
    slack = 0. if bundle.preprocess.input.is_video else tolerance * float(np.abs(found).max())
    top1_equal = bool(found[best] >= found.max() - slack)
    return Verdict(difference_of(got, expected), top1_equal, seconds, tolerance)


def difference_of(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a part of the largest expected number; infinite where one is not finite."""
    if not np.isfinite(got).all():
        return float('inf')
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))


def _read_folder(folder: Path) -> Bundle:
    manifest = _read_manifest(folder / MANIFEST)
    for name in FILES:
        _check_file(folder, name, manifest['files'])
    preprocess = _preprocess(_read_json(folder / PREPROCESS), str(folder / PREPROCESS))
    header = read_header(folder / MODEL)
    num_classes = _check_model(folder / MODEL, header, preprocess)
    labels = check_labels(_read_json(folder / LABELS), num_classes, str(folder / LABELS))
    return Bundle(folder, folder / MODEL, preprocess, labels, manifest, num_classes)


def _read_bare(path: Path) -> Bundle:
    header = read_header(path)
    if 'preprocess' not in header.metadata:
        raise BundleError(f'{path}: the model does not say how videos are prepared for it (it has no metadata '
                          "'preprocess'); models that `gluon-action export` writes do")
    where = f"{path}, metadata 'preprocess'"
    preprocess = _preprocess(_parse(header.metadata['preprocess'], where), where)
    num_classes = _check_model(path, header, preprocess)
    where = f"{path}, metadata 'labels'"
    labels = check_labels(_parse(header.metadata.get('labels', 'null'), where), num_classes, where)
    return Bundle(path, path, preprocess, labels, num_classes=num_classes)


def _preprocess(values: Any, where: str) -> Preprocess | FeatureInput:
    kind = FeatureInput if isinstance(values, dict) and values.get('layout') == FeatureInput.layout else Preprocess
    return kind.from_json(values, where)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise BundleError(f'{path.parent}: holds no {MANIFEST}, so it is no bundle, or a part of one')
    content = _read_bytes(path)
    found = _SEAL.search(content)
    if not found:
        _refuse_old_format(path, content)
        raise BundleError(f'{path}: does not end with its own SHA-256: it was cut or changed; export the model again')
    blank = content[:found.start(1)] + b'0' * 64 + content[found.end(1):]
    if hashlib.sha256(blank).hexdigest() != found[1].decode():
        raise BundleError(f'{path}: was changed since it was written; export the model again')
    manifest = _parse(content, str(path))
    if manifest.get('format') != FORMAT:
        raise BundleError(f'{path}: is of format {manifest.get("format")!r}, this program reads {FORMAT}')
    if not isinstance(manifest.get('files'), dict):
        raise BundleError(f'{path}: lists no files')
    wrong = [name for name, is_right in _KINDS.items() if name in manifest and not is_right(manifest[name])]
    if wrong:
        raise BundleError(f'{path}: {wrong[0]} cannot be {ascii(manifest[wrong[0]])[:80]}; export the model again')
    return manifest


def _is_value(value: Any) -> bool:
    """Whether it describes an input or an output."""
    return isinstance(value, dict) and isinstance(value.get('name'), str) and bool(value.get('shape')) \
        and isinstance(value['shape'], list)


def _is_row(value: Any) -> bool:
    """Whether it is a row of published weights, as far as a card prints it."""
    return isinstance(value, dict) and all(type(value.get(top)) in (int, float, type(None)) for top in ('top1', 'top5'))


_KINDS = {
    **{name: lambda value: isinstance(value, str) for name in ('model', 'precision', 'gluon_action')},
    **{name: lambda value: type(value) is int for name in ('opset', 'ir_version')},
    **dict.fromkeys(('published', 'trained_from'), _is_row), 'input': _is_value,
    'outputs': lambda value: isinstance(value, list) and bool(value) and all(map(_is_value, value))}


def _refuse_old_format(path: Path, content: bytes) -> None:
    try:
        about = json.loads(content)
    except ValueError:
        return
    if isinstance(about, dict) and about.get('format') == 1:
        raise BundleError(f'{path}: is of format 1, which says nothing of how videos are prepared; export the model '
                          'again')


def _check_file(folder: Path, name: str, files: dict[str, Any]) -> None:
    path, known = folder / name, files.get(name)
    if not isinstance(known, dict):
        raise BundleError(f'{folder / MANIFEST}: does not list {name}')
    if not path.exists():
        raise BundleError(f'{path}: is missing; copy the whole folder, or export the model again')
    if not path.is_file() or path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f'{path}: is no file of this folder'
                          + (f' but a link to {path.resolve()}; copy the file in' if path.is_symlink() else ''))
    try:
        check_sealed(path, known)
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error
    except Changed as change:
        what = (f'has {change.found} bytes, {MANIFEST} says {change.expected}: it was cut or changed'
                if change.what == 'bytes' else
                f'was changed since the export: its SHA-256 is {change.found[:12]}..., {MANIFEST} says '
                f'{str(change.expected)[:12]}...')
        raise BundleError(f'{path}: {what}; copy the folder or export the model again') from change


def _check_model(path: Path, header: OnnxHeader, preprocess: Preprocess | FeatureInput) -> int:
    """Return the number of classes; raise where model and preprocessing do not fit."""
    if not header.whole:  # no manifest answers for other files, and they may be anybody's
        raise BundleError(f'{path}: keeps numbers in another file, which no bundle does; export the model again')
    if len(header.inputs) != 1:
        raise BundleError(f'{path}: has {len(header.inputs)} inputs ({", ".join(header.inputs)}), a bundle has one')
    axes = next(iter(header.inputs.values()))
    wanted = preprocess.shape(preprocess.rows)
    if len(axes) != len(wanted) or not _agree(axes[1:], wanted[1:]):
        raise BundleError(f'{path}: takes input of {_shown(axes)}, and its preprocessing makes {_shown(wanted)}')
    scores = header.outputs.get(preprocess.output_name)
    if not scores or len(scores) != 2 or not isinstance(scores[1], int) or scores[1] < 1:
        raise BundleError(f"{path}: has no output '{preprocess.output_name}' (videos x classes), only "
                          + ', '.join(f'{name} ({_shown(shape)})' for name, shape in header.outputs.items()))
    return scores[1]


def _agree(axes: Sequence[int | str | None], wanted: Sequence[int]) -> bool:
    return all(not isinstance(axis, int) or axis == length for axis, length in zip(axes, wanted))


def _shown(axes: Sequence[int | str | None]) -> str:
    return ' x '.join(str(axis) for axis in axes)


def _read_json(path: Path) -> Any:
    return _parse(_read_bytes(path), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise BundleError(f'{path}: has {path.stat().st_size} bytes, more than any file of its kind')
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror or error}') from error


def _parse(text: str | bytes, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise BundleError(f'{where}: is no JSON: {error}') from error


def read_reference(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames, or features, that a bundle proves itself on, and the scores float32 (n, K) expected of them.

    Raises
    ------
    BundleError
        When there are none.
    """
    path = bundle.path / REFERENCE
    try:
        content = read_npz(path, {'frames': 'uif', 'logits': 'uif'})
    except (OSError, ValueError) as error:
        raise BundleError(f'{path}: cannot be read: {error}') from error
    frames, logits = content['frames'], content['logits']
    kind = np.dtype(np.uint8 if getattr(bundle.preprocess, 'of_frames', True) else np.float32)
    if frames.dtype != kind or logits.dtype != np.float32 or logits.ndim != 2 or not np.isfinite(logits).all():
        raise BundleError(f'{path}: must hold frames {kind} (n, ...) and finite logits float32 (n, K), it holds '
                          f'{frames.dtype} {frames.shape} and {logits.dtype} {logits.shape}')
    return frames, logits
