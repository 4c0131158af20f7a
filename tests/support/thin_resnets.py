"""ResNet-18 and 34 of an eighth of the numbers, for tests of what is done with their files and not of the network."""
import contextlib
from unittest import mock

from gluoncv.model_zoo.resnetv1b import BasicBlockV1b
from mxnet import gluon

from gluon_action.model_zoo import resnet

INSIDE = 32  # channels between the two filters of a block, where ResNet has as many as behind them


class ThinBlock(BasicBlockV1b):
    """A block with the names, and between blocks the channels, of ResNet's own."""

    def __init__(self, planes, strides=1, norm_layer=None, norm_kwargs=None, **given):
        super().__init__(planes, strides, norm_layer=norm_layer, norm_kwargs=norm_kwargs, **given)
        self.conv1 = gluon.nn.Conv2D(INSIDE, 3, strides, 1, use_bias=False)
        self.bn1 = norm_layer(in_channels=INSIDE, **(norm_kwargs or {}))


@contextlib.contextmanager
def thin_resnets():
    """Build such networks while it lasts."""
    with mock.patch.object(resnet, 'BasicBlockV1b', ThinBlock):
        yield
