"""The records of YouTube-8M as bytes: features of a video, of its frames, and those with a teacher's predictions.

Their formats are those of the data set (Abu-El-Haija et al. 2016, arXiv:1609.08675) and of the 2018 winners' code.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ....errors import UsageError
from ..examples import make_example, make_sequence_example

#: Names under which records hold their video's id: the data set's, and that of its feature extractor.
ID_NAMES = ('id', 'video_id')
#: Name of a teacher's predictions in a distillation record.
PREDICTIONS = 'predictions'

_RANGE = 2.0  # features are clipped to +-2 before they are put into 8 bits


def dequantize(values: np.ndarray) -> np.ndarray:
    """Turn stored bytes into features: ``q * 4 / 255 + 4 / 512 - 2``, rounded once.

    The original rounds three times on the way, which moves a feature by up to 2.4e-7.

    Parameters
    ----------
    values : uint8 ndarray

    Returns
    -------
    float32 ndarray
        In [-1.9922, 2.0078]; never 0.
    """
    return LEVELS[values]


def quantize(features: np.ndarray) -> np.ndarray:
    """Turn features into the bytes that are stored: ``round((clip(x, -2, 2) + 2) * 255 / 4)``.

    `dequantize` gives them back with an error of at most 4 / 510 + 4 / 512, half of which is a bias: the format's.

    Parameters
    ----------
    features : float ndarray
        Finite.

    Returns
    -------
    uint8 ndarray

    Raises
    ------
    UsageError
        When a value is not finite.
    """
    features = np.asarray(features)
    if not np.isfinite(features).all():
        raise UsageError('features are put into 8 bits, and one of them is not finite')
    return np.round((np.clip(features, -_RANGE, _RANGE) + _RANGE) * (255 / (2 * _RANGE))).astype(np.uint8)


#: float32 (256,): what each byte stands for.
LEVELS = (np.arange(256) * 4 / 255 + 4 / 512 - 2).astype(np.float32)


def make_video_record(video_id: str, features: Mapping[str, np.ndarray], labels: Sequence[int] | None) -> bytes:
    """Serialise features of a whole video, a ``tf.train.Example``.

    Parameters
    ----------
    video_id : str
    features : mapping
        Name, such as ``mean_rgb``, -> float (D,).
    labels : sequence of int or None
        Numbers of classes; None leaves them out, as in the test partition.

    Returns
    -------
    bytes
        For `gluon_action.data.tfrecords.framing.RecordWriter`.
    """
    return make_example({**_about(video_id, labels),
                         **{name: np.asarray(values, np.float32) for name, values in features.items()}})


def make_frame_record(video_id: str, features: Mapping[str, np.ndarray], labels: Sequence[int] | None) -> bytes:
    """Serialise features of a video's frames, a ``tf.train.SequenceExample``.

    Parameters
    ----------
    video_id : str
    features : mapping
        Name, such as ``rgb``, -> uint8 (n, D), n frames of D features as `quantize` makes them.
    labels : sequence of int or None
        As in `make_video_record`.

    Returns
    -------
    bytes

    Raises
    ------
    UsageError
        When features are no bytes, or not of equally many frames.
    """
    return make_sequence_example(_about(video_id, labels), _lists(features))


def make_distill_record(video_id: str, features: Mapping[str, np.ndarray], labels: Sequence[int] | None,
                        predictions: np.ndarray) -> bytes:
    """Serialise features of a video's frames with what a teacher says of the video.

    The winners' format: the id is called ``video_id``, and ``predictions`` holds a float of each class.

    Parameters
    ----------
    video_id, features, labels
        As in `make_frame_record`.
    predictions : float (K,)
        Probabilities.

    Returns
    -------
    bytes

    Raises
    ------
    UsageError
        As in `make_frame_record`.
    """
    about = _about(video_id, labels, ID_NAMES[1])
    return make_sequence_example({**about, PREDICTIONS: np.asarray(predictions, np.float32)}, _lists(features))


def video_id_of(features: Mapping[str, list[memoryview] | np.ndarray]) -> str | None:
    """The id of a video, from what `gluon_action.data.tfrecords.examples` finds in its record; None without one."""
    for name in ID_NAMES:
        values = features.get(name)
        if isinstance(values, list) and values and values[0]:
            return bytes(values[0]).decode('utf-8', 'backslashreplace')
    return None


def named(features: Mapping) -> str:
    """The names of features, for messages."""
    return ', '.join(map(repr, sorted(features))) or 'nothing'


def kind_of(values: list[memoryview] | np.ndarray) -> str:
    """What a feature is, for messages."""
    if isinstance(values, np.ndarray):
        return 'a list of floats' if values.dtype == np.float32 else 'a list of whole numbers'
    return 'a list of bytes'


def _about(video_id: str, labels: Sequence[int] | None, name: str = ID_NAMES[0]) -> dict:
    about: dict = {name: video_id.encode('utf-8', 'surrogateescape')}
    if labels is not None:
        about['labels'] = np.asarray(labels, np.int64).reshape(-1)
    return about


def _lists(features: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    lengths = {name: len(values) for name, values in features.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f'features of a video are of equally many frames, got {lengths}')
    return features
