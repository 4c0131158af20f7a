"""The folder of a run: whether it may be written, what it holds already, and what a resumed run starts from."""
from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, OutputError, UsageError
from ...files import cause_of, check_folder_takes_files, open_file, parse_json, write_file
from . import RUN_FILES
from .checkpoint import Checkpoint, CheckpointDir, read_checkpoint, understood

log = logging.getLogger(__name__)

#: Names of the files that TensorBoard reads.
EVENTS = r'events\.out\.tfevents\..*'


def flag_of(name: str) -> str:
    """Return the flag of an option: ``--save-dir`` for ``save_dir``."""
    return f'--{name.replace("_", "-")}'


@dataclass(frozen=True)
class FolderMessages:
    """What a command says about the folder of its runs, in the words of its flags.

    Each is a template. It may name ``{path}``, the folder; where they are known also ``{differing}``, what is not as
    in the run that is there, and ``{checkpoint}``, ``{epoch}`` and ``{step}``.

    Attributes
    ----------
    folder : str
        The flag that names the folder.
    flag : callable
        ``flag(option)`` is the flag of an option of the configuration.
    other_run : str
        Refuses to resume a run that had other options.
    other_lists, other_classes : str
        Refuse to resume a run that had other data. Where `other_classes` is empty, `other_lists` says both.
    list_flag, classes_source : str
        What names the list ``{name}``, and the classes.
    resumed : str
        Logged when a run is resumed.
    resume_hint, start_hint : str
        Said when a run ends early: what resumes it, or that there is nothing to resume.
    unreadable_video : str
        What can be done about a video that stopped a run. Empty where nothing is to be added to the error.
    overwrite : str
        The flag that deletes the run that is there; empty where a command has none, and each run a folder of its own.
    """

    folder: str
    other_run: str
    other_lists: str
    resume_hint: str
    start_hint: str
    other_classes: str = ''
    flag: Callable[[str], str] = flag_of
    list_flag: str = '--{name}-list'
    classes_source: str = 'the classes'
    resumed: str = 'Going on from {checkpoint} (epoch {epoch}, step {step}).'
    unreadable_video: str = ''
    overwrite: str = ''


