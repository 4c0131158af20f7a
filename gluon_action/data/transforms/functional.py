"""Clip transforms as pure functions; random ones take the drawn values as arguments.

A clip is uint8 (T, H, W, C), all frames of one size. Crops are views; resizing goes frame by frame through OpenCV,
bilinear, into one array.

A clip of two channels is optical flow, x and y: in the mirror, what moved right moves left. Resizing and cropping leave
its values as they are: pixels of the size that the flow was extracted at.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from ...errors import GluonActionError, UsageError


def as_clip(frames: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Frames (H, W, C), in a list or an array, as one array (T, H, W, C)."""
    if isinstance(frames, np.ndarray):
        clip = frames
    else:
        shapes = {np.shape(frame) for frame in frames}
        if len(shapes) != 1:
            raise UsageError(f'a clip needs at least one frame and frames of one size, got {sorted(shapes)}; '
                             'set --new-height and --new-width to bring frames to one size')
        clip = np.stack(frames)
    if clip.ndim != 4:
        raise UsageError(f'a clip is (frames, height, width, channels), got an array of shape {clip.shape}')
    return clip


def resize(clip: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize to (T, height, width, C); the clip itself when it has that size."""
    if clip.shape[1:3] == (height, width):
        return clip
    cv2 = opencv()
    resized = np.empty((len(clip), height, width, clip.shape[3]), clip.dtype)
    for frame, target in zip(clip, resized):
        cv2.resize(frame, (width, height), dst=target)
    return resized


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Size after scaling the shorter side to `short_side`; the longer one is rounded down."""
    if width < height:
        return math.floor(height / width * short_side), short_side
    return short_side, math.floor(width / height * short_side)


def short_side_rescale(clip: np.ndarray, short_side: int) -> np.ndarray:
    """Scale so that the shorter side becomes `short_side`."""
    return resize(clip, *short_side_size(*clip.shape[1:3], short_side))


def crop(clip: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A window as a view (T, height, width, C).

    Raises
    ------
    UsageError
        When the window does not lie inside the frames.
    """
    if min(top, left) < 0 or top + height > clip.shape[1] or left + width > clip.shape[2]:
        raise UsageError(
            f'frames of {clip.shape[2]}x{clip.shape[1]} (width x height) have no {width}x{height} crop at ({left}, '
            f'{top}); enlarge them with --new-width and --new-height, or with ShortSideRescale before the crop')
    return clip[:, top:top + height, left:left + width]


def center_crop(clip: np.ndarray, size: tuple[int, int], rounding=round) -> np.ndarray:
    """The middle as a view (T, size[0], size[1], C).

    `rounding` places it when the margin is odd: Python's `round` (to even) in GluonCV's first recipe, `math.ceil` in
    its second.
    """
    return crop(clip, *_middle(*clip.shape[1:3], size, rounding), *size)


def three_crop(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crops at both ends and in the middle of the longer side.

    Returns
    -------
    ndarray
        (3 * T, size[0], size[1], C): all frames of the left (top) crop, all of the right (bottom), all of the middle.

    Raises
    ------
    UsageError
        When neither side of the crop equals the frames'.
    """
    places = crop_places(*clip.shape[1:3], size, 3)
    return np.concatenate([crop(clip, top, left, *size) for top, left, _ in places])


def ten_crop(clip: np.ndarray, size: tuple[int, int], clip_length: int = 1) -> np.ndarray:
    """Centre and corner crops and their mirror images.

    Parameters
    ----------
    clip : ndarray
        (S * clip_length, H, W, C): one or more clips behind each other.
    size : tuple of int
        (height, width) of a crop.
    clip_length : int
        Frames that stay together. GluonCV always takes 1, which mixes the crops of longer clips along time.

    Returns
    -------
    ndarray
        (S * 10 * clip_length, size[0], size[1], C): for each clip centre, top left, bottom left, top right, bottom
        right, then the same mirrored; for each crop its frames.
    """
    if len(clip) % clip_length:
        raise UsageError(f'{len(clip)} frames are not a multiple of the clip length {clip_length}')
    crops = [crop(clip, top, left, *size) for top, left, _ in crop_places(*clip.shape[1:3], size, 10)[:5]]
    crops = np.stack([*crops, *map(horizontal_flip, crops)])  # (10, S * L, h, w, C)
    crops = crops.reshape(10, -1, clip_length, *crops.shape[2:]).swapaxes(0, 1)
    return crops.reshape(-1, *crops.shape[3:])


def crop_places(height: int, width: int, size: tuple[int, int], crops: int) -> list[tuple[int, int, bool]]:
    """Upper and left edge of each crop, and whether it is mirrored, in GluonCV's order.

    Parameters
    ----------
    height, width : int
        Of the frame.
    size : tuple of int
        (height, width) of a crop.
    crops : {1, 3, 10}
        The centre; left, right, middle or top, bottom, middle; centre, top left, bottom left, top right, bottom right,
        then these mirrored.

    Raises
    ------
    UsageError
        For 3 crops, when neither side of the crop is the frame's: they would not cover the longer one.
    """
    y, x = height - size[0], width - size[1]
    if crops == 1:
        return [(*_middle(height, width, size), False)]
    if crops == 3:
        if y != 0 and x != 0:
            raise UsageError(f'three crops of {size[1]}x{size[0]} must span one side of the frames, which are {width}x'
                             f'{height} (width x height); scale their short side to the crop with ShortSideRescale')
        return [(0, place * (x // 2), False) if y == 0 else (place * (y // 2), 0, False) for place in (0, 2, 1)]
    corners = [(y // 2, x // 2), (0, 0), (y, 0), (0, x), (y, x)]
    return [(top, left, mirrored) for mirrored in (False, True) for top, left in corners]


def _middle(height: int, width: int, size: tuple[int, int], rounding=round) -> tuple[int, int]:
    return int(rounding((height - size[0]) / 2)), int(rounding((width - size[1]) / 2))


def horizontal_flip(clip: np.ndarray) -> np.ndarray:
    """The mirror image: a view, but a copy of optical flow.

    The x of flow (2 channels) becomes its opposite: ``-x`` of floats, ``256 - x`` of uint8 as it is stored, where 128
    is no motion and 0 (which only other programs store) counts as 1.
    """
    flipped = clip[:, :, ::-1]
    if clip.shape[3] != 2:
        return flipped
    flipped = flipped.copy()
    flipped[..., 0] = opposite(flipped[..., 0])
    return flipped


def opposite(x: np.ndarray) -> np.ndarray:
    """Optical flow the other way: floats as they are, uint8 as it is stored."""
    return np.uint8(0) - np.maximum(x, 1) if x.dtype == np.uint8 else -x


def planes(frame: np.ndarray, flip: bool = False) -> np.ndarray:
    """Bring the channels of a frame uint8 (H, W, C) first, and mirror as `horizontal_flip` does: uint8 (C, H, W).

    By OpenCV, which takes a tenth of NumPy's time; without it the same numbers come.
    """
    if flip and frame.shape[2] == 2:
        frame, flip = horizontal_flip(frame[None])[0], False
    separate = np.empty((frame.shape[2], *frame.shape[:2]), np.uint8)
    try:
        import cv2
    except (ImportError, OSError):
        separate[...] = np.moveaxis(frame[:, ::-1] if flip else frame, 2, 0)
    else:
        cv2.split(cv2.flip(frame, 1) if flip else frame, list(separate))
    return separate


def copy_mirrored(numbers: np.ndarray, target: np.ndarray) -> None:
    """Copy (C, h, w) float32 to an array whose rows are contiguous, each row from right to left.

    By OpenCV, as NumPy goes backwards number by number; without it the same comes.
    """
    try:
        import cv2
    except (ImportError, OSError):
        target[...] = numbers[..., ::-1]
    else:
        for channel, there in zip(numbers, target):
            cv2.flip(channel, 1, there)


def resized_crop(clip: np.ndarray, window: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Crop the window (top, left, height, width) and resize it to `size`."""
    return resize(crop(clip, *window), *size)


def multi_scale_sizes(height: int, width: int, scale_ratios: Sequence[float],
                      max_distort: int = 1) -> list[tuple[int, int]]:
    """Crop sizes (height, width) to choose from: pairs of scaled short sides at most `max_distort` scales apart.

    References
    ----------
    Wang et al. 2015, arXiv:1507.02159, section 3.
    """
    sides = [max(1, int(min(height, width) * ratio)) for ratio in scale_ratios]
    return [(high, wide) for i, high in enumerate(sides) for j, wide in enumerate(sides) if abs(i - j) <= max_distort]


def multi_scale_offsets(height: int, width: int, crop_height: int, crop_width: int,
                        more: bool = True) -> list[tuple[int, int]]:
    """Places (top, left) to choose from: corners and centre; with `more`, edges and quarters too."""
    y, x = (height - crop_height) // 4, (width - crop_width) // 4
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    if more:
        places += [(0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)]
    return [(i * y, j * x) for i, j in places]


def draw_multi_scale_crop(height: int, width: int, rng: np.random.Generator, *, scale_ratios: Sequence[float],
                          max_distort: int = 1, fix_crop: bool = True,
                          more_fix_crop: bool = True) -> tuple[int, int, int, int]:
    """Draw a window (top, left, height, width) for multi-scale cropping.

    One of `multi_scale_sizes`, at one of `multi_scale_offsets`, or anywhere with ``fix_crop=False``.
    """
    sizes = multi_scale_sizes(height, width, scale_ratios, max_distort)
    crop_height, crop_width = sizes[rng.integers(len(sizes))]
    if fix_crop:
        places = multi_scale_offsets(height, width, crop_height, crop_width, more_fix_crop)
        top, left = places[rng.integers(len(places))]
    else:
        top, left = (int(rng.integers(0, high, endpoint=True)) for high in (height - crop_height, width - crop_width))
    return top, left, crop_height, crop_width


def draw_resized_crop(height: int, width: int, rng: np.random.Generator, *, scale: tuple[float, float] = (0.08, 1.0),
                      ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> tuple[int, int, int, int]:
    """Draw a window (top, left, height, width) of random area and shape.

    Ten tries with an area of `scale` times the frame's and an aspect ratio from `ratio`, drawn evenly as GluonCV does
    (torchvision draws its logarithm); then the largest centred window whose shape is allowed.
    """
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = rng.uniform(*ratio)
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rng.random() < 0.5:
            wide, high = high, wide
        if 0 < wide <= width and 0 < high <= height:
            top = int(rng.integers(0, height - high, endpoint=True))
            return top, int(rng.integers(0, width - wide, endpoint=True)), high, wide
    wide, high = width, height
    if width / height < min(ratio):
        high = round(width / min(ratio))
    elif width / height > max(ratio):
        wide = round(height * max(ratio))
    return (height - high) // 2, (width - wide) // 2, high, wide


def to_tensor(clip: np.ndarray, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0,
              max_intensity: float = 255.0, flip: bool = False) -> np.ndarray:
    """Scale, normalise and bring channels first: ``(clip / max_intensity - mean) / std``.

    Parameters
    ----------
    clip : ndarray
        (T, H, W, C).
    mean, std : float or sequence of float
        One for all channels, or one each; in units of the scaled values.
    max_intensity : float
        What becomes 1.
    flip : bool
        Mirror the frames as well, as `horizontal_flip` does.

    Returns
    -------
    ndarray
        float32 (T, C, H, W). From uint8 it is the float64 result rounded once, through a table of 256 values.
    """
    if clip.dtype != np.uint8 or not 1 <= clip.shape[3] <= 4:
        mean, std = (np.broadcast_to(np.asarray(value, np.float64), clip.shape[3:]) for value in (mean, std))
        flipped = horizontal_flip(clip) if flip else clip
        return normalize(flipped.transpose(0, 3, 1, 2).astype(np.float32), mean * max_intensity, std * max_intensity)
    cv2 = opencv()
    table = level_table(clip.shape[3], mean, std, max_intensity)[None]
    if flip and clip.shape[3] == 2:
        table[0, :, 0] = table[0, opposite(np.arange(256, dtype=np.uint8)), 0]
    tensor = np.empty((len(clip), clip.shape[3], *clip.shape[1:3]), np.float32)
    values = np.empty(clip.shape[1:], np.float32)
    for frame, target in zip(clip, tensor):
        cv2.LUT(cv2.flip(frame, 1) if flip else np.ascontiguousarray(frame), table, values)
        cv2.split(values, list(target))
    return tensor


def level_table(channels: int, mean: float | Sequence[float], std: float | Sequence[float],
                max_intensity: float) -> np.ndarray:
    """What each of 256 levels becomes in `to_tensor`, float32 (256, C)."""
    mean, std = (np.broadcast_to(np.asarray(value, np.float64), (channels,)) for value in (mean, std))
    return ((np.arange(256)[:, None] / max_intensity - mean) / std).astype(np.float32)


def to_pixels(clip: np.ndarray, flip: bool = False) -> np.ndarray:
    """Bring channels first and mirror as `to_tensor` does, but leave the levels: uint8 (T, C, H, W)."""
    return np.ascontiguousarray((horizontal_flip(clip) if flip else clip).transpose(0, 3, 1, 2))


def normalize(tensor: np.ndarray, mean: float | Sequence[float], std: float | Sequence[float]) -> np.ndarray:
    """``(tensor - mean) / std`` per channel of (T, C, H, W), in float32."""
    mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (mean, std))
    normalized = np.subtract(tensor, mean, dtype=np.float32)
    normalized /= std
    return normalized


@functools.cache
def opencv() -> ModuleType:
    """Return OpenCV, or raise an error that says how to install it."""
    try:
        import cv2
    except ImportError as error:
        raise GluonActionError(
            f'OpenCV cannot be loaded ({error}); the plain wheel needs the system\'s libGL, the headless one does not: '
            'pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless') from error
    return cv2
