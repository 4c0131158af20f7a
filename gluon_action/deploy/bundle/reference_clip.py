"""The clip that a bundle proves itself on: one that moves and is small, or some seconds of the user's own."""
from __future__ import annotations

import os

import numpy as np

from ...data.preprocess import Preprocess
from ...data.reading.video_reader import VideoReader
from ...data.transforms.functional import center_crop
from ...errors import UsageError

_GROUND = (96, 104, 112)
# Colour, and of the way across the picture: where it starts and how far it goes, in y and x; radius.
_DISCS = (((224, 64, 48), (0.3, 0.1), (0.1, 0.7), 0.17), ((48, 192, 80), (0.8, 0.7), (-0.6, -0.1), 0.13),
          ((64, 96, 232), (0.5, 0.9), (0.3, -0.5), 0.1), ((240, 232, 200), (0.15, 0.5), (0.5, 0.3), 0.07))


def moving_discs(preprocess: Preprocess) -> np.ndarray:
    """Draw discs that cross the picture, which compress to little.

    Returns
    -------
    uint8 ndarray (rows * len(offsets), H, W, C)
        For one score, of a size that `preprocess` does not resize.
    """
    height, width = _kept_size(preprocess)
    offsets = np.array(preprocess.offsets)
    # A row that is a single frame shows another moment of the clip than the next one.
    moments = (np.arange(preprocess.rows)[:, None] * preprocess.span + offsets).ravel()
    moments = moments / max(1, moments.max())
    y, x = np.mgrid[:height, :width]
    frames = np.empty((len(moments), height, width, 3), np.uint8)
    frames[:] = _GROUND
    for color, start, way, radius in _DISCS:
        for frame, moment in zip(frames, moments):
            top, left = ((start[axis] + moment * way[axis]) * (height, width)[axis] for axis in (0, 1))
            frame[(y - top) ** 2 + (x - left) ** 2 < (radius * min(height, width)) ** 2] = color
    return frames if preprocess.modality == 'rgb' else np.ascontiguousarray(frames[..., :2])


def read_reference(path: str | os.PathLike, preprocess: Preprocess) -> np.ndarray:
    """Read the frames for one score from the middle of a video, or of a folder of optical flow.

    Returns
    -------
    uint8 ndarray (rows * len(offsets), H, W, C)

    Raises
    ------
    VideoReadError
        When it cannot be read.
    """
    with VideoReader(path, modality=preprocess.modality) as reader:
        length, rows, span = len(reader), preprocess.rows, preprocess.span
        part = length / rows
        starts = [max(0, int((row + 0.5) * part - span / 2)) for row in range(rows)]
        return reader.read([min(start + offset, length - 1) for start in starts for offset in preprocess.offsets])


def settled(preprocess: Preprocess, frames: np.ndarray) -> np.ndarray:
    """Return frames at the size that they are cropped from, so that a replay elsewhere does not resize them again.

    Different programs resize to different grey levels, which a comparison to five digits would see.

    Raises
    ------
    UsageError
        When the frames do not make one score.
    """
    wanted = preprocess.rows * len(preprocess.offsets)
    if len(frames) != wanted:
        raise UsageError(f'the reference clip must have the {wanted} frames of one score, it has {len(frames)}')
    frames = preprocess.resized(frames)
    while preprocess.resized_size(*frames.shape[1:3]) != frames.shape[1:3]:
        # The longer side was rounded down, so that resizing again would take a pixel off: be first.
        height, width = frames.shape[1:3]
        frames = center_crop(frames, (height - (height >= width), width - (width > height)))
    preprocess.cut(frames)
    return np.ascontiguousarray(frames)


def _kept_size(preprocess: Preprocess) -> tuple[int, int]:
    side = preprocess.resize.get('short_side')
    if side:
        return side, side
    height, width = preprocess.crop
    return preprocess.resize.get('height', height), preprocess.resize.get('width', width)
