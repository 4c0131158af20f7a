"""The contact sheet: frames of some videos as they are, and as augmentation shows them to a network."""
from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.preprocess import read_size
from ...data.reading.clip_reader import FramePlan, read_clip
from ...data.reading.video_reader import resize
from ...errors import UsageError, VideoReadError
from ...printable import printable
from .finding import class_name, labels_of
from .listed import Part

#: Videos on the sheet, and how often each is augmented.
VIDEOS, TIMES = 12, 3
#: Height of the pictures of a row, in pixels.
_HEIGHT, _GAP, _CAPTION = 112, 4, 18
_QUALITY = 80


@dataclass(frozen=True)
class Augmentation:
    """How training changes frames, as the flags of the same names say.

    Attributes
    ----------
    data_aug : {'v1', 'v2', 'v3', 'v4'}
    new_height, new_width : int
    flip_prob, color_jitter, rand_augment, random_erasing : float
        As in `gluon_action.data.by_name.train_transform`.
    mean, std : tuple of float
        What frames are normalised with, which the noise of erasing goes by.
    mixture : callable, optional
        ``mixture(n)`` makes what mixes a batch of n samples, ``mix(data (n, 3, H, W), labels (n,), rng)`` to data and
        labels: mixup and CutMix.
    """

    data_aug: str = 'v1'
    new_height: int = 0
    new_width: int = 0
    flip_prob: float = 0.5
    color_jitter: float = 0.
    rand_augment: float = 0.
    random_erasing: float = 0.
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    mixture: Callable[[int], Callable] | None = None

    def transform(self, size: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
        """Return what makes uint8 (size, size, 3) of a frame uint8 (H, W, 3), by drawing.

        Raises
        ------
        UsageError
            When the sizes do not go together.
        ImportError
            Without MXNet, whose classes transforms are.
        """
        from ...data.by_name import train_transform
        from ...data.transforms.video import drawing_from
        augment = train_transform(
            self.data_aug, size, self.mean, self.std, new_height=self.new_height, new_width=self.new_width,
            flip_prob=self.flip_prob, color_jitter=self.color_jitter, rand_augment=self.rand_augment,
            random_erasing=self.random_erasing)
        first = read_size(self.data_aug, self.new_height, self.new_width)

        def transformed(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            read = resize(frame, first[1], first[0]) if first else frame
            with drawing_from(rng, clip_length=1):
                clip = np.asarray(augment(read[None]))
            seen = clip[0].transpose(1, 2, 0) * np.float32(self.std) + np.float32(self.mean)
            return np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8)
        return transformed

    def mixed(self, frames: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """Return augmented frames uint8 (H, W, 3) as a batch of them is mixed."""
        data = np.stack(frames).transpose(0, 3, 1, 2).astype(np.float32)
        data, _ = self.mixture(len(frames))(data, np.arange(len(frames)), rng)
        return list(np.rint(data.transpose(0, 2, 3, 1)).astype(np.uint8))


@dataclass(frozen=True)
class Strip:
    """One row of the sheet: a picture uint8 (h, w, 3), first as it is, then augmented; video and class under it."""

    picture: np.ndarray
    video: str
    label: str

    @property
    def address(self) -> str:
        """The picture as an address that holds it, for a page."""
        return 'data:image/jpeg;base64,' + base64.b64encode(_encoded(self.picture, 'JPEG', quality=_QUALITY)).decode()


def draw_strips(part: Part, facts: Mapping[str, Mapping[str, Any]], augmentation: Augmentation | None, *,
                input_size: int = 224, name_pattern: str | None = None, seed: int = 0) -> list[Strip]:
    """Return a strip for each of some videos that can be read, spread over the classes.

    Parameters
    ----------
    part : Part
    facts : mapping
        What `look_at` says of each path.
    augmentation : Augmentation, optional
        None shows the frames alone.
    input_size : int
        Side of what the network sees, in pixels.
    name_pattern : str, optional
        Of the pictures in folders of frames.
    seed : int
        Decides what is drawn.
    """
    augment = augmentation.transform(input_size) if augmentation else None
    chosen, shown = [], []
    for row in _spread(part, facts):
        sample, rng = part.samples[row], np.random.default_rng((seed, row))
        reading = {'decoder': 'auto', 'name_pattern': name_pattern}
        try:
            frame = read_clip(sample, FramePlan('test', 1, 1, 1), rng, reading)[0]
        except VideoReadError:  # the part that a list takes of it may lie past its end
            continue
        shown.append([frame, *(augment(frame, rng) for _ in range(TIMES if augment else 0))])
        chosen.append(sample)
    if augment and augmentation.mixture and shown:
        first, *times = zip(*shown)
        shown = list(zip(first, *(augmentation.mixed(frames, np.random.default_rng((seed, time)))
                                  for time, frames in enumerate(times))))
    return [Strip(_beside(seen), sample.key or sample.path, '' if sample.label is None else ', '.join(
        class_name(each, part.classes) for each in labels_of(sample))) for sample, seen in zip(chosen, shown)]


def sheet_png(strips: Sequence[Strip]) -> bytes:
    """Return the strips below each other, with their names, as a PNG.

    Raises
    ------
    UsageError
        Without Pillow.
    """
    _import_pillow()
    from PIL import Image, ImageDraw, ImageFont
    width = max(strip.picture.shape[1] for strip in strips)
    step = _HEIGHT + _CAPTION + _GAP
    sheet = Image.new('RGB', (width + 2 * _GAP, step * len(strips) + _GAP), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number, strip in enumerate(strips):
        top = _GAP + number * step
        sheet.paste(Image.fromarray(strip.picture), (_GAP, top))
        draw.text((_GAP, top + _HEIGHT + 1), printable(f'{strip.video}  {strip.label}'), 'black', font)
    content = io.BytesIO()
    sheet.save(content, 'PNG')
    return content.getvalue()


def _spread(part: Part, facts: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Rows of different contents: one of each class in turn, evenly over a class, or over all without classes."""
    groups: dict[Any, list[int]] = {}
    for row, sample in enumerate(part.samples):
        if not facts[sample.path]['error']:
            groups.setdefault(None if sample.label is None else labels_of(sample)[0], []).append(row)
    chosen = sorted(groups, key=lambda key: (key is None, key))
    if len(chosen) > VIDEOS:
        chosen = [chosen[place] for place in np.linspace(0, len(chosen) - 1, VIDEOS).round().astype(int)]
    each = -(-VIDEOS // max(1, len(chosen)))
    rows = [[groups[key][place] for place in sorted(set(np.linspace(0, len(groups[key]) - 1, each).astype(int)))]
            for key in chosen]
    turns = [(number, rows[number][turn]) for turn in range(each) for number in range(len(rows))
             if turn < len(rows[number])]
    return [row for _, row in sorted(turns[:VIDEOS])]


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height, side by side; the gap behind the first is wider."""
    fitted = [resize(picture, max(1, round(picture.shape[1] * _HEIGHT / picture.shape[0])), _HEIGHT)
              for picture in pictures]
    parts: list[np.ndarray] = []
    for number, picture in enumerate(fitted):
        if number:
            parts.append(np.full((_HEIGHT, _GAP * (3 if number == 1 else 1), 3), 255, np.uint8))
        parts.append(picture)
    return np.concatenate(parts, axis=1)


def _encoded(picture: np.ndarray, form: str, **options) -> bytes:
    _import_pillow()
    from PIL import Image
    content = io.BytesIO()
    Image.fromarray(picture).save(content, form, **options)
    return content.getvalue()


def _import_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise UsageError(f"pictures need Pillow ({error}): pip install 'gluon_action[pictures]', or leave out --out"
                         ) from error
