"""``gluon-action check-data``: what is wrong with a set of videos, before a network is trained on it."""
from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from ..data.video_options import VideoOptions
from ..errors import UsageError
from ..options import options_of
from ..train.recipes.config import TrainConfig
from .command import make_parser
from .own_modules import add_import_flag

DESCRIPTION = """Look through videos before training on them: files that are missing, cannot be read, were cut short or
are damaged; copies under several labels or in both lists; videos too short for a clip; classes without videos, and very
uneven ones; sizes, rates and rotation. Everything is decoded once, unless --quick is given.

With --out a page (check.html), all facts and findings (check.json) and a contact sheet of frames before and after
augmentation (contact_sheet.png) are written. The same command resumes where it was interrupted, and looks only at what
has changed.

It exits with 0 when there is nothing worse than a note, with 1 when there are errors or warnings, and with 2 when it
was called wrongly."""

EXAMPLES = """examples:
  # a folder of class folders
  %(prog)s videos --out checked
  # two lists: also which videos are in both
  %(prog)s train.csv --val val.csv --data-dir videos --out checked -j 8
  # what a network will see of them, and the list without its bad rows
  %(prog)s train.csv --data-dir videos --model i3d_resnet50_v1_custom --out checked --fix-list good.csv
"""
#: How training changes what it shows, and the most that each may be.
_STRENGTHS = {'flip_prob': 1, 'color_jitter': 5, 'rand_augment': 10, 'random_erasing': 1}
_MIXING = ('mixup', 'cutmix')
_OF_LISTS = ('list_format', 'list_encoding', 'label_base', 'multi_label')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('source', metavar='VIDEOS',
                        help='a list in any format that training takes, a folder of class folders (also with train and '
                             'val in it), or a folder of videos')
    parser.add_argument('--val', default=None, metavar='LIST',
                        help='validation list or folder: copies of its videos in training are told')
    parser.add_argument('--out', default=None, metavar='FOLDER',
                        help='write the page, JSON and the contact sheet there')
    parser.add_argument('--fix-list', default=None, metavar='FILE',
                        help='write VIDEOS without rows that are missing, cannot be read, are cut short, damaged, '
                             'contradictory or copies, and without those of training that are in validation')
    parser.add_argument('--overwrite', action='store_true', help='replace the file of --fix-list')
    parser.add_argument('--quick', action='store_true',
                        help='decode three frames of each video: damage elsewhere in it is not found')
    options = options_of(VideoOptions)
    group = parser.add_argument_group('lists')
    group.add_argument('--data-dir', default='', metavar='FOLDER', help='folder that the paths of lists start from')
    for name in ('val_data_dir', *_OF_LISTS, 'class_names', 'name_pattern'):
        options[name].add_to(group)
    group = parser.add_argument_group('what a network sees')
    group.add_argument('--model', default=None, metavar='NAME',
                       help='model of the zoo: its clip and its size stand where nothing else is said')
    add_import_flag(group)
    for name in ('new_length', 'new_step', 'input_size', 'data_aug', 'new_height', 'new_width'):
        options[name].add_to(group)
    group = parser.add_argument_group('what training would show it, on the contact sheet')
    for name in (*_STRENGTHS, *(f'{kind}{end}' for kind in _MIXING for end in ('', '_alpha'))):
        options_of(TrainConfig)[name].add_to(group)
    group = parser.add_argument_group('how fast')
    options['num_workers'].add_to(group)
    options['decode_timeout'].add_to(group)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ('new_length', 'new_step', 'input_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
    for flag, value in (('-j', args.num_workers), ('--decode-timeout', args.decode_timeout),
                        ('--new-height', args.new_height), ('--new-width', args.new_width)):
        if not 0 <= value < math.inf:
            parser.error(f'{flag} must be 0 or more, got {value}')
    for name, most in _STRENGTHS.items():
        if not 0 <= getattr(args, name) <= most:
            parser.error(f'--{name.replace("_", "-")} must be in 0..{most}, got {getattr(args, name):g}')
    for kind in _MIXING:
        alpha = getattr(args, f'{kind}_alpha')
        if alpha != options_of(TrainConfig)[f'{kind}_alpha'].default and not getattr(args, kind):
            parser.error(f'--{kind}-alpha: means something with --{kind} only')
        if not 0 < alpha < math.inf:
            parser.error(f'--{kind}-alpha must be above 0, got {alpha:g}')
    return args


def main(args: argparse.Namespace) -> int:
    """Look through the videos and print what was found; 1 where something has to be mended."""
    from ..data.lists.classes.class_files import read_class_names
    from ..evaluate.data_check.check import check_data, told
    from ..evaluate.data_check.sheet import Augmentation
    card = None
    if args.model is not None:
        from ..model_zoo import model_card
        card = model_card(args.model)
        if not card.input.is_video:
            raise UsageError(f'--model {card.name}: takes {card.input}, and these are videos')
    length = args.new_length or (card.clip_length if card and card.input.takes('clip_length') else 1)
    step = args.new_step or (card.clip_stride if card and card.input.takes('clip_stride') else 1)
    size = args.input_size or (card.input_size if card else None)
    check = check_data(
        args.source, args.val, out=args.out, clip_length=length, clip_step=step, input_size=size,
        augmentation=Augmentation(
            args.data_aug, args.new_height, args.new_width, **{name: getattr(args, name) for name in _STRENGTHS},
            **({'mean': card.mean, 'std': card.std} if card and card.channels == 3 else {}),
            mixture=_mixture_of(args)), quick=args.quick,
        num_workers=args.num_workers, timeout=args.decode_timeout or None, name_pattern=args.name_pattern,
        fix_list=args.fix_list, overwrite=args.overwrite, progress=True, data_dir=args.data_dir,
        val_data_dir=args.val_data_dir or '', classes=args.class_names and read_class_names(args.class_names),
        **{name: getattr(args, name) for name in _OF_LISTS})
    print(told(check))
    if check.seen_before:
        print(f'{check.seen_before} videos have not changed since an earlier check, and were not looked at again')
    if check.folder:
        print(f'written: {check.folder}/check.html, check.json and contact_sheet.png')
    if args.fix_list:
        print(f'written: {args.fix_list}, without {len(check.dropped)} rows')
    print('nothing has to be mended' if check.clean else 'there is something to mend')
    return 0 if check.clean else 1


def _mixture_of(args: argparse.Namespace) -> Callable[[int], Callable] | None:
    """Return what makes the mixture of a batch of so many samples, as training does; None for none."""
    from ..train.mixup import CutMix, Mixtures, MixUp
    wanted = [(kind, getattr(args, f'{name}_alpha')) for name, kind in zip(_MIXING, (MixUp, CutMix))
              if getattr(args, name)]
    if not wanted:
        return None
    return lambda count: Mixtures(count, [kind(count, alpha) for kind, alpha in wanted])
