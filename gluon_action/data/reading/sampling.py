"""Which frames of a video to read: pure functions of lengths and a random generator. Frame numbers start at 0."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...errors import UsageError

MODES = ('train', 'val', 'test')
#: Where the frames of clips lie in their video: `new_step` apart, a clip in each equal part of it (`segment_starts`) or
#: clips anywhere in it (`dense_starts`); or one frame in each equal part (`spread_indices`).
CLIP_SAMPLINGS = ('consecutive', 'dense', 'spread')


def segment_starts(num_frames: int, num_segments: int, clip_length: int, mode: str,
                   rng: np.random.Generator | None = None) -> list[int]:
    """First frame of one clip in each of `num_segments` equal parts of a video, as GluonCV draws them.

    Parameters
    ----------
    num_frames : int
        Frames of the video, N >= 1.
    num_segments : int
        Parts of the video, S.
    clip_length : int
        Frames that a clip spans: ``new_length * new_step``.
    mode : {'train', 'val', 'test'}
        A random position in each part, or its centre. 'val' and 'test' differ only for videos of
        ``clip_length .. num_segments + clip_length - 1`` frames, where 'val' starts every clip at frame 0 and 'test'
        still spreads them.
    rng : numpy.random.Generator, optional
        Where 'train' draws from; needed there alone.

    Returns
    -------
    list of int
        S frame numbers in ascending order. All 0 when the video is too short to choose.

    Notes
    -----
    The formulas are those of ``gluoncv.data.VideoClsCustom._sample_{train,val,test}_indices``, which gives the same
    numbers counted from 1. In training their parts are rounded down, as in the protocol of TSN (Wang et al. 2016), so
    that the last ``(N - clip_length + 1) % S`` starts are never drawn.
    """
    _check(num_frames, num_segments, clip_length, mode, rng)
    num_starts = num_frames - clip_length + 1
    if mode == 'train':
        part = num_starts // num_segments
        if part > 0:
            return [k * part + int(offset) for k, offset in enumerate(rng.integers(part, size=num_segments))]
        if num_frames > max(num_segments, clip_length):  # more segments than starts: they may share one
            return sorted(int(start) for start in rng.integers(num_starts, size=num_segments))
        return [0] * num_segments
    shortest = num_segments + clip_length if mode == 'val' else clip_length
    if num_frames < shortest:
        return [0] * num_segments
    tick = num_starts / num_segments
    return [int(tick / 2.0 + tick * k) for k in range(num_segments)]


def dense_starts(num_frames: int, num_clips: int, clip_length: int, mode: str,
                 rng: np.random.Generator | None = None) -> list[int]:
    """First frames of clips that may lie anywhere in a video and overlap, for networks of clips.

    Parameters
    ----------
    num_frames, clip_length, rng
        As in `segment_starts`.
    num_clips : int
        Clips to take.
    mode : {'train', 'val', 'test'}
        'train' draws every start from the whole video; 'val' centres the clips in equal parts of it; 'test' spreads
        them from the very first to the very last start (the middle one if there is one clip), as the ten-clip
        protocol of Wang et al. 2018 (arXiv:1711.07971) does.

    Returns
    -------
    list of int
        `num_clips` frame numbers in ascending order; all 0 when the video is shorter than a clip.
    """
    _check(num_frames, num_clips, clip_length, mode, rng)
    last = max(0, num_frames - clip_length)
    if mode == 'train':
        return sorted(int(start) for start in rng.integers(last + 1, size=num_clips))
    if mode == 'test' and num_clips > 1:
        return [(last * k) // (num_clips - 1) for k in range(num_clips)]
    return [(last * (2 * k + 1)) // (2 * num_clips) for k in range(num_clips)]


def clip_indices(starts: Sequence[int], num_frames: int, new_length: int, new_step: int,
                 jitter: Sequence[int] | None = None) -> list[int]:
    """Return the frames of clips of `new_length` frames that are `new_step` apart, given where they start.

    Parameters
    ----------
    starts : sequence of int
        First frames, S of them.
    num_frames : int
        Frames of the video.
    new_length, new_step : int
        Frames of a clip and their distance.
    jitter : sequence of int, optional
        `new_length` shifts added to the frames of every clip (`temporal_jitter`); a shift that leaves the video is
        dropped.

    Returns
    -------
    list of int
        ``S * new_length`` numbers in ``0 .. num_frames - 1``, clip after clip. A clip that would run past the end
        repeats the last frame that its steps reach.

    Notes
    -----
    GluonCV compares 1-based numbers as if they were 0-based and so never steps onto the last frame: of a 4-frame
    clip that starts at frame 6 of 10 it reads 6, 7, 8, 8. Here it is 6, 7, 8, 9. Everything else is equal.
    """
    jitter = [0] * new_length if jitter is None else list(jitter)
    if len(jitter) != new_length:
        raise UsageError(f'jitter has {len(jitter)} shifts for clips of {new_length} frames; give one a frame')
    return [frame for start in starts for frame in _steps(start, num_frames, new_step, jitter)]


def spread_indices(num_frames: int, new_length: int, mode: str, rng: np.random.Generator | None = None) -> list[int]:
    """Frames of one clip that covers the whole video, one from each of `new_length` equal parts.

    Parameters
    ----------
    num_frames : int
        Frames of the video, N >= 1.
    new_length : int
        Frames of the clip, T.
    mode : {'train', 'val', 'test'}
        A random frame of each part, or its middle.
    rng : numpy.random.Generator, optional
        Where 'train' draws from; needed there alone.

    Returns
    -------
    list of int
        T numbers in ascending order; where the video is shorter than the clip some of them are equal.

    Notes
    -----
    Part k reaches from frame ``round(k * (N - 1) / T)`` to frame ``round((k + 1) * (N - 1) / T)``, both included, and
    its middle is rounded down, as PySlowFast reads Something-Something (``ssv2.py``) and TimeSformer Epic-Kitchens.
    """
    _check(num_frames, 1, new_length, mode, rng)
    borders = [round(part * (num_frames - 1) / new_length) for part in range(new_length + 1)]
    if mode == 'train':
        return [int(rng.integers(first, last + 1)) for first, last in zip(borders, borders[1:])]
    return [(first + last) // 2 for first, last in zip(borders, borders[1:])]


def slowfast_indices(starts: Sequence[int], num_frames: int, new_length: int, slow_stride: int,
                     fast_stride: int) -> list[int]:
    """Frames for SlowFast networks: of each clip the fast pathway's, then the slow pathway's.

    Parameters
    ----------
    starts, num_frames
        As in `clip_indices`.
    new_length : int
        Consecutive frames that a clip spans (64 for the published models).
    slow_stride, fast_stride : int
        Distance of the frames in each pathway; the slow one is a multiple of the fast one.

    Returns
    -------
    list of int
        Per clip ``new_length // fast_stride + new_length // slow_stride`` numbers. As in GluonCV, a pathway takes
        the last frame of each stride, not the first.
    """
    if fast_stride < 1 or slow_stride % fast_stride:
        raise UsageError(f'slow_temporal_stride must be a multiple of fast_temporal_stride, '
                         f'got {slow_stride} and {fast_stride}')
    indices = []
    for start in starts:
        clip = _steps(start, num_frames, 1, [0] * new_length)
        indices += clip[fast_stride - 1::fast_stride] + clip[slow_stride - 1::slow_stride]
    return indices


def temporal_jitter(new_length: int, new_step: int, rng: np.random.Generator) -> list[int]:
    """Random shifts below `new_step`, one for each frame of a clip, shared by all clips of a video."""
    return [int(shift) for shift in rng.integers(new_step, size=new_length)]


def frames_between(shown: np.ndarray, ends: float, start: float | None, end: float | None) -> range:
    """Frames of a part of a video that is given in seconds.

    Parameters
    ----------
    shown : float ndarray (N,)
        When each frame is shown, ascending; whether at a constant rate or not.
    ends : float
        When the last one ends.
    start, end : float or None
        The part, which does not include its end; None is the video's beginning or end.

    Returns
    -------
    range
        Numbers of the frames, one at least where the part lies within the video; empty elsewhere.

    Notes
    -----
    The part has the frames that begin in it. A bound that falls between two frames means the nearer one, half-way the
    later one: bounds were rounded, or made of frame numbers and an inexact rate. So at a constant rate a part of a
    second has as many frames wherever it begins. Behind a frame that is shown long, no more than half of the shortest
    frame counts as near. A part in which no frame begins has the one that is on the screen.
    """
    borders, steps = np.append(shown, ends), np.diff(shown)
    shortest = steps[steps > 0].min(initial=np.inf)

    def number_at(seconds: float) -> int:
        after = int(np.searchsorted(borders, seconds))
        if after in (0, len(borders)):
            return min(after, len(shown))
        step = borders[after] - borders[after - 1]
        share = min(1., (seconds - borders[after - 1]) / (step if step <= 1.5 * shortest else shortest))
        return math.floor(round(after - 1 + float(share), 6) + 0.5)  # 6 digits: 0.5 is that in any unit of time
    first = 0 if start is None else number_at(start)
    last = len(shown) if end is None else number_at(end)
    if first >= last and (start or 0.) < (ends if end is None else min(end, ends)):
        on_screen = int(np.searchsorted(shown, start or 0., side='right')) - 1
        first, last = on_screen, on_screen + (on_screen >= 0)
    return range(first, last)


def sample_rng(seed: int, epoch: int, index: int, view: int = 0) -> np.random.Generator:
    """The generator that every random choice about one sample draws from.

    It depends on these four numbers alone, so a sample is the same whichever worker reads it and after any resume.

    Raises
    ------
    UsageError
        When one of them is negative.
    """
    key = (int(seed), int(epoch), int(index), int(view))
    if min(key) < 0:
        raise UsageError(f'seed, epoch, index and view must be 0 or more, got {key}')
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _steps(start: int, num_frames: int, new_step: int, jitter: list[int]) -> list[int]:
    frames, frame = [], start
    for shift in jitter:
        frames.append(frame + shift if frame + shift < num_frames else frame)
        if frame + new_step < num_frames:
            frame += new_step
    return frames


def _check(num_frames: int, num_clips: int, clip_length: int, mode: str, rng: np.random.Generator | None) -> None:
    if mode not in MODES:
        raise UsageError(f'unknown sampling mode {mode!r}; the modes are {", ".join(MODES)}')
    if num_frames < 1 or num_clips < 1 or clip_length < 1:
        raise UsageError(f'cannot take {num_clips} clips of {clip_length} frames from {num_frames} frames; '
                         'all three must be 1 or more')
    if mode == 'train' and rng is None:
        raise UsageError("sampling mode 'train' draws at random; pass rng, for example numpy.random.default_rng(0)")
