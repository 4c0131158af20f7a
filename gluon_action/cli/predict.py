"""``gluon-action predict``: what happens in videos of one's own."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..evaluate.recognizer_options import RecognizerOptions
from ..options import add_options, options_of
from ..printable import printable
from ..weights.options import WeightsOptions
from .command import make_parser

if TYPE_CHECKING:
    from ..deploy.predict.predictor import Prediction
    from ..deploy.predict.windows import Window

EXAMPLES = """examples:
  # a bundle that `gluon-action export` wrote; needs no MXNet
  %(prog)s bundles/mine holiday.mp4
  # drawn onto the video, over time, and everything as JSON
  %(prog)s bundles/mine holiday.mp4 --overlay out.mp4 --timeline out.png --json out.json
  # several videos, their overlays in a folder
  %(prog)s bundles/mine a.mp4 b.mp4 folder_of_frames --overlay 'overlays/{name}.gif'
  # all videos of a folder of class folders; the same command goes on where it was interrupted
  %(prog)s bundles/mine videos --json all.json
  # a camera, until Ctrl-C
  %(prog)s bundles/mine /dev/video0 --overlay camera.mp4
  # a training run, or published weights, without an export
  %(prog)s runs/mine holiday.mp4
  %(prog)s i3d_resnet50_v1_kinetics400 holiday.mp4 --use-pretrained
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        'Predict the class of videos. A window slides over each video, the network scores every window, and the mean\n'
        'of the scores, or a vote, decides. Videos may be hours long.', epilog=EXAMPLES)
    parser.add_argument('bundle', metavar='MODEL',
                        help='a bundle, an ONNX file of one, the folder of a training run, FILE.params, or a model of '
                             'the zoo')
    parser.add_argument('videos', metavar='VIDEO', nargs='+',
                        help='a video, a folder of frames, a folder of videos (also in folders of its own, as those of '
                             'classes), a camera (/dev/video0), an address, or - for standard input; for a model of '
                             'optical flow also a folder of gluon-action extract-flow')
    parser.add_argument('--model', default=None, help='network of a FILE.params that lies outside of its run')
    parser.add_argument('--use-pretrained', action='store_true', help='published weights of a model of the zoo')
    parser.add_argument('--class-names', default=None, metavar='FILE',
                        help="names of the model's classes in the order of their numbers, one a line, or JSON; by "
                             'default those that it brings')
    options_of(RecognizerOptions)['hashtag'].add_to(parser)
    add_options(parser, WeightsOptions, 'weights')
    group = parser.add_argument_group('what is written', 'For several videos a folder, or a name with {name} or '
                                      '{number} in it.')
    group.add_argument('--overlay', default=None, metavar='FILE',
                       help='video (.mp4) or small moving picture (.gif) with label, score and curves drawn on it')
    group.add_argument('--timeline', default=None, metavar='FILE', help='plot of the best classes over time (.png)')
    group.add_argument('--json', default=None, metavar='FILE',
                       help='everything about all videos, failures too; FILE.unfinished keeps what is done until all '
                            'is, and the same command goes on from there')
    group.add_argument('--top-k', type=int, default=5, metavar='K', help='classes to print, plot and write')
    group.add_argument('--overwrite', action='store_true', help='replace files that are there')
    group = parser.add_argument_group('how it is decided')
    group.add_argument('--stride', type=int, default=None,
                       help="frames from one clip to the next; by default the model's, half a clip")
    group.add_argument('--vote', default='mean', choices=('mean', 'majority'),
                       help='what decides about a video: mean probabilities, or the number of windows that a class won')
    group.add_argument('--rolling', type=float, default=2.0, metavar='SECONDS',
                       help='what the rolling mean that is drawn looks back on')
    group.add_argument('--fps', type=float, default=None, help='frames per second of folders; 25 by default')
    group.add_argument('--flow-method', default='tvl1', choices=('tvl1', 'farneback'),
                       help='for a model of optical flow: how flow is computed')
    group = parser.add_argument_group('how fast')
    group.add_argument('--threads', type=int, default=None, help='threads that compute; by default all cores')
    group.add_argument('--batch-size', type=int, default=None,
                       help='windows that are computed together; by default 8, or fewer large ones')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ('top_k', 'stride', 'threads', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
    for name in ('fps', 'rolling'):
        value = getattr(args, name)
        if value is not None and not 0 < value < float('inf'):
            parser.error(f'--{name} must be a number above 0, got {value:g}')
    return args


def main(args: argparse.Namespace) -> int:
    """Predict, and print a paragraph for each video."""
    from ..data.lists.class_files import read_class_names
    from ..deploy.predict.files import FailedVideo, find_videos, keep, plan_jobs, predict_jobs, resume_jobs, write_json
    from ..deploy.predict.open_predictor import open_predictor
    jobs = plan_jobs(find_videos(args.videos), overlay=args.overlay, timeline=args.timeline, json=args.json,
                     overwrite=args.overwrite)
    predictor = open_predictor(args.bundle, model=args.model, use_pretrained=args.use_pretrained,
                               hashtag=args.hashtag, weights_index=args.weights_index,
                               trust_first_use=args.trust_first_use, stride=args.stride, batch_size=args.batch_size,
                               rolling=args.rolling, vote=args.vote, threads=args.threads,
                               flow_method=args.flow_method,
                               labels=args.class_names and read_class_names(args.class_names))
    unfinished, results = None, {}
    if args.json:
        unfinished, results = resume_jobs(args.json, predictor, jobs, top_k=args.top_k, fps=args.fps,
                                          overwrite=args.overwrite)
        for before in results.values():
            print(f'{printable(before.source)}: {printable(before.answer)}, predicted before the interruption')
    left = [number for number in range(len(jobs)) if number not in results]
    try:
        with ProgressBar() as progress:
            done = predict_jobs(predictor, [jobs[number] for number in left], top_k=args.top_k, fps=args.fps,
                                watch=progress.watch)
            for number, (job, result) in zip(left, done):
                progress.clear()
                results[number] = result
                if isinstance(result, FailedVideo):
                    print(f'gluon-action predict: {printable(result.error)}', file=sys.stderr)
                    continue
                if unfinished:
                    keep(unfinished, number, result, args.top_k)
                print('\n'.join([describe(result, args.top_k),
                                 *(f'  wrote {printable(path)}' for path in job.files)]), flush=True)
    finally:  # Ctrl-C in the hundredth video does not take what is known of the others
        if unfinished:
            unfinished.close()
        if args.json and results:
            write_json(args.json, predictor, [results[number] for number in sorted(results)], args.top_k)
            print(f'wrote {printable(args.json)}'
                  + f', {len(results)} of {len(jobs)} videos' * (len(results) < len(jobs)))
    if unfinished:
        unfinished.remove()
    failures = [result.error for result in results.values() if isinstance(result, FailedVideo)]
    if failures and len(results) > 1:
        print(f'{len(failures)} of {len(results)} videos failed', file=sys.stderr)
    return (2 if all(isinstance(error, UsageError) for error in failures) else 1) if failures else 0


def describe(prediction: Prediction, top_k: int) -> str:
    """Return the answer for a video, the best classes, and what it is made of."""
    about = prediction.protocol
    lines = [f'{printable(prediction.source)}: {printable(prediction.label)} ({prediction.score:.2f})']
    if top_k > 1:
        lines += [f'  {probability:.2f}  {printable(name)}' for name, probability in prediction.top(top_k)]
    lines.append(f'  {about["windows"]} window{"s" * (about["windows"] != 1)} of {about["span"]} frames, one every '
                 f'{about["stride"] * about["clips_per_window"]}')
    if about['frames_repeated']:
        lines.append(f'  the video is shorter than a window: its last frame fills {about["frames_repeated"]} places')
    lines += [f'  {notice}' for notice in gaps(prediction)]
    return '\n'.join(lines)


def gaps(prediction: Prediction, most: int = 3) -> list[str]:
    """Return a line for each stretch that could not be decoded, and for what else was left out."""
    lines = [f'frames {gap.first} to {gap.last} ({gap.start:.2f} s to {gap.end:.2f} s) were skipped: '
             f'{printable(gap.cause)}'
             for gap in prediction.skipped[:most]]
    if len(prediction.skipped) > most:
        lines.append(f'and {len(prediction.skipped) - most} more stretches')
    about = prediction.protocol
    if about['windows_left_out']:
        lines.append(f'{about["windows_left_out"]} windows were left out: more than half of their frames are missing')
    if about['frames_dropped']:
        lines.append(f'{about["frames_dropped"]} frames came faster than they were looked at, and were dropped')
    return lines


class ProgressBar:
    """A bar on a terminal, in frames; none where tqdm is not installed."""

    def __init__(self):
        self._bar = None

    def watch(self, frames) -> Callable[[Window], None]:
        """Begin with a stream, and return what takes its windows."""
        self.clear()
        if not sys.stderr.isatty():
            return lambda window: None
        try:
            from tqdm import tqdm
        except ImportError:
            return lambda window: None
        self._bar = bar = tqdm(total=frames.num_frames, unit='frame', leave=False)
        return lambda window: bar.update(max(0, window.frame + 1 - bar.n))

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception) -> None:
        self.clear()
