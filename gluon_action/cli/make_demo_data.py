"""``gluon-action make-demo-data``: generate the data that everything can be tried on."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..data.by_name import DEMOS
from ..errors import UsageError
from .command import make_parser

EXAMPLES = """examples:
  %(prog)s demo_appearance
  %(prog)s demo_motion --root /data/demo --size 128 --num-frames 64
  %(prog)s demo_two_stream --num-frames 64
  %(prog)s demo_features --videos 3000 --classes 25 --feature-sizes 1024,128 --drop-labels 0.3
"""

#: Data that are features, not videos.
FEATURES = 'demo_features'
# Flags that mean something for the one kind of data only, with their defaults.
_OF_VIDEOS = {'train_per_class': 60, 'val_per_class': 10, 'size': 96, 'num_frames': 24}
_OF_FEATURES = {'videos': 1000, 'classes': 10, 'order_classes': None, 'feature_names': 'rgb,audio',
                'feature_sizes': '16,8', 'max_frames': 300, 'noise': 1., 'drop_labels': 0.}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('Generate labelled videos: demo_appearance, where an object in the picture decides the class; '
                         'demo_motion, where only the order of the frames does; and demo_two_stream, where it is a '
                         'colour, which optical flow does not see, and a direction, which only neighbouring frames '
                         'show. Or features of videos in the formats of YouTube-8M: demo_features, where the mean of '
                         'the frames tells some classes, and only their order the others.',
                         prog='gluon-action make-demo-data', epilog=EXAMPLES)
    parser.add_argument('names', nargs='*', metavar='NAME', default=list(DEMOS),
                        help=f'data sets to make: {", ".join(DEMOS)}, {FEATURES}')
    parser.add_argument('--root', default='demo_data', help='each data set becomes a folder in here')
    parser.add_argument('--seed', type=int, default=0, help='decides every pixel and every number')

    def add(group, kinds, name, type, text, **more):
        said = '' if kinds[name] is None else f' (default: {kinds[name]})'
        group.add_argument(f'--{name.replace("_", "-")}', type=type, default=None, help=text + said, **more)

    group = parser.add_argument_group('videos')
    add(group, _OF_VIDEOS, 'train_per_class', int, 'training videos of each class')
    add(group, _OF_VIDEOS, 'val_per_class', int, 'validation videos of each class')
    add(group, _OF_VIDEOS, 'size', int, 'height of the 4:3 frames')
    add(group, _OF_VIDEOS, 'num_frames', int, 'frames of each video')
    group = parser.add_argument_group(FEATURES)
    add(group, _OF_FEATURES, 'videos', int, 'videos for training; a fifth as many for validation, and for the test')
    add(group, _OF_FEATURES, 'classes', int, 'number of classes')
    add(group, _OF_FEATURES, 'order_classes', int, 'how many of them only the order of the frames tells, an even '
        'number; by default two fifths')
    add(group, _OF_FEATURES, 'feature_names', str, 'features of a frame')
    add(group, _OF_FEATURES, 'feature_sizes', str, 'their sizes')
    add(group, _OF_FEATURES, 'max_frames', int, 'videos have 1 to so many frames')
    add(group, _OF_FEATURES, 'noise', float, 'how much videos of equal labels differ; 1 is usual')
    add(group, _OF_FEATURES, 'drop_labels', float, 'share of the training labels that is left out', metavar='SHARE')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Make the data sets and print where they are."""
    for flags, here, where in ((_OF_FEATURES, FEATURES in args.names, FEATURES),
                               (_OF_VIDEOS, set(args.names) - {FEATURES}, 'videos')):
        for name, default in flags.items():
            if getattr(args, name) is not None and not here:
                raise UsageError(f'--{name.replace("_", "-")}: is about {where}, and none are made; leave it out')
            setattr(args, name, default if getattr(args, name) is None else getattr(args, name))
    for name in args.names:
        (_make_features if name == FEATURES else _make_videos)(name, args)


def _make_videos(name: str, args: argparse.Namespace) -> None:
    from ..data.demo.make import make_demo
    data = make_demo(name, Path(args.root, name), seed=args.seed, train_per_class=args.train_per_class,
                     val_per_class=args.val_per_class, size=args.size, num_frames=args.num_frames, progress=True)
    print(f'{name}: {len(data.classes)} classes, {args.train_per_class} training and {args.val_per_class} '
          f'validation videos each')
    print(f'  videos      {data.video_dir}')
    print(f'  lists       {data.train_list}, {data.val_list}')
    print(f"  as UCF101's {data.ucf_train_list}, {data.ucf_test_list}, {data.class_ind}")


def _make_features(name: str, args: argparse.Namespace) -> None:
    from ..data.demo.frame_features import PARTITIONS, FeatureDemo, make_feature_demo
    from ..input_kind import parse_features
    settings = {'classes': args.classes, 'order_classes': args.order_classes, 'seed': args.seed, 'noise': args.noise,
                'sizes': parse_features(args.feature_names, args.feature_sizes), 'lengths': (1, args.max_frames)}
    data = make_feature_demo(Path(args.root, name), videos=args.videos, drop_labels=args.drop_labels, **settings)
    demo = FeatureDemo(**settings)
    print(f'{name}: {args.videos} training videos, {demo.mean_classes} classes that their means tell, '
          f'{demo.order_classes} that only the order of the frames tells')
    for level, folder in (('frames', data.frame), ('means', data.video)):
        print(f'  {level:<7} {", ".join(str(folder / f"{partition}*.tfrecord") for partition in PARTITIONS)}')
