"""Every choice of the I3D and S3D-G estimators in one record, and which of them cannot be."""
from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import UsageError

NETWORKS = ('i3d', 's3dg')
MODES = {'i3d': ('train', 'eval', 'train_and_eval', 'predict', 'export'),
         's3dg': ('train', 'eval', 'train_and_eval', 'predict', 'export', 'export_for_production')}
OPTIMIZERS = ('momentum', 'sgd')
LABEL_MODES = ('multi', 'single')

#: Choices that only S3D-G has, beside its mode.
OF_S3DG = ('warm_start', 'min_depth', 'depth_multiplier', 'crop', 'cropheight', 'cropwidth', 'cropx', 'cropy')

#: Choices that may differ when a run goes on: the parameters do not depend on them, they were used at its beginning,
#: or the data that they name are compared by their content.
FREE_TO_CHANGE = frozenset({
    'mode', 'model_dir', 'checkpoint_path', 'export_path', 'train_subset_dir_path', 'eval_subset_dir_path',
    'predict_subset_dir_path', 'prefetch_size', 'tfrecord_size', 'monitor_steps', 'train_steps', 'gpu_num',
    'variables_to_warm_start', 'warm_start', 'add_image_summaries', 'num_data_workers', 'overwrite', 'restart'})

#: Choices that decide what network the parameters of a run fit, the classes of its head aside.
OF_THE_NETWORK = ('network', 'channels', 'min_depth', 'depth_multiplier')


@dataclass
class EstimatorConfig:
    """What ``scripts/i3d_estimator.py`` and ``scripts/s3dg_estimator.py`` take, under the names of their flags.

    ``--help`` explains each. `network` is the script: ``'i3d'`` or ``'s3dg'``.
    """

    network: str = 'i3d'
    mode: str = 'train_and_eval'
    model_dir: str = ''
    checkpoint_path: str | None = None
    export_path: str | None = None
    # data
    train_subset_dir_path: str | None = None
    eval_subset_dir_path: str | None = None
    predict_subset_dir_path: str | None = None
    batch_size: int = 6
    prefetch_size: int = -1
    tfrecord_size: int = 40
    num_classes: int = 204
    clip_length: int = 64
    frame_height: int = 224
    frame_width: int = 224
    channels: int = 3
    label_mode: str = 'multi'
    num_data_workers: int = 2
    crop: bool = False
    cropheight: int = 920
    cropwidth: int = 1920
    cropx: int = 0
    cropy: int = 82
    # training
    monitor_steps: int = 100
    train_steps: int | None = None
    learning_rate: float = 0.1
    optimizer: str = 'momentum'
    momentum: float = 0.9
    weight_decay: float = 1e-7
    dropout_rate: float = 0.2
    variables_to_warm_start: str | None = None
    variables_to_train: str | None = None
    update_batch_norm: bool = False
    batch_norm_momentum: float | None = None
    seed: int = 0
    restart: bool = False
    overwrite: bool = False
    # the network of s3dg_estimator.py, and whether it starts from --checkpoint_path
    warm_start: bool = False
    min_depth: int = 16
    depth_multiplier: float = 1.0
    # what is looked at
    add_image_summaries: bool = True
    metric_weights: str | None = None
    # devices; None is one GPU where there is one
    num_gpus: int | None = None
    gpu_num: int | None = None

    def as_json(self) -> str:
        """Return the record as JSON, keys in the order of this class."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @property
    def trains(self) -> bool:
        """Whether the mode changes parameters."""
        return self.mode in ('train', 'train_and_eval')

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several labels."""
        return self.label_mode == 'multi'

    @property
    def parts(self) -> dict[str, str]:
        """Names of parts for ``--variables_to_train`` and its like, as the module ``warm_start`` calls them."""
        return {f'{self.network}_convs': 'body', f'{self.network}_logits': 'head'}

    @property
    def window(self) -> tuple[int, int, int, int] | None:
        """Left, top, width and height of what --crop leaves of a frame."""
        return (self.cropx, self.cropy, self.cropwidth, self.cropheight) if self.crop else None

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width that the network sees."""
        return (self.cropheight, self.cropwidth) if self.crop else (self.frame_height, self.frame_width)

    def part(self, flag: str) -> str:
        """Return ``'all'``, ``'body'`` or ``'head'`` for what `flag`, such as ``variables_to_train``, names.

        Raises
        ------
        UsageError
            For an unknown name; the original takes it for everything.
        """
        name = getattr(self, flag)
        if name is None:
            return 'all'
        if name not in self.parts:
            raise UsageError(f'--{flag} {name!r} is not one of {", ".join(self.parts)}; leave it out for all')
        return self.parts[name]


def check_config(config: EstimatorConfig) -> None:
    """Refuse choices that contradict each other or mean nothing.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    config.part('variables_to_warm_start')
    config.part('variables_to_train')
    for rules in (_name_rules(config), _number_rules(config), _mode_rules(config), _training_rules(config),
                  _data_rules(config)):
        for broken, flag, why in rules:
            if broken:
                raise UsageError(f'--{flag}: {why}')


