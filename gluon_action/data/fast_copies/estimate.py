"""What copies will take, told before they are made: some frames of some videos are encoded."""
from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import VideoReadError
from ...printable import duration, printable
from ..reading.media.media_file import import_decoder, picture_stream
from .encoding import encode
from .report import megabytes
from .settings import CopySettings
from .sources import Source

_TRIED, _TRIED_FRAMES, _COUNTED = 8, 100, 500


@dataclass(frozen=True)
class Estimate:
    """What was found of some videos, for all.

    Attributes
    ----------
    num_videos, tried : int
        Of all; of those of which frames were encoded.
    source_bytes, copy_bytes : float
    seconds : float
        Of one process.
    unreadable : list of str
        What was wrong with those that were tried in vain.
    """

    num_videos: int
    tried: int
    source_bytes: float
    copy_bytes: float
    seconds: float
    unreadable: list[str]

    def told(self, num_workers: int) -> str:
        """Return it as text."""
        lines = [f'{self.num_videos} videos are to be copied; nothing was written']
        if self.tried:
            workers = max(1, num_workers)
            lines.append(f'about {megabytes(self.copy_bytes)} instead of {megabytes(self.source_bytes)}, about '
                         f'{duration(self.seconds / workers)} by {workers} processes (by up to {_TRIED_FRAMES} frames '
                         f'of {self.tried} videos)')
        lines += [f'  not readable: {text}' for text in self.unreadable]
        return '\n'.join(printable(line) for line in lines)


def estimate(videos: Sequence[Source], settings: CopySettings) -> Estimate:
    """Encode some frames of a few videos, and say what all will take."""
    frame_bytes, frame_seconds, unreadable = [], [], []
    for video in _spread(videos, _TRIED):
        started = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                part = Path(folder, 'part.mp4')
                made = encode(video.path, part, settings, most=_TRIED_FRAMES)
                num_frames = min(_TRIED_FRAMES, len(made.timing.ticks))
                frame_bytes.append(part.stat().st_size / num_frames)
            frame_seconds.append((time.perf_counter() - started) / num_frames)
        except VideoReadError as error:
            unreadable.append(str(error))
    sizes = [os.path.getsize(video.path) if os.path.isfile(video.path) else 0 for video in videos]
    counted = [count for video in _spread(videos, _COUNTED) if (count := _num_frames(video.path))]
    frames = len(videos) * sum(counted) / max(1, len(counted))
    tried = max(1, len(frame_bytes))
    return Estimate(len(videos), len(frame_bytes), sum(sizes), frames * sum(frame_bytes) / tried,
                    frames * sum(frame_seconds) / tried, unreadable)


def _spread(videos: Sequence[Source], most: int) -> Sequence[Source]:
    return videos[::max(1, -(-len(videos) // most))]


def _num_frames(path: str) -> float:
    """Frames by what the head of a file says; 0 where it says nothing."""
    av = import_decoder('av', 'av')
    try:
        with av.open(path, metadata_errors='replace') as container:
            stream = picture_stream(container, path)
            rate = stream.average_rate or stream.guessed_rate or 0
            return stream.frames or float((container.duration or 0) / 1e6 * rate)
    except (av.FFmpegError, OSError, VideoReadError):
        return 0
