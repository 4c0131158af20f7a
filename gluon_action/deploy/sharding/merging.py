"""Parts that several processes made, joined to the result once it is proved that they are all there."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ...errors import OutputError, PartsError
from ...files import Changed, check_folder_takes_files, check_sealed, output_errors, to_json
from .joining import join_from_json
from .parts import PLAN, glance, is_noted, manifest_of, part_name, parts_of, read_note, read_plan, seal, write_shared


def merge(output: str | os.PathLike, *, check_inputs: bool = False, keep_parts: bool = False,
          overwrite: bool = False) -> dict[str, Any]:
    """Join the parts of a result when all of them are there, and prove it.

    Every input that was planned has one part, of these settings, with the very bytes that its note says; there are no
    others. The result gets its name when it is whole, and beside it ``OUTPUT.manifest.json`` says what it was made
    of. Then the parts are removed.

    Parameters
    ----------
    output : path
    check_inputs : bool
        Read all inputs again and compare their SHA-256. By default only those are read that are there and whose time
        is another; one whose size is another is refused.
    keep_parts : bool
    overwrite : bool
        Replace an older result.

    Returns
    -------
    dict
        The manifest: ``settings``, ``inputs`` (path, bytes, SHA-256 and what was noted of each) and ``files``.

    Raises
    ------
    PartsError
        When a part is missing, changed, or of another job; it names the first, and the shards to run again.
    OutputError
        When the output exists, or cannot be written.
    """
    output = Path(output).expanduser()
    parts = parts_of(output)
    plan, plan_sha256 = read_plan(parts)
    if plan is None:
        raise PartsError(f'{parts}: holds no {PLAN}, so nothing was started there; name the output as it was named to '
                         'the shards')
    check_output(output, overwrite)
    inputs = plan['inputs']
    notes = [read_note(parts / part_name(index)) for index in range(len(inputs))]
    missing = [index for index, note in enumerate(notes) if note is None]
    if missing:
        raise PartsError(f'{parts}: {len(missing)} of {len(inputs)} parts are missing, first that of '
                         f'{inputs[missing[0]]} (number {missing[0] + 1}); run the shards again, they do what is left')
    if extra := _strangers(parts, len(inputs)):
        raise PartsError(f'{parts / extra[0]}: is no part of this job, which has {len(inputs)} inputs; remove it')
    for path, note, index in zip(inputs, notes, range(len(inputs))):
        _check_part(parts / part_name(index), path, note, plan_sha256, check_inputs)
    files = join_from_json(plan['join']).join([parts / part_name(index) / name for index, note in enumerate(notes)
                                               for name in note['files']], output)
    keys = ('input', 'bytes', 'sha256', 'about')
    manifest = {'settings': plan['settings'], 'files': files, 'inputs': [{key: note[key] for key in keys}
                                                                         for note in notes]}
    write_shared(manifest_of(output), to_json(manifest))
    if not keep_parts:
        shutil.rmtree(parts)
    return manifest


def check_output(output: Path, overwrite: bool) -> None:
    """Make the folder of a result, and refuse to replace one unless told.

    Raises
    ------
    OutputError
    """
    with output_errors(output):
        check_folder_takes_files(output.parent)
    if output.exists() and not overwrite:
        raise OutputError(f'{output}: exists; choose another name, or remove it'
                          + ('' if output.is_dir() else ', or pass --overwrite'))


def _check_part(place: Path, path: str, note: dict[str, Any], plan_sha256: str, check_inputs: bool) -> None:
    if note['input'] != path or note['plan_sha256'] != plan_sha256:
        raise PartsError(f'{place}: is the part of {note["input"]} under other settings, and {path} belongs there; '
                         'remove it and run its shard again')
    for name, sealed in note['files'].items():
        try:
            check_sealed(place / name, sealed)
        except (OSError, Changed) as error:
            raise PartsError(f'{place / name}: is no longer what was written (part of {path}: {error}); remove {place} '
                             'and run its shard again') from error
    if check_inputs:
        same = seal(path) == {key: note[key] for key in ('bytes', 'sha256')}
    else:
        same = glance(path)['bytes'] is None or is_noted(path, note)  # inputs may be on another machine
    if not same:
        raise PartsError(f'{path}: is another file than the one that was worked on; remove {place} and run its shard '
                         'again')


def _strangers(parts: Path, num_inputs: int) -> list[str]:
    known = {part_name(index) for index in range(num_inputs)}
    found = [f'{place.parent.name}/{place.name}' for place in parts.glob('[0-9]*/*')]
    return sorted(set(found) - known)
