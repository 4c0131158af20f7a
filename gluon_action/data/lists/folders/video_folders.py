"""The videos in a folder: one rule for all who look for them, and one line on what was left out."""
from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import PurePath
from typing import Any

from ....errors import AnnotationError
from ...flow.folder import ARRAY, MANIFEST, is_video_name
from .file_kinds import are_frames, is_hidden

_log = logging.getLogger(__name__)


class LeftOut:
    """What is in folders and is no video, counted by its kind."""

    def __init__(self):
        self.files: Counter[str] = Counter()
        self.hidden = self.flow = 0

    def add(self, name: str) -> None:
        """Count a file by the end of its name."""
        self.files[os.path.splitext(name)[1].lower() or name] += 1

    def say(self, top: str, empty: Sequence[str] = ()) -> None:
        """Log one line, a warning unless an operating system or this program put there what was left out.

        Parameters
        ----------
        top : str
            The folder.
        empty : sequence of str
            Folders without videos, where each was to be a class.
        """
        parts = []
        if empty:
            parts.append(f'{len(empty)} folders without videos, which are no classes ({", ".join(empty[:5])}'
                         f'{", ..." if len(empty) > 5 else ""})')
        if self.files:
            kinds = ', '.join(f'{count} {kind}' for kind, count in self.files.most_common(5))
            parts.append(f'{self.files.total()} files that are no videos ({kinds})')
        if self.flow:
            parts.append(f'{self.flow} folders of optical flow')
        if self.hidden:
            parts.append(f'{self.hidden} hidden or system files')
        if parts:
            _log.log(logging.WARNING if empty or self.files else logging.INFO, '%s: left out: %s', top,
                     '; '.join(parts))


def videos_below(top: str, left_out: LeftOut, *, itself: bool = True, flow: bool = True,
                 order: Callable[[str], Any] | None = None,
                 check: Callable[[str, list[str]], None] | None = None) -> Iterator[str]:
    """Yield the paths of the videos in a folder and in its folders, however deep.

    A video is a file with an ending that FFmpeg reads, or a folder that holds its frames or its flow: pictures, and
    no video in it or below it. What is hidden or an operating system's is none, nor is what a link leads back to.

    Parameters
    ----------
    top : str
    left_out : LeftOut
        Counts all else.
    itself : bool
        Whether `top` may be a video: a folder of frames.
    flow : bool
        Whether folders of optical flow are videos; otherwise they are left out.
    order : callable, optional
        Key that sorts the names in a folder.
    check : callable, optional
        Is called with each folder that is no video and the names of its folders, and may refuse them.

    Raises
    ------
    AnnotationError
        When a folder cannot be read.
    """
    return _below(top, left_out, itself, flow, order, check, frozenset())


def _below(folder: str, left_out: LeftOut, itself: bool, flow: bool, order: Callable | None, check: Callable | None,
           above: Set[str]) -> Iterator[str]:
    items = shown_in(folder, left_out, order)
    names = [item.name for item in items]
    if itself and (MANIFEST in names or ARRAY in names):
        if flow:
            yield folder
        else:
            left_out.flow += 1
        return
    folders = {item for item in items if is_folder(item)}
    real = os.path.realpath(folder)
    above = {*above, real, *map(str, PurePath(real).parents)}
    entered = {item for item in folders if not (item.is_symlink() and os.path.realpath(item.path) in above)}
    if itself and are_frames(names) and not any(_holds_files(item.path, above) for item in entered):
        yield folder
        return
    if check is not None:
        check(folder, [item.name for item in items if item in folders])
    for item in items:
        if item in entered:
            yield from _below(item.path, left_out, True, flow, order, check, above)
        elif item in folders:
            left_out.files['link to a folder above'] += 1
        elif is_video_name(item.name):
            yield item.path
        else:
            left_out.add(item.name)


def _holds_files(folder: str, above: Set[str]) -> bool:
    """Whether a video file is in a folder or below it."""
    return any(not os.path.isdir(path) for path in _below(folder, LeftOut(), True, True, None, None, above))


def shown_in(folder: str, left_out: LeftOut, order: Callable[[str], Any] | None = None) -> list[os.DirEntry]:
    """What a folder holds, sorted, without hidden names, which are counted.

    Raises
    ------
    AnnotationError
        When it cannot be read.
    """
    try:
        with os.scandir(folder) as items:
            found = list(items)
    except OSError as error:
        raise AnnotationError(f'{folder}: the folder cannot be read: {error.strerror}') from error
    shown = [item for item in found if not is_hidden(item.name)]
    left_out.hidden += len(found) - len(shown)
    return sorted(shown, key=lambda item: item.name if order is None else order(item.name))


def is_folder(item: os.DirEntry) -> bool:
    """Whether something in a folder is a folder, or a link to one."""
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False
