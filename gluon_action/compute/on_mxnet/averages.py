"""Moving averages of everything a network consists of: what is evaluated in place of the last values."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import mxnet as mx
import numpy as np

from ... import engine
from ...errors import CheckpointError, UsageError

# Elements at a time, so that the differences need little memory.
_PIECE = 1 << 22


class MovingAverages:
    """Exponential moving averages of parameters and of running statistics, as on the first device.

    Parameters
    ----------
    params : mapping of str to mxnet.gluon.Parameter
        By key in a parameter file; initialised. Their values are the first averages.
    decay : float
        Share of an average that an update keeps, in 0..1: ``average = decay * average + (1 - decay) * value``.

    Attributes
    ----------
    aside : dict
        Key -> the values on every device that are trained, while the network holds the averages; else empty.

    Raises
    ------
    UsageError
        For a decay outside 0..1.

    Notes
    -----
    TensorFlow's ``ExponentialMovingAverage`` without ``num_updates``, applied to statistics of batch normalisation too.
    """

    def __init__(self, params: Mapping[str, mx.gluon.Parameter], decay: float):
        if not 0 <= decay < 1:
            raise UsageError(f'the share that moving averages keep must be in 0..1, got {decay}')
        self.params, self.decay = params, decay
        self.aside: dict[str, list[mx.nd.NDArray]] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew with the values of now."""
        self._arrays = {key: param.list_data()[0].copy() for key, param in self.params.items()}

    def update(self) -> None:
        """Move every average towards the value of now. Does not wait for the device."""
        for key, average in self._arrays.items():
            average, value = (array.reshape((-1,)) for array in (average, self.params[key].list_data()[0]))
            for begin in range(0, average.size, _PIECE):
                piece = average[begin:begin + _PIECE]
                # By the difference: decay and 1 - decay as float32 do not add up to 1, and after thousands of steps the
                # average of a constant would be another one.
                mx.nd.sgd_update(piece, piece - value[begin:begin + _PIECE], lr=1 - self.decay, wd=0., out=piece)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network hold the averages within the block, on every device."""
        self.aside = {key: [data.copy() for data in param.list_data()] for key, param in self.params.items()}
        try:
            for key, average in self._arrays.items():
                self._put(key, [average] * len(self.aside[key]))
            yield
        finally:
            for key, arrays in self.aside.items():
                self._put(key, arrays)
            self.aside = {}

    def _put(self, key: str, arrays: list[mx.nd.NDArray]) -> None:
        engine.make_writable(self.params[key])
        for data, array in zip(self.params[key].list_data(), arrays):
            array.copyto(data)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the averages by key."""
        return {key: average.asnumpy() for key, average in self._arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `arrays` returned.

        Raises
        ------
        CheckpointError
            When they are of another network, or of a run that had none.
        """
        if {key: array.shape for key, array in arrays.items()} != {
                key: average.shape for key, average in self._arrays.items()}:
            raise CheckpointError('the checkpoint is of a run without moving averages, or of another network')
        for key, average in self._arrays.items():
            average[:] = arrays[key]
