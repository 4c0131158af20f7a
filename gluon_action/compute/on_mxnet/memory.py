"""The memory of MXNet's arrays on a CPU, as NumPy sees it."""
from __future__ import annotations

import ctypes

import mxnet as mx
import numpy as np


def numbers_of(array: mx.nd.NDArray) -> np.ndarray:
    """Return a float32 array where it lies; it lives as long as what is returned.

    An operator that copied it would wait for what is being computed with it. Whoever writes has to wait for that
    himself.
    """
    array.wait_to_read()
    address = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    memory = (ctypes.c_float * array.size).from_address(address.value)
    memory.array = array  # which NumPy's array holds so
    return np.frombuffer(memory, np.float32).reshape(array.shape)
