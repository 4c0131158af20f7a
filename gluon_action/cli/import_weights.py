"""``gluon-action import-weights``: bring weights in the files of others into a parameter file of this package."""
from __future__ import annotations

import argparse
import dataclasses
import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import engine
from ..data.lists.classes.class_files import read_class_names
from ..errors import OutputError, UsageError
from .command import make_parser

if TYPE_CHECKING:
    from ..model_zoo.importers import Conversion
    from ..model_zoo.recognizer import Recognizer
    from ..weights import Row

_log = logging.getLogger(__name__)

EXAMPLES = """examples:
  # DeepMind's I3D: the folder, or what the names of its files begin with
  %(prog)s kinetics-i3d/data/checkpoints/rgb_imagenet --model i3d_rgb_kinetics400 \\
      --out i3d_rgb_imagenet.params
  # the same as the start of training on 5 classes of one's own
  %(prog)s kinetics-i3d/data/checkpoints/rgb_imagenet/model.ckpt --model i3d_rgb_custom \\
      --num-classes 5 --new-head --out i3d_start.params
  # torchvision's S3D; nothing in the file is run
  %(prog)s s3d-d76dad2f.pth --model s3d_kinetics400 --out s3d.params
  # published weights by their tag: how they want frames prepared is noted beside the file
  %(prog)s SLOWFAST_8x8_R50.pyth --model slowfast_8x8_resnet50_kinetics400 --tag pytorchvideo \\
      --out slowfast.params
  # mmaction2's TSN; the same for what torchvision, timm, pytorchvideo and Hugging Face publish
  %(prog)s tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb_20220906-2692d16c.pth \\
      --model resnet50_v1b_kinetics400 --out tsn.params
  # TimeSformer as its authors publish it; embeddings are fitted to the model's frames and size
  %(prog)s TimeSformer_divST_8x32_224_K400.pyth --model timesformer_divst_8x32_kinetics400 \\
      --out timesformer.params
  # an image network of timm or DeiT as the start of training
  %(prog)s deit_base_patch16_224.pth --model timesformer_divst_8x32_custom --num-classes 5 \\
      --new-head --out start.params
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        "Bring weights in the files of others into a parameter file of this package, and print what became of each\n"
        "variable. Formats are recognised: checkpoints of TensorFlow with DeepMind's I3D or slim's I3D, S3D and\n"
        "S3D-G; files of PyTorch and safetensors with torchvision's or timm's ResNet, torchvision's GoogLeNet,\n"
        "Inception v3, VGG16, R(2+1)D and S3D, IG-65M's R(2+1)D, mmaction2's TSN, C2D, I3D, SlowOnly, C3D and\n"
        "TimeSformer, pytorchvideo's SlowFast, Slow and I3D, TimeSformer of its authors and of Hugging Face, or ViT;\n"
        'parameters of this package and of GluonCV. Anything unaccounted for is an error.',
        prog='gluon-action import-weights', epilog=EXAMPLES)
    parser.add_argument('source', metavar='SOURCE', help='file, folder, or what the names of a checkpoint begin with')
    parser.add_argument('--model', required=True, help='network they are for; gluon-action list-models names all')
    parser.add_argument('--out', required=True, metavar='FILE.params', help='parameter file to write')
    parser.add_argument('--num-classes', type=int, default=None, help="classes of the network; by default the model's")
    parser.add_argument('--new-head', action='store_true',
                        help='leave the head of SOURCE out and write a new, random one: for other classes')
    parser.add_argument('--tag', default=None, metavar='ROW',
                        help='published weights that SOURCE is, by their tag (gluon-action models list): how it is '
                             'read and how frames are prepared for it are known then, and noted beside --out')
    parser.add_argument('--index', default=None, metavar='FILE',
                        help='with --tag: file or address of an index of weights that comes before the own one; by '
                             'default $GLUON_ACTION_INDEX')
    parser.add_argument('--format', default=None, metavar='NAME',
                        help='whose names SOURCE has, instead of recognising them; a wrong one names all')
    parser.add_argument('--channels', choices=('rgb', 'bgr'), default='rgb',
                        help='order of colours that SOURCE was trained with; the network takes RGB')
    parser.add_argument('--class-names', default=None, metavar='FILE',
                        help="names of the classes in SOURCE's order, one a line: rows of the head go where their "
                             'class is in the model')
    parser.add_argument('--overwrite', action='store_true', help='replace the file that --out names')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Import, print the table, and say where the file is."""
    out = Path(args.out)
    if out.is_dir() or (out.exists() and not args.overwrite):
        raise UsageError(f'--out {out}: is a folder; name a file in it' if out.is_dir() else
                         f'--out {out} exists; pass --overwrite to replace it, or another name')
    from ..compute.on_mxnet.parameters import arrays_of
    from ..model_zoo.loading.params_file import replace_arrays
    from ..model_zoo.loading.preparation import write_preparation
    from ..model_zoo.recognizer import initialize_rest
    engine.seed(0)  # a new head is the same each time
    if args.index and not args.tag:
        raise UsageError('--index: is about published weights; name those that SOURCE is with --tag')
    if args.tag:
        net, conversion, published = _by_row(args)
    else:
        net, conversion, published = *_by_flags(args), False
    initialize_rest(net, engine.contexts())  # a new head
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'--out {out}: its folder cannot be made: {error.strerror or error}') from error
    replace_arrays(out, arrays_of(net))
    write_preparation(out, net.card, net.row, published=published)
    print(conversion.table())
    print(f'Parameters of {args.model}: {out}')


