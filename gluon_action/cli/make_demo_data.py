"""``gluon-action make-demo-data``: generate the videos that everything can be tried on."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..data.by_name import DEMOS
from .command import make_parser

EXAMPLES = """examples:
  %(prog)s demo_appearance
  %(prog)s demo_motion --root /data/demo --size 128 --num-frames 64
  %(prog)s demo_two_stream --num-frames 64
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('Generate labelled videos: demo_appearance, where an object in the picture decides the class; '
                         'demo_motion, where only the order of the frames does; and demo_two_stream, where it is a '
                         'colour, which optical flow does not see, and a direction, which only neighbouring frames '
                         'show.',
                         prog='gluon-action make-demo-data', epilog=EXAMPLES)
    parser.add_argument('names', nargs='*', metavar='NAME', default=list(DEMOS), help='data sets to make')
    parser.add_argument('--root', default='demo_data', help='each data set becomes a folder in here')
    parser.add_argument('--train-per-class', type=int, default=60, help='training videos of each class')
    parser.add_argument('--val-per-class', type=int, default=10, help='validation videos of each class')
    parser.add_argument('--size', type=int, default=96, help='height of the 4:3 frames')
    parser.add_argument('--num-frames', type=int, default=24, help='frames of each video')
    parser.add_argument('--seed', type=int, default=0, help='decides every pixel')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Make the data sets and print where they are."""
    from ..data.demo.make import make_demo
    for name in args.names:
        data = make_demo(name, Path(args.root, name), seed=args.seed, train_per_class=args.train_per_class,
                         val_per_class=args.val_per_class, size=args.size, num_frames=args.num_frames, progress=True)
        print(f'{name}: {len(data.classes)} classes, {args.train_per_class} training and {args.val_per_class} '
              f'validation videos each')
        print(f'  videos      {data.video_dir}')
        print(f'  lists       {data.train_list}, {data.val_list}')
        print(f"  as UCF101's {data.ucf_train_list}, {data.ucf_test_list}, {data.class_ind}")
