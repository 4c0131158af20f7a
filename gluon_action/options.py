"""Options written once: fields of dataclasses with default, type, flag and help, and the parsers made from them."""
from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import math
import shlex
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_KEY = 'option'
_SAME = object()


@dataclass(frozen=True)
class Option:
    """The declaration of an option: all that its field says beside the default.

    Attributes
    ----------
    help : str
        As argparse takes it: a percent sign is doubled.
    flags : tuple of str
        Spellings; by default the field's name with ``--`` before it and dashes for underscores.
    group : str
        Part of the help that it stands in.
    choices : collection, optional
    type : callable, optional
        Reads a value; by default the field's own type.
    metavar : str, optional
    const : optional
        What the flag without a value stands for; by default it needs one.
    least : float, optional
        Smallest number allowed, which `check_numbers` checks.
    required : bool
        Whether a command cannot do without it; the field's default is for callers of the library.
    underscores : bool
        Spell the flag as the field.
    common : bool
        ``--help`` lists it; ``--help-all`` lists the others too. A required one is always listed.
    name : str
    default
        The field's; set by `options_of`, as the type is.
    """

    help: str
    flags: tuple[str, ...] = ()
    group: str = ''
    choices: Collection | None = None
    type: Callable[[str], Any] | None = None
    metavar: str | None = None
    const: Any = None
    least: float | None = None
    required: bool = False
    underscores: bool = False
    common: bool = False
    name: str = ''
    default: Any = None

    @property
    def flag(self) -> str:
        """The spelling that messages use: the first long one."""
        return next(flag for flag in self.flags if flag.startswith('--'))

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Add the flag to a parser or a group of one.

        Of a bool without a type, the flag stores what is not the default. For a required option argparse knows no
        default.
        """
        said: dict[str, Any] = {'dest': self.name, 'help': self.help, 'required': self.required}
        if not self.required:
            said['default'] = self.default
        if self.type is bool:
            said['action'] = 'store_false' if self.default else 'store_true'
        else:
            short = None if self.choices else {int: 'N', float: 'X'}.get(self.type)
            said |= {'type': self.type, 'choices': self.choices, 'metavar': self.metavar or short}
            said |= {'nargs': '?', 'const': self.const} if self.const is not None else {}
        parser.add_argument(*self.flags, **said).common = self.common or self.required


def option(default: Any, help: str, *flags: str, **about) -> Any:
    """Return a field of a dataclass that is an option.

    Parameters
    ----------
    default
        Also the flag's.
    help : str
    *flags : str
        Spellings that differ from the name, see `Option`.
    **about
        Further attributes of `Option`.

    Examples
    --------
    >>> @dataclass
    ... class Config:
    ...     new_step: int = option(1, 'stride between the frames of a clip', group='data', least=1)
    """
    return dataclasses.field(default=default, metadata={_KEY: Option(help, flags, **about)})


def changed(kind: type, name: str, default: Any = _SAME, **changes) -> Any:
    """Return an option of another dataclass once more, to be declared in one that inherits from it.

    An option that is given a group is listed where it is declared again; otherwise it keeps its place.

    Parameters
    ----------
    kind : type
        Where the option was declared.
    name : str
    default : optional
        Instead of that one's.
    **changes
        Attributes of `Option`.
    """
    field = kind.__dataclass_fields__[name]
    return dataclasses.field(
        default=field.default if default is _SAME else default,
        metadata={_KEY: dataclasses.replace(field.metadata[_KEY], **changes), 'moved': 'group' in changes})


@functools.cache
def options_of(kind: type) -> Mapping[str, Option]:
    """Return the options of a dataclass by name, in the order in which help lists them: those inherited first."""
    order: dict[str, dataclasses.Field] = {}
    for base in reversed(kind.__mro__):
        for name in inspect.get_annotations(base) if dataclasses.is_dataclass(base) else ():
            field = base.__dataclass_fields__.get(name)
            if field is not None and _KEY in field.metadata:
                if field.metadata.get('moved'):
                    order.pop(name, None)
                order[name] = field
    types = typing.get_type_hints(kind)
    return MappingProxyType({name: _resolved(field, types[name]) for name, field in order.items()})


def add_options(parser: argparse._ActionsContainer, kind: type, group: str, *, without: Collection[str] = (),
                changes: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """Add the options of one group of a dataclass to a parser, or to a group of it, and return that.

    Parameters
    ----------
    parser : argparse.ArgumentParser or one of its groups
    kind : type
        The dataclass.
    group : str
    without : collection of str
        Names of options that this command does not offer.
    changes : mapping, optional
        By name, attributes of `Option` that depend on the command.
    """
    for name, option in options_of(kind).items():
        if option.group == group and name not in without:
            dataclasses.replace(option, **(changes or {}).get(name, {})).add_to(parser)
    return parser


def check_numbers(values: argparse.Namespace, options: Iterable[Option], error: Callable[[str], Any]) -> None:
    """Call `error`, which is ``parser.error``, for a number below the least of its option, or without a value."""
    spelled = {}
    for option in options:
        value, spelled[option.name] = getattr(values, option.name), option.flag
        if option.least is not None and value is not None and not value >= option.least:  # which nan is not either
            error(f'{option.flag} must be {option.least} or more, got {value}')
    for name, value in vars(values).items():
        if isinstance(value, float) and not math.isfinite(value):
            error(f'{spelled.get(name, "--" + name.replace("_", "-"))} must be a finite number, got {value}')


def config_from(kind: type, values: argparse.Namespace) -> Any:
    """Return a dataclass of what was parsed; options that the command does not offer keep their defaults."""
    names = [field.name for field in dataclasses.fields(kind) if hasattr(values, field.name)]
    return kind(**{name: getattr(values, name) for name in names})


def flag_of(kind: type, name: str) -> str:
    """Return what the option `name` of a dataclass is called on the command line."""
    return options_of(kind)[name].flag


def command_of(name: str, config: Any, without: Collection[str] = (), first: Iterable[str] = (),
               instead: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the command line that gives the options of a dataclass: the flags of all that is no default.

    Parameters
    ----------
    name : str
        Of the command, as in ``'gluon-action train'``.
    config : dataclass
    without : collection of str
        Names of options that are left out.
    first : iterable of str
        What stands before the flags.
    instead : mapping
        Values that options have without their flags, where these are others than the defaults.
    """
    words = [*name.split(), *first]
    for field, option in options_of(type(config)).items():
        value, unsaid = getattr(config, field), instead.get(field, option.default)
        same = value == unsaid and isinstance(value, bool) == isinstance(unsaid, bool)
        if field in without or same or value is None:
            continue
        if option.type is bool:
            words += [option.flag] * (value != option.default)  # the default has no flag
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            # What begins like a flag is not taken for a value when it stands alone.
            words += [f'{option.flag}={text}'] if text.startswith('-') else [option.flag, text]
    return shlex.join(words)


