"""All options of training on features of frames, YouTube-8M's: the network's, and how it is trained."""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ....compute.engines import ENGINES
from ....errors import UsageError
from ....evaluate.options.frame_features_config import FeatureEvaluation
from ....feature_architecture import Architecture
from ....options import SWITCH, changed, option, options_of

#: TensorFlow's names of optimizers -> ours, and their arguments.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    'AdamOptimizer': ('adam', {'epsilon_hat': True}),
    'GradientDescentOptimizer': ('sgd', {'momentum': 0.}),
}

#: Share of the moving averages that an update keeps, as ``1 - 1 / halflife``, where averages are wanted.
HALFLIFE = 3000.

#: Options that may be other ones when a run is resumed; what the rates of the rest of it depend on is said then.
SCHEDULED = ('base_learning_rate', 'learning_rate_decay', 'learning_rate_decay_examples', 'batch_size', 'num_epochs',
             'max_steps', 'regularization_penalty', 'clip_gradient_norm', 'loss_lambda')
FREE_TO_CHANGE = frozenset({
    *SCHEDULED, 'train_dir', 'train_data_pattern', 'num_readers', 'num_gpu', 'engine', 'start_new_model',
    'strict_flags',
    'save_minutes', 'keep_checkpoints', 'on_error', 'max_skip_share', 'incl_val', 'predictions', 'towers',
    'done_steps', 'done_epochs'})

_option = partial(option, underscores=True)
_records = partial(_option, group='records')
_training = partial(_option, group='training')
_averages = partial(_option, group='moving averages')
_run = partial(_option, group='run')


@dataclass(frozen=True)
class FeatureTraining(Architecture):
    """What ``scripts/youtube8m/train.py`` and ``train_distill.py`` take, under the names of their flags.

    ``--help`` explains each. `distill` is the script: labels have a teacher's predictions beside them. What else is no
    flag is about a run that is resumed: how many GPUs shared a batch, and how many times the records had been trained
    on after how many steps, when batches were last of another size.
    """

    distill: bool = False
    towers: int = 1
    done_steps: int = 0
    done_epochs: float = 0.

    train_data_pattern: str = _records(
        '', 'TFRecords to train on: a pattern, a folder, or several with commas between', required=True,
        metavar='PATTERN')
    incl_val: bool = _records(
        False, "train on the validation set too: on what the pattern with 'validate' for 'train' fits", **SWITCH)
    predictions: str = _records(
        '', "folder of a teacher's predictions by video, from prepare_distill_dataset --predictions_only, beside plain "
        'records; by default the records hold them', metavar='FOLDER', common=True)
    num_readers: int = changed(FeatureEvaluation, 'num_readers')
    on_error: str = changed(
        FeatureEvaluation, 'on_error', help='a record that cannot be read stops the run, or is left out and noted in '
        'failures.jsonl, up to --max_skip_share of them')
    max_skip_share: float = _records(
        0.1, "with --on_error skip, the largest share of an epoch's records that may be left out, in 0..1",
        '--max_skip_share', '--max-skip-share', least=0)

    batch_size: int = _training(
        1024, 'videos of a step, on each GPU; the last step of an epoch has what is left', least=1, common=True)
    num_epochs: int = _training(5, 'times that the records are trained on', least=1, common=True)
    max_steps: int | None = _training(
        None, 'where training ends, if that is sooner', metavar='STEPS', least=1, common=True)
    optimizer: str = _training('AdamOptimizer', "rule of the updates, by TensorFlow's name", choices=OPTIMIZERS)
    base_learning_rate: float = _training(0.01, 'learning rate at the start', least=0, common=True)
    learning_rate_decay: float = _training(
        0.95, 'factor of the learning rate after every --learning_rate_decay_examples', least=0, common=True)
    learning_rate_decay_examples: float = _training(4_000_000., 'videos between two changes of the rate', least=1)
    clip_gradient_norm: float = _training(
        1., "limit of the norm of each variable's gradient; 0 for none", least=0)
    regularization_penalty: float = _training(1., 'factor of all L2 terms', least=0)
    loss_lambda: float = _training(
        0.5, "weight of the teacher's predictions, the labels' is the rest of 1", least=0, common=True)
    engine: str = changed(FeatureEvaluation, 'engine', group='training')
    num_gpu: int = _training(1, 'GPUs at most; where there are none, the CPU computes', least=0, common=True)
    seed: int = _training(0, 'decides every random choice of the run', least=0)

    ema_source: str = _averages(
        '', 'model that training starts from, and its moving averages: the prefix TRAIN_DIR/inference_model, or a '
        'TRAIN_DIR', metavar='PREFIX', common=True)
    ema_halflife: float | None = _averages(
        None, f'an average keeps 1 - 1 / this in a step ({HALFLIFE:g} with --ema_source; given alone, averages of a '
        'run from random values). Not a half-life: half is gone after 0.69 of it', metavar='STEPS', common=True)

    train_dir: str = _run(
        '/tmp/yt8m_model/', 'folder of the run: checkpoints, log, events. A run that is there is resumed',
        metavar='FOLDER', common=True)
    start_new_model: bool = _run(False, 'delete the run that is in --train_dir, and start anew', **SWITCH, common=True)
    strict_flags: bool = changed(FeatureEvaluation, 'strict_flags')
    save_minutes: float = _run(
        15., 'minutes between two checkpoints within an epoch; 0 for none but those of epochs', least=0)
    keep_checkpoints: int = _run(
        2, 'newest checkpoints to keep, at least 1: weights_average takes the mean of several', least=1)

    @property
    def architecture(self) -> Architecture:
        """The network alone."""
        return Architecture(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Architecture)})

    @property
    def step_size(self) -> int:
        """Videos of a step, on all GPUs."""
        return self.batch_size * self.towers

    @property
    def average(self) -> float:
        """Share of the moving averages that a step keeps; 0 where there are none."""
        halflife = self.ema_halflife or (HALFLIFE if self.ema_source else 0)
        return 1 - 1 / halflife if halflife else 0.

    @property
    def patterns(self) -> str:
        """What is trained on, with the validation set where that is wanted."""
        if not self.incl_val:
            return self.train_data_pattern
        return f'{self.train_data_pattern},{self.train_data_pattern.replace("train", "validate")}'


