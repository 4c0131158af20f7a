"""A training run in the folders of PyTorch Lightning: ``lightning_logs/version_N/checkpoints/epoch=E-step=S``."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from pathlib import Path

from ....errors import UsageError, WeightsError
from ....evaluate.options.preparation import Prepared, prepared_for_file
from ....files import write_file
from ....input_kind import CLIPS
from ....model_zoo import ModelCard, model_card
from ....model_zoo.importers import load_any
from ....model_zoo.loading.fit import assign
from ....model_zoo.loading.params_file import read_parameters
from ...hooks import SaveCheckpoints
from ...loop import Loop
from ...run.cautions import Cures
from ...run.run import TrainResult, run
from ..config import TrainConfig, check_config
from ..recognizer import MESSAGES, RecognizerRecipe
from .first_batches import FirstBatches
from .lightning import LightningStyle, SaveBest, best_path, named
from .versions import LightningRun, in_version

log = logging.getLogger(__name__)

#: What the best parameters scored when they were read back.
TEST = 'test.json'

#: Flags of the command that are not called as in `TrainConfig`.
FLAGS = {'lr': 'learning_rate', 'wd': 'weight_decay', 'accumulate': 'accumulate_grad_batches',
         'clip_grad': 'gradient_clip_val', 'clip_norm': 'gradient_clip_val', 'train_params': 'freeze_layers',
         'num_gpus': 'gpus', 'train_list': 'data_path', 'val_list': 'data_path',
         'new_height': 'input_size', 'new_width': 'input_size'}

_MESSAGES = dataclasses.replace(
    MESSAGES, folder='--default_root_dir', flag=lambda name: f'--{FLAGS.get(name, name)}',
    other_run='--resume_from_checkpoint: the run was another one: {differing}. Give what it was started with, or start '
              'a new one from its parameters: --checkpoint {path}',
    list_flag='the {name} list of --data_path',
    other_lists='--resume_from_checkpoint: the content of {differing} is not what the run was started with. Restore '
                'it, or start a new run from its parameters: --checkpoint {path}',
    other_classes='--resume_from_checkpoint: the classes were {before} and are {now}. Restore them, or start a new run',
    resume_hint='The same command with --resume_from_checkpoint {path} resumes it.',
    start_hint='{path} holds no checkpoint yet: the same command starts anew.', overwrite='')


def train_in_versions(config: TrainConfig, options: LightningRun) -> TrainResult:
    """Train, keep the parameters of the best validation, and score them once more as they lie on disk.

    Parameters
    ----------
    config : TrainConfig
        `save_dir` and `resume` are taken from `options`.
    options : LightningRun

    Returns
    -------
    TrainResult
        `scores` are ``test_acc`` (0..1) and ``test_loss`` of the best parameters on the validation videos, and
        ``epoch`` and ``step``.

    Raises
    ------
    UsageError
        When options contradict each other or the run that is resumed.
    GluonActionError
        When data, weights, devices or the disk fail; what was saved before is kept.
    """
    recipe = ClassifierRecipe(config, options)
    return try_out(recipe) if options.dev_run else run(recipe)


class ClassifierRecipe(RecognizerRecipe):
    """A network of clips, in the folders of Lightning.

    Parameters
    ----------
    config : TrainConfig
    options : LightningRun
    """

    command = ''  # its flags are Lightning's
    messages = _MESSAGES
    cures = Cures(rate='--learning_rate', batch='--batch_size', momentum='', frozen='',
                  val_list='the val list of --data_path')

    def __init__(self, config: TrainConfig, options: LightningRun):
        super().__init__(config)
        self.options = options

    def check(self):
        """Refuse options that contradict each other, and networks that are not for clips of pictures."""
        check_clips(self.config)

    def devices(self):
        """Return the usual, for one process: those of torchrun would each have a folder of its own."""
        return self.engine.contexts()

    def open_folder(self, cleanup):
        """Return the next free ``version_N``, or the one to resume."""
        self.config = cleanup.enter_context(in_version(self.config, self.options))
        return super().open_folder(cleanup)

    def open_data(self, cleanup):
        """Open the lists, or parts of them."""
        data = super().open_data(cleanup)
        # Scores without a name could not be exported, which would be found out after the training.
        if data.classes and len(data.classes) != data.num_classes:
            raise UsageError(f'--num_classes {data.num_classes}: class_names.json or the list names '
                             f'{len(data.classes)} classes ({", ".join(data.classes[:5])}); leave --num_classes out')
        limits = {'train': self.options.train_batches, 'val': self.options.val_batches}
        data.loaders = {name: FirstBatches(loader, limits[name]) for name, loader in data.loaders.items()}
        return data

    def find_start(self, card):
        """Return how the weights to start from want clips."""
        return prepared_clips(self.config, card, self.options.checkpoint)

    def build_loop(self, data, contexts, *, restored=False):
        """Return the loop, which gives advice in the flags of this command."""
        loop = super().build_loop(data, contexts, restored=restored)
        loop.advice = 'a lower --learning_rate or --gradient_clip_val'
        return loop

    def start(self, loop, data, folder):
        """Take the weights to start from."""
        start_from(loop, self.options.checkpoint)

    def hooks(self, loop, data, folder):
        """Return the log, the best parameters, and the checkpoints."""
        records = self.run_log(folder, LightningStyle())
        return [records, self.cautions(records, loop, data), SaveBest(folder.path),
                SaveCheckpoints(folder.checkpoints, self.config.checkpoint_steps, extra=self.saved_with_state(data),
                                minutes=self.config.checkpoint_minutes)]

    def result(self, loop, data, folder):
        """Score the best parameters, read from their file."""
        result = super().result(loop, data, folder)
        record = next(record for record in reversed(result.history) if record['best'])
        result.best = best_path(folder.path, record)
        assign(loop.learner.net, read_parameters(result.best), result.best)
        loop.learner.adopt()
        found = loop.validate(data.val)
        result.scores = {'test_acc': found['top1'], 'test_loss': found['loss'], 'epoch': record['epoch'],
                         'step': record['update'] - 1, 'count': found['count'], 'expected': found['expected']}
        about = {**result.scores, 'parameters': result.best.name}
        write_file(folder.path / TEST, json.dumps(about, indent=2) + '\n')
        return result


def try_out(recipe: ClassifierRecipe) -> TrainResult:
    """Run a few batches of everything, and write nothing."""
    recipe.check()
    contexts, few = recipe.devices(), recipe.options.dev_run
    recipe.options = dataclasses.replace(recipe.options, train_batches=few, val_batches=few)
    with contextlib.ExitStack() as cleanup:
        recipe.prepare(None)
        data = recipe.open_data(cleanup)
        loop = recipe.build_loop(data, contexts)
        start_from(loop, recipe.options.checkpoint)
        history = loop.fit(data.train, data.val, epochs=1)
    return TrainResult(None, loop.progress.best, loop.progress.best_epoch, history, scores=named(history[-1]))


def check_clips(config: TrainConfig) -> ModelCard:
    """Return the model's card.

    Raises
    ------
    UsageError
        When choices contradict each other, or the network is not for clips of pictures.
    """
    card = model_card(config.model)
    if card.input != CLIPS or card.modality != 'rgb' or 'slowfast' in card.supports:
        raise UsageError(f'--model {card.name}: is no network for clips of pictures, which this command trains; '
                         'train_recognizer.py trains all')
    check_config(config, card)
    return card


def prepared_clips(config: TrainConfig, card: ModelCard, checkpoint: str) -> Prepared:
    """Settle a configuration for the weights that it starts from.

    Parameters
    ----------
    config : TrainConfig
    card : ModelCard
        The zoo's own.
    checkpoint : str
        As in `LightningRun`.

    Raises
    ------
    WeightsError
        When what lies beside the file cannot be understood.
    """
    return prepared_for_file(config, card, _file_of(checkpoint)) if checkpoint else Prepared(config.settled(), card)


def _file_of(checkpoint: str) -> Path:
    path = Path(checkpoint).expanduser()
    return path / 'best.params' if (path / 'best.params').exists() else path


def start_from(loop: Loop, checkpoint: str) -> None:
    """Give the network the weights to start from, and log what became of them.

    A head for other classes is left at its random values, the rest must be there.

    Raises
    ------
    WeightsError
        When the file cannot be read or is of another network.
    """
    if not checkpoint:
        log.info('No --checkpoint: every layer starts at random. Nothing is downloaded; weights that were trained on '
                 'other videos, or on images, need fewer epochs and fewer videos.')
        return
    net, path = loop.learner.net, _file_of(checkpoint)
    try:
        taken = load_any(net, path)
    except WeightsError:
        taken = load_any(net, path, ignore_head=True)  # raises unless it is the head alone
        log.info('The head of %s is for other classes: a new one starts at random.', path)
    loop.learner.adopt()
    log.info('%s', taken.table())
