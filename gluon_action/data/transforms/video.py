"""Clip transforms under GluonCV's names, as Gluon blocks.

Each takes a clip, a list of frames (H, W, C) or an array (T, H, W, C), usually uint8 RGB, and gives an array. Clips of
two channels are optical flow, whose x changes its sign in the mirror. What is random is drawn once a clip: from the
generator passed as ``rng=``, else from `drawing_from`, else from one seeded by numpy's global state. Every transform
has a pure function in `functional`.

GluonCV gives lists, and float64 where it normalises; here it is float32, equal to its values rounded once.
"""
from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
from mxnet.gluon import Block

from ...errors import UsageError
from . import functional as F
from .color import distort_colors
from .drawing import Drawing, current_drawing, drawing_from
from .scaling import Scaling

__all__ = ['VideoToTensor', 'VideoNormalize', 'VideoRandomHorizontalFlip', 'VideoMultiScaleCrop', 'VideoCenterCrop',
           'VideoThreeCrop', 'VideoTenCrop', 'VideoGroupTrainTransform', 'VideoGroupValTransform',
           'VideoGroupTrainTransformV2', 'VideoGroupValTransformV2', 'ShortSideRescale', 'VideoGroupTrainTransformV3',
           'RandomResizedCrop', 'VideoGroupTrainTransformV4', 'VideoColorJitter', 'drawing_from']


class ClipTransform(Block):
    """A transform of clips: `apply` gets the clip as one array, and what to draw from.

    Attributes
    ----------
    flips : bool
        Whether it may mirror the clip, which changes labels that have a side.
    """

    flips = False

    def __call__(self, clip: np.ndarray | Sequence[np.ndarray], rng: np.random.Generator | None = None) -> np.ndarray:
        """Transform one clip, drawing from `rng` if it is given."""
        if rng is None:
            return super().__call__(clip)
        with drawing_from(rng):
            return super().__call__(clip)

    def forward(self, clip):
        """Transform one clip."""
        return self.apply(F.as_clip(clip))

    def apply(self, clip: np.ndarray) -> np.ndarray:
        """Transform one clip, (T, H, W, C)."""
        raise NotImplementedError


class VideoToTensor(ClipTransform):
    """Frames to float32 (T, C, H, W), divided by `max_intensity`."""

    def __init__(self, max_intensity: float = 255.0):
        super().__init__()
        self.max_intensity = max_intensity

    def apply(self, clip):
        """Scale and bring channels first."""
        return F.to_tensor(clip, max_intensity=self.max_intensity)


class VideoNormalize(ClipTransform):
    """``(tensor - mean) / std`` of (T, C, H, W); `mean` and `std` are one number or one each channel."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        super().__init__()
        self.mean, self.std = mean, std

    def apply(self, clip):
        """Normalise."""
        return F.normalize(clip, self.mean, self.std)


class VideoRandomHorizontalFlip(ClipTransform):
    """Mirror the whole clip with probability `prob`."""

    def __init__(self, prob: float = 0.5):
        super().__init__()
        self.prob, self.flips = prob, prob > 0

    def apply(self, clip):
        """Draw, and perhaps mirror."""
        return F.horizontal_flip(clip) if current_drawing().flip(self.prob) else clip


class VideoMultiScaleCrop(ClipTransform):
    """Crop a random size from a corner, the centre or between, and resize it.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the result.
    scale_ratios : sequence of float
        Sides of the crop as parts of the frame's short side.
    fix_crop : bool
        Take one of 5 places, rather than any.
    more_fix_crop : bool
        One of 13.
    max_distort : int
        How many places in `scale_ratios` the crop's height and width may be apart.
    """

    def __init__(self, size: int | tuple[int, int], scale_ratios: Sequence[float], fix_crop: bool = True,
                 more_fix_crop: bool = True, max_distort: int = 1):
        super().__init__()
        self.size = _pair(size)
        self.scale_ratios, self.max_distort = tuple(scale_ratios), max_distort
        self.fix_crop, self.more_fix_crop = fix_crop, more_fix_crop

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Window (top, left, height, width) for frames of a size."""
        return F.draw_multi_scale_crop(height, width, rng, scale_ratios=self.scale_ratios, fix_crop=self.fix_crop,
                                       max_distort=self.max_distort, more_fix_crop=self.more_fix_crop)

    def apply(self, clip):
        """Draw, crop and resize."""
        return F.resized_crop(clip, self.draw(*clip.shape[1:3], current_drawing().rng), self.size)

    def fillCropSize(self, scale_ratios, max_distort, image_h, image_w):
        """Sizes to choose from; see `functional.multi_scale_sizes`."""
        return F.multi_scale_sizes(image_h, image_w, scale_ratios, max_distort)

    def fillFixOffset(self, more_fix_crop, image_h, image_w, crop_h, crop_w):
        """Places to choose from; see `functional.multi_scale_offsets`."""
        return F.multi_scale_offsets(image_h, image_w, crop_h, crop_w, more_fix_crop)


