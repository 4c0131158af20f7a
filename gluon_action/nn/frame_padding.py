"""Strided convolutions through time whose gradients are right for short clips."""
from __future__ import annotations

from mxnet import gluon


class FramePaddedConv3D(gluon.nn.Conv3D):
    """A convolution that puts its padding along frames around the input instead of leaving it to the operator.

    Where frames are strided, padded, and about as few as the kernel's (7 taps at stride 2: 5 to 7 frames), the gradient
    of the weights by the oneDNN in MXNet 1.9.1 is uninitialised memory. It is right where oneDNN sees the padding as
    frames. No report upstream is known; pytorch/pytorch#68868 is a relative, wrong gradients of the weights of a
    strided and padded 3-D convolution by the same library.

    Attributes
    ----------
    frames_padded : int
        Frames of zeros before and after; the operator's own padding along frames is 0.
    """

    frames_padded = 0

    def hybrid_forward(self, F, x, weight, bias=None):
        """Convolve `x`, (N, C, T, H, W)."""
        frames = self.frames_padded
        x = F.pad(x, mode='constant', constant_value=0, pad_width=(0, 0, 0, 0, frames, frames, 0, 0, 0, 0))
        return super().hybrid_forward(F, x, weight, bias)


def pad_strided_frames(block: gluon.Block) -> None:
    """Make Gluon's own convolutions inside `block` that stride over padded frames :class:`FramePaddedConv3D`.

    For networks that build their layers themselves. Names and parameters stay.
    """
    def pad(layer: gluon.Block) -> None:
        if type(layer) is gluon.nn.Conv3D and layer._kwargs['stride'][0] > 1 and layer._kwargs['pad'][0]:
            layer.__class__ = FramePaddedConv3D
            layer.frames_padded = layer._kwargs['pad'][0]
            layer._kwargs['pad'] = (0, *layer._kwargs['pad'][1:])
    block.apply(pad)
