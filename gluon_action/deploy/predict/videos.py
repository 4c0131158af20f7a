"""Which videos are meant: files, folders of videos and of frames, lists, cameras and addresses."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...data.lists.folders.file_kinds import is_hidden
from ...data.lists.folders.video_folders import LeftOut, videos_below
from ...data.lists.listed_videos import listed_videos
from ...data.reading.decoders.frame_folder import natural_order
from ...data.reading.part import VideoPart
from ...errors import UsageError

#: How the names of lists end.
LISTS = ('.txt', '.csv', '.tsv', '.json', '.jsonl', '.lst', '.list')


def find_videos(names: Sequence[str], *, data_dir: str | None = None, more_dirs: Iterable[str] = (),
                list_format: str = 'auto', list_encoding: str | None = None) -> list[str | VideoPart]:
    """Return these videos, and in the place of a folder or a list those that are in it.

    A folder stands for all videos in it and in its folders, as those of classes; one that holds pictures and no
    videos, or optical flow, is a video itself. Hidden files are left out. A list is one of any format that
    `gluon_action.data.lists.annotations.read_annotations` knows, labels ignored, or has nothing but a path in each
    line. Where it names parts of videos, these are meant.

    Parameters
    ----------
    names : sequence of str
    data_dir : str, optional
        Folder that the paths of lists start from; by default a list's own, or the current one, where the videos are.
    more_dirs : iterable of str
        Folders that they may start from as well, tried last.
    list_format, list_encoding
        As in `read_annotations`.

    Raises
    ------
    UsageError
        For a folder without a video in it.
    AnnotationError
        For a list that cannot be read, or of whose videos not one is there.
    """
    found = []
    for name in names:
        if is_list(name):
            roots = [data_dir] if data_dir else [os.path.dirname(name), '', *more_dirs]
            found += listed_videos(name, roots, list_format=list_format, list_encoding=list_encoding)[1]
        else:
            found += _videos_in(name)
    return found


def is_list(name: str) -> bool:
    """Whether a name is that of a list, rather than of a video."""
    return name.lower().endswith(LISTS) and '://' not in name and not os.path.isdir(os.path.expanduser(name))


def _videos_in(name: str) -> list[str]:
    if not os.path.isdir(name):
        return [name]  # what opens it will say what is wrong with it
    left_out = LeftOut()
    found = list(videos_below(name, left_out, order=natural_order))
    if not found:
        inside = sorted(item for item in os.listdir(name) if not is_hidden(item))
        holds = f'only others, such as {inside[0]}' if inside else 'nothing'
        raise UsageError(f'{name}: holds no video, and no pictures of one, but {holds}')
    left_out.say(name)
    return found
