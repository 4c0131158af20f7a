"""The newest checkpoint of a training on features: written as a stored model, and scored."""
from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import engine
from ...compute.losses import PROBABILITY_LOSSES
from ...compute.on_mxnet.scorer import loss_sum
from ...data.tfrecords.record_sets import find_records
from ...errors import CheckpointError, OutputError, UsageError
from ...evaluate.options.frame_features_config import FeatureEvaluation, check_evaluation
from ...evaluate.report.page import try_to_write
from ...evaluate.scores.video_tags import UNREAD, VideoTagScores, VideoTagScoring
from ...feature_architecture import FILE, SAMPLING, Architecture
from ...files import to_json, write_file
from ...model_zoo.frame_features.stored.prefix import NAME, files_of
from ...model_zoo.frame_features.stored.reading import read_stored
from ...model_zoo.frame_features.stored.writing import write_stored
from ...train.recipes.frame_features.log import unsettled
from ...train.run.folder.checkpoint_dir import CheckpointDir
from ...train.run.history.event_file import EventFile
from .evaluation import LabelledBatches
from .scoring import FileScorer, Scoring

log = logging.getLogger(__name__)

#: What is left in a train_dir, beside the model.
LOG, RESULT, EVENTS = 'evallog.txt', 'eval.json', 'eval'
#: What was scored, as long as not all is.
UNFINISHED = 'eval.unfinished'
#: Parts of a checkpoint that are read: the state of the optimizer is twice as large as the parameters.
_NEEDED = ('params', 'averages', 'config', 'loop', 'features')
_ARCHITECTURE = tuple(field.name for field in dataclasses.fields(Architecture))


def evaluate_run(config: FeatureEvaluation, given: Collection[str] | None = None) -> list[Path]:
    """Write ``inference_model`` into ``config.train_dir`` and score it; unless ``run_once`` again for every checkpoint.

    A scoring that was interrupted resumes with the records that are left, as long as there is no newer checkpoint.

    Parameters
    ----------
    config : FeatureEvaluation
    given : collection of str, optional
        Options that were asked for, see :func:`gluon_action.train.recipes.frame_features.training.train`.

    Returns
    -------
    list of Path
        The prefix of the model, and ``eval.json`` unless it is only built.

    Raises
    ------
    UsageError
        When options contradict each other, or the run.
    CheckpointError
        When there is no checkpoint, or none that is whole.
    GluonActionError
        When records, the model, the device or the disk fail.
    """
    check_evaluation(config)
    if given is None:
        given = {field.name for field in dataclasses.fields(config) if getattr(config, field.name) != field.default}
    folder, done, waiting = Path(config.train_dir).expanduser(), None, False
    if not folder.is_dir():
        raise UsageError(f'--train_dir {folder} is no folder; name that of a run of train.py')
    if not config.build_only:
        _scoring_of(config, folder / NAME).check_engine()  # not when the first checkpoint has come, after hours
    while True:
        newest = CheckpointDir(folder / 'checkpoints').newest()
        if newest != done or newest is None and files_of(folder / NAME)[1].is_file():
            found = _take(config, given, folder)
            if found is not None:
                made = [found.prefix] if config.build_only else [found.prefix, _score(config, found, folder)]
                if config.run_once or config.build_only or newest is None:
                    return made
                done = newest
        elif newest is None:
            if config.run_once or config.build_only:
                raise CheckpointError(f'--train_dir {folder}: no checkpoint file found; train.py saves one after every '
                                      'epoch, and every --save_minutes')
            if not waiting:
                log.info('No checkpoint file found in %s; looking again every %g seconds.', folder, config.poll_seconds)
            waiting = True
        time.sleep(config.poll_seconds)


@dataclass(frozen=True)
class _Model:
    """A stored model as it was written.

    Attributes
    ----------
    prefix : Path
    architecture : Architecture
    step : int
        Of the run.
    about : dict
    """

    prefix: Path
    architecture: Architecture
    step: int
    about: dict[str, Any]


def _take(config: FeatureEvaluation, given: Collection[str], folder: Path) -> _Model | None:
    """Write the newest checkpoint as ``inference_model``; None where it was removed while it was read."""
    checkpoints = CheckpointDir(folder / 'checkpoints')
    newest = checkpoints.newest()
    if newest is None:
        # What was imported, quantized or not, or the checkpoints of which were removed.
        stored = read_stored(folder, '--train_dir')
        if config.use_EMA:
            raise _no_averages(folder)
        members = [(_drawn(config, given, member.architecture, folder), member.arrays) for member in stored.members]
        weights, step, about = stored.weights, int(stored.about.get('step', 0)), stored.about
    else:
        try:
            checkpoint = checkpoints.load_latest(_NEEDED)
        except CheckpointError:
            if newest == checkpoints.newest():
                raise
            return None
        log.info('Loading checkpoint for eval: %s', checkpoint.path)
        state, step = checkpoint.state, checkpoint.step
        if 'train_data_pattern' not in state.get('config', {}):
            raise UsageError(f'--train_dir {folder} holds a run of another command; name that of a run of train.py')
        averages = state.get('averages')
        if config.use_EMA and not averages:
            raise _no_averages(folder)
        averaged = bool(averages) and config.use_EMA is not False
        if averaged:
            log.info('USING EMA VARIABLES.')
        architecture = Architecture(**{name: state['config'][name] for name in _ARCHITECTURE
                                       if name in state['config']})
        members = [(_drawn(config, given, architecture, folder), averages if averaged else state['params'])]
        weights, about = None, {'from': str(checkpoint.path), 'step': step, 'averaged': averaged,
                                'features': state.get('features') or {}}
        if warning := unsettled(architecture, members[0][1], state['loop']['progress']['update'], state['config']):
            log.warning('%s', warning)
    architecture = members[0][0]
    prefix = write_stored(folder / NAME, members, weights, about=about, overwrite=True)
    if not (folder / FILE).exists():
        architecture.write(folder)
    log.info('Inference graph built: %s', prefix)
    return _Model(prefix, architecture, step, about)


