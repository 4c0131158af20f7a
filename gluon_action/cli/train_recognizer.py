"""``scripts/train_recognizer.py``: train a recogniser on videos."""
from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from .. import engine, options
from ..train.recipes.config import TrainConfig
from .command import make_parser
from .find_lr_flags import add_find_lr_flags, check_find_lr

EXAMPLES = """examples:
  # on generated videos, in minutes, without a GPU
  %(prog)s --model resnet18_v1b_ucf101 --dataset demo_appearance --use-tsn --num-segments 3 --input-size 64 \\
      --no-pretrained-base --lr 0.01 --num-epochs 5 --save-dir runs/first
  # on your own: one folder a class
  %(prog)s --model resnet50_v1b_ucf101 --dataset custom --data-dir videos --train-list videos/train \\
      --val-list videos/val --use-tsn --num-segments 3 --save-dir runs/mine
  # which learning rate? a picture and a suggestion, in 100 steps
  %(prog)s ... --save-dir runs/mine --find-lr
  # resume where it stopped
  %(prog)s ... --save-dir runs/mine --resume auto
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; GluonCV's flags mean what they mean there."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    for group in ('data', 'training data', 'model', 'devices', 'optimisation'):
        options.add_options(parser.add_argument_group(group), TrainConfig, group)
    add_find_lr_flags(parser)
    run = options.add_options(parser.add_argument_group('run'), TrainConfig, 'run')
    run.add_argument('--print-config', action='store_true', help='print every choice as JSON and stop')
    run.add_argument('--dry-run', action='store_true',
                     help='build everything, train on one batch, write nothing, and stop')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    options.check_numbers(args, options.options_of(TrainConfig).values(), parser.error)
    check_find_lr(args, parser)
    if args.find_lr and args.dry_run:
        parser.error('--dry-run: contradicts --find-lr, which takes steps')
    return args


config_from = functools.partial(options.config_from, TrainConfig)


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
