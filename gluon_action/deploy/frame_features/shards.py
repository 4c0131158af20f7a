"""Work on many input files by any number of processes: whose each file is, which are done, and that all of them are.

Each input makes a part of the result, a folder in ``OUTPUT.parts``, whichever process works on it. One process alone
does nothing else, and joins the parts in the end; so the result is the same, byte for byte, however it was shared out.
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import OutputError, PartsError, UsageError
from ...files import Changed, check_sealed, describe, file_sha256, output_errors, put_file, to_json
from .joining import Join, join_from_json
from .on_ray import on_ray

PLAN, NOTE = 'plan.json', 'part.json'
_FORMAT = 'gluon_action parts 1'
_PARTS_A_FOLDER = 1000


@dataclass(frozen=True)
class Shard:
    """The inputs ``index``, ``index + count``, ... (the first is number 1): the share of one of `count` processes."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``, I from 1 to N.

        Raises
        ------
        UsageError
        """
        found = re.fullmatch(r'(\d+)/(\d+)', text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f'--shard {text}: must be I/N with I from 1 to N, such as 1/8 to 8/8; of a Slurm array '
                             '--array=1-8 it is $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT')
        return cls(int(found[1]), int(found[2]))

    def of(self, num_inputs: int) -> range:
        """Indices of its inputs, from 0."""
        return range(self.index - 1, num_inputs, self.count)

    def __str__(self) -> str:
        return f'{self.index}/{self.count}'


@dataclass(frozen=True)
class Job:
    """What is done with each input, and what becomes of the parts.

    Attributes
    ----------
    output : Path
        A file or a folder, as `join` makes it.
    inputs : sequence of str
        Files, or folders, in the order of the result; each once.
    settings : dict
        All that decides the parts beside the inputs, as JSON knows it: the SHA-256 of a model, say. Parts of other
        settings are refused.
    join : Join
    make : callable
        ``make(index, folder) -> dict``: writes the part of input `index` as files into an empty folder, and returns
        what to note of it, as JSON knows it; equal inputs and settings give equal bytes. What is costly, such as
        opening a model, waits until it is called.
    """

    output: Path
    inputs: Sequence[str]
    settings: dict[str, Any]
    join: Join
    make: Callable[[int, Path], dict[str, Any]]

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return parts_of(self.output)

    @property
    def plan(self) -> dict[str, Any]:
        """What the processes must agree on; ``plan.json`` among the parts."""
        return json.loads(json.dumps({'format': _FORMAT, 'settings': self.settings, 'join': self.join.to_json(),
                                      'inputs': [os.fspath(path) for path in self.inputs]}))


@dataclass(frozen=True)
class Progress:
    """What a process has done: inputs that were its, parts that lay there before, and notes of all its parts."""

    mine: int
    found: int
    notes: list[dict[str, Any]]
    merged: dict[str, Any] | None = None


def run_job(open_job: Callable[[Any], Job], config: Any, *, shard: Shard | None = None, ray: str = '',
            gpus: float = 0, overwrite: bool = False, progress: bool = False) -> Progress:
    """Do a job, or the shard of it that is this process's; what was done before is kept.

    Parameters
    ----------
    open_job : callable
        ``open_job(config) -> Job``; with `ray` a function at the top of a module.
    config
        Its argument; with `ray` it can be pickled and hashed.
    shard : Shard, optional
        Without one all inputs are worked on and the parts are joined; with one `merge` joins them in the end.
    ray : str
        ``local``, or the address of a Ray cluster, whose workers then do the work: all see the same files.
    gpus : float
        What Ray reserves for each input.
    overwrite : bool
        Replace an older result.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Returns
    -------
    Progress
        `merged` is the manifest, where the parts were joined.

    Raises
    ------
    OutputError
        When the output exists, or cannot be written.
    PartsError
        When there are parts of other settings.
    """
    from tqdm import tqdm
    job = open_job(config)
    if shard and ray:
        raise UsageError('--shard and --ray: Ray shares the inputs out itself; leave --shard out')
    if not job.inputs:
        raise UsageError('there is no input')
    if repeated := [path for path in dict.fromkeys(job.inputs) if list(job.inputs).count(path) > 1]:
        raise UsageError(f'{repeated[0]}: is named twice among the inputs')
    if job.output.exists() and not overwrite:
        raise OutputError(f'{job.output}: exists; choose another name, or remove it')
    plan_sha256 = _agree(job)
    mine = (shard or Shard(1, 1)).of(len(job.inputs))
    notes = {index: note for index in mine if (note := _finished(job, index, plan_sha256))}
    todo = [index for index in mine if index not in notes]
    found = len(notes)
    made = on_ray(ray, make_part, open_job, config, todo, plan_sha256, gpus) if ray else \
        ((index, make_part(job, index, plan_sha256)) for index in todo)
    for index, note in tqdm(made, total=len(mine), initial=found, unit='file', desc=job.output.name,
                            disable=None if progress else True):
        notes[index] = note
    merged = None if shard else merge(job.output, overwrite=overwrite)
    return Progress(len(mine), found, [notes[index] for index in mine], merged)


def make_part(job: Job, index: int, plan_sha256: str) -> dict[str, Any]:
    """Work on one input and return the note of its part, which is there as a whole or not at all."""
    path, place = job.inputs[index], job.parts / part_name(index)
    before = seal(path)
    temporary = job.parts / f'.{uuid.uuid4().hex}'  # two processes may, for a while, work on the same input
    try:
        with output_errors(place):
            temporary.mkdir()
            about = job.make(index, temporary)
            names = sorted(file.name for file in temporary.iterdir())
            note = json.loads(json.dumps({'input': os.fspath(path), **before, 'plan_sha256': plan_sha256,
                                          'files': describe(temporary, names), 'about': about}))
            (temporary / NOTE).write_text(to_json(note), 'utf-8')
            _put(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return note


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
        Read all inputs again and compare their SHA-256.
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
    plan, plan_sha256 = _read_plan(parts)
    if plan is None:
        raise PartsError(f'{parts}: holds no {PLAN}, so nothing was started there; name the output as it was named to '
                         'the shards')
    if output.exists() and not overwrite:
        raise OutputError(f'{output}: exists; choose another name, or remove it')
    inputs = plan['inputs']
    notes = [_read_note(parts / part_name(index)) for index in range(len(inputs))]
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
    _write(manifest_of(output), to_json(manifest))
    if not keep_parts:
        shutil.rmtree(parts)
    return manifest


def parts_of(output: Path) -> Path:
    """Where the parts of a result lie until they are joined."""
    return output.with_name(f'{output.name}.parts')


def manifest_of(output: Path) -> Path:
    """The file that says what a result was made of."""
    return output.with_name(f'{output.name}.manifest.json')


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
        return {'bytes': sum(file['bytes'] for file in described.values()), 'sha256': _sha256(described)}
    except OSError:
        return {'bytes': None, 'sha256': None}


def _agree(job: Job) -> str:
    """Write the plan, or compare it with the one that is there; return its SHA-256."""
    plan = job.plan
    with output_errors(job.parts):
        job.parts.mkdir(parents=True, exist_ok=True)
    for attempt in range(2):  # another process may have written another plan at the same moment
        there, plan_sha256 = _read_plan(job.parts)
        if there is None and not attempt:
            if others := [path.name for path in job.parts.iterdir() if not path.name.startswith('.')]:
                raise OutputError(f'{job.parts}: holds {min(others)} and no parts, which would go there; rename or '
                                  'remove it, or choose another output')
            _write(job.parts / PLAN, to_json(plan))
        elif there != plan:
            raise PartsError(f'{job.parts}: holds parts of another job: {_difference(plan, there or {})}; choose '
                             'another output, or remove that folder')
    return plan_sha256


def _difference(plan: Mapping[str, Any], there: Mapping[str, Any], where: str = '') -> str:
    for key in [*plan, *there]:
        wanted, found = plan.get(key), there.get(key)
        if isinstance(wanted, dict) and isinstance(found, dict):
            if wanted != found:
                return _difference(wanted, found, f'{where}{key} ')
        elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) != len(found):
            return f'{len(found)} {where}{key} there, {len(wanted)} now'
        elif isinstance(wanted, list) and isinstance(found, list):
            if wanted != found:
                number = next(n for n, pair in enumerate(zip(wanted, found)) if pair[0] != pair[1])
                return f'{where}{key} number {number + 1} is {found[number]!r} there, {wanted[number]!r} now'
        elif wanted != found:
            return f'{where}{key} {found!r} there, {wanted!r} now'
    return 'it cannot be read'


def _finished(job: Job, index: int, plan_sha256: str) -> dict[str, Any] | None:
    """The note of a part that is there in its size, of these settings and of an input of this size."""
    place = job.parts / part_name(index)
    note = _read_note(place)
    with contextlib.suppress(OSError):
        if note and note['plan_sha256'] == plan_sha256 and note['input'] == os.fspath(job.inputs[index]) \
                and all((place / name).stat().st_size == file['bytes'] for name, file in note['files'].items()) \
                and (os.path.isdir(note['input']) or note['bytes'] == _size(note['input'])):
            return note
    shutil.rmtree(place, ignore_errors=True)  # damaged, or of an input that is another now
    return None


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
    if check_inputs and seal(path) != {key: note[key] for key in ('bytes', 'sha256')}:
        raise PartsError(f'{path}: is another file than the one that was worked on; remove {place} and run its shard '
                         'again')


def _strangers(parts: Path, num_inputs: int) -> list[str]:
    known = {part_name(index) for index in range(num_inputs)}
    found = [f'{place.parent.name}/{place.name}' for place in parts.glob('[0-9]*/*')]
    return sorted(set(found) - known)


def _read_plan(parts: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        plan = json.loads((parts / PLAN).read_text('utf-8'))
    except FileNotFoundError:
        return None, ''
    except (OSError, ValueError) as error:
        raise PartsError(f'{parts / PLAN}: cannot be read ({error}); remove the folder and start again') from error
    if not isinstance(plan, dict) or plan.get('format') != _FORMAT:
        raise PartsError(f'{parts / PLAN}: is no plan of {_FORMAT!r}; remove the folder and start again')
    return plan, _sha256(plan)


def _read_note(place: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((place / NOTE).read_text('utf-8'))
        return note if {'input', 'bytes', 'sha256', 'plan_sha256', 'files', 'about'} == note.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file that processes of several machines may write at the same time."""
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    with output_errors(path):
        temporary.write_text(text, 'utf-8')
        put_file(temporary, path)


def _put(temporary: Path, place: Path) -> None:
    """Give a part its name, unless another process was faster: its part is the same."""
    place.parent.mkdir(exist_ok=True)
    for file in temporary.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    try:
        os.rename(temporary, place)
    except OSError:
        if _read_note(place) is None:
            raise
