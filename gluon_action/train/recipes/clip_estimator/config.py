"""All options of the I3D and S3D-G estimators, and the checks that refuse impossible combinations."""
from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ....compute.engines import ENGINES
from ....errors import UsageError
from ....evaluate.options.recognizer_options import RecognizerOptions
from ....options import changed, option, options_of, yes_or_no

NETWORKS = ('i3d', 's3dg')
MODES = {'i3d': ('train', 'eval', 'train_and_eval', 'predict', 'export'),
         's3dg': ('train', 'eval', 'train_and_eval', 'predict', 'export', 'export_for_production')}
OPTIMIZERS = ('momentum', 'sgd')
LABEL_MODES = ('multi', 'single')

#: Choices that only S3D-G has, beside its mode.
OF_S3DG = ('warm_start', 'min_depth', 'depth_multiplier', 'crop', 'cropheight', 'cropwidth', 'cropx', 'cropy')

#: Choices that may differ when a run is resumed: the parameters do not depend on them, they were used at its beginning,
#: or the data that they name are compared by their content.
FREE_TO_CHANGE = frozenset({
    'mode', 'model_dir', 'checkpoint_path', 'export_path', 'train_subset_dir_path', 'eval_subset_dir_path',
    'predict_subset_dir_path', 'prefetch_size', 'tfrecord_size', 'monitor_steps', 'train_steps', 'gpu_num',
    'variables_to_warm_start', 'warm_start', 'add_image_summaries', 'num_data_workers', 'overwrite', 'restart',
    'save_minutes', 'engine'})

#: Choices that decide what network the parameters of a run fit, the classes of its head aside.
OF_THE_NETWORK = ('network', 'channels', 'min_depth', 'depth_multiplier')

_option = partial(option, underscores=True)
_clips = partial(_option, group='clips')
_training = partial(_option, group='training')
_results = partial(_option, group='results')
_devices = partial(_option, group='devices')


