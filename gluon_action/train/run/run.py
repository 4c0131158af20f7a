"""A training run, step by step, whatever is trained: what that is, a `Recipe` says."""
from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...compute.engines import Engine, OnMXNet
from ...errors import DivergedError, OutputError, UnscoredError, VideoReadError
from ...evaluate.report.page import try_to_write
from ...model_zoo.registry import outside_module
from ...options import command_of
from ...signals import Terminated, heeding_termination, told_to_end
from ..hook import Hook
from .folder.checkpoint import understood
from .folder.run_folder import RunFolder, versions

if TYPE_CHECKING:
    from ...model_zoo import ModelCard
    from ..loop import Loop

log = logging.getLogger(__name__)


def run(recipe: Recipe) -> TrainResult:
    """Train what a recipe says, from the start or from where its folder stands, and keep what is learnt on the way.

    Raises
    ------
    UsageError
        When options contradict each other, or the folder holds another run.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    Terminated
        When SIGTERM has ended it; the state is saved and what resumes it is logged.
    """
    recipe.check()
    contexts = recipe.devices()
    with contextlib.ExitStack() as cleanup:
        # Of several machines none waits for its step to end: it needs the others, and they have been told to end too.
        if not recipe.has_others:
            cleanup.enter_context(heeding_termination())
        # A folder that cannot be written is found out before data and weights are looked for.
        folder = recipe.open_folder(cleanup)
        cleanup.enter_context(resume_hint_on_error(folder))
        recipe.prepare(folder)
        data = recipe.open_data(cleanup)
        folder.check_data(data.identity())
        loop = recipe.build_loop(data, contexts, restored=folder.checkpoint is not None)
        started_from = None
        if folder.checkpoint is not None:
            with understood(folder.checkpoint):
                loop.load_state_dict(folder.checkpoint.state)
        else:
            started_from = recipe.start(loop, data, folder)
        if data.rank == 0:
            folder.begin(recipe.about(loop, data, started_from))
        recipe.fit(loop, data, folder)
        if told_to_end():  # when there was no step left to wait for
            raise Terminated
        if data.rank == 0:
            recipe.report(data, folder)
        return recipe.result(loop, data, folder)


@dataclass
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    save_dir : Path or None
        Where everything is; None for a run that wrote nothing.
    best_score : float
        Highest validation score: top-1, or mean average precision where clips have several labels; 0 before there was
        one.
    best_epoch : int or None
        Its epoch, from 0; None when nothing was validated.
    history : list of dict
        A record an epoch, or a stretch of steps, see `Loop.fit`; with ``eval`` a single one.
    step : int
        Steps of the run.
    start : dict or None
        What the validation before the first epoch found, where there was one.
    best : Path or None
        The parameters with the best score, where the recipe scores them once more.
    scores : dict
        What they then scored.
    lines : list of str
        What there is to say about it.
    """

    save_dir: Path | None
    best_score: float
    best_epoch: int | None
    history: list[dict[str, Any]]
    step: int = 0
    start: dict[str, Any] | None = None
    best: Path | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Say in a few lines how it went and where to look."""
        return '\n'.join(self.lines)


@dataclass
class RunData:
    """What a run trains on and is validated on.

    Attributes
    ----------
    loaders : dict of str to loader
        Batches by the name of their list: ``train``, and at most one other. See `Loop.fit` for what a loader does; its
        ``dataset`` has ``setting``, ``list_sha256`` and a length.
    num_classes : int
    classes : list of str or None
        Names, where the data set knows them.
    multi_label : bool
        Whether a sample may have several labels.
    rank : int
        Number of this process among several machines; 0 writes the results.
    store : KVStore, str or None
        Where these add up their gradients.
    validates : bool
        Whether this process does; it knows the list in any case.
    processes : int
        How many train together, each on its part of an epoch.
    """

    loaders: dict[str, Any]
    num_classes: int
    classes: list[str] | None
    multi_label: bool = False
    rank: int = 0
    store: Any = None
    validates: bool = True
    processes: int = 1

    @property
    def train(self):
        """The training batches; None where there is only a validation."""
        return self.loaders.get('train')

    @property
    def val(self):
        """The validation batches; None where nothing is validated."""
        others = (loader for name, loader in self.loaders.items() if name != 'train')
        return next(others, None) if self.validates else None

    def identity(self) -> dict[str, Any]:
        """Return what tells whether the data are the same: each list's SHA-256, the classes, who shares them."""
        return {'lists': {name: loader.dataset.list_sha256 for name, loader in self.loaders.items()},
                'classes': self.classes, 'processes': self.processes}


