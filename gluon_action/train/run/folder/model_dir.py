"""A folder of runs as TensorFlow's estimators have: the run that is there is resumed, or is put aside as a phase."""
from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ....errors import OutputError, UsageError
from ....files import cause_of, open_file, parse_json
from .. import RUN_FILES
from .checkpoint import Checkpoint
from .run_folder import EVENTS, FolderMessages, RunFolder

log = logging.getLogger(__name__)


class ModelDir(RunFolder):
    """A folder as TensorFlow's estimators have: the run that is there is resumed, or put aside as a phase.

    Parameters
    ----------
    path, config, messages, may_differ
        See `RunFolder`.
    trains : bool
        Whether the run that is there is resumed; otherwise the folder is only written to.
    restart : bool
        Put another run in a folder ``phase-N`` of its own, instead of refusing it. A run that was started so is resumed
        by the same command.
    command : str
        The option that tells runs of this command from those of others.

    Raises
    ------
    OutputError
        When the folder cannot be made or written.
    UsageError
        When it holds a run with other options and nobody asked to put it aside, or one of another command.
    CheckpointError
        When there are checkpoints, none of them whole.
    """

    #: What is put aside: all that a run leaves but its checkpoints, which follow last.
    _own = re.compile('|'.join([*map(re.escape, RUN_FILES), EVENTS, r'train\.log', r'eval\.json',
                                r'predictions\.(csv|json)', r'(eval|predictions)\.unfinished', r'.*\.(params|states)']))

    def __init__(self, path: str | os.PathLike, config: Any, messages: FolderMessages, may_differ: Iterable[str], *,
                 trains: bool, restart: bool = False, command: str = 'network'):
        super().__init__(path, config, messages, may_differ)
        self._command = command
        self._make_writable()
        if trains:
            self.checkpoint = self._found(restart)

    def last_phase(self) -> Path | None:
        """The phase that was put aside last."""
        return next(reversed(self._phases()), None)

    def reserve(self, *names: str, overwrite: bool = False) -> None:
        """Refuse to replace results of these names, unless `overwrite`.

        Raises
        ------
        UsageError
            Naming the file.
        """
        for name in names:
            if (self.path / name).exists() and not overwrite:
                raise UsageError(f'{self.path / name} exists; pass --overwrite to replace it')

    def _found(self, restart: bool) -> Checkpoint | None:
        newest = self.checkpoints.load_latest()
        if newest is None:
            self._check_not_of_others()
            return None
        before = newest.state.get('config') or {}
        if before.get(self._command) is None:
            raise UsageError(f'{self.messages.folder} {self.path} holds a run of another command; give another folder')
        differing = self.differing(before)
        # Repeated, a command with --restart resumes the phase that it has begun.
        if restart and (differing or not before.get('restart')):
            self._put_aside()
            return None
        self._refuse(self.messages.other_run, differing)
        return newest

    def _check_not_of_others(self) -> None:
        try:
            with open_file(self.path / 'config.json') as file:
                about = parse_json(file.read())
            ours = about['config'][self._command] == getattr(self.config, self._command)
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError):
            ours = False
        if not ours:
            raise UsageError(f'{self.messages.folder} {self.path} holds the config.json of something else; give '
                             'another folder')

    def _put_aside(self) -> None:
        phase = self._next_phase()
        try:
            phase.mkdir(exist_ok=True)
            for path in sorted(self.path.iterdir()):
                if self._own.fullmatch(path.name):
                    os.rename(path, phase / path.name)
            # The checkpoints last: as long as they are here, the same command does this again.
            os.rename(self.checkpoints.path, phase / 'checkpoints')
        except OSError as error:
            raise OutputError(f'--restart: {self.path} cannot be put aside in {phase.name}: '
                              f'{cause_of(error)}') from error
        log.info('--restart: the run before is kept in %s.', phase)

    def _phases(self) -> list[Path]:
        """Phases that were put aside whole, in order."""
        numbers = {path: re.fullmatch(r'phase-(\d+)', path.name) for path in self.path.glob('phase-*')}
        return sorted((path for path, match in numbers.items() if match and (path / 'checkpoints').is_dir()),
                      key=lambda path: int(path.name[6:]))

    def _next_phase(self) -> Path:
        last = self.last_phase()
        return self.path / f'phase-{int(last.name[6:]) + 1 if last else 1}'
