"""Every choice of a training run in one record, and which of them cannot be."""
from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from ...errors import UsageError
from ..run import RUN_FILES

#: Choices that may differ when a run is resumed, because the result does not depend on them or is meant to go on.
FREE_ON_RESUME = frozenset({
    'num_epochs', 'num_workers', 'prefetch_ratio', 'decode_timeout', 'log_interval', 'save_frequency', 'resume',
    'on_error', 'max_skip_share', 'overwrite', 'save_dir', 'logging_file', 'data_dir', 'val_data_dir', 'eval',
    'checkpoint_steps', 'resume_params', 'new_head', 'resume_states', 'use_pretrained', 'hashtag', 'pretrained_base'})

#: Choices that decide what network the parameters of a run fit: these must agree when it is evaluated.
OF_THE_NETWORK = ('model', 'num_segments', 'consensus', 'use_tsn', 'use_gn', 'use_se', 'batch_norm', 'input_size')


@dataclass
class TrainConfig:
    """What ``scripts/train_recognizer.py`` takes, under the names of its flags; ``--help`` explains each.

    ``TrainConfig(model='resnet18_v1b_ucf101', dataset='demo_appearance')`` is enough to start with.
    """

    # data
    dataset: str = 'ucf101'
    data_dir: str | None = None
    val_data_dir: str | None = None
    train_list: str | None = None
    val_list: str | None = None
    list_format: str = 'auto'
    label_base: int | None = None
    multi_label: bool = False
    num_classes: int | None = None
    num_segments: int = 1
    new_length: int = 1
    new_step: int = 1
    clip_sampling: str = 'consecutive'
    new_height: int = 0
    new_width: int = 0
    input_size: int = 224
    crop_ratio: float = 0.875
    data_aug: str = 'v1'
    scale_ratios: str = '1.0, 0.875, 0.75, 0.66'
    more_fix_crop: bool = True
    max_distort: int = 1
    flip_prob: float = 0.5
    color_jitter: float = 0.
    num_crop: int = 1
    video_loader: bool = False
    use_decord: bool = False
    decoder: str = 'auto'
    decode_timeout: float = 60.
    on_error: str = 'raise'
    max_skip_share: float = 0.1
    num_workers: int = 4
    prefetch_ratio: float = 2.
    slowfast: bool = False
    slow_temporal_stride: int = 16
    fast_temporal_stride: int = 2
    # model
    model: str = ''
    use_tsn: bool = False
    consensus: str = 'avg'
    use_pretrained: bool = False
    pretrained_base: bool = True
    hashtag: str = ''
    resume_params: str = ''
    new_head: bool = False
    train_params: str = 'all'
    resume_states: str = ''
    resume_epoch: int = 0
    mode: str | None = None
    dtype: str = 'float32'
    dropout: float | None = None
    last_gamma: bool = False
    use_se: bool = False
    use_gn: bool = False
    batch_norm: bool = False
    input_5d: bool = False
    partial_bn: bool = False
    freeze_bn: bool = False
    bn_momentum: float | None = None
    # devices
    num_gpus: int = 0
    num_cpus: int = 1
    kvstore: str | None = None
    use_amp: bool = False
    # optimisation
    optimizer: str | None = None
    batch_size: int = 25
    num_epochs: int = 3
    lr: float = 0.1
    momentum: float = 0.9
    wd: float = 0.0001
    no_wd: bool = False
    lr_mode: str = 'step'
    lr_decay: float = 0.1
    lr_decay_period: int = 0
    lr_decay_epoch: str = '40,60'
    warmup_lr: float = 0.
    warmup_epochs: int = 0
    clip_grad: float = 0
    clip_norm: float = 0
    accumulate: int = 1
    mixup: bool = False
    mixup_alpha: float = 0.2
    mixup_off_epoch: int = 0
    label_smoothing: bool = False
    teacher: str | None = None
    teacher_params: str = ''
    temperature: float = 20.
    hard_weight: float = 0.5
    seed: int = 0
    # the run
    save_dir: str = 'params'
    save_frequency: int = 10
    checkpoint_steps: int = 0
    logging_file: str = 'train.log'
    log_interval: int = 50
    train_only: bool = False
    eval: bool = False
    resume: str | None = None
    overwrite: bool = False

    def as_json(self) -> str:
        """Return the record as JSON, keys in the order of this class."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @property
    def update_rule(self) -> str:
        """The optimizer: what was asked for, or GluonCV's."""
        return self.optimizer or ('nag' if self.slowfast else 'sgd')

    @property
    def num_devices(self) -> int:
        """Devices that a batch is split over."""
        return self.num_gpus or self.num_cpus

    @property
    def total_batch_size(self) -> int:
        """Videos a step, over all devices of this process."""
        return self.batch_size * self.num_devices

    @property
    def ratios(self) -> tuple[float, ...]:
        """The scale ratios as numbers."""
        try:
            return tuple(float(part) for part in self.scale_ratios.split(',') if part.strip())
        except ValueError:
            raise UsageError(f'--scale-ratios takes numbers separated by commas, got {self.scale_ratios!r}') from None

    @property
    def decay(self) -> str | range:
        """Where the step schedule changes the rate, as `gluon_action.train.schedules.make_schedule` takes it."""
        if self.lr_decay_period > 0:
            return range(self.lr_decay_period, self.num_epochs, self.lr_decay_period)
        return self.lr_decay_epoch


