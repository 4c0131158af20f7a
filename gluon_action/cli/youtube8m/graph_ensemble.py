"""``scripts/youtube8m/graph_ensemble.py``: two or more stored models as one."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..command import make_parser
from . import flags

DESCRIPTION = """Combine trained models into one, whose probabilities are the weighted sum of theirs. All take the same
features; quantized ones stay quantized. A table says what each costs. The result is a stored model like any other:
inference, eval_custom and prepare_distill_dataset take it, gluon-action export makes ONNX of it, and quantize takes it
where none of the models is quantized."""

EXAMPLES = """examples:
  %(prog)s --models quants/74/inference_model model_1/inference_model model_2/inference_model --weights 0.3333 0.3333 \\
      0.3334 --save_folder combined
  gluon-action export combined --out bundles/combined
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--models', nargs='+', required=True, metavar='PREFIX',
                        help='two or more, as in TRAIN_DIR/inference_model')
    parser.add_argument('--weights', nargs='+', type=float, default=None, metavar='WEIGHT',
                        help='one for each model, which sum to one; by default equal ones')
    parser.add_argument('--save_folder', required=True, metavar='FOLDER',
                        help='folder of the new model; it must not exist')
    parser.add_argument('--max_model_bytes', type=int, default=None, metavar='BYTES',
                        help='refuse a larger one; the competition of 2018 allowed 1073741824')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Combine the models and print what each costs."""
    flags.prepare()
    from ...deploy.stored_models.ensemble import combine, costs
    print(costs(combine(args.models, args.save_folder, args.weights, max_model_bytes=args.max_model_bytes)))
    print(f'{args.save_folder}: one model of {len(args.models)}')
