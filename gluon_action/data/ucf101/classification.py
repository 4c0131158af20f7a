"""UCF101: 101 actions in 13,320 clips from YouTube (Soomro et al. 2012, arXiv:1212.0402)."""
from __future__ import annotations

from ...class_names import KnownClasses
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['UCF101', 'UCF101Attr']


class UCF101Attr(KnownClasses):
    """The classes of UCF101: `classes` in the order of their labels, `num_class`."""

    DATASET = 'ucf101'


class UCF101(VideoClsCustom):
    """`VideoClsCustom` with the folder, lists and class names of UCF101, split 1.

    Other splits and the official ``trainlist01.txt`` and ``testlist01.txt`` are given as `setting`.
    """

    PRESET = Preset(
        classes=tuple(UCF101Attr().classes),
        train_root='ucf101/rawframes',
        val_root='ucf101/rawframes',
        train_list='ucf101/ucfTrainTestlist/ucf101_train_split_1_rawframes.txt',
        val_list='ucf101/ucfTrainTestlist/ucf101_val_split_1_rawframes.txt')
