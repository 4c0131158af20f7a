"""The flags of the learning rate finder, which several commands have."""
from __future__ import annotations

import argparse


def add_find_lr_flags(parser: argparse.ArgumentParser, spelled: str = 'lr') -> argparse._ArgumentGroup:
    """Add the learning rate finder; `spelled` is what the command calls the rate."""
    group = parser.add_argument_group('finding a learning rate')
    group.add_argument('--find-lr', action='store_true',
                       help='do not train but try rates that rise from step to step, draw the loss over them, and '
                            f'suggest one as the --{spelled} to pass; parameters and runs are left as they are')
    group.add_argument('--find-lr-from', type=float, default=1e-7, metavar='RATE', help='rate of the first step')
    group.add_argument('--find-lr-to', type=float, default=10., metavar='RATE',
                       help='rate of the last step; it ends before where the loss has broken')
    group.add_argument('--find-lr-steps', type=int, default=100, metavar='STEPS', help='updates')
    return group


#: What `add_find_lr_flags` adds to the arguments, apart from the configuration of a run.
FIND_LR = ('find_lr', 'find_lr_from', 'find_lr_to', 'find_lr_steps')


def check_find_lr(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse numbers of the finder that nothing looks at."""
    if not args.find_lr and any(getattr(args, name) != parser.get_default(name) for name in FIND_LR):
        parser.error('--find-lr-from, --find-lr-to and --find-lr-steps: mean something with --find-lr only')
