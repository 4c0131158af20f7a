"""A few small frames of a video, inside the page."""
from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.flow.methods import flow_colors
from ...data.loading.workers import WorkerError, call_with_deadline
from ...data.reading.clip_reader import FramePlan, read_clip
from ...errors import GluonActionError

#: Frames of a video, and the size that they are fitted into.
COUNT, SIZE = 3, (208, 144)
#: Seconds that reading one video may take, and all together: a report is worth no more.
_EACH, _ALL = 10., 30.
_QUALITY = 72


def add_frames(videos: Sequence[dict[str, Any]], dataset: Any) -> str:
    """Give each video its ``frames``, as addresses that hold the pictures themselves.

    Parameters
    ----------
    videos : sequence of dict
        ``key`` names the video as the list does.
    dataset : VideoClsCustom, ClipRecords or None
        The list, with ``samples`` and how they are read.

    Returns
    -------
    str
        Why there are no frames of some, or of all; empty where there are.
    """
    for video in videos:
        video['frames'] = []
    shown = thumbnails if hasattr(dataset, 'reading') else of_record if hasattr(dataset, 'read') else None
    if not videos or shown is None:
        return 'The list of the videos is not at hand, so there are no frames to show.' * bool(videos)
    samples = {sample.key: sample for sample in dataset.samples}
    started, causes = time.monotonic(), []
    for done, video in enumerate(videos):
        if time.monotonic() - started > _ALL:
            return f'Reading frames took long: the last {len(videos) - done} videos are shown without.'
        sample = samples.get(video['key'])
        try:
            if sample is not None:
                video['frames'] = shown(sample, dataset)
            else:
                causes.append(f'{video["key"]} is not on the list any more')
        except (GluonActionError, WorkerError, OSError, ValueError) as error:
            causes.append(str(error))
    if causes:
        return f'{len(causes)} of these videos cannot be read now: {causes[0]}' + ' ...' * (len(causes) > 1)
    return ''


def thumbnails(sample: Any, dataset: Any, count: int = COUNT) -> list[str]:
    """Return frames of the middle of equal parts of a video, or of the part that the sample is, as JPEG.

    Raises
    ------
    VideoReadError
    WorkerError
        When it takes too long.
    """
    reading = {**dataset.reading, 'width': 0, 'height': 0}
    deadline = dataset.timeout and min(_EACH, dataset.timeout)
    return call_with_deadline(_read, sample, FramePlan('test', count, 1, 1), reading, timeout=deadline)


def of_record(sample: Any, dataset: Any, count: int = COUNT) -> list[str]:
    """Return frames of the middle of equal parts of a stored clip, as JPEG; none of what are no pictures.

    Raises
    ------
    RecordError
    """
    clip, _ = dataset.read(dataset.samples.index(sample))
    if clip.shape[3] != 3:
        return []
    return [_jpeg(clip[(2 * place + 1) * len(clip) // (2 * count)]) for place in range(count)]


def _read(sample: Any, plan: FramePlan, reading: dict[str, Any]) -> list[str]:
    # Made small where they are read, which may be in another process.
    frames = read_clip(sample, plan, np.random.default_rng(0), reading)
    return [_jpeg(flow_colors(frame) if frame.shape[2] == 2 else frame) for frame in frames]


def _jpeg(frame: np.ndarray) -> str:
    from PIL import Image
    picture = Image.fromarray(np.ascontiguousarray(frame))
    picture.thumbnail(SIZE)
    data = io.BytesIO()
    picture.save(data, 'JPEG', quality=_QUALITY)
    return 'data:image/jpeg;base64,' + base64.b64encode(data.getvalue()).decode()
