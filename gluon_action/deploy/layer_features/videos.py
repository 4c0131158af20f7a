"""Which videos features are extracted of, what their files are called, and what a list says of them."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...data.flow.folder import is_video_name
from ...data.lists.annotations import read_annotations
from ...data.lists.folders.video_folders import LeftOut, videos_below
from ...data.lists.published.epic import is_epic
from ...data.lists.question import SPLITS
from ...data.reading.decoders.frame_folder import natural_order
from ...data.reading.part import VideoPart, fragment_of, whole_or_part
from ...errors import AnnotationError, UsageError
from ..predict.videos import is_list
from ..predicted.files import name_of


@dataclass(frozen=True)
class Video:
    """A video or a part of one, and the name of its files: its path below the folder that was given, without ending.

    Behind the name of a part stand its bounds: ``a_t2-4.5`` from 2 s to 4.5 s, ``a_f51-100`` of frames.
    `label` is a number, or several, and `class_name` what the list calls them; None where no list says so.
    """

    source: str | VideoPart
    name: str
    label: int | tuple[int, ...] | None = None
    class_name: str | None = None

    @property
    def path(self) -> str:
        """The file or the folder."""
        return os.fspath(self.source)


def list_sources(sources: Sequence[str | os.PathLike], data_dir: str = '', **reading) -> list[Video]:
    """Return the videos, and of lists of parts of videos these, that sources stand for, each once.

    Parameters
    ----------
    sources : sequence of path
        Each a video, a folder of frames, a folder of videos at any depth, an address, or a list in any format that
        training takes.
    data_dir : str
        Folder that the paths of lists start from.
    **reading
        ``list_format``, ``list_encoding`` and ``multi_label``, as in `read_annotations`. A folder is a list where
        ``list_format`` says so.

    Raises
    ------
    UsageError
        When there is none, or two would have one name.
    AnnotationError
        When a list cannot be read.
    """
    found: dict[str, Video] = {}
    for source in map(os.fspath, sources):
        path = os.path.expanduser(source)
        if is_list(path) and not os.path.exists(path):
            raise UsageError(f'{source}: there is no such list; name videos, folders of them, or lists')
        listed = is_list(path) or os.path.isdir(path) and reading.get('list_format', 'auto') != 'auto'
        videos = _listed(path, os.path.expanduser(data_dir), reading) if listed else _below(path)
        if not videos:
            raise UsageError(f'{source}: no video and no folder of frames is in there')
        for video in videos:
            found.setdefault(str(video.source), video)
    if not found:
        raise UsageError('there is no video; name videos, folders of them, or lists')
    return _with_names_of_their_own(list(found.values()))


def _below(source: str) -> list[Video]:
    if not os.path.isdir(source):
        return [Video(source, name_of(source))]
    left_out = LeftOut()
    paths = list(videos_below(source, left_out, order=natural_order))
    left_out.say(source)
    return [Video(path, _without_ending(os.path.relpath(path, source)) if path != source else name_of(path))
            for path in paths]


def _listed(path: str, data_dir: str, reading: dict) -> list[Video]:
    troubles, samples, classes, by_name = [], {}, None, False
    for split in SPLITS:  # a list may hold several
        try:
            found = read_annotations(path, data_dir, split=split, **reading)
        except AnnotationError as error:
            troubles.append(error)
            continue
        classes, by_name = classes or found.classes, is_epic(found.format)
        for sample in found.samples:
            samples.setdefault((sample.path, fragment_of(sample)), sample)
    if not samples:
        raise troubles[0]
    videos = []
    for sample in samples.values():
        source, name = whole_or_part(sample.path, sample, by_name), sample.key.removesuffix(fragment_of(sample))
        suffix = source.suffix if isinstance(source, VideoPart) else ''
        videos.append(Video(source, _without_ending(_inside(name)) + suffix, sample.label,
                            _called(sample.label, classes)))
    return videos


def _called(label: int | tuple[int, ...], classes: list[str] | None) -> str | None:
    labels = label if isinstance(label, tuple) else (label,)
    return '; '.join(classes[number] for number in labels) if classes else None


def _inside(path: str) -> str:
    """A path of a list as one below the folder of the features, whatever it starts with."""
    parts = [part for part in path.replace('\\', '/').split('/') if part not in ('', '.', '..')]
    return '/'.join(parts) or 'video'


def _without_ending(path: str) -> str:
    return os.path.splitext(path)[0] if is_video_name(path) else path


def _with_names_of_their_own(videos: list[Video]) -> list[Video]:
    """Keep the ending of videos that differ in nothing else, such as ``a.mp4`` and ``a.avi``."""
    counts = Counter(video.name for video in videos)
    videos = [replace(video, name=video.name + os.path.splitext(video.path)[1]) if counts[video.name] > 1 else video
              for video in videos]
    taken: dict[str, Video] = {}
    for video in videos:
        first = taken.setdefault(video.name, video)
        if first is not video:
            raise UsageError(f'{first.source} and {video.source}: their features would have one name, {video.name}; '
                             'name a folder that both are in, or extract them into two --out')
    return videos
