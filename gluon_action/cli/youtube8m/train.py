"""``scripts/youtube8m/train.py``: train a network on features of videos or of their frames."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ... import options
from ...train.recipes.frame_features.config import OF_DISTILLATION, FeatureTraining, check_config
from ..command import make_parser
from .flags import OF_OTHERS, ignore, parse, prepare

EXAMPLES = """examples:
  # NetVLAD on frames, as the winners of 2018 trained it
  %(prog)s --train_data_pattern="frame/train*.tfrecord" --frame_features --feature_names="rgb,audio" \\
      --feature_sizes="1024,128" --model=NetVLADModelLF --train_dir=runs/netvlad --batch_size=160 \\
      --base_learning_rate=0.0002 --learning_rate_decay=0.8 --netvlad_cluster_size=256 --iterations=300 \\
      --netvlad_relu=False --gating=True --moe_prob_gating=True --moe_l2=1e-6 --num_epochs=10
  # moving averages of it, for two more epochs; eval.py takes the averages
  %(prog)s --train_data_pattern="frame/train*.tfrecord" --train_dir=runs/netvlad_ema \\
      --ema_source runs/netvlad/inference_model --ema_halflife 2000 --base_learning_rate=0.00008 --num_epochs=2
A command that is repeated resumes where it was stopped. Watch it with: tensorboard --logdir runs
"""
#: Flags of the original's programs that have no effect in training.
DEAD = {'--export_model_steps': 'eval.py writes the model; the original has its export switched off',
        '--log_device_placement': 'there is no TensorFlow here'}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; flags have the original's names and defaults."""
    parser = training_parser(__doc__, EXAMPLES, without=OF_DISTILLATION)
    ignore(parser, dict.fromkeys((options.flag_of(FeatureTraining, name) for name in OF_DISTILLATION), OF_OTHERS))
    return parser


def training_parser(doc: str, examples: str, without: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser with the options of training, some left out."""
    parser = make_parser(doc.split(': ', 1)[1], epilog=examples)
    for group in ('records', 'network', 'training', 'moving averages', 'run'):
        options.add_options(parser.add_argument_group(group), FeatureTraining, group, without=without)
    ignore(parser, DEAD)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return parse(build_parser(), argv)


def config_from(args: argparse.Namespace) -> FeatureTraining:
    """Return what was asked for."""
    return options.config_from(FeatureTraining, args)


def main(args: argparse.Namespace) -> int:
    """Train, and say where the results are."""
    return run_training(config_from(args), args)


def run_training(config: FeatureTraining, args: argparse.Namespace) -> int:
    """Train as a configuration says, whose options in ``args.given`` were asked for."""
    check_config(config)
    prepare()
    from ...train.recipes.frame_features.training import train
    print(train(config, args.given).summary())
    return 0
