"""Moving averages of everything a network consists of: what is evaluated in place of the last values."""
from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import CheckpointError, UsageError


class MovingAverages(abc.ABC):
    """Exponential moving averages of parameters and of running statistics, as on the first device.

    An engine says where the values are and how its arrays are copied; all are called by their keys in a parameter file.

    Parameters
    ----------
    decay : float
        Share of an average that an update keeps, in 0..1: ``average = decay * average + (1 - decay) * value``.

    Attributes
    ----------
    aside : list of dict
        For each device the values that are trained, while the network holds the averages; else empty.

    Raises
    ------
    UsageError
        For a decay outside 0..1.

    Notes
    -----
    TensorFlow's ``ExponentialMovingAverage`` without ``num_updates``, applied to statistics of batch normalisation too.
    """

    def __init__(self, decay: float):
        if not 0 <= decay < 1:
            raise UsageError(f'the share that moving averages keep must be in 0..1, got {decay}')
        self.decay = decay
        self.aside: list[dict[str, Any]] = []
        self.reset()

    def reset(self) -> None:
        """Begin anew with the values of now."""
        self._averages = self._copied(self._values()[0])

    @abc.abstractmethod
    def update(self) -> None:
        """Move every average towards the value of now. Does not wait for the device."""

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network hold the averages within the block, on every device."""
        self.aside = [self._copied(values) for values in self._values()]
        try:
            for device in range(len(self.aside)):
                self._put(device, self._averages)
            yield
        finally:
            for device, kept in enumerate(self.aside):
                self._put(device, kept)
            self.aside = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the averages by key."""
        return {key: self._read(average) for key, average in self._averages.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `arrays` returned.

        Raises
        ------
        CheckpointError
            When they are of another network, or of a run that had none.
        """
        if {key: array.shape for key, array in arrays.items()} != {
                key: tuple(average.shape) for key, average in self._averages.items()}:
            raise CheckpointError('the checkpoint is of a run without moving averages, or of another network')
        for key, average in self._averages.items():
            self._fill(average, arrays[key])

    @abc.abstractmethod
    def _values(self) -> Sequence[Mapping[str, Any]]:
        """Return the values of now for each device."""

    @abc.abstractmethod
    def _copied(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies."""

    @abc.abstractmethod
    def _put(self, device: int, values: Mapping[str, Any]) -> None:
        """Give the network on a device these values."""

    @staticmethod
    @abc.abstractmethod
    def _read(array: Any) -> np.ndarray:
        """Return a copy of an array as NumPy's."""

    @staticmethod
    @abc.abstractmethod
    def _fill(array: Any, values: np.ndarray) -> None:
        """Give an array NumPy's values."""
