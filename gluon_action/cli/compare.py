"""``gluon-action compare``: several trainings or tests side by side."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..files import to_json
from ..printable import printable
from .command import make_parser

EXAMPLES = """examples:
  # two trainings: what differs in them, who is better, and whether that could be chance
  %(prog)s runs/sgd runs/adam --html sgd-against-adam.html
  # tests on lists that are not the same, over the videos that both have
  %(prog)s results/split1 results/all --shared
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser("several trainings or tests side by side: what differs, scores with intervals, McNemar's test",
                         epilog=EXAMPLES)
    parser.add_argument('runs', nargs='+', metavar='RUN_DIR', help='two or more folders of trainings or tests')
    parser.add_argument('--shared', action='store_true',
                        help='compare runs on different lists too, over the videos that all of them have')
    parser.add_argument('--html', default=None, metavar='FILE', help='write it as a page, with the curves')
    parser.add_argument('--json', action='store_true', help='print it as JSON')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Compare, print the table, and write the page if that is asked for."""
    from ..evaluate.report.comparison import compare_runs, write_comparison
    from ..train.run.folder.lock import holder
    comparison = compare_runs(args.runs, shared=args.shared)
    for name, run in zip(comparison.names, comparison.runs):
        if writing := holder(run.folder):
            comparison.troubles.append(f'{name} is still being written ({writing}); this is what is there')
    print(to_json(comparison.as_json()) if args.json else comparison.table(), end='' if args.json else '\n')
    if args.html:
        print(f'Page: {printable(write_comparison(comparison, args.html))}', file=sys.stderr if args.json else None)
