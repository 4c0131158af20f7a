"""Which videos are copied, and what their copies are called."""
from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from ..flow.find_videos import videos_of
from ..flow.folder import is_video_name


@dataclass(frozen=True)
class Source:
    """A video, and the path of its copy below the folder of all copies."""

    path: str
    name: str


def list_sources(sources: Sequence[str | os.PathLike], data_dir: str = '', **reading) -> list[Source]:
    """Return the videos that sources stand for, each once.

    Parameters
    ----------
    sources : sequence of path
        Each a video, a folder with videos at any depth, or a list in any format that training takes.
    data_dir : str
        Folder that the paths of lists start from.
    **reading
        ``list_format``, ``multi_label`` and ``list_encoding``, as in `read_annotations`.

    Raises
    ------
    UsageError
        When there is none.
    AnnotationError
        When a list or a folder cannot be read.
    """
    reading = {'list_format': 'auto', **reading}
    found: dict[str, str] = {}
    for source in map(os.path.expanduser, map(os.fspath, sources)):
        if not os.path.exists(source) and '*' not in source:
            raise UsageError(f'{source}: there is no such video, folder or list')
        for path, name in videos_of(source, os.path.expanduser(data_dir), reading):
            found.setdefault(os.path.normpath(path), _inside(name))
    if not found:
        raise UsageError(f'{", ".join(map(os.fspath, sources))}: no video is in there')
    names: set[str] = set()
    videos = []
    for path, name in found.items():
        stem = os.path.splitext(name)[0] if is_video_name(name) else name
        # A video that shares all but the ending with another one keeps the ending.
        copies = itertools.chain((stem, name), (f'{stem}-{number}' for number in itertools.count(2)))
        copy = next(copy for copy in (f'{copy}.mp4' for copy in copies) if copy not in names)
        names.add(copy)
        videos.append(Source(path, copy))
    return videos


def _inside(path: str) -> str:
    """A path as one below a folder, whatever it starts with."""
    parts = [part for part in path.replace('\\', '/').split('/') if part not in ('', '.', '..')]
    return '/'.join(parts) or 'video'
