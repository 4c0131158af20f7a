"""A network behind another normalisation of frames than the one that it was trained with."""
from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
import numpy as np

from ...nn import SizedBlock


class Renormalised(SizedBlock):
    """A network that is given frames as another network's card normalises them.

    Parameters
    ----------
    net : Recognizer
    given, wanted : ModelCard
        Whose mean and deviation the input has, and whose the network was trained with.
    contexts : sequence of mxnet.Context
        Devices of the network.

    Notes
    -----
    Input (N, C, ...) as `net` takes it; each channel is scaled and shifted before the first layer pads it.
    """

    def __init__(self, net: mx.gluon.HybridBlock, given, wanted, contexts: Sequence):
        super().__init__()
        mean, std = np.array(given.mean), np.array(given.std)
        axes = (1, -1) + (1,) * (len(given.input_layout) - 2)
        with self.name_scope():
            self.scale = self.params.get_constant('scale', (std / wanted.std).reshape(axes).astype(np.float32))
            self.shift = self.params.get_constant(
                'shift', ((mean - wanted.mean) / wanted.std).reshape(axes).astype(np.float32))
        self.initialize(ctx=list(contexts))
        self.net = net

    def _fit(self, size):
        # Networks of frames have paddings of their own, whatever the size.
        return (self.net.lay_out(size), self._plans_inside()) if isinstance(self.net, SizedBlock) else (size, ())

    def hybrid_forward(self, F, x, scale, shift):
        """Score frames or clips."""
        return self.net(F.broadcast_add(F.broadcast_mul(x, scale), shift))
