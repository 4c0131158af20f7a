"""All options of a training run, and the checks that refuse impossible combinations."""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...compute.engines import engine_of
from ...compute.optimizers import OPTIMIZERS, takes_momentum
from ...data.by_name import train_transform
from ...errors import UsageError
from ...evaluate.options.recognizer_options import RecognizerOptions, raise_first, shared_rules
from ...input_kind import FRAMES
from ...options import changed, option
from ..run import RUN_FILES

#: Choices that may differ when a run is resumed, because the result does not depend on them or is meant to change.
FREE_ON_RESUME = frozenset({
    'num_epochs', 'num_workers', 'prefetch_ratio', 'decode_timeout', 'on_damage', 'log_interval', 'save_frequency',
    'resume', 'on_error', 'max_skip_share', 'overwrite', 'save_dir', 'logging_file', 'data_dir', 'val_data_dir', 'eval',
    'checkpoint_steps', 'resume_params', 'new_head', 'resume_states', 'use_pretrained', 'hashtag', 'pretrained_base',
    'weights_index', 'trust_first_use', 'checkpoint_minutes', 'schedule_rule', 'frame_tables', 'videos', 'val',
    'recipe', 'from_recipe', 'patience', 'report', 'engine', 'compile'})

#: Name of the recipe of `fine_tuning`, and of the one that has GluonCV's values.
FINETUNE, GLUONCV = 'finetune', 'gluoncv'

#: Choices that decide what network the parameters of a run fit: these must agree when it is evaluated.
OF_THE_NETWORK = ('model', 'num_segments', 'consensus', 'use_tsn', 'use_gn', 'use_se', 'batch_norm', 'input_size')

_data = partial(option, group='training data')
_model = partial(option, group='model')
_devices = partial(option, group='devices')
_optimisation = partial(option, group='optimisation')
_run = partial(option, group='run')


