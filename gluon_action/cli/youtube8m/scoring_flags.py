"""Flags of the commands that score videos by a stored model: how many at once, how they are read and drawn from."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ...errors import UsageError
from ...evaluate.options.recognizer_options import RecognizerOptions
from ...feature_architecture import SAMPLING, Architecture
from ...options import options_of


def add_scoring_flags(parser: argparse.ArgumentParser, *, batch_size: int, num_readers: int) -> None:
    """Add ``--batch_size``, ``--num_readers``, ``--on_error``, ``--engine`` and how frames are drawn."""
    parser.add_argument('--batch_size', type=int, default=batch_size, help='videos that are computed together')
    parser.add_argument('--num_readers', type=int, default=num_readers, help='processes that read records')
    parser.add_argument('--on_error', default='raise', choices=('raise', 'skip'),
                        help='a video that cannot be read ends the command, or is reported and left out')
    options_of(RecognizerOptions)['engine'].add_to(parser)
    group = parser.add_argument_group('how frames are drawn', 'By default as the stored model says.')
    for name in SAMPLING:
        options_of(Architecture)[name].add_to(group)


def scoring_of(args: argparse.Namespace, model: str, flag: str, gpu: bool):
    """Return the `Scoring` that the flags ask for.

    Raises
    ------
    UsageError
    """
    from ...deploy.feature_scoring.scoring import Scoring
    for name in ('batch_size', 'num_readers'):
        if getattr(args, name) < 1:
            raise UsageError(f'--{name}: must be 1 or more, got {getattr(args, name)}')
    sampling: Sequence[tuple[str, Any]] = [(name, args.given[name]) for name in SAMPLING if name in args.given]
    return Scoring(model, flag, tuple(sampling), args.batch_size, args.num_readers, args.on_error, gpu,
                   engine=args.engine)


def need(args: argparse.Namespace, *names: str) -> None:
    """Raise `UsageError` for the first flag of these that was not given."""
    for name in names:
        if not getattr(args, name):
            raise UsageError(f'--{name}: is needed; --help says what it is')


def counts(notes: Sequence[dict[str, Any]]) -> str:
    """Return how many videos were scored and skipped, and which files are torn, by the notes of the inputs."""
    videos, skipped = (sum(note['about'][name] for note in notes) for name in ('videos', 'skipped'))
    torn = [note['about']['torn'] for note in notes if note['about']['torn']]
    return f'{videos} videos' + (f', {skipped} skipped' if skipped else '') + (
        f'; {len(torn)} files are torn, what follows there is left out: {"; ".join(torn)}' if torn else '')