class Recipe:
    """What a run trains. `run` calls the methods in the order in which they stand here.

    Those that raise NotImplementedError are what every recipe has of its own.

    Parameters
    ----------
    config : dataclass
        All options of the run. It is written to ``config.json`` and into checkpoints.
    """

    #: Packages whose versions ``config.json`` names.
    packages: Sequence[str] = ('gluon_action', 'numpy')
    #: What the command is called whose flags are the options of `config`; empty where its flags are others.
    command: str = ''

    def __init__(self, config: Any):
        self.config = self.asked = config

    #: Published weights that the run started from, as its ``config.json`` says it; None for others.
    row: dict[str, Any] | None = None
    #: Whether other machines train with this one.
    has_others = False
    #: What computes.
    engine: Engine = OnMXNet()

    @property
    def card(self) -> ModelCard:
        """The card of the network, with the preparation that its weights want once they are known."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse options that contradict each other."""
        raise NotImplementedError

    def devices(self) -> list:
        """Return what to compute on."""
        raise NotImplementedError

    def open_folder(self, cleanup: contextlib.ExitStack) -> RunFolder:
        """Return the folder of the run, with the checkpoint to resume from if there is one.

        `config` may be another one from then on: the folder knows its name, or how the run was started.
        """
        raise NotImplementedError

    def prepare(self, folder: RunFolder) -> None:
        """Find the weights to start from, which decide how frames are prepared."""

    def open_data(self, cleanup: contextlib.ExitStack) -> RunData:
        """Open lists and loaders; `cleanup` ends the loaders' processes."""
        raise NotImplementedError

    def build_loop(self, data: RunData, contexts: list, *, restored: bool = False) -> Loop:
        """Return the loop with its network, loss and schedule; no weights need be fetched where they are `restored`."""
        raise NotImplementedError

    def start(self, loop: Loop, data: RunData, folder: RunFolder) -> str | None:
        """Put a new run where it starts: the network's weights, the optimizer, the epoch; may say in words where."""

    def about(self, loop: Loop, data: RunData, started_from: str | None) -> dict[str, Any]:
        """Return what ``config.json`` holds: every option, the data, the model, and the versions."""
        return {'config': dataclasses.asdict(self.config), 'num_classes': data.num_classes, 'classes': data.classes,
                'model': self.about_model(),
                'lists': {name: self.about_list(name, loader.dataset) for name, loader in data.loaders.items()},
                **self.more_about(data, started_from), **self.about_command(),
                'versions': versions([*self.packages, *self.engine.packages])}

    def about_model(self) -> dict[str, Any]:
        """Return what ``config.json`` says about the network: how it wants frames, whose weights it started from.

        Of a network that a module outside this package registered also what ``--import`` takes.
        """
        card = self.card
        module = outside_module(card.name)
        return {'name': card.name, 'source': card.source, 'mean': card.mean, 'std': card.std,
                'input_layout': card.input_layout, 'row': self.row, **({'import': module} if module else {})}

    def about_command(self) -> dict[str, Any]:
        """Return the command line that repeats the run, and the folder that its paths start from."""
        if not self.command:
            return {}
        return {'command': command_of(self.command, self.asked, without=('resume', 'overwrite')),
                'directory': os.getcwd()}

    def about_list(self, name: str, dataset: Any) -> dict[str, Any]:
        """Return what ``config.json`` says about a list."""
        return {'file': dataset.setting, 'sha256': dataset.list_sha256, 'videos': len(dataset)}

    def more_about(self, data: RunData, started_from: str | None) -> dict[str, Any]:
        """Return what ``config.json`` holds beside that."""
        return {'started_from': started_from}

    def fit(self, loop: Loop, data: RunData, folder: RunFolder) -> None:
        """Train. By default for ``config.num_epochs``."""
        loop.fit(data.train, data.val, epochs=self.config.num_epochs,
                 hooks=self.hooks(loop, data, folder) if data.rank == 0 else ())

    def hooks(self, loop: Loop, data: RunData, folder: RunFolder) -> list[Hook]:
        """Return what happens beside training: the log, then the files of parameters, the checkpoint last."""
        raise NotImplementedError

    def saved_with_state(self, data: RunData) -> dict[str, Any]:
        """Return what checkpoints hold beside the state of the loop: what a run that is resumed is compared to."""
        return {'config': dataclasses.asdict(self.config), 'model': self.about_model(), **data.identity()}

    def report(self, data: RunData, folder: RunFolder) -> None:
        """Write the page of the run, unless it was asked not to. One that cannot be written is a warning."""
        if getattr(self.config, 'report', True):
            names = {'train': 'training'}
            try_to_write(folder.path, {names.get(name, 'validation'): loader.dataset
                                       for name, loader in data.loaders.items()})

    def result(self, loop: Loop, data: RunData, folder: RunFolder) -> TrainResult:
        """Return how the run ended."""
        progress = loop.progress
        result = TrainResult(folder.path, progress.best, progress.best_epoch, progress.history, progress.step,
                             progress.start)
        result.lines = self.summary_lines(result) if data.validates else []
        return result

    def summary_lines(self, result: TrainResult) -> list[str]:
        """Say in a few lines how it went and where to look."""
        return existing(result.save_dir, 'history.png', 'best.params', 'train.log', 'failures.jsonl')


def existing(folder: Path, *names: str) -> list[str]:
    """Return the paths of those of the files that exist."""
    return [str(folder / name) for name in names if (folder / name).exists()]


def tensorboard_line(folder: Path) -> str:
    """Return the command that shows a run, and what is missing for it."""
    there = importlib.util.find_spec('tensorboard')
    return f'tensorboard --logdir {folder}' + ('' if there else '  (after: pip install tensorboard)')


@contextlib.contextmanager
def resume_hint_on_error(folder: RunFolder) -> Iterator[None]:
    """Say what resumes an interrupted run, what was kept, and what can be done about a video that stopped it."""
    try:
        yield
    except KeyboardInterrupt:
        log.info('Interrupted. %s', folder.resume_hint())
        raise
    except Terminated:
        log.info('Told to end by SIGTERM. %s', folder.resume_hint())
        raise
    except OutputError as error:
        raise OutputError(f'{error}. {folder.resume_hint()}') from error
    except UnscoredError as error:
        raise UnscoredError(f'{error}. {folder.resume_hint()}') from error
    except DivergedError as error:
        raise DivergedError(f'{error}. {folder.last_state()}') from error
    except VideoReadError as error:
        advice = folder.messages.unreadable_video
        if not advice:
            raise
        raise error.with_advice(f'{advice} {folder.resume_hint()}') from error
