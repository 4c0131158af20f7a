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

for _depth in _LAYERS:
    for _dataset, (_dropout, _std) in _DATASETS.items():
        register_model(ModelCard.of_2d(
            f'resnet{_depth}_v1b_{_dataset}', family='ResNet v1b', dataset=_dataset, source='arXiv:1512.03385',
            base=f'resnet{_depth}_v1b',
            starts_from=f'resnet{_depth}_v1b_kinetics400' if _dataset == 'custom' else '',
            supports=('partial_bn', 'bn_frozen', 'use_gn', 'last_gamma'),
            dropout_ratio=_dropout, init_std=_std))(partial(resnet_v1b, _depth))
