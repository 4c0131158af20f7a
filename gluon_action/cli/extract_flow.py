"""``scripts/extract_flow.py``: optical flow of videos, for the flow stream of two-stream networks."""
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from .command import make_parser

DESCRIPTION = """Extract optical flow: for each video a folder flow_x_00001.jpg, flow_y_00001.jpg (from frame 1 to
frame 2) and so on, and flow.json, which says how it was made. n frames give n - 1 pictures of x and of y, so a clip of
T that starts at i shows how the video moves from frame i to frame i + T.

Frames are resized to a short side of 256 first. Displacements are in pixels of that size, clipped to -20..20 and stored
as 128 + round(d * 127 / 20): 128 is no motion, to the right and down are above it.

The flow of a/b.mp4 is the folder OUT/a/b. Training and testing read it from the list of the videos, given --data-dir
OUT. Run the same command again to resume an interrupted extraction, to add videos, and to try again those that failed,
which are in OUT/failures.jsonl. It exits with 1 when some failed."""

EXAMPLES = """how long it takes:
  On one core, for two frames of 340x256, tvl1 takes about 0.9 s and farneback 0.025 s: for a clip of 10 s at 25 frames
  a second 4 minutes and 6 s, for UCF101 (2.5 million frames) 25 days and 17 hours. Give it all cores with -j.

examples:
  %(prog)s videos --out flow -j 8
  %(prog)s trainlist01.txt testlist01.txt --data-dir UCF-101 --out flow --method farneback -j 8
  %(prog)s talk.mp4 --out flow --max-frames 100 --preview
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('sources', nargs='+', metavar='SOURCE',
                        help='videos, folders of frames, folders with either in them at any depth, or lists of videos '
                             'in any format that training takes')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where the folders of flow go')
    parser.add_argument('--method', default='tvl1', choices=('tvl1', 'farneback'),
                        help='tvl1 is what published networks were trained on; farneback is 30 times as fast, and '
                             'smoother')
    parser.add_argument('--short-side', type=int, default=256, metavar='PIXELS',
                        help='resize frames to this shorter side first; 0 keeps their size')
    parser.add_argument('--bound', type=float, default=20., metavar='PIXELS',
                        help='displacement that 8 bits reach to; smaller keeps slow motion finer')
    parser.add_argument('--format', default='jpg', choices=('jpg', 'png', 'npz'),
                        help='jpg is smallest and off by a level or two; png is exact; npz is one exact array flow '
                             '(T, H, W, 2) a video, which readers load as a whole')
    parser.add_argument('--stride', type=int, default=1, metavar='N', help='take every N-th frame')
    parser.add_argument('--max-frames', type=int, default=0, metavar='N',
                        help='take no more than N frames of a video; 0 takes all')
    parser.add_argument('--preview', action='store_true',
                        help='add preview.png to each folder: frames, and their flow as colours')
    parser.add_argument('--data-dir', default='', metavar='FOLDER', help='folder that the paths of lists start from')
    parser.add_argument('--list-format', default='auto', metavar='FORMAT',
                        help='format of the lists, as in training; auto looks at them')
    parser.add_argument('--list-encoding', default=None, metavar='NAME',
                        help='how the lists are encoded (gbk, utf-16, ...); by default as their first bytes say, else '
                             'UTF-8')
    parser.add_argument('--multi-label', action='store_true', help='videos in the lists may have several labels')
    parser.add_argument('--name-pattern', default='img_%05d.jpg', metavar='NAMES',
                        help='names of the pictures in folders of frames')
    parser.add_argument('--decoder', default='auto', choices=('auto', 'decord', 'pyav'),
                        help='who reads video files; auto takes PyAV, and decord for what PyAV has no decoder for')
    parser.add_argument('-j', '--num-data-workers', dest='num_workers', type=int, default=4,
                        help='processes, each of which takes one video after the other')
    parser.add_argument('--timeout', '--decode-timeout', type=float, default=0., metavar='SECONDS',
                        help='a video that takes longer has failed; 0 for no limit')
    parser.add_argument('--overwrite', action='store_true', help='extract again what has flow of other settings')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.num_workers < 0:
        parser.error(f'--num-data-workers must be 0 or more, got {args.num_workers}')
    if not 0 <= args.timeout < math.inf:
        parser.error(f'--timeout must be 0 or more, got {args.timeout}')
    return args


def main(args: argparse.Namespace) -> int:
    """Extract, and say how much and where; 1 when videos failed."""
    from ..data.flow.extraction import FAILURES, FlowSettings, extract_flow
    from ..data.flow.find_videos import find_videos
    settings = FlowSettings(args.method, args.bound, args.short_side, args.stride, args.max_frames, args.format)
    videos = find_videos(args.sources, args.data_dir, list_format=args.list_format, multi_label=args.multi_label,
                         list_encoding=args.list_encoding)
    report = extract_flow(
        videos, args.out, settings, name_pattern=args.name_pattern, decoder=args.decoder, num_workers=args.num_workers,
        timeout=args.timeout or None, overwrite=args.overwrite, preview=args.preview, progress=True)
    print(f'{args.out}: flow of {report.extracted} videos extracted, {report.finished_before} were finished before, '
          f'{len(report.failures)} failed')
    for failure in report.failures[:5]:
        print(f'  failed: {failure["error"]}')
    if report.failures:
        print(f'All that failed: {args.out}/{FAILURES}')
    return 1 if report.failures else 0
