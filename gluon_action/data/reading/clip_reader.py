"""The frames of one sample: which ones, and how they come out of its file or folder."""
from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ..lists.annotations import Sample
from .part import frames_of
from .sampling import (
    CLIP_SAMPLINGS,
    clip_indices,
    dense_starts,
    segment_starts,
    slowfast_indices,
    spread_indices,
    temporal_jitter,
)
from .video_reader import VideoReader


def read_clip(sample: Sample, plan: FramePlan, rng: np.random.Generator, reading: dict) -> np.ndarray:
    """Open a video once and read the frames of a plan.

    Parameters
    ----------
    sample : Sample
    plan : FramePlan
    rng : numpy.random.Generator
        What the plan draws from.
    reading : dict
        Further arguments of `VideoReader`.

    Returns
    -------
    uint8 ndarray (S * T, H, W, 3)
        RGB frames, clip after clip. Of flow (S * T, H, W, 2): a clip of T that starts at i shows how the video moves
        from frame i to frame i + T.

    Raises
    ------
    VideoReadError
        Also for a frame folder with fewer frames than the list says, and a part that lies past the end or is not there.
    """
    is_folder = os.path.isdir(sample.path)
    is_flow = reading.get('modality') == 'flow'
    if (is_folder or is_flow) and reading['decoder'] in ('decord', 'pyav'):  # a choice for the files of a mixed list
        reading = {**reading, 'decoder': 'auto'}
    by_name = 'part' in reading  # EPIC-KITCHENS: numbers of frames are those in the pictures' names
    if by_name and (sample.first, sample.last) != (None, None):
        reading = {**reading, 'part': (sample.first, sample.last)}
    with VideoReader(sample.path, **reading) as reader:
        first, length = frames_of(sample, reader, is_folder, by_name)
        return reader.read([first + index for index in plan.indices(length, rng)])


@dataclass(frozen=True)
class FramePlan:
    """Which frames of a video are taken, whatever its length."""

    mode: str
    num_segments: int
    new_length: int
    new_step: int
    temporal_jitter: bool = False
    slowfast: bool = False
    slow_stride: int = 16
    fast_stride: int = 2
    clip_sampling: str = 'consecutive'

    def __post_init__(self):
        if self.clip_sampling not in CLIP_SAMPLINGS:
            raise UsageError(f'clip_sampling must be one of {", ".join(CLIP_SAMPLINGS)}, got {self.clip_sampling!r}')
        for name in ('num_segments', 'new_length', 'new_step'):
            if getattr(self, name) < 1:
                raise UsageError(f'{name} must be 1 or more, got {getattr(self, name)}')
        if self.clip_sampling == 'spread':
            self._check_spread()
        if self.slowfast and (self.temporal_jitter or self.new_step != 1):
            raise UsageError(f'slowfast takes its own strides: it needs new_step=1 and temporal_jitter=False, '
                             f'got {self.new_step} and {self.temporal_jitter}')
        if self.slowfast and (self.fast_stride < 1 or self.slow_stride % self.fast_stride):
            raise UsageError(f'slow_temporal_stride must be a multiple of fast_temporal_stride, '
                             f'got {self.slow_stride} and {self.fast_stride}')
        if self.slowfast and self.new_length < self.slow_stride:
            raise UsageError(f'slowfast needs clips of at least slow_temporal_stride {self.slow_stride} frames, '
                             f'got new_length {self.new_length}')

    @property
    def frames_per_clip(self) -> int:
        """T, frames that each clip has in the end."""
        if self.slowfast:
            return self.new_length // self.fast_stride + self.new_length // self.slow_stride
        return self.new_length

    @property
    def offsets(self) -> tuple[int, ...]:
        """Frames of one clip in a video that is long enough, counted from the clip's first.

        Of clips that are spread over their video they are `new_step` apart all the same: how far apart spread frames
        lie depends on the video.
        """
        if self.slowfast:
            return tuple(slowfast_indices([0], self.new_length, self.new_length, self.slow_stride, self.fast_stride))
        return tuple(clip_indices([0], self.new_length * self.new_step, self.new_length, self.new_step))

    def indices(self, num_frames: int, rng: np.random.Generator) -> list[int]:
        """Frame numbers from 0, clip after clip."""
        if self.clip_sampling == 'spread':
            return spread_indices(num_frames, self.new_length, self.mode, rng)
        draw_starts = dense_starts if self.clip_sampling == 'dense' else segment_starts
        starts = draw_starts(num_frames, self.num_segments, self.new_length * self.new_step, self.mode, rng)
        if self.slowfast:
            return slowfast_indices(starts, num_frames, self.new_length, self.slow_stride, self.fast_stride)
        jitter = temporal_jitter(self.new_length, self.new_step, rng) if self.temporal_jitter else None
        return clip_indices(starts, num_frames, self.new_length, self.new_step, jitter)

    def _check_spread(self) -> None:
        for wrong, got in ((self.num_segments != 1, f'num_segments {self.num_segments}'),
                           (self.new_step != 1, f'new_step {self.new_step}'),
                           (self.temporal_jitter, 'temporal_jitter'), (self.slowfast, 'slowfast')):
            if wrong:
                raise UsageError("clip_sampling 'spread' takes new_length frames from as many parts of the video: it "
                                 f'needs num_segments=1, new_step=1, no temporal_jitter and no slowfast, got {got}')
