"""The audio feature of a frame: what VGGish makes of the second of sound from it on, through its own PCA, in 8 bits."""
from __future__ import annotations

import hashlib
import os

import numpy as np

from ... import engine
from ...array_files import read_npz
from ...compute.on_mxnet.parameters import parameters_sha256
from ...compute.on_mxnet.tracing import run
from ...data.reading.media.audio import mel_pieces, read_audio
from ...errors import UsageError, WeightsError
from ...model_zoo.vggish import load_vggish

#: Arrays of the file that VGGish is published with: an eigenvector a row, scaled so that components are white.
PCA_ARRAYS = ('pca_eigen_vectors', 'pca_means')


class AudioFeatures:
    """VGGish and its PCA.

    Parameters
    ----------
    params : path
        As `gluon_action.model_zoo.vggish.load_vggish` reads it.
    pca : path
        A file ``.npz`` with `PCA_ARRAYS`.
    num_gpus, batch_size : int
        As of `Backbone`.

    Attributes
    ----------
    size : int
        D, 128 as published.
    about : dict
        What decides the features, as JSON knows it.

    Raises
    ------
    UsageError, WeightsError
        When there are no such files, or they do not go together.
    """

    def __init__(self, params: str | os.PathLike, pca: str | os.PathLike, *, num_gpus: int = 0, batch_size: int = 32):
        self._net, self._batch_size = load_vggish(params, engine.contexts(min(num_gpus, 1))), batch_size
        self._vectors, self._means = _read_pca(pca, self._net.feat_dim)
        self.size = len(self._vectors)
        self.about = {'sha256': parameters_sha256(self._net), 'pca_sha256': _sha256(self._vectors, self._means)}

    def __call__(self, path: str, seconds: np.ndarray) -> np.ndarray | None:
        """Return uint8 (n, D) for the sound from each moment on; None where the video has none.

        Raises
        ------
        VideoReadError
            When its sound cannot be decoded.
        """
        samples = read_audio(path, float(seconds[-1]) + 1)
        if samples is None:
            return None
        step = self._batch_size
        embedded = np.concatenate([run(self._net, mel_pieces(samples, seconds[first:first + step]))
                                   for first in range(0, len(seconds), step)])
        white = np.clip((embedded - self._means) @ self._vectors.T, -2, 2)
        return ((white + 2) * (255 / 4)).astype(np.uint8)  # rounded down, as AudioSet's were


def _read_pca(path: str | os.PathLike, width: int) -> tuple[np.ndarray, np.ndarray]:
    if not os.path.isfile(path):
        raise UsageError(f'--audio_pca {path}: does not exist; name the .npz file that VGGish is published with')
    try:
        found = read_npz(path, dict.fromkeys(PCA_ARRAYS, 'fiu'))
        vectors, means = (np.asarray(found[name], np.float32) for name in PCA_ARRAYS)
    except (OSError, ValueError) as error:
        raise WeightsError(f'{path}: holds no PCA of VGGish ({error}), which is {" and ".join(PCA_ARRAYS)}') from error
    if vectors.ndim != 2 or vectors.shape[1] != width or means.size != width:
        raise WeightsError(f'{path}: {vectors.shape} and {means.shape} are no PCA of the {width} numbers that VGGish '
                           'makes')
    return vectors, means.reshape(-1)


def _sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b''.join(array.astype('<f4').tobytes() for array in arrays)).hexdigest()
