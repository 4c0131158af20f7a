"""Videos to extract optical flow of: found in folders and lists, each with the name of the folder for its flow."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import UsageError
from ..lists.annotations import list_videos
from ..lists.folders.video_folders import LeftOut, videos_below
from .folder import flow_name, is_video_name


def find_videos(sources: Sequence[str | os.PathLike], data_dir: str = '', *, list_format: str = 'auto',
                multi_label: bool = False, list_encoding: str | None = None) -> dict[str, str]:
    """Videos by the name of their flow folder.

    Parameters
    ----------
    sources : sequence of path
        Each a video, a folder of frames, a folder with videos or folders of frames in it at any depth, or a list in
        any format that `gluon_action.data.lists.annotations.read_annotations` knows.
    data_dir : str
        Folder that the paths of lists start from.
    list_format, multi_label, list_encoding
        As in `read_annotations`, for lists.

    Returns
    -------
    dict of str to str
        Name -> path. The name is the path below the source folder, or below `data_dir`, without the extension.

    Raises
    ------
    UsageError
        When there is nothing, or two videos (``a.mp4`` and ``a.avi``) have one name.
    AnnotationError
        When a list or a folder cannot be read.
    """
    videos: dict[str, str] = {}
    for source in map(os.fspath, sources):
        source = os.path.expanduser(source)
        if not os.path.exists(source) and '*' not in source and not is_video_name(source):
            raise UsageError(f'{source}: there is no such list or folder; pass videos, folders with them, or lists')
        reading = dict(list_format=list_format, multi_label=multi_label, list_encoding=list_encoding)
        for path, name in videos_of(source, os.path.expanduser(data_dir), reading):
            name = flow_name(name)
            if name.split('/')[0] in ('.', '..'):
                raise UsageError(f'{path} lies outside {data_dir or "the current folder"}, so its flow has no place '
                                 'below --out; pass the folder that paths start from as --data-dir')
            if os.path.abspath(videos.setdefault(name, path)) != os.path.abspath(path):
                raise UsageError(f'{videos[name]} and {path} would share the flow folder {name}; list one of them only')
    for name, path in videos.items():
        above = next((folder for folder in map(str, Path(name).parents) if folder in videos), None)
        if above:
            raise UsageError(f'the flow of {path} would lie within that of {videos[above]}; extract them apart, into '
                             'two --out')
    if not videos:
        raise UsageError(f'{", ".join(map(os.fspath, sources))}: no video and no folder of frames is in there')
    return videos


def videos_of(source: str, data_dir: str, reading: dict) -> Iterator[tuple[str, str]]:
    """(path, name) of all that a source means; the name is the path below the folder that was given, if it is there."""
    if is_video_name(source) and not os.path.isdir(source):
        yield source, os.path.basename(source)
    elif not is_list(source, reading['list_format']):
        yield from _videos_below(source)
    else:
        for path in list_videos(source, data_dir, **reading):
            inside = data_dir and not os.path.relpath(path, data_dir).startswith('..')
            yield path, os.path.relpath(path, data_dir) if inside else path


def is_list(source: str, list_format: str) -> bool:
    """Whether a source is a list: a folder is one where its format is named."""
    return list_format != 'auto' if os.path.isdir(source) else not is_video_name(source)


def _videos_below(top: str) -> Iterator[tuple[str, str]]:
    left_out = LeftOut()
    for path in videos_below(top, left_out, flow=False):  # flow may have been extracted into the same tree
        name = os.path.relpath(path, top)
        yield path, name if name != '.' else os.path.basename(os.path.abspath(top))
    left_out.say(top)
