"""``scripts/test_video_action_classifier.py``: run an exported classifier over a video and draw what it says."""
from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..printable import printable
from .command import make_parser
from .predict import ProgressBar, gaps

if TYPE_CHECKING:
    from ..deploy.predict.predictor import Predictor

EXAMPLES = """examples:
  # the frames of a video in a folder; draws data/val/P01/P01_11.mp4 and .gif
  %(prog)s --video_path data/val/P01/P01_11 --onnx bundle/model.onnx --class_names_path data/class_names.json
  # a video file, by the number of windows that each class won; draws kitchen_predicted.mp4 and .gif
  %(prog)s --video_path kitchen.mp4 --onnx bundle/model.onnx --vote majority
  # a camera, until Ctrl-C
  %(prog)s --video_path /dev/video0 --onnx bundle/model.onnx --output camera
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the flags of fran6co/epic_kitchens mean what they meant there."""
    parser = make_parser(
        'Slide a window over a video, print its class, and draw label, score and a timeline onto it.\n'
        'Nothing is shown in a window: what would be is written to an mp4 and a GIF.', epilog=EXAMPLES)
    parser.add_argument('--video_path', '--video-path', required=True, metavar='VIDEO',
                        help='a folder of frames, taken in the natural order of their names; a video; a camera; an '
                             'address')
    parser.add_argument('--onnx', required=True, metavar='FILE',
                        help='model.onnx of a bundle, or what fran6co/epic_kitchens exported (input images N x 8 x 224 '
                             'x 224 x 3): its input tells which')
    parser.add_argument('--class_names_path', '--class-names-path', default=None, metavar='FILE',
                        help='names of the classes: JSON of names and numbers, in either direction, or of a list; by '
                             "default the bundle's")
    group = parser.add_argument_group('what is written')
    group.add_argument('--output', default=None, metavar='NAME',
                       help='NAME.mp4 and NAME.gif are written; by default beside the video, named after the folder '
                            'of frames, or after the file with _predicted behind it; nothing for cameras and addresses')
    group.add_argument('--no-overlay', '--no_overlay', action='store_true', help='only print the class')
    group.add_argument('--overwrite', action='store_true', help='replace files that are there')
    group = parser.add_argument_group('how it is decided')
    group.add_argument('--vote', default='mean', choices=('mean', 'majority'),
                       help='what decides about the video: mean probabilities, or the number of windows that a class '
                            'won')
    group.add_argument('--stride', type=int, default=None,
                       help='frames from one window to the next; by default 1, so that a window ends with every frame')
    group.add_argument('--rolling', type=float, default=4.0, metavar='SECONDS',
                       help='what the rolling mean that is drawn looks back on; 4 are 100 frames at 25 a second')
    group.add_argument('--fps', type=float, default=None, help='frames per second of a folder; 25 by default')
    group.add_argument('--threads', type=int, default=None, help='threads that compute; by default all cores')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ('stride', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} must be 1 or more, got {value}')
    for name in ('fps', 'rolling'):
        value = getattr(args, name)
        if value is not None and not 0 < value < float('inf'):
            parser.error(f'--{name} must be a number above 0, got {value:g}')
    if args.no_overlay and args.output:
        parser.error('--no-overlay: contradicts --output')
    return args


def main(args: argparse.Namespace) -> None:
    """Predict, print ``path: label (score)``, and say where the overlay is."""
    from ..deploy.predicted.files import Job, check_output
    from ..deploy.predicted.jobs import predict_jobs
    from ..deploy.predicted.overlay_panel import import_pillow
    from ..deploy.predicted.results import FailedVideo
    files = () if args.no_overlay else overlay_paths(args.video_path, args.output)
    if files:
        import_pillow()
    for path in files:
        check_output('--output', path, [args.video_path], args.overwrite)
    predictor = open_classifier(args)
    with ProgressBar() as progress:
        job = Job(args.video_path, files)
        for _, result in predict_jobs(predictor, [job], fps=args.fps, watch=progress.watch):
            progress.clear()
            if isinstance(result, FailedVideo):
                raise result.error
            print(f'{printable(result.source)}: {printable(result.label)} ({result.score:.2f})')
            wrote = [f'wrote {printable(path)}' for path in files]
            print(''.join(f'  {notice}\n' for notice in [*gaps(result), *wrote]), end='')


def open_classifier(args: argparse.Namespace) -> Predictor:
    """Open either kind of model, and say which it is where it is not ours."""
    from ..data.lists.classes.class_files import read_class_names
    from ..deploy.bundle.format import check_labels, read_bundle
    from ..deploy.predict.epic_model import is_epic_model, open_epic_model
    from ..deploy.predict.predictor import Predictor
    labels = args.class_names_path and read_class_names(args.class_names_path)
    shared = dict(rolling=args.rolling, vote=args.vote)
    if os.path.isfile(args.onnx) and is_epic_model(args.onnx):
        model = open_epic_model(args.onnx, labels, threads=args.threads)
        look = model.preprocess
        print(f'{printable(args.onnx)}: a model of fran6co/epic_kitchens (input images, channels last, blue first): '
              f'frames are resized to {look.crop[1]}x{look.crop[0]}, a window is the last {look.span} of them')
        return Predictor(model, model=model, stride=args.stride, lead_in=True, **shared)
    bundle = read_bundle(args.onnx)
    if labels:
        check_labels(labels, bundle.num_classes, args.class_names_path)
        bundle = dataclasses.replace(bundle, labels=labels)
    # A window ends with every frame, as in the script of its project. Clips that make one score together lie apart.
    stride = args.stride or (1 if bundle.preprocess.rows == 1 else None)
    return Predictor(bundle, stride=stride, threads=args.threads, **shared)


def overlay_paths(video: str, output: str | None) -> tuple[Path, ...]:
    """Names of the overlays."""
    if output is None and (video == '-' or '://' in video or not (os.path.isdir(video) or os.path.isfile(video))):
        return ()
    if output is not None and Path(output).name in ('', '.', '..'):
        raise UsageError(f'--output {output}: needs a name that .mp4 and .gif are put behind')
    if output is None:
        output = os.path.abspath(video) if os.path.isdir(video) else f'{os.path.splitext(video)[0]}_predicted'
    output = os.path.expanduser(output)
    base = output[:-4] if output.lower().endswith(('.mp4', '.gif')) else output
    return Path(f'{base}.mp4'), Path(f'{base}.gif')
