"""The exceptions of the package. A message says what happened and where, what was got, what is allowed, what to do.

Messages are written with the flags of the commands. Whoever calls the package from Python reads the names of arguments
in their place: ``--lr-decay-epoch 30`` becomes ``lr_decay_epoch=30``. Commands that a message names keep their flags.
"""
from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

#: Flags that are no argument by another spelling, and what they are called in Python.
NAMES = MappingProxyType({'--index': 'weights_index', '--no-pretrained-base': 'pretrained_base=False',
                          '--no-report': 'report=False', '--num-data-workers': 'num_workers', '--tag': 'hashtag',
                          '-j': 'num_workers'})

_FLAG = re.compile(r'(?<![^\s(\[{\'"/])(?P<flag>--[a-zA-Z][\w-]*|-j\b)(?P<value>[ =](?=-?[0-9])|(?![\w-]))')
_CLAUSE = re.compile(r'([;,]\s|\.\s|: )')
#: What is typed into a shell stays as it is.
_COMMAND = re.compile(r'\b(gluon-action|pip|python\S*|import-weights|\w+\.(py|sh)) ')


class _Speaking:
    """Whether messages name flags."""

    of_flags = False


@contextlib.contextmanager
def naming_flags(flags: bool = True) -> Iterator[None]:
    """Let messages name flags in the block, as in a command, or with False the arguments of Python."""
    before, _Speaking.of_flags = _Speaking.of_flags, flags
    try:
        yield
    finally:
        _Speaking.of_flags = before


@contextlib.contextmanager
def called(**names: str) -> Iterator[None]:
    """Say what arguments are called in this function, where its names differ: ``@called(data_dir='root')``."""
    try:
        yield
    except GluonActionError as error:
        error.names = names
        raise


class GluonActionError(Exception):
    """Base of every error that this package raises on purpose."""

    names: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return self.told() if _Speaking.of_flags else _in_arguments(self.told(), self.names)

    def told(self) -> str:
        """Return the message with flags, as it was written."""
        return super().__str__()


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

    def told(self) -> str:
        """Return the message with flags."""
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

    def told(self) -> str:
        """Return the message with flags."""
        return f'{self.path}, byte {self.offset}: {self.cause}'

    def with_advice(self, advice: str) -> RecordError:
        """Return the same error, which ends in what can be done about it."""
        return RecordError(self.path, self.offset, f'{self.cause}. {advice}')


def _in_arguments(text: str, names: Mapping[str, str]) -> str:
    def argument(found: re.Match) -> str:
        name = NAMES.get(found['flag']) or found['flag'].lstrip('-').replace('-', '_')
        return names.get(name, name) + ('=' if found['value'] else '')

    text = ''.join(part if _COMMAND.search(part) else _FLAG.sub(argument, part) for part in _CLAUSE.split(text))
    for name in set(names.values()):  # several flags may be one argument
        text = re.sub(rf'\b{name}(,| and| or) {name}\b', name, text)
    return text
