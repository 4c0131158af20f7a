"""``scripts/train_recognizer.py``: train a recogniser on videos."""
from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import engine, options
from ..errors import UsageError
from ..run_config import read_run_config
from ..train.recipes.config import TrainConfig
from ..train.recipes.recipe_defaults import configured
from .command import make_parser
from .config_file import read_config_file
from .find_lr_flags import add_find_lr_flags, check_find_lr
from .own_modules import add_import_flag

EXAMPLES = """examples:
  # on generated videos, in minutes, without a GPU
  %(prog)s --model resnet18_v1b_ucf101 --dataset demo_appearance --use-tsn --num-segments 3 --input-size 64 \\
      --no-pretrained-base --lr 0.01 --num-epochs 5 --save-dir runs/first
  # on your own: one folder a class, or a table of path and label
  %(prog)s videos --save-dir runs/mine
  # which learning rate? a picture and a suggestion, in 100 steps
  %(prog)s ... --save-dir runs/mine --find-lr
  # resume where it stopped, as it began
  %(prog)s --resume runs/mine
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; GluonCV's flags mean what they mean there."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    parser.add_argument(
        'videos', nargs='?', metavar='VIDEOS',
        help='videos of your own to train on: a folder with a folder for each class, or a list of path and label')
    parser.add_argument(
        '--config', metavar='FILE', help='take options from YAML, JSON or the config.json of a run; flags come first')
    for group in ('data', 'training data', 'model', 'devices', 'optimisation'):
        options.add_options(parser.add_argument_group(group), TrainConfig, group)
    add_find_lr_flags(parser)
    run = options.add_options(parser.add_argument_group('run'), TrainConfig, 'run')
    add_import_flag(run)
    run.add_argument('--print-config', action='store_true', help='print every choice as JSON and stop')
    run.add_argument('--dry-run', action='store_true',
                     help='build everything, train on one batch, write nothing, and stop')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args, unset = parser.parse_args(argv), object()
    # What has a value already is given no default: so what is still this object was not named.
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    named = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(names, unset))))
    args.given = {name for name in names if named[name] is not unset and (name, named[name]) != ('videos', None)}
    options.check_numbers(args, options.options_of(TrainConfig).values(), parser.error)
    check_find_lr(args, parser)
    if args.find_lr and args.dry_run:
        parser.error('--dry-run: contradicts --find-lr, which takes steps')
    return args


def config_from(args: argparse.Namespace) -> TrainConfig:
    """Return the configuration: flags first, then the run that is resumed or ``--config``, then the recipe.

    Raises
    ------
    UsageError
        When one of these cannot be read, or no network is named.
    """
    return configured(options_given(args))


def options_given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that flags, the run that is resumed, or a file say."""
    given = {name: getattr(args, name) for name in args.given}
    if {'videos', 'train_list'} <= given.keys():
        raise UsageError(f'--train-list: contradicts {args.videos}, which is to be trained on; give one of them')
    before = {}
    alone = args.resume not in (None, 'auto') and not given.keys() & {'model', 'videos', 'dataset', 'train_list'}
    if alone and args.config:
        raise UsageError(f'--config: contradicts --resume {args.resume}, which is resumed as it began; leave one out')
    if alone:
        before = _of_run(args.resume)
    elif args.config:
        before = read_config_file(args.config, TrainConfig)
    if given.get('eval') or given.get('engine', before.get('engine')) != 'torch':
        # How PyTorch trains: nothing to say where it does not, and no flag takes them back.
        before = {name: value for name, value in before.items() if name not in ('compile', 'sync_bn')}
    if before.get('from_recipe'):
        before['from_recipe'] = [name for name in before['from_recipe'] if name not in given]
    return {**before, **given}


def _of_run(place: str) -> dict[str, Any]:
    """Return the options of a run that is resumed by its folder alone."""
    about = read_run_config(place)
    if about is None or 'videos' not in about['config'] and 'train_list' not in about['config']:
        raise UsageError(f'--resume {place}: holds no config.json of a training, so that nobody knows what was '
                         'trained; name the folder of a run, or give the options that it was started with as well')
    path = Path(place).expanduser()
    folder = next((parent for parent in (path, *path.parents) if (parent / 'config.json').is_file()
                   and not (parent / 'manifest.json').exists()), path)
    values = read_config_file(folder / 'config.json', TrainConfig)
    return {**values, 'save_dir': str(folder)}


def main(args: argparse.Namespace) -> int:
    """Train, and say where the results are."""
    given = options_given(args)
    # Before MXNet is loaded, which the recipe's model may need.
    if not args.print_config:
        engine.set_threads(1 if given.get('num_gpus') else given.get('num_cpus', TrainConfig.num_cpus))
    config = configured(given)
    if args.print_config:
        print(config.as_json())
        return 0
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
