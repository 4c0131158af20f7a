"""``scripts/youtube8m/inference.py``: the tags of videos as the CSV of a submission."""
from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Sequence

from ...errors import UsageError
from ...options import yes_or_no
from ..command import make_parser
from . import flags
from .scoring_flags import add_scoring_flags, counts, need, scoring_of
from .shard_flags import add_shard_flags, shard_of, told

DESCRIPTION = """Write the most probable classes of each video, best first: VideoId,LabelConfidencePairs. Files are
worked on one by one; a command that was stopped resumes where it was when it is given again. inference_gpu is the same
on a GPU."""

EXAMPLES = """examples:
  %(prog)s --train_dir trained/NetVLAD_ema --input_data_pattern "data/frame/test/*.tfrecord" --output_file output.csv
  several machines, then: gluon-action youtube8m merge output.csv
    %(prog)s --shard 3/8 --train_dir ... --input_data_pattern ... --output_file output.csv
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('--train_dir', default='', help='folder, or prefix, of a model that eval, quantize or '
                                                        'graph_ensemble wrote')
    parser.add_argument('--input_data_pattern', default='', help='record files; in quotes')
    parser.add_argument('--output_file', default='', help='the CSV')
    parser.add_argument('--overwrite', type=yes_or_no, nargs='?', const=True, default=False,
                        help='replace the CSV that is there')
    parser.add_argument('--top_k', type=int, default=20, help='classes of a video')
    add_scoring_flags(parser, batch_size=8192, num_readers=1)
    group = parser.add_argument_group('the model as an archive')
    group.add_argument('--input_model_tgz', default='', help='take the model out of a .tgz that --output_model_tgz '
                                                             'wrote, instead of --train_dir')
    group.add_argument('--untar_model_dir', default='', help='a new folder that --input_model_tgz is unpacked into and '
                                                             'stays in; by default one that is removed at the end')
    group.add_argument('--output_model_tgz', default='', help='write the model as a .tgz')
    add_shard_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace, gpu: bool = False) -> None:
    """Write the CSV."""
    if args.train_dir and args.input_model_tgz:
        raise UsageError('--train_dir and --input_model_tgz: each names a model; leave one of them out')
    if not (args.train_dir or args.input_model_tgz):
        raise UsageError('--train_dir: is needed, or --input_model_tgz; --help says what they are')
    need(args, 'input_data_pattern', 'output_file')
    shard = shard_of(args)
    flags.prepare()
    from ...deploy.feature_scoring.inference import Inference, infer
    from ...deploy.stored_models.model_archive import pack_model, unpack_model
    flag, model = '--train_dir', args.train_dir
    with contextlib.ExitStack() as stack:
        if args.input_model_tgz:
            # A folder of its own: a model that an earlier inference left in a common one is never taken for this one.
            folder = args.untar_model_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix='yt8m-model-'))
            flag, model = '--input_model_tgz', str(unpack_model(args.input_model_tgz, folder))
        config = Inference(scoring_of(args, model, flag, gpu), args.input_data_pattern, args.output_file, args.top_k,
                           shard)
        if args.output_model_tgz:
            print(f'{pack_model(model, args.output_model_tgz, flag)}: the model')
        done = infer(config, ray=args.ray, overwrite=args.overwrite, progress=True)
    print(counts(done.notes))
    print(told(done, args.output_file, shard))
