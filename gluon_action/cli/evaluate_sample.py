"""``scripts/evaluate_sample.py``: score one video by I3D's RGB stream, its flow stream, or both added up."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import engine
from ..errors import UsageError
from .command import make_parser

EXAMPLES = """examples:
  # kinetics-i3d's sample and weights, in its checkout: both streams, started from ImageNet
  %(prog)s
  # a video of one's own, its flow computed on the fly (about a second a frame on one core)
  %(prog)s --rgb video.mp4 --compute-flow tvl1 --checkpoint_dir kinetics-i3d/data/checkpoints
  # the stream that was trained on Kinetics-600
  %(prog)s --eval_type rgb600 --rgb video.mp4 --label_map label_map_600.txt --plot top.png
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; kinetics-i3d's flags mean what they meant to mean there."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES)
    parser.add_argument('--eval_type', '--eval-type', default='joint', choices=('rgb', 'rgb600', 'flow', 'joint'),
                        help='stream to score by; joint adds the logits of rgb and flow; rgb600 is of Kinetics-600')
    parser.add_argument('--imagenet_pretrained', '--imagenet-pretrained', type=str.lower, default=None,
                        choices=('true', 'false'),
                        help='weights that were started from ImageNet (true, the default) or from nothing; for rgb600 '
                             'there are only the latter')
    parser.add_argument('--checkpoint_dir', '--checkpoint-dir', default='data/checkpoints',
                        help='folder of the weights: rgb_imagenet/model.ckpt as published, or rgb_imagenet.params')
    parser.add_argument('--rgb', default=None, metavar='FILE',
                        help="a video, a GIF, a folder of frames, or an array (1, T, H, W, 3) in [-1, 1]; by default "
                             "kinetics-i3d's sample, data/v_CricketShot_g04_c01_rgb.npy")
    parser.add_argument('--flow', default=None, metavar='FILE',
                        help='an array (1, T, H, W, 2) in [-1, 1], a folder of gluon-action extract-flow, a GIF of '
                             "flow, or with --compute-flow a video; by default kinetics-i3d's sample, or --rgb")
    parser.add_argument('--compute-flow', '--compute_flow', default=None, choices=('tvl1', 'farneback'),
                        help='compute the flow of the video')
    parser.add_argument('--num-frames', '--num_frames', type=int, default=79,
                        help='frames from the middle of a video, at 25 a second; of an array all are taken')
    parser.add_argument('--input-size', '--input_size', type=int, default=224,
                        help='side of the square from the middle of the frames of a video')
    parser.add_argument('--label_map', '--label-map', default=None, metavar='FILE',
                        help='names of the classes, one a line; by default label_map.txt beside --checkpoint_dir '
                             "(label_map_600.txt for rgb600), or Kinetics-400's")
    parser.add_argument('--json', default=None, metavar='FILE', help='write everything to this file as well')
    parser.add_argument('--plot', default=None, metavar='FILE', help='draw the best classes into this PNG')
    parser.add_argument('--overwrite', action='store_true', help='replace the files of --json and --plot')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ('num_frames', 'input_size'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {getattr(args, name)}')
    return args


def main(args: argparse.Namespace) -> None:
    """Score the sample, and print what kinetics-i3d's script prints."""
    for flag, path in (('--json', args.json), ('--plot', args.plot)):
        if path and os.path.exists(path) and not args.overwrite:
            raise UsageError(f'{flag} {path}: exists; pass --overwrite to replace it, or another name')
        if path and not os.path.isdir(folder := os.path.dirname(path) or '.'):
            raise UsageError(f'{flag} {path}: there is no folder {folder} to write it to; make it first')
    engine.set_threads()
    from ..evaluate.sample import SampleConfig, evaluate_sample
    from ..files import to_json, write_file
    values = {name: value for name, value in vars(args).items() if name not in ('debug', 'json', 'plot', 'overwrite')}
    pretrained = {None: None, 'true': True, 'false': False}[args.imagenet_pretrained]
    result = evaluate_sample(SampleConfig(**{**values, 'imagenet_pretrained': pretrained}))
    print(result.text())
    if not result.named:
        print('The classes have numbers only: pass --label_map FILE for their names.', file=sys.stderr)
    if args.json:
        write_file(args.json, to_json(result.as_dict()))
    if args.plot:
        result.plot(args.plot)