def command_without(command: str, kind: type, names: Collection[str]) -> str:
    """Return a command line of `command_of` without what it says of some options of a dataclass."""
    known = options_of(kind)
    left_out = {flag: known[name] for name in names for flag in known[name].flags}
    words, kept = iter(shlex.split(command)), []
    for word in words:
        flag, equals, _ = word.partition('=')
        if flag not in left_out:
            kept.append(word)
        elif left_out[flag].type is not bool and not equals:
            next(words, None)
    return shlex.join(kept)


def yes_or_no(text: str) -> bool:
    """Read ``true`` or ``false``, as the type of an option."""
    known = {'true': True, 'yes': True, '1': True, 'false': False, 'no': False, '0': False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f'{text!r} is neither true nor false')
    return known[text.lower()]


#: Of an option that is on or off: ``--flag``, ``--flag true`` and ``--flag false``.
SWITCH: Mapping[str, Any] = MappingProxyType({'type': yes_or_no, 'const': True, 'metavar': 'true|false'})


def _resolved(field: dataclasses.Field, annotation: Any) -> Option:
    """Say name, default, spelling and type of an option, where it leaves them to its field."""
    option = field.metadata[_KEY]
    own = next((part for part in typing.get_args(annotation) if part is not type(None)), annotation)
    flags = option.flags or ('--' + (field.name if option.underscores else field.name.replace('_', '-')),)
    return dataclasses.replace(option, name=field.name, default=field.default, flags=flags, type=option.type or own)
