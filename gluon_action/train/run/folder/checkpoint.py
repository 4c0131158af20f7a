"""A checkpoint: a folder with a file for each of its parts and a manifest of them, verified when it is read."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import CheckpointError, GluonActionError
from ....files import Changed, check_sealed, describe, open_file, parse_json
from ....model_zoo.loading.params_file import read_arrays, write_arrays

_FORMAT = 1
NEWER = '.newer'  # ends the name of a checkpoint that is to replace one of the same step
_MANIFEST = 'manifest.json'
# Names of files, which lie in the folder of their checkpoint and nowhere else.
_FILE = re.compile(r'([A-Za-z0-9_][A-Za-z0-9_.-]*)\.(params|json)')
# Parts that every run has, or that later ones read.
_KINDS = {'config': dict, 'loop': dict, 'model': (dict, type(None)), 'lists': (dict, type(None)), 'params': dict,
          'optimizer': dict, 'averages': dict}
_ARRAYS = ('params', 'optimizer', 'averages')  # as JSON only where there are none


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes
    ----------
    step : int
        The step it was saved at.
    state : dict
        The parts, as they were given to `CheckpointDir.save`.
    path : Path
        Its directory.
    refused : tuple of str
        Newer checkpoints that could not be trusted, each with the reason.
    """

    step: int
    state: dict[str, Any]
    path: Path
    refused: tuple[str, ...] = ()


def write_checkpoint(folder: Path, step: int, sequence: int, state: dict[str, Any]) -> None:
    """Write the parts of a checkpoint into an empty folder, and their manifest.

    Parameters
    ----------
    folder : Path
    step : int
    sequence : int
        Its place among the checkpoints that were saved before it.
    state : dict
        See `CheckpointDir.save`.
    """
    names = []
    for name, part in state.items():
        if isinstance(part, dict) and part and all(isinstance(value, np.ndarray) for value in part.values()):
            names.append(f'{name}.params')
            write_arrays(folder / names[-1], part)
        else:
            names.append(f'{name}.json')
            folder.joinpath(names[-1]).write_text(json.dumps(part))
    manifest = {'format': _FORMAT, 'step': step, 'sequence': sequence, 'files': describe(folder, names)}
    folder.joinpath(_MANIFEST).write_text(json.dumps({'manifest': manifest, 'sha256': _manifest_sha256(manifest)}))


def read_checkpoint(path: str | os.PathLike, parts: Collection[str] | None = None) -> tuple[int, dict[str, Any]]:
    """Verify and read the checkpoint in the directory `path`.

    Parameters
    ----------
    path : path
    parts : collection of str, optional
        Those of its parts to read and verify, where they are there; all by default.

    Returns
    -------
    step : int
    state : dict

    Raises
    ------
    CheckpointError
        Naming the directory and what is wrong with it.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    if f'step-{manifest["step"]:08d}' != path.name.removesuffix(NEWER):
        raise CheckpointError(f'{path} is refused: its manifest is of step {manifest["step"]}')
    state = _State(path)
    for name, expected in manifest['files'].items():
        file = path / name
        part, kind = _FILE.fullmatch(name).groups()
        if parts is not None and part not in parts:
            continue
        try:
            check_sealed(file, expected)
            state[part] = read_arrays(file) if kind == 'params' else _read_json(file)
        except ValueError as error:
            raise CheckpointError(f'{path} is refused: {name} is not what this program writes ({error})') from error
        except OSError as error:
            raise CheckpointError(f'{path} is refused: {name}: {error.strerror or error}') from error
        except Changed as change:
            what = (f'has {change.found} bytes instead of {change.expected}' if change.what == 'bytes' else
                    'does not have the SHA-256 of its manifest')
            raise CheckpointError(f'{path} is refused: {name} {what}') from change
        if not isinstance(state[part], _KINDS.get(part, object)) or kind == 'json' and state[part] and part in _ARRAYS:
            raise CheckpointError(f'{path} is refused: {name} is not what this program writes')
    return manifest['step'], state


class _State(dict):
    """The parts of a checkpoint; who asks for one that it lacks is told so."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def __missing__(self, part: str):
        raise CheckpointError(f'{self.path} is refused: it has no part {part!r}: it is of another command, '
                              'or another version')


@contextlib.contextmanager
def understood(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn what goes wrong with the content of a checkpoint, whose files are whole, into an error that names it.

    Raises
    ------
    CheckpointError
    """
    try:
        yield
    except GluonActionError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f'{checkpoint.path} is refused: its files are whole, and not what this program writes '
                              f'({type(error).__name__}: {error}); resume from another one, or start anew') from error


def sequence_of(path: Path) -> int | None:
    """Place of a checkpoint among those of its run, from 1; None where it does not tell."""
    try:
        return _read_manifest(path)['sequence']
    except CheckpointError:
        return None


def _read_json(file: Path) -> Any:
    with open_file(file) as stream:
        return parse_json(stream.read())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        document = _read_json(path / _MANIFEST)
        manifest = document['manifest']
        whole = document['sha256'] == _manifest_sha256(manifest)
    except OSError as error:
        raise CheckpointError(f'{path} is refused: {_MANIFEST}: {error.strerror or error}') from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{path} is refused: {_MANIFEST} is torn') from error
    if not whole:
        raise CheckpointError(f'{path} is refused: {_MANIFEST} does not have its own SHA-256')
    if not isinstance(manifest, dict) or manifest.get('format') != _FORMAT:
        told = manifest.get('format') if isinstance(manifest, dict) else None
        raise CheckpointError(f'{path} is refused: format {told!r}, this version reads {_FORMAT}')
    files, numbers = manifest.get('files'), (manifest.get('step'), manifest.get('sequence'))
    if not isinstance(files, dict) or not all(
            _FILE.fullmatch(name) and isinstance(seal, dict) for name, seal in files.items()) or not all(
            type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise CheckpointError(f'{path} is refused: {_MANIFEST} does not say step, sequence and files of its folder')
    return manifest


def _manifest_sha256(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
