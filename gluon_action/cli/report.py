"""``gluon-action report``: make the page of a training or a test anew."""
from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import GluonActionError
from ..printable import printable
from .command import make_parser
from .own_modules import add_import_flag

EXAMPLES = """examples:
  # of a training that is under way, or ended early
  %(prog)s runs/mine
  # into another file
  %(prog)s results/mine --out for-the-meeting.html
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('the page of a run, report.html: curves, wrong videos, confusions, calibration, time',
                         epilog=EXAMPLES)
    parser.add_argument('run', metavar='RUN_DIR', help='folder of a training or of a test')
    parser.add_argument('--out', default=None, metavar='FILE', help='the page; by default report.html in the folder')
    parser.add_argument('--no-frames', action='store_true', help='do not open the videos: no frames, no statistics')
    add_import_flag(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Write the page, and say where it is."""
    from ..evaluate.report.page import write_report
    from ..evaluate.report.run_files import read_run
    from ..train.run.folder.lock import holder
    run = read_run(args.run)
    for trouble in run.troubles:
        print(f'Warning: {printable(trouble)}', file=sys.stderr)
    writing = holder(run.folder)
    if writing:
        print(f'{printable(run.folder)} is still being written ({writing}): the page shows what is there',
              file=sys.stderr)
    sets = {} if args.no_frames else lists_of(run)
    print(f'Report: {printable(write_report(run.folder, sets, writing=writing, path=args.out))}')


def lists_of(run: Any) -> dict[str, Any]:
    """Open the lists of a run once more, as its options say; those that cannot be are said and left out."""
    from ..evaluate.options.config import TestConfig
    from ..evaluate.recognizer import open_test_set
    from ..model_zoo import model_card
    from ..train.recipes.config import TrainConfig
    if not isinstance(run.config.get('model'), str) or 'val_list' not in run.config:
        return {}
    found: dict[str, Any] = {}
    try:
        if run.is_test:
            found['test'] = open_test_set(_known(TestConfig, run.config))
        else:
            config = _known(TrainConfig, run.config)
            card = model_card(config.model, run.about)
            names = {name: run.about[name] for name in ('num_classes', 'classes') if run.about.get(name)}
            found['training'] = config.open_videos(train=True, modality=card.modality, **names)
            if not config.train_only:
                found['validation'] = config.open_videos(train=False, modality=card.modality, **names)
    except (GluonActionError, OSError, TypeError, ValueError, LookupError, AttributeError) as error:
        print(f'The lists of the run cannot be opened, so there are no frames: {printable(error)}', file=sys.stderr)
    return found


def _known(kind: type, config: dict[str, Any]) -> Any:
    """Return the options of a run; those that this version does not know are left out."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in config.items() if name in names})