def check_config(config: TrainConfig, card) -> None:
    """Refuse choices that contradict each other or mean nothing for the model.

    Parameters
    ----------
    config : TrainConfig
    card : gluon_action.model_zoo.ModelCard
        The model's; decides which options mean something.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    for rules in (_model_rules(config, card), _data_rules(config, card), _start_rules(config), _recipe_rules(config)):
        for broken, flag, why in rules:
            if broken:
                raise UsageError(f'{flag}: {why}')


def _model_rules(c: TrainConfig, card):
    """Yield (broken, flag, why): options that mean nothing for this network."""
    normalised = 'bn_frozen' in card.supports or c.batch_norm
    for value, option, flag, what in (
            (c.use_gn, 'use_gn', '--use-gn', 'group normalisation'),
            (c.use_se, 'use_se', '--use_se', 'squeeze-and-excitation'),
            (c.batch_norm, 'batch_norm', '--batch-norm', 'batch-normalised variant'),
            (c.last_gamma, 'last_gamma', '--last-gamma', 'residual block whose last gamma could start at 0')):
        yield value and option not in card.supports, flag, f'{card.name} has no {what}'
    for value, flag in ((c.partial_bn, '--partial-bn'), (c.freeze_bn, '--freeze-bn'),
                        (c.bn_momentum is not None, '--bn-momentum')):
        yield value and (not normalised or c.use_gn), flag, f'{card.name} has no batch normalisation'
    yield c.freeze_bn and c.bn_momentum is not None, '--bn-momentum', 'means nothing with --freeze-bn'
    yield c.partial_bn and c.freeze_bn, '--partial-bn', 'contradicts --freeze-bn, which freezes all of them'
    frames = card.input_layout == 'NCHW'
    yield c.input_5d and frames, '--input-5d', f'{card.name} takes frames (N, C, H, W), not clips'
    pathways = 'slowfast' in card.supports
    yield c.slowfast and not pathways, '--slowfast', f'{card.name} has no slow and fast pathway'
    yield pathways and not c.slowfast, '--slowfast', f'{card.name} has a slow and a fast pathway; add it'
    yield (c.new_length > 1 and frames, '--new-length',
           f'{card.name} takes one frame a segment; use --num-segments for more frames')
    yield (not frames and c.new_length == 1 and not (c.input_5d or c.slowfast), '--new-length',
           f'{card.name} takes clips; pass the frames of one, {card.clip_length} as for its weights or any other '
           'number, or --input-5d for clips of a single frame')
    yield not frames and c.use_tsn, '--use-tsn', f'{card.name} averages over segments as it is; leave it out'
    yield (c.consensus != 'avg' and not frames, '--consensus',
           f'{card.name} averages over segments; another consensus is for temporal segment networks')
    yield c.consensus != 'avg' and c.num_segments == 1, '--consensus', 'needs --num-segments of 2 or more'
    given = '--use-pretrained' if c.use_pretrained else '--resume-params' if c.resume_params else ''
    yield (c.last_gamma and (given or c.pretrained_base), '--last-gamma',
           f'the weights of {given} would overwrite it' if given else
           'ImageNet weights would overwrite it; add --no-pretrained-base')
    yield (c.consensus != 'avg' and c.num_crop > 1, '--num-crop',
           f'several crops are averaged, which --consensus {c.consensus} contradicts')


def _data_rules(c: TrainConfig, card):
    yield c.num_gpus and c.num_cpus > 1, '--num-cpus', 'splits batches where there are no GPUs; leave out --num-gpus'
    if c.clip_sampling == 'spread':
        frames = card.input_layout == 'NCHW'
        yield (frames, '--clip-sampling spread',
               f'{card.name} takes one frame a segment; --num-segments spreads those over the video')
        yield c.slowfast, '--clip-sampling spread', 'contradicts --slowfast, which takes its own strides'
        yield (c.num_segments != 1 or c.new_step != 1, '--clip-sampling spread',
               'takes one clip whose frames are as far apart as the video allows; leave out --num-segments and '
               f'--new-step, got {c.num_segments} and {c.new_step}')
    strides = (c.slow_temporal_stride, c.fast_temporal_stride)
    yield (not c.slowfast and strides != (16, 2), '--slow-temporal-stride and --fast-temporal-stride',
           'mean something with --slowfast only')
    yield c.use_decord and c.decoder == 'pyav', '--use-decord', 'contradicts --decoder pyav'
    yield c.num_crop not in (1, 3, 10), '--num-crop', f'must be 1, 3 or 10, got {c.num_crop}'
    ratios = c.ratios
    yield (not ratios or min(ratios) <= 0 or max(ratios) > 1, '--scale-ratios',
           f'must be above 0 and at most 1, got {c.scale_ratios!r}')
    yield not 0 < c.crop_ratio <= 1, '--crop-ratio', f'must be above 0 and at most 1, got {c.crop_ratio}'
    yield not 0 <= c.flip_prob <= 1, '--flip-prob', f'must be in 0..1, got {c.flip_prob}'
    yield not 0 <= c.color_jitter <= 5, '--color-jitter', f'must be in 0..5, got {c.color_jitter}'
    yield (c.color_jitter and card.modality == 'flow', '--color-jitter',
           f'changes colours, and {card.name} takes optical flow')
    yield not 0 <= c.max_skip_share <= 1, '--max-skip-share', f'must be in 0..1, got {c.max_skip_share}'
    yield (c.on_error == 'raise' and c.max_skip_share != 0.1, '--max-skip-share',
           'means something with --on-error skip only')
    yield c.num_crop > 1 and c.train_only, '--num-crop', 'is about validation; leave out --train-only'
    yield from _size_rules(c)


def _size_rules(c: TrainConfig):
    """Yield (broken, flag, why): sizes and crops that the augmentation does not look at."""
    multi_scale, resized = c.data_aug in ('v1', 'v2'), c.data_aug == 'v1' and c.new_height and c.new_width
    yield (c.data_aug == 'v1' and bool(c.new_height) != bool(c.new_width), '--new-height and --new-width',
           f'go together, got {c.new_height} and {c.new_width}')
    yield (c.data_aug in ('v2', 'v4') and c.new_width, '--new-width',
           f'means nothing with --data-aug {c.data_aug}, which keeps the shape of frames; --new-height is their short '
           'side')
    yield (resized and min(c.new_height, c.new_width) < c.input_size and not c.train_only, '--input-size',
           f'{c.input_size} does not fit into frames of {c.new_width}x{c.new_height}, which validation crops from')
    for value, default, flag in ((c.scale_ratios, '1.0, 0.875, 0.75, 0.66', '--scale-ratios'),
                                 (c.more_fix_crop, True, '--more-fix-crop'), (c.max_distort, 1, '--max-distort')):
        yield (value != default and not multi_scale, flag,
               f'is about the multi-scale crop of --data-aug v1 and v2, got {c.data_aug}')
    why = ('there is no validation' if c.train_only else
           f'frames are resized to {c.new_width}x{c.new_height}' if resized else
           f'--num-crop 3 resizes the short side to --input-size {c.input_size}' if c.num_crop == 3 else
           f'--new-height {c.new_height} is the short side' if c.data_aug != 'v1' and c.new_height else '')
    yield c.crop_ratio != 0.875 and why, '--crop-ratio', f'means nothing here: {why}'


def _start_rules(c: TrainConfig):
    yield c.hashtag and not c.use_pretrained, '--hashtag', 'names published weights; add --use-pretrained'
    yield (c.new_head and not c.resume_params, '--new-head',
           'keeps the body of --resume-params FILE; add it. Published weights with another number of classes get a new '
           'head by themselves')
    yield (c.use_pretrained and c.resume_params, '--use-pretrained',
           'contradicts --resume-params: two starting points')
    yield c.resume_states and not c.resume_params, '--resume-states', 'needs the --resume-params that it belongs to'
    yield (c.new_head and (c.resume_states or c.eval), '--new-head',
           'starts a new head, which leaves nothing to ' + ('score' if c.eval else 'go on from with --resume-states'))
    yield (c.eval and c.train_params != 'all', '--train-params', '--eval trains nothing')
    yield (c.resume and (c.resume_params or c.resume_states or c.resume_epoch), '--resume',
           'restores everything; leave out --resume-params, --resume-states and --resume-epoch')
    yield c.resume and c.overwrite, '--overwrite', 'contradicts --resume'
    yield c.eval and c.overwrite, '--overwrite', '--eval writes nothing'
    yield c.train_only and c.eval, '--train-only', 'contradicts --eval'
    yield (c.eval and not (c.use_pretrained or c.resume_params or c.resume), '--eval',
           'no parameters to score; add --resume-params FILE, --resume or --use-pretrained')
    yield (c.train_only and c.save_frequency not in (0, 10), '--save-frequency',
           'means nothing with --train-only, which keeps the last parameters only')
    yield not c.logging_file, '--logging-file', 'needs a name'
    yield (any(sign in c.logging_file for sign in '/\\') or c.logging_file in ('.', '..'), '--logging-file',
           f'is the name of a file in --save-dir, not a path, got {c.logging_file!r}')
    yield (c.logging_file in (*RUN_FILES, 'checkpoints'), '--logging-file',
           f'{c.logging_file} is what the run writes something else to; take another name')
    yield (c.resume_epoch >= c.num_epochs, '--resume-epoch',
           f'{c.resume_epoch} leaves nothing of --num-epochs {c.num_epochs}')


def _recipe_rules(c: TrainConfig):
    distilled = bool(c.teacher)
    yield (not distilled and (c.teacher_params or c.temperature != 20 or c.hard_weight != 0.5),
           '--teacher-params, --temperature and --hard-weight', 'mean something with --teacher only')
    yield not 0 <= c.hard_weight <= 1, '--hard-weight', f'must be in 0..1, got {c.hard_weight}'
    yield c.temperature <= 0, '--temperature', f'must be above 0, got {c.temperature}'
    yield (not c.mixup and (c.mixup_off_epoch or c.mixup_alpha != 0.2), '--mixup-alpha and --mixup-off-epoch',
           'mean something with --mixup only')
    yield (c.mixup and c.mixup_off_epoch >= c.num_epochs, '--mixup-off-epoch',
           f'{c.mixup_off_epoch} leaves --mixup nothing of --num-epochs {c.num_epochs}')
    yield c.mixup_alpha <= 0, '--mixup-alpha', f'must be above 0, got {c.mixup_alpha}'
    yield from _rate_rules(c)
    yield (c.dtype != 'float32' and not c.num_gpus, '--dtype',
           f'{c.dtype} needs --num-gpus: MXNet has no {c.dtype} convolution on a CPU')
    yield c.use_amp and c.dtype != 'float32', '--use-amp', 'keeps float32 parameters; leave out --dtype'


def _rate_rules(c: TrainConfig):
    """Yield (broken, flag, why): numbers that the schedule does not look at."""
    rates = ':' in c.lr_decay_epoch
    for given, flag in ((c.lr_decay_period, '--lr-decay-period'), (c.lr_decay_epoch != '40,60', '--lr-decay-epoch'),
                        (c.lr_decay != 0.1, '--lr-decay')):
        yield given and c.lr_mode != 'step', flag, f'means something with --lr-mode step only, got {c.lr_mode}'
    yield (c.lr_decay_period and c.lr_decay_epoch != '40,60', '--lr-decay-period',
           'contradicts --lr-decay-epoch; both say where the rate changes')
    for given, flag in ((c.lr != 0.1, '--lr'), (c.lr_decay != 0.1, '--lr-decay')):
        yield given and rates, flag, f'means nothing beside the rates of --lr-decay-epoch {c.lr_decay_epoch}'
    yield (c.momentum != 0.9 and c.update_rule not in ('sgd', 'nag'), '--momentum',
           f'means nothing with --optimizer {c.optimizer}, which has means of its own')
    yield c.warmup_lr and not c.warmup_epochs, '--warmup-lr', 'needs --warmup-epochs'
