"""Parts of a result joined: one file after the other, or as the files of a folder."""
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...errors import PartsError
from ...files import describe, output_errors, put_file, put_folder

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Concatenate:
    """One file of all files: lines of text behind a header, or TFRecords, which are made to be put together so.

    Attributes
    ----------
    header : str
        Stands before them.
    """

    kind: ClassVar[str] = 'concatenate'
    header: str = ''

    def to_json(self) -> dict[str, Any]:
        """Return what `join_from_json` reads."""
        return {'kind': self.kind, 'header': self.header}

    def join(self, files: Sequence[Path], output: Path) -> dict[str, dict[str, Any]]:
        """Write the file `output`; return its name -> ``bytes`` and ``sha256``."""
        temporary, digest = _beside(output), hashlib.sha256()
        with output_errors(output):
            try:
                with open(temporary, 'wb') as target:
                    for block in _blocks(self.header, files):
                        target.write(block)
                        digest.update(block)
                    size = target.tell()
                put_file(temporary, output)
            finally:
                temporary.unlink(missing_ok=True)
        return {output.name: {'bytes': size, 'sha256': digest.hexdigest()}}


@dataclass(frozen=True)
class Number:
    """A folder of all files, which are numbered from 0 in their order; nothing is copied within a file system.

    Attributes
    ----------
    pattern : str
        Their names, such as ``predictions-%05d.tfrecord``.
    """

    kind: ClassVar[str] = 'number'
    pattern: str = '%05d'

    def to_json(self) -> dict[str, Any]:
        """Return what `join_from_json` reads."""
        return {'kind': self.kind, 'pattern': self.pattern}

    def join(self, files: Sequence[Path], output: Path) -> dict[str, dict[str, Any]]:
        """Make the folder `output`; return name -> ``bytes`` and ``sha256`` of its files."""
        return _folder_of(files, [self.pattern % number for number in range(len(files))], output)


@dataclass(frozen=True)
class Gather:
    """A folder of all files under their own names, which must differ; nothing is copied within a file system."""

    kind: ClassVar[str] = 'gather'

    def to_json(self) -> dict[str, Any]:
        """Return what `join_from_json` reads."""
        return {'kind': self.kind}

    def join(self, files: Sequence[Path], output: Path) -> dict[str, dict[str, Any]]:
        """Make the folder `output`; return name -> ``bytes`` and ``sha256`` of its files."""
        return _folder_of(files, [file.name for file in files], output)


Join = Concatenate | Number | Gather


def join_from_json(value: Mapping[str, Any]) -> Join:
    """Return the `Concatenate`, `Number` or `Gather` that ``to_json`` was asked of.

    Raises
    ------
    PartsError
        When it is none of them.
    """
    for kind in (Concatenate, Number, Gather):
        names = {field.name for field in dataclasses.fields(kind)}
        with contextlib.suppress(AttributeError, TypeError):
            if value.get('kind') == kind.kind and value.keys() == {'kind', *names}:
                return kind(**{name: str(value[name]) for name in names})
    raise PartsError(f'the plan says that parts are joined by {value!r:.80}, which this version does not know')


def _folder_of(files: Sequence[Path], names: Sequence[str], output: Path) -> dict[str, dict[str, Any]]:
    """Make a folder of files under these names, by links; return name -> ``bytes`` and ``sha256``."""
    temporary = _beside(output)
    with output_errors(output):
        try:
            temporary.mkdir()
            for file, name in zip(files, names):
                try:
                    os.link(file, temporary / name)
                except FileExistsError as error:
                    raise PartsError(f'{output}: two parts are named {name}, and a folder holds one') from error
                except OSError:  # a file system without links
                    shutil.copyfile(file, temporary / name)
            sealed = describe(temporary, names)
            put_folder(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return sealed


def _blocks(header: str, files: Sequence[Path]):
    yield header.encode()
    for path in files:
        with open(path, 'rb') as file:
            while block := file.read(_BLOCK):
                yield block


def _beside(output: Path) -> Path:
    return output.with_name(f'.{output.name}.{uuid.uuid4().hex}')
