"""A list without its bad rows: the same lines where that can be, otherwise a table of paths and labels."""
from __future__ import annotations

import io
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from ...data.lists.table import as_table
from ...data.lists.text import read_text
from ...errors import UsageError
from ...files import parse_json, to_json, write_file
from .listed import Part


def write_fixed_list(parts: Sequence[Part], dropped: Collection[tuple[str, int]], target: Path, *,
                     root: str = '', encoding: str | None = None, overwrite: bool = False) -> None:
    """Write a list without some of its rows.

    A text file keeps the lines that name the others, with its header, blank lines and comments; JSON its other
    entries. What is no such file, as a folder of classes, becomes a table with the columns path and label, whose paths
    start from that folder.

    Parameters
    ----------
    parts : sequence of Part
        All that were read from the list.
    dropped : collection of (str, int)
        Names of parts, and numbers of samples in them.
    target : Path
    root : str
        Folder that the paths of the list start from.
    encoding : str, optional
        Of the list.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    UsageError
        When it exists, or is the list itself.
    OutputError
    """
    source = Path(parts[0].source)
    if target.exists() and source.exists() and os.path.samefile(target, source):
        raise UsageError(f'--fix-list {target}: is the list itself, which is kept; name another file')
    if target.exists() and not overwrite:
        raise UsageError(f'--fix-list {target}: exists; pass --overwrite to replace it, or name another file')
    rows = [(part, row, (part.name, row) in dropped) for part in parts for row in range(len(part.samples))]
    lines = {part.samples[row].line for part, row, bad in rows if bad}
    kept = {part.samples[row].line for part, row, bad in rows if not bad}
    content = None
    if source.is_file() and 0 not in lines | kept and not lines & kept:  # a line of several videos is none of these
        content = _without(source, lines, encoding)
    if content is None:
        good = [(part, row) for part, row, bad in rows if not bad]
        content = as_table([part.samples[row] for part, row in good], os.fspath(source) if source.is_dir() else root,
                           parts[0].classes, splits=[part.name for part, _ in good] if len(parts) > 1 else ())
    write_file(target, content)


def _without(source: Path, dropped: Collection[int], encoding: str | None) -> str | None:
    text = read_text(os.fspath(source), encoding)
    try:
        found = parse_json(text)
    except ValueError:
        lines = list(io.StringIO(text, newline=None))
        if any(line.count('"') % 2 for line in lines):  # a cell of several lines: lines are no rows
            return None
        return ''.join(line for number, line in enumerate(lines, 1) if number not in dropped)
    if isinstance(found, dict):
        return to_json({key: value for number, (key, value) in enumerate(found.items(), 1) if number not in dropped})
    if isinstance(found, list):
        return to_json([entry for number, entry in enumerate(found, 1) if number not in dropped])
    return None
