"""``gluon-action completion``: commands, flags, files and models completed by the shell when Tab is pressed."""
from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from ..errors import UsageError
from .command import make_parser

SHELLS = ('bash', 'zsh', 'tcsh')
EXAMPLES = """examples:
  # bash, for all shells to come
  %(prog)s bash > ~/.local/share/bash-completion/completions/gluon-action
  # zsh: a folder of $fpath, before compinit
  %(prog)s zsh > ~/.zsh/completions/_gluon-action
  # this shell only
  eval "$(%(prog)s bash)"
"""
#: metavar -> what the shell offers: files or folders.
_PLACES = {'FILE': 'FILE', 'VIDEO': 'FILE', 'PATH': 'FILE', 'SOURCE': 'FILE', 'MODEL': 'FILE', 'BUNDLE': 'DIRECTORY',
           'DIR': 'DIRECTORY', 'FOLDER': 'DIRECTORY', 'RUN': 'DIRECTORY', 'RUN_DIR': 'DIRECTORY'}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('Print what makes a shell complete the words of gluon-action.', epilog=EXAMPLES)
    parser.add_argument('shell', choices=SHELLS, help='the shell, as echo $SHELL names it')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise UsageError(f'completion needs shtab ({error}): pip install shtab') from error
    print(shtab.complete(whole_parser(shtab), args.shell))


def whole_parser(shtab: Any) -> argparse.ArgumentParser:
    """Return all commands as one parser with what the shell offers for each value."""
    from .main import COMMANDS, GROUPS
    models = [str(model['model']) for model in json.loads(
        resources.files('gluon_action.model_zoo.catalogue').joinpath('costs.json').read_text(encoding='utf-8'))['models']]
    whole = argparse.ArgumentParser(prog='gluon-action', allow_abbrev=False)
    places: dict[str, Any] = {'': whole.add_subparsers(dest='command')}
    for group, text in GROUPS.items():
        places[group] = places[''].add_parser(group, help=text).add_subparsers(dest='command')
    for name, (module, text) in COMMANDS.items():
        group, _, last = name.rpartition(' ')
        built = importlib.import_module(f'gluon_action.cli.{module}').build_parser()
        for action in built._actions:
            _say_what_fits(action, shtab, models)
        places[group].add_parser(last, help=text, parents=[built], add_help=False, allow_abbrev=False)
    return whole


def _say_what_fits(action: argparse.Action, shtab: Any, models: Sequence[str]) -> None:
    """Tell shtab what a value may be: a model of the zoo, a file or a folder."""
    if isinstance(action, argparse._SubParsersAction):
        for parser in action.choices.values():
            for inner in parser._actions:
                _say_what_fits(inner, shtab, models)
    elif action.dest == 'model' and action.option_strings and action.choices is None:
        action.choices = models
    elif isinstance(action.metavar, str) or action.dest.endswith('_dir'):
        place = _PLACES.get(str(action.metavar).split('|')[-1], 'DIRECTORY' if action.dest.endswith('_dir') else '')
        kinds: Mapping[str, Any] = {'FILE': shtab.FILE, 'DIRECTORY': shtab.DIRECTORY}
        if place and action.nargs != 0:
            action.complete = kinds[place]
