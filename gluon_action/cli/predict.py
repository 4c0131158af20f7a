"""``gluon-action predict``: what happens in videos of one's own."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..evaluate.options.recognizer_options import RecognizerOptions
from ..options import options_of
from ..printable import printable
from .command import make_parser
from .predict_flags import add_decision, add_model, add_weights, check_flags, opened

if TYPE_CHECKING:
    from typing import TextIO

    from ..deploy.predict.prediction import Prediction
    from ..deploy.predict.predictor import Predictor
    from ..deploy.predict.windows import Window

#: Segments that are printed for a video.
_SEGMENTS = 12

EXAMPLES = """examples:
  # a bundle that `gluon-action export` wrote; needs no MXNet
  %(prog)s bundles/mine holiday.mp4
  # drawn onto the video, over time, and everything as JSON
  %(prog)s bundles/mine holiday.mp4 --overlay out.mp4 --timeline out.png --json out.json
  # several videos, their overlays in a folder
  %(prog)s bundles/mine a.mp4 b.mp4 folder_of_frames --overlay 'overlays/{name}.gif'
  # all videos of a folder or a list, a row each; the same command resumes where it was interrupted
  %(prog)s bundles/mine videos --csv all.csv
  # what is shown from when to when, and nothing where no class is likely
  %(prog)s bundles/mine match.mp4 --segments match.csv --threshold 0.6
  # a camera, until Ctrl-C
  %(prog)s bundles/mine /dev/video0 --overlay camera.mp4
  # a training run, or published weights, without an export
  %(prog)s runs/mine holiday.mp4
  %(prog)s i3d_resnet50_v1_kinetics400 holiday.mp4 --use-pretrained
