"""Initial values of large parameters that cost no time: drawing millions is most of what a network costs a test.

Every number is one of some millions that were drawn once, in their order from a place on that MXNet's own generator
draws. So `mx.random.seed` decides as always, no two draws are the same, and mean and spread are those asked for.
"""
import functools
import sys

import numpy as np

COUNT = (1 << 22) - 3  # a prime number, so that no row of a weight begins at the same place as another
FEW = 1 << 13


def install():
    """Let MXNet's initializers take their values so from now on, if MXNet is loaded."""
    module = sys.modules.get('mxnet.initializer')
    if module is not None and not isinstance(module.random, _Random):
        module.random = _Random(module.random)


class _Random:
    """MXNet's module of random numbers, as its initializers use it."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)

    def uniform(self, low, high, shape, out=None):
        if out is None or out.size < FEW:
            return self._module.uniform(low, high, shape, out=out)
        return self._fill(out, _drawn('random'), high - low, low)

    def normal(self, loc, scale, shape, out=None):
        if out is None or out.size < FEW:
            return self._module.normal(loc, scale, shape, out=out)
        return self._fill(out, _drawn('standard_normal'), scale, loc)

    def _fill(self, out, drawn, scale, offset):
        start, left, parts = int(self._module.uniform(0, 1, shape=(1,)).asscalar() * (COUNT - 1)), out.size, []
        while left:
            parts.append(drawn[start:start + left])
            start, left = 0, left - len(parts[-1])
        out[:] = (np.concatenate(parts) if len(parts) > 1 else parts[0]).reshape(out.shape)
        out *= scale
        if offset:
            out += offset
        return out


@functools.cache
def _drawn(kind):
    return getattr(np.random.default_rng(3), kind)(COUNT, dtype=np.float32)
