"""``--import MODULE``: code of one's own that registers models, imported before a command looks at names."""
from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from .. import engine
from ..errors import UsageError
from ..printable import printable


def add_import_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--import``, which may be given several times."""
    parser.add_argument(
        '--import', dest='imports', action='append', metavar='MODULE',
        help='import this module first, for the models that it registers (register_model): a name, looked for where '
             'you are too, or a file; may be given several times')


def import_modules(names: list[str] | None) -> None:
    """Import modules by name, or as files.

    Raises
    ------
    UsageError
        When one is not there, or fails.
    """
    if names:
        engine.set_threads()  # which has to come before MXNet, and models bring that
    for name in names or ():
        path = Path(name).expanduser()
        is_file = name.endswith('.py')
        if is_file and not path.is_file():
            raise UsageError(f'--import {name}: there is no such file')
        place = str(path.resolve().parent) if is_file else os.getcwd()
        if place not in sys.path:
            sys.path.insert(0, place)
        try:
            importlib.import_module(path.stem if is_file else name)
        except ModuleNotFoundError as error:
            missing = error.name == (path.stem if is_file else name)
            raise UsageError(f'--import {name}: ' + (
                f'there is no such module, neither installed nor in {place}' if missing else
                f'it imports {error.name}, which is not installed')) from error
        except UsageError as error:
            raise UsageError(f'--import {name}: {error}') from error
        except Exception as error:
            raise UsageError(f'--import {name}: fails with {type(error).__name__}: {printable(error)}') from error
