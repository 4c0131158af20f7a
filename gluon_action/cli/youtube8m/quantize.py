"""``scripts/youtube8m/quantize.py``: a stored model in 8 or 16 bits, and what that cost."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..command import make_parser
from . import flags

DESCRIPTION = """Write a smaller copy of a trained model: of each large array 8 bits a number and 256 levels, or
float16. Networks compute in float32 as before; eval_custom says what the copy scores. It holds all that is needed, so
no model_flags.json need be copied."""

EXAMPLES = """examples:
  %(prog)s --transform_type quant_uniform --model trained/NetVLAD_ema/inference_model --savefile \\
      quants/your_model/inference_model
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--transform_type', required=True,
                        choices=('float16', 'quant_uniform', 'quant_kmeans', 'quant_quantile'),
                        help='half the precision; or levels equally far apart, at the centres of clusters, or at '
                             'quantiles, which is coarse in the tails')
    parser.add_argument('--model', required=True, metavar='PREFIX', help='as in TRAIN_DIR/inference_model')
    parser.add_argument('--savefile', required=True, metavar='PREFIX', help='of the copy; it must not exist')
    parser.add_argument('--min_elements', type=int, default=17000,
                        help='arrays with more elements are quantized, others stay as they are')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Quantize, and print size and error of each array."""
    flags.prepare()
    from ...deploy.stored_models.quantize import Loss, quantize_stored

    def tell(loss: Loss) -> None:
        print(f'{loss.key} {"x".join(map(str, loss.shape))}: {loss.before:,} -> {loss.after:,} bytes, error '
              f'{loss.rmse:.4%} of the standard deviation (root mean square), at most {loss.largest:.4%}')

    report = quantize_stored(args.model, args.savefile, args.transform_type, min_elements=args.min_elements,
                             progress=tell)
    print(f'{len(report.losses)} arrays quantized, {report.untouched} as they were')
    if not report.losses:
        print(f'--min_elements {args.min_elements}: no array has more elements, so nothing is smaller; pass fewer')
    if grown := sum(loss.after > loss.before for loss in report.losses):
        print(f'--min_elements {args.min_elements}: {grown} arrays are larger than before, as 256 levels take 1,024 '
              'bytes each; pass 341 or more')
    print(f'{report.prefix}: {report.before:,} -> {report.after:,} bytes '
          f'({report.before / report.after:.2f} times smaller)')
