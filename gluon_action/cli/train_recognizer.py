"""``scripts/train_recognizer.py``: train a recogniser on videos."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import engine
from ..train.recipes.config import TrainConfig
from .command import make_parser
from .recognizer_flags import (
    FIND_LR,
    add_clip_sampling_flag,
    add_data_flags,
    add_device_flags,
    add_find_lr_flags,
    add_model_flags,
    check_find_lr,
    check_ranges,
)

EXAMPLES = """examples:
  # on generated videos, in minutes, without a GPU
  %(prog)s --model resnet18_v1b_ucf101 --dataset demo_appearance --use-tsn --num-segments 3 --input-size 64 \\
      --no-pretrained-base --lr 0.01 --num-epochs 5 --save-dir runs/first
  # on your own: one folder a class
  %(prog)s --model resnet50_v1b_ucf101 --dataset custom --data-dir videos --train-list videos/train \\
      --val-list videos/val --use-tsn --num-segments 3 --save-dir runs/mine
  # which learning rate? a picture and a suggestion, in 100 steps
  %(prog)s ... --save-dir runs/mine --find-lr
  # go on where it stopped
  %(prog)s ... --save-dir runs/mine --resume auto
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; GluonCV's flags mean what they mean there."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    add_clip_sampling_flag(add_data_flags(parser, new_width=0, new_height=0))
    _add_training_data_flags(parser)
    model = add_model_flags(parser, use_tsn='wrap the network in temporal segment consensus')
    model.add_argument('--no-pretrained-base', dest='pretrained_base', action='store_false',
                       help='start the body at random instead of from ImageNet weights, which are downloaded')
    model.add_argument('--new-head', action='store_true',
                       help='take the body of --resume-params only: its weights were trained on other classes')
    model.add_argument('--train-params', default='all', metavar='all|head|REGEX',
                       help='what learns: everything, the head, or the parameters in whose keys the regular expression '
                            'is found; the rest stays as it is, running statistics included')
    model.add_argument('--consensus', default='avg', choices=('avg', 'max', 'weighted'),
                       help='how the scores of segments become one (TSN)')
    model.add_argument('--dropout', type=float, default=None, help="dropout before the head; by default the model's")
    model.add_argument('--last-gamma', action='store_true', help="start each residual block's last gamma at 0")
    model.add_argument('--partial-bn', action='store_true', help='freeze every batch normalisation but the first')
    model.add_argument('--freeze-bn', action='store_true', help='freeze every batch normalisation')
    model.add_argument('--bn-momentum', type=float, default=None, metavar='SHARE',
                       help="share of the running statistics that batch normalisation keeps at a step; by default the "
                            "model's: 0.9, for I3D and S3D as published 0.999, too slow for a short run from scratch")
    devices = add_device_flags(parser)
    devices.add_argument('--kvstore', default=None, choices=('local', 'device', 'dist_sync', 'dist_sync_device'),
                         help='where gradients are added up; dist_* over several machines')
    devices.add_argument('--use-amp', action='store_true', help='mixed precision: float16 on GPUs, bfloat16 on CPUs')
    _add_optimisation_flags(parser)
    add_find_lr_flags(parser)
    _add_run_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_ranges(args, parser.error)
    check_find_lr(args, parser.error)
    if args.find_lr and args.dry_run:
        parser.error('--dry-run: contradicts --find-lr, which takes steps')
    return args


def _add_training_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('training data')
    group.add_argument('--val-data-dir', default=None, help='folder of the validation list; by default --data-dir')
    group.add_argument('--train-list', default=None, help='training videos: a list, or a folder of one folder a class')
    group.add_argument('--val-list', default=None, help='list of validation videos')
    group.add_argument('--crop-ratio', type=float, default=0.875,
                       help='validation resizes the short side to input size / crop ratio, unless --new-height says')
    group.add_argument('--scale-ratios', default='1.0, 0.875, 0.75, 0.66', help='sides of the multi-scale crop')
    group.add_argument('--more-fix-crop', action='store_false',
                       help='crop at the 4 corners and the centre only, instead of 13 places')
    group.add_argument('--max-distort', type=int, default=1, help='how far the two scale ratios of a crop may differ')
    group.add_argument('--flip-prob', type=float, default=0.5, help='share of clips that are mirrored')
    group.add_argument('--color-jitter', type=float, default=0., metavar='STRENGTH',
                       help='change brightness, contrast, saturation and hue of a video at random, all frames alike: 0 '
                            'not at all, 1 a little (contrast and saturation by 10 %%), at most 5')
    group.add_argument('--num-crop', type=int, default=1, choices=(1, 3, 10), help='crops of a validation frame')
    group.add_argument('--on-error', default='raise', choices=('raise', 'skip'),
                       help='a training video that cannot be read: stop, or leave it out and record it')
    group.add_argument('--max-skip-share', type=float, default=0.1,
                       help='stop when more than this share of the videos was skipped')


