"""VGG16 (Simonyan and Zisserman 2014, arXiv:1409.1556) for actions, with and without segments."""
from __future__ import annotations

from gluoncv.model_zoo.vgg import get_vgg
from mxnet import gluon

from .recognizer import Recognizer
from .registry import ModelCard, register_model
from .tsn import TSN, ActionRec, over_segments


class ActionRecVGG16TSN(TSN):
    """VGG16 over segments."""


class ActionRecVGG16(ActionRec):
    """VGG16 with an action head.

    Parameters
    ----------
    nclass : int
        Classes.
    dropout_ratio : float
        Rate of both dropouts.
    batch_norm : bool
        The variant with a batch normalisation after each convolution.
    **head
        Those of :class:`ActionRec`.
    """

    tsn_class = ActionRecVGG16TSN

    def __init__(self, nclass: int, dropout_ratio: float = 0.5, batch_norm: bool = False, **head):
        super().__init__(nclass, feat_dim=4096, **head)
        self.base = 'vgg16_bn' if batch_norm else 'vgg16'
        self.features = get_vgg(16, batch_norm=batch_norm).features
        for layer in self.features:
            if isinstance(layer, gluon.nn.Dropout):
                layer._rate = dropout_ratio
        self._add_head()

    def body(self, x):
        """Frames (N, 3, H, W) to features (N, 4096); H and W are those of `input_size`."""
        return self.features(x)


def vgg16(nclass: int, *, tsn: bool, num_segments: int, num_crop: int, consensus: str, **options) -> Recognizer:
    """Build VGG16; options are those of :class:`ActionRecVGG16`."""
    return over_segments(ActionRecVGG16(nclass, **options), tsn, num_segments, num_crop, consensus)


# dataset -> dropout, standard deviation of the head
_DATASETS = {'ucf101': (0.9, 0.001), 'hmdb51': (0.9, 0.001), 'kinetics400': (0.5, 0.01), 'sthsthv2': (0.5, 0.01)}

for _dataset, (_dropout, _std) in _DATASETS.items():
    register_model(ModelCard.of_2d(
        f'vgg16_{_dataset}', family='VGG', dataset=_dataset, source='arXiv:1409.1556', base='vgg16',
        supports=('batch_norm',), dropout_ratio=_dropout, init_std=_std))(vgg16)