exit code: 0 when all videos were predicted; 1 when a video could not be, or a file could not be written; 2 when what
was asked for cannot be; 130 when Ctrl-C ended it, and what was predicted until then is in the files
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        'Predict the class of videos. A window slides over each video, the network scores every window, and the mean\n'
        'of the scores, or a vote, decides. Videos may be hours long.', epilog=EXAMPLES)
    add_model(parser)
    parser.add_argument('videos', metavar='VIDEO', nargs='+',
                        help='a video, a folder of frames, a folder of videos (also in folders of its own, as those of '
                             'classes), a list of videos (.txt, .csv, .tsv, .json, with labels or without), a camera '
                             '(/dev/video0), an address, or - for standard input; for a model of optical flow also a '
                             'folder of gluon-action extract-flow')
    add_weights(parser)
    group = parser.add_argument_group('lists and folders')
    group.add_argument('--data-dir', default=None, metavar='FOLDER',
                       help="folder that the paths of lists start from; by default a list's own, the current one, or "
                            "the run's, where the videos are")
    for name in ('list_format', 'list_encoding'):
        options_of(RecognizerOptions)[name].add_to(group)
    group.add_argument('--fps', type=float, default=None, help='frames per second of folders; 25 by default')
    group = parser.add_argument_group(
        'what is written', 'Overlays and timelines of several videos go to a folder, or to a name with {name} or '
        '{number}\nin it. The others are one file for all; FILE.unfinished keeps what is done until all is, and the\n'
        'same command resumes from there.')
    group.add_argument('--overlay', default=None, metavar='FILE',
                       help='video (.mp4) or small moving picture (.gif) with label, score and curves drawn on it')
    group.add_argument('--timeline', default=None, metavar='FILE', help='plot of the best classes over time (.png)')
    group.add_argument('--segments', default=None, metavar='FILE',
                       help='what is shown from when to when: label, start, end, score; .csv, .json or .txt')
    group.add_argument('--csv', default=None, metavar='FILE',
                       help='a row a video: label, score, the best classes, seconds, and the cause of what failed')
    group.add_argument('--json', default=None, metavar='FILE',
                       help='everything about all videos, failures too; - is standard output')
    group.add_argument('--top-k', type=int, default=5, metavar='K', help='classes to print, plot and write')
    group.add_argument('--overwrite', action='store_true', help='replace files that are there')
    add_decision(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_flags(parser, args)
    return args


def main(args: argparse.Namespace) -> int:
    """Predict, and print a paragraph for the video, or a line for each of several."""
    from ..deploy.predict.open_predictor import data_dirs_of
    from ..deploy.predict.videos import find_videos
    from ..deploy.predicted.files import plan_jobs
    from ..deploy.predicted.jobs import predict_jobs
    from ..deploy.predicted.results import FailedVideo, Results
    from ..deploy.predicted.tables import STANDARD_OUTPUT, Tables
    out = sys.stderr if args.json == STANDARD_OUTPUT else sys.stdout
    tables = Tables(args.json, args.csv, args.segments)
    videos = find_videos(args.videos, data_dir=args.data_dir, more_dirs=data_dirs_of(args.bundle),
                         list_format=args.list_format, list_encoding=args.list_encoding)
    jobs = plan_jobs(videos, overlay=args.overlay, timeline=args.timeline, tables=tables, overwrite=args.overwrite)
    predictor = opened(args)
    results = Results(tables, predictor, jobs, top_k=args.top_k, fps=args.fps, overwrite=args.overwrite)
    for before in results:
        print(f'{printable(before.get("path"))}: {printable(before.get("label"))} ({before.get("score")}), predicted '
              'before the interruption', file=out)
    left = [number for number in range(len(jobs)) if number not in results]
    try:
        with ProgressBar(len(left)) as progress:
            def watch(frames):
                return tell_changes(predictor, out) if frames.endless else progress.watch(frames)

            done = predict_jobs(predictor, (jobs[number] for number in left), top_k=args.top_k, fps=args.fps,
                                watch=watch)
            for number, (job, result) in zip(left, done):
                progress.clear()
                results.add(number, result)
                place = f'[{number + 1}/{len(jobs)}] ' if len(jobs) > 1 else ''
                if isinstance(result, FailedVideo):
                    print(f'{place or "gluon-action predict: "}{printable(result.error)}', file=sys.stderr)
                else:
                    lines = [place + (describe_shortly(result) if place else describe(result, args.top_k)),
                             *(f'  wrote {printable(path)}' for path in job.files)]
                    print('\n'.join(lines), file=out, flush=True)
                progress.one_done()
    finally:  # Ctrl-C in the hundredth video does not take what is known of the others
        try:
            if len(results):
                for path in tables.write(predictor.about(), predictor.labels, results, args.top_k):
                    print(f'wrote {printable(path)}'
                          + f', {len(results)} of {len(jobs)} videos' * (len(results) < len(jobs)), file=out)
        finally:
            results.close()
    results.remove()
    if results.failed and len(results) > 1:
        print(f'{results.failed} of {len(results)} videos failed', file=sys.stderr)
    return (2 if results.failed == results.misused else 1) if results.failed else 0


def tell_changes(predictor: Predictor, out: TextIO) -> Callable[[Window], None]:
    """Return what takes the windows of a source without a known end, and prints the answer whenever it is another."""
    from ..deploy.predict.segments import NONE_OF_THESE
    print('what is seen, as it changes, until the stream ends or Ctrl-C:', file=out, flush=True)
    shown = None

    def tell(window: Window) -> None:
        nonlocal shown
        found = predictor.found(window.rolling)
        if found == shown:
            return
        shown = found
        names = ', '.join(f'{printable(predictor.labels[k] if predictor.labels else str(k))} ({window.rolling[k]:.2f})'
                          for k in found)
        print(f'  {window.end:.2f} s: {names or NONE_OF_THESE}', file=out, flush=True)

    return tell


def describe(prediction: Prediction, top_k: int) -> str:
    """Return the answer for a video, the best classes, and what it is made of."""
    about = prediction.protocol
    lines = [f'{printable(prediction.source)}: {answer(prediction)}']
    if top_k > 1:
        lines += [f'  {probability:.2f}  {printable(name)}' for name, probability in prediction.top(top_k)]
    windows, frames = (f'{count} {what}{"s" * (count != 1)}' for what, count in (
        ('window', about['windows']), ('frame', about['span'])))
    lines.append(f'  {windows} of {frames}, one every {about["stride"] * about["clips_per_window"]}')
    if len(prediction.segments) > 1:
        lines += [f'  {segment.start:.2f} s to {segment.end:.2f} s: {printable(segment.label)} ({segment.score:.2f})'
                  for segment in prediction.segments[:_SEGMENTS]]
        if len(prediction.segments) > _SEGMENTS:
            lines.append(f'  and {len(prediction.segments) - _SEGMENTS} more segments; --segments FILE writes all')
    if about['frames_repeated']:
        lines.append(f'  the video is shorter than a window: its last frame fills {about["frames_repeated"]} places')
    lines += [f'  {notice}' for notice in gaps(prediction)]
    return '\n'.join(lines)


def describe_shortly(prediction: Prediction) -> str:
    """Return the answer for one of several videos, and what was wrong with it."""
    return '\n'.join([f'{printable(prediction.source)}: {answer(prediction)}',
                      *(f'  {notice}' for notice in gaps(prediction))])


def answer(prediction: Prediction) -> str:
    """Return the class with its score, or of several labels all; where none is likely enough, which comes closest."""
    if not prediction.found:
        name, score = prediction.top(1)[0]
        return f'{printable(prediction.label)} (at most {score:.2f}, {printable(name)})'
    return ', '.join(f'{printable(prediction.labels[k])} ({prediction.probabilities[k]:.2f})' for k in prediction.found)


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
    """A bar on a terminal: the frames of a video, below one of several videos; none where tqdm is not installed.

    Parameters
    ----------
    videos : int
        How many; the time that is left is told from those that are done.
    """

    def __init__(self, videos: int = 1):
        self._tqdm = self._all = self._bar = None
        if not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._tqdm = tqdm
        if videos > 1:
            self._all = tqdm(total=videos, unit='video', leave=False, smoothing=0)

    def watch(self, frames) -> Callable[[Window], None]:
        """Begin with a stream, and return what takes its windows."""
        self.clear()
        if self._tqdm is None:
            return lambda window: None
        self._bar = bar = self._tqdm(total=frames.num_frames, unit='frame', leave=False,
                                     position=0 if self._all is None else 1)
        if self._all is not None:
            self._all.refresh()
        return lambda window: bar.update(max(0, window.frame + 1 - bar.n))

    def clear(self) -> None:
        """Take the bars away, so that lines can be printed."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._all is not None:
            self._all.clear()

    def one_done(self) -> None:
        """Count a video."""
        if self._all is not None:
            self._all.update()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception) -> None:
        self.clear()
        if self._all is not None:
            self._all.close()
