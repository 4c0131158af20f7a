"""Preprocessing: the frames of a video become the input of a network, as a record stored with exported models says."""
from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import BundleError, UsageError
from ..input_kind import CLIPS, FEATURES, FRAMES, InputKind, kind_of_layout
from .reading.video_reader import resize
from .transforms.functional import (
    copy_mirrored,
    crop,
    crop_places,
    horizontal_flip,
    normalize,
    planes,
    short_side_size,
    to_tensor,
)

#: Most numbers in one row of an input: 1 GiB of float32.
LARGEST_ROW = 2 ** 28
#: Last frame that a clip can have, counted from its first.
LAST_FRAME = 100_000
LARGEST_SIDE = 8192
#: Share of the short side of frames that a crop takes, unless something else is said.
CROP_RATIO = 0.875


def read_size(data_aug: str, new_height: int, new_width: int) -> tuple[int, int] | None:
    """Return height and width that frames are resized to while they are read; None where they keep their size.

    Parameters
    ----------
    data_aug : {'v1', 'v2', 'v3', 'v4'}
        Only v1 reads frames of one size; the others resize them afterwards.
    new_height, new_width : int
        As the flags say; 0 for none.
    """
    return (new_height, new_width) if data_aug == 'v1' and new_height > 0 and new_width > 0 else None


def short_side(size: int, crops: int = 1, *, data_aug: str = 'v1', new_height: int = 0, new_width: int = 0,
               crop_ratio: float | None = None) -> int:
    """Return the short side that frames are rescaled to before they are cropped; 0 where they stay as they were read.

    Parameters
    ----------
    size : int
        Side of the crop.
    crops : {1, 3, 10}
        Three cover the longer side of a frame only when its shorter one is the crop's, so for them it is.
    data_aug, new_height, new_width
        As in `read_size`; with v2 to v4 `new_height` is the short side.
    crop_ratio : float, optional
        Otherwise the crop over the short side, `CROP_RATIO` by default.
    """
    read = read_size(data_aug, new_height, new_width)
    if crops == 3:
        return 0 if read and min(read) == size else size
    if read:
        return 0
    return (new_height if data_aug != 'v1' else 0) or math.ceil(size / (crop_ratio or CROP_RATIO))


