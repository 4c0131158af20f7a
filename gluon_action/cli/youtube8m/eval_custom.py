"""``scripts/youtube8m/eval_custom.py``: what any stored model scores, quantized or an ensemble as well."""
from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from ..command import make_parser
from . import flags
from .scoring_flags import add_scoring_flags, need, scoring_of

log = logging.getLogger(__name__)

DESCRIPTION = """Score a stored model on records with labels: GAP, and beside it Hit@1, PERR and both mean average
precisions, that of 2018 (a class without positives counts 0) and today's (it is left out)."""

EXAMPLES = """examples:
  %(prog)s --model_file quants/your_model/inference_model --eval_data_pattern "data/frame/validate/*.tfrecord"
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--model_file', default='', metavar='PREFIX', help='as in FOLDER/inference_model')
    parser.add_argument('--eval_data_pattern', default='', help='record files with labels; in quotes')
    parser.add_argument('--top_k', type=int, default=20, help='classes of a video that count')
    add_scoring_flags(parser, batch_size=1024, num_readers=8)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Score, and log what the original logs and more."""
    need(args, 'model_file', 'eval_data_pattern')
    flags.prepare()
    from tqdm import tqdm

    from ...deploy.feature_scoring.evaluation import evaluate_stored
    from ...evaluate.scores.video_tags import UNREAD
    with tqdm(unit='video', disable=None) as bar:
        found = evaluate_stored(scoring_of(args, args.model_file, '--model_file', gpu=True), args.eval_data_pattern,
                                top_k=args.top_k, progress=bar.update, keep=True)
    missing = found['expected'] - found['count']
    log.info('%d videos%s%s', found['count'], f', {missing} could not be read ({UNREAD})' if missing else '',
             f'; torn files: {found["torn"]}' if found['torn'] else '')
    log.info('GAP Score: %.6f', found['gap'])
    if found['gap_low'] != found['gap_high']:
        log.info('of equal probabilities in other orders: %.6f to %.6f', found['gap_low'], found['gap_high'])
    log.info('Hit@1: %.4f | PERR: %.4f | MAP (2018): %.6f | MAP (today): %.6f', found['hit_at_1'], found['perr'],
             found['map_2018'], found['map'])
