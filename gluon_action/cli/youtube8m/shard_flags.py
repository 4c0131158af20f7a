"""Flags of the commands whose work several processes or machines can share, and what they print of it."""
from __future__ import annotations

import argparse
from pathlib import Path

from ...deploy.sharding.shards import Progress
from ...unfinished import Shard

RAY_HELP = ("share the inputs out by Ray: local is the cores of this machine, auto or HOST:PORT a cluster whose "
            "machines see the same files (pip install 'gluon_action[ray]')")


def add_shard_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard`` and ``--ray``."""
    group = parser.add_argument_group('several processes or machines')
    group.add_argument('--shard', default=None, metavar='I/N',
                       help='work on the I-th of N shares of the inputs, I from 1 to N; gluon-action youtube8m merge '
                            'joins the results when all shares are done')
    group.add_argument('--ray', default='', metavar='ADDRESS', help=RAY_HELP)


def shard_of(args: argparse.Namespace) -> Shard | None:
    """Read ``--shard``.

    Raises
    ------
    UsageError
    """
    return Shard.parse(args.shard) if args.shard is not None else None


def told(done: Progress, output: str, shard: Shard | None) -> str:
    """Return what a command says in the end of its share, or of the whole."""
    before = f', {done.found} of them before' if done.found else ''
    if shard is None:
        return f'{output}: made of {done.mine} inputs{before}'
    return (f'shard {shard}: {done.mine} inputs done{before}; when all shards are, join them:\n'
            f'  gluon-action youtube8m merge {Path(output)}')
