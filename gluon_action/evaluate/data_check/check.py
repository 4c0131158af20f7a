"""A set of videos looked through: what each is, and what is wrong with it, kept so that the next look is short."""
from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import __version__
from ...data.loading.video_tasks import for_each_video
from ...errors import OutputError, UsageError, VideoReadError
from ...files import open_file, output_errors, parse_json, to_json, write_file
from ...unfinished import Unfinished, stamp_of
from .facts import look_at
from .finding import DROPPED, NOTE, Finding, by_kind
from .fixed_list import write_fixed_list
from .listed import Part, read_parts
from .rules import find_all
from .sheet import Augmentation, Strip, draw_strips, sheet_png

REPORT, PAGE, SHEET = 'check.json', 'check.html', 'contact_sheet.png'
_FORMAT = 'gluon_action data check 1'


@dataclass(frozen=True)
class DataCheck:
    """What was found of a set of videos.

    Attributes
    ----------
    parts : list of Part
        Training, and validation where there is one.
    facts : dict of str to dict
        What `look_at` says of each path.
    findings : list of Finding
        The worst first.
    folder : Path or None
        Where the page, the JSON file and the contact sheet are.
    seen_before : int
        Videos that were not looked at again, as they have not changed.
    strips : list of Strip
        Of the contact sheet.
    notes : list of str
        Why something is missing.
    """

    parts: list[Part]
    facts: dict[str, dict[str, Any]]
    findings: list[Finding]
    folder: Path | None = None
    seen_before: int = 0
    strips: list[Strip] = field(default_factory=list, repr=False)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing worse than a note was found."""
        return all(finding.level == NOTE for finding in self.findings)

    @property
    def dropped(self) -> set[tuple[str, int]]:
        """Part and number of the samples that a list is better without."""
        return {(finding.part, finding.row) for finding in self.findings if finding.kind in DROPPED}

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {'format': _FORMAT, 'gluon_action': __version__, 'clean': self.clean,
                'parts': [{'name': part.name, 'source': part.source, 'videos': len(part.samples),
                           'classes': part.classes} for part in self.parts],
                'counts': dict(Counter(finding.kind for finding in self.findings)),
                'findings': [finding.as_dict() for finding in self.findings], 'notes': self.notes,
                'videos': list(self.facts.values())}


def check_data(source: str | os.PathLike, val: str | os.PathLike | None = None, *,
               out: str | os.PathLike | None = None, clip_length: int = 1, clip_step: int = 1,
               input_size: int | None = None, augmentation: Augmentation | None = None, quick: bool = False,
               num_workers: int = 1, timeout: float | None = 60., name_pattern: str | None = None,
               fix_list: str | os.PathLike | None = None, overwrite: bool = False, progress: bool = False,
               **reading) -> DataCheck:
    """Look through a set of videos, and say what is wrong with it.

    Parameters
    ----------
    source : str or path
        A list, a folder of classes, or a folder of videos.
    val : str or path, optional
        The validation list or folder.
    out : path, optional
        Folder for the page, the JSON file and the contact sheet. What is there of an earlier check is kept of videos
        that have not changed, so that an interrupted check resumes, and a second one is short.
    clip_length, clip_step : int
        Frames of a clip, and their distance.
    input_size : int, optional
        Side of what the network sees, in pixels; smaller videos are told.
    augmentation : Augmentation, optional
        How training changes frames, for the contact sheet.
    quick : bool
        Decode three frames of a video only; damage elsewhere is not found.
    num_workers : int
        Processes that read videos.
    timeout : float, optional
        Seconds that one may take.
    name_pattern : str, optional
        Of the pictures in folders of frames.
    fix_list : path, optional
        Where the list is written without the rows that `DataCheck.dropped` names.
    overwrite : bool
        Replace the file of `fix_list`.
    progress : bool
        Show a progress bar where the error stream is a terminal.
    **reading
        Those of `read_parts`: ``data_dir``, ``val_data_dir``, ``list_format``, ``list_encoding``, ``label_base``,
        ``multi_label``, ``classes``.

    Returns
    -------
    DataCheck

    Raises
    ------
    UsageError
        When an argument is invalid, or `out` holds other things.
    AnnotationError
        When a list cannot be read.
    OutputError
        When something cannot be written.

    Examples
    --------
    >>> found = check_data('train.csv', 'val.csv', data_dir='videos')
    >>> found.clean, [finding.kind for finding in found.findings]
    (False, ['cut_short', 'leak'])
    """
    parts = read_parts(os.fspath(source), val and os.fspath(val), **reading)
    if fix_list is not None:
        _check_target(Path(fix_list).expanduser(), parts[0], overwrite)
    folder = None if out is None else Path(out).expanduser()
    settings = {'quick': quick, 'name_pattern': name_pattern}
    paths = list(dict.fromkeys(sample.path for part in parts for sample in part.samples))
    log, known = (None, {}) if folder is None else _known(folder, settings, paths)
    work = functools.partial(look_at, **settings)
    facts = dict(known)
    try:
        for (path,), answer in for_each_video(work, [(path,) for path in paths if path not in known],
                                              num_workers=num_workers, timeout=timeout,
                                              bar='videos' if progress else ''):
            facts[path] = _failed(path, answer) if isinstance(answer, VideoReadError) else answer
            if log is not None:
                log.add({**facts[path], 'stamp': stamp_of(path)})
    finally:
        if log is not None:
            log.close()
    facts = {path: facts[path] for path in paths}
    findings = find_all(parts, facts, clip=(clip_length - 1) * clip_step + 1, input_size=input_size)
    check = DataCheck(parts, facts, findings, folder, len(known))
    if folder is not None:
        strips, notes = _strips(parts[0], facts, augmentation or Augmentation(), input_size=input_size or 224,
                                name_pattern=name_pattern)
        check.strips.extend(strips)
        check.notes.extend(notes)
        _write(check, settings, log)
    if fix_list is not None:
        ours = [part for part in parts if part.source == parts[0].source]
        write_fixed_list(ours, check.dropped, Path(fix_list).expanduser(), overwrite=overwrite,
                         root=os.path.expanduser(reading.get('data_dir', '')), encoding=reading.get('list_encoding'))
    return check


def _failed(path: str, error: VideoReadError) -> dict[str, Any]:
    return {'path': path, 'bytes': None, 'sha256': None, 'error': error.cause}


def _check_target(target: Path, part: Part, overwrite: bool) -> None:
    """Refuse a file that could not be written, before hours of looking."""
    if not part.labelled:
        raise UsageError(f'--fix-list {target}: the videos of {part.source} have no classes, so they make no list; '
                         'name a list, or a folder of class folders')
    if target.exists() and not overwrite:
        raise UsageError(f'--fix-list {target}: exists; pass --overwrite to replace it, or name another file')
    if not target.parent.is_dir():
        raise UsageError(f'--fix-list {target}: there is no folder {target.parent} to write it to; make it first')


def _known(folder: Path, settings: Mapping[str, Any], paths: Sequence[str]) -> tuple[Unfinished, dict[str, dict]]:
    """The file that facts are added to, and those of an earlier check that still hold."""
    report = folder / REPORT
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    if others and not report.exists() and not any(name.startswith(REPORT) for name in others):
        raise UsageError(f'--out {folder}: holds {others[0]} and no {REPORT}; name a new folder, or that of an earlier '
                         'check')
    log = Unfinished(folder / f'{REPORT}.unfinished', settings)
    known = {}
    for line in [*_read(report, settings), *log.done]:
        path = line.get('path') if isinstance(line, dict) else None
        if isinstance(path, str) and line.get('stamp') == stamp_of(path) is not None and _is_whole(line):
            known[path] = {key: value for key, value in line.items() if key != 'stamp'}
    return log, {path: known[path] for path in paths if path in known}


def _read(report: Path, settings: Mapping[str, Any]) -> list[Any]:
    """Facts of an earlier check of the same settings; none of anything else."""
    try:
        with open_file(report) as file:
            content = parse_json(file.read())
        return content['videos'] if content['settings'] == settings and isinstance(content['videos'], list) else []
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(f'{report}: is no earlier check ({error}); choose another --out, or remove it') from error


_TEXT, _NUMBER = (str, type(None)), (int, float, type(None))
_OF_ALL = {'error': _TEXT, 'sha256': _TEXT}
_OF_READ = {'frames': int, 'width': int, 'height': int, 'turned': int, 'mirrored': bool, 'still': bool, 'sound': bool,
            'fps': _NUMBER, 'seconds': _NUMBER, 'damaged': _TEXT, 'codec': _TEXT, 'fingerprint': _TEXT}


def _is_whole(line: Mapping[str, Any]) -> bool:
    """Whether somebody's facts of a video are such as `look_at` returns."""
    wanted = _OF_ALL if line.get('error') else {**_OF_ALL, **_OF_READ}
    return all(name in line and isinstance(line[name], kinds) for name, kinds in wanted.items()) and \
        re.fullmatch('[0-9a-f]{48}', line.get('fingerprint') or '0' * 48) is not None


