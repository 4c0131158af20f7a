"""The folder of a run: whether it may be written, what it holds already, and what a resumed run goes on from."""
from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, OutputError, UsageError
from ...files import write_file
from ..recipes.config import FREE_ON_RESUME, OF_THE_NETWORK, RUN_FILES, TrainConfig
from .checkpoint import Checkpoint, CheckpointDir, read_checkpoint

log = logging.getLogger(__name__)

#: What a run leaves, beside parameters and the log; only these are removed by --overwrite.
_OWN = re.compile(rf'({"|".join(map(re.escape, RUN_FILES))}|events\.out\.tfevents\..*)$')


class RunFolder:
    """Where a run keeps its results.

    Parameters
    ----------
    config : TrainConfig
        `save_dir`, `resume` and `overwrite` say where, and what to do with what is there.

    Attributes
    ----------
    path : Path
    checkpoint : Checkpoint or None
        What the run goes on from.

    Raises
    ------
    OutputError
        When the folder cannot be made or written.
    UsageError
        When it holds a run, or files under the names of one, that nobody asked to go on with or to delete; or the run
        that goes on was another one.
    CheckpointError
        When there is nothing whole to go on from.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.path = Path(config.save_dir).expanduser()
        if not config.eval:  # which writes nothing
            self._make_writable()
        self.checkpoints = CheckpointDir(self.path / 'checkpoints')
        self.checkpoint = None
        if config.resume:
            self.checkpoint = self._find_checkpoint(config.resume)
        if not config.eval:
            self._check_occupied()
        if self.checkpoint:
            self.check_choices(self.checkpoint.state['config'])
            log.info('Going on from %s (epoch %d, step %d).', self.checkpoint.path,
                     self.checkpoint.state['loop']['progress']['epoch'], self.checkpoint.step)

    def check_choices(self, before: dict[str, Any]) -> None:
        """Refuse to go on with a run that made other choices; see `check_same_run`."""
        check_same_run(before, self.config)

    def check_data(self, recipe) -> None:
        """Refuse to go on with lists or classes that are not those the run was started with.

        Raises
        ------
        UsageError
            Naming the list whose content has changed under the same name.
        """
        if self.checkpoint:
            check_same_data(self.checkpoint.state, data_of(recipe))

    def begin(self, recipe) -> None:
        """Delete the run that is to be overwritten and write ``config.json``.

        It holds every choice, the data, the model, and the versions. Called once data and weights are there, so that
        a mistyped path does not cost the old run.
        """
        if self.config.overwrite:
            self._clear()
        about = {
            'config': dataclasses.asdict(self.config), 'num_classes': recipe.num_classes, 'classes': recipe.classes,
            'model': {'name': recipe.card.name, 'source': recipe.card.source, 'mean': recipe.card.mean,
                      'std': recipe.card.std, 'input_layout': recipe.card.input_layout},
            'lists': {name: {'file': loader.dataset.setting, 'sha256': loader.dataset.list_sha256,
                             'videos': len(loader.dataset)}
                      for name, loader in (('train', recipe.train_loader), ('val', recipe.val_loader)) if loader},
            'clip_stride': usual_stride(recipe),
            'versions': {name: importlib.metadata.version(name) for name in ('gluon_action', 'numpy', 'decord', 'av')},
        }
        write_file(self.path / 'config.json', json.dumps(about, indent=2) + '\n')

    def way_on(self) -> str:
        """Say what the same command with ``--resume auto`` would go on from."""
        newest = self.checkpoints.newest()
        if newest is None:
            return f'{self.path} holds no checkpoint yet: the same command starts anew with --overwrite.'
        return f'The same command with --resume auto goes on from {newest}.'

    def _make_writable(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise OutputError(f'--save-dir {self.path} cannot be written: {error.strerror or error}') from error

    def _check_occupied(self) -> None:
        if self.config.overwrite:
            self._check_start_is_kept()
            return
        if self.config.resume and (self.checkpoint is None or self._is_ours(self.checkpoint)):
            holds_run = False  # it is the one that goes on; or it ended before its first checkpoint, and starts again
            strange = [] if self._holds_run() else self._written()
        else:
            holds_run, strange = self._holds_run(), self._written()
        if holds_run:
            raise UsageError(f'--save-dir {self.path} holds a run already: --resume auto goes on with it, '
                             '--overwrite deletes it, another --save-dir keeps both')
        if strange:
            raise UsageError(f'--save-dir {self.path} holds {", ".join(path.name for path in strange)}, which a run '
                             'would replace or add to: --overwrite deletes that, another --save-dir keeps it')

    def _check_start_is_kept(self) -> None:
        folder = self.path.resolve()
        for name in ('resume_params', 'resume_states', 'teacher_params'):
            given = getattr(self.config, name)
            if given and Path(given).expanduser().resolve().is_relative_to(folder):
                raise UsageError(f'--overwrite: --{name.replace("_", "-")} {given} lies in --save-dir {self.path}, '
                                 'whose run is deleted before the new one has saved anything; move the file out of '
                                 'there, or give another --save-dir')

    def _holds_run(self) -> bool:
        return (self.path / 'config.json').exists() or self.checkpoints.newest() is not None

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.path.resolve().parent == self.checkpoints.path.resolve()

    def _written(self) -> list[Path]:
        # What a run writes, beside checkpoints: a folder may hold other things of the user's.
        weights = re.compile(rf'(\d\.\d{{4}}-)?{re.escape(self.config.dataset)}-{re.escape(self.config.model)}'
                             r'-\d{3,}(-best)?\.(params|states)$')
        return sorted(path for path in self.path.iterdir() if _OWN.match(path.name) or weights.match(path.name)
                      or path.name == self.config.logging_file)

    def _clear(self) -> None:
        try:
            for path in self._written():
                path.unlink()
            self.checkpoints.clear()
            with contextlib.suppress(FileNotFoundError):
                if not any(self.checkpoints.path.iterdir()):
                    self.checkpoints.path.rmdir()
        except OSError as error:
            raise OutputError(f'--overwrite: {self.path} cannot be cleared: {error.strerror or error}') from error

    def _find_checkpoint(self, resume: str) -> Checkpoint | None:
        if resume == 'auto':
            found = self.checkpoints.load_latest()
            if found is None:
                log.info('No checkpoint in %s yet: starting from the beginning.', self.path)
            return found
        folder = Path(resume).expanduser()
        if (folder / 'manifest.json').exists():
            step, state = read_checkpoint(folder)
            return Checkpoint(step, state, folder)
        with contextlib.suppress(NotADirectoryError):
            for place in (folder / 'checkpoints', folder):
                found = CheckpointDir(place).load_latest() if place.is_dir() else None
                if found is not None:
                    return found
        raise CheckpointError(f'--resume {resume}: no checkpoint there; give the --save-dir of a run, one of its '
                              'checkpoints, or auto')


def data_of(recipe) -> dict[str, Any]:
    """Return what tells whether the data of a run are the same: SHA-256 of each list, and the classes in order."""
    loaders = {'train': recipe.train_loader, 'val': recipe.val_loader}
    return {'lists': {name: loader.dataset.list_sha256 for name, loader in loaders.items() if loader is not None},
            'classes': recipe.classes}


def usual_stride(recipe) -> int | None:
    """Return the distance of the frames of a clip that is spread over a training video of median length.

    None where clips are not spread, or the lists do not say how long videos are.
    """
    if recipe.config.clip_sampling != 'spread':
        return None
    lengths = sorted(length for length in map(_length, recipe.train_loader.dataset.samples) if length)
    return max(1, round(lengths[len(lengths) // 2] / recipe.config.new_length)) if lengths else None


def _length(sample) -> int | None:
    if sample.first is not None and sample.last is not None:
        return sample.last - sample.first + 1
    if sample.num_frames is None and os.path.isdir(sample.path):
        return len(os.listdir(sample.path))
    return sample.num_frames


def check_same_data(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on when the content of a list has changed, which its name does not tell.

    Parameters
    ----------
    before : dict
        The state in the checkpoint; ``lists`` and ``classes`` are missing where an earlier version wrote it.
    now : dict
        From `data_of`.

    Raises
    ------
    UsageError
        Naming the list, or the classes that differ.
    """
    lists = before.get('lists') or {}
    changed = [f'--{name}-list' for name, sha256 in now['lists'].items() if lists.get(name, sha256) != sha256]
    if changed:
        raise UsageError(f'--resume: the content of {" and ".join(changed)} is not what the run was started with. '
                         'Restore it, or start a new run from its parameters: --resume-params, with another '
                         '--save-dir')
    if before.get('classes', now['classes']) != now['classes']:
        raise UsageError(f'--resume: the classes were {before["classes"]} and are {now["classes"]}. Restore them, or '
                         'start a new run: with another --save-dir')