class VideoCenterCrop(ClipTransform):
    """The middle of the frames; `size` is a number or (height, width)."""

    def __init__(self, size: int | tuple[int, int]):
        super().__init__()
        self.size = _pair(size)

    def apply(self, clip):
        """Crop."""
        return F.center_crop(clip, self.size)


class VideoThreeCrop(ClipTransform):
    """Both ends and the middle of the longer side: (3 * T, h, w, C), all frames of a crop together.

    So segments vary fastest in the data set's (S * C, ...) clips; averaging over them does not see the order.
    """

    def __init__(self, size: int | tuple[int, int]):
        super().__init__()
        self.size = _pair(size)

    def apply(self, clip):
        """Crop three times."""
        return F.three_crop(clip, self.size)


class VideoTenCrop(ClipTransform):
    """Centre, corners and their mirror images: (10 * T, h, w, C).

    Crops vary fastest for single frames, as in GluonCV. For longer clips GluonCV's order mixes crops along time; here
    the `clip_length` frames of a clip stay together in each crop.

    Parameters
    ----------
    size : int or tuple of int
        (height, width).
    clip_length : int, optional
        Frames of a clip; by default what `drawing_from` says (a data set tells it), else 1.
    """

    def __init__(self, size: int | tuple[int, int], clip_length: int | None = None):
        super().__init__()
        self.size, self.clip_length = _pair(size), clip_length

    def apply(self, clip):
        """Crop ten times."""
        return F.ten_crop(clip, self.size, self.clip_length or current_drawing().clip_length)


class ShortSideRescale(ClipTransform):
    """Resize so that the shorter side becomes `short_side`, keeping the shape; the longer one is rounded down."""

    def __init__(self, short_side: int):
        super().__init__()
        self.short_side = short_side

    def apply(self, clip):
        """Resize."""
        return F.short_side_rescale(clip, self.short_side)


class RandomResizedCrop(ClipTransform):
    """Crop a random area and shape, and resize it to `size`, (height, width).

    Parameters
    ----------
    size : tuple of int
    scale : tuple of float
        Range of the area as a part of the frame's.
    ratio : tuple of float
        Range of width over height.
    """

    def __init__(self, size: int | tuple[int, int], scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3)):
        super().__init__()
        self.size, self.scale, self.ratio = _pair(size), scale, ratio

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Window (top, left, height, width) for frames of a size."""
        return F.draw_resized_crop(height, width, rng, scale=self.scale, ratio=self.ratio)

    def apply(self, clip):
        """Draw, crop and resize."""
        return F.resized_crop(clip, self.draw(*clip.shape[1:3], current_drawing().rng), self.size)


class VideoColorJitter(ClipTransform):
    """Change the colours of normalised RGB frames (T, 3, H, W), the same in all of them.

    Parameters
    ----------
    mean, std : sequence of float
        What the frames were normalised with, for values in 0..1.
    strength : float
        As in `distort_colors`.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], strength: float = 1.):
        super().__init__()
        self.mean, self.std = (np.asarray(value, np.float32) for value in (mean, std))
        self.strength = strength

    def apply(self, clip):
        """Draw and change."""
        pixels = clip.transpose(0, 2, 3, 1) * self.std + self.mean
        pixels = distort_colors(pixels, current_drawing().rng, self.strength)
        return F.normalize(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), self.mean, self.std)


class _GroupTransform(ClipTransform):
    """Crop as the recipe says, perhaps mirror, and normalise in one pass.

    Attributes
    ----------
    gives_pixels : bool
        Whether it leaves out the last step, `scaling`, and gives uint8 (T, C, H, W).
    """

    gives_pixels = False

    def __init__(self, size, mean, std, prob: float, max_intensity: float):
        super().__init__()
        self.size = _pair(size)
        self.mean, self.std, self.max_intensity = mean, std, max_intensity
        self.prob, self.flips = prob, prob > 0

    def apply(self, clip):
        """Crop, mirror, normalise."""
        drawing = current_drawing()
        clip = self.crop(clip, drawing)
        flip = self.prob > 0 and drawing.flip(self.prob)
        if self.gives_pixels:
            return F.to_pixels(clip, flip)
        return F.to_tensor(clip, self.mean, self.std, self.max_intensity, flip)

    @property
    def scaling(self) -> Scaling:
        """What turns pixels into the numbers that this gives."""
        return Scaling(self.mean, self.std, self.max_intensity)

    def as_pixels(self) -> _GroupTransform:
        """Return the same transform without the last step."""
        other = copy.copy(self)
        other.gives_pixels = True
        return other

    def crop(self, clip: np.ndarray, drawing: Drawing) -> np.ndarray:
        """Frames of the final size."""
        raise NotImplementedError


