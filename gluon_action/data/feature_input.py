"""What a network of features takes, as a record beside exported models says: which features, of how many frames."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BundleError, UsageError
from ..input_kind import FEATURES, InputKind
from .tfrecords.features.feature_messages import dequantize

#: Numbers of the largest input of one video: 64 MiB of float32.
LARGEST_ROW = 2 ** 24


@dataclass(frozen=True)
class FeatureInput:
    """The counterpart of :class:`gluon_action.data.preprocess.Preprocess` where features go in.

    Attributes
    ----------
    features : tuple of (str, int)
        Name and size of each, in the order of the D numbers of a frame.
    frames : int
        T: longer videos are cut, shorter ones end in zeros; 1 for features of whole videos.
    of_frames : bool
        Whether features are of frames, 8 bits a number (``q * 4 / 255 + 4 / 512 - 2``), or of whole videos, floats;
        these are one row.

    Raises
    ------
    UsageError
        For an invalid value.
    """

    features: tuple[tuple[str, int], ...]
    frames: int = 300
    of_frames: bool = True

    rows = 1
    layout = FEATURES.layout
    input: InputKind = FEATURES
    #: What the output of a model is called.
    output_name = 'probabilities'

    def __post_init__(self):
        try:
            object.__setattr__(self, 'features', tuple((str(name), int(size)) for name, size in self.features))
            fine = bool(self.features) and all(name and size > 0 for name, size in self.features)
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise UsageError(f'features must be pairs of a name and a size of 1 or more, got {self.features!r:.80}')
        if not isinstance(self.of_frames, bool):
            raise UsageError(f'of_frames must be true or false, got {self.of_frames!r:.80}')
        if not self.of_frames and self.frames != 1:
            raise UsageError(f'frames must be 1 for features of whole videos, got {self.frames!r:.80}')
        if type(self.frames) is not int or not 1 <= self.frames * self.width <= LARGEST_ROW:
            raise UsageError(f'frames must be a whole number from 1 to {LARGEST_ROW // self.width}, got '
                             f'{self.frames!r:.80}')

    @property
    def width(self) -> int:
        """Numbers D of a frame."""
        return sum(size for _, size in self.features)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of an input of this many videos."""
        return self.input.shape(rows, channels=self.width, length=self.frames, size=(0, 0))

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Make the input of the network of one video's features.

        Parameters
        ----------
        stored : uint8 ndarray (n, D), or float ndarray (1, D)
            As records of frames hold those of n frames, or records of videos those of the video.

        Returns
        -------
        float32 ndarray (1, T, D)

        Raises
        ------
        UsageError
            When it is of another type or width.
        """
        if not self.of_frames:
            if stored.dtype.kind != 'f' or stored.shape != (1, self.width):
                raise UsageError(f'features must be floats (1, {self.width}) of a video, as records of videos hold '
                                 f'them, got {stored.dtype} {stored.shape}')
            return stored.astype(np.float32)[None]
        if stored.dtype != np.uint8 or stored.ndim != 2 or not len(stored) or stored.shape[1] != self.width:
            raise UsageError(f'features must be uint8 (n, {self.width}), one row or more, got {stored.dtype} '
                             f'{stored.shape}')
        made = np.zeros(self.shape(1), np.float32)
        kept = stored[:self.frames]
        made[0, :len(kept)] = dequantize(kept)
        return made

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {'layout': self.layout, 'features': [list(feature) for feature in self.features], 'frames': self.frames,
                'of_frames': self.of_frames}

    @classmethod
    def from_json(cls, values: Any, where: str = 'preprocess.json') -> FeatureInput:
        """Return the record that `to_json` gave.

        Raises
        ------
        BundleError
            When a field is missing, unknown, of another type or out of range; `where` says where they were read.
        """
        names = ('layout', 'features', 'frames', 'of_frames')
        if not isinstance(values, dict) or values.keys() != set(names):
            raise BundleError(f'{where}: a record of layout {cls.layout} has the fields {", ".join(names)}, this one '
                              f'{", ".join(map(str, values))}')
        try:
            return cls(values['features'], values['frames'], values['of_frames'])
        except UsageError as error:
            raise BundleError(f'{where}: {error}') from error


def reference_features(record: FeatureInput) -> np.ndarray:
    """Return features of a video that an exported model proves itself on: shorter than T, so that zeros count too.

    Returns
    -------
    uint8 ndarray (n, D), or float32 ndarray (1, D)
        As `FeatureInput.apply` takes them; equal for equal records.
    """
    if not record.of_frames:
        return np.random.default_rng(0).uniform(-2, 2, (1, record.width)).astype(np.float32)
    frames = min(20, record.frames - record.frames // 4)
    return np.random.default_rng(0).integers(0, 256, (frames, record.width), np.uint8)
