"""The options of the Epic-Kitchens command, by the names of the original program and of Lightning's Trainer."""
from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ....options import changed, option, yes_or_no
from ..config import TrainConfig

#: Decay of the weights by optimizer, as in PyTorch.
DECAYS = {'adam': 0., 'adamw': 0.01, 'sgd': 0.}


def _number_or_part(text: str) -> int | float:
    try:
        value = int(text)
    except ValueError:
        value = float(text)
    if not 0 < value or isinstance(value, float) and value > 1:
        raise argparse.ArgumentTypeError(f'must be a number of batches from 1, or a part of them above 0.0 and at most '
                                         f'1.0, got {text}')
    return value


def _batches(text: str) -> int:
    if text.lower() in ('true', 'false'):
        return int(text.lower() == 'true')
    return int(text)


_option = partial(option, underscores=True)
_data = partial(_option, group='data and network')
_training = partial(_option, group='training')
_trainer = partial(_option, group="of Lightning's Trainer")
_in_data = {'underscores': True, 'group': 'data and network'}
_in_training = {'underscores': True, 'group': 'training'}


@dataclass
class ClassifierOptions:
    """What ``scripts/video_action_classifier.py`` takes; ``--help`` explains each."""

    data_path: str = _data('', 'folder of frames and lists; by default where you are', common=True)
    model: str = _data(
        'timesformer_divst_8x32_custom', 'network of clips; timesformer_small_custom is for CPUs', common=True)
    checkpoint: str = _data(
        '', "weights to start from: a .pyth of TimeSformer's authors, a ViT of timm, a .params, or the version_N of a "
        'run; without it every layer starts at random', metavar='FILE', common=True)
    num_classes: int | None = changed(
        TrainConfig, 'num_classes', help='classes; by default those of class_names.json', **_in_data)
    input_size: int | None = changed(
        TrainConfig, 'input_size', None, help="height and width that the network sees; by default the model's. Short "
        'sides are 256/224 of it, in training drawn up to 320/224', **_in_data)
    flip_prob: float = changed(
        TrainConfig, 'flip_prob', help='share of training clips that are mirrored; 0 where classes have sides',
        **_in_data)
    color_jitter: float = changed(
        TrainConfig, 'color_jitter', help='change the colours of a training clip at random, 0 not at all to 5',
        **_in_data)
    num_workers: int = changed(
        TrainConfig, 'num_workers', help='processes that read; results do not depend on it', flags=(), **_in_data)
    on_error: str = changed(
        TrainConfig, 'on_error', help='a training clip that cannot be read: stop, or leave it out and record it',
        flags=('--on_error', '--on-error'), **_in_data)

    batch_size: int = changed(TrainConfig, 'batch_size', 1, help='clips a step and device', **_in_training)
    learning_rate: float = _training(1e-4, 'learning rate, the same throughout', least=0, common=True)
    optimizer: str = _training(
        'adam', 'Adam; the same with decoupled weight decay; gradient descent with momentum 0.9',
        choices=tuple(DECAYS), common=True)
    weight_decay: float | None = _training(None, "by default as in PyTorch: adamw's 0.01, otherwise 0", least=0)
    freeze_layers: bool = _training(
        False, 'train the head alone; everything else stays exactly as it is', const=True, type=yes_or_no,
        metavar='true|false', common=True)
    seed: int = changed(TrainConfig, 'seed', 1234, **_in_training)

    max_epochs: int = _trainer(50, 'epochs', least=1, common=True)
    log_every_n_steps: int = _trainer(
        50, 'steps between lines of the log; 0 for none', metavar='STEPS', least=0, common=True)
    default_root_dir: str = _trainer('.', 'where lightning_logs is', metavar='FOLDER', common=True)
    resume_from_checkpoint: str = _trainer(
        '', 'resume a run, in its folder: lightning_logs/version_N, or one of its checkpoints/step-...',
        metavar='version_N', common=True)
    engine: str = changed(TrainConfig, 'engine', help='what computes', group="of Lightning's Trainer")
    gpus: int | None = _trainer(
        None, 'GPUs; 0 computes on the CPU. By default one where there is one that can be used', least=0, common=True)
    precision: str = _trainer('32', 'bits of a number; others are refused', metavar='32')
    accumulate_grad_batches: int = _trainer(
        1, 'batches that are added up to one step', metavar='BATCHES', least=1)
    gradient_clip_val: float = _trainer(0., 'limit of the gradient; 0 for none', metavar='LIMIT', least=0)
    gradient_clip_algorithm: str = _trainer(
        'norm', 'whether the limit is of its norm or of each element', choices=('norm', 'value'))
    limit_train_batches: int | float = _trainer(
        1., 'batches of a training epoch, as a whole number, or the part of them', type=_number_or_part,
        metavar='N|PART')
    limit_val_batches: int | float = _trainer(
        1., 'batches of a validation epoch, as a whole number, or the part of them', type=_number_or_part,
        metavar='N|PART')
    fast_dev_run: int = _trainer(
        0, 'try whether everything runs, on one batch or N, and write nothing', const=1, type=_batches, metavar='N',
        least=0, common=True)

    def train_config(self, card) -> TrainConfig:
        """Return what this is as a training run of a recogniser.

        Parameters
        ----------
        card : gluon_action.model_zoo.ModelCard
            Of `model`.
        """
        data, size = Path(self.data_path).expanduser(), self.input_size or card.input_size
        limit = {'clip_norm' if self.gradient_clip_algorithm == 'norm' else 'clip_grad': self.gradient_clip_val}
        return TrainConfig(
            model=self.model, dataset='epic_kitchens', list_format='epic', num_classes=self.num_classes,
            data_dir=str(data / 'train'), train_list=str(data / 'train_action_classes.csv'),
            val_data_dir=str(data / 'val'), val_list=str(data / 'val_action_classes.csv'),
            new_length=card.clip_length, clip_sampling='spread', input_size=size, data_aug='v3',
            new_height=round(size * 256 / 224), new_width=round(size * 320 / 224), flip_prob=self.flip_prob,
            color_jitter=self.color_jitter, num_workers=self.num_workers, on_error=self.on_error,
            pretrained_base=False, train_params='head' if self.freeze_layers else 'all', optimizer=self.optimizer,
            lr=self.learning_rate, lr_mode='constant',
            wd=DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay,
            batch_size=self.batch_size, num_epochs=self.max_epochs, accumulate=self.accumulate_grad_batches, **limit,
            engine=self.engine, num_gpus=self.gpus or 0,
            seed=self.seed, log_interval=self.log_every_n_steps)
