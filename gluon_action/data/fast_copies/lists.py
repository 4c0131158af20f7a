"""Lists of videos rewritten for their copies: the same lines with other paths, otherwise a table."""
from __future__ import annotations

import dataclasses
import io
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import AnnotationError, UsageError
from ...files import open_file, output_errors, parse_json, to_json, write_file
from ..flow.find_videos import is_list
from ..lists.annotations import Sample, VideoList, read_annotations
from ..lists.classes.class_files import BESIDE
from ..lists.question import SPLITS
from ..lists.table import as_table
from ..lists.text import read_text
from .sources import Source

#: Files beside a list that its format or its classes need.
_CLASS_FILES = (*BESIDE, 'classInd.txt')
_PATH_KEYS = re.compile(r'path|video|file|name|clip', re.IGNORECASE)


@dataclass(frozen=True)
class _Read:
    """What a list says of a split, and the base of its labels that made it readable."""

    split: str
    base: int | None
    found: VideoList


def write_lists(given: Sequence[str | os.PathLike], videos: Sequence[Source], out: Path, data_dir: str, *,
                overwrite: bool = False, **reading) -> list[Path]:
    """Write the lists among some sources into the folder of the copies, and return where they are.

    A list keeps its lines, but for the paths, if what is read of it afterwards is what was read before, with the copies
    in the place of the videos. Otherwise it becomes a table, NAME.csv. Files with names of classes come along.

    Parameters
    ----------
    given : sequence of path
        As they were given; what is no list is passed over.
    videos : sequence of Source
        All that is copied.
    out : Path
    data_dir : str
        Folder that the paths of the lists start from.
    overwrite : bool
        Replace other lists that are there.
    **reading
        ``list_format``, ``list_encoding`` and ``multi_label``.

    Raises
    ------
    UsageError
        When a list is there that says something else.
    OutputError
    """
    copies = {video.path: video.name for video in videos}
    written = []
    for setting in map(os.path.expanduser, map(os.fspath, given)):
        if is_list(setting, reading['list_format']):
            written.append(_write_list(setting, copies, out, os.path.expanduser(data_dir), overwrite, reading))
    return written


def check_lists(given: Sequence[str | os.PathLike], out: Path, list_format: str) -> None:
    """Refuse, before hours of work, lists that would take the place of each other or of themselves."""
    taken: dict[str, str] = {}
    for setting in map(os.path.expanduser, map(os.fspath, given)):
        if not is_list(setting, list_format):
            continue
        name = os.path.basename(setting.rstrip('/'))
        other = taken.setdefault(os.path.splitext(name)[0], setting)
        if os.path.realpath(other) != os.path.realpath(setting):
            raise UsageError(f'{other} and {setting}: their lists of copies would have one name, {name}; give one of '
                             'them another, or copy them to two --out')
        if os.path.realpath(out / name) == os.path.realpath(setting):
            raise UsageError(f'--out {out}: {setting} is there, and its list of copies would take its place; name '
                             'another folder')


def _write_list(setting: str, copies: Mapping[str, str], out: Path, data_dir: str, overwrite: bool,
                reading: dict[str, Any]) -> Path:
    before = _read(setting, data_dir, reading)
    name, content = os.path.basename(setting.rstrip('/')), None
    with output_errors(out):
        trial = out / f'.list-{secrets.token_hex(4)}'
        trial.mkdir()
        try:
            beside = _class_files(setting)
            for path in beside:
                shutil.copyfile(path, trial / path.name)
            if os.path.isfile(setting):
                content = _with_new_paths(setting, before, copies, reading['list_encoding'])
            if content is not None:
                (trial / name).write_bytes(content)
                if not _says_the_same(before, os.fspath(trial / name), copies, out, reading):
                    content = None
        finally:
            shutil.rmtree(trial, ignore_errors=True)
    if content is None:
        name, content = f'{os.path.splitext(name)[0] or "list"}.csv'.replace('*', ''), _table(before, copies)
    for path in [*beside, out / name]:
        _write(out / path.name, content if path.name == name else path.read_bytes(), overwrite)
    return out / name


def _read(setting: str, root: str, reading: dict[str, Any]) -> list[_Read]:
    """What a list says of each of its splits; labels that begin at 1 are read as such where nothing else helps."""
    troubles, found = [], []
    for split in SPLITS:
        for base in (None, 1):
            try:
                found.append(_Read(split, base, read_annotations(setting, root, split=split, label_base=base,
                                                                 **reading)))
                break
            except AnnotationError as error:
                troubles.append(error)
    if not found:
        raise troubles[0]
    if len(found) == 2 and _rows(found[0].found) == _rows(found[1].found):  # it knows no splits
        found.pop()
    return found


