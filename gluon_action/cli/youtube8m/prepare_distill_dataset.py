"""``scripts/youtube8m/prepare_distill_dataset.py``: a set to train a student on, with a teacher's predictions."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ...options import yes_or_no
from ..command import make_parser
from . import flags
from .scoring_flags import add_scoring_flags, counts, need, scoring_of
from .shard_flags import add_shard_flags, shard_of, told

DESCRIPTION = """Write records of frames with a teacher's predictions, predictions-00000.tfrecord and so on, which
train_distill reads: all bytes of the features once more, 1.4 TB for the whole of YouTube-8M. With --predictions_only
the predictions alone, in 16 bits, 39 GB; train_distill reads them beside the records. A command that was stopped goes
on where it was."""

EXAMPLES = """examples:
  %(prog)s --batch_size 128 --file_size 512 --input_data_pattern "data/frame/train/*.tfrecord" \\
      --output_dir train_distill --model_file combined/inference_model
"""

#: Flags that the original declares and never reads.
DEAD = dict.fromkeys(('--input_feature_names', '--input_feature_sizes', '--prediction_feature_names'),
                     'the original never reads it; the model says which features it takes, and all are kept')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--output_dir', default='', help='folder of the set; it must not exist')
    parser.add_argument('--input_data_pattern', default='', help='record files of frames; in quotes')
    parser.add_argument('--model_file', default='', metavar='PREFIX', help='the teacher, as in FOLDER/inference_model')
    parser.add_argument('--file_size', type=int, default=512, help='records of a file at most')
    parser.add_argument('--predictions_only', type=yes_or_no, nargs='?', const=True, default=False,
                        help='write the predictions alone, to be read beside the records')
    add_scoring_flags(parser, batch_size=256, num_readers=12)
    add_shard_flags(parser)
    flags.ignore(parser, DEAD)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Write the set."""
    need(args, 'output_dir', 'input_data_pattern', 'model_file')
    shard = shard_of(args)
    flags.prepare()
    from ...deploy.feature_scoring.distill_set import DistillSet, make_distill_set
    config = DistillSet(scoring_of(args, args.model_file, '--model_file', gpu=True), args.input_data_pattern,
                        args.output_dir, args.file_size, args.predictions_only, shard)
    done = make_distill_set(config, ray=args.ray, progress=True)
    print(counts(done.notes))
    print(told(done, args.output_dir, shard))
