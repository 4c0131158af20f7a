"""Moving averages of everything a Gluon network consists of."""
from __future__ import annotations

from collections.abc import Mapping

import mxnet as mx

from ... import engine
from ..averages import MovingAverages

# Elements at a time, so that the differences need little memory.
_PIECE = 1 << 22


class GluonAverages(MovingAverages):
    """`MovingAverages` of the parameters of a network.

    Parameters
    ----------
    params : mapping of str to mxnet.gluon.Parameter
        By key in a parameter file; initialised. Their values are the first averages.
    decay : float
    """

    def __init__(self, params: Mapping[str, mx.gluon.Parameter], decay: float):
        self.params = params
        super().__init__(decay)

    def update(self):
        """Move every average towards the value of now."""
        for key, average in self._averages.items():
            average, value = (array.reshape((-1,)) for array in (average, self.params[key].list_data()[0]))
            for begin in range(0, average.size, _PIECE):
                piece = average[begin:begin + _PIECE]
                # By the difference: decay and 1 - decay as float32 do not add up to 1, and after thousands of steps the
                # average of a constant would be another one.
                mx.nd.sgd_update(piece, piece - value[begin:begin + _PIECE], lr=1 - self.decay, wd=0., out=piece)

    def _values(self):
        arrays = {key: param.list_data() for key, param in self.params.items()}
        return [{key: on_devices[device] for key, on_devices in arrays.items()}
                for device in range(len(next(iter(arrays.values()))))]

    def _copied(self, values):
        return {key: array.copy() for key, array in values.items()}

    def _put(self, device, values):
        for key, array in values.items():
            engine.make_writable(self.params[key])
            array.copyto(self.params[key].list_data()[device])

    @staticmethod
    def _read(array):
        return array.asnumpy()

    @staticmethod
    def _fill(array, values):
        array[:] = values
