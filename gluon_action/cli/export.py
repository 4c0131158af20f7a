"""``scripts/export_model.py``: a network of the zoo or of a training run as a folder that predicts without MXNet."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import engine
from ..evaluate.options.recognizer_options import RecognizerOptions
from ..files import to_json, write_file
from ..options import add_options, options_of
from ..printable import printable
from ..weights.options import WeightsOptions
from .command import make_parser
from .own_modules import add_import_flag

if TYPE_CHECKING:
    from ..deploy.bundle.what_is_exported import Source

EXAMPLES = """examples:
  # the run that `gluon-action train --save-dir runs/mine` left: its best parameters, prepared as it validated, to
  # runs/mine-bundle or where --out says
  %(prog)s runs/mine
  %(prog)s runs/mine --out bundles/mine
  # published weights
  %(prog)s i3d_resnet50_v1_kinetics400 --use-pretrained --out bundles/i3d
  # parameters whose run is not at hand
  %(prog)s i3d_rgb_imagenet.params --model i3d_rgb_kinetics400 --clip-length 32 --out bundles/i3d
  # what youtube8m eval, quantize or graph_ensemble left: tags of videos by their features
  %(prog)s trained/your_ensemble --out bundles/tags
then
  gluon-action verify bundles/mine
  gluon-action predict bundles/mine video.mp4
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        'Write a network as a folder that predicts on videos with numpy, onnxruntime and a decoder alone: the model\n'
        'as ONNX, how videos are prepared for it, its labels, a model card, and a clip with the scores that must come\n'
        'out.',
        epilog=EXAMPLES)
    parser.add_argument('source', metavar='SOURCE',
                        help='folder of a training run, FILE.params, a model of the zoo (gluon-action list-models), or '
                             'a stored model of features, as in TRAIN_DIR/inference_model')
    parser.add_argument('--out', default=None, metavar='FOLDER',
                        help='folder to write; by default beside SOURCE, with -bundle behind its name, and of a model '
                             'of the zoo in the current folder')
    parser.add_argument('--json', default=None, metavar='FILE',
                        help='what was exported, as JSON; - is standard output')
    parser.add_argument('--overwrite', action='store_true', help='replace the bundle that is in --out')
    add_import_flag(parser)
    group = parser.add_argument_group('weights')
    group.add_argument('--model', default=None, help='network of a FILE.params that lies outside of its run')
    group.add_argument('--use-pretrained', action='store_true', help='published weights of a model of the zoo')
    options_of(RecognizerOptions)['hashtag'].add_to(group)
    add_options(group, WeightsOptions, 'weights')
    group.add_argument('--no-weights', action='store_true', help='random weights, to try out a model of the zoo')
    group.add_argument('--num-classes', type=int, default=None, help='with --no-weights: classes')
    group.add_argument('--labels', '--class-names', default=None, metavar='FILE',
                       help='names of the classes: one a line, or JSON of a list or of names and numbers; by default '
                            "the run's")
    group.add_argument('--multi-label', action='store_true',
                       help='a video may have several labels (sigmoid); by default what the run says')
    group = parser.add_argument_group('input', 'By default as in the validation of the run, or as the published '
                                      'network was trained.')
    group.add_argument('--clip-length', type=int, default=None,
                       help='frames of a clip; of SlowFast those that a clip spans')
    group.add_argument('--clip-stride', type=int, default=None,
                       help='from one frame of a clip to the next; of SlowFast in its fast pathway')
    group.add_argument('--input-size', type=int, default=None, help='height and width of the input')
    group.add_argument('--short-side', type=int, default=None,
                       help='short side that frames are resized to before the crop; 0 takes them as they are')
    group.add_argument('--crops', type=int, default=None, choices=(1, 3, 10),
                       help='the centre; both ends and the middle; centre, corners and their mirror images')
    group.add_argument('--stride', type=int, default=None,
                       help='frames of the video from one clip to the next; by default half a clip')
    group.add_argument('--reference-clip', default=None, metavar='VIDEO',
                       help='video, or folder of frames or flow, whose middle is stored to verify the bundle with; by '
                            'default a generated one')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name, least in (('num_classes', 1), ('clip_length', 1), ('clip_stride', 1), ('input_size', 1), ('stride', 1),
                        ('short_side', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'--{name.replace("_", "-")} must be {least} or more, got {value}')
    return args


def main(args: argparse.Namespace) -> None:
    """Export, and say where the bundle is."""
    from ..deploy.bundle.format import check_folder, read_bundle
    from ..deploy.predicted.files import check_output
    from ..deploy.predicted.tables import STANDARD_OUTPUT
    target = Path(args.out or default_folder(args.source)).expanduser().absolute()
    check_folder(target, args.overwrite)  # before weights are fetched
    if args.json not in (None, STANDARD_OUTPUT):
        check_output('--json', Path(args.json).expanduser(), [], args.overwrite)
    engine.set_threads()
    from ..deploy.bundle.reference_clip import read_reference
    from ..deploy.bundle.write import write_bundle
    from ..deploy.onnx.export import check_packages
    check_packages()
    source = source_of(args)
    reference = read_reference(args.reference_clip, source.preprocess) if args.reference_clip else None
    folder = write_bundle(source.net, target, preprocess=source.preprocess, labels=source.labels, card=source.card,
                          notes=source.notes, origin=source.origin, reference=reference, overwrite=args.overwrite)
    print(f'{source.name} is exported and gives the same scores: {printable(folder)}',
          file=sys.stderr if args.json == STANDARD_OUTPUT else sys.stdout)
    if args.json:
        bundle = read_bundle(folder, features=True)
        about = to_json({'bundle': str(folder), 'num_classes': bundle.num_classes, 'labels': bundle.labels,
                         'preprocess': bundle.preprocess.to_json(), 'manifest': bundle.manifest})
        if args.json == STANDARD_OUTPUT:
            sys.stdout.write(about)
        else:
            write_file(Path(args.json).expanduser(), about)


def default_folder(source: str) -> Path:
    """Return where a bundle goes: beside the run or the file, of a model of the zoo here."""
    place = Path(source).expanduser()
    place = place.absolute() if place.name not in ('', '..') else place.resolve()
    name = place.stem if place.suffix == '.params' else place.name
    return place.with_name(f'{name}-bundle')


def source_of(args: argparse.Namespace) -> Source:
    """Open what the flags name."""
    from ..data.lists.classes.class_files import read_class_names
    from ..deploy.bundle.what_is_exported import Choices, open_source
    choices = {name: getattr(args, name) for name in Choices.__dataclass_fields__}
    return open_source(args.source, model=args.model,
                       **{**choices, 'labels': args.labels and read_class_names(args.labels)})