def _drawn(config: FeatureEvaluation, given: Collection[str], stored: Architecture, folder: Path) -> Architecture:
    """Return the stored architecture, with frames drawn as was asked for; say what was asked for in vain."""
    architecture, warnings = stored.merged({name: getattr(config, name) for name in _ARCHITECTURE if name in given})
    for warning in warnings:
        if config.strict_flags:
            raise UsageError(f'--strict_flags: the run in --train_dir {folder}: {warning}')
        log.warning('the run in --train_dir %s: %s.', folder, warning)
    for note in architecture.notes():
        log.info('%s.', note)
    return architecture


def _no_averages(folder: Path) -> UsageError:
    return UsageError(f'--use_EMA: the run in --train_dir {folder} has no moving averages; train with --ema_source or '
                      '--ema_halflife, or leave this out')


def _scoring_of(config: FeatureEvaluation, prefix: Path) -> Scoring:
    return Scoring(str(prefix), '--train_dir', (), config.batch_size, min(config.num_readers, engine.usable_cores()),
                   config.on_error, bool(config.num_gpu), config.n_rounds, config.engine)


def _score(config: FeatureEvaluation, model: _Model, folder: Path) -> Path:
    """Score a model, leave lines, numbers and events in the folder, and return the file of the numbers."""
    scoring = VideoTagScoring(model.architecture.num_classes, config.top_k)
    loss = PROBABILITY_LOSSES[model.architecture.label_loss]()
    scores = scoring()
    plan = _scoring_of(config, model.prefix)
    files = find_records(config.eval_data_pattern)
    with FileScorer(plan, files, need_labels=True) as scorer:
        events = EventFile(_made(folder / EVENTS))
        log.info('number of evaluation files: %d', len(files))
        at = time.perf_counter()
        batches = LabelledBatches(scorer, scores, lambda *_: folder / UNFINISHED,
                                  lambda probabilities, label: loss_sum(loss, probabilities, label))
        with batches.kept():
            for batch, alone in batches:
                if not len(batch.indices):
                    continue
                now = time.perf_counter()
                _tell(alone, scores.count, len(batch.indices) / max(now - at, 1e-9), model.step, events)
                at = now
    found = scores.summary()
    line = (f'epoch/eval number {model.step} | Avg_Hit@1: {found["hit_at_1"]:.3f} | Avg_PERR: {found["perr"]:.3f} | '
            f'MAP: {found["map_2018"]:.6f} | GAP: {found["gap"]:.6f} | Avg_Loss: {found["loss"]:6f}')
    unread = f' ({UNREAD})' if found['count'] < found['expected'] else ''
    more = (f'  {found["count"]} of {found["expected"]} videos{unread}; MAP over classes with labels, as '
            f'google/youtube-8m has it today: {found["map"]:.6f}; orders of equal predictions give GAP '
            f'{found["gap_low"]:.6f} to {found["gap_high"]:.6f}')
    if batches.torn:
        more += f'; {batches.told}'
    log.info('%s', line)
    log.info('%s', more)
    events.scalars(model.step, {
        'Epoch/Eval_Avg_Hit@1': found['hit_at_1'], 'Epoch/Eval_Avg_Perr': found['perr'],
        'Epoch/Eval_Avg_Loss': found['loss'], 'Epoch/Eval_MAP': found['map_2018'], 'Epoch/Eval_GAP': found['gap']})
    events.close()
    drawn = {name: getattr(model.architecture, name) for name in SAMPLING}
    result = {'step': model.step, 'scores': found, 'model': {**model.about, 'prefix': str(model.prefix)},
              'protocol': {'records': config.eval_data_pattern, 'files': len(files), 'torn': batches.torn,
                           'sha256': batches.sha256, 'top_k': config.top_k, 'n_rounds': config.n_rounds,
                           'engine': config.engine, **drawn},
              'classes': [{'class': str(number), **row} for number, row in enumerate(scores.per_class())]}
    try:
        with open(folder / LOG, 'a') as stream:
            stream.write(f'{line}\n{more}\n')
    except OSError as error:
        raise OutputError(f'cannot write {folder / LOG}: {error.strerror or error}') from error
    write_file(folder / RESULT, to_json(result))
    batches.remove()
    if (folder / 'config.json').is_file():
        try_to_write(folder)
    return folder / RESULT


def _tell(alone: VideoTagScores, count: int, speed: float, step: int, events: EventFile) -> None:
    """Say what the scores of a batch are, and how many videos were scored with it."""
    found = alone.summary()
    log.info('examples_processed: %d | global_step %d | Batch Hit@1: %.3f | Batch PERR: %.3f | Batch Loss: %.3f | '
             'Examples_per_sec: %.3f', count, step, found['hit_at_1'], found['perr'], found['loss'], speed)
    events.scalars(step, {'GlobalStep/Eval_Hit@1': found['hit_at_1'], 'GlobalStep/Eval_Perr': found['perr'],
                          'GlobalStep/Eval_Loss': found['loss'], 'GlobalStep/Eval_Example_Second': speed})


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f'cannot make {folder}: {error.strerror or error}') from error
    return folder
