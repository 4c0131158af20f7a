"""The videos of a list, whatever it says of them: with labels or without, from the folder that they lie in."""
from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import AnnotationError
from ..flow.folder import is_video_name
from ..reading.part import VideoPart, whole_or_part
from .annotations import list_parts
from .folders.places import Places
from .question import Entry, Question, where
from .tables.bounds import bounds_among
from .tables.columns import delimiter_of, header_of, label_cell, records


def listed_videos(setting: str, roots: Sequence[str], *, list_format: str = 'auto',
                  list_encoding: str | None = None) -> tuple[str, list[str | VideoPart]]:
    """Read a list in any format that `read_annotations` knows, or of nothing but a path in each line.

    Parameters
    ----------
    setting : str
        The list.
    roots : sequence of str
        Folders that its paths may start from, the likeliest first; ``''`` is the current one.
    list_format, list_encoding
        As in `read_annotations`.

    Returns
    -------
    root : str
        The first of the folders that most of the videos lie in.
    videos : list of str or VideoPart
        Their paths, and of parts of videos these, each once.

    Raises
    ------
    AnnotationError
        When the list cannot be read, or not one of its videos is there.
    """
    setting, roots = os.path.expanduser(setting), list(dict.fromkeys(map(os.path.expanduser, roots)))
    if not os.path.exists(setting):
        raise AnnotationError(f'{setting}: the list does not exist')
    entries = _without_labels(Question(setting, encoding=list_encoding)) if list_format == 'auto' else None
    found, most, trouble = ('', []), 0, None
    for root in roots:
        try:
            if entries is not None:
                places = Places(root, 'mp4', prefer_files=False, inside=False)
                paths = list(dict.fromkeys(
                    whole_or_part(places.find(entry, must_exist=False), entry) for entry in entries))
            else:
                paths = _with_labels(setting, root, list_format, list_encoding)
        except AnnotationError as error:
            trouble = trouble or error
            continue
        there = sum(map(os.path.exists, paths))
        if there > most or not found[1]:
            found, most = (root, paths), there
        if there == len(paths):
            break
    if not found[1]:
        raise trouble or AnnotationError(f'{setting}: lists no videos')
    if not most:
        tried = ', '.join(root or 'the current folder' for root in roots)
        raise AnnotationError(f'{setting}: none of its {len(found[1])} videos is there; {os.fspath(found[1][0])} and '
                              f'the others were looked for from {tried}; pass the folder that their paths start from '
                              'as --data-dir')
    return found


def _with_labels(setting: str, root: str, list_format: str, list_encoding: str | None) -> list[str | VideoPart]:
    try:
        return list_parts(setting, root, list_format=list_format, list_encoding=list_encoding)
    except AnnotationError:
        try:
            return list_parts(setting, root, list_format=list_format, list_encoding=list_encoding, multi_label=True)
        except AnnotationError:
            pass
        raise


def _without_labels(question: Question) -> list[Entry] | None:
    """Entries of a list that names videos only; None where it says more, or something else."""
    if isinstance(question.json, list) and all(isinstance(item, str) for item in question.json):
        return [Entry(path, (), question.setting, number) for number, path in enumerate(question.json, 1)] or None
    if question.json is not None or not question.lines:
        return None
    if 'path' in header_of(question.lines, delimiter_of(question.lines)):
        rows = records(question)
        if any(label_cell(row) is not None for _, row in rows):
            return None
        return [Entry(row['path'], (), question.setting, line,
                      **bounds_among(frozenset(row)).of_entry(row, where(question.setting, line)))
                for line, row in rows if row['path']]
    lines = [(line, text.strip('"')) for line, text in question.lines]
    if lines[0][1].lower() in ('path', 'video', 'file', 'filename', 'name') and len(lines) > 1:
        lines = lines[1:]
    folder = os.path.dirname(question.setting)
    if all(is_video_name(path) or os.path.exists(path) or os.path.exists(os.path.join(folder, path))
           for _, path in lines):
        return [Entry(path, (), question.setting, line) for line, path in lines]
    return None
