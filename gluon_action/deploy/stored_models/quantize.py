"""Stored models made small: 8 bits for each weight and 256 levels for each array, or float16."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError, WeightsError
from ...model_zoo.frame_features.stored.model import QUANTS, SPACE, StoredModel
from ...model_zoo.frame_features.stored.prefix import check_new, files_of, prefix_of
from ...model_zoo.frame_features.stored.reading import read_stored
from ...model_zoo.frame_features.stored.writing import write_stored

#: Levels of an array: what a byte can count.
LEVELS = 256
#: Arrays with more elements than this are quantized.
MIN_ELEMENTS = 17000

_AT_ONCE = 2 ** 22  # elements that are worked on together, so that memory is not needed twice
_BINS = 2 ** 16     # of the histogram that k-means looks at
_TOGETHER = 64      # bins that say how dense values lie, for its start
_ROUNDS = 1000      # of k-means at most


@dataclass(frozen=True)
class Loss:
    """What quantizing took away from an array.

    Attributes
    ----------
    key : str
    shape : tuple of int
    before, after : int
        Bytes.
    rmse : float
        Root of the mean square error, as a part of the array's standard deviation.
    largest : float
        Largest error, as a part of that too.
    """

    key: str
    shape: tuple[int, ...]
    before: int
    after: int
    rmse: float
    largest: float


@dataclass(frozen=True)
class Report:
    """What `quantize_stored` did.

    Attributes
    ----------
    prefix : Path
        Of the quantized model.
    before, after : int
        Bytes of the files of parameters.
    losses : list of Loss
        Of the arrays that were quantized, in the order of the file.
    untouched : int
        Arrays that were not.
    """

    prefix: Path
    before: int
    after: int
    losses: list[Loss]
    untouched: int


def quantize_stored(model: str | os.PathLike, savefile: str | os.PathLike, how: str = 'quant_uniform', *,
                    min_elements: int = MIN_ELEMENTS, progress: Callable[[Loss], Any] | None = None) -> Report:
    """Write a smaller copy of a stored model, whose networks compute in float32 as before.

    Parameters
    ----------
    model : path
        Prefix, or train_dir.
    savefile : path
        Prefix of the copy.
    how : {'float16', 'quant_uniform', 'quant_kmeans', 'quant_quantile'}
        See `METHODS`.
    min_elements : int
        Arrays with more elements are quantized; the others, and all that is not float32, stay as they are.
    progress : callable, optional
        Is given the `Loss` of each array when that is done.

    Raises
    ------
    UsageError
        When there is a model at `savefile`, or the model is quantized already.
    WeightsError
        When the model cannot be read, or an array holds numbers that are not finite or too large for float16.
    OutputError
        When the copy cannot be written.
    """
    if how not in METHODS:
        raise UsageError(f'--transform_type: is one of {", ".join(METHODS)}, got {how!r}')
    if min_elements < 0:
        raise UsageError(f'--min_elements: must be 0 or more, got {min_elements}')
    savefile = Path(savefile).expanduser()
    check_new(savefile, '--savefile')
    stored = read_stored(model, '--model')
    if stored.quantized:
        raise _quantized_already(stored)
    losses, members, untouched = [], [], 0
    for number, member in enumerate(stored.members):
        arrays = {}
        for key, array in member.arrays.items():
            if array.dtype != np.float32 or array.size <= min_elements:
                arrays[key] = array
                untouched += 1
                continue
            name = f'member{number}.{key}' if len(stored.members) > 1 else key
            found, loss = quantize_array(array, how, key, f'{stored.prefix}, {name}')
            arrays |= found
            losses.append(loss)
            if progress:
                progress(loss)
        members.append((member.architecture, arrays))
    write_stored(savefile, members, stored.weights, about=_about(stored, how, min_elements))
    before, after = (files_of(prefix)[0].stat().st_size for prefix in (stored.prefix, savefile))
    return Report(prefix_of(savefile), before, after, losses, untouched)


def quantize_array(array: np.ndarray, how: str, key: str = '', where: str = 'the array') \
        -> tuple[dict[str, np.ndarray], Loss]:
    """Return what is stored of an array, and what that lost.

    Parameters
    ----------
    array : float32 ndarray
    how : str
        See `METHODS`.
    key : str
        Of the array in the model.
    where : str
        For messages.

    Returns
    -------
    arrays : dict
        ``key_quants`` uint8 in the array's shape and ``key_space`` float32 (256,), or ``key`` float16.
    loss : Loss
    """
    if not np.isfinite(array.min(initial=0) + array.max(initial=0)):
        raise WeightsError(f'{where}: holds numbers that are not finite; such a model cannot be quantized, nor used')
    if how == 'float16':
        limit = float(np.finfo(np.float16).max)
        if np.abs(array).max(initial=0) > limit:
            raise WeightsError(f'{where}: holds numbers beyond {limit:g}, the largest of float16; choose another '
                               '--transform_type')
        half = array.astype(np.float16)
        return {key: half}, _loss(key, array, half.nbytes, lambda begin, end: half.ravel()[begin:end])
    levels = METHODS[how](array.ravel())
    quants = _nearest(array.ravel(), levels, uniform=how == 'quant_uniform').reshape(array.shape)
    stored = {key + QUANTS: quants, key + SPACE: levels}
    return stored, _loss(key, array, quants.nbytes + levels.nbytes,
                         lambda begin, end: levels[quants.ravel()[begin:end]])


def uniform_levels(values: np.ndarray) -> np.ndarray:
    """Return `LEVELS` levels, equally far apart, from the least to the largest value: float32."""
    return np.linspace(values.min(), values.max(), LEVELS, dtype=np.float64).astype(np.float32)


def quantile_levels(values: np.ndarray) -> np.ndarray:
    """Return `LEVELS` quantiles from the least to the largest value: equally many values between any two, float32.

    As coarse in the tails as few values lie there: a value may be moved by half the way from the largest to 0.4 % below
    it.
    """
    ordered = np.sort(values)
    places = np.linspace(0, len(ordered) - 1, LEVELS)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    share = places - below
    return (ordered[below] * (1 - share) + ordered[above] * share).astype(np.float32)


def kmeans_levels(values: np.ndarray) -> np.ndarray:
    """Return the centres of `LEVELS` clusters with the least squares found, by Lloyd's algorithm on a histogram.

    The start puts as many levels where values lie as the best quantizer of many levels does, in proportion to the third
    root of their density (Panter and Dite 1951), so that few rounds are needed and nothing is drawn at random.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.full(LEVELS, low, np.float32)
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    for part in _parts(values):
        bins = np.minimum(((part - np.float64(low)) * (_BINS / (high - low))).astype(np.int64), _BINS - 1)
        counts += np.bincount(bins, minlength=_BINS)
        sums += np.bincount(bins, part, minlength=_BINS)
    density = np.r_[0, np.cumsum(np.cbrt(counts.reshape(-1, _TOGETHER).sum(axis=1)))]
    edges = np.linspace(low, high, len(density))
    centres = np.interp((np.arange(LEVELS) + 0.5) / LEVELS * density[-1], density, edges)
    used = counts > 0
    places, counts = sums[used] / counts[used], counts[used]  # the mean of each bin
    if len(places) <= LEVELS:
        return np.pad(places, (0, LEVELS - len(places)), mode='edge').astype(np.float32)
    total, moment = (np.r_[0, np.cumsum(numbers)] for numbers in (counts, counts * places))
    for _ in range(_ROUNDS):
        bounds = np.r_[0, np.searchsorted(places, (centres[1:] + centres[:-1]) / 2), len(places)]
        members = np.diff(total[bounds])
        moved = np.where(members > 0, np.diff(moment[bounds]) / np.maximum(members, 1), centres)
        if np.abs(moved - centres).max() <= 1e-9 * (high - low):
            break
        centres = moved
    return moved.astype(np.float32)


