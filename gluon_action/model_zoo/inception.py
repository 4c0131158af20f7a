"""Inception v1 and v3 (Szegedy et al., arXiv:1409.4842 and 1512.00567) for actions, with and without segments."""
from __future__ import annotations

from gluoncv.model_zoo.googlenet import GoogLeNet
from gluoncv.model_zoo.inception import Inception3
from mxnet import gluon

from ..nn import BatchNorm
from .recognizer import Recognizer
from .registry import ModelCard, register_model
from .tsn import TSN, ActionRec, over_segments


class ActionRecInceptionV1TSN(TSN):
    """Inception v1 over segments."""


class ActionRecInceptionV3TSN(TSN):
    """Inception v3 over segments."""


class ActionRecInceptionV1(ActionRec):
    """Inception v1 with batch normalisation and an action head.

    Parameters
    ----------
    nclass : int
        Classes.
    dropout_ratio : float
        Rate of the dropout before the head.
    **head
        Those of :class:`ActionRec`.

    Notes
    -----
    The last pooling is global, which equals GluonCV's 7x7 at 224 pixels and allows other sizes.
    """

    tsn_class = ActionRecInceptionV1TSN
    _STAGES = ('conv1', 'maxpool1', 'conv2', 'conv3', 'maxpool2', 'inception3a', 'inception3b', 'maxpool3',
               'inception4a', 'inception4b', 'inception4c', 'inception4d', 'inception4e', 'maxpool4',
               'inception5a', 'inception5b')

    def __init__(self, nclass: int, dropout_ratio: float = 0.5, **head):
        super().__init__(nclass, feat_dim=1024, **head)
        self.base = 'googlenet'
        net = GoogLeNet(norm_layer=BatchNorm)
        for name in self._STAGES:
            setattr(self, name, getattr(net, name))
        self.avgpool = gluon.nn.GlobalAvgPool2D()
        self.flat = gluon.nn.Flatten()
        self.dropout = gluon.nn.Dropout(dropout_ratio)
        self._add_head()

    def body(self, x):
        """Frames (N, 3, H, W) to features (N, 1024)."""
        for name in self._STAGES:
            x = getattr(self, name)(x)
        return self.dropout(self.flat(self.avgpool(x)))


class ActionRecInceptionV3(ActionRec):
    """Inception v3 with an action head.

    Parameters
    ----------
    nclass : int
        Classes.
    dropout_ratio : float
        Rate of the dropout before the head.
    **head
        Those of :class:`ActionRec`.

    Notes
    -----
    The last pooling is global, which equals GluonCV's 8x8 at 299 pixels and allows other sizes from 75.
    """

    tsn_class = ActionRecInceptionV3TSN

    def __init__(self, nclass: int, dropout_ratio: float = 0.5, **head):
        super().__init__(nclass, feat_dim=2048, **head)
        self.base = 'inceptionv3'
        self.features = gluon.nn.HybridSequential(prefix='')
        for layer in Inception3(norm_layer=BatchNorm).features:
            if not isinstance(layer, gluon.nn.AvgPool2D | gluon.nn.Dropout):
                self.features.add(layer)
        self.features.add(gluon.nn.GlobalAvgPool2D(), gluon.nn.Flatten(), gluon.nn.Dropout(dropout_ratio))
        self._add_head()

    def body(self, x):
        """Frames (N, 3, H, W) to features (N, 2048)."""
        return self.features(x)


def inceptionv1(nclass: int, *, tsn: bool, num_segments: int, num_crop: int, consensus: str, **options) -> Recognizer:
    """Build Inception v1; options are those of :class:`ActionRecInceptionV1`."""
    return over_segments(ActionRecInceptionV1(nclass, **options), tsn, num_segments, num_crop, consensus)


def inceptionv3(nclass: int, *, tsn: bool, num_segments: int, num_crop: int, consensus: str, **options) -> Recognizer:
    """Build Inception v3; options are those of :class:`ActionRecInceptionV3`."""
    return over_segments(ActionRecInceptionV3(nclass, **options), tsn, num_segments, num_crop, consensus)


# dataset -> dropout, standard deviation of the head
_DATASETS = {'ucf101': (0.8, 0.001), 'hmdb51': (0.8, 0.001), 'kinetics400': (0.5, 0.01), 'sthsthv2': (0.5, 0.01)}

for _build, _base, _size, _source in ((inceptionv1, 'googlenet', 224, 'arXiv:1409.4842'),
                                      (inceptionv3, 'inceptionv3', 299, 'arXiv:1512.00567')):
    for _dataset, (_dropout, _std) in _DATASETS.items():
        register_model(ModelCard.of_2d(
            f'{_build.__name__}_{_dataset}', family='Inception', dataset=_dataset, source=_source, base=_base,
            input_size=_size, supports=('partial_bn', 'bn_frozen'), dropout_ratio=_dropout, init_std=_std))(_build)