def _with_new_paths(setting: str, before: Sequence[_Read], copies: Mapping[str, str],
                    encoding: str | None) -> bytes | None:
    """The content of a list with the paths of the copies; the very same bytes where they are the old ones."""
    renamed: dict[int, tuple[str, str]] = {}
    for sample in (sample for read in before for sample in read.found.samples):
        old, new = _path_in(sample), copies.get(os.path.normpath(sample.path))
        if new is not None and old != new:
            renamed[sample.line] = old, new
    if not renamed:
        with open_file(setting) as file:
            return file.read()
    text = read_text(setting, encoding)
    if 0 in renamed:  # nothing says which line it is
        return None
    try:
        return to_json(_renamed_json(parse_json(text), renamed)).encode('utf-8', 'surrogateescape')
    except ValueError:
        pass
    lines = list(io.StringIO(text, newline=None))
    for number, (old, new) in renamed.items():
        if number <= len(lines):
            # As a whole cell or word: a path may be part of another.
            cell = rf'(?<![^\s,;|"\'=:]){re.escape(old)}/?(?![^\s,;|"\'])'
            lines[number - 1] = re.sub(cell, lambda _, new=new: new, lines[number - 1], count=1)
    return ''.join(lines).encode(encoding or 'utf-8', 'surrogateescape' if encoding is None else 'strict')


def _renamed_json(content: Any, renamed: Mapping[int, tuple[str, str]]) -> Any:
    if isinstance(content, dict):
        return {renamed[number][1] if number in renamed and key == renamed[number][0] else key: value
                for number, (key, value) in enumerate(content.items(), 1)}
    if not isinstance(content, list):
        raise ValueError('it is no list')
    return [_renamed_entry(entry, *renamed[number]) if number in renamed and isinstance(entry, dict) else entry
            for number, entry in enumerate(content, 1)]


def _renamed_entry(entry: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key: new if value == old and _PATH_KEYS.search(key) else value for key, value in entry.items()}


def _says_the_same(before: Sequence[_Read], setting: str, copies: Mapping[str, str], out: Path,
                   reading: dict[str, Any]) -> bool:
    try:
        after = [read_annotations(setting, os.fspath(out), split=read.split, label_base=read.base, **reading)
                 for read in before]
    except (AnnotationError, UsageError):
        return False
    for read, found in zip(before, after):
        if (read.found.classes, read.found.num_classes, _rows(read.found)) != (
                found.classes, found.num_classes, _rows(found)):
            return False
        for one, other in zip(read.found.samples, found.samples):
            copy = copies.get(os.path.normpath(one.path))
            if copy is not None and os.path.exists(out / copy) and not _is(other.path, out / copy):
                return False
    return True


def _is(path: str, copy: Path) -> bool:
    return os.path.normpath(path) == os.path.normpath(copy)


def _rows(found: VideoList) -> list[tuple]:
    """All that is said of each video but where it is."""
    return [(sample.label, sample.num_frames, sample.start, sample.end, sample.first, sample.last)
            for sample in found.samples]


def _table(before: Sequence[_Read], copies: Mapping[str, str]) -> bytes:
    samples, splits = [], []
    for read in before:
        samples += [dataclasses.replace(sample, path=copies.get(os.path.normpath(sample.path), _path_in(sample)))
                    for sample in read.found.samples]
        splits += [read.split] * len(read.found.samples)
    text = as_table(samples, '', before[0].found.classes, splits=splits if len(before) > 1 else ())
    return text.encode('utf-8', 'surrogateescape')


def _path_in(sample: Sample) -> str:
    """The path as the list writes it."""
    return re.sub(r'#[tf]=[\d.,e+-]*$', '', sample.key)


def _class_files(setting: str) -> list[Path]:
    folder = Path(os.path.dirname(setting))
    return [folder / name for name in _CLASS_FILES if (folder / name).is_file() and name != os.path.basename(setting)]


def _write(path: Path, content: bytes, overwrite: bool) -> None:
    if path.exists() and not overwrite and path.read_bytes() != content:
        raise UsageError(f'{path}: is there and says something else; pass --overwrite to replace it, or choose another '
                         '--out')
    write_file(path, content)