def _add_optimisation_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('optimisation')
    group.add_argument('--optimizer', default=None, choices=('sgd', 'nag', 'adam', 'adamw'),
                       help='gradient descent with momentum, or with that of Nesterov; Adam, or Adam with decoupled '
                            'weight decay (lr x wd a step). By default sgd, with --slowfast nag')
    group.add_argument('--batch-size', type=int, default=25, help='videos a step and device')
    group.add_argument('--num-epochs', type=int, default=3, help='epochs')
    group.add_argument('--lr', type=float, default=0.1, help='learning rate')
    group.add_argument('--momentum', type=float, default=0.9, help='momentum of sgd and nag')
    group.add_argument('--wd', type=float, default=0.0001, help='weight decay')
    group.add_argument('--no-wd', action='store_true', help='no weight decay for biases, beta and gamma')
    group.add_argument('--lr-mode', default='step', choices=('step', 'poly', 'cosine', 'linear', 'constant'),
                       help='how the rate goes down')
    group.add_argument('--lr-decay', type=float, default=0.1, help='factor of a step')
    group.add_argument('--lr-decay-period', type=int, default=0, help='step every so many epochs')
    group.add_argument('--lr-decay-epoch', default='40,60', metavar='EPOCHS',
                       help='epochs of the steps; with rates, as in 0:0.01,10:0.1,30:0.001, the rate may also go up, '
                            'and an s after a number (500s) counts steps; or a published schedule by name: i3d-rgb, '
                            'i3d-flow; i3d-flow@20000 takes as many steps, i3d-flow@run those of the run')
    group.add_argument('--warmup-lr', type=float, default=0., help='rate the warm-up starts from')
    group.add_argument('--warmup-epochs', type=int, default=0, help='epochs of the linear warm-up')
    group.add_argument('--clip-grad', type=float, default=0, help='limit of a gradient element; 0 for none')
    group.add_argument('--clip-norm', type=float, default=0,
                       help="limit of the norm of the whole gradient; 0 for none")
    group.add_argument('--accumulate', type=int, default=1, help='batches that are added up to one step')
    group.add_argument('--mixup', action='store_true', help='train on mixtures of two videos (arXiv:1710.09412)')
    group.add_argument('--mixup-alpha', type=float, default=0.2, help='Beta(alpha, alpha) draws the mixture')
    group.add_argument('--mixup-off-epoch', type=int, default=0, help='last epochs without mixup')
    group.add_argument('--label-smoothing', action='store_true', help='soften the labels by 0.1')
    group.add_argument('--teacher', default=None, metavar='MODEL', help='distil from this model of the zoo')
    group.add_argument('--teacher-params', default='', metavar='FILE',
                       help="the teacher's parameters; its published ones by default")
    group.add_argument('--temperature', type=float, default=20., help='softens the scores that are distilled')
    group.add_argument('--hard-weight', type=float, default=0.5, help='weight of the true labels beside the teacher')
    group.add_argument('--seed', type=int, default=0, help='decides every random choice of the run')


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('run')
    group.add_argument('--save-dir', default='params', help='where everything is written')
    group.add_argument('--save-frequency', type=int, default=10,
                       help='epochs between saved parameters; 0 for none but the best and the last')
    group.add_argument('--checkpoint-steps', type=int, default=0,
                       help='steps between checkpoints to resume from; 0 for one an epoch')
    group.add_argument('--logging-file', default='train.log', help='log file in --save-dir')
    group.add_argument('--log-interval', type=int, default=50, help='batches between lines; 0 for none')
    group.add_argument('--resume', nargs='?', const='auto', default=None, metavar='auto|DIR',
                       help='go on from the newest good checkpoint of --save-dir (or start, if none), or of DIR')
    group.add_argument('--resume-states', default='', metavar='FILE',
                       help="the .states file beside the one of --resume-params; GluonCV's are pickles and refused")
    group.add_argument('--resume-epoch', type=int, default=0, help='epoch to start counting from')
    group.add_argument('--overwrite', action='store_true', help='delete the run that --save-dir holds')
    group.add_argument('--train-only', action='store_true', help='no validation, and only the last parameters')
    group.add_argument('--eval', action='store_true', help='validate once and stop')
    group.add_argument('--print-config', action='store_true', help='print every choice as JSON and stop')
    group.add_argument('--dry-run', action='store_true',
                       help='build everything, train on one batch, write nothing, and stop')


def config_from(args: argparse.Namespace) -> TrainConfig:
    """Return the flags as the record that the library takes."""
    apart = {'debug', 'print_config', 'dry_run', *FIND_LR}
    return TrainConfig(**{name: value for name, value in vars(args).items() if name not in apart})


def main(args: argparse.Namespace) -> int:
    """Train, and say where the results are."""
    config = config_from(args)
    if args.print_config:
        print(config.as_json())
        return 0
    engine.set_threads(1 if config.num_gpus else config.num_cpus)
    if args.find_lr:
        print(_find_rate(args, config))
        return 0
    from ..train.recipes.recognizer import dry_run, train_recognizer
    if args.dry_run:
        print(dry_run(config))
        return 0
    result = train_recognizer(config)
    print(result.summary())
    return 0


def _find_rate(args: argparse.Namespace, config: TrainConfig) -> str:
    from ..train.recipes.lr_finder import RangeTest, conclusion, find_for
    curve = find_for(config, RangeTest(args.find_lr_from, args.find_lr_to, args.find_lr_steps), config.save_dir,
                     overwrite=config.overwrite)
    return conclusion(curve, '--lr', config.save_dir)