@dataclass
class TrainConfig(RecognizerOptions):
    """What ``scripts/train_recognizer.py`` takes, under the names of its flags; ``--help`` explains each.

    ``TrainConfig(model='resnet18_v1b_ucf101', dataset='demo_appearance')`` is enough to start with, and so is
    ``TrainConfig(videos='videos')`` for a folder of one folder a class, or a list. Three are no flags: `videos`;
    `schedule_rule`, how updates get their rates, see `make_schedule` (a run that began before there was a choice keeps
    its own); and `from_recipe`, the options whose values came from the recipe, or None before it was taken.
    """

    videos: str | None = None
    schedule_rule: str = 'exact'
    from_recipe: list[str] | None = None
    model: str = changed(RecognizerOptions, 'model', required=False)

    val_data_dir: str | None = changed(RecognizerOptions, 'val_data_dir', group='training data')
    train_list: str | None = changed(RecognizerOptions, 'train_list', group='training data')
    val_list: str | None = changed(RecognizerOptions, 'val_list', group='training data')
    val: str | None = _data(
        None, 'validation videos beside VIDEOS: a folder of one folder a class, or a list', metavar='VIDEOS',
        common=True)
    val_share: float = _data(
        0.2, 'share of VIDEOS that validates where they are not divided and --val names no others: of each class, and '
        'whole recordings', metavar='SHARE')
    balance: str = _data(
        'none', 'classes that have many videos and few: sampling shows each as often in an epoch, weights counts each '
        'as much in the loss', choices=('none', 'sampling', 'weights'))
    crop_ratio: float = changed(RecognizerOptions, 'crop_ratio', group='training data')
    scale_ratios: str = _data('1.0, 0.875, 0.75, 0.66', 'sides of the multi-scale crop')
    more_fix_crop: bool = _data(True, 'crop at the 4 corners and the centre only, instead of 13 places')
    max_distort: int = _data(1, 'how far the two scale ratios of a crop may differ', least=0)
    flip_prob: float = _data(0.5, 'share of clips that are mirrored')
    color_jitter: float = _data(
        0., 'change brightness, contrast, saturation and hue of a video at random, all frames alike: 0 not at all, 1 a '
        'little (contrast and saturation by 10 %%), at most 5', metavar='STRENGTH')
    rand_augment: float = _data(
        0., 'change every video by two of twelve operations, drawn anew, all frames alike (RandAugment): brightness, '
        'colour, shear, rotation and the like, by so much of 10; 0 for none', metavar='MAGNITUDE')
    random_erasing: float = _data(
        0., 'share of videos of which a rectangle is replaced by noise, the same in all frames', metavar='SHARE')
    repeat_augmentation: int = _data(
        1, 'show a video so many times in succession, differently augmented; epochs stay as long, and show fewer',
        metavar='TIMES', least=1)
    send_pixels: bool = _data(
        False, 'workers send pixels of training clips, a quarter of the bytes, and the devices scale and normalise '
        'them: for GPUs that wait for data; on a CPU the workers do it sooner')
    num_crop: int = changed(RecognizerOptions, 'num_crop', group='training data')
    on_error: str = _data(
        'raise', 'a training video that cannot be read: stop, or leave it out and record it',
        choices=('raise', 'skip'))
    max_skip_share: float = _data(0.1, 'stop when more than this share of the videos was skipped')

    pretrained_base: bool = _model(
        True, 'start the body at random instead of from weights that are downloaded: those of an ImageNet network, '
        'and for *_custom the Kinetics400 weights of the same network',
        '--no-pretrained-base', common=True)
    new_head: bool = _model(
        False, 'take the body of --resume-params only: its weights were trained on other classes')
    train_params: str = _model(
        'all', 'what learns: everything, the head, or the parameters in whose keys the regular expression is found; '
        'the rest stays as it is, running statistics included', metavar='all|head|REGEX')
    consensus: str = changed(RecognizerOptions, 'consensus', group='model')
    dropout: float | None = _model(None, "dropout before the head; by default the model's")
    last_gamma: bool = _model(False, "start each residual block's last gamma at 0")
    partial_bn: bool = _model(False, 'freeze every batch normalisation but the first')
    freeze_bn: bool = _model(False, 'freeze every batch normalisation')
    bn_momentum: float | None = _model(
        None, "share of the running statistics that batch normalisation keeps at a step; by default the model's: 0.9, "
        'for I3D and S3D as published 0.999, too slow for a short run from scratch', metavar='SHARE')

    kvstore: str | None = _devices(
        None, 'where gradients are added up; dist_* over several machines',
        choices=('local', 'device', 'dist_sync', 'dist_sync_device'))
    sync_bn: bool = _devices(
        False, 'batch normalisation by the statistics of all processes of torchrun together, instead of by those of '
        'each; for --engine torch')
    compile: bool = _devices(
        False, 'let PyTorch compile the network, which takes minutes before the first step; for --engine torch')
    use_amp: bool = _devices(
        False, 'mixed precision: float16 on GPUs, bfloat16 on CPUs with AVX-512, with --engine torch on any')

    recipe: str | None = _optimisation(
        None, 'where values come from that no flag gives: finetune suits few videos and weights that have learnt from '
        'others, gluoncv has the defaults that are shown here; by default finetune for VIDEOS and otherwise gluoncv',
        choices=(FINETUNE, GLUONCV), common=True)
    optimizer: str | None = _optimisation(
        None, 'gradient descent with momentum, or with that of Nesterov; Adam, or Adam with decoupled weight decay '
        '(lr x wd a step). By default sgd, with --slowfast nag', choices=tuple(OPTIMIZERS))
    batch_size: int = _optimisation(25, 'videos a step and device', least=1, common=True)
    num_epochs: int = _optimisation(3, 'epochs', least=1, common=True)
    lr: float = _optimisation(0.1, 'learning rate', least=0, common=True)
    head_lr: float = _optimisation(1., 'rate of the head, as a multiple of --lr', metavar='FACTOR', least=0)
    momentum: float = _optimisation(0.9, 'momentum of sgd and nag', least=0)
    wd: float = _optimisation(0.0001, 'weight decay', least=0)
    no_wd: bool = _optimisation(False, 'no weight decay for biases, beta and gamma')
    lr_mode: str = _optimisation(
        'step', 'how the rate goes down', choices=('step', 'poly', 'cosine', 'linear', 'constant'))
    lr_decay: float = _optimisation(0.1, 'factor of a step', least=0)
    lr_decay_period: int = _optimisation(0, 'step every so many epochs', least=0)
    lr_decay_epoch: str = _optimisation(
        '40,60', 'epochs of the steps; with rates, as in 0:0.01,10:0.1,30:0.001, the rate may also go up, and an s '
        'after a number (500s) counts steps; or a published schedule by name: i3d-rgb, i3d-flow; i3d-flow@20000 takes '
        'as many steps, i3d-flow@run those of the run', metavar='EPOCHS')
    warmup_lr: float = _optimisation(0., 'rate the warm-up starts from', least=0)
    warmup_epochs: int = _optimisation(0, 'epochs of the linear warm-up', least=0)
    clip_grad: float = _optimisation(0, 'limit of a gradient element; 0 for none', least=0)
    clip_norm: float = _optimisation(0, 'limit of the norm of the whole gradient; 0 for none', least=0)
    accumulate: int = _optimisation(1, 'batches that are added up to one step', least=1)
    mixup: bool = _optimisation(False, 'train on mixtures of two videos (arXiv:1710.09412)')
    mixup_alpha: float = _optimisation(0.2, 'Beta(alpha, alpha) draws the mixture', least=0)
    cutmix: bool = _optimisation(
        False, 'train on videos of which a rectangle is another video (arXiv:1905.04899); with --mixup, each batch is '
        'mixed in one of the two ways')
    cutmix_alpha: float = _optimisation(1., 'Beta(alpha, alpha) draws the rectangle', least=0)
    mixup_off_epoch: int = _optimisation(0, 'last epochs without mixup and cutmix', least=0)
    label_smoothing: bool = _optimisation(False, 'soften the labels by 0.1')
    teacher: str | None = _optimisation(None, 'distil from this model of the zoo', metavar='MODEL')
    teacher_params: str = _optimisation(
        '', "the teacher's parameters; its published ones by default", metavar='FILE')
    temperature: float = _optimisation(20., 'softens the scores that are distilled', least=0)
    hard_weight: float = _optimisation(0.5, 'weight of the true labels beside the teacher')
    ema_epochs: float = _optimisation(
        0., 'validate and keep moving averages of the weights that reach back about so many epochs; 0 for the last '
        'weights', metavar='EPOCHS', least=0)
    patience: int = _optimisation(
        0, 'stop after so many epochs that were no better than one before them; 0 trains them all', metavar='EPOCHS',
        least=0, common=True)
    seed: int = _optimisation(0, 'decides every random choice of the run', least=0)

    save_dir: str = _run('params', 'where everything is written', common=True)
    save_frequency: int = _run(
        10, 'epochs between saved parameters; 0 for none but the best and the last', least=0)
    checkpoint_steps: int = _run(
        0, 'steps between checkpoints to resume from, beside those of every epoch; 0 goes by the time alone', least=0)
    checkpoint_minutes: float = _run(
        15., 'minutes between checkpoints to resume from; 0 for those of every epoch and of --checkpoint-steps alone',
        least=0)
    report: bool = _run(True, 'write no report.html at the end', '--no-report')
    logging_file: str = _run('train.log', 'log file in --save-dir')
    log_interval: int = _run(50, 'batches between lines; 0 for none', least=0)
    resume: str | None = _run(
        None, 'resume from the newest good checkpoint of --save-dir (or start, if none), or of DIR', const='auto',
        metavar='auto|DIR', common=True)
    resume_states: str = _run(
        '', 'folder of the run of --resume-params, or a checkpoint of it, whose optimizer state is resumed; '
        "GluonCV's .states files are pickles and refused", metavar='DIR')
    resume_epoch: int = _run(0, 'epoch to start counting from', least=0)
    overwrite: bool = _run(
        False, 'delete the run that --save-dir holds, and the results of tests of it that lie in there', common=True)
    score_start: bool = _run(
        False, 'validate before the first epoch too: best.params is the start until an epoch is better')
    train_only: bool = _run(False, 'no validation, and only the last parameters')
    eval: bool = _run(False, 'validate once and stop')

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

    def augmentation(self, card):
        """Return the transform of training videos, for a model with this card."""
        return train_transform(
            self.data_aug, self.settled().input_size, card.mean, card.std, new_height=self.new_height,
            new_width=self.new_width, scale_ratios=self.ratios, more_fix_crop=self.more_fix_crop,
            max_distort=self.max_distort, flip_prob=self.flip_prob, color_jitter=self.color_jitter,
            rand_augment=self.rand_augment, random_erasing=self.random_erasing)

    @property
    def decay(self) -> str | range:
        """Where the step schedule changes the rate, as `gluon_action.train.schedules.make_schedule` takes it."""
        if self.lr_decay_period > 0:
            return range(self.lr_decay_period, self.num_epochs, self.lr_decay_period)
        return self.lr_decay_epoch


