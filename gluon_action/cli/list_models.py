"""``gluon-action list-models``: the model zoo."""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UsageError
from .command import make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('the models by name: data set, classes, input, published accuracy and tag',
                         prog='gluon-action list-models')
    parser.add_argument('pattern', nargs='?', default='*', help="names to list, as in 'resnet*_kinetics400'")
    parser.add_argument('--markdown', action='store_true', help='print the text of model_zoo.md')
    parser.add_argument('--pictures', default=None, metavar='FOLDER',
                        help='draw the pictures of model_zoo.md: accuracy over cost, one for each data set')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Print the models."""
    from ..model_zoo import list_models, model_card
    from ..model_zoo.catalogue.tables import markdown, table
    if (args.markdown or args.pictures) and args.pattern != '*':
        raise UsageError(f'--markdown and --pictures: are of all models; leave out {args.pattern}')
    if args.pictures:
        for path in draw_pictures(Path(args.pictures)):
            print(f'written: {path}')
    elif args.markdown:
        print(markdown(), end='')
    else:
        cards = [model_card(name) for name in list_models(args.pattern)]
        if not cards:
            raise UsageError(f'no model is named like {args.pattern!r}; gluon-action list-models names them all')
        print(table(cards))


def draw_pictures(folder: Path) -> Iterator[Path]:
    """Draw one picture for each data set that has enough points, and give its path."""
    from ..deploy.speed.zoo import plot
    from ..model_zoo.catalogue.tables import HEADINGS, LEAST_POINTS, picture, points
    if not folder.is_dir():
        raise UsageError(f'--pictures {folder}: the folder does not exist')
    for dataset, heading in HEADINGS.items():
        found = points(dataset)
        if len(found) >= LEAST_POINTS:
            path = folder / Path(picture(dataset)).name
            plot(found, path, f'{heading}: accuracy against cost')
            yield path
