"""``gluon-action serve``: a page on this machine where videos are dropped, and an answer for programs."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..files import to_json, write_file
from ..printable import printable
from .command import make_parser
from .predict_flags import add_decision, add_model, add_weights, check_flags, opened

EXAMPLES = """examples:
  # then open http://127.0.0.1:8000/ and drop a video
  %(prog)s runs/mine
  # where nothing is likely, nothing is said; small videos only
  %(prog)s bundles/mine --threshold 0.6 --max-mb 50 --max-seconds 60
from a program
  curl --data-binary @holiday.mp4 http://127.0.0.1:8000/api/predict
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(
        'Serve a page where one drops a video and sees its labels, and a timeline that plays what it shows.\n'
        'Only this machine reaches it, nothing leaves it, and no video is kept.', epilog=EXAMPLES)
    add_model(parser)
    add_weights(parser)
    group = parser.add_argument_group('the page')
    group.add_argument('--port', type=int, default=8000, help='port to listen at; 0 takes one that is free')
    group.add_argument('--host', default='127.0.0.1', help='address to listen at')
    group.add_argument('--allow-network', action='store_true',
                       help='let --host be an address that other machines reach; whoever reaches it may send videos')
    group.add_argument('--max-mb', type=float, default=512., metavar='MB', help='largest video, in millions of bytes')
    group.add_argument('--max-seconds', type=float, default=300., metavar='SECONDS',
                       help='longest time that a video may take to arrive, and again to be predicted')
    group.add_argument('--top-k', type=int, default=5, metavar='K', help='classes of an answer')
    group.add_argument('--json', default=None, metavar='FILE',
                       help='where it listens, and what it serves; - is standard output')
    group.add_argument('--overwrite', action='store_true', help='replace the file of --json')
    add_decision(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_flags(parser, args)
    if not 0 <= args.port < 65536:
        parser.error(f'--port must be in 0..65535, got {args.port}')
    for name in ('max_mb', 'max_seconds'):
        if not 0 < getattr(args, name) < 1e9:
            parser.error(f'--{name.replace("_", "-")} must be a number above 0, got {getattr(args, name):g}')
    return args


def main(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from ..deploy.predicted.files import check_output
    from ..deploy.predicted.tables import STANDARD_OUTPUT
    from ..deploy.serve.server import check_address, is_loopback, listen, make_server, need_packages, url_of
    need_packages()
    check_address(args.host, args.allow_network)
    if args.json not in (None, STANDARD_OUTPUT):
        check_output('--json', Path(args.json).expanduser(), [], args.overwrite)
    from ..deploy.serve.app import Limits, make_app
    predictor = opened(args)
    limits = Limits(args.max_mb, args.max_seconds, args.top_k, args.allow_network)
    app = make_app(predictor, limits)
    made = listen(args.host, args.port)
    out = sys.stderr if args.json == STANDARD_OUTPUT else sys.stdout
    classes = f'{len(predictor.labels)} classes' if predictor.labels else 'classes by their numbers'
    print(f'{printable(predictor.name)} ({classes}): {url_of(made)}\nCtrl-C ends it', file=out, flush=True)
    if not is_loopback(args.host):
        print(f'other machines reach {args.host}: whoever does may send videos', file=sys.stderr)
    if args.json:
        about = to_json({'url': url_of(made), 'model': predictor.about(), 'labels': predictor.labels,
                         'max_mb': limits.megabytes, 'max_seconds': limits.seconds})
        if args.json == STANDARD_OUTPUT:
            sys.stdout.write(about)
            sys.stdout.flush()
        else:
            write_file(Path(args.json).expanduser(), about)
    try:
        with made:
            make_server(app).run(sockets=[made])
    except KeyboardInterrupt:  # which is how it is meant to end
        pass
