"""Work on many input files by any number of processes: whose each file is, which are done, and that all of them are.

Each input makes a part of the result, a folder in ``OUTPUT.parts``, whichever process works on it. One process alone
does nothing else, and joins the parts in the end; so the result is the same, byte for byte, however it was shared out.
"""
from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import OutputError, PartsError, UsageError
from ...files import describe, output_errors, to_json
from ...unfinished import Shard
from .joining import Join
from .merging import check_output, merge
from .on_ray import on_ray
from .parts import (
    FORMAT,
    NOTE,
    PLAN,
    difference,
    glance,
    is_noted,
    leaves_out,
    part_name,
    parts_of,
    put_part,
    read_note,
    read_plan,
    seal,
    write_shared,
)


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
    strict : bool
        Make parts again whose notes say that something was ``skipped``, or an input ``torn``: an earlier process was
        told to leave out what cannot be read, and this one is not.
    expect : callable, optional
        ``expect(indices)`` is called before the first input with those that this process will work on, in their order,
        so that they can be read ahead; with Ray, which hands them out one by one, it is not.
    """

    output: Path
    inputs: Sequence[str]
    settings: dict[str, Any]
    join: Join
    make: Callable[[int, Path], dict[str, Any]]
    strict: bool = False
    expect: Callable[[Sequence[int]], None] | None = None

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return parts_of(self.output)

    @property
    def plan(self) -> dict[str, Any]:
        """What the processes must agree on; ``plan.json`` among the parts."""
        return json.loads(json.dumps({'format': FORMAT, 'settings': self.settings, 'join': self.join.to_json(),
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
    if len(set(job.inputs)) < len(job.inputs):
        (repeated, _), = collections.Counter(job.inputs).most_common(1)
        raise UsageError(f'{repeated}: is named twice among the inputs')
    check_output(job.output, overwrite)
    plan_sha256 = _agree(job)
    mine = (shard or Shard(1, 1)).of(len(job.inputs))
    notes = {index: note for index in mine if (note := _finished(job, index, plan_sha256))}
    todo = [index for index in mine if index not in notes]
    found = len(notes)
    if job.expect and not ray:
        job.expect(todo)
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
    before = {**glance(path), **seal(path)}  # before it is read: what is written to it later has another time
    temporary = job.parts / f'.{uuid.uuid4().hex}'  # two processes may, for a while, work on the same input
    try:
        with output_errors(place):
            temporary.mkdir()
            about = job.make(index, temporary)
            names = sorted(file.name for file in temporary.iterdir())
            note = json.loads(json.dumps({'input': os.fspath(path), **before, 'plan_sha256': plan_sha256,
                                          'files': describe(temporary, names), 'about': about}))
            (temporary / NOTE).write_text(to_json(note), 'utf-8')
            put_part(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return note


def _agree(job: Job) -> str:
    """Write the plan, or compare it with the one that is there; return its SHA-256."""
    plan = job.plan
    with output_errors(job.parts):
        job.parts.mkdir(parents=True, exist_ok=True)
    for attempt in range(2):  # another process may have written another plan at the same moment
        others = [path.name for path in job.parts.iterdir() if not path.name.startswith('.')]
        there, plan_sha256 = read_plan(job.parts)  # asked for last: another process may have begun in between
        if there is None and not attempt:
            if others:
                raise OutputError(f'{job.parts}: holds {min(others)} and no parts, which would go there; rename or '
                                  'remove it, or choose another output')
            write_shared(job.parts / PLAN, to_json(plan))
        elif there != plan:
            raise PartsError(f'{job.parts}: holds parts of another job: {difference(plan, there or {})}; choose '
                             'another output, or remove that folder')
    return plan_sha256


def _finished(job: Job, index: int, plan_sha256: str) -> dict[str, Any] | None:
    """The note of a part that is there in its size, of these settings and of the input as it is now."""
    place = job.parts / part_name(index)
    note = read_note(place)
    with contextlib.suppress(OSError):
        if note and note['plan_sha256'] == plan_sha256 and note['input'] == os.fspath(job.inputs[index]) \
                and not (job.strict and leaves_out(note)) \
                and all((place / name).stat().st_size == file['bytes'] for name, file in note['files'].items()) \
                and is_noted(note['input'], note):
            return note
    shutil.rmtree(place, ignore_errors=True)  # damaged, or of an input that is another now
    return None
