"""The folder of a run: whether it may be written, what it holds already, and what a resumed run starts from."""
from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import OutputError, UsageError
from ....files import cause_of, check_folder_takes_files, write_file
from .checkpoint import Checkpoint, understood
from .checkpoint_dir import CheckpointDir

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
        """Log what the run is resumed from, and that another engine computes from now on where one does."""
        if self.checkpoint:
            with understood(self.checkpoint):
                epoch = int(self.checkpoint.state['loop']['progress']['epoch'])
                before = self.checkpoint.state['config'].get('engine', 'mxnet')  # versions without a choice had MXNet
            log.info('%s', self.messages.resumed.format(checkpoint=self.checkpoint.path, epoch=epoch,
                                                        step=self.checkpoint.step))
            now = getattr(self.config, 'engine', before)
            if now != before:
                log.info('It was trained by --engine %s, and --engine %s computes from here on.', before, now)

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


def check_same_data(before: Mapping[str, Any], now: Mapping[str, Any], messages: FolderMessages,
                    path: str | os.PathLike = '') -> None:
    """Refuse to resume a run whose lists had another content under the same name, or whose classes were others.

    Parameters
    ----------
    before : mapping
        The state in the checkpoint; what follows is missing where an earlier version wrote it.
    now : mapping
        ``lists``, the SHA-256 of each, ``classes`` in order, and how many ``processes`` train together.
    messages : FolderMessages
    path : path
        The folder.

    Raises
    ------
    UsageError
        Naming the list, the number or the classes that differ.
    """
    lists, classes = before.get('lists') or {}, before.get('classes', now['classes'])
    changed = [messages.list_flag.format(name=name) for name, sha256 in now['lists'].items()
               if lists.get(name, sha256) != sha256]
    if classes != now['classes'] and not messages.other_classes:
        changed.append(messages.classes_source)
    if changed:
        raise UsageError(messages.other_lists.format(path=path, differing=' and '.join(changed)))
    count = before.get('processes', now.get('processes'))
    if count != now.get('processes'):  # a place within an epoch would be another one
        raise UsageError(f'{path}: {count} processes trained it together, and {now["processes"]} would resume it; '
                         f'start {count}')
    if classes != now['classes']:
        raise UsageError(messages.other_classes.format(path=path, before=classes, now=now['classes']))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: importlib.metadata.version(name) for name in packages}