@dataclass
class EstimatorConfig:
    """What ``scripts/i3d_estimator.py`` and ``scripts/s3dg_estimator.py`` take, under the names of their flags.

    ``--help`` explains each. `network` is the script: ``'i3d'`` or ``'s3dg'``.
    """

    network: str = 'i3d'
    mode: str = _option(
        'train_and_eval', 'train for --train_steps; evaluate once; train and evaluate every --monitor_steps; write '
        'predictions of every clip; write the network as an ONNX bundle', required=True)
    model_dir: str = _option(
        '', 'folder of the run: checkpoints, log, events, results. A run that is there is resumed', required=True)
    checkpoint_path: str | None = _option(
        None, 'what a new run starts from, or what is evaluated, applied or exported: the --model_dir of another run '
        '(its newest checkpoint), a .params file such as its best.params, or a checkpoint of TensorFlow '
        "(FOLDER/model.ckpt); by default --model_dir's newest", metavar='PATH', common=True)
    export_path: str | None = _option(
        None, '--mode export: a folder named by the time is made in here; by default MODEL_DIR/export',
        metavar='FOLDER', common=True)

    train_subset_dir_path: str | None = _clips(
        None, 'folder of *.tfrecord, or a pattern, to train on', metavar='FOLDER', common=True)
    eval_subset_dir_path: str | None = _clips(
        None, 'folder of *.tfrecord, or a pattern, to evaluate', metavar='FOLDER', common=True)
    predict_subset_dir_path: str | None = _clips(
        None, 'folder of *.tfrecord, or a pattern, to predict; needs no labels', '--predict_subset_dir_path',
        '--test_subset_dir_path', metavar='FOLDER', common=True)
    batch_size: int = _clips(6, 'clips a step, over all devices', least=1, common=True)
    prefetch_size: int = _clips(
        -1, 'batches read ahead; 0 reads when they are needed, -1 goes by --tfrecord_size', metavar='BATCHES',
        least=-1)
    tfrecord_size: int = _clips(
        40, 'size of the clips read ahead, as they are stored; one batch at least', metavar='MIB', least=1)
    num_classes: int = _clips(
        204, 'classes, and length of a label; by default as many as classes.txt beside the records names', least=1,
        common=True)
    clip_length: int = _clips(
        64, 'frames of a stored clip; by default, as the next two, what manifest.json of the records says', least=1,
        common=True)
    frame_height: int = _clips(224, 'height of the stored frames', least=1)
    frame_width: int = _clips(224, 'width of the stored frames', least=1)
    channels: int = _clips(3, '3 of RGB, 2 of optical flow')
    label_mode: str = _clips(
        'multi', 'a clip has any number of labels (sigmoid), or exactly one (softmax)', choices=LABEL_MODES,
        common=True)
    num_data_workers: int = _clips(2, 'processes that read clips; results do not depend on it', least=0)
    crop: bool = _clips(False, 'keep only a window of every frame', '-c', '--crop')
    cropheight: int = _clips(920, 'height of the window', least=1)
    cropwidth: int = _clips(1920, 'its width', least=1)
    cropx: int = _clips(0, 'its left edge', least=0)
    cropy: int = _clips(82, 'its upper edge', least=0)

    monitor_steps: int = _training(
        100, 'steps between two looks at the run: log, summaries, checkpoint and evaluation', metavar='STEPS', least=1,
        common=True)
    train_steps: int | None = _training(
        None, 'steps of the whole run; by default it runs until Ctrl-C', metavar='STEPS', least=1, common=True)
    save_minutes: float = _training(
        15., 'minutes between two checkpoints within --monitor_steps; 0 for none but theirs', least=0)
    learning_rate: float = _training(0.1, 'learning rate, the same throughout', least=0, common=True)
    optimizer: str = _training('momentum', 'gradient descent with momentum or without', choices=OPTIMIZERS)
    momentum: float = _training(0.9, 'momentum', least=0)
    weight_decay: float = _training(1e-7, 'factor of the L2 term, and of the L1 term', least=0)
    dropout_rate: float = _training(0.2, 'dropout before the logits', least=0)
    variables_to_warm_start: str | None = _training(
        None, 'what is taken from --checkpoint_path: NETWORK_convs or NETWORK_logits; all by default', metavar='PART',
        common=True)
    variables_to_train: str | None = _training(
        None, 'what is trained: NETWORK_convs or NETWORK_logits; all by default', metavar='PART', common=True)
    update_batch_norm: bool = _training(
        False, 'let statistics of batch normalisation follow the clips also where nothing is trained')
    batch_norm_momentum: float | None = _training(
        None, "how slowly these statistics follow; 0.9 by default, Kinetics' training had 0.999", least=0)
    seed: int = _training(0, 'decides every random choice of the run', least=0)
    restart: bool = _training(
        False, 'put the run in --model_dir aside, in its folder phase-1 and so on, and start a new one from its '
        'parameters (or from --checkpoint_path); repeated, the new one is resumed', common=True)
    warm_start: bool = _training(
        False, 'start from --checkpoint_path (i3d_estimator.py does without being told)')
    min_depth: int = _training(16, 'least channels of a layer', least=1)
    depth_multiplier: float = _training(1.0, 'factor of the channels of all layers', least=0)

    add_image_summaries: bool = _results(
        True, 'show the middle frames of a batch in TensorBoard', type=yes_or_no, metavar='true|false')
    metric_weights: str | None = _results(
        None, 'classes that count in scores: numbers, ranges (4-7) and parts of names (gate), separated by commas; all '
        'by default', metavar='CLASSES')
    overwrite: bool = _results(False, 'replace eval.json or the predictions of before', common=True)

    engine: str = changed(
        RecognizerOptions, 'engine', group='devices', help='what computes; export and what was exported are always '
        "MXNet's")
    num_gpus: int | None = _devices(
        None, 'GPUs; 0 computes on the CPU. By default 1 where there is one that can be used', least=0, common=True)
    gpu_num: int | None = _devices(None, 'which GPU, by default 0', least=0)

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
                          ('label_mode', LABEL_MODES), ('engine', ENGINES)):
        yield (getattr(c, flag) not in allowed, flag, f'{getattr(c, flag)!r} is not one of {", ".join(allowed)}')
    yield not c.model_dir, 'model_dir', 'needs the folder of the run'
    for flag in OF_S3DG if c.network == 'i3d' else ():
        yield (getattr(c, flag) != getattr(EstimatorConfig, flag), flag, 'is about s3dg_estimator.py')


def _number_rules(c: EstimatorConfig) -> Iterator[tuple]:
    for flag, about in options_of(EstimatorConfig).items():
        value = getattr(c, flag)
        yield (about.least is not None and value is not None and not about.least <= value < math.inf, flag,
               f'must be {about.least} or more, got {value}')
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
           'replaces the results of --mode eval and predict; a run that trains is resumed, and --restart puts it aside')
    yield (c.engine != 'mxnet' and c.mode.startswith('export'), 'engine', 'networks are exported by MXNet, whatever '
           'trained them; leave it out')
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
