"""The exceptions of the package. A message says what happened and where, what was got, what is allowed, what to do."""
from __future__ import annotations


class GluonActionError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(GluonActionError, ValueError):
    """An invalid argument or flag; commands exit with 2."""


class AnnotationError(GluonActionError, ValueError):
    """A list of videos that cannot be read, or a line in it; the message names file and line."""


class ModelError(UsageError):
    """An unknown model, or an option that it does not support."""


class WeightsError(GluonActionError, RuntimeError):
    """Weights that are missing, corrupted, or of another shape than the network's."""


class BundleError(GluonActionError, RuntimeError):
    """An exported model whose files are missing, changed, or contradict each other."""


class CheckpointError(GluonActionError, RuntimeError):
    """A checkpoint that is truncated, corrupted or of another run."""


class DeviceError(GluonActionError, RuntimeError):
    """A device that does not exist or that the installed MXNet cannot run on."""


class OutputError(GluonActionError, OSError):
    """A result that could not be written; the last good one is kept."""


class PartsError(GluonActionError, RuntimeError):
    """Parts of a result that several processes make: one is missing, was changed, or is of another job."""


class TrainingError(GluonActionError, RuntimeError):
    """Training that cannot continue: the loss is not finite, or too many samples failed."""


class DivergedError(TrainingError):
    """Training whose loss or parameters are not finite any more."""


class UnscoredError(TrainingError):
    """A validation of which no sample could be read."""


class VideoReadError(GluonActionError, RuntimeError):
    """A video that cannot be decoded.

    Parameters
    ----------
    path : str
        The file or folder.
    decoder : str
        Who tried: ``'decord'``, ``'pyav'``, ``'opencv'``, ``'pillow'``, or several joined by ``', '``.
    cause : str
        What went wrong, in a sentence.
    """

    def __init__(self, path: str, decoder: str, cause: str):
        super().__init__(path, decoder, cause)
        self.path = str(path)
        self.decoder = decoder
        self.cause = str(cause)

    def __str__(self) -> str:
        return f'{self.path}: cannot be read by {self.decoder}: {self.cause}'

    def with_advice(self, advice: str) -> VideoReadError:
        """Return the same error, which ends in what can be done about it."""
        return VideoReadError(self.path, self.decoder, f'{self.cause}. {advice}')


class DamagedVideoError(GluonActionError, RuntimeError):
    """A video of which parts are damaged, where that is to stop whatever reads it."""


class RecordError(VideoReadError):
    """A TFRecord file, or a record in it, that is truncated, damaged or of another kind.

    Parameters
    ----------
    path : str
        The file.
    offset : int
        Byte of the file at which the damage, or the record, begins.
    cause : str
        What is wrong, in a sentence.
    """

    def __init__(self, path: str, offset: int, cause: str):
        super().__init__(path, 'tfrecord', cause)
        self.args = (path, offset, cause)
        self.offset = offset

    def __str__(self) -> str:
        return f'{self.path}, byte {self.offset}: {self.cause}'

    def with_advice(self, advice: str) -> RecordError:
        """Return the same error, which ends in what can be done about it."""
        return RecordError(self.path, self.offset, f'{self.cause}. {advice}')