#: ``--transform_type`` -> how the levels of an array are chosen; None for half the precision and no levels.
METHODS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    'quant_uniform': uniform_levels, 'quant_kmeans': kmeans_levels, 'quant_quantile': quantile_levels, 'float16': None}


def _nearest(values: np.ndarray, levels: np.ndarray, uniform: bool) -> np.ndarray:
    """Number of the level nearest to each value, the lower one half way between two: uint8."""
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    step = np.float32((float(levels[-1]) - float(levels[0])) / (LEVELS - 1))
    # Levels are rounded to float32 too, which shows where they are close together and far from 0.
    sure = np.float32(0.499) * step - np.spacing(np.abs(levels).max())
    found, begin = np.empty(len(values), np.uint8), 0
    for part in _parts(values):
        near = found[begin:begin + len(part)]
        begin += len(part)
        if not uniform or not step:
            near[:] = np.searchsorted(middles, part)
            continue
        # Computed, and looked for only where rounding may have taken the wrong one of two: many times faster.
        near[:] = np.clip(np.rint((part - levels[0]) / step), 0, LEVELS - 1)
        doubtful = np.flatnonzero(np.abs(part - levels[near]) > sure)
        near[doubtful] = np.searchsorted(middles, part[doubtful])
    return found


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(values), _AT_ONCE):
        yield values[begin:begin + _AT_ONCE]


def _loss(key: str, array: np.ndarray, after: int, restored: Callable[[int, int], np.ndarray]) -> Loss:
    square = total = squares = largest = 0.0
    begin = 0
    for part in _parts(array.ravel()):
        error = restored(begin, begin + len(part)).astype(np.float32) - part
        square += float(np.dot(error, error))
        largest = max(largest, float(np.abs(error).max()))
        total += float(part.sum(dtype=np.float64))
        squares += float(np.square(part, dtype=np.float64).sum())
        begin += len(part)
    mean = total / array.size
    deviation = max(squares / array.size - mean * mean, 0) ** 0.5
    scale = deviation or 1.0
    return Loss(key, array.shape, array.nbytes, after, (square / array.size) ** 0.5 / scale, largest / scale)


def _quantized_already(stored: StoredModel) -> UsageError:
    origin = stored.about.get('from')
    if isinstance(origin, list):
        names = ', '.join(part['prefix'] for part in origin if part.get('quantized'))
        return UsageError(f'--model {stored.prefix}: is quantized already, at least in part ({names}); combine models '
                          'that are not, and quantize what graph_ensemble makes of them')
    return UsageError(f'--model {stored.prefix}: is quantized already; name the model that it was made of'
                      + (f' ({origin})' if origin else ''))


def _about(stored: StoredModel, how: str, min_elements: int) -> dict[str, Any]:
    return {**stored.about, 'from': str(stored.prefix), 'from_sha256': stored.sha256,
            'quantized': {'transform_type': how, 'min_elements': min_elements}}
