"""HMDB51: 51 actions in 6,766 clips, mostly from films (Kuehne et al. 2011)."""
from __future__ import annotations

from ...class_names import KnownClasses
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['HMDB51', 'HMDB51Attr']


class HMDB51Attr(KnownClasses):
    """The classes of HMDB51: `classes` in the order of their labels, `num_class`."""

    DATASET = 'hmdb51'


class HMDB51(VideoClsCustom):
    """`VideoClsCustom` with the folder, lists and class names of HMDB51, split 1.

    The folder of official ``*_test_split1.txt`` files can be given as `setting`.
    """

    PRESET = Preset(
        classes=tuple(HMDB51Attr().classes),
        train_root='hmdb51/rawframes',
        val_root='hmdb51/rawframes',
        train_list='hmdb51/testTrainMulti_7030_splits/hmdb51_train_split_1_rawframes.txt',
        val_list='hmdb51/testTrainMulti_7030_splits/hmdb51_val_split_1_rawframes.txt')
