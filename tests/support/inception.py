"""I3D and S3D of fewer blocks, for tests of what is done with such a network and not of the network."""
import contextlib

from gluon_action.model_zoo import i3d

KEPT = ('Mixed_3b', 'Mixed_5c')


@contextlib.contextmanager
def few_blocks():
    """Two of the nine blocks are in the networks that are built, and used, while it lasts."""
    layers, endpoints = dict(i3d.LAYERS), i3d.ENDPOINTS
    for name in layers:
        if name.startswith('Mixed') and name not in KEPT:
            del i3d.LAYERS[name]
    i3d.ENDPOINTS = (*i3d.LAYERS, 'Logits')
    try:
        yield
    finally:
        i3d.LAYERS.clear()
        i3d.LAYERS.update(layers)
        i3d.ENDPOINTS = endpoints


class Thin(i3d.Parts):
    """Two channels where I3D has 64."""

    def width(self, channels):
        return -(-channels // 32)
