"""Replay the reference clip of a bundle: does the model give here what it gave where it was made?"""
from __future__ import annotations

import os
import time
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from ...errors import BundleError, UsageError
from ..onnx.model import OnnxModel
from .format import REFERENCE, Bundle, read_bundle

#: Largest difference that passes, as a part of the largest score, by the precision of the model. Processors with and
#: without instructions for 8 bits round differently.
TOLERANCES = {'float32': 1e-4, 'int8': 0.05}


@dataclass(frozen=True)
class Verdict:
    """What a replay found.

    Attributes
    ----------
    difference : float
        Largest difference to the expected scores, as a part of the largest of them.
    top1_equal : bool
        Whether the class with the highest score is the expected one.
    seconds : float
        That the model took, the first call of a session included.
    tolerance : float
        Largest difference that passes.
    """

    difference: float
    top1_equal: bool
    seconds: float
    tolerance: float = TOLERANCES['float32']

    @property
    def ok(self) -> bool:
        """Whether the bundle does here what it did where it was made."""
        return self.top1_equal and self.difference <= self.tolerance


def verify(path: str | os.PathLike, *, threads: int | None = None) -> Verdict:
    """Check every file of a bundle and replay its reference clip.

    Parameters
    ----------
    path : path
        Folder of the bundle, or the model in it.
    threads : int, optional
        Threads of ONNX Runtime; all cores by default.

    Raises
    ------
    BundleError
        When a file is missing or changed, or the folder holds no reference clip.
    """
    bundle = read_bundle(path)
    if not bundle.manifest:
        raise BundleError(f'{bundle.path}: is a model alone, with no reference clip to replay; verify the folder of '
                          'its bundle')
    frames, expected = _reference(bundle)
    model = OnnxModel(bundle.model, threads=threads)
    try:
        rows = bundle.preprocess.apply(frames)
    except UsageError as error:
        raise BundleError(f'{bundle.path / REFERENCE}: {error}') from error
    scores, started = [], time.perf_counter()
    for part in np.split(rows, max(1, len(rows) // bundle.preprocess.rows)):
        scores.append(model.run(part))
    seconds = time.perf_counter() - started
    got = np.concatenate(scores)
    if got.shape != expected.shape:
        raise BundleError(f'{bundle.path / REFERENCE}: expects scores {expected.shape}, the model gives {got.shape}')
    tolerance = TOLERANCES.get(bundle.manifest.get('precision'), TOLERANCES['float32'])
    # Crops of one clip count together, as they do in a prediction.
    top1_equal = bool(got.mean(axis=0).argmax() == expected.mean(axis=0).argmax())
    return Verdict(difference_of(got, expected), top1_equal, seconds, tolerance)


def difference_of(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a part of the largest expected number; infinite where one is not finite."""
    if not np.isfinite(got).all():
        return float('inf')
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))


def _reference(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    path = bundle.path / REFERENCE
    try:
        with np.load(path, allow_pickle=False) as content:
            frames, logits = content['frames'], content['logits']
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f'{path}: cannot be read: {error}') from error
    if frames.dtype != np.uint8 or logits.dtype != np.float32 or logits.ndim != 2 or not np.isfinite(logits).all():
        raise BundleError(f'{path}: must hold frames uint8 (n, H, W, C) and finite logits float32 (n, K), it holds '
                          f'{frames.dtype} {frames.shape} and {logits.dtype} {logits.shape}')
    return frames, logits