class VideoGroupTrainTransform(_GroupTransform):
    """Training as in TSN: multi-scale crop, mirror, scale, normalise.

    Parameters
    ----------
    size, scale_ratios, fix_crop, more_fix_crop, max_distort
        As in `VideoMultiScaleCrop`.
    mean, std : sequence of float
        Per channel, in units of the scaled values.
    prob : float
        Of mirroring.
    max_intensity : float
        What becomes 1 before `mean` and `std` are applied.
    """

    def __init__(self, size, scale_ratios, mean, std, fix_crop: bool = True, more_fix_crop: bool = True,
                 max_distort: int = 1, prob: float = 0.5, max_intensity: float = 255.0):
        super().__init__(size, mean, std, prob, max_intensity)
        self.multi_scale_crop = VideoMultiScaleCrop(size, scale_ratios, fix_crop, more_fix_crop, max_distort)

    def crop(self, clip, drawing):
        """Multi-scale crop."""
        return F.resized_crop(clip, self.multi_scale_crop.draw(*clip.shape[1:3], drawing.rng), self.size)


class VideoGroupValTransform(_GroupTransform):
    """Validation as in TSN: centre crop, scale, normalise. Frames smaller than `size` are an error."""

    def __init__(self, size, mean, std, max_intensity: float = 255.0):
        super().__init__(size, mean, std, 0.0, max_intensity)

    def crop(self, clip, drawing):
        """Centre crop."""
        return F.center_crop(clip, self.size)


class VideoGroupTrainTransformV2(VideoGroupTrainTransform):
    """`VideoGroupTrainTransform` of frames whose short side was resized to `short_side`."""

    def __init__(self, size, short_side: int, scale_ratios, mean, std, fix_crop: bool = True,
                 more_fix_crop: bool = True, max_distort: int = 1, prob: float = 0.5, max_intensity: float = 255.0):
        super().__init__(size, scale_ratios, mean, std, fix_crop, more_fix_crop, max_distort, prob, max_intensity)
        self.short_side = short_side

    def crop(self, clip, drawing):
        """Resize, then multi-scale crop."""
        return super().crop(F.short_side_rescale(clip, self.short_side), drawing)


class VideoGroupValTransformV2(_GroupTransform):
    """Centre crop of frames whose short side was resized to `short_side`."""

    def __init__(self, crop_size, short_side: int, mean, std, max_intensity: float = 255.0):
        super().__init__(crop_size, mean, std, 0.0, max_intensity)
        self.short_side = short_side

    def crop(self, clip, drawing):
        """Resize, then centre crop."""
        return F.center_crop(F.short_side_rescale(clip, self.short_side), self.size, math.ceil)


class VideoGroupTrainTransformV3(_GroupTransform):
    """Training as in SlowFast: short side from `min_size` to `max_size`, random crop, mirror, normalise.

    GluonCV never draws the last place a crop fits; this does.
    """

    def __init__(self, crop_size, min_size: int, max_size: int, mean, std, prob: float = 0.5,
                 max_intensity: float = 255.0):
        super().__init__(crop_size, mean, std, prob, max_intensity)
        if min_size > max_size:
            raise UsageError(f'min_size {min_size} is larger than max_size {max_size}')
        self.min_size, self.max_size = min_size, max_size

    def crop(self, clip, drawing):
        """Resize, then crop anywhere."""
        clip = F.short_side_rescale(clip, round(drawing.rng.uniform(self.min_size, self.max_size)))
        margins = (max(0, have - want) for have, want in zip(clip.shape[1:3], self.size))
        top, left = (int(drawing.rng.integers(0, margin, endpoint=True)) for margin in margins)
        return F.crop(clip, top, left, *self.size)


class VideoGroupTrainTransformV4(_GroupTransform):
    """`RandomResizedCrop`, mirror, scale, normalise."""

    def __init__(self, size, mean, std, scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), prob: float = 0.5, max_intensity: float = 255.0):
        super().__init__(size, mean, std, prob, max_intensity)
        self.random_resized_crop = RandomResizedCrop(size, scale, ratio)

    def crop(self, clip, drawing):
        """Random resized crop."""
        return F.resized_crop(clip, self.random_resized_crop.draw(*clip.shape[1:3], drawing.rng), self.size)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (int(size), int(size)) if np.isscalar(size) else (int(size[0]), int(size[1]))
