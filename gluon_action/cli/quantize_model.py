"""``scripts/quantize_model.py``: an int8 version of a bundle, calibrated on videos of one's own."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UsageError
from .command import make_parser

_EXAMPLES = """examples:
  # a list with labels, so that the report knows what int8 costs in accuracy
  %(prog)s exports/mine val.txt --data-dir videos --out exports/mine-int8
  # videos alone
  %(prog)s exports/mine a.mp4 b.mp4 c.mp4 --out exports/mine-int8
  # then
  gluon-action predict exports/mine-int8 holiday.mp4
  gluon-action benchmark-model exports/mine exports/mine-int8
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=_EXAMPLES)
    parser.add_argument('bundle', help='float32 bundle that gluon-action export wrote')
    parser.add_argument('videos', nargs='+', metavar='VIDEOS',
                        help='videos, folders of them, or one list or folder of classes; half a hundred are plenty')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='the int8 bundle')
    parser.add_argument('--overwrite', action='store_true', help='replace the bundle and the report that are there')
    parser.add_argument('--report', default=None, metavar='FILE',
                        help='report as JSON, and beside it as .txt; by default FOLDER.report.json')
    group = parser.add_argument_group('clips')
    group.add_argument('--clips', type=int, default=64, help='clips in all, spread over the videos')
    group.add_argument('--held-out', type=float, default=0.5, metavar='SHARE',
                       help='share of them to compare int8 with float on; the rest is calibrated on')
    group.add_argument('--data-dir', default='', help="folder that the list's paths start from")
    group.add_argument('--list-format', default='auto', help='format of the list; auto looks at it')
    group.add_argument('--list-encoding', default=None, metavar='NAME',
                       help='how the list is encoded (gbk, utf-16, ...); by default as its first bytes say, else UTF-8')
    group.add_argument('--label-base', type=int, default=None, choices=(0, 1), help='number of the first class')
    group = parser.add_argument_group('int8')
    group.add_argument('--calib-mode', default='minmax', choices=('minmax', 'entropy'),
                       help='ranges are the extremes that were seen, or lose the least information (slow)')
    group.add_argument('--activations', default='uint8', choices=('uint8', 'int8'),
                       help='type between layers: uint8 is fast on x86, int8 on ARM')
    group.add_argument('--reduce-range', action='store_true', default=None,
                       help='weights of 7 bits, for processors without VNNI; by default where this one has none')
    group.add_argument('--min-agreement', type=float, default=0.95, metavar='SHARE',
                       help='of the held-out clips that must keep their class; the layers that hurt most stay in float '
                            'until it is reached')
    group.add_argument('--max-float', type=float, default=0.5, metavar='SHARE',
                       help='of the layers that may stay in float for that')
    group.add_argument('--keep-slow', action='store_true',
                       help='make also layers int8 that are slower with it on this machine')
    group.add_argument('--threads', type=int, default=None, help='threads that compute; all usable cores by default')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.clips < 2:
        parser.error(f'--clips must be 2 or more, got {args.clips}')
    if args.threads is not None and args.threads < 1:
        parser.error(f'--threads must be 1 or more, got {args.threads}')
    for flag in ('held_out', 'min_agreement', 'max_float'):
        if not 0 <= getattr(args, flag) <= 1:
            parser.error(f'--{flag.replace("_", "-")} must be in 0..1, got {getattr(args, flag)}')
    return args


def main(args: argparse.Namespace) -> None:
    """Quantise the bundle, write the report and print it."""
    from ..deploy.bundle.format import check_folder, read_bundle
    from ..deploy.int8.bundle import Int8Choices, quantize_bundle, report_text
    from ..deploy.int8.calibration_clips import collect_clips, list_clips, split_clips
    from ..files import to_json, write_file
    report_path = Path(args.report or f'{args.out.rstrip("/")}.report.json')
    check_folder(Path(args.out), args.overwrite)
    for path in (report_path, report_path.with_suffix('.txt')):
        if path.exists() and not args.overwrite:
            raise UsageError(f'{path} exists; pass --overwrite to replace it, or another --report')
    bundle = read_bundle(args.bundle)
    if bundle.model.parent.resolve() == Path(args.out).expanduser().resolve():
        raise UsageError(f'--out {args.out}: is the float bundle itself, which nothing would bring back; name another '
                         'folder')
    videos = list_clips(args.videos, bundle, root=args.data_dir, list_format=args.list_format,
                        list_encoding=args.list_encoding, label_base=args.label_base)
    clips = collect_clips(videos, bundle.preprocess, args.clips)
    calibration, held_out = split_clips(clips, args.held_out)
    choices = Int8Choices(mode=args.calib_mode, activations=args.activations, reduce_range=args.reduce_range,
                          min_agreement=args.min_agreement, max_float=args.max_float, keep_slow=args.keep_slow,
                          threads=args.threads)
    report = quantize_bundle(args.bundle, args.out, calibration=calibration, held_out=held_out, choices=choices,
                             overwrite=args.overwrite, progress=_bar)
    os.makedirs(report_path.parent, exist_ok=True)
    write_file(report_path, to_json(report))
    write_file(report_path.with_suffix('.txt'), report_text(report))
    print(report_text(report), end='')
    print(f'bundle: {args.out}\nreport: {report_path}')


def _bar(what: str, steps: int) -> Callable[[], None]:
    if not sys.stderr.isatty():
        return lambda: None
    from tqdm import tqdm
    bar = tqdm(total=steps, desc=what, leave=False)
    return bar.update
