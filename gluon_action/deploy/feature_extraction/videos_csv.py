"""The list of videos whose features are wanted: ``path,52;3;10`` a line."""
from __future__ import annotations

import csv
import os
from dataclasses import dataclass

from ...errors import AnnotationError


@dataclass(frozen=True)
class ListedVideo:
    """A path as it is written, and its labels; None where the line has none."""

    path: str
    labels: tuple[int, ...] | None


def read_videos_csv(path: str | os.PathLike) -> list[ListedVideo]:
    """Read a list of videos.

    Parameters
    ----------
    path : path
        A line a video: its path, a comma, and its labels with semicolons between. Without labels it is one of a test.
        A path with a comma in it stands between quotes. Empty lines are passed over.

    Raises
    ------
    AnnotationError
        For a list that cannot be read or is empty, and for a line that is none of a video; it names both.
    """
    videos, lines = [], {}
    try:
        with open(os.path.expanduser(path), encoding='utf-8-sig', errors='surrogateescape', newline='') as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                where = f'{path} line {reader.line_num}'
                if not row or row == ['']:
                    continue
                if len(row) > 2 or not row[0].strip():
                    raise AnnotationError(f'{where}: must be path,labels such as clips/a.mp4,52;3;10, got '
                                          f'{",".join(row)!r:.80}; put a path with commas between quotes')
                video = ListedVideo(row[0].strip(), _labels(row[1], where) if len(row) == 2 else None)
                if video.path in lines:
                    raise AnnotationError(f'{where}: {video.path} stands in line {lines[video.path]} already, and its '
                                          'path is what a record is called by; list it once, with all labels')
                lines[video.path] = reader.line_num
                videos.append(video)
    except OSError as error:
        raise AnnotationError(f'{path}: cannot be read: {error.strerror or error}') from error
    except csv.Error as error:
        raise AnnotationError(f'{path} line {reader.line_num}: {error}') from error
    if not videos:
        raise AnnotationError(f'{path}: lists no video')
    return videos


def _labels(text: str, where: str) -> tuple[int, ...] | None:
    if not text.strip():
        return None
    words = [word.strip() for word in text.split(';')]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise AnnotationError(f'{where}: labels are whole numbers from 0 with semicolons between, got {text!r:.80}')
    return tuple(map(int, words))
