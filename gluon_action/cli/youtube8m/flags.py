"""How the commands of YouTube-8M read their flags: spellings of true and false, and flags that have no effect."""
from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence

from ... import engine
from ..parser import Parser

log = logging.getLogger(__name__)

#: What is said of flags that a printed command passes and that belong to another command.
OF_OTHERS = 'of another command, no effect here'


def prepare() -> None:
    """Choose the number of threads; called before MXNet is loaded."""
    engine.set_threads()


def ignore(parser: argparse.ArgumentParser, flags: Mapping[str, str]) -> None:
    """Accept flags that have no effect, with or without a value; what the parser knows already stays as it is.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    flags : mapping
        Flag -> why it has none, which `parse` logs where it is given.
    """
    for flag, why in flags.items():
        if flag not in parser._option_string_actions:
            parser.add_argument(flag, nargs='?', action=_Ignored, const=why, dest='ignored', default=argparse.SUPPRESS,
                                help=argparse.SUPPRESS)


def parse(parser: Parser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a command line.

    ``--flag``, ``--flag=True`` and ``--flag True`` turn on what is on or off, ``--flag=false``, ``--flag false`` and
    ``--noflag`` turn it off. Flags that nobody knows are errors; for those that `ignore` accepts a line is logged.

    Returns
    -------
    argparse.Namespace
        With ``given``: dict of the options that the command line named, and their values.
    """
    known = parser._option_string_actions
    words = [_positive(word, known) for word in (sys.argv[1:] if argv is None else argv)]
    # What has a value already is given no default: so what is still this object was not named.
    unset = object()
    defaults = {action.dest: action.default for action in known.values() if action.default is not argparse.SUPPRESS}
    values, strange = parser.parse_known_args(words, argparse.Namespace(**dict.fromkeys(defaults, unset)))
    if strange:
        parser.refuse(strange)
    ignored = vars(values).pop('ignored', {})
    given = {name: value for name, value in vars(values).items() if value is not unset}
    for why in dict.fromkeys(ignored.values()):
        log.info('%s: %s.', ', '.join(flag for flag, reason in ignored.items() if reason == why), why)
    return argparse.Namespace(**defaults | given, given=given)


class _Ignored(argparse.Action):
    """Notes that a flag was given, and why it has no effect."""

    def __call__(self, parser, namespace, values, option_string=None):
        namespace.ignored = {**getattr(namespace, 'ignored', {}), option_string: self.const}


def _positive(word: str, known: Mapping[str, argparse.Action]) -> str:
    """Return ``--flag=false`` for ``--noflag``, where there is such a flag to turn off; other words as they are."""
    flag = f'--{word[4:]}'
    if word.startswith('--no') and word not in known and flag in known and known[flag].const is True:
        return f'{flag}=false'
    return word

