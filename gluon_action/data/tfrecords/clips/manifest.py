"""Which files of clip records are finished, so that an interrupted run resumes after them."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ....errors import OutputError
from ....files import open_file, parse_json, write_file

MANIFEST = 'manifest.json'
_FORMAT = 'clip records 1'
# What a process that was killed leaves of a file that it was writing.
_LEFT = re.compile(r'\.(.*\.tfrecord|manifest\.json|report\.json|classes\.txt)\.[0-9]+$')
_OTHERS = {'annotations_sha256': 'the annotations are others, or have changed',
           'shards_sha256': 'videos have changed since: they have other frames'}


class Manifest:
    """The finished files of a folder, in ``manifest.json``.

    Parameters
    ----------
    folder : Path
        Exists; holds nothing yet, or what the same settings made.
    origin : dict
        ``settings`` and ``annotations_sha256``: what the files are made of.
    overwrite : bool
        Remove the files that something else made.

    Attributes
    ----------
    files : dict of str to dict
        Name below `folder` -> ``sha256``, ``bytes``, ``clips``, ``labels`` and ``skipped``.

    Raises
    ------
    OutputError
        When the folder holds other things.
    """

    def __init__(self, folder: Path, origin: dict[str, Any], overwrite: bool = False):
        self.folder, self.path, self._overwrite = folder, folder / MANIFEST, overwrite
        self.origin = {'format': _FORMAT, **json.loads(json.dumps(origin))}
        self.files: dict[str, dict] = {}
        previous = self._read()
        if previous is None and any(not _LEFT.match(path.name) for path in folder.iterdir()):
            raise OutputError(f'{folder} is not empty and was not made by this command; choose another --out')
        self._shards_sha256 = (previous or {}).get('shards_sha256')
        if previous is not None:
            self.files = previous['files']
            self._compare(self.origin, previous)

    def expect(self, *, shards_sha256: str) -> None:
        """Declare the files that will be written, before the first is added; others are removed or refused."""
        self._compare({'shards_sha256': shards_sha256}, {'shards_sha256': self._shards_sha256 or shards_sha256})
        self.origin['shards_sha256'] = self._shards_sha256 = shards_sha256
        for path in self.folder.glob('**/.*'):
            if _LEFT.match(path.name):
                path.unlink()
        self._save()

    def has(self, name: str) -> bool:
        """Whether a file is finished, and still there in its size."""
        path = self.folder / name
        return name in self.files and path.is_file() and path.stat().st_size == self.files[name]['bytes']

    def add(self, name: str, record: dict) -> None:
        """Note that a file is finished."""
        self.files[name] = record
        self._save()

    def drop(self, name: str) -> None:
        """Note that a file is to be made again."""
        del self.files[name]
        self._save()

    def _read(self) -> dict | None:
        try:
            with open_file(self.path) as file:
                manifest = parse_json(file.read())
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise OutputError(f'{self.path}: cannot be read: {error.strerror or error}') from error
        if not isinstance(manifest, dict) or manifest.get('format') != _FORMAT:
            return None
        files = manifest.get('files')
        if not isinstance(files, dict) or not all(
                _is_below(name) and isinstance(record, dict) and type(record.get('bytes')) is int
                and isinstance(record.get('labels', {}), dict) for name, record in files.items()):
            raise OutputError(f'{self.path}: is damaged: it names files that no run of this command writes; choose '
                              'another --out')
        return manifest

    def _compare(self, wanted: dict, previous: dict) -> None:
        """Refuse, or remove, files that were made of something else."""
        differing = [_difference(key, value, previous.get(key)) for key, value in wanted.items()
                     if value != previous.get(key)]
        if not differing:
            return
        if not self._overwrite:
            raise OutputError(f'{self.folder} holds clip records that were made otherwise: {"; ".join(differing)}. '
                              'Choose another --out, or pass --overwrite to make them again')
        for name in self.files:
            (self.folder / name).unlink(missing_ok=True)
        self.files, self._shards_sha256 = {}, None

    def _save(self) -> None:
        content = {**self.origin, 'files': dict(sorted(self.files.items()))}
        write_file(self.path, json.dumps(content, indent=1, ensure_ascii=False) + '\n')


def _is_below(name: str) -> bool:
    """Whether it names a file below the folder; files are removed by these names."""
    return not name.startswith('/') and '\0' not in name and not {'', '.', '..'} & set(name.split('/'))


def _difference(key: str, wanted: Any, previous: Any) -> str:
    if key in _OTHERS:
        return _OTHERS[key]
    if not (isinstance(wanted, dict) and isinstance(previous, dict)):
        return f'{key} {previous!r} instead of {wanted!r}'
    return ', '.join(_difference(name, value, previous.get(name)) for name, value in wanted.items()
                     if value != previous.get(name))
