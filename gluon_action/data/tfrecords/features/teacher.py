"""What a teacher predicts of videos, to distil from: in their records, or beside them.

Beside records of any kind lies a folder with a TFRecord file of the same name for each of theirs. Its records are
``tf.train.Example`` of ``id`` and ``predictions``, a probability for each class in float16: for all of YouTube-8M
39 GB, where copies of the records with predictions in them, which the 2018 winners made, are 1.4 TB.
"""
from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np

from ....errors import UsageError
from ..examples import make_example
from ..framing import RecordFile
from ..record_sets import Where, open_records
from .feature_messages import PREDICTIONS, kind_of, named, video_id_of

_ROUNDING = 1e-4  # gates of a mixture of experts may sum to a little more than 1
_TABLES = 16  # files whose ids are kept, where they are in another order than the records


def make_prediction_record(video_id: str, predictions: np.ndarray) -> bytes:
    """Serialise what a teacher predicts of a video, for a file that lies beside the video's.

    Parameters
    ----------
    video_id : str
    predictions : float (K,)
        Probabilities; they are rounded to float16.

    Returns
    -------
    bytes
        For `gluon_action.data.tfrecords.framing.RecordWriter`, best in the order of the videos' records.
    """
    return make_example({'id': video_id.encode('utf-8', 'surrogateescape'),
                         PREDICTIONS: np.asarray(predictions, '<f2').tobytes()})


class InRecords:
    """Predictions in the records themselves: ``predictions``, a float of each class (the distillation format)."""

    def predictions(self, context: dict, where: Where, num_classes: int) -> np.ndarray:
        """Return float32 (K,) of the record that `where` is, which holds `context`.

        Raises
        ------
        RecordError
            When it has none, or they are no probabilities.
        """
        values = context.get(PREDICTIONS)
        if values is None:
            raise where.error(f'it has no {PREDICTIONS!r}, only {named(context)}; records of distillation sets have '
                              'them. For plain records name the folder of a teacher\'s predictions, which '
                              'prepare_distill_dataset --predictions_only writes, with --predictions')
        if not isinstance(values, np.ndarray) or values.dtype != np.float32:
            raise where.error(f'its {PREDICTIONS!r} are {kind_of(values)}; a list of floats is expected')
        return _checked(values, where, num_classes)


class BesideRecords:
    """Predictions in files beside those of the records.

    Parameters
    ----------
    folder : str or path
    files : sequence of RecordFile
        Of the videos.

    Raises
    ------
    UsageError
        When one of them has no file of its name in `folder`, or two have the same.
    RecordError
        When files in `folder` are torn or no TFRecords; all of them are named.
    """

    def __init__(self, folder: str | os.PathLike, files: Sequence[RecordFile]):
        self._folder = os.path.expanduser(os.fspath(folder))
        names = [os.path.basename(file.path) for file in files]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise UsageError(f'{self._folder}: predictions lie in files of the same names as the records, and '
                             f'{twice[0]} is the name of several of them; read them one folder at a time')
        paths = {name: os.path.join(self._folder, name) for name in names}
        missing = [name for name, path in paths.items() if not os.path.isfile(path)]
        if missing:
            raise UsageError(f'{self._folder} lacks the predictions of {len(missing)} of {len(names)} files, such as '
                             f'{missing[0]}; they lie in files of the same names as the records')
        self._files = dict(zip(names, open_records(list(paths.values()))))
        self._table_of = functools.lru_cache(_TABLES)(self._read_table)

    @property
    def files(self) -> list[RecordFile]:
        """The files in the folder, in the order of those of the videos."""
        return list(self._files.values())

    def predictions(self, context: dict, where: Where, num_classes: int) -> np.ndarray:
        """As `InRecords.predictions`; the error may be one of the file beside."""
        video_id, name = video_id_of(context), os.path.basename(where.path)
        file = self._files[name]
        index = where.number
        found = self._read(file, index) if index < len(file) else None
        if found is None or video_id_of(found) != video_id:
            index = self._table_of(name).get(video_id)
            if index is None:
                raise where.error(f'{file.path} has no predictions of its video {video_id}; make them of these records')
            found = self._read(file, index)
        beside = Where(file, index)
        values = np.frombuffer(beside.only(found, PREDICTIONS), np.uint8)
        if len(values) != 2 * num_classes:
            raise beside.error(f'its {PREDICTIONS!r} have {len(values)} bytes, expected 2 for each of {num_classes} '
                               'classes')
        return _checked(values.view('<f2').astype(np.float32), beside, num_classes)

    def _read_table(self, name: str) -> dict[str | None, int]:
        file = self._files[name]
        return {video_id_of(self._read(file, index)): index for index in range(len(file))}

    @staticmethod
    def _read(file: RecordFile, index: int) -> dict:
        return Where(file, index).parsed(file.read(index))


def _checked(values: np.ndarray, where: Where, num_classes: int) -> np.ndarray:
    if len(values) != num_classes:
        raise where.error(f'its {PREDICTIONS!r} are {len(values)}, expected one for each of {num_classes} classes')
    fine = (values >= -_ROUNDING) & (values <= 1 + _ROUNDING)
    if not fine.all():
        place = int(np.argmin(fine))
        raise where.error(f'its {PREDICTIONS!r} hold {values[place]:g} for class {place}; probabilities are expected')
    return values