class Place(NamedTuple):
    """Where a view lies: its first frame, the upper and left edge of the crop, and whether that is then mirrored."""

    first: int
    top: int
    left: int
    mirrored: bool


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a network: which frames, which crops, and how pixels become numbers.

    Attributes
    ----------
    layout : {'NCHW', 'NCTHW'}
        Axes of the input, which say its kind: frames, or clips.
    modality : {'rgb', 'flow'}
        What a frame is: a picture, or optical flow from it to the next one, stored in 8 bits.
    offsets : tuple of int
        Frames of a clip, counted from its first one: ``(0,)`` for single frames, ``(0, 2, 4, ...)`` for every second
        one; of SlowFast those of the fast pathway, then those of the slow one.
    rows : int
        Consecutive rows of the input that the model makes one score of.
    stride : int
        Frames from the start of a clip to that of the next one, unless the user says otherwise.
    resize : dict
        ``{'short_side': n}``, ``{'width': w, 'height': h}``, or ``{}`` for frames that are taken as they are.
    crop : (int, int)
        Height and width of what is cut out of the resized frames.
    crops : {1, 3, 10}
        The centre; both ends and the middle of the longer side; centre and corners, then their mirror images.
    value_range : (float, float)
        What 0 and 255 become, before `mean` is subtracted and `std` divides.
    mean, std : tuple of float
        One a channel: 3 of pictures, 2 of flow.
    activation : {'softmax', 'sigmoid'}
        What makes probabilities of the scores: one class a video, or any number of them.
    corner : (int, int) or None
        With one crop: its upper and its left edge, where it is not in the middle.
    flow_bound : float or None
        Of flow: pixels of motion that are stored as 255; larger ones are cut to it.

    Raises
    ------
    UsageError
        For an invalid value; the message names the field, its value, and the values allowed.
    """

    layout: str
    offsets: tuple[int, ...]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    modality: str = 'rgb'
    rows: int = 1
    stride: int = 1
    resize: dict[str, int] = field(default_factory=dict)
    crops: int = 1
    value_range: tuple[float, float] = (0., 1.)
    activation: str = 'softmax'
    corner: tuple[int, int] | None = None
    flow_bound: float | None = None

    #: What the output of a model is called.
    output_name = 'logits'

    def __post_init__(self):
        for name, convert in (('offsets', int), ('crop', int), ('mean', float), ('std', float), ('value_range', float)):
            object.__setattr__(self, name, _sequence(self, name, convert))
        if self.corner is not None:
            object.__setattr__(self, 'corner', _sequence(self, 'corner', int))
        _check(self)

    @property
    def input(self) -> InputKind:
        """Frames or clips."""
        return kind_of_layout(self.layout)

    @property
    def channels(self) -> int:
        """Channels of a frame: 3 of pictures, 2 of flow."""
        return 2 if self.modality == 'flow' else 3

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return max(self.offsets) + 1

    @property
    def picture_bytes(self) -> int:
        """Bytes of the resized frames of one score, at least; 0 where frames are not resized."""
        side = self.resize.get('short_side', 0)
        area = max(side * side, self.resize.get('width', 0) * self.resize.get('height', 0))
        return self.rows * len(self.offsets) * self.channels * area

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of an input of this many rows."""
        return self.input.shape(rows, channels=self.channels, length=len(self.offsets), size=self.crop)

    @property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """What a pixel is multiplied by and what is then added, float32 (C,) each."""
        low, high = self.value_range
        std = np.asarray(self.std, np.float64)
        scale, shift = (high - low) / 255 / std, (low - np.asarray(self.mean, np.float64)) / std
        return scale.astype(np.float32), shift.astype(np.float32)

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Make the input of the network of the frames of clips.

        Parameters
        ----------
        frames : uint8 ndarray (n, H, W, C)
            RGB, or flow of 2 channels: for each clip the frames at `offsets`, clip after clip.

        Returns
        -------
        float32 ndarray (n / len(offsets) * crops, C, [T,] h, w)
            For each score its crops, for each crop its `rows` clips: with one row a score the crops of the first
            clip, then those of the second.

        Raises
        ------
        UsageError
            When the frames are not whole scores, or too small for the crop.
        """
        return self.cut(self.resized(frames))

    def resized(self, frames: np.ndarray) -> np.ndarray:
        """Resize frames uint8 (n, H, W, C) to the size that is cropped from; each frame by itself."""
        height, width = self.resized_size(*frames.shape[1:3])
        if frames.shape[1:3] == (height, width):
            return frames
        small = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
        for target, frame in zip(small, frames):
            target[...] = resize(frame, width, height)
        return small

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that frames of a size are resized to."""
        if 'short_side' in self.resize:
            return short_side_size(height, width, self.resize['short_side'])
        return self.resize.get('height', height), self.resize.get('width', width)

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Make the input of the network of frames that were resized; otherwise as `apply`."""
        self._check_frames(frames)
        places = self.places(frames)
        rows = np.empty(self.shape(len(places)), np.float32)
        self.write(frames, places, rows)
        return rows

    def views(self, frames: np.ndarray, clips_together: int | None = None) -> Iterator[np.ndarray]:
        """Yield the crops of resized frames, before they are normalised.

        Parameters
        ----------
        frames : uint8 ndarray (n, H, W, C)
            Clip after clip.
        clips_together : int, optional
            Clips of which all are seen in one crop before the first of them is seen in the next crop; `rows` by
            default.

        Yields
        ------
        uint8 ndarray (T, h, w, C)
            A part of `frames` without a copy, unless it is mirrored flow.

        Raises
        ------
        UsageError
            When the frames are not whole clips, or hold no such crops.
        """
        for first, top, left, mirrored in self.places(frames, clips_together):
            seen = crop(frames[first:first + len(self.offsets)], top, left, *self.crop)
            yield horizontal_flip(seen) if mirrored else seen

    def places(self, frames: np.ndarray, clips_together: int | None = None) -> list[Place]:
        """Return where the crops of resized frames lie, in the order of `views`, which see for what is raised."""
        length = len(self.offsets)
        group = (clips_together or self.rows) * length
        if len(frames) % group:
            raise UsageError(f'{len(frames)} frames are not whole groups of {group // length} clips of {length} frames')
        crops = [(*self.corner, False)] if self.corner is not None else \
            crop_places(*frames.shape[1:3], self.crop, self.crops)
        return [Place(first, *place) for start in range(0, len(frames), group) for place in crops
                for first in range(start, start + group, length)]

    def write(self, frames: np.ndarray, places: Sequence[Place], rows: np.ndarray) -> None:
        """Write crops of resized frames as the network takes them.

        What several crops have in common is normalised once and then copied, which is several times quicker: the ten
        crops of a frame are nearly the same numbers.

        Parameters
        ----------
        frames : uint8 ndarray (n, H, W, C)
        places : sequence of Place
            Of those that `places` returns for these frames, any.
        rows : float32 ndarray (len(places), C, [T,] h, w)
            Where to; contiguous.

        Raises
        ------
        UsageError
            When the frames hold no such crops.
        """
        length = len(self.offsets)
        rows = rows.reshape(len(places), self.channels, length, *self.crop)
        turning = self.modality == 'flow'  # whose numbers are others in the mirror, and not only elsewhere
        alike: dict[tuple[int, bool], list[int]] = {}
        for row, place in enumerate(places):
            alike.setdefault((place.first, turning and place.mirrored), []).append(row)
        whole = None  # as large as a frame
        for (first, turned), together in alike.items():
            for time, frame in enumerate(frames[first:first + length]):
                if len(together) * math.prod(self.crop) <= math.prod(frame.shape[:2]):  # they are the fewer numbers
                    for row in together:
                        _, top, left, mirrored = places[row]
                        self._normalise(crop(frame[None], top, left, *self.crop)[0], mirrored, rows[row, :, time])
                    continue
                whole = np.empty((self.channels, *frame.shape[:2]), np.float32) if whole is None else whole
                self._normalise(frame, turned, whole)
                for row in together:
                    _, top, left, mirrored = places[row]
                    seen = crop(whole, top, frame.shape[1] - left - self.crop[1] if turned else left, *self.crop)
                    if mirrored and not turned:
                        copy_mirrored(seen, rows[row, :, time])
                    else:
                        rows[row, :, time] = seen

    def normalised(self, views: np.ndarray) -> np.ndarray:
        """Return views uint8 (V, T, h, w, C) as the network takes them: float32 (V, C, [T,] h, w)."""
        rows = np.empty(self.shape(len(views)), np.float32)
        length = len(self.offsets)
        self.write(views.reshape(-1, *views.shape[2:]),
                   [Place(first, 0, 0, False) for first in range(0, len(views) * length, length)], rows)
        return rows

    def transform(self, frames: np.ndarray) -> np.ndarray:
        """Resize, crop and normalise frames as a data set's transform does: float32 (n * crops, C, h, w).

        In GluonCV's order: the ten crops of a clip follow each other, but three crops hold all clips each. And rounded
        as `VideoToTensor` and `VideoNormalize` of GluonCV do, once more than `apply`, so that losses can be compared
        with other runs to the last digit.

        Parameters
        ----------
        frames : uint8 ndarray (n, H, W, C)
            As in `apply`.
        """
        frames, (low, high) = self.resized(frames), self.value_range
        together = 1 if self.crops == 10 else len(frames) // len(self.offsets)
        seen = np.concatenate(list(self.views(frames, together)))
        return normalize(to_tensor(seen, max_intensity=255 / (high - low)), np.subtract(self.mean, low), self.std)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON knows them."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Any, where: str = 'preprocess.json') -> Preprocess:
        """Return the record of the fields that `to_json` gave.

        Raises
        ------
        BundleError
            When a field is missing, unknown, of another type or out of range; `where` says where they were read.
        """
        if not isinstance(values, dict):
            raise BundleError(f'{where} must hold an object with a value for each field, it holds {_short(values)}')
        names = [entry.name for entry in dataclasses.fields(cls)]
        for problem, found in (('lacks', [name for name in names if name not in values]),
                               ('has unknown', [name for name in values if name not in names])):
            if found:
                raise BundleError(f'{where} {problem} {", ".join(map(_short, found))}; its fields are '
                                  f'{", ".join(names)}')
        try:
            return cls(**values)
        except UsageError as error:
            raise BundleError(f'{where}: {error}') from error

    def _normalise(self, frame: np.ndarray, mirrored: bool, numbers: np.ndarray) -> None:
        """Write a frame uint8 (h, w, C), or its mirror image, as float32 (C, h, w)."""
        scale, shift = (values.reshape(-1, 1, 1) for values in self.scale_and_shift)
        np.multiply(planes(frame, mirrored), scale, out=numbers)
        numbers += shift

    def _check_frames(self, frames: np.ndarray) -> None:
        group = self.rows * len(self.offsets)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != self.channels:
            raise UsageError(f'frames must be uint8 (n, H, W, {self.channels}) of {self.modality}, got {frames.dtype} '
                             f'{frames.shape}')
        if not len(frames) or len(frames) % group:
            raise UsageError(f'{len(frames)} frames are not whole scores of {self.rows} x {len(self.offsets)} frames')
        height, width = frames.shape[1:3]
        top, left = self.corner or (0, 0)
        if height < top + self.crop[0] or width < left + self.crop[1]:
            raise UsageError(f'frames of {width}x{height} (width x height) hold no crop of {self.crop[1]}x'
                             f'{self.crop[0]}, and nothing enlarges them; scale the video up, or export the model '
                             'with a size that frames are resized to')


def _sequence(record: Preprocess, name: str, convert: type) -> tuple:
    values = getattr(record, name)
    kinds = (int,) if convert is int else (int, float)
    if not isinstance(values, (list, tuple)) or not all(_is(value, *kinds) for value in values):
        what = 'whole numbers' if convert is int else 'finite numbers'
        raise UsageError(f'{name} must be a list of {what}, got {_short(values)}')
    return tuple(map(convert, values))


def _check(p: Preprocess) -> None:
    if p.layout == FEATURES.layout:
        FEATURES.need_video(f'layout {p.layout}')
    for right, name, allowed in itertools.chain(_choice_rules(p), _number_rules(p)):
        if not right:
            raise UsageError(f'{name} must be {allowed}, got {_short(getattr(p, name))}')
    for wrong, why in _size_rules(p):
        if wrong:
            raise UsageError(why)


def _choice_rules(p: Preprocess):
    """Yield (right, field, what is allowed)."""
    for name, known in (('layout', (FRAMES.layout, CLIPS.layout)), ('modality', ('rgb', 'flow')),
                        ('activation', ('softmax', 'sigmoid'))):
        yield getattr(p, name) in known, name, ' or '.join(known)
    yield _is(p.crops, int) and p.crops in (1, 3, 10), 'crops', '1, 3 or 10'
    keys = set(p.resize) if isinstance(p.resize, dict) else None
    yield (keys in (set(), {'short_side'}, {'width', 'height'})
           and all(_is(side, int) and 1 <= side <= LARGEST_SIDE for side in p.resize.values()), 'resize',
           f"{{}}, {{'short_side': n}} or {{'width': w, 'height': h}} in whole numbers from 1 to {LARGEST_SIDE}")


def _number_rules(p: Preprocess):
    channels = p.channels
    yield (1 <= len(p.offsets) <= LAST_FRAME and all(0 <= offset < LAST_FRAME for offset in p.offsets), 'offsets',
           f'one or more whole numbers from 0 to {LAST_FRAME - 1}')
    yield p.input.takes('clip_length') or len(p.offsets) == 1, 'offsets', f'one number for the layout {p.layout}'
    yield _is(p.rows, int) and 1 <= p.rows <= 1000, 'rows', 'a whole number from 1 to 1000'
    yield _is(p.stride, int) and 1 <= p.stride <= LAST_FRAME, 'stride', f'a whole number from 1 to {LAST_FRAME}'
    yield (len(p.crop) == 2 and all(1 <= side <= LARGEST_SIDE for side in p.crop), 'crop',
           f'[height, width] in whole numbers from 1 to {LARGEST_SIDE}')
    yield (p.corner is None or p.crops == 1 and len(p.corner) == 2
           and all(0 <= edge <= LARGEST_SIDE for edge in p.corner), 'corner',
           f'null, or with one crop [top, left] in whole numbers from 0 to {LARGEST_SIDE}')
    yield (len(p.value_range) == 2 and p.value_range[0] < p.value_range[1]
           and all(abs(bound) <= 1e6 for bound in p.value_range), 'value_range',
           '[low, high] with low less than high, within -1e6..1e6')
    yield (len(p.mean) == channels and all(abs(value) <= 1e6 for value in p.mean), 'mean',
           f'{channels} numbers within -1e6..1e6, one a channel of {p.modality}')
    yield (len(p.std) == channels and all(1e-6 <= value <= 1e6 for value in p.std), 'std',
           f'{channels} numbers within 1e-6..1e6, one a channel of {p.modality}')
    if p.modality == 'flow':
        yield (_is(p.flow_bound, int, float) and 0 < p.flow_bound <= 1000, 'flow_bound',
               'a number of pixels above 0 and at most 1000 for flow')
    else:
        yield p.flow_bound is None, 'flow_bound', 'null for rgb'


def _size_rules(p: Preprocess):
    """Yield (wrong, the whole message)."""
    row = math.prod(p.shape(1))
    yield row > LARGEST_ROW, f'offsets and crop make rows of {row} numbers, more than the {LARGEST_ROW} allowed'
    yield p.picture_bytes > LARGEST_ROW, (f'resize {p.resize} makes {p.picture_bytes} bytes of the frames of one '
                                          f'score, more than the {LARGEST_ROW} allowed')
    height, width = p.crop
    if 'short_side' in p.resize:
        side = p.resize['short_side']
        yield side < max(p.crop), (f'crop {width}x{height} must fit into frames whose resize.short_side is {side}: '
                                   f'{max(p.crop)} or more')
        yield p.crops == 3 and side not in p.crop, (f'crops 3 lie along frames that are as narrow as the crop {width}x'
                                                    f'{height}: resize.short_side must be {min(p.crop)}, got {side}')
    elif p.resize:
        have = p.resize['height'], p.resize['width']
        top, left = p.corner or (0, 0)
        yield (have[0] < top + height or have[1] < left + width,
               f'crop {width}x{height}{f" at corner ({top}, {left})" if p.corner else ""} must fit into frames that '
               f'resize makes {have[1]}x{have[0]}')
        yield (p.crops == 3 and have[0] != height and have[1] != width,
               f'crops 3 must span one side of the frames, which resize makes {have[1]}x{have[0]}; crop is {width}x'
               f'{height}')


def _is(value: Any, *kinds: type) -> bool:
    """Whether a value is a finite number of these kinds; True and False are none."""
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < 1e300


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