def _strips(part: Part, facts: dict[str, dict], augmentation: Augmentation, **options) -> tuple[list[Strip], list[str]]:
    try:
        mixed = ['The augmented frames of the contact sheet are mixed with each other, as those of a batch.']
        return draw_strips(part, facts, augmentation, **options), mixed if augmentation.mixture else []
    except ImportError as error:
        return draw_strips(part, facts, None, **options), [
            f'The contact sheet shows no augmentation: its transforms need MXNet ({error}).']


def _write(check: DataCheck, settings: Mapping[str, Any], log: Unfinished) -> None:
    from .page import render_check
    if check.strips:
        write_file(check.folder / SHEET, sheet_png(check.strips))
    content = {**check.as_dict(), 'settings': dict(settings)}
    content['videos'] = [{**known, 'stamp': stamp_of(path)} for path, known in check.facts.items()]
    write_file(check.folder / PAGE, render_check(check))
    write_file(check.folder / REPORT, to_json(content))
    log.remove()


def told(check: DataCheck, most: int = 5) -> str:
    """Return what was found as text: counts, and of each kind the first ones."""
    from .finding import KINDS
    lines = []
    for part in check.parts:
        classes = f', {len(part.classes)} classes' if part.classes else ''
        lines.append(f'{part.name}: {len(part.samples)} videos{classes} ({part.source})')
    for kind, found in by_kind(check.findings).items():
        level, title, cure = KINDS[kind]
        lines.append(f'{level}: {title} ({len(found)}): {cure}')
        lines += [f'  {finding.subject}: {finding.detail}' for finding in found[:most]]
        if len(found) > most:
            lines.append(f'  and {len(found) - most} more')
    return '\n'.join(lines)