def _name_rules(c: EstimatorConfig) -> Iterator[tuple]:
    for flag, allowed in (('network', NETWORKS), ('mode', MODES.get(c.network, ())), ('optimizer', OPTIMIZERS),
                          ('label_mode', LABEL_MODES)):
        yield (getattr(c, flag) not in allowed, flag, f'{getattr(c, flag)!r} is not one of {", ".join(allowed)}')
    yield not c.model_dir, 'model_dir', 'needs the folder of the run'
    for flag in OF_S3DG if c.network == 'i3d' else ():
        yield (getattr(c, flag) != getattr(EstimatorConfig, flag), flag, 'is about s3dg_estimator.py')


def _number_rules(c: EstimatorConfig) -> Iterator[tuple]:
    least = {'batch_size': 1, 'prefetch_size': -1, 'tfrecord_size': 1, 'num_classes': 1, 'clip_length': 1,
             'frame_height': 1, 'frame_width': 1, 'num_data_workers': 0, 'cropheight': 1, 'cropwidth': 1, 'cropx': 0,
             'cropy': 0, 'monitor_steps': 1, 'train_steps': 1, 'learning_rate': 0, 'momentum': 0, 'weight_decay': 0,
             'dropout_rate': 0, 'batch_norm_momentum': 0, 'seed': 0, 'min_depth': 1, 'depth_multiplier': 0,
             'num_gpus': 0, 'gpu_num': 0}
    for flag, low in least.items():
        value = getattr(c, flag)
        yield (value is not None and not low <= value < math.inf, flag, f'must be {low} or more, got {value}')
    for flag in ('dropout_rate', 'batch_norm_momentum', 'momentum'):
        value = getattr(c, flag)
        yield value is not None and value >= 1, flag, f'must be less than 1, got {value}'
    yield c.depth_multiplier == 0, 'depth_multiplier', 'must be above 0'
    channels = (3, 2) if c.network == 'i3d' else (3,)
    yield (c.channels not in channels, 'channels',
           f'must be {" or ".join(map(str, channels))} (RGB{", optical flow" * (len(channels) > 1)}), got {c.channels}')
    yield (c.label_mode == 'single' and c.num_classes < 2, 'num_classes',
           'one label a clip needs 2 classes or more to choose from')


def _mode_rules(c: EstimatorConfig) -> Iterator[tuple]:
    needed = {'train': ('train',), 'train_and_eval': ('train', 'eval'), 'eval': ('eval',), 'predict': ('predict',)}
    for subset in needed.get(c.mode, ()):
        flag = f'{subset}_subset_dir_path'
        yield not getattr(c, flag), flag, f'--mode {c.mode} needs the folder of its *.tfrecord files'
    yield (c.export_path is not None and not c.mode.startswith('export'), 'export_path',
           f'is about --mode export, got {c.mode}')
    yield c.restart and not c.trains, 'restart', f'is about training, got --mode {c.mode}'
    yield (c.overwrite and c.mode not in ('eval', 'predict'), 'overwrite',
           'replaces the results of --mode eval and predict; a run that trains goes on, and --restart puts it aside')
    yield (c.num_gpus == 0 and c.gpu_num is not None, 'gpu_num', '--num_gpus 0 computes on the CPU')
    yield ((c.num_gpus or 1) > 1 and bool(c.gpu_num), 'gpu_num',
           f'picks one card, and --num_gpus {c.num_gpus} takes the first {c.num_gpus}')


def _training_rules(c: EstimatorConfig) -> Iterator[tuple]:
    yield (c.optimizer == 'sgd' and c.momentum != EstimatorConfig.momentum, 'momentum',
           'means nothing with --optimizer sgd')
    whole = c.variables_to_train is None
    yield (c.update_batch_norm and (whole or not c.trains), 'update_batch_norm',
           'is about batch normalisation that --variables_to_train leaves out; without that all is updated')
    starts = c.network == 'i3d' or c.warm_start or c.restart
    for flag in ('checkpoint_path', 'variables_to_warm_start'):
        yield (c.trains and getattr(c, flag) is not None and not starts, flag,
               's3dg_estimator.py starts from another checkpoint with --warm_start only')


def _data_rules(c: EstimatorConfig) -> Iterator[tuple]:
    for flag in ('cropheight', 'cropwidth', 'cropx', 'cropy'):
        yield (getattr(c, flag) != getattr(EstimatorConfig, flag) and not c.crop, flag,
               'means something with --crop only')
    outside = c.cropx + c.cropwidth > c.frame_width or c.cropy + c.cropheight > c.frame_height
    yield (c.crop and outside, 'crop',
           f'a window of {c.cropwidth}x{c.cropheight} at ({c.cropx}, {c.cropy}) does not fit into frames of '
           f'{c.frame_width}x{c.frame_height}; say how large the stored frames are with --frame_width and '
           '--frame_height, or what to cut out with --cropwidth, --cropheight, --cropx and --cropy')
