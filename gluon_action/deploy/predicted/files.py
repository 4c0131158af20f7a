"""Where the files of predictions go: decided, and refused where they cannot be written, before the work."""
from __future__ import annotations

import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...data.flow.folder import is_video_name
from ...data.reading.part import VideoPart
from ...errors import OutputError, UsageError
from ...files import new_part
from .overlay import check_path
from .overlay_panel import import_pillow
from .tables import Tables, ending_of
from .timeline import import_matplotlib

FIELDS = ('name', 'number')
_NO_TABLES = Tables()


class Job(NamedTuple):
    """A video or a part of one, and the files that its prediction goes to."""

    video: str | VideoPart
    overlays: tuple[Path, ...] = ()
    timeline: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.overlays, *([self.timeline] if self.timeline else [])]


def plan_jobs(videos: Sequence[str | VideoPart], *, overlay: str | None = None, timeline: str | None = None,
              tables: Tables = _NO_TABLES, overwrite: bool = False) -> list[Job]:
    """Decide where every output goes, and refuse what cannot be written.

    Parameters
    ----------
    videos : sequence of str or VideoPart
    overlay, timeline : str, optional
        A file for one video; for several a folder, or a name with ``{name}`` (of the video, without its ending) or
        ``{number}`` (from 1) in it.
    tables : Tables
        Files for all.
    overwrite : bool
        Replace files that are there. Those of an interrupted command, which ``tables.unfinished`` knows, are not in
        the way.

    Raises
    ------
    UsageError
        When a file exists, two would have the same name, the folder is missing, or a package that writes them is.
    OutputError
        When a folder cannot be written to.
    """
    overlays = output_paths('--overlay', overlay, videos, '.mp4') if overlay else [None] * len(videos)
    timelines = output_paths('--timeline', timeline, videos, '.png') if timeline else [None] * len(videos)
    if overlay:
        import_pillow()
    if timeline:
        import_matplotlib()
    targets = [('--overlay', path) for path in overlays] + [('--timeline', path) for path in timelines]
    targets += tables.files.items()
    if tables.segments:
        ending_of(tables.segments)
    unfinished = tables.unfinished()
    overwrite = overwrite or unfinished is not None and unfinished.exists
    taken: dict[Path, str] = {}
    for flag, path in targets:
        if path is None:
            continue
        if taken.setdefault(path.absolute(), flag) != flag:
            raise UsageError(f'{flag} {path}: is the file of {taken[path.absolute()]} too; pass another name')
        if flag == '--overlay':
            check_path(path)
        if flag == '--timeline' and path.suffix.lower() != '.png':
            raise UsageError(f'--timeline {path}: must end in .png')
        check_output(flag, path, videos, overwrite)
    return [Job(video, (over,) if over else (), time) for video, over, time in zip(videos, overlays, timelines)]


def output_paths(flag: str, target: str, videos: Sequence[str | VideoPart], ending: str) -> list[Path]:
    """Return the file of each video, as `plan_jobs` describes it."""
    folder = target.endswith('/') or os.path.isdir(os.path.expanduser(target))
    pattern = f'{target.rstrip("/")}/{{name}}{ending}' if folder else target
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None]
    except ValueError:
        fields = ['?']
    if set(fields) - set(FIELDS):
        raise UsageError(f'{flag} {target}: between braces only {{name}} and {{number}} mean something')
    if len(videos) > 1 and not fields:
        raise UsageError(f'{flag} {target}: is one file for {len(videos)} videos; name a folder that exists, or put '
                         f'{{name}} or {{number}} into it: {os.path.splitext(target)[0]}_{{name}}{ending}')
    paths = [Path(pattern.format(name=name_of(video), number=number)).expanduser()
             for number, video in enumerate(videos, 1)]
    seen: dict[Path, str] = {}
    for path, video in zip(paths, videos):
        if path in seen:
            raise UsageError(f'{flag} {target}: {seen[path]} and {video} would both go to {path}; put {{number}} into '
                             'the name')
        seen[path] = video
    return paths


def name_of(video: str | VideoPart) -> str:
    """Name of a video for files: without folders and the ending, of an address what file systems allow.

    Of a part its bounds follow: ``a_t2-4.5`` from 2 s to 4.5 s, ``a_f51-100`` of frames.
    """
    if isinstance(video, VideoPart):
        return name_of(video.path) + video.suffix
    base = os.path.basename(video.rstrip('/'))
    if '://' in video or not base:
        return re.sub(r'[^\w.-]+', '_', video).strip('_') or 'video'
    if video == '-':
        return 'stdin'
    return os.path.splitext(base)[0] if os.path.isfile(video) or is_video_name(video) else base


def check_output(flag: str, path: Path, videos: Sequence[str | VideoPart], overwrite: bool) -> None:
    """Refuse a file that is there, is a video that is read, or cannot be written."""
    if any(os.path.exists(video) and path.exists() and os.path.samefile(path, video) for video in videos):
        raise UsageError(f'{flag} {path}: is the video itself; pass another name')
    if path.is_dir():
        raise UsageError(f'{flag} {path}: is a folder; pass the name of a file')
    if path.exists() and not overwrite:
        raise UsageError(f'{flag} {path}: exists; pass --overwrite to replace it, or another name')
    if not path.parent.is_dir():
        raise UsageError(f'{flag} {path}: there is no folder {path.parent} to write it to; make it first')
    try:
        new_part(path).unlink()
    except OSError as error:
        raise OutputError(f'{flag} {path}: cannot be written: {error.strerror or error}') from error
