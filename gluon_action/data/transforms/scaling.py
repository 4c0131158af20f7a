"""The last step of a transform, which may be done on a device: pixels become the numbers that a network takes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .functional import level_table


@dataclass(frozen=True)
class Scaling:
    """``(pixels / max_intensity - mean) / std`` of each channel; `mean` and `std` are one number or one each channel.

    Workers that send uint8 send a quarter of the bytes. A device computes ``pixels * factor + offset``.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    max_intensity: float = 255.0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Scale uint8 (N, C, ...) to float32, to the very numbers of `functional.to_tensor`."""
        table = level_table(pixels.shape[1], self.mean, self.std, self.max_intensity)
        numbers = np.empty(pixels.shape, np.float32)
        for channel in range(pixels.shape[1]):
            np.take(table[:, channel], pixels[:, channel], out=numbers[:, channel], mode='clip')
        return numbers

    def affine(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Factor and offset of each channel, float32 (C,)."""
        mean, std = (np.broadcast_to(np.asarray(value, np.float64), (channels,)) for value in (self.mean, self.std))
        return (1 / (self.max_intensity * std)).astype(np.float32), (-mean / std).astype(np.float32)