def _by_row(args: argparse.Namespace) -> tuple[Recognizer, Conversion, bool]:
    """Import as the index of published weights says; the last is whether they are the published ones."""
    from ..model_zoo import get_model
    from ..model_zoo.importers import load_any
    from ..model_zoo.loading.preparation import describe_row
    from ..model_zoo.loading.pretrained import reading_of
    from ..weights import read_index
    for flag, given in (('--format', args.format), ('--channels', args.channels != 'rgb'),
                        ('--class-names', args.class_names)):
        if given:
            raise UsageError(f'{flag}: --tag {args.tag} says it; leave it out')
    row = read_index(args.index).row(args.model, args.tag)
    if not (row.head or args.new_head):
        raise UsageError(f'--tag {args.tag}: these weights have no head; add --new-head')
    named = None if args.new_head else len(row.class_names or ()) or None
    net = get_model(args.model, nclass=args.num_classes or named, pretrained_base=False, initialize=False,
                    **row.options)
    own = net.card
    conversion = load_any(net, args.source, ignore_head=args.new_head, **reading_of(row, own))
    net.card, net.row = own.prepared(row.input), describe_row(row)
    same = _is_published(args.source, row)
    if same is False:
        _log.warning('%s is not the file that %s is published as: it is read and prepared as that one all the same',
                     args.source, args.tag)
    return net, conversion, same is not False and not args.new_head


def _is_published(source: str, row: Row) -> bool | None:
    """Whether a source is what a row says, by all digests there are; None where the row has none."""
    from ..model_zoo.importers.formats.tensorflow import find_prefix
    from ..weights.verification import is_published
    prefix = find_prefix(source) if len(row.files) > 1 else None
    paths = sorted(prefix.parent.glob(f'{glob.escape(prefix.name)}.*')) if prefix else [source]
    found = [{is_published(path, dataclasses.replace(row, files=(file,))) for path in paths} for file in row.files]
    known = [answers for answers in found if answers != {None}]
    return all(True in answers for answers in known) if known else None


def _by_flags(args: argparse.Namespace) -> tuple[Recognizer, Conversion]:
    from ..model_zoo import get_model
    from ..model_zoo.importers import load_any
    net = get_model(args.model, nclass=args.num_classes, pretrained_base=False, initialize=False)
    classes = None
    if args.class_names:
        ours = net.card.labels()
        if ours is None:
            raise UsageError(f'--class-names is for models of a known data set; {args.model} has no names of its own')
        classes = read_class_names(args.class_names), ours
    return net, load_any(net, args.source, ignore_head=args.new_head, format=args.format, channels=args.channels,
                         classes=classes)
