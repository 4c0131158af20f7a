"""Files of features, one a video: arrays of NumPy's, or HDF5."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...files import output_errors, replacing
from .extractor import Features


def write_features(path: Path, features: Features, form: str) -> None:
    """Write a file of features, whole or not at all; its folder is made.

    Parameters
    ----------
    path : Path
    features : Features
    form : str
        One of `FORMATS`: ``npz`` and ``hdf5`` have the arrays ``features``, ``start`` and ``end`` (in seconds), ``npy``
        the features alone. Of a part of a video there is also ``part``: when it begins and ends.

    Raises
    ------
    OutputError
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as part:
        _WRITERS[form](part, {'features': features.values, 'start': features.start, 'end': features.end,
                              **({} if features.part is None else {'part': features.part})})


def import_h5py():
    """Return the module h5py; `UsageError` with the cure where it is not installed."""
    try:
        import h5py
    except (ImportError, OSError) as error:
        raise UsageError(f"--format hdf5: needs h5py ({error}): pip install 'gluon_action[hdf5]', or take --format "
                         'npz, which holds the same arrays') from error
    return h5py


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open('wb') as file:
        np.savez(file, **arrays)


def _write_npy(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open('wb') as file:
        np.save(file, arrays['features'])


def _write_hdf5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with import_h5py().File(path, 'w') as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)


_WRITERS = {'npz': _write_npz, 'hdf5': _write_hdf5, 'npy': _write_npy}
#: What ``--format`` takes -> the ending of the files.
FORMATS = {'npz': '.npz', 'npy': '.npy', 'hdf5': '.h5'}
