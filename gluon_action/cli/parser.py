"""The parser of every command: a short help and a full one, errors of one line, dashes or underscores in names."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..printable import printable
from .other_names import meant


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the lines of a description and add the defaults."""

    def _get_help_string(self, action):
        # "(default: None)" and "(default: False)" teach nobody anything, nor does "True" of what turns it off.
        if action.default in (None, False, '') or action.default is argparse.SUPPRESS or action.nargs == 0:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Reads a command line; abbreviated flags are refused.

    ``--help`` shows what a command is usually told: its own arguments, and of the options that come from a dataclass
    those that are `gluon_action.options.Option.common`. ``--help-all`` shows every one. What is wrong is told in a
    line, and where help is in another. ``--batch-size`` and ``--batch_size`` are the same flag.
    """

    def __init__(self, *args, **about):
        super().__init__(*args, **{'formatter_class': HelpFormatter, 'allow_abbrev': False, **about})
        self._everything = False
        self._help_all = self.add_argument('--help-all', action='help', dest='help', default=argparse.SUPPRESS,
                                           help='show every option and exit')

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """Read a command line."""
        values, strange = self.parse_known_args(args, namespace)
        if strange:
            self.refuse(strange)
        return values

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """Read what is known of a command line, and return the rest."""
        words = list(sys.argv[1:] if args is None else args)
        self._everything = '--help-all' in words
        return super().parse_known_args([self._as_declared(word) for word in words], namespace)

    def refuse(self, words: Sequence[str]) -> None:
        """End with an error for words that nobody knows, and name the flag that comes close."""
        flag = words[0].partition('=')[0]
        shown = [name for name, action in self._option_string_actions.items() if action.help is not argparse.SUPPRESS]
        close = meant(flag, dict(zip(shown, shown))) if flag.startswith('-') else []
        self.error(f'unrecognized arguments: {" ".join(words)}' + (f'; did you mean {close[0]}?' if close else ''))

    def error(self, message: str):
        """Say in a line what is wrong, in another where help is, and exit with 2."""
        self.exit(2, f'{self.prog}: {printable(message, lines=True)}\n{self.prog} --help shows what it takes\n')

    def format_help(self) -> str:
        """Return the help: of every option where ``--help-all`` was asked for."""
        everything = self._everything or not self._rare()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage_line(), [], [])
        formatter.add_text(self.description)
        for group in self._action_groups:
            shown = [action for action in group._group_actions
                     if (everything or getattr(action, 'common', True)) and action is not self._help_all]
            if everything or any(action.help is not argparse.SUPPRESS for action in shown):
                formatter.start_section(group.title)
                formatter.add_text(group.description)
                formatter.add_arguments(shown)
                formatter.end_section()
        formatter.add_text(self.epilog)
        if not everything:
            formatter.add_text(f'{self.prog} --help-all shows {len(self._rare())} more options.')
        return formatter.format_help()

    def usage_line(self) -> str:
        """Return what the command cannot do without, in one line instead of all flags in twenty."""
        words = [f'{action.option_strings[-1]} {action.metavar or action.dest.upper()}' if action.option_strings else
                 _positional(action) for action in self._actions if action.required or not action.option_strings]
        return ' '.join([self.prog.replace('%', '%%'), *words, '[OPTION ...]'])

    def _rare(self) -> list[argparse.Action]:
        return [action for action in self._actions
                if not getattr(action, 'common', True) and action.help is not argparse.SUPPRESS]

    def _as_declared(self, word: str) -> str:
        """Return a flag as it was declared, where the command line has dashes for its underscores or the reverse."""
        flag, equals, value = word.partition('=')
        if not flag.startswith('--') or flag in self._option_string_actions:
            return word
        same = (known for known in self._option_string_actions if known.replace('_', '-') == flag.replace('_', '-'))
        return next(same, flag) + equals + value


def _positional(action: argparse.Action) -> str:
    """Return how often an argument may be given, as usage lines show it."""
    name = action.metavar or (f'{{{",".join(map(str, action.choices))}}}' if action.choices else action.dest.upper())
    return {'?': f'[{name}]', '*': f'[{name} ...]', '+': f'{name} [{name} ...]',
            argparse.PARSER: f'{name} ...'}.get(action.nargs, name)
