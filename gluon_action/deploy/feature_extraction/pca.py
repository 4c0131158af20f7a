"""Principal components that features of frames are reduced to and whitened by, as YouTube-8M's were."""
from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...array_files import read_npy, read_npz
from ...errors import UsageError, WeightsError
from ...files import parse_json, replacing

#: What is added to each eigenvalue before its root divides.
EPSILON = 1e-4
#: Files of a folder as YouTube-8M's extractor has them: mean (D, 1), eigenvalues (D, 1), an eigenvector a row (D, D).
FILES = ('mean.npy', 'eigenvals.npy', 'eigenvecs.npy')

_ARRAYS = ('mean', 'eigenvectors', 'eigenvalues')


@dataclass(frozen=True, eq=False)
class Pca:
    """A projection onto principal components that gives each of them about unit variance.

    Attributes
    ----------
    mean : float32 ndarray (D,)
    eigenvectors : float32 ndarray (D, d)
        In columns, by falling eigenvalues.
    eigenvalues : float32 ndarray (d,)
    about : dict
        What it was fitted on, where `PcaFit` did; a copy in the file, no part of what it computes.
    """

    mean: np.ndarray
    eigenvectors: np.ndarray
    eigenvalues: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in _ARRAYS:
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.float32))
        width, size = self.eigenvectors.shape
        if self.mean.shape != (width,) or self.eigenvalues.shape != (size,):
            raise UsageError(f'a PCA from D to d numbers is mean (D,), eigenvectors (D, d) and eigenvalues (d,); got '
                             f'{self.mean.shape}, {self.eigenvectors.shape} and {self.eigenvalues.shape}')
        if not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS) or (self.eigenvalues <= -EPSILON).any():
            raise UsageError('numbers of a PCA are finite, and its eigenvalues not negative')

    @property
    def sizes(self) -> tuple[int, int]:
        """D and d."""
        return self.eigenvectors.shape

    @functools.cached_property
    def sha256(self) -> str:
        """Of the numbers, which name it."""
        digest = hashlib.sha256(json.dumps(self.sizes).encode())
        for name in _ARRAYS:
            digest.update(getattr(self, name).astype('<f4').tobytes())
        return digest.hexdigest()

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return ``(x - mean) @ eigenvectors / sqrt(eigenvalues + 1e-4)``: float32 (n, D) to (n, d)."""
        centred = np.asarray(features, np.float32) - self.mean
        return (centred @ self.eigenvectors) / np.sqrt(self.eigenvalues + np.float32(EPSILON))

    def first(self, size: int) -> Pca:
        """Return the PCA of the first components only.

        Raises
        ------
        UsageError
            When it has fewer.
        """
        if not 1 <= size <= self.sizes[1]:
            raise UsageError(f'--pca_size {size}: the PCA has {self.sizes[1]} components; pass as many, or fewer')
        return Pca(self.mean, self.eigenvectors[:, :size], self.eigenvalues[:size], self.about)

    def save(self, path: str | os.PathLike) -> None:
        """Write a file ``.npz`` that `load_pca` reads.

        Raises
        ------
        OutputError
        """
        with replacing(path) as part, open(part, 'wb') as file:
            np.savez(file, **{name: getattr(self, name) for name in _ARRAYS}, about=json.dumps(self.about))


class PcaFit:
    """Adds up features of many frames, and finds their principal components; memory is D x D whatever their number.

    Parameters
    ----------
    width : int
        D.
    """

    def __init__(self, width: int):
        self.count, self._sum, self._squares = 0, np.zeros(width), np.zeros((width, width))
        self._origin: np.ndarray | None = None

    def add(self, features: np.ndarray) -> None:
        """Add features float (n, D) of frames."""
        features = np.asarray(features, np.float64)
        if self._origin is None:  # near the mean, so that what is subtracted in the end is small
            self._origin = features.mean(0)
        centred = features - self._origin
        self.count += len(centred)
        self._sum += centred.sum(0)
        self._squares += centred.T @ centred

    def finish(self, size: int, about: dict[str, Any] | None = None) -> Pca:
        """Return the first `size` components of the covariance, which is divided by the number of frames.

        Raises
        ------
        UsageError
            When there are not more frames than components: some would be of nothing but rounding.
        """
        if self.count <= size:
            raise UsageError(f'--fit_pca: {self.count} frames of readable videos cannot tell {size} components; take '
                             f'more videos, or a --pca_size of less than {self.count}')
        shift = self._sum / self.count
        values, vectors = np.linalg.eigh(self._squares / self.count - np.outer(shift, shift))
        values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
        # An eigenvector and its opposite are the same component: the largest number decides the sign.
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(size)])
        return Pca(self._origin + shift, vectors, np.maximum(values, 0), {**(about or {}), 'frames': self.count})


def load_pca(path: str | os.PathLike) -> Pca:
    """Read a PCA.

    Parameters
    ----------
    path : path
        A file ``.npz`` with ``mean`` (D,), ``eigenvectors`` (D, d) in columns and ``eigenvalues`` (d,), as `Pca.save`
        writes it; or a folder with `FILES`, where eigenvectors are rows.

    Raises
    ------
    UsageError
        When there is nothing.
    WeightsError
        When it holds something else.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f'{path}: does not exist; name a .npz file or a folder with {", ".join(FILES)}')
    try:
        return _from_folder(path) if path.is_dir() else _from_file(path)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f'{path}: holds no PCA ({error}); needed is a .npz file with {", ".join(_ARRAYS)}, or a '
                           f'folder with {", ".join(FILES)}') from error


def _from_folder(folder: Path) -> Pca:
    mean, values, vectors = (read_npy(folder / name, 'fiu') for name in FILES)
    vectors = vectors.T
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    size = min(len(values), vectors.shape[1])
    return Pca(mean.reshape(-1), vectors[:, :size], values[:size])


def _from_file(path: Path) -> Pca:
    found = read_npz(path, {**dict.fromkeys(_ARRAYS, 'fiu'), 'about': 'U'}, optional=['about'])
    about = parse_json(str(found['about'])) if 'about' in found else {}
    if not isinstance(about, dict):
        raise ValueError('what it says of itself is no JSON object')
    return Pca(*(found[name] for name in _ARRAYS), about)
