"""``scripts/youtube8m/eval.py``: write the model of a run as inference_model, and score it."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ... import options
from ...evaluate.options.frame_features_config import FeatureEvaluation, check_evaluation
from ...train.recipes.frame_features.config import FeatureTraining
from ..command import make_parser
from .flags import OF_OTHERS, ignore, parse, prepare
from .train import DEAD

EXAMPLES = """examples:
  # GAP@20, MAP, Hit@1 and PERR of the newest checkpoint, once
  %(prog)s --train_dir=runs/netvlad --eval_data_pattern="frame/validate*.tfrecord" --run_once
  # the model alone, for quantize.py, graph_ensemble.py and inference.py: runs/netvlad/inference_model
  %(prog)s --train_dir=runs/netvlad --build_only
  # every checkpoint of a run that trains
  %(prog)s --train_dir=runs/netvlad --eval_data_pattern="frame/validate*.tfrecord"
The network is the stored one: its options need not be repeated. How frames are drawn may be chosen anew, and is then
a part of inference_model.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; flags have the original's names and defaults. Those of ``train`` have no effect."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    for group in ('records', 'scoring', 'run', 'network'):
        options.add_options(parser.add_argument_group(group), FeatureEvaluation, group)
    others = {option.flag: OF_OTHERS for option in options.options_of(FeatureTraining).values()}
    ignore(parser, {**others, **DEAD})
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return parse(build_parser(), argv)


def config_from(args: argparse.Namespace) -> FeatureEvaluation:
    """Return what was asked for."""
    return options.config_from(FeatureEvaluation, args)


def main(args: argparse.Namespace) -> int:
    """Write the model and score it, once or again and again, and say where the results are."""
    config = config_from(args)
    check_evaluation(config)
    prepare()
    from ...deploy.feature_scoring.run_evaluation import evaluate_run
    print(*evaluate_run(config, args.given), sep='\n')
    return 0
