"""How every command starts and ends: its parser, exit codes, and a message instead of a traceback."""
from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from ..errors import GluonActionError, UsageError, naming_flags
from ..printable import printable
from ..signals import TERMINATED, Terminated, raising
from .output import ConsoleLog, bearing_output, logging_beside
from .own_modules import import_modules
from .parser import Parser

_program: str | None = None  # what messages and help call the command


def run(parse_args: Callable, main: Callable, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command and turn what happens into an exit code.

    Parameters
    ----------
    parse_args : callable
        ``parse_args(argv) -> argparse.Namespace``.
    main : callable
        ``main(args) -> int or None``.
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.
    prog : str, optional
        What the command is called; by default the name of the file that Python runs.

    Returns
    -------
    int
        0 done, 1 failed, 2 bad usage, 130 interrupted, 143 ended by SIGTERM. A traceback is printed
        with ``--debug`` only. Output that nobody takes, or that a full disk refuses, is no failure: the work continues
        without it.
    """
    global _program
    _program = prog
    with bearing_output(), naming_flags():
        logging.basicConfig(level=logging.INFO, handlers=[ConsoleLog()])
        logging.getLogger('matplotlib').setLevel(logging.WARNING)  # where it keeps its fonts, in a home that is new
        return _run(parse_args, main, argv, prog or os.path.basename(sys.argv[0]))


def _run(parse_args: Callable, main: Callable, argv: Sequence[str] | None, name: str) -> int:
    args = parse_args(argv)
    try:
        with _heeding_interrupts(), logging_beside(json=getattr(args, 'json', None) in (True, '-')):
            import_modules(getattr(args, 'imports', None))
            return int(main(args) or 0)
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 130
    except Terminated:
        print('terminated', file=sys.stderr)
        return TERMINATED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        if isinstance(error, GluonActionError):
            print(f'{name}: {printable(error, lines=True)}', file=sys.stderr)
        else:
            print(f'{name}: unexpected {type(error).__name__}: {printable(error, lines=True)}\n'
                  'This is a fault of the program; --debug shows where it happened.', file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """Make every Ctrl-C count."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or somebody else's
        yield
        return
    signal.signal(signal.SIGINT, raising(KeyboardInterrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def make_parser(description: str, prog: str | None = None, epilog: str | None = None) -> Parser:
    """Return the parser of a command, with ``--debug`` in it."""
    parser = Parser(prog=prog or _program, description=description, epilog=epilog)
    parser.add_argument('--debug', action='store_true', help='print a traceback when something fails')
    return parser
