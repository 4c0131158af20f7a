"""``gluon-action verify``: does an exported model give here what it gave where it was made?"""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from .command import make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        'Check every byte of a bundle against its manifest and replay its reference clip.\n'
        'Prints how much the scores differ and OK; exits with 1 when a file was changed or the scores differ.',
        prog='gluon-action verify', epilog='example:\n  gluon-action verify bundles/mine')
    parser.add_argument('bundle', metavar='BUNDLE', help='folder that `gluon-action export` wrote')
    parser.add_argument('--threads', type=int, default=None, help='threads that compute; by default all cores')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> int:
    """Verify, and say what was found."""
    from ..deploy.bundle.format import verify
    verdict = verify(args.bundle, threads=args.threads)
    print(f'largest difference {verdict.difference:.1e} of the largest score (at most {verdict.tolerance:g}), '
          f'{"the same" if verdict.top1_equal else "another"} class, {verdict.seconds:.2f} s')
    print('OK' if verdict.ok else 'NOT THE SAME: the model does not do here what it did where it was exported')
    return 0 if verdict.ok else 1
