"""Proof that a copy has the frames of its source: as many, at the same times, and how like they are."""
from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import VideoReadError
from ..reading.video_reader import VideoReader
from .encoding import Encoded, Timing

#: Peak signal-to-noise ratio of frames that are equal, in dB: there it would be infinite.
EQUAL_DB = 99.
_BEGINNING = 0.001  # seconds: sound has its own units


@dataclass(frozen=True)
class Proof:
    """What a copy is.

    Attributes
    ----------
    trouble : str
        What is not as in the source; empty where all is.
    psnr : list of float
        Of the frames that were looked at, in dB.
    """

    trouble: str
    psnr: list[float]


def prove(copy: str | os.PathLike, made: Encoded) -> Proof:
    """Read a copy as training would, and compare it with what went in."""
    try:
        with VideoReader(Path(copy), decoder='pyav') as reader:
            trouble = _differs(reader, made)
            frames = [] if trouble else reader.read(list(made.frames))
    except VideoReadError as error:
        return Proof(f'the copy cannot be read: {error.cause}', [])
    return Proof(trouble, [psnr(one, other) for one, other in zip(frames, made.frames.values())])


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures uint8 of one shape, in dB."""
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return EQUAL_DB if error == 0 else min(EQUAL_DB, 10 * math.log10(255 ** 2 / error))


def _differs(reader: VideoReader, made: Encoded) -> str:
    source = made.timing
    if len(reader) != len(source.ticks):
        return f'the copy has {len(reader)} frames, the source {len(source.ticks)}'
    copy = Timing.of(reader)
    place = _first_difference(source.ticks, source.unit, copy.ticks, copy.unit)
    if place is not None:
        return (f'frame {place} of the copy is shown at {float(copy.ticks[place] * copy.unit):.6f} s, that of the '
                f'source at {float(source.ticks[place] * source.unit):.6f} s')
    if abs(copy.begins - source.begins) > _BEGINNING:
        return (f'the pictures of the copy begin {copy.begins:.3f} s after the file, those of the source '
                f'{source.begins:.3f} s')
    return ''


def _first_difference(one: Sequence[int], unit: Fraction, other: Sequence[int], other_unit: Fraction) -> int | None:
    """First place at which times differ, as fractions, not as rounded numbers."""
    ratio = unit / other_unit
    return next((place for place, (first, second) in enumerate(zip(one, other))
                 if first * ratio.numerator != second * ratio.denominator), None)
