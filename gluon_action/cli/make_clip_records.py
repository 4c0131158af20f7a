"""``scripts/make_clip_records.py``: TFRecords of clips from annotated videos."""
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from .command import make_parser

DESCRIPTION = """Cut annotated videos into clips and write them, with their labels, to TFRecords, which i3d_estimator.py
and s3dg_estimator.py train on: each a tf.train.Example with `feature`, the raw pixels (frames x height x width x 3
bytes), and `label`, a byte of 0 or 1 for each class. Beside them lie classes.txt, report.json (clips of each class,
what was skipped and why) and manifest.json (finished files with their SHA-256).

ANNOTATIONS is a table (CSV, TSV) with a header:

  video,start,end,labels
  north/0412.mp4,12.5,31,gate down;train
  north/0412.mp4,31,40,train

or the same as JSON, [{"video": "north/0412.mp4", "start": 12.5, "end": 31, "labels": ["gate down", "train"]}, ...]. An
empty start or end is that of the video. Labels are names or numbers. Columns start_frame and end_frame count frames
instead of seconds, from 0; the end is the first frame that is no longer in the part. A column split puts each video
into a folder of its own kind (train, val, ...). Also a list `path label`, or a folder with one folder a class, is
taken: there every video is one part.

Run the same command again to resume after an interruption. The files are the same for any -j. It exits with 1 when
more of the parts than --failure-limit allows gave none, or not all, of their clips."""

