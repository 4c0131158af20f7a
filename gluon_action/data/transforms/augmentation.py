"""Transforms of normalised clips that make more of few videos: RandAugment and random erasing."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import functional as F
from .drawing import current_drawing
from .rand_augment import erase, rand_augment
from .video import ClipTransform


class VideoRandAugment(ClipTransform):
    """RandAugment of normalised RGB frames (T, 3, H, W), the same in all of them.

    Parameters
    ----------
    mean, std : sequence of float
        What the frames were normalised with, for values in 0..1: they become bytes again in between.
    magnitude : float
        As in `rand_augment`.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], magnitude: float):
        super().__init__()
        self.mean, self.std, self.magnitude = mean, std, magnitude

    def apply(self, clip):
        """Draw and change."""
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        pixels = (clip.transpose(0, 2, 3, 1) * std + mean) * 255
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        pixels = rand_augment(pixels, current_drawing().rng, self.magnitude)
        return F.to_tensor(pixels, self.mean, self.std)


class VideoRandomErasing(ClipTransform):
    """Noise in a rectangle of normalised frames (T, C, H, W), the same in all of them.

    Parameters
    ----------
    share : float
        As in `erase`.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def apply(self, clip):
        """Draw and erase."""
        return erase(clip, current_drawing().rng, self.share)
