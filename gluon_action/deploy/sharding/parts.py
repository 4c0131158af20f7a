"""The parts of a result on disk: their plan, their notes, and the names that processes of many machines give them.

``OUTPUT.parts`` holds ``plan.json``, what all processes agree on, and a folder for each input that is done, with the
files that were made of it and ``part.json``: which input (its bytes, time and SHA-256) and which files (theirs).
"""
from __future__ import annotations

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.tfrecords.features.origin import MANIFEST
from ...errors import PartsError
from ...files import describe, file_sha256, output_errors, put_file, sync

PLAN, NOTE = 'plan.json', 'part.json'
FORMAT = 'gluon_action parts 1'
_PARTS_A_FOLDER = 1000
_NOTED = {'input', 'bytes', 'mtime_ns', 'sha256', 'plan_sha256', 'files', 'about'}


def parts_of(output: Path) -> Path:
    """Where the parts of a result lie until they are joined."""
    return output.with_name(f'{output.name}.parts')


def manifest_of(output: Path) -> Path:
    """The file that says what a result was made of."""
    return output.with_name(f'{output.name}{MANIFEST}')


def part_name(index: int) -> str:
    """Name of the part of an input below the folder of parts; a folder holds a thousand at most."""
    return f'{index // _PARTS_A_FOLDER:05d}/{index % _PARTS_A_FOLDER:03d}'


def seal(path: str) -> dict[str, Any]:
    """Return bytes and SHA-256 of an input: a file, or a folder with all that is in it.

    What cannot be read is sealed as nothing; whoever works on it will say why.
    """
    try:
        if not os.path.isdir(path):
            return {'bytes': os.path.getsize(path), 'sha256': file_sha256(path)}
        files = sorted(str(file.relative_to(path)) for file in Path(path).rglob('*') if file.is_file())
        described = describe(Path(path), files)
        return {'bytes': sum(file['bytes'] for file in described.values()), 'sha256': sha256_of(described)}
    except OSError:
        return {'bytes': None, 'sha256': None}


def read_plan(parts: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the plan among parts, None where there is none, and its SHA-256.

    Raises
    ------
    PartsError
        When it cannot be read.
    """
    try:
        plan = json.loads((parts / PLAN).read_text('utf-8'))
    except FileNotFoundError:
        return None, ''
    except (OSError, ValueError) as error:
        raise PartsError(f'{parts / PLAN}: cannot be read ({error}); remove the folder and start again') from error
    if not isinstance(plan, dict) or plan.get('format') != FORMAT:
        raise PartsError(f'{parts / PLAN}: is no plan of {FORMAT!r}; remove the folder and start again')
    return plan, sha256_of(plan)


def read_note(place: Path) -> dict[str, Any] | None:
    """Return the note of a part; None where there is none that is whole."""
    try:
        note = json.loads((place / NOTE).read_text('utf-8'))
        return note if _NOTED == note.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def leaves_out(note: Mapping[str, Any]) -> bool:
    """Whether a part lacks something of its input that could not be read."""
    return bool(note['about'].get('skipped') or note['about'].get('torn'))


def glance(path: str) -> dict[str, Any]:
    """Return bytes of an input and when it was written (of a folder, the last of what is in it), without reading it.

    What cannot be asked for has None of both.
    """
    try:
        paths = [path, *Path(path).rglob('*')] if os.path.isdir(path) else [path]
        found = [os.stat(each) for each in paths]
        return {'bytes': sum(each.st_size for each in found if stat.S_ISREG(each.st_mode)),
                'mtime_ns': max(each.st_mtime_ns for each in found)}
    except OSError:
        return {'bytes': None, 'mtime_ns': None}


def is_noted(path: str, note: Mapping[str, Any]) -> bool:
    """Whether an input is the one of a note. It is read only where its time is another: a copy may be the same."""
    seen = glance(path)
    return seen['bytes'] == note['bytes'] and (
        seen['mtime_ns'] == note['mtime_ns'] or seal(path)['sha256'] == note['sha256'])


def sha256_of(value: Any) -> str:
    """Return the SHA-256 of what JSON knows."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_shared(path: Path, text: str) -> None:
    """Write a file that processes of several machines may write at the same time."""
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    with output_errors(path):
        temporary.write_text(text, 'utf-8')
        put_file(temporary, path)


def put_part(temporary: Path, place: Path) -> None:
    """Give a part its name, unless another process was faster: its part is the same."""
    place.parent.mkdir(exist_ok=True)
    for file in temporary.iterdir():
        sync(file)
    try:
        os.rename(temporary, place)
    except OSError:
        if read_note(place) is None:
            raise


def difference(plan: Mapping[str, Any], there: Mapping[str, Any], where: str = '') -> str:
    """Say in words what differs first between a plan and the one that is there."""
    for key in [*plan, *there]:
        wanted, found = plan.get(key), there.get(key)
        if isinstance(wanted, dict) and isinstance(found, dict):
            if wanted != found:
                return difference(wanted, found, f'{where}{key} ')
        elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) != len(found):
            return f'{len(found)} {where}{key} there, {len(wanted)} now'
        elif isinstance(wanted, list) and isinstance(found, list):
            if wanted != found:
                number = next(n for n, pair in enumerate(zip(wanted, found)) if pair[0] != pair[1])
                return f'{where}{key} number {number + 1} is {found[number]!r} there, {wanted[number]!r} now'
        elif wanted != found:
            return f'{where}{key} {found!r} there, {wanted!r} now'
    return 'it cannot be read'
