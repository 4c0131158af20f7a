"""``gluon-action prepare-videos``: copies of a data set that decode several times faster."""
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from ..data.fast_copies.settings import ON_DAMAGE, SOUNDS, CopySettings, parse_size
from ..data.video_options import VideoOptions
from ..errors import UsageError
from ..options import options_of
from .command import make_parser

DESCRIPTION = """Encode videos again so that training decodes them several times faster: H.264 without what is slow to
decode, smaller, upright, with a key frame every few frames. Of each copy it is proved that it has as many frames as its
source, at the same times, so parts of videos in lists stay what they are, whether they count seconds or frames.

The copy of a/b.avi is OUT/a/b.mp4. Lists are written to OUT with the new paths; OUT/copies.json says what each copy is.
Run the same command again to resume after an interruption, to add videos, and to try again those that failed. It exits
with 1 when some failed."""

EXAMPLES = """examples:
  # what it would take
  %(prog)s train.txt val.txt --data-dir videos --out fast --dry-run
  %(prog)s train.txt val.txt --data-dir videos --out fast -j 8
  gluon-action train fast/train.txt --val-list fast/val.txt --data-dir fast
  # the size that training brings frames to first, and nothing to resize then
  %(prog)s videos --out fast --size 340x256
  # by four machines that see the same files
  %(prog)s videos --out fast --shard 1/4

in Python:
  made = make_copies('train.txt', 'fast', data_dir='videos')   # gluon_action.data.fast_copies.copying
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    usual = CopySettings()
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('sources', nargs='+', metavar='VIDEOS',
                        help='videos, folders of videos at any depth, or lists in any format that training takes')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where copies, lists and the report go')
    parser.add_argument('--short-side', type=int, default=None, metavar='PIXELS',
                        help=f'shorter side of the frames; smaller videos and 0 keep their size (default '
                             f'{usual.short_side})')
    parser.add_argument('--size', default=None, metavar='WIDTHxHEIGHT', help='one size for all instead')
    parser.add_argument('--key-frames', type=int, default=usual.key_frames, metavar='FRAMES',
                        help='from one key frame to the next; fewer are quicker to get at and take more room')
    parser.add_argument('--quality', type=int, default=usual.quality, metavar='CRF',
                        help='0 (exact) to 51; 6 less are about twice the bytes')
    parser.add_argument('--sound', default=usual.sound, choices=SOUNDS,
                        help='training needs none; that of videos whose pictures begin later always comes along, since '
                             'times count from it')
    parser.add_argument('--on-damage', default=usual.on_damage, choices=ON_DAMAGE,
                        help='frames of which the decoder guesses parts: accept them as training does, or raise, so '
                             'that the video has failed')
    parser.add_argument('--keep-unequal', action='store_true',
                        help='keep copies whose frames or times are not those of their sources; they have failed all '
                             'the same')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')
    parser.add_argument('--dry-run', action='store_true', help='say what it would take, by a few frames, and stop')
    parser.add_argument('--shard', default=None, metavar='I/N', help='do the I-th of N shares of the videos')
    group = parser.add_argument_group('lists')
    group.add_argument('--data-dir', default='', metavar='FOLDER', help='folder that the paths of lists start from')
    options = options_of(VideoOptions)
    for name in ('list_format', 'list_encoding', 'multi_label'):
        options[name].add_to(group)
    group = parser.add_argument_group('how fast')
    options['num_workers'].add_to(group)
    group.add_argument('--timeout', type=float, default=0., metavar='SECONDS',
                       help='a video that takes longer has failed; 0 for no limit')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.size is not None and args.short_side is not None:
        parser.error('--size and --short-side: each says how large frames become; leave one of them out')
    for flag, value in (('-j', args.num_workers), ('--timeout', args.timeout)):
        if not 0 <= value < math.inf:
            parser.error(f'{flag} must be 0 or more, got {value}')
    return args


def main(args: argparse.Namespace) -> int:
    """Copy, and say how many, how large and what failed; 1 when something did."""
    from ..data.fast_copies.copying import make_copies
    from ..data.fast_copies.estimate import estimate
    from ..data.fast_copies.sources import list_sources
    from ..unfinished import Shard
    settings = CopySettings(CopySettings.short_side if args.short_side is None else args.short_side,
                            args.size and parse_size(args.size), args.key_frames, args.quality, args.sound,
                            args.on_damage)
    reading = dict(data_dir=args.data_dir, list_format=args.list_format, list_encoding=args.list_encoding,
                   multi_label=args.multi_label)
    shard = Shard.parse(args.shard) if args.shard else None
    if args.dry_run:
        videos = list_sources(args.sources, **reading)
        mine = [videos[number] for number in shard.of(len(videos))] if shard else videos
        if not mine:
            raise UsageError(f'--shard {shard}: there are {len(videos)} videos only, and none is left for this share')
        print(estimate(mine, settings).told(args.num_workers))
        return 0
    made = make_copies(args.sources, args.out, settings, num_workers=args.num_workers, timeout=args.timeout or None,
                       shard=shard, keep_unequal=args.keep_unequal, overwrite=args.overwrite, progress=True, **reading)
    print(made.told())
    print(f'report: {made.report}')
    return 1 if made.failed else 0
