"""The folder of a run that is given by name: kept from a second run, resumed or deleted when that is asked for."""
from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ....errors import CheckpointError, OutputError, UsageError
from ....evaluate.tests_of_run import remove_tests
from ....files import open_file, parse_json
from ....printable import printable
from .. import RUN_FILES
from .checkpoint import Checkpoint
from .checkpoint_dir import open_checkpoint
from .run_folder import EVENTS, FolderMessages, RunFolder

log = logging.getLogger(__name__)


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
        Whether a new run deletes the one that is there, and the results of tests of it that lie in the folder.
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
        self._clears = self._overwrites = overwrite
        self._inside = tuple(inside)
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
            if self._overwrites and (tests := remove_tests(self.path)):
                log.info('%s: removed the results of tests of the run that is deleted: %s', self.path,
                         ', '.join(map(printable, tests)))
        except OSError as error:
            raise OutputError(f'{self.messages.folder} {self.path} cannot be cleared: '
                              f'{error.strerror or error}') from error

    def _find_checkpoint(self, resume: str) -> Checkpoint | None:
        if resume == 'auto':
            newest = self.checkpoints.load_latest()
            if newest is None:
                log.info('No checkpoint in %s yet: starting from the beginning.', self.path)
            return newest
        found = open_checkpoint(resume)
        if found is not None:
            return found
        raise CheckpointError(f'--resume {resume}: no checkpoint there; give the {self.messages.folder} of a run, one '
                              'of its checkpoints, or auto')
