"""``scripts/youtube8m/weights_average.py``: the mean of the weights of several models of one network."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..command import make_parser
from . import flags

DESCRIPTION = """Write the uniform mean of the weights of several models of one network, the running statistics of
batch normalisation included: of checkpoints of a training, or of models that were trained on from the same start."""

EXAMPLES = """examples:
  %(prog)s --models trained/NetVLAD/checkpoints/step-000* --save_folder trained/NetVLAD_mean
  %(prog)s --models run_1/inference_model run_2/inference_model --save_folder mean
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--models', nargs='+', required=True, metavar='PREFIX',
                        help='stored models, as in TRAIN_DIR/inference_model, or checkpoints, as in '
                             'TRAIN_DIR/checkpoints/step-00001000')
    parser.add_argument('--save_folder', required=True, metavar='FOLDER',
                        help='folder of the new model; it must not exist')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Write the mean and print where it is."""
    flags.prepare()
    from ...deploy.stored_models.averages import average_models
    print(f'{average_models(args.models, args.save_folder)}: the mean of {len(args.models)}')
