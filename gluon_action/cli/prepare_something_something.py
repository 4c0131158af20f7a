"""``scripts/prepare_something_something.py``: check a download of Something-Something and write lists for training."""
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from .command import make_parser

DESCRIPTION = """Check a download of Something-Something and write train_videofolder.txt, val_videofolder.txt (path,
frames, label) and category.txt. Every video is opened. Those that are missing or broken are listed in failures.jsonl
and left out of training; in validation they count as wrong. It exits with 1 when there are some.

Version 1 is folders of JPEGs and something-something-v1-{train,validation,labels}.csv; version 2 is WebM files and
something-something-v2-{train,validation,labels}.json.

Classes such as "Pushing something from left to right" have sides, so training must not mirror: --flip-prob 0."""

EXAMPLES = """examples:
  %(prog)s --version 2 --lists labels --data-dir 20bn-something-something-v2 --out lists -j 8
  %(prog)s --version 1 --lists labels --data-dir 20bn-something-something-v1 --out lists
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--version', type=int, required=True, choices=(1, 2), help='version of the data set')
    parser.add_argument('--lists', required=True, metavar='FOLDER', help='folder of the official lists and labels')
    parser.add_argument('--data-dir', required=True, metavar='FOLDER', help='folder of the videos')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where the lists are written')
    parser.add_argument('-j', '--num-data-workers', dest='num_workers', type=int, default=4,
                        help='processes that open videos')
    parser.add_argument('--decode-timeout', type=float, default=60., metavar='SECONDS',
                        help='a video that takes longer to open has failed; 0 for no limit')
    parser.add_argument('--overwrite', action='store_true', help='replace lists that are there')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.num_workers < 0:
        parser.error(f'--num-data-workers must be 0 or more, got {args.num_workers}')
    if not 0 <= args.decode_timeout < math.inf:
        parser.error(f'--decode-timeout must be 0 or more, got {args.decode_timeout}')
    return args


def main(args: argparse.Namespace) -> int:
    """Write the lists, and print what was found and the commands that come next; 1 when videos are missing."""
    from ..data.lists.published.something_downloads import VERSIONS, prepare
    made = prepare(args.version, args.lists, args.data_dir, args.out, num_workers=args.num_workers,
                   timeout=args.decode_timeout or None, overwrite=args.overwrite, progress=True)
    print(f'{made.num_videos} videos of {made.num_classes} classes, {len(made.failures)} of them missing or broken')
    for failure in made.failures[:5]:
        print(f'  {failure["split"]}: {failure["error"]}')
    if made.failures:
        print(f'All that are missing or broken: {args.out}/failures.jsonl')
    if made.empty_classes:
        print(f'{len(made.empty_classes)} classes have no training video, first: {made.empty_classes[0]}')
    lists = f'--train-list {made.lists["train"]} --val-list {made.lists["val"]}'
    pattern = f' --name-pattern {VERSIONS[args.version][1]}'
    train = f'  scripts/train_recognizer.py --dataset somethingsomethingv{args.version} {lists} --flip-prob 0'
    print(f'Train on pictures:\n{train} --data-dir {args.data_dir} --model ...\n'
          f'Train on optical flow:\n  scripts/extract_flow.py {made.lists["train"]} {made.lists["val"]} --data-dir '
          f'{args.data_dir}{pattern} --out {args.out}/flow\n{train} --data-dir {args.out}/flow --model ...')
    return 1 if made.failures else 0
