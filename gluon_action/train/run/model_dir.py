"""The folder of an estimator's run: what a run goes on from, and where the phase before it is put aside."""
from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ...errors import OutputError, UsageError
from ...files import write_file
from ..recipes.clip_estimator_config import FREE_TO_CHANGE, EstimatorConfig
from .checkpoint import Checkpoint, CheckpointDir

log = logging.getLogger(__name__)

LOG = 'train.log'
EVALUATION = 'eval.json'
PREDICTIONS = ('predictions.csv', 'predictions.json')

#: What a run leaves: put aside together, its checkpoints last.
_OWN = re.compile(r'(config\.json|metrics\.jsonl|failures\.jsonl|history\.png|train\.log|eval\.json|'
                  r'events\.out\.tfevents\..*|predictions\.(csv|json)|.*\.params|.*\.states)$')


class ModelDir:
    """Where a run keeps its results.

    Parameters
    ----------
    config : EstimatorConfig
        `model_dir` says where, `restart` what to do with another run that is there.

    Attributes
    ----------
    config : EstimatorConfig
        As given, but a run that goes on keeps its `restart`.
    path : Path
    checkpoints : CheckpointDir
    checkpoint : Checkpoint or None
        What a run that trains goes on from.

    Raises
    ------
    OutputError
        When the folder cannot be made or written.
    UsageError
        When it holds a run with other settings, and nobody asked to put it aside.
    CheckpointError
        When there are checkpoints, none of them whole.
    """

    def __init__(self, config: EstimatorConfig):
        self.config = config
        self.path = Path(config.model_dir).expanduser()
        self.checkpoints = CheckpointDir(self.path / 'checkpoints')
        self.checkpoint: Checkpoint | None = None
        self._make_writable()
        if config.trains:
            self.checkpoint = self._found()

    def source(self) -> str | Path | None:
        """What a new run starts from: --checkpoint_path, or the phase that was put aside last; None for nothing."""
        if self.config.checkpoint_path is not None:
            return self.config.checkpoint_path
        phases = self._phases()
        return phases[-1] if phases and self.config.restart else None

    def check_data(self, data: dict[str, Any]) -> None:
        """Refuse to go on with records or classes that are not those the run was started with; see `data_of`.

        Raises
        ------
        UsageError
            Naming what differs.
        """
        before = self.checkpoint.state if self.checkpoint else {}
        known = before.get('lists') or {}
        changed = [f'--{name}_subset_dir_path' for name, sha256 in data['lists'].items()
                   if known.get(name, sha256) != sha256]
        if before.get('classes', data['classes']) != data['classes']:
            changed.append('classes.txt beside the records')
        if changed:
            raise UsageError(f'{self.path} holds a run with other data: {" and ".join(changed)} changed. Give what it '
                             f'was started with; {_NEW_PHASE}')

    def begin(self, net, data: dict[str, Any], start: str | None) -> None:
        """Write ``config.json``: every choice, the data, the network, what it started from, and the versions."""
        config, card = self.config, net.card
        about = {
            'config': dataclasses.asdict(config), 'num_classes': config.num_classes, 'classes': data['classes'],
            'model': {'name': card.name, 'source': card.source, 'mean': card.mean, 'std': card.std,
                      'input_layout': card.input_layout},
            'lists': {name: {'file': getattr(config, f'{name}_subset_dir_path'), 'sha256': sha256}
                      for name, sha256 in data['lists'].items()},
            'started_from': start,
            'versions': {name: importlib.metadata.version(name) for name in ('gluon_action', 'numpy')},
        }
        write_file(self.path / 'config.json', json.dumps(about, indent=2) + '\n')

    def way_on(self) -> str:
        """Say what the same command would go on from."""
        newest = self.checkpoints.newest()
        return f'The same command goes on from {newest}.' if newest else \
            f'{self.path} holds no checkpoint yet: the same command starts again.'

    def reserve(self, *names: str) -> None:
        """Refuse to replace results of these names, unless --overwrite was given.

        Raises
        ------
        UsageError
            Naming the file.
        """
        for name in names:
            if (self.path / name).exists() and not self.config.overwrite:
                raise UsageError(f'{self.path / name} exists; pass --overwrite to replace it')

    def _found(self) -> Checkpoint | None:
        newest = self.checkpoints.load_latest()
        if newest is None:
            self._check_not_of_others()
            return None
        before = newest.state.get('config') or {}
        if before.get('network') is None:
            raise UsageError(f'--model_dir {self.path} holds a run of another command; give another folder')
        differing = _differences(before, self.config)
        # Repeated, a command with --restart goes on with the phase that it has begun.
        if self.config.restart and (differing or not before['restart']):
            self._put_aside()
            return None
        if differing:
            raise UsageError(f'--model_dir {self.path} holds another run: {"; ".join(differing)}. Give what it was '
                             f'started with to go on; {_NEW_PHASE}')
        self.config = dataclasses.replace(self.config, restart=before['restart'])
        log.info('Going on from %s (step %d).', newest.path, newest.step)
        if self.config.checkpoint_path is not None:
            log.info('--checkpoint_path %s is ignored: %s has a checkpoint of its own.', self.config.checkpoint_path,
                     self.path)
        return newest

    def _check_not_of_others(self) -> None:
        try:
            about = json.loads((self.path / 'config.json').read_text())
            ours = about['config']['network'] == self.config.network
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError):
            ours = False
        if not ours:
            raise UsageError(f'--model_dir {self.path} holds the config.json of something else; give another folder')

    def _put_aside(self) -> None:
        phase = self._next_phase()
        try:
            phase.mkdir(exist_ok=True)
            for path in sorted(self.path.iterdir()):
                if _OWN.match(path.name):
                    os.rename(path, phase / path.name)
            # The checkpoints last: as long as they are here, the same command does this again.
            os.rename(self.checkpoints.path, phase / 'checkpoints')
        except OSError as error:
            raise OutputError(f'--restart: {self.path} cannot be put aside in {phase.name}: '
                              f'{error.strerror or error}') from error
        log.info('--restart: the run before is kept in %s.', phase)

    def _phases(self) -> list[Path]:
        """Phases that were put aside whole, in order."""
        found = {path: re.fullmatch(r'phase-(\d+)', path.name) for path in self.path.glob('phase-*')}
        return sorted((path for path, match in found.items() if match and (path / 'checkpoints').is_dir()),
                      key=lambda path: int(path.name[6:]))

    def _next_phase(self) -> Path:
        phases = self._phases()
        return self.path / f'phase-{int(phases[-1].name[6:]) + 1 if phases else 1}'

    def _make_writable(self) -> None:
        if not (self.config.trains or self.config.checkpoint_path or self.path.is_dir()):
            raise UsageError(f'--model_dir {self.path} does not exist, and there is no --checkpoint_path')
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise OutputError(f'--model_dir {self.path} cannot be written: {error.strerror or error}') from error


_NEW_PHASE = ('--restart puts it aside in a folder of its own and starts a new phase from its parameters; another '
              '--model_dir keeps both')


def _differences(before: dict, config: EstimatorConfig) -> list[str]:
    """What was another choice when the run began, of those that its parameters depend on."""
    now = json.loads(config.as_json())
    return [f'--{name} was {before.get(name)!r} and is {now[name]!r}' for name in now
            if name not in FREE_TO_CHANGE and before.get(name) != now[name]]
