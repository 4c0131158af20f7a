"""ResNet v1b (He et al. 2015, arXiv:1512.03385; stride on the 3x3) for actions, with and without segments."""
from __future__ import annotations

from functools import partial

from gluoncv.model_zoo.resnetv1b import BasicBlockV1b, BottleneckV1b, ResNetV1b
from mxnet import gluon

from ..errors import ModelError
from ..nn import BatchNorm, GroupNorm
from .recognizer import Recognizer
from .registry import ModelCard, register_model
from .tsn import TSN, ActionRec, over_segments

_LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ActionRecResNetV1bTSN(TSN):
    """ResNet v1b over segments."""


class ActionRecResNetV1b(ActionRec):
    """ResNet v1b with an action head.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Layers.
    nclass : int
        Classes.
    dropout_ratio : float
        Rate of the dropout before the head.
    use_gn : bool
        Group instead of batch normalisation.
    last_gamma : bool
        Start the last gamma of each residual block at 0, so that every block starts as its shortcut.
    **head
        Those of :class:`ActionRec`.
    """

    tsn_class = ActionRecResNetV1bTSN

    def __init__(self, depth: int, nclass: int, dropout_ratio: float = 0.5, use_gn: bool = False,
                 last_gamma: bool = False, **head):
        if depth not in _LAYERS:
            raise ModelError(f'a ResNet v1b has {", ".join(map(str, _LAYERS))} layers, got {depth}')
        block = BasicBlockV1b if depth < 50 else BottleneckV1b
        super().__init__(nclass, feat_dim=512 * block.expansion, **head)
        self.base = f'resnet{depth}_v1b_gn' if use_gn else f'resnet{depth}_v1b'
        # Without a prefix of its own, every ResNet of a process would share its parameters' names.
        net = ResNetV1b(block, list(_LAYERS[depth]), norm_layer=GroupNorm if use_gn else BatchNorm,
                                  name_prefix=None)
        if last_gamma:
            _start_as_shortcuts(net)
        for name in ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4', 'avgpool', 'flat'):
            setattr(self, name, getattr(net, name))
        self.drop = gluon.nn.Dropout(dropout_ratio)
        self._add_head()

    def body(self, x):
        """Frames (N, 3, H, W) to features (N, D)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.drop(self.flat(self.avgpool(x)))


def _start_as_shortcuts(net: ResNetV1b) -> None:
    # GluonCV's own last_gamma reaches bottlenecks only: its basic blocks swallow the argument.
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            last = block.bn3 if isinstance(block, BottleneckV1b) else block.bn2
            last.gamma.init = 'zeros'


def resnet_v1b(depth: int, nclass: int, *, tsn: bool, num_segments: int, num_crop: int, consensus: str,
               **options) -> Recognizer:
    """Build ResNet v1b; options are those of :class:`ActionRecResNetV1b`."""
    return over_segments(ActionRecResNetV1b(depth, nclass, **options), tsn, num_segments, num_crop, consensus)


# dataset -> dropout, standard deviation of the head
_DATASETS = {'ucf101': (0.9, 0.001), 'hmdb51': (0.9, 0.001), 'kinetics400': (0.5, 0.01), 'sthsthv2': (0.5, 0.01),
             'custom': (0.5, 0.01)}

# (depth, dataset) -> published (tag, SHA-1, top-1 %, segments in training)
_PUBLISHED = {
    (18, 'kinetics400'): (('46d5a985', '46d5a9850cdb884eb9c9a95d48269c3d60c94d77', 65.5, 7),),
    (34, 'kinetics400'): (('8a8d0d8d', '8a8d0d8d395882f836d379aefb4136dce8763d0c', 69.1, 7),),
    (50, 'kinetics400'): (('cc757e5c', 'cc757e5c94fdaaea64a8cb5acfbd655ddf6ffa96', 69.9, 7),),
    (101, 'kinetics400'): (('5bb6098e', '5bb6098ea5343dc0f4bf8536b3771b8ddfe231d7', 71.3, 7),),
    (152, 'kinetics400'): (('9bc70c66', '9bc70c66059854a22e935b42f783ef2bec0377d8', 71.5, 7),),
    (50, 'sthsthv2'): (('80ee0c6b', '80ee0c6bef8b0240ec88273531cd7f43e3f6b65d', 35.5, 8),),
    (50, 'hmdb51'): (('682591e2', '682591e23ce4b92fbd3222c0710ebb52166fddca', 55.2, 3),
                     ('ba66ee4b', 'ba66ee4b', 52.2, 1)),
}

for _depth in _LAYERS:
    for _dataset, (_dropout, _std) in _DATASETS.items():
        register_model(ModelCard.of_2d(
            f'resnet{_depth}_v1b_{_dataset}', family='ResNet v1b', dataset=_dataset, source='arXiv:1512.03385',
            base=f'resnet{_depth}_v1b', published=_PUBLISHED.get((_depth, _dataset), ()),
            starts_from=f'resnet{_depth}_v1b_kinetics400' if _dataset == 'custom' else '',
            supports=('partial_bn', 'bn_frozen', 'use_gn', 'last_gamma'),
            dropout_ratio=_dropout, init_std=_std))(partial(resnet_v1b, _depth))