EXAMPLES = """examples:
  # 64 frames of 224x224, a fifth of the videos for evaluation
  %(prog)s annotations.csv --data-dir videos --out records --val-share 0.2 -j 8
  # every second frame of a window of the picture, clips that overlap by half, and everything read again in the end
  %(prog)s annotations.json --out records --frame-stride 2 --crop 0,82,1920,920 --clip-step 64 --verify
  scripts/i3d_estimator.py --mode train_and_eval --train_subset_dir_path records/train \\
      --eval_subset_dir_path records/val ...
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('annotations', metavar='ANNOTATIONS', help='the list of annotated videos')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='where the records go')
    _add_annotation_flags(parser)
    _add_clip_flags(parser)
    _add_work_flags(parser)
    return parser


def _add_annotation_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('annotations')
    group.add_argument('--data-dir', default='', metavar='FOLDER',
                       help='folder that the paths of videos start from; by default that of the list')
    group.add_argument('--unit', default='seconds', choices=('seconds', 'frames'), help='what start and end count')
    group.add_argument('--classes', '--class-names', default=None, metavar='FILE',
                       help='names of the classes, one a line, in the order of their numbers; by default all names in '
                            'the list, sorted, or the numbers up to the highest')
    group.add_argument('--list-encoding', default=None, metavar='NAME',
                       help='how the list is encoded (gbk, utf-16, ...); by default as its first bytes say, else UTF-8')
    group.add_argument('--label-base', type=int, default=0, choices=(0, 1), help='number of the first class')
    group.add_argument('--allow-no-label', action='store_true',
                       help='take rows without a label, where nothing is to be seen')
    group.add_argument('--split', default=None, metavar='COLUMN',
                       help='column that names the split of a video; by default split, where there is one')
    group.add_argument('--val-share', type=float, default=0., metavar='SHARE',
                       help='draw so many of the videos for the split val, the others are train')
    group.add_argument('--seed', type=int, default=0, help='decides which videos --val-share draws')


def _add_clip_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('clips')
    group.add_argument('--clip-length', type=int, default=64, metavar='FRAMES', help='frames of a clip')
    group.add_argument('--frame-stride', type=int, default=1, metavar='N', help='take every N-th frame')
    group.add_argument('--clip-step', type=int, default=None, metavar='FRAMES',
                       help='frames of the video from the start of a clip to that of the next; the default, clip '
                            'length x frame stride, lets them touch, and a smaller one overlap')
    group.add_argument('--drop-short', action='store_true',
                       help='leave out the clip that the end of a part cuts short, instead of repeating its last frame')
    group.add_argument('--crop', default=None, metavar='X,Y,W,H',
                       help='take this window of the picture: left, top, width, height in pixels')
    group.add_argument('--size', default='224', metavar='N|HxW', help='resize to N x N, or to height x width')
    group.add_argument('--clips-per-file', type=int, default=16, metavar='N', help='records of a file')
    group.add_argument('--file-names', default='counted', choices=('counted', 'plain'),
                       help='00000-of-00012.tfrecord or 0000000.tfrecord')


def _add_work_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('work')
    group.add_argument('--decoder', default='auto', choices=('auto', 'pyav', 'decord', 'opencv', 'pillow'),
                       help='who reads videos; auto takes PyAV, and decord for what PyAV has no decoder for')
    group.add_argument('-j', '--num-data-workers', dest='num_workers', type=int, default=4,
                       help='processes that read; 0 reads in the main one')
    group.add_argument('--timeout', '--decode-timeout', type=float, default=60., metavar='SECONDS',
                       help='a clip that takes longer to read has failed; 0 for no limit')
    group.add_argument('--failure-limit', type=float, default=0.1, metavar='SHARE',
                       help='exit with 1 when more than this share of the parts gave none or not all of their clips')
    group.add_argument('--verify', action='store_true', help='read everything again in the end, and compare')
    group.add_argument('--overwrite', action='store_true', help='replace records that were made otherwise')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for flag, low, high in (('num_workers', 0, math.inf), ('timeout', 0, math.inf), ('seed', 0, math.inf),
                            ('failure_limit', 0, 1.1)):
        value = getattr(args, flag)
        if not low <= value < high:
            name = {'num_workers': 'num-data-workers'}.get(flag, flag.replace('_', '-'))
            parser.error(f'--{name} must be {"in 0..1" if high == 1.1 else "0 or more"}, got {value}')
    try:
        args.crop = None if args.crop is None else _numbers(args.crop, ',', 4)
        args.size = _numbers(args.size, 'x', 2) if 'x' in args.size else _numbers(args.size, 'x', 1) * 2
    except ValueError as error:
        parser.error(f'--crop takes four numbers such as 0,82,1920,920, and --size one or two such as 224 or 240x320; '
                     f'{error}')
    return args


def main(args: argparse.Namespace) -> int:
    """Make the records, print the report, and say where it is."""
    from ..data.lists.classes.class_files import read_class_names
    from ..data.lists.parts_of_videos import read_clip_annotations
    from ..data.tfrecords.clips.cutting import CropSettings
    from ..data.tfrecords.clips.plan import ClipSettings
    from ..data.tfrecords.clips.report import report_text
    from ..data.tfrecords.clips.writing import REPORT, make_clip_records
    settings = ClipSettings(
        args.clip_length, args.frame_stride, args.clip_step, args.drop_short,
        CropSettings(*args.size, args.crop, args.decoder), args.clips_per_file, args.file_names)
    videos = read_clip_annotations(
        args.annotations, args.data_dir, unit=args.unit,
        classes=args.classes and read_class_names(args.classes, args.list_encoding), list_encoding=args.list_encoding,
        label_base=args.label_base, allow_no_label=args.allow_no_label, split=args.split, val_share=args.val_share,
        seed=args.seed)
    report = make_clip_records(
        videos, args.out, settings, num_workers=args.num_workers, timeout=args.timeout or None,
        overwrite=args.overwrite, verify=args.verify, progress=True)
    print(report_text(report))
    print(f'{args.out}: {report["clips"]} clips{", read again and found whole" if args.verify else ""}. '
          f'Report: {args.out}/{REPORT}')
    incomplete = len({skip['where'] for skip in report['skipped']})
    return 1 if incomplete > args.failure_limit * len(videos.annotations) or not report['clips'] else 0


def _numbers(text: str, separator: str, count: int) -> tuple[int, ...]:
    numbers = tuple(map(int, text.split(separator)))
    if len(numbers) != count:
        raise ValueError(f'got {text!r}')
    return numbers