#: Options that `train` has no use for: there is no teacher.
OF_DISTILLATION = ('predictions', 'loss_lambda')


def check_config(config: FeatureTraining) -> None:
    """Refuse choices that contradict each other or mean nothing.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    for broken, flag, why in _rules(config):
        if broken:
            raise UsageError(f'--{flag}: {why}')


def _rules(c: FeatureTraining) -> Iterator[tuple]:
    for flag in options_of(FeatureTraining):
        value = getattr(c, flag)
        yield isinstance(value, float) and not math.isfinite(value), flag, f'must be a finite number, got {value}'
    yield c.engine not in ENGINES, 'engine', f'must be one of {", ".join(ENGINES)}, got {c.engine!r}'
    yield not c.train_dir, 'train_dir', 'needs the folder of the run'
    yield not c.train_data_pattern, 'train_data_pattern', 'needs the TFRecords to train on'
    yield (c.incl_val and 'train' not in c.train_data_pattern, 'incl_val',
           f"the validation set is found by 'validate' for 'train' in --train_data_pattern, and "
           f'{c.train_data_pattern!r} has none')
    yield c.max_skip_share > 1, 'max_skip_share', f'must be in 0..1, got {c.max_skip_share}'
    yield (c.max_skip_share != FeatureTraining.max_skip_share and c.on_error != 'skip', 'max_skip_share',
           'means something with --on_error skip only')
    yield (c.ema_halflife is not None and not c.ema_halflife > 1, 'ema_halflife',
           f'must be above 1, got {c.ema_halflife}: an average keeps 1 - 1 / this')
    yield c.loss_lambda > 1, 'loss_lambda', f'must be in 0..1, got {c.loss_lambda}'
    for flag in OF_DISTILLATION if not c.distill else ():
        yield (getattr(c, flag) != getattr(FeatureTraining, flag), flag, 'is about train_distill, which has a teacher')
    yield (c.distill and c.label_loss != 'CrossEntropyLoss', 'label_loss',
           f"a teacher's predictions are shares of classes, which {c.label_loss} has no place for; leave it out")
