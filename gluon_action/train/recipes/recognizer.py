"""Train a recogniser from a `TrainConfig`: open the data, build the network, run the loop, keep the results."""
from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import engine
from ...errors import CheckpointError, VideoReadError
from ...model_zoo import model_card
from ...model_zoo.weights import assign
from ..hooks import SaveCheckpoints, SaveParameters
from ..optimizer_state import load_states
from ..run.folder import RunFolder, data_of
from ..run.log import RunRecords
from ..schedules import updates_per_epoch
from .config import TrainConfig, check_config
from .parts import Recipe, build_recipe

log = logging.getLogger(__name__)


@dataclass
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    save_dir : Path or None
        Where everything is; None for a run that wrote nothing.
    best_score : float
        Highest validation top-1 in 0..1.
    best_epoch : int or None
        Its epoch, from 0; None when nothing was validated.
    history : list of dict
        A record an epoch, see `Loop.fit`; with ``eval`` a single one.
    segments, crops : int
        How many of them of each video were scored together in the validation.
    logging_file : str
        Name of the log in `save_dir`.
    """

    save_dir: Path | None
    best_score: float
    best_epoch: int | None
    history: list[dict[str, Any]]
    segments: int = 1
    crops: int = 1
    logging_file: str = 'train.log'

    def summary(self) -> str:
        """Say in a few lines how it went and where to look."""
        lines = []
        if self.best_epoch is not None:
            views = self.segments * self.crops
            lines.append(f'best validation top-1 {100 * self.best_score:.2f} % in epoch {self.best_epoch} '
                         f'({views} view{"s" * (views > 1)} a video, {self.segments}x{self.crops} segments x crops: '
                         'not comparable to scores over other views)')
        for name in ('history.png', 'best.params', self.logging_file, 'failures.jsonl'):
            if self.save_dir is not None and (self.save_dir / name).exists():
                lines.append(str(self.save_dir / name))
        return '\n'.join(lines)


def train_recognizer(config: TrainConfig) -> TrainResult:
    """Train a network on videos and keep everything that is learnt on the way.

    Parameters
    ----------
    config : TrainConfig

    Returns
    -------
    TrainResult

    Raises
    ------
    UsageError
        When choices contradict each other, or `save_dir` holds another run.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    """
    card = model_card(config.model)
    check_config(config, card)
    contexts = engine.contexts(config.num_gpus, config.num_cpus)
    if config.eval:
        return evaluate_only(config)
    # A folder that cannot be written is found out before data and weights are looked for.
    folder = RunFolder(config)
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(telling_how_to_go_on(folder))
        recipe = build_recipe(config, card, contexts, cleanup, restored=folder.checkpoint is not None)
        start(recipe, folder)
        recipe.loop.fit(recipe.train_loader, recipe.val_loader, epochs=config.num_epochs,
                        hooks=hooks_for(recipe, folder) if recipe.rank == 0 else ())
        progress = recipe.loop.progress
        return TrainResult(folder.path, progress.best, progress.best_epoch, progress.history, config.num_segments,
                           config.num_crop, config.logging_file)


def start(recipe: Recipe, folder: RunFolder) -> None:
    """Put the loop where the run goes on: at a checkpoint, at given parameters, or at the beginning."""
    if folder.checkpoint:
        folder.check_data(recipe)
        recipe.loop.load_state_dict(folder.checkpoint.state)
    else:
        _start_anew(recipe)
    if recipe.rank == 0:
        folder.begin(recipe)


def _start_anew(recipe: Recipe) -> None:
    config, loop = recipe.config, recipe.loop
    if config.resume_states:
        load_states(config.resume_states, loop.trainer, loop.names)
    loop.progress.epoch = config.resume_epoch
    # The schedule goes on where that many epochs would have left it.
    loop.progress.update = config.resume_epoch * updates_per_epoch(len(recipe.train_loader), config.accumulate)
    loop.progress.step = config.resume_epoch * len(recipe.train_loader)


@contextlib.contextmanager
def telling_how_to_go_on(folder: RunFolder) -> Iterator[None]:
    """Say where an interrupted run goes on, and what can be done about a video that stopped it."""
    try:
        yield
    except KeyboardInterrupt:
        log.info('Interrupted. %s', folder.way_on())
        raise
    except VideoReadError as error:
        raise VideoReadError(error.path, error.decoder,
                             f'{error.cause}. Mend the video, take it off the list, or leave out what cannot be read '
                             f'with --on-error skip. {folder.way_on()}') from error


def hooks_for(recipe: Recipe, folder: RunFolder) -> list:
    """Return what happens beside training, the checkpoint last."""
    config = recipe.config
    return [RunRecords(folder.path, logging_file=config.logging_file, log_interval=config.log_interval,
                       title=f'{config.model} on {config.dataset}'),
            SaveParameters(folder.path, config.dataset, config.model, best=not config.train_only,
                           frequency=0 if config.train_only else config.save_frequency),
            SaveCheckpoints(folder.checkpoints, config.checkpoint_steps,
                            extra={'config': dataclasses.asdict(config), **data_of(recipe)})]


def evaluate_only(config: TrainConfig) -> TrainResult:
    """Score the validation set once, with the parameters that the configuration names; nothing is written."""
    card = model_card(config.model)
    checkpoint = RunFolder(config).checkpoint if config.resume else None
    if config.resume and checkpoint is None:
        raise CheckpointError(f'--eval: {config.save_dir} holds no checkpoint; give parameters with --resume-params')
    with contextlib.ExitStack() as cleanup:
        contexts = engine.contexts(config.num_gpus, config.num_cpus)
        recipe = build_recipe(config, card, contexts, cleanup, restored=checkpoint is not None)
        if checkpoint is not None:
            # The parameters alone: seed, optimizer and devices of the run do not matter here.
            assign(recipe.loop.net, checkpoint.state['params'], checkpoint.path, ctx=contexts)
        scores = recipe.loop.validate(recipe.val_loader)
    log.info('validation: acc-top1=%f acc-top5=%f loss=%f (%d of %d videos scored)', 100 * scores['top1'],
             100 * scores['top5'], scores['loss'], scores['count'], scores['expected'])
    return TrainResult(None, scores['top1'], None, [{f'val_{name}': value for name, value in scores.items()}],
                       config.num_segments, config.num_crop)


def dry_run(config: TrainConfig) -> str:
    """Build everything, train on one batch and write nothing; say what a run would be."""
    card = model_card(config.model)
    check_config(config, card)
    contexts = engine.contexts(config.num_gpus, config.num_cpus)
    with contextlib.ExitStack() as cleanup:
        recipe = build_recipe(dataclasses.replace(config, train_only=config.train_only or config.eval, eval=False),
                              card, contexts, cleanup)
        loader, loop = recipe.train_loader, recipe.loop
        batches = loader.epoch(0)
        batch = next(batches)
        batches.close()
        result = loop.step(batch)
        loss = result.loss_sum / max(1, result.count)
    size = sum(param.data(contexts[0]).size for param in loop.net.collect_params().values())
    lines = [f'{config.model}: {size / 1e6:.1f} million parameters, {recipe.num_classes} classes, '
             f'on {", ".join(map(str, contexts))}',
             f'{len(loader.dataset)} training videos in {len(loader)} batches of {config.total_batch_size}, '
             f'{len(recipe.val_loader.dataset) if recipe.val_loader else 0} validation videos',
             f'first batch: frames {batch.data.shape}, learning rate {result.lr:g}, loss {loss:.3f}',
             'nothing was written']
    return '\n'.join(lines)
