"""``scripts/youtube8m/train_distill.py``: train a student on labels and on what a teacher says of the same videos."""
from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from ... import options
from ...train.recipes.frame_features.config import FeatureTraining
from .flags import parse
from .train import run_training, training_parser

EXAMPLES = """examples:
  # on records that hold the teacher's predictions, from prepare_distill_dataset
  %(prog)s --train_data_pattern="train_distill/*.tfrecord" --frame_features --feature_names="rgb,audio" \\
      --feature_sizes="1024,128" --model=NetVLADModelLF --train_dir=runs/student --loss_lambda 0.5
  # on the plain records, with the predictions beside them
  %(prog)s --train_data_pattern="frame/train*.tfrecord" --predictions predictions --frame_features \\
      --feature_names="rgb,audio" --feature_sizes="1024,128" --model=NetVLADModelLF --train_dir=runs/student
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: the flags of ``train``, and those about the teacher."""
    return training_parser(__doc__, EXAMPLES)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return parse(build_parser(), argv)


def config_from(args: argparse.Namespace) -> FeatureTraining:
    """Return what was asked for."""
    return dataclasses.replace(options.config_from(FeatureTraining, args), distill=True)


def main(args: argparse.Namespace) -> int:
    """Train, and say where the results are."""
    return run_training(config_from(args), args)
