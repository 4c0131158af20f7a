"""``gluon-action youtube8m merge``: join what the shards of a command made."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...options import yes_or_no
from ..command import make_parser
from . import flags

DESCRIPTION = """Join what processes with --shard I/N made of OUTPUT (inference, extract_features or
prepare_distill_dataset). It is joined only when every input has been worked on once, by the same settings, and no part
has changed since; OUTPUT is then what one process would have written, byte for byte, and OUTPUT.manifest.json says what
it was made of."""

EXAMPLES = """examples:
  for i in 1 2 3; do gluon-action youtube8m extract_features --shard $i/3 --output_tfrecords_file own.tfrecord ...; done
  %(prog)s own.tfrecord
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser(DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument('output', metavar='OUTPUT', help='the file or folder that the shards were to make')
    for flag, text in (('--check_inputs', 'read all inputs again and compare their SHA-256'),
                       ('--keep_parts', 'keep the folder OUTPUT.parts'),
                       ('--overwrite', 'replace an OUTPUT that exists')):
        parser.add_argument(flag, type=yes_or_no, nargs='?', const=True, default=False, help=text)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return flags.parse(build_parser(), argv)


def main(args: argparse.Namespace) -> None:
    """Join the parts and print where the result is."""
    from ...deploy.sharding.merging import merge
    from ...deploy.sharding.parts import leaves_out, manifest_of
    manifest = merge(args.output, check_inputs=args.check_inputs, keep_parts=args.keep_parts, overwrite=args.overwrite)
    size = sum(file['bytes'] for file in manifest['files'].values())
    print(f'{args.output}: {len(manifest["inputs"])} inputs, each once; {len(manifest["files"])} files of {size} bytes')
    if lacking := [entry['input'] for entry in manifest['inputs'] if leaves_out(entry)]:
        print(f'{len(lacking)} inputs hold what could not be read and is left out, first {lacking[0]}')
    print(f'{manifest_of(Path(args.output).expanduser())}: what it was made of')
