"""``scripts/test_recognizer.py``: score a recogniser over segments x crops of every video and report it."""
from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import engine, options
from ..errors import UsageError
from ..evaluate.options.config import TestConfig
from ..evaluate.options.other_videos import with_videos
from ..files import to_json, write_file
from ..train.recipes.config import TrainConfig
from .command import make_parser
from .own_modules import add_import_flag

_EXAMPLES = """examples:
  # a training run, on its validation videos, with frames prepared as it prepared them
  %(prog)s params
  # on other videos, in folders of their classes, or in a list; their results lie beside those of the run's own
  %(prog)s params other_videos
  # the same in 25 segments x 10 crops
  %(prog)s params --num-segments 25 --ten-crop
  # the centre of the middle frame of every demo video (data are generated on first use)
  %(prog)s --model resnet18_v1b_ucf101 --dataset demo_appearance --resume-params params/best.params \\
    --input-size 64 --new-height 72 --new-width 96
  # the TSN paper's 25 segments x 10 crops on UCF101 split 1, with published weights
  %(prog)s --model vgg16_ucf101 --use-pretrained --use-tsn --ten-crop --video-loader \\
    --data-dir ~/.mxnet/datasets/ucf101/UCF-101 --val-list ucf101_val_split_1_videos.txt
"""

_TRAINING = [options.options_of(TrainConfig)[name] for name in (
    'num_epochs', 'lr', 'momentum', 'wd', 'lr_mode', 'lr_decay', 'lr_decay_period', 'lr_decay_epoch', 'warmup_lr',
    'warmup_epochs', 'last_gamma', 'mixup', 'mixup_alpha', 'mixup_off_epoch', 'label_smoothing', 'no_wd', 'teacher',
    'temperature', 'hard_weight', 'save_frequency', 'resume_epoch', 'resume_states', 'eval', 'use_amp')]
#: GluonCV's test script takes these and never reads them: they say how to train. flag -> GluonCV's default.
TRAINING_FLAGS = {option.flag: option.default for option in _TRAINING}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: GluonCV's flags, under their names, and ours."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=_EXAMPLES)
    parser.add_argument('run', nargs='?', metavar='RUN_DIR',
                        help='folder of a training run: its best parameters are scored, and what is not given here is '
                             'as it was there; the same as --resume-params RUN_DIR')
    parser.add_argument('videos', nargs='?', metavar='VIDEOS',
                        help='other videos than those that the run was validated on: a list in any format, with names '
                             'of classes or numbers, or a folder of one folder a class; the same as --val-list, and '
                             'its paths start from where the videos are')
    for group, told in (('model', None), ('data', None),
                        ('views', '--num-segments (1 by default; 25 with --use-tsn) x crops; every video is decoded '
                                  'once'),
                        ('devices', None), ('results', None), ('exported and int8 networks, speed', None)):
        added = options.add_options(parser.add_argument_group(group, told), TestConfig, group)
        if group == 'results':
            added.add_argument('--json', default=None, metavar='FILE',
                               help='the results and where their files are, as JSON; - is standard output')
            add_import_flag(added)
            added.add_argument('--print-config', action='store_true', help='print every choice as JSON and stop')
    refused = parser.add_argument_group('training', 'flags of train_recognizer.py; another value than its default is '
                                        'refused here: ' + ', '.join(TRAINING_FLAGS))
    for option in _TRAINING:
        dataclasses.replace(option, help=argparse.SUPPRESS, choices=None).add_to(refused)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    options.check_numbers(args, [*options.options_of(TestConfig).values(), *_TRAINING], parser.error)
    return args


def config_from(args: argparse.Namespace) -> TestConfig:
    """Return the flags as the record that the library takes.

    Raises
    ------
    UsageError
        For a flag that is about training, or parameters that are named twice.
    """
    for option in _TRAINING:
        value = getattr(args, option.name)
        if value != option.default:
            given = option.flag if value is True else f'{option.flag} {value}'
            raise UsageError(f'{given} is about training and means nothing in a test; it belongs to '
                             'train_recognizer.py')
    config = options.config_from(TestConfig, args)
    if args.run and config.resume_params:
        raise UsageError(f'--resume-params {config.resume_params}: contradicts {args.run}; name the parameters once')
    return dataclasses.replace(config, resume_params=args.run or config.resume_params)


def main(args: argparse.Namespace) -> int:
    """Score, calibrate or time, and say where the results are."""
    from ..deploy.predicted.files import check_output
    from ..deploy.predicted.tables import STANDARD_OUTPUT
    config = config_from(args)
    if args.videos:
        config = with_videos(config, args.videos)
    if args.print_config:
        print(config.as_json())
        return 0
    if args.json and (config.calibration or config.benchmark):
        raise UsageError(f'--json {args.json}: is about results, which --calibration and --benchmark have none of; '
                         'leave it out')
    if args.json not in (None, STANDARD_OUTPUT):
        check_output('--json', Path(args.json).expanduser(), [], args.overwrite)
    engine.set_threads(1 if config.num_gpus else config.num_cpus)
    if config.calibration:
        from ..deploy.int8.calibrate import calibrate
        bundle, text = calibrate(config)
        print(f'{text}int8 bundle: {bundle}\nscore it with --quantized --model-prefix {bundle}')
        return 0
    from ..deploy.bundle.exported import open_exported
    from ..evaluate.recognizer import run_benchmark, test_recognizer
    if config.benchmark:
        run_benchmark(config, open_exported)
        return 0
    result = test_recognizer(config, open_exported, beside=bool(args.videos))
    out = sys.stderr if args.json == STANDARD_OUTPUT else sys.stdout
    print(f'Results: {result.files["results"]}', file=out)
    if 'report' in result.files:
        print(f'Report: {result.files["report"]}', file=out)
    if args.json:
        about = to_json({**result.results, 'files': {kind: str(path) for kind, path in result.files.items()}})
        if args.json == STANDARD_OUTPUT:
            sys.stdout.write(about)
        else:
            write_file(Path(args.json).expanduser(), about)
    if result.failed_share > config.failure_limit:
        print(f'{len(result.scores.failures)} of {len(result.scores.keys)} videos could not be scored, '
              f'--failure-limit allows {config.failure_limit:.0%}; {result.files["failures"]} names them',
              file=sys.stderr)
        return 1
    return 0