def check_same_run(before: dict, config: TrainConfig) -> None:
    """Refuse to go on with a run whose result would not be what either configuration says.

    Parameters
    ----------
    before : dict
        The configuration in the checkpoint.
    config : TrainConfig
        The one now; choices in `FREE_ON_RESUME` may differ, and where it only evaluates, all but `OF_THE_NETWORK`.

    Raises
    ------
    UsageError
        Naming the choices that differ.
    """
    differing = [f'--{name if name == "use_se" else name.replace("_", "-")} was {was!r} and is {now!r}'
                 for name, was, now in other_choices(before, config)]  # --use_se is GluonCV's
    if differing and config.eval:
        raise UsageError(f'--eval: the parameters are of another network: {"; ".join(differing)}. Give what the run '
                         'was started with')
    if differing:
        raise UsageError(f'--resume: the run was another one: {"; ".join(differing)}. Give what it was started with, '
                         'or start a new run from its parameters: --resume-params, with another --save-dir')
    if not config.eval and before['num_epochs'] != config.num_epochs and config.lr_mode in ('poly', 'cosine', 'linear'):
        log.warning('--num-epochs was %d and is %d: the %s schedule is another one from here on.',
                    before['num_epochs'], config.num_epochs, config.lr_mode)


def other_choices(before: dict[str, Any], config: TrainConfig) -> list[tuple[str, Any, Any]]:
    """Return what must agree between a run and the one that goes on from it, and does not: name, then, now."""
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    # A choice that came later than the checkpoint was what it is by default.
    before = {field.name: field.default for field in dataclasses.fields(config)} | before
    names = OF_THE_NETWORK if config.eval else [name for name in now if name not in FREE_ON_RESUME]
    return [(name, before.get(name), now[name]) for name in names if before.get(name) != now[name]]
