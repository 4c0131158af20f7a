"""``gluon-action extract-features``: features of one's own videos, by any layer of any model."""
from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..data.reading.media.damage import ON_DAMAGE
from ..data.video_options import VideoOptions
from ..evaluate.options.recognizer_options import RecognizerOptions
from ..options import add_options, options_of
from ..printable import printable
from ..weights.options import WeightsOptions
from .command import make_parser
from .own_modules import add_import_flag

DESCRIPTION = """Extract features of videos: what the classifier of a model takes, or what another layer gives, for
clips that slide over each video as in a prediction. One file a video, with the name that the video has below its
folder, and an index of all: index.csv and index.json, with shape, times in seconds, and the label where a list has one.

Run the same command again to resume after an interruption, to add videos, and to try again those that were skipped,
whose errors stand in the index. It exits with 1 when some were."""

EXAMPLES = """examples:
  # a vector for each video of a folder, by a training run
  %(prog)s runs/mine videos --out features
  # one for every two seconds, a new one each second, by published weights
  %(prog)s i3d_resnet50_v1_kinetics400 holiday.mp4 --use-pretrained --window 2 --stride 1 --out features
  # the layers of a model, and one of them
  %(prog)s runs/mine --list-layers
  %(prog)s runs/mine test.csv --data-dir videos --layer Mixed_4f --out features
  # by four processes
  for i in 1 2 3 4; do %(prog)s runs/mine videos --out features --shard $i/4 & done; wait

in Python:
  made = gluon_action.extract_features('runs/mine', 'videos', 'features')
  numpy.load(made.folder / made.videos[0]['file'])['features']
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('bundle', metavar='MODEL',
                        help='a training run, a bundle, an ONNX file of one, FILE.params, or a model of the zoo')
    parser.add_argument('videos', metavar='VIDEO', nargs='*',
                        help='videos, folders of videos at any depth, folders of frames, or lists in any format that '
                             'training takes')
    parser.add_argument('--out', default=None, metavar='FOLDER', help='where the files and their index go')
    group = parser.add_argument_group('what is taken')
    group.add_argument('--layer', default=None, metavar='NAME',
                       help='layer to take; by default the features before the classifier (pooled); of a bundle, which '
                            'gives nothing else, its scores')
    group.add_argument('--list-layers', action='store_true',
                       help='print the layers of the model, with the shape of what each gives for a clip, and stop')
    group.add_argument('--pool', default='mean', choices=('mean', 'none'),
                       help='of a layer of maps or tokens: mean over time and places, or none to keep them')
    group.add_argument('--window', default=None, type=_window, metavar='SECONDS',
                       help='a row for each so many seconds, or clip for a row of each clip; by default one vector a '
                            'video, the mean of its clips')
    group.add_argument('--stride', default=None, type=float, metavar='SECONDS',
                       help='from the start of a window to that of the next; by default as long as it lasts')
    group.add_argument('--clip-step', default=None, type=int, metavar='FRAMES',
                       help="frames from the start of a clip to that of the next; by default the model's, half a clip, "
                            'and no more than from one window to the next')
    group = parser.add_argument_group('what is written')
    group.add_argument('--format', default='npz', choices=('npz', 'npy', 'hdf5'),
                       help='npz and hdf5 hold features, start and end (in seconds); npy the features, and the index '
                            "the times; hdf5 needs pip install 'gluon_action[hdf5]'")
    group.add_argument('--overwrite', action='store_true', help='replace features of other settings')
    group.add_argument('--shard', default=None, metavar='I/N',
                       help='do the I-th of N shares of the videos, I from 1 to N; the last one completes the index')
    group = parser.add_argument_group('the model')
    group.add_argument('--model', default=None, help='network of a FILE.params that lies outside of its run')
    group.add_argument('--use-pretrained', action='store_true', help='published weights of a model of the zoo')
    options_of(RecognizerOptions)['hashtag'].add_to(group)
    add_options(group, WeightsOptions, 'weights')
    add_import_flag(group)
    group.add_argument('--flow-method', default='tvl1', choices=('tvl1', 'farneback'),
                       help='for a model of optical flow: how flow is computed')
    group.add_argument('--on-damage', default='skip', choices=ON_DAMAGE,
                       help='damaged frames: skip leaves them out, accept takes those of which the decoder guesses '
                            'parts, raise skips the video')
    group.add_argument('--threads', type=int, default=None,
                       help='threads that compute, of a bundle; by default all cores')
    group.add_argument('--batch-size', type=int, default=None,
                       help='clips that are computed together; by default 8, or fewer large ones')
    for name in ('engine', 'num_gpus'):
        options_of(RecognizerOptions)[name].add_to(group)
    group = parser.add_argument_group('lists and folders')
    group.add_argument('--data-dir', default='', metavar='FOLDER', help='folder that the paths of lists start from')
    for name in ('list_format', 'list_encoding', 'multi_label'):
        options_of(VideoOptions)[name].add_to(group)
    group.add_argument('--fps', type=float, default=None, help='frames per second of folders of frames; 25 by default')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ('clip_step', 'threads', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
    for name in ('fps', 'stride', 'window'):
        value = getattr(args, name)
        if isinstance(value, float) and not 0 < value < float('inf'):
            parser.error(f'--{name} must be a number above 0, got {value:g}')
    if args.list_layers == bool(args.videos):
        parser.error('--list-layers: stands without videos' if args.list_layers else
                     'name videos, folders of them, or lists; --list-layers prints the layers of the model')
    if args.videos and not args.out:
        parser.error('--out: name the folder that the features are to be written to')
    return args


def main(args: argparse.Namespace) -> int:
    """Extract, and say how much and where; 1 when videos were skipped."""
    from ..deploy.layer_features.extraction import extract_features
    from ..deploy.layer_features.extractor import FeatureExtractor
    opening = {name: getattr(args, name) for name in (
        'model', 'use_pretrained', 'hashtag', 'weights_index', 'trust_first_use', 'batch_size', 'threads',
        'flow_method', 'on_damage', 'engine', 'num_gpus')}
    extractor = FeatureExtractor(args.bundle, layer=args.layer, pool=args.pool, window=args.window, stride=args.stride,
                                 clip_step=args.clip_step, fps=args.fps, **opening)
    if args.list_layers:
        print(listed(extractor))
        return 0
    made = extract_features(extractor, args.videos, args.out, format=args.format, shard=args.shard,
                            overwrite=args.overwrite, data_dir=args.data_dir, list_format=args.list_format,
                            list_encoding=args.list_encoding, multi_label=args.multi_label, progress=True)
    rows = {None: 'one row a video', 'clip': 'a row for each clip'}.get(args.window) or \
        f'a row for each {args.window:g} s, every {args.stride or args.window:g} s'
    print(f'layer {made.layer}, {rows}')
    before = f', {made.found} were there before' if made.found else ''
    print(f'{printable(made.folder)}: features of {made.done} videos{before}; {made.table.name} and {made.index.name} '
          'list them')
    if made.skipped:
        print(f'{made.skipped} were skipped, as the index says; the same command tries them again')
    if made.missing:
        print(f'{made.missing} are left to other shards')
    return 1 if made.skipped else 0


def listed(extractor) -> str:
    """Return a line for each layer: its name, and the shape of what it gives for a clip."""
    layers = extractor.layers
    width = max(map(len, layers))
    return '\n'.join(f'{printable(name):<{width}}  {" x ".join(map(str, shape)) or "1"}'
                     for name, shape in layers.items())


def _window(text: str) -> float | str:
    if text == 'clip':
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be a number of seconds, or clip, got {text!r}') from None
