"""Clips of a user's videos, to find the ranges of an int8 model on and to try it on."""
from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.lists.annotations import read_annotations
from ...data.lists.folders.file_kinds import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from ...data.lists.folders.video_folders import LeftOut, is_folder, shown_in, videos_below
from ...data.preprocess import Preprocess
from ...data.reading.video_reader import VideoReader
from ...errors import UsageError, VideoReadError
from ..bundle.format import Bundle
from ..predict.windows import WindowPlan

_log = logging.getLogger(__name__)

_LISTS = ('.txt', '.csv', '.tsv', '.json')


@dataclass(frozen=True)
class Clip:
    """Frames of one window.

    Attributes
    ----------
    path : str
        The video.
    label : int or None
        Class that a list says it shows.
    frames : uint8 ndarray (n, H, W, C)
        Resized, as `Preprocess.cut` takes them.
    """

    path: str
    label: int | None
    frames: np.ndarray


def list_clips(sources: Sequence[str], bundle: Bundle, **reading) -> list[tuple[str, int | None]]:
    """Return path and class of the videos that are meant.

    Parameters
    ----------
    sources : sequence of str
        Videos, folders of videos or of frames; or one list, or one folder with a folder for each class.
    bundle : Bundle
        Knows the classes.
    **reading
        For lists: ``root``, ``list_format``, ``list_encoding``, ``label_base`` of
        `gluon_action.data.lists.annotations.read_annotations`.

    Raises
    ------
    UsageError
        When there is no video, or a video lies where a list belongs.
    AnnotationError
        When a list cannot be read.
    """
    if len(sources) == 1 and _is_list(sources[0]):
        found = read_annotations(sources[0], split='val', classes=bundle.labels, num_classes=bundle.num_classes,
                                 modality=bundle.preprocess.modality, **reading)
        return [(sample.path, sample.label if isinstance(sample.label, int) else None) for sample in found.samples]
    given = [name for name, value in reading.items() if value not in (None, '', 'auto')]
    if given:
        flag = {'root': '--data-dir'}.get(given[0], f'--{given[0].replace("_", "-")}')
        raise UsageError(f'{flag}: is about a list, and {sources[0]} is a video or a folder of videos')
    videos = []
    for source in sources:
        videos += [(path, None) for path in _videos_of(source, bundle) or [source]]
    return videos


def collect_clips(videos: Sequence[tuple[str, int | None]], preprocess: Preprocess, count: int) -> list[Clip]:
    """Take clips that are spread over the videos, and over the time of each.

    Parameters
    ----------
    videos : sequence of (str, int or None)
        Paths and classes.
    preprocess : Preprocess
    count : int
        Clips in all; there are fewer where videos cannot be read, which is logged.

    Raises
    ------
    UsageError
        When there are none.
    """
    order = np.random.default_rng(0).permutation(len(videos))[:count]  # lists are often sorted by class
    each = math.ceil(count / max(1, len(order)))
    clips, failure = [], None
    for index in order:
        path, label = videos[index]
        try:
            clips += [Clip(path, label, frames) for frames in _clips_of(path, preprocess, each)]
        except VideoReadError as error:
            failure = error
            _log.warning('not calibrated on: %s', error)
    if not clips:
        raise UsageError(f'there is nothing to calibrate on: no video could be read; the last one: {failure}')
    return clips[:count]


def split_clips(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Divide clips into those to calibrate on and those to try the model on; a video is in one part only.

    Parameters
    ----------
    clips : sequence of Clip
    share : float
        Of the second part.

    Raises
    ------
    UsageError
        When there are too few.
    """
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.path, []).append(clip)
    parts = list(groups.values()) if len(groups) > 1 else [[clip] for clip in clips]
    held = min(len(parts) - 1, max(1, round(share * len(parts))))
    if held < 1:
        raise UsageError('one clip is too few: some are needed to calibrate on, and others to try the model on')
    places = {int(place) for place in np.linspace(0, len(parts) - 1, held + 2)[1:-1].round()} if held < len(parts) - 1 \
        else set(range(1, len(parts)))
    return ([clip for place, part in enumerate(parts) if place not in places for clip in part],
            [clip for place, part in enumerate(parts) if place in places for clip in part])


def _clips_of(path: str, preprocess: Preprocess, count: int) -> list[np.ndarray]:
    plan = WindowPlan(preprocess.offsets, preprocess.stride, preprocess.rows)
    with VideoReader(path, modality=preprocess.modality) as reader:
        room = len(reader) - plan.span
        if room < 0:
            windows = [plan.padded(len(reader))]
        else:
            starts = dict.fromkeys(int(room * (place + 0.5) / count) for place in range(count))
            windows = [[start + number for number in plan.frames(0)] for start in starts]
        return [preprocess.resized(reader.read(numbers)) for numbers in windows]


def _is_list(source: str) -> bool:
    if not os.path.isdir(source):
        return source.endswith(_LISTS) or '*' in source
    inside = shown_in(source, LeftOut())
    holds_videos = any(item.name.lower().endswith((*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)) for item in inside)
    return not holds_videos and any(map(is_folder, inside))


def _videos_of(source: str, bundle: Bundle) -> list[str]:
    if not os.path.isdir(source):
        return []
    left_out = LeftOut()
    found = list(videos_below(source, left_out, flow=bundle.preprocess.modality == 'flow'))
    left_out.say(source)
    return found
