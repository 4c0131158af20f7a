"""``scripts/youtube8m/import_checkpoint.py``: a TensorFlow checkpoint of YouTube-8M as a train_dir."""
from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...errors import UsageError
from ...feature_architecture import FILE, Architecture
from ...options import add_options, check_numbers, options_of, yes_or_no
from ..command import make_parser
from . import flags

DESCRIPTION = """Make a train_dir of a checkpoint that a TensorFlow program for YouTube-8M has written: miha-skalic/
youtube8mchallenge; google/youtube-8m of 2018; of antoine77340/Youtube-8M-WILLOW its NetVLADModelLF, NetFVModelLF,
SoftDbofModelLF, GatedDbofModelLF and GruModel (not LstmModel and DbofModelLF, which are others than those of these
names here, nor what was trained with --gru_random_sequence); of linrongc/youtube-8m NeXtVLADModel. It holds
inference_model, which eval, inference, quantize, graph_ensemble and --ema_source take; TensorFlow is not needed.

Give the flags that the network was trained with, the others have the original's defaults. Where a model_flags.json lies
beside the checkpoint, model and features are read from it. Every variable must be of that network: a table says what
became of each. Quantized checkpoints stay quantized."""

EXAMPLES = """examples:
  # a training of the winners
  %(prog)s --checkpoint NetVLAD1/model.ckpt-310000 --train_dir runs/netvlad1 --model NetVLADModelLF \\
      --frame_features --feature_names rgb,audio --feature_sizes 1024,128 --netvlad_cluster_size 256 \\
      --netvlad_hidden_size 1024 --netvlad_relu=False --gating --moe_prob_gating --iterations 300
  # what eval.py or quantize.py of theirs left, with a model_flags.json beside it
  %(prog)s --checkpoint NetVLAD1/inference_model --train_dir runs/netvlad1 --netvlad_cluster_size 256 ...
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--checkpoint', required=True, metavar='PREFIX',
                        help='what the names of its files begin with, or their folder')
    parser.add_argument('--train_dir', required=True, help='folder to make')
    parser.add_argument('--use_EMA', type=yes_or_no, nargs='?', const=True, default=True, metavar='true|false',
                        help='take moving averages of variables that have them; false takes the variables')
    add_options(parser.add_argument_group('network'), Architecture, 'network')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = flags.parse(parser, argv)
    check_numbers(args, options_of(Architecture).values(), parser.error)
    return args


def main(args: argparse.Namespace) -> None:
    """Import, print what became of each variable, and where the model is."""
    folder = Path(args.train_dir).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f'--train_dir {folder} is there already; name a new folder')
    flags.prepare()
    from ...model_zoo.frame_features.stored.prefix import NAME
    from ...model_zoo.frame_features.stored.writing import write_stored
    from ...model_zoo.importers.formats.tensorflow import find_prefix
    from ...model_zoo.importers.youtube8m import read_network
    prefix = find_prefix(Path(args.checkpoint).expanduser())
    architecture = architecture_of(args, prefix)
    found = read_network(prefix, architecture, averages=args.use_EMA)
    about = {'from': str(prefix), 'step': found.step, 'averaged': found.averaged}
    stored = write_stored(folder / NAME, [(architecture, found.conversion.arrays)], about=about)
    architecture.write(folder)
    print(found.conversion.table())
    for note in architecture.notes():
        print(f'note: {note}')
    print(f'Model of {architecture.model}, step {found.step}: {stored}')


def architecture_of(args: argparse.Namespace, prefix: Path) -> Architecture:
    """Return what the flags say, and what they do not say as the checkpoint's own folder has it."""
    beside = Architecture.read(prefix.parent) if (prefix.parent / FILE).is_file() else Architecture()
    own = {name: args.given[name] for name in options_of(Architecture) if name in args.given}
    return dataclasses.replace(beside, **own)
