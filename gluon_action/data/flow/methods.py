"""Optical flow between frames: computed by TV-L1 or Farneback, stored in 8 bits, and shown as colours.

Flow is float32 (H, W, 2): what lies at (x, y) in one frame lies at (x + flow[y, x, 0], y + flow[y, x, 1]) in the next,
in pixels, x to the right and y down. It is stored as uint8 in 1..255, where 128 is no motion, so that a mirrored clip
is exact: ``256 - v`` is the opposite of v.
"""
from __future__ import annotations

import numpy as np

from ...errors import GluonActionError, UsageError
from ..transforms.functional import opencv

METHODS = ('tvl1', 'farneback')

#: Displacement in pixels that is stored as 255; larger ones are clipped to it (arXiv:1705.07750, section 3).
BOUND = 20.0

#: What turns stored values, scaled to 0..1, into -1..1: ``(v / 255 - mean) / std``.
MEAN, STD = (128 / 255, 128 / 255), (127 / 255, 127 / 255)


def compute_flow(before: np.ndarray, after: np.ndarray, method: str = 'tvl1') -> np.ndarray:
    """Flow from one frame to the next.

    Parameters
    ----------
    before, after : uint8 ndarray (H, W)
        Grey frames.
    method : {'tvl1', 'farneback'}
        TV-L1 keeps the borders of what moves and is what published two-stream networks were trained on; at 340 x 256
        it takes about 0.9 s on one core. Farneback takes about 0.025 s and is smoother.

    Returns
    -------
    float32 ndarray (H, W, 2)

    Raises
    ------
    UsageError
        When the method does not exist or the frames are no pair.
    GluonActionError
        When scikit-image is not installed, which brings TV-L1.

    References
    ----------
    Zach et al. 2007, "A duality based approach for realtime TV-L1 optical flow"; Farneback 2003, "Two-frame motion
    estimation based on polynomial expansion".
    """
    check_method(method)
    if before.ndim != 2 or before.shape != after.shape:
        raise UsageError(f'flow needs two grey frames (H, W) of one size, got {before.shape} and {after.shape}')
    return _tvl1(before, after) if method == 'tvl1' else _farneback(before, after)


def check_method(method: str) -> None:
    """Raise unless a method exists and what it needs is installed."""
    if method not in METHODS:
        raise UsageError(f'unknown method of optical flow {method!r}; there are {" and ".join(METHODS)}')
    if method == 'tvl1':
        _tvl1_of_scikit_image()
    else:
        opencv()


def to_gray(frame: np.ndarray) -> np.ndarray:
    """Brightness uint8 (H, W) of RGB uint8 (H, W, 3)."""
    cv2 = opencv()
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def quantize(flow: np.ndarray, bound: float = BOUND) -> np.ndarray:
    """Store flow in 8 bits: ``128 + round(clip(flow, -bound, bound) * 127 / bound)``, uint8 in 1..255."""
    return (128 + np.rint(np.clip(flow, -bound, bound) * (127 / bound))).astype(np.uint8)


def dequantize(stored: np.ndarray) -> np.ndarray:
    """Return stored flow as float32 in -1..1, where 1 is the bound: what networks take."""
    return (stored.astype(np.float32) - 128) / 127


def flow_colors(stored: np.ndarray, full: float | None = None) -> np.ndarray:
    """Show stored flow: the direction as hue, the speed as saturation, white where nothing moves.

    Parameters
    ----------
    stored : uint8 ndarray (H, W, 2)
    full : float, optional
        Speed of the purest colour, where 1 is the bound; by default `top_speed` of the picture.

    Returns
    -------
    uint8 ndarray (H, W, 3)
        RGB. Right is red, down yellow-green, left cyan, up violet.
    """
    cv2 = opencv()
    x, y = np.moveaxis(dequantize(stored), -1, 0)
    speed = np.hypot(x, y)
    full = full or top_speed(stored)
    hue = np.arctan2(y, x) % (2 * np.pi) * (90 / np.pi)  # OpenCV's hues go from 0 to 180
    colors = np.stack([np.minimum(hue, 179), np.minimum(speed / full, 1) * 255, np.full_like(hue, 255)], axis=-1)
    return cv2.cvtColor(colors.astype(np.uint8), cv2.COLOR_HSV2RGB)


def top_speed(stored: np.ndarray) -> float:
    """Largest speed in stored flow (..., 2), outliers aside, where 1 is the bound; at least two steps of storage."""
    return max(float(np.percentile(np.linalg.norm(dequantize(stored), axis=-1), 99)), 2 / 127)


def color_wheel(side: int) -> np.ndarray:
    """Key to `flow_colors`: uint8 (side, side, 3), each direction's colour where it points to."""
    across = np.linspace(-1, 1, side, dtype=np.float32)
    flow = np.stack(np.meshgrid(across, across), axis=-1)
    wheel = flow_colors(quantize(flow, 1.0), full=1.0)
    wheel[np.hypot(*np.moveaxis(flow, -1, 0)) > 1] = 255
    return wheel


def _tvl1(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    # lambda 0.15 on values 0..255, theta 0.3, tau 0.25 and a median filter of the flow between warps, as in OpenCV's
    # DualTVL1. scikit-image scales to 0..1, which makes lambda 255 times larger, and has tau built in.
    flow = _tvl1_of_scikit_image()(before, after, attachment=0.15 * 255, tightness=0.3, num_warp=5, num_iter=10,
                                   tol=1e-4, prefilter=True, dtype=np.float32)
    return np.ascontiguousarray(np.stack([flow[1], flow[0]], axis=-1))  # it gives rows first


def _farneback(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return opencv().calcOpticalFlowFarneback(before, after, None, pyr_scale=0.5, levels=5, winsize=15, iterations=3,
                                             poly_n=5, poly_sigma=1.1, flags=0)


def _tvl1_of_scikit_image():
    try:
        from skimage.registration import optical_flow_tvl1
    except ImportError as error:
        raise GluonActionError(f'TV-L1 flow needs scikit-image, which cannot be loaded ({error}); '
                               'pip install "gluon_action[flow]", or take --method farneback') from error
    return optical_flow_tvl1
