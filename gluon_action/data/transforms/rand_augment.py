"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) and random erasing (Zhong et al. 2017, arXiv:1708.04896)."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .functional import opencv

#: Operations in a row, as in the paper's experiments, and the magnitude that means the most.
OPERATIONS, MOST = 2, 10.
#: What a rectangle covers of the frame, and how wide it is against its height.
AREA, RATIO = (0.02, 1 / 3), (0.3, 3.3)


def rand_augment(clip: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Apply `OPERATIONS` operations, drawn with equal chances, to a clip; each is the same in all frames.

    Parameters
    ----------
    clip : uint8 ndarray (T, H, W, 3)
        RGB.
    rng : numpy.random.Generator
        Draws the operations and their directions.
    magnitude : float
        How much each does, in 0..10. At 10: shears by 0.3, moves by 0.45 of a side, turns by 30 degrees, colours,
        contrast, brightness and sharpness times 0.1 or 1.9, values in steps of 16, and all of them inverted.

    Returns
    -------
    uint8 ndarray (T, H, W, 3)
        Where a frame was moved from, it is grey (128).
    """
    for number in rng.integers(len(_OPERATIONS), size=OPERATIONS):
        amount = magnitude / MOST * (1 if rng.random() < 0.5 else -1)
        clip = _OPERATIONS[number](clip, amount)
    return clip


def erase(clip: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Replace a random rectangle by noise, the same in all frames.

    Parameters
    ----------
    clip : float32 ndarray (T, C, H, W)
        Normalised; the noise is normal, of mean 0 and deviation 1.
    rng : numpy.random.Generator
    share : float
        How often, in 0..1.

    Returns
    -------
    float32 ndarray (T, C, H, W)
        The clip itself where nothing is erased.
    """
    if rng.random() >= share:
        return clip
    height, width = clip.shape[2:]
    for _ in range(10):  # a shape that does not fit is drawn anew
        area = rng.uniform(*AREA) * height * width
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        tall, wide = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < tall < height and 0 < wide < width:
            top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            clip = clip.copy()
            clip[:, :, top:top + tall, left:left + wide] = rng.standard_normal(
                (clip.shape[1], tall, wide), dtype=np.float32)
            return clip
    return clip


def _table(change: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    """Make an operation of a function of values 0..255."""
    def apply(clip: np.ndarray, amount: float) -> np.ndarray:
        values = change(np.arange(256, dtype=np.float32), amount)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)[clip]
    return apply


def _blended(other: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    """Make an operation that goes towards another picture, or away from it, by 0.9 at most."""
    def apply(clip: np.ndarray, amount: float) -> np.ndarray:
        base = other(clip)
        return np.clip(np.rint(base + (clip - base) * np.float32(1 + 0.9 * amount)), 0, 255).astype(np.uint8)
    return apply


def _grey(clip: np.ndarray) -> np.ndarray:
    return (clip.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))[..., None]


def _mean_grey(clip: np.ndarray) -> np.ndarray:
    return _grey(clip).mean(axis=(1, 2, 3), keepdims=True)


def _blurred(clip: np.ndarray) -> np.ndarray:
    return np.stack([opencv().blur(frame, (3, 3)) for frame in clip]).astype(np.float32)


def _moved(matrix: Callable[[float, int, int], list[list[float]]]) -> Callable[[np.ndarray, float], np.ndarray]:
    """Make an operation that moves every frame by a matrix (2, 3) of amount, height and width."""
    def apply(clip: np.ndarray, amount: float) -> np.ndarray:
        cv2, (height, width) = opencv(), clip.shape[1:3]
        warp = np.float32(matrix(amount, height, width))
        return np.stack([cv2.warpAffine(np.ascontiguousarray(frame), warp, (width, height), flags=cv2.INTER_LINEAR,
                                        borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128))
                         for frame in clip])
    return apply


def _turn(amount: float, height: int, width: int) -> list[list[float]]:
    return opencv().getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 30 * amount, 1.)


def _stretch(clip: np.ndarray, amount: float) -> np.ndarray:
    """Spread the values of each channel over 0..255, by those of the whole clip; the amount does not matter."""
    low, high = (bound(clip, axis=(0, 1, 2)).astype(np.float32) for bound in (np.min, np.max))
    spread = np.where(high > low, (clip - low) * (255 / np.maximum(high - low, 1)), clip)
    return np.clip(np.rint(spread), 0, 255).astype(np.uint8)


_OPERATIONS = (
    _stretch,
    _blended(_grey),                                                                       # colour
    _blended(_mean_grey),                                                                  # contrast
    _blended(lambda clip: np.zeros(1, np.float32)),                                        # brightness
    _blended(_blurred),                                                                    # sharpness
    _table(lambda values, amount: values // 2 ** round(4 * abs(amount)) * 2 ** round(4 * abs(amount))),  # posterise
    _table(lambda values, amount: np.where(values > 255 - 255 * abs(amount), 255 - values, values)),     # solarise
    _moved(lambda amount, height, width: [[1, 0.3 * amount, -0.15 * amount * height], [0, 1, 0]]),       # shear
    _moved(lambda amount, height, width: [[1, 0, 0], [0.3 * amount, 1, -0.15 * amount * width]]),
    _moved(lambda amount, height, width: [[1, 0, 0.45 * amount * width], [0, 1, 0]]),                    # move
    _moved(lambda amount, height, width: [[1, 0, 0], [0, 1, 0.45 * amount * height]]),
    _moved(_turn),
)
