"""The prefix by which a stored model is named, and the two files of it."""
from __future__ import annotations

import os
from pathlib import Path

from ....errors import UsageError
from ....feature_architecture import FILE as FLAGS

#: What a prefix is where a folder is named: the prefix that an evaluation writes into a train_dir.
NAME = 'inference_model'
FORMAT = 1


def prefix_of(path: str | os.PathLike) -> Path:
    """Return the prefix that a user means: itself, one of its two files, or the `NAME` in a folder."""
    path = Path(path).expanduser()
    if path.is_dir():
        return path / NAME
    return path.with_suffix('') if path.suffix in ('.params', '.json') and path.is_file() else path


def files_of(prefix: str | os.PathLike) -> tuple[Path, Path]:
    """Return the two files of a prefix: parameters and description."""
    return Path(f'{prefix}.params'), Path(f'{prefix}.json')


def is_stored(path: str | os.PathLike) -> bool:
    """Whether a path means a stored model: one that is there, or the folder of a run that will have one."""
    prefix = prefix_of(path)
    return all(file.is_file() for file in files_of(prefix)) or (prefix.parent / FLAGS).is_file() and prefix.name == NAME


def check_new(prefix: str | os.PathLike, who: str) -> None:
    """Raise `UsageError` where a stored model of this prefix is there already; `who` is the flag that named it."""
    for path in files_of(prefix):
        if path.exists() or path.is_symlink():
            raise UsageError(f'{who} {prefix}: {path.name} is there already; name another prefix, or remove it')
