"""Something-Something V1: 174 ways to handle things, 108,499 clips (Goyal et al. 2017, arXiv:1706.04261)."""
from __future__ import annotations

from ..somethingsomethingv2.classification import MIRRORED_LABELS
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['MIRRORED_LABELS', 'SomethingSomethingV1']


class SomethingSomethingV1(VideoClsCustom):
    """`VideoClsCustom` with the folder and lists of Something-Something V1, which is published as folders of JPEGs.

    The lists are the official ``something-something-v1-train.csv`` and ``something-something-v1-validation.csv``; the
    classes are those of ``something-something-v1-labels.csv`` beside them. Mirroring turns some classes into others, so
    transforms that mirror are refused unless `flip_label_map` says how labels change; `MIRRORED_LABELS` does.
    """

    PRESET = Preset(
        classes=None,
        train_root='somethingsomethingv1/20bn-something-something-v1',
        val_root='somethingsomethingv1/20bn-something-something-v1',
        train_list='somethingsomethingv1/something-something-v1-train.csv',
        val_list='somethingsomethingv1/something-something-v1-validation.csv',
        name_pattern='%05d.jpg',
        sided=True)