class RunFolder:
    """Where a run keeps its results. How it comes to resume the run that is there is up to `SaveDir` and `ModelDir`.

    Parameters
    ----------
    path : path
    config : dataclass
        Options of the run. They are compared to those in the checkpoint.
    messages : FolderMessages
    may_differ : collection of str
        Options that may be other ones when a run is resumed: the result does not depend on them, or is meant to.

    Attributes
    ----------
    path : Path
    checkpoints : CheckpointDir
    checkpoint : Checkpoint or None
        What the run is resumed from.
    """

    def __init__(self, path: str | os.PathLike, config: Any, messages: FolderMessages, may_differ: Iterable[str]):
        self.path = Path(path).expanduser()
        self.config, self.messages, self.may_differ = config, messages, frozenset(may_differ)
        self.checkpoints = CheckpointDir(self.path / 'checkpoints')
        self.checkpoint: Checkpoint | None = None

    def announce(self) -> None:
        """Log what the run is resumed from."""
        if self.checkpoint:
            with understood(self.checkpoint):
                epoch = int(self.checkpoint.state['loop']['progress']['epoch'])
            log.info('%s', self.messages.resumed.format(checkpoint=self.checkpoint.path, epoch=epoch,
                                                        step=self.checkpoint.step))

    def check_data(self, now: Mapping[str, Any]) -> None:
        """Refuse to resume a run that had other data, see `check_same_data`."""
        if self.checkpoint:
            with understood(self.checkpoint):
                check_same_data(self.checkpoint.state, now, self.messages, self.path)

    def begin(self, about: dict[str, Any]) -> None:
        """Write ``config.json``. Called once data and weights are there."""
        write_file(self.path / 'config.json', json.dumps(about, indent=2) + '\n')

    def resume_hint(self) -> str:
        """Say what resumes the run when it has ended early."""
        newest = self.checkpoints.newest()
        hint = self.messages.start_hint if newest is None else self.messages.resume_hint
        return hint.format(path=self.path, checkpoint=newest)

    def last_state(self) -> str:
        """Say what is kept of a run that has gone wrong."""
        newest = self.checkpoints.newest()
        return 'There is no checkpoint yet' if newest is None else f'{newest} is from before this and is kept'

    def differing(self, before: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
        """Say which options were other ones when the run began.

        Parameters
        ----------
        before : mapping
            The configuration in the checkpoint.
        names : iterable of str, optional
            Options to compare; by default all but those that may differ.
        """
        now = json.loads(json.dumps(dataclasses.asdict(self.config)))
        # An option that came later than the checkpoint was what it is by default.
        before = {field.name: field.default for field in dataclasses.fields(self.config)} | dict(before)
        names = [name for name in now if name not in self.may_differ] if names is None else names
        return [f'{self.messages.flag(name)} was {before.get(name)!r} and is {now[name]!r}' for name in names
                if before.get(name) != now[name]]

    def _make_writable(self) -> None:
        try:
            check_folder_takes_files(self.path)
        except OSError as error:
            raise OutputError(f'{self.messages.folder} {self.path} cannot be written: '
                              f'{cause_of(error)}') from error

    def _refuse(self, template: str, differing: list[str], join: str = '; ') -> None:
        if differing:
            raise UsageError(template.format(path=self.path, differing=join.join(differing)))


class SaveDir(RunFolder):
    """A folder whose run is resumed when that is asked for, deleted when that is, and safe otherwise.

    Parameters
    ----------
    path, config, messages, may_differ
        See `RunFolder`.
    resume : str
        ``'auto'`` for the newest checkpoint in the folder; or one from elsewhere: the folder of a run, or a checkpoint.
        Empty for a new run.
    overwrite : bool
        Whether a new run deletes the one that is there.
    written : str
        Regular expression of the names of parameter files and of the log that the run writes, beside `RUN_FILES`.
    inside : collection of str
        Folders in it whose TensorBoard events are the run's too.
    needed : mapping of str to str
        Files that the run starts from, by their options; these are not to be deleted.
    evaluated : collection of str, optional
        Given where parameters are only to be scored: nothing is written, and these are the options that must agree.

    Raises
    ------
    OutputError
        When the folder cannot be made or written.
    UsageError
        When it holds a run, or files under the names of one, that nobody asked to resume or to delete; or the run that
        is resumed had other options.
    CheckpointError
        When there is nothing whole to resume.
    """

    def __init__(self, path: str | os.PathLike, config: Any, messages: FolderMessages, may_differ: Iterable[str], *,
                 resume: str | None = None, overwrite: bool = False, written: str = '', inside: Iterable[str] = (),
                 needed: Mapping[str, str] | None = None, evaluated: Iterable[str] | None = None):
        super().__init__(path, config, messages, may_differ)
        self._clears, self._inside = overwrite, tuple(inside)
        self._own = re.compile('|'.join(filter(None, [*map(re.escape, RUN_FILES), EVENTS, written])))
        if evaluated is None:
            self._make_writable()
        if resume:
            self.checkpoint = self._find_checkpoint(resume)
        if evaluated is None:
            self._check_occupied(resume, needed or {})
        if self.checkpoint:
            before = self.checkpoint.state['config']
            if evaluated is None:
                self._refuse(self.messages.other_run, self.differing(before))
            else:
                self._refuse('--eval: the parameters are of another network: {differing}. Give what the run was '
                             'started with', self.differing(before, evaluated))

    def begin(self, about):
        """Delete the run that is to be overwritten, or what a start has left, and write ``config.json``.

        Called once data and weights are there, so that a mistyped path does not cost the old run.
        """
        if self._clears:
            self._clear()
        super().begin(about)

    def _check_occupied(self, resume: str | None, needed: Mapping[str, str]) -> None:
        if self._clears:
            self._check_start_is_kept(needed)
            return
        if resume and (self.checkpoint is None or self._is_ours(self.checkpoint)):
            holds_run = False  # it is the one that is resumed; or it ended before its first checkpoint, and restarts
            strange = [] if self._holds_run() else self._written()
        elif self._is_left_by_a_start():
            log.info('%s %s holds a run that ended before its first checkpoint: a new one takes its place.',
                     self.messages.folder, self.path)
            self._clears = True
            return
        else:
            holds_run, strange = self._holds_run(), self._written()
        flag = self.messages.folder
        if holds_run:
            raise UsageError(f'{flag} {self.path} holds a run already: --resume auto resumes it, '
                             f'{self.messages.overwrite} deletes it, another {flag} keeps both')
        if strange:
            raise UsageError(f'{flag} {self.path} holds {", ".join(path.name for path in strange)}, which a run '
                             f'would replace or add to: {self.messages.overwrite} deletes that, another {flag} keeps '
                             'it')

    def _check_start_is_kept(self, needed: Mapping[str, str]) -> None:
        folder, flag = self.path.resolve(), self.messages.folder
        for option, given in needed.items():
            if given and Path(given).expanduser().resolve().is_relative_to(folder):
                raise UsageError(f'{self.messages.overwrite}: {self.messages.flag(option)} {given} lies in {flag} '
                                 f'{self.path}, '
                                 'whose run is deleted before the new one has saved anything; move the file out of '
                                 f'there, or give another {flag}')

    def _holds_run(self) -> bool:
        return (self.path / 'config.json').exists() or self.checkpoints.newest() is not None

    def _is_left_by_a_start(self) -> bool:
        """Whether all that a run has left is what one writes before it has learnt anything."""
        try:
            with open_file(self.path / 'config.json') as file:
                begun = 'gluon_action' in parse_json(file.read())['versions']
        except (OSError, ValueError, LookupError, TypeError):
            return False
        learnt = any(path.suffix in ('.params', '.states') for path in self._written())
        return begun and not learnt and self.checkpoints.newest() is None

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.path.resolve().parent == self.checkpoints.path.resolve()

    def _written(self) -> list[Path]:
        # What a run writes, beside checkpoints: a folder may hold other things of the user's.
        events = [path for name in self._inside for path in (self.path / name).glob('*')
                  if re.fullmatch(EVENTS, path.name)]
        return sorted(path for path in self.path.iterdir() if self._own.fullmatch(path.name)) + sorted(events)

    def _clear(self) -> None:
        try:
            for path in self._written():
                path.unlink()
            self.checkpoints.clear()
            with contextlib.suppress(FileNotFoundError):
                if not any(self.checkpoints.path.iterdir()):
                    self.checkpoints.path.rmdir()
        except OSError as error:
            raise OutputError(f'{self.messages.folder} {self.path} cannot be cleared: '
                              f'{error.strerror or error}') from error

    def _find_checkpoint(self, resume: str) -> Checkpoint | None:
        if resume == 'auto':
            newest = self.checkpoints.load_latest()
            if newest is None:
                log.info('No checkpoint in %s yet: starting from the beginning.', self.path)
            return newest
        folder = Path(resume).expanduser()
        if (folder / 'manifest.json').exists():
            step, state = read_checkpoint(folder)
            return Checkpoint(step, state, folder)
        with contextlib.suppress(NotADirectoryError):
            for place in (folder / 'checkpoints', folder):
                newest = CheckpointDir(place).load_latest() if place.is_dir() else None
                if newest is not None:
                    return newest
        raise CheckpointError(f'--resume {resume}: no checkpoint there; give the {self.messages.folder} of a run, one '
                              'of its checkpoints, or auto')


def check_same_data(before: Mapping[str, Any], now: Mapping[str, Any], messages: FolderMessages,
                    path: str | os.PathLike = '') -> None:
    """Refuse to resume a run whose lists had another content under the same name, or whose classes were others.

    Parameters
    ----------
    before : mapping
        The state in the checkpoint; ``lists`` and ``classes`` are missing where an earlier version wrote it.
    now : mapping
        ``lists``, the SHA-256 of each, and ``classes`` in order.
    messages : FolderMessages
    path : path
        The folder.

    Raises
    ------
    UsageError
        Naming the list, or the classes that differ.
    """
    lists, classes = before.get('lists') or {}, before.get('classes', now['classes'])
    changed = [messages.list_flag.format(name=name) for name, sha256 in now['lists'].items()
               if lists.get(name, sha256) != sha256]
    if classes != now['classes'] and not messages.other_classes:
        changed.append(messages.classes_source)
    if changed:
        raise UsageError(messages.other_lists.format(path=path, differing=' and '.join(changed)))
    if classes != now['classes']:
        raise UsageError(messages.other_classes.format(path=path, before=classes, now=now['classes']))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: importlib.metadata.version(name) for name in packages}
