"""``--config FILE``: options of a training out of YAML, JSON, or the ``config.json`` of a run."""
from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import open_file, parse_json
from ..options import Option, options_of
from ..printable import printable
from .other_names import meant

log = logging.getLogger(__name__)

#: What the configuration of a run says of that run alone.
_OF_THE_RUN = ('save_dir', 'resume', 'overwrite', 'resume_states', 'resume_epoch', 'eval')
#: The option that is no flag.
_VIDEOS = 'videos'
_LARGEST = 4 << 20


def read_config_file(path: str | os.PathLike, kind: type) -> dict[str, Any]:
    """Return the options that a file gives.

    Parameters
    ----------
    path : path
        YAML or JSON: names of options, with dashes or underscores, and their values. Or the ``config.json`` of a run:
        then everything is as in that run, but for where it was kept.
    kind : type
        The dataclass of the options.

    Returns
    -------
    dict
        Option -> value, of the type that it has.

    Raises
    ------
    UsageError
        When the file cannot be read, or names an option that does not exist, or gives one a value that it cannot have.
    """
    path = Path(path).expanduser()
    content = _read(path)
    of_run = isinstance(content.get('config'), dict) and 'versions' in content
    written_by = None
    if of_run:
        versions = content['versions'] if isinstance(content['versions'], dict) else {}
        written_by, content = versions.get('gluon_action'), content['config']
        if written_by != version('gluon_action'):
            log.warning('%s: was written by gluon_action %s, and this is %s: options that came later are as by default',
                        path, written_by or 'of an unknown version', version('gluon_action'))
    known = options_of(kind)
    plain = {entry.name: entry for entry in fields(kind)}
    found = {}
    for key, value in content.items():
        name = _name_of(key, known, plain)
        if name is None or not of_run and name not in (*known, _VIDEOS):
            raise UsageError(_unknown(path, key, known, written_by))
        if of_run and name in _OF_THE_RUN:
            continue
        option = Option('', type=str) if name == _VIDEOS else known.get(name)
        found[name] = _checked(f'--config {path}: {key}', value, option, plain[name].default) if option else value
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with open_file(path) as file:
            text = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f'--config {path}: cannot be read: {error.strerror or error}') from error
    if len(text) > _LARGEST:
        raise UsageError(f'--config {path}: is larger than any configuration')
    try:
        content = parse_json(text) if path.suffix == '.json' else _yaml(text)
    except ValueError as error:
        raise UsageError(f'--config {path}: is neither YAML nor JSON: {printable(error)}') from error
    if not isinstance(content, dict):
        raise UsageError(f'--config {path}: expected options and their values (lr: 0.01), got '
                         f'{"nothing" if content is None else type(content).__name__}')
    return content


def _yaml(text: bytes) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise UsageError('--config: YAML needs PyYAML (pip install PyYAML); JSON needs nothing') from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(error) from error


def _name_of(key: Any, known: Mapping[str, Option], plain: Mapping[str, Any]) -> str | None:
    """The option that a key means: by its name, or as a flag spells it."""
    name = str(key).lstrip('-').replace('-', '_')
    if name in plain:
        return name
    return next((option for option, about in known.items()
                 if any(flag.lstrip('-').replace('-', '_') == name for flag in about.flags)), None)


def _unknown(path: Path, key: Any, known: Mapping[str, Option], written_by: str | None) -> str:
    names = {flag: name for name, option in known.items() for flag in (name, *option.flags)}
    close = meant(str(key), {**names, _VIDEOS: _VIDEOS})
    hint = f'did you mean {close[0]}?' if close else 'gluon-action train --help names them all'
    other = f' (the file was written by gluon_action {written_by})' if written_by else ''
    return f'--config {path}: there is no option {printable(repr(key))}{other}; {hint}'


def _checked(place: str, value: Any, option: Option, default: Any) -> Any:
    """Return a value as the option has it.

    Raises
    ------
    UsageError
        When it cannot have it.
    """
    if value is None:
        if default is not None:
            raise UsageError(f'{place}: has no value; leave it out for {default!r}')
        return None
    if option.type is float and type(value) is int:
        value = float(value)
    if option.type is float and isinstance(value, str):  # YAML takes 1e-3 for a text
        try:
            value = float(value)
        except ValueError:
            pass
    if option.type is str and type(value) in (int, float):  # as in lr_decay_epoch: 40
        value = str(value)
    if isinstance(value, list) and option.type is str:
        value = ','.join(map(str, value))
    if type(value) is not option.type:
        raise UsageError(f'{place}: expected {_KINDS[option.type]}, got {value!r}')
    if option.choices and value not in option.choices:
        raise UsageError(f'{place}: must be one of {", ".join(map(str, option.choices))}, got {value!r}')
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f'{place}: must be a finite number, got {value}')
    if option.least is not None and value < option.least:
        raise UsageError(f'{place}: must be {option.least} or more, got {value}')
    return value


_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}
