"""Checkpoints that survive a kill at any byte: written aside, synced, renamed, and verified when read."""
from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, GluonActionError, OutputError
from ...files import (
    Changed,
    cause_of,
    check_sealed,
    describe,
    open_file,
    parse_json,
    put_folder,
    space_left,
    sync,
)
from ...model_zoo.params_file import read_arrays, write_arrays

_FORMAT = 1
_NEWER = '.newer'  # ends the name of a checkpoint that is to replace one of the same step
_MANIFEST = 'manifest.json'
# Names of files, which lie in the folder of their checkpoint and nowhere else.
_FILE = re.compile(r'([A-Za-z0-9_][A-Za-z0-9_.-]*)\.(params|json)')
# Parts that every run has, or that later ones read.
_KINDS = {'config': dict, 'loop': dict, 'model': (dict, type(None)), 'lists': (dict, type(None)), 'params': dict,
          'optimizer': dict, 'averages': dict}
_ARRAYS = ('params', 'optimizer', 'averages')  # as JSON only where there are none
_log = logging.getLogger(__name__)


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


@dataclass
class CheckpointDir:
    """A directory of checkpoints, of which the newest are kept.

    Each is a directory ``step-00000123`` with one file a part and a manifest of their SHA-256. It gets this name only
    once it is whole and on disk; at every moment before, the ones saved earlier are untouched.

    Parameters
    ----------
    path : path
        Made when the first checkpoint is saved.
    keep : int
        Checkpoints to keep, at least 1. Two, so that one that rots on disk does not end the run.
    """

    path: Path
    keep: int = 2
    _distrusted: set[Path] = field(default_factory=set, repr=False)

    def __post_init__(self):
        self.path = Path(self.path).expanduser()

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save `state` as the newest checkpoint.

        Parameters
        ----------
        step : int
            Names the checkpoint; one of the same step is replaced.
        state : dict
            Named parts: a dict of ndarray is stored in MXNet's parameter format, anything else as JSON.

        Returns
        -------
        Path
            The directory ``step-...``.

        Raises
        ------
        OutputError
            When it cannot be written: no space, no permission. The checkpoints before it are as they were.
        """
        final = self.path / f'step-{step:08d}'
        part = self.path / f'.part-{final.name}-{os.getpid()}'
        try:
            self._remove_leftovers()
            part.mkdir(parents=True)
            self._write_parts(part, step, state)
            # Beside one of the same step until that is gone, so that a kill leaves one of them.
            newer = final.with_name(final.name + _NEWER) if final.exists() else final
            put_folder(part, newer)
            self._settle()
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise OutputError(f'cannot save the checkpoint {final}: {cause_of(error)}{space_left(self.path)}; '
                              f'the checkpoints before it are kept') from error
        self._distrusted.discard(final)
        self._prune()
        return final

    def load_latest(self, parts: Collection[str] | None = None) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; None when there is none at all.

        Parameters
        ----------
        parts : collection of str, optional
            As in `read_checkpoint`.

        Raises
        ------
        CheckpointError
            When there are checkpoints and none can be trusted; the message names each with its reason.
        """
        refused = []
        for path in self._newest_first():
            try:
                step, state = read_checkpoint(path, parts)
            except CheckpointError as error:
                _log.warning('%s; trying the checkpoint before it', error)
                self._distrusted.add(path)
                refused.append(str(error))
            else:
                return Checkpoint(step, state, path, tuple(refused))
        if refused:
            raise CheckpointError('no checkpoint can be trusted: ' + '; '.join(refused)
                                  + f'; start anew without --resume, or remove {self.path}')
        return None

    def newest(self) -> Path | None:
        """The checkpoint that `load_latest` would look at first, unread."""
        return next(iter(self._newest_first()), None)

    def clear(self) -> None:
        """Remove every checkpoint: what a run that starts anew in this directory does first.

        Raises
        ------
        OutputError
            When one cannot be removed.
        """
        try:
            self._remove_leftovers()
            for path in self._newest_first():
                self._discard(path)
        except OSError as error:
            raise OutputError(f'cannot remove the old checkpoints in {self.path}: {error.strerror or error}') from error

    def _write_parts(self, folder: Path, step: int, state: dict[str, Any]) -> None:
        names = []
        for name, part in state.items():
            if isinstance(part, dict) and part and all(isinstance(value, np.ndarray) for value in part.values()):
                names.append(f'{name}.params')
                write_arrays(folder / names[-1], part)
            else:
                names.append(f'{name}.json')
                folder.joinpath(names[-1]).write_text(json.dumps(part))
        manifest = {'format': _FORMAT, 'step': step, 'sequence': self._next_sequence(),
                    'files': describe(folder, names)}
        folder.joinpath(_MANIFEST).write_text(json.dumps({'manifest': manifest, 'sha256': _manifest_sha256(manifest)}))

    def _next_sequence(self) -> int:
        return max((_sequence(path) or 0 for path in self.path.glob('step-*')), default=0) + 1

    def _newest_first(self) -> list[Path]:
        # By order of saving, not by step: a run that started anew in this directory has lower steps than the old one.
        # One that does not tell its place comes first, so that it is looked at and its damage reported.
        sequences = {path: _sequence(path) for path in self.path.glob('step-*')}
        return sorted(sequences, key=lambda path: (sequences[path] is None, sequences[path] or 0, path.name),
                      reverse=True)

    def _prune(self) -> None:
        kept = 0
        for path in self._newest_first():
            if path not in self._distrusted and _sequence(path) is not None and kept < self.keep:
                kept += 1
                continue
            with contextlib.suppress(OSError):  # the new checkpoint is safe; a leftover is removed at the next save
                self._discard(path)

    def _discard(self, path: Path) -> None:
        # Renamed first, so that a kill in the middle leaves no half checkpoint under a checkpoint's name.
        aside = path.with_name(f'.part-old-{path.name}-{os.getpid()}')
        os.rename(path, aside)
        shutil.rmtree(aside)

    def _remove_leftovers(self) -> None:
        for path in self.path.glob('.part-*'):
            shutil.rmtree(path)
        self._settle()

    def _settle(self) -> None:
        """Give checkpoints that were saved beside one of the same step their name."""
        for path in self.path.glob(f'step-*{_NEWER}'):
            final = path.with_name(path.name.removesuffix(_NEWER))
            if final.exists():
                self._discard(final)
            os.rename(path, final)
            sync(self.path)


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
    if f'step-{manifest["step"]:08d}' != path.name.removesuffix(_NEWER):
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


def _sequence(path: Path) -> int | None:
    try:
        return _read_manifest(path)['sequence']
    except CheckpointError:
        return None


def _manifest_sha256(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
