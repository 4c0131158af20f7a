"""``scripts/youtube8m/extract_features.py``: features of a user's own videos as records in YouTube-8M's format."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ... import options
from ...errors import UsageError
from ...options import add_options, yes_or_no
from ..command import make_parser
from . import flags
from .shard_flags import add_shard_flags, shard_of, told

DESCRIPTION = """Turn videos into TFRecords of features: a frame a second goes through a network for images, a PCA that
whitens, and into 8 bits, in the format of YouTube-8M's frame-level data. Train and predict with
--feature_sizes of the same size (--pca_size, and 128 for audio).

These are not YouTube-8M's own features unless backbone and PCA are: models that were trained on its data need its
Inception v3 and its PCA. With any other backbone, or a PCA fitted here, train on what this command writes.

Audio features are made where the weights of VGGish are given. Otherwise, and of videos without sound, each frame has an
audio feature that says there is none.

Run the same command again after an interruption: it resumes with the videos that are left. Videos that cannot be read
are skipped; OUTPUT.manifest.json lists them with the reason, and all others with their frames."""

EXAMPLES = """examples:
  # a PCA fitted to these videos; ImageNet's Inception v3
  %(prog)s --input_videos_csv videos.csv --output_tfrecords_file own/train.tfrecord --fit_pca own/pca.npz
  # more videos, through the same PCA, by three processes
  for i in 1 2 3; do %(prog)s --input_videos_csv more.csv --output_tfrecords_file own/more.tfrecord \\
      --pca own/pca.npz --shard $i/3 & done; wait
  gluon-action youtube8m merge own/more.tfrecord
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    from ...deploy.feature_extraction.extract_config import ExtractConfig
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    add_options(parser, ExtractConfig, '')
    parser.add_argument('--overwrite', type=yes_or_no, nargs='?', const=True, default=False,
                        help='replace an output that exists')
    add_options(parser.add_argument_group('backbone'), ExtractConfig, 'backbone')
    group = add_options(parser.add_argument_group('PCA'), ExtractConfig, 'PCA')
    group.add_argument('--fit_pca_only', type=yes_or_no, nargs='?', const=True, default=False,
                       help='stop when the file of --fit_pca is written')
    add_options(parser.add_argument_group('audio'), ExtractConfig, 'audio')
    add_shard_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    from ...deploy.feature_extraction.extract_config import ExtractConfig
    parser = build_parser()
    args = flags.parse(parser, argv)
    options.check_numbers(args, options.options_of(ExtractConfig).values(), parser.error)
    return args


def main(args: argparse.Namespace) -> int:
    """Extract, and print how many videos gave how many frames."""
    from ...deploy.feature_extraction.extract_config import ExtractConfig
    config, shard = options.config_from(ExtractConfig, args), shard_of(args)
    if args.fit_pca_only and not config.fit_pca:
        raise UsageError('--fit_pca_only: is about --fit_pca FILE; add it')
    flags.prepare()
    from ...deploy.feature_extraction.extract import open_extraction, with_pca
    from ...deploy.feature_extraction.videos_csv import read_videos_csv
    from ...deploy.sharding.shards import check_output, run_job
    read_videos_csv(config.input_videos_csv)  # first, as no folder shall be made for a list that is not there
    if not args.fit_pca_only:
        check_output(Path(config.output_tfrecords_file).expanduser(), args.overwrite)
    config = with_pca(config, may_fit=shard is None, progress=True)
    if args.fit_pca_only:
        print(f'{config.pca}: the PCA of these videos; continue with --pca {config.pca}')
        return 0
    done = run_job(open_extraction, config, shard=shard, ray=args.ray, gpus=config.num_gpus, overwrite=args.overwrite,
                   progress=True)
    about = [note['about'] for note in done.notes]
    skipped = sum('skipped' in found for found in about)
    why = f'; why stands in {config.output_tfrecords_file}.manifest.json{" once it is joined" if shard else ""}'
    print(f'{len(about) - skipped} videos of {sum(found.get("frames", 0) for found in about)} frames, '
          f'{skipped} skipped{why if skipped else ""}')
    print(told(done, config.output_tfrecords_file, shard))
    return int(skipped == len(about) > 0)
