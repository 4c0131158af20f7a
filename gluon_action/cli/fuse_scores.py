"""``scripts/fuse_scores.py``: add up the scores that several networks gave the same videos, and report the sum."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from .command import make_parser

EXAMPLES = """examples:
  # two streams, tested on the same list with test_recognizer.py, added as they are
  %(prog)s results/rgb results/flow --save-dir results/two-stream
  # flow counts one and a half times
  %(prog)s results/rgb results/flow --weights 1 1.5
  # weights that suit a validation set best, applied to the test set
  %(prog)s results/rgb-test results/flow-test --fit results/rgb-val results/flow-val
  # no validation set: fit on four fifths of the videos, fuse the others, five times
  %(prog)s results/rgb results/flow --fit
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    parser.add_argument('reports', nargs='+', metavar='REPORT',
                        help='two or more folders that test_recognizer.py wrote, or the scores.npz in them')
    parser.add_argument('--weights', nargs='+', type=float, default=None, metavar='W',
                        help='one for each report; 1 each by default')
    parser.add_argument('--fit', nargs='*', default=None, metavar='REPORT',
                        help='fit the weights on these reports of a validation set, one for each stream in the same '
                             'order; without any, by cross-validation on the reports themselves')
    parser.add_argument('--scores', default=None, choices=('logits', 'probabilities'),
                        help='what is added up; by default what the reports hold')
    parser.add_argument('--save-dir', default=None, help='folder of the report; by default results/fused-NAME+NAME')
    parser.add_argument('--overwrite', action='store_true', help='replace the report that --save-dir holds')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Fuse, print each stream alone and all together, and say where the report is."""
    from ..evaluate.scores.fusion import FusionConfig, fuse_scores
    result = fuse_scores(FusionConfig(**{name: value for name, value in vars(args).items() if name != 'debug'}))
    print(result.table())
    if 'warning' in result.results['protocol']:
        print(f'Warning: {result.results["protocol"]["warning"]}')
    print(f'Results: {result.files["results"]}')
