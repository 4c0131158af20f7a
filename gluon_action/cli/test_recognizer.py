"""``scripts/test_recognizer.py``: score a recogniser over segments x crops of every video and report it."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import engine
from ..errors import UsageError
from .command import make_parser
from .recognizer_flags import (
    add_clip_sampling_flag,
    add_data_flags,
    add_device_flags,
    add_model_flags,
    check_ranges,
)

_EXAMPLES = """
examples:
  the centre of the middle frame of every demo video (data are generated on first use):
    test_recognizer.py --model resnet18_v1b_ucf101 --dataset demo_appearance --resume-params params/best.params \\
      --input-size 64 --new-height 72 --new-width 96
  the TSN paper's 25 segments x 10 crops on UCF101 split 1, with published weights:
    test_recognizer.py --model vgg16_ucf101 --use-pretrained --use-tsn --ten-crop --video-loader \\
      --data-dir ~/.mxnet/datasets/ucf101/UCF-101 --val-list ucf101_val_split_1_videos.txt
"""

#: GluonCV's test script takes these and never reads them: they say how to train. flag -> GluonCV's default.
TRAINING_FLAGS = {
    '--num-epochs': 3, '--lr': 0.1, '--momentum': 0.9, '--wd': 0.0001, '--lr-mode': 'step', '--lr-decay': 0.1,
    '--lr-decay-period': 0, '--lr-decay-epoch': '40,60', '--warmup-lr': 0.0, '--warmup-epochs': 0,
    '--last-gamma': False, '--mixup': False, '--mixup-alpha': 0.2, '--mixup-off-epoch': 0, '--label-smoothing': False,
    '--no-wd': False, '--teacher': None, '--temperature': 20.0, '--hard-weight': 0.5, '--save-frequency': 10,
    '--resume-epoch': 0, '--resume-states': '', '--eval': False, '--use-amp': False,
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: GluonCV's flags, under their names, and ours."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=_EXAMPLES)
    add_model_flags(parser, use_tsn="the TSN paper's 25 segments, unless --num-segments says otherwise")
    data = add_data_flags(parser, new_width=340, new_height=256)
    add_clip_sampling_flag(data)
    data.add_argument('--val-list', default=None, help="list of the videos to score; by default the data set's")
    data.add_argument('--val-data-dir', default=None, help="folder of --val-list's paths, where it is not --data-dir")
    data.add_argument('--train-list', default=None, help='list of videos for --calibration; --val-list by default')
    _add_view_flags(parser)
    add_device_flags(parser)
    _add_result_flags(parser)
    _add_other_uses(parser)
    _add_training_flags(parser)
    # None tells "not given" from a number, so that --use-tsn can stand for its paper's protocol.
    parser.set_defaults(num_segments=None)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_ranges(args, parser.error)
    return args


def _add_view_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'views', '--num-segments (1 by default; 25 with --use-tsn) x crops; every video is decoded once')
    group.add_argument('--ten-crop', action='store_true', help='corners and centre with their mirror images')
    group.add_argument('--three-crop', action='store_true',
                       help='three crops along the longer side; frames are rescaled so that the shorter is the crop')
    group.add_argument('--num-crop', type=int, default=1, choices=(1, 3, 10), help='the same as a number')
    group.add_argument('--crop-ratio', type=float, default=None,
                       help='frames of native size (--new-height 0 --new-width 0): the crop over the short side; '
                            '0.875 by default')
    group.add_argument('--average', default=None, choices=('logits', 'softmax'),
                       help='what is averaged over the views; logits by default')
    group.add_argument('--use-softmax', action='store_true', help='the same as --average softmax')
    group.add_argument('--consensus', default='avg', choices=('avg', 'max', 'weighted'),
                       help='how scores of segments become one, where the network was trained with another than avg')
    group.add_argument('--batch-size', type=int, default=32,
                       help='views a forward pass and device; memory grows with it, results do not change')


def _add_result_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('results')
    group.add_argument('--save-dir', default=None,
                       help='where everything is written; by default results/MODEL-DATASET-SEGMENTSxCROPS')
    group.add_argument('--overwrite', action='store_true', help='replace the results that --save-dir holds')
    group.add_argument('--failure-limit', type=float, default=0.1, metavar='SHARE',
                       help='exit with 1 when a larger share of the videos cannot be read; they count as wrong anyway')
    group.add_argument('--logging-file', default='test.log', help='log file in --save-dir; empty for none')
    group.add_argument('--log-interval', type=int, default=50, help='videos between lines; 0 for none')
    group.add_argument('--print-config', action='store_true', help='print every choice as JSON and stop')


def _add_other_uses(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('exported and int8 networks, speed')
    group.add_argument('--deploy', action='store_true', help='score an exported network instead of one of the zoo')
    group.add_argument('--model-prefix', default=None, metavar='PREFIX',
                       help='a bundle, or PREFIX-symbol.json and PREFIX-0000.params that MXNet exported')
    group.add_argument('--quantized', action='store_true', help='score the int8 bundle that --model-prefix names')
    group.add_argument('--benchmark', action='store_true', help='time the network on random input and stop')
    group.add_argument('--num-iterations', type=int, default=100, help='batches of --benchmark')
    group.add_argument('--calibration', action='store_true',
                       help='make an int8 bundle for CPUs, to be scored with --quantized, and stop')
    group.add_argument('--num-calib-batches', type=int, default=5, help='batches of views to calibrate on')
    group.add_argument('--quantized-dtype', default='auto', choices=('auto', 'int8', 'uint8'),
                       help='type of the inputs of layers; auto is uint8, which is what x86 processors are quick with')
    group.add_argument('--calib-mode', default='naive', choices=('none', 'naive', 'entropy'),
                       help='ranges from extremes of the calibration data, or by least information lost; not none')


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('training', 'flags of train_recognizer.py; another value than its default is '
                                      'refused here: ' + ', '.join(TRAINING_FLAGS))
    for flag, default in TRAINING_FLAGS.items():
        if isinstance(default, bool):
            group.add_argument(flag, action='store_true', help=argparse.SUPPRESS)
        else:
            group.add_argument(flag, type=type(default) if default is not None else str, default=default,
                               help=argparse.SUPPRESS)


def config_from(args: argparse.Namespace):
    """Return the flags as the record that the library takes.

    Raises
    ------
    UsageError
        For a flag that is about training.
    """
    from ..evaluate.config import TestConfig
    values = dict(vars(args))
    for flag, default in TRAINING_FLAGS.items():
        value = values.pop(flag[2:].replace('-', '_'))
        if value != default:
            given = flag if value is True else f'{flag} {value}'
            raise UsageError(f'{given} is about training and means nothing in a test; it belongs to '
                             'train_recognizer.py')
    return TestConfig(**{name: value for name, value in values.items() if name not in ('debug', 'print_config')})


def main(args: argparse.Namespace) -> int:
    """Score, calibrate or time, and say where the results are."""
    config = config_from(args)
    if args.print_config:
        print(config.as_json())
        return 0
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
    result = test_recognizer(config, open_exported)
    print(f'Results: {result.files["results"]}')
    if result.failed_share > config.failure_limit:
        print(f'{len(result.scores.failures)} of {len(result.scores.keys)} videos could not be scored, '
              f'--failure-limit allows {config.failure_limit:.0%}; {result.files["failures"]} names them',
              file=sys.stderr)
        return 1
    return 0
