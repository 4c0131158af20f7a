"""Random changes of a clip's colours, one draw for all of its frames."""
from __future__ import annotations

import numpy as np

from .functional import opencv

#: How far each change may go: added to all values; factor of the saturation; part of the colour circle; factor of the
#: distance to a frame's mean.
BRIGHTNESS, SATURATION, HUE, CONTRAST = (-8 / 255, 8 / 255), (0.9, 1.1), (-0.05, 0.05), (0.9, 1.1)


def distort_colors(clip: np.ndarray, rng: np.random.Generator, strength: float = 1.) -> np.ndarray:
    """Change brightness, saturation, hue and contrast a little, in one of four orders.

    Parameters
    ----------
    clip : float32 ndarray (T, H, W, 3)
        RGB in 0..1.
    rng : numpy.random.Generator
        Draws the order and the four amounts, which all frames share.
    strength : float
        Factor of how far each change may go, in 0..5.

    Returns
    -------
    float32 ndarray (T, H, W, 3)
        RGB, clipped to 0..1.

    Notes
    -----
    The changes are those of ``tf.image.adjust_*`` and the orders those of slim's Inception preprocessing, with smaller
    amounts.
    """
    steps = _ORDERS[int(rng.integers(len(_ORDERS)))]
    amounts = {step: np.float32(rng.uniform(*_scaled(limits, strength))) for step, limits in _LIMITS.items()}
    for step in steps:
        clip = step(clip, amounts[step])
    return np.clip(clip, 0, 1)


def _scaled(limits: tuple[float, float], strength: float) -> tuple[float, float]:
    middle = sum(limits) / 2
    low, high = (limit if strength == 1 else middle + (limit - middle) * strength for limit in limits)
    return low, high


def adjust_brightness(clip: np.ndarray, delta: float) -> np.ndarray:
    """Add `delta` to every value."""
    return clip + np.float32(delta)


def adjust_contrast(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distance of each value to the mean of its channel in its frame."""
    mean = clip.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return (clip - mean) * np.float32(factor) + mean


def adjust_saturation(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the saturation, which stays in 0..1."""
    return _in_hsv(clip, lambda hsv: np.minimum(hsv[..., 1] * np.float32(factor), 1, out=hsv[..., 1]))


def adjust_hue(clip: np.ndarray, delta: float) -> np.ndarray:
    """Turn the colour circle by `delta`, where 1 is all the way round."""
    def turn(hsv):
        hue = hsv[..., 0]
        hue += np.float32(360 * delta)
        np.mod(hue, 360, out=hue)
    return _in_hsv(clip, turn)


def _in_hsv(clip: np.ndarray, change) -> np.ndarray:
    """Apply `change`, in place, to a clip as hue (0..360), saturation and value (0..1)."""
    cv2 = opencv()
    tall = np.ascontiguousarray(np.clip(clip, 0, 1)).reshape(-1, *clip.shape[2:])
    hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV)
    change(hsv)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(clip.shape)


_LIMITS = {adjust_brightness: BRIGHTNESS, adjust_saturation: SATURATION, adjust_hue: HUE, adjust_contrast: CONTRAST}
_ORDERS = ((adjust_brightness, adjust_saturation, adjust_hue, adjust_contrast),
           (adjust_saturation, adjust_brightness, adjust_contrast, adjust_hue),
           (adjust_contrast, adjust_hue, adjust_brightness, adjust_saturation),
           (adjust_hue, adjust_saturation, adjust_contrast, adjust_brightness))
