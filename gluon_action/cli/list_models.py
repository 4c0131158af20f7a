"""``gluon-action list-models``: the model zoo."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import UsageError
from .command import make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('the models by name: data set, classes, input, published accuracy and tag',
                         prog='gluon-action list-models')
    parser.add_argument('pattern', nargs='?', default='*', help="names to list, as in 'resnet*_kinetics400'")
    parser.add_argument('--markdown', action='store_true', help='print the text of model_zoo.md')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Print the models."""
    from ..model_zoo import list_models, model_card
    from ..model_zoo.catalogue import markdown, table
    cards = [model_card(name) for name in list_models(args.pattern)]
    if not cards:
        raise UsageError(f'no model is named like {args.pattern!r}; gluon-action list-models names them all')
    if args.markdown:
        print(markdown(cards), end='')
    else:
        print(table(cards))
