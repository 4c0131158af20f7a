"""The flags of the learning rate finder, which several commands have."""
from __future__ import annotations

import argparse

from ..options import Option

_STEPS = (
    Option('rate of the first step', ('--find-lr-from',), type=float, metavar='RATE', name='find_lr_from',
           default=1e-7),
    Option('rate of the last step; it ends before where the loss has broken', ('--find-lr-to',), type=float,
           metavar='RATE', name='find_lr_to', default=10.),
    Option('updates', ('--find-lr-steps',), type=int, metavar='STEPS', name='find_lr_steps', default=100))
#: What `add_find_lr_flags` adds to the arguments, apart from the configuration of a run.
FIND_LR = ('find_lr', *(option.name for option in _STEPS))


def add_find_lr_flags(parser: argparse.ArgumentParser, spelled: str = 'lr') -> argparse._ArgumentGroup:
    """Add the learning rate finder; `spelled` is what the command calls the rate."""
    group = parser.add_argument_group('finding a learning rate')
    group.add_argument('--find-lr', action='store_true',
                       help='do not train but try rates that rise from step to step, draw the loss over them, and '
                            f'suggest one as the --{spelled} to pass; parameters and runs are left as they are')
    for option in _STEPS:
        option.add_to(group)
    return group


def check_find_lr(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse numbers of the finder that nothing looks at."""
    if not args.find_lr and any(getattr(args, name) != parser.get_default(name) for name in FIND_LR):
        parser.error('--find-lr-from, --find-lr-to and --find-lr-steps: mean something with --find-lr only')