def check_config(config: TrainConfig, card, sizes: bool = True) -> None:
    """Refuse choices that contradict each other or mean nothing for the model.

    Parameters
    ----------
    config : TrainConfig
    card : gluon_action.model_zoo.ModelCard
        The model's; decides which options mean something.
    sizes : bool
        Whether frames and crop fit each other; their sizes may still be up to the weights.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    config = config.settled()
    raise_first(shared_rules(config, card), _model_rules(config, card), _data_rules(config, card),
                _size_rules(config) if sizes else (), _start_rules(config), _recipe_rules(config))


def _model_rules(c: TrainConfig, card):
    """Yield (broken, flag, why): options that mean nothing for this network."""
    normalised = 'bn_frozen' in card.supports or c.batch_norm
    yield (c.last_gamma and 'last_gamma' not in card.supports, '--last-gamma',
           f'{card.name} has no residual block whose last gamma could start at 0')
    for value, flag in ((c.partial_bn, '--partial-bn'), (c.freeze_bn, '--freeze-bn'),
                        (c.bn_momentum is not None, '--bn-momentum'), (c.sync_bn, '--sync-bn')):
        yield value and (not normalised or c.use_gn), flag, f'{card.name} has no batch normalisation'
    yield c.freeze_bn and c.bn_momentum is not None, '--bn-momentum', 'means nothing with --freeze-bn'
    yield c.freeze_bn and c.sync_bn, '--sync-bn', 'shares statistics of batches, and with --freeze-bn there are none'
    yield c.partial_bn and c.freeze_bn, '--partial-bn', 'contradicts --freeze-bn, which freezes all of them'
    yield (card.input != FRAMES and c.use_tsn, '--use-tsn',
           f'{card.name} averages over segments as it is; leave it out')
    given = '--use-pretrained' if c.use_pretrained else '--resume-params' if c.resume_params else ''
    yield (c.last_gamma and (given or c.pretrained_base), '--last-gamma',
           f'the weights of {given} would overwrite it' if given else
           'ImageNet weights would overwrite it; add --no-pretrained-base')
    yield (c.consensus != 'avg' and c.num_crop > 1, '--num-crop',
           f'several crops are averaged, which --consensus {c.consensus} contradicts')


def _data_rules(c: TrainConfig, card):
    ratios = c.ratios
    yield (not ratios or min(ratios) <= 0 or max(ratios) > 1, '--scale-ratios',
           f'must be above 0 and at most 1, got {c.scale_ratios!r}')
    yield not 0 <= c.flip_prob <= 1, '--flip-prob', f'must be in 0..1, got {c.flip_prob}'
    yield not 0 <= c.color_jitter <= 5, '--color-jitter', f'must be in 0..5, got {c.color_jitter}'
    yield (c.color_jitter and card.modality == 'flow', '--color-jitter',
           f'changes colours, and {card.name} takes optical flow')
    yield (c.rand_augment and card.modality == 'flow', '--rand-augment',
           f'changes pictures, and {card.name} takes optical flow')
    yield not 0 <= c.rand_augment <= 10, '--rand-augment', f'must be in 0..10, got {c.rand_augment:g}'
    yield not 0 <= c.random_erasing <= 1, '--random-erasing', f'must be in 0..1, got {c.random_erasing:g}'
    yield (c.send_pixels and (c.color_jitter or c.rand_augment or c.random_erasing), '--send-pixels',
           'leaves scaling to the devices, and --color-jitter, --rand-augment and --random-erasing change numbers that '
           'are scaled; leave one of them out')
    yield not 0 <= c.max_skip_share <= 1, '--max-skip-share', f'must be in 0..1, got {c.max_skip_share}'
    yield (c.on_error == 'raise' and c.max_skip_share != 0.1, '--max-skip-share',
           'means something with --on-error skip only')
    yield (c.on_damage == 'skip' and c.on_error == 'raise', '--on-damage',
           'skip leaves damaged videos out, and --on-error raise stops at the first; pass --on-error skip too')
    yield c.num_crop > 1 and c.train_only, '--num-crop', 'is about validation; leave out --train-only'
    yield (c.val and not c.videos, '--val', 'goes with VIDEOS, the folder or list to train on; --val-list names the '
           'list beside --train-list')
    yield (c.val_share != 0.2 and not c.videos, '--val-share', 'divides VIDEOS, and none are given; lists that '
           '--train-list and --val-list name are taken as they are')
    yield (c.balance != 'none' and c.multi_label, '--balance',
           f'{c.balance} means one class a video, and with --multi-label each may have several')


def _size_rules(c: TrainConfig):
    """Yield (broken, flag, why): sizes and crops that the augmentation does not look at."""
    multi_scale, resized = c.data_aug in ('v1', 'v2'), c.read_size is not None
    yield (c.data_aug in ('v2', 'v4') and c.new_width, '--new-width',
           f'means nothing with --data-aug {c.data_aug}, which keeps the shape of frames; --new-height is their short '
           'side')
    yield (resized and min(c.new_height, c.new_width) < c.input_size and not c.train_only, '--input-size',
           f'{c.input_size} does not fit into frames of {c.new_width}x{c.new_height}, which validation crops from')
    if not c.train_only:
        yield (0 < c.short_side < c.input_size, '--new-height',
               f'{c.short_side} is less than --input-size {c.input_size}: validation has nothing to crop from')
        yield (c.num_crop == 3 and resized and c.short_side > 0, '--num-crop',
               f'three crops of {c.input_size}x{c.input_size} must span one side of the frames, which are resized to '
               f'{c.new_width}x{c.new_height}; leave out --new-height and --new-width')
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
    yield (c.new_head and not c.resume_params, '--new-head',
           'keeps the body of --resume-params FILE; add it. Published weights with another number of classes get a new '
           'head by themselves')
    yield (c.use_pretrained and c.resume_params, '--use-pretrained',
           'contradicts --resume-params: two starting points')
    yield c.resume_states and not c.resume_params, '--resume-states', 'needs the --resume-params that it belongs to'
    yield (c.new_head and (c.resume_states or c.eval), '--new-head',
           'starts a new head, which leaves nothing to ' + ('score' if c.eval else 'resume with --resume-states'))
    yield (c.eval and c.train_params != 'all', '--train-params', '--eval trains nothing')
    yield c.eval and c.compile, '--compile', '--eval trains nothing, and what trains is compiled'
    yield c.eval and c.sync_bn, '--sync-bn', '--eval trains nothing; leave it out'
    yield (c.resume and (c.resume_params or c.resume_states or c.resume_epoch), '--resume',
           'restores everything; leave out --resume-params, --resume-states and --resume-epoch')
    yield c.resume and c.overwrite, '--overwrite', 'contradicts --resume'
    yield c.eval and c.overwrite, '--overwrite', '--eval writes nothing'
    yield c.train_only and c.eval, '--train-only', 'contradicts --eval'
    yield c.score_start and c.train_only, '--score-start', 'validates, which --train-only does not'
    yield c.patience and c.train_only, '--patience', 'goes by the validation, and --train-only has none'
    yield (c.patience and engine_of(c).has_others(c.kvstore), '--patience',
           f'several {f"machines (--kvstore {c.kvstore})" if c.kvstore else "processes"} would not stop after the same '
           'epoch')
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
    yield (not c.mixup and (c.mixup_off_epoch and not c.cutmix or c.mixup_alpha != 0.2),
           '--mixup-alpha and --mixup-off-epoch', 'mean something with --mixup only')
    yield not c.cutmix and c.cutmix_alpha != 1, '--cutmix-alpha', 'means something with --cutmix only'
    mixing = '--mixup' if c.mixup else '--cutmix' if c.cutmix else ''
    yield (mixing and c.mixup_off_epoch >= c.num_epochs, '--mixup-off-epoch',
           f'{c.mixup_off_epoch} leaves {mixing} nothing of --num-epochs {c.num_epochs}')
    yield c.mixup_alpha <= 0, '--mixup-alpha', f'must be above 0, got {c.mixup_alpha}'
    yield c.cutmix_alpha <= 0, '--cutmix-alpha', f'must be above 0, got {c.cutmix_alpha}'
    yield from _rate_rules(c)
    yield (c.head_lr != 1 and c.train_params == 'head', '--head-lr',
           'with --train-params head, --lr is the rate of the head')
    yield c.ema_epochs and c.dtype != 'float32', '--ema-epochs', f'{c.dtype} is too coarse for slow averages'


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
    yield (c.momentum != 0.9 and not takes_momentum(c.update_rule), '--momentum',
           f'means nothing with --optimizer {c.optimizer}, which has means of its own')
    yield c.warmup_lr and not c.warmup_epochs, '--warmup-lr', 'needs --warmup-epochs'
