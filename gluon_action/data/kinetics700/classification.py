"""Kinetics-700: 700 actions in 10 s clips from YouTube (Carreira et al. 2019, arXiv:1907.06987)."""
from __future__ import annotations

from ...class_names import KnownClasses
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['Kinetics700', 'Kinetics700Attr']


class Kinetics700Attr(KnownClasses):
    """The classes of Kinetics-700: `classes` in the order of their labels, `num_class`."""

    DATASET = 'kinetics700'


class Kinetics700(VideoClsCustom):
    """`VideoClsCustom` with the folders, lists and class names of Kinetics-700.

    The official CSV files (``label,youtube_id,time_start,time_end,split``) can be given as `setting`.
    """

    PRESET = Preset(
        classes=tuple(Kinetics700Attr().classes),
        train_root='kinetics700/rawframes_train',
        val_root='kinetics700/rawframes_val',
        train_list='kinetics700/kinetics700_train_list_rawframes.txt',
        val_list='kinetics700/kinetics700_val_list_rawframes.txt')
