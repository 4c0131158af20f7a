"""``scripts/benchmark_model.py``: what models cost and how fast they are, over batch sizes."""
from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from .command import make_parser
from .own_modules import add_import_flag

_log = logging.getLogger(__name__)

_EXAMPLES = """examples:
  # a bundle and its int8 version, one video at a time and eight together
  %(prog)s exports/mine exports/mine-int8 --batch-sizes 1 8 --plot speed.png
  # networks of the zoo with random weights, in MXNet and as ONNX
  %(prog)s resnet50_v1b_kinetics400 timesformer_small_custom
  %(prog)s resnet50_v1b_kinetics400 timesformer_small_custom --runtime onnx --json onnx.json
"""
_PICTURES = ('.png', '.pdf', '.svg')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=_EXAMPLES)
    parser.add_argument('models', nargs='+', metavar='MODEL',
                        help='bundle, ONNX file, folder of a training run, or name in the zoo (with random weights)')
    parser.add_argument('--runtime', default=None, choices=('mxnet', 'onnx'),
                        help='who computes networks of the zoo and runs; MXNet by default')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 4, 8], metavar='N',
                        help='clips or frames that are scored together')
    parser.add_argument('--clip-length', type=int, default=None,
                        help='frames of a clip, of networks that leave it open')
    parser.add_argument('--input-size', type=int, default=None, help='side of the crop, where the model leaves it open')
    add_import_flag(parser)
    group = parser.add_argument_group('measuring')
    group.add_argument('--warmup', type=int, default=3, help='runs before the clock starts')
    group.add_argument('--runs', type=int, default=20, help='runs that are timed, for each batch size')
    group.add_argument('--seconds', type=float, default=10., help='no further run starts after as many')
    group.add_argument('--threads', type=int, default=None, help='threads that compute; all usable cores by default')
    group.add_argument('--memory', type=float, default=None, metavar='GIB',
                       help='batches that would take more are left out; by default 80 %% of what is free')
    group = parser.add_argument_group('results')
    group.add_argument('--json', default=None, metavar='FILE', help='write every number')
    group.add_argument('--plot', default=None, metavar='FILE',
                       help='draw throughput over batch size and latency over multiply-accumulates: '
                            + ', '.join(_PICTURES))
    group.add_argument('--overwrite', action='store_true', help='replace files that exist')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    least = {'clip_length': 1, 'input_size': 1, 'warmup': 0, 'runs': 1, 'seconds': 0, 'threads': 1, 'memory': 0}
    for name, bound in least.items():
        value = getattr(args, name)
        if value is not None and not bound <= value < float('inf'):
            parser.error(f'--{name.replace("_", "-")} must be {bound} or more, got {value}')
    if min(args.batch_sizes) < 1:
        parser.error(f'--batch-sizes must be 1 or more, got {min(args.batch_sizes)}')
    return args


def main(args: argparse.Namespace) -> int:
    """Time the models one after the other and print a table."""
    _check_files(args)
    if args.threads:
        os.environ['OMP_NUM_THREADS'] = str(args.threads)  # MXNet reads it when it is loaded
    from .. import engine
    from ..deploy.speed import report as timing_report
    from ..deploy.speed.timing import available_memory, is_exported, open_subject
    for flag, value in (('--clip-length', args.clip_length), ('--input-size', args.input_size)):
        if value is not None and all(is_exported(source) and not source.endswith('.onnx') for source in args.models):
            raise UsageError(f'{flag}: bundles say themselves what their clips are; leave it out')
    threads = args.threads or engine.set_threads()
    limit = int(0.8 * (available_memory() or 0)) or None if args.memory is None else int(args.memory * 2 ** 30)
    rows = []
    for source in args.models:
        subject = open_subject(source, runtime=args.runtime, threads=threads, clip_length=args.clip_length,
                               input_size=args.input_size)
        rows += timing_report.rows_of(subject, _timings(subject, args, limit))
        del subject  # the next one needs the memory
    print(timing_report.table(rows))
    if args.json:
        timing_report.write_json(rows, Path(args.json), threads)
    if args.plot and rows:
        timing_report.plot(rows, Path(args.plot))
    for path in filter(None, (args.json, args.plot if rows else None)):
        print(f'written: {path}')
    return 0 if rows else 1


def _timings(subject, args: argparse.Namespace, limit: int | None) -> list:
    from ..deploy.speed.timing import time_batches
    batches = sorted(set(args.batch_sizes))
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm
        bar = tqdm(total=len(batches), desc=subject.name, unit='batch size', leave=False)
    timings = []
    for timing in time_batches(subject, batches, warmup=args.warmup, runs=args.runs, seconds=args.seconds,
                               memory=limit):
        if isinstance(timing, str):
            _log.warning('%s: %s; it is left out', subject.name, timing)
        else:
            timings.append(timing)
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()
    return timings


def _check_files(args: argparse.Namespace) -> None:
    for flag, path in (('--json', args.json), ('--plot', args.plot)):
        if path and os.path.exists(path) and not args.overwrite:
            raise UsageError(f'{flag} {path} exists; pass --overwrite to replace it, or name another file')
        if path and not os.path.isdir(os.path.dirname(path) or '.'):
            raise UsageError(f'{flag} {path}: the folder does not exist')
    if args.json and args.plot and os.path.abspath(args.json) == os.path.abspath(args.plot):
        raise UsageError(f'--plot {args.plot}: is the file of --json too; pass another name')
    if args.plot and os.path.splitext(args.plot)[1].lower() not in _PICTURES:
        raise UsageError(f'--plot {args.plot}: the name must end with {", ".join(_PICTURES)}')
