"""Kinetics-400: 400 actions in 10 s clips from YouTube (Kay et al. 2017, arXiv:1705.06950)."""
from __future__ import annotations

from ...class_names import KnownClasses
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['Kinetics400', 'Kinetics400Attr']


class Kinetics400Attr(KnownClasses):
    """The classes of Kinetics-400: `classes` in the order of their labels, `num_class`."""

    DATASET = 'kinetics400'


class Kinetics400(VideoClsCustom):
    """`VideoClsCustom` with the folders, lists and class names of Kinetics-400.

    The official CSV files (``label,youtube_id,time_start,time_end,split``) can be given as `setting`.
    """

    PRESET = Preset(
        classes=tuple(Kinetics400Attr().classes),
        train_root='kinetics400/rawframes_train',
        val_root='kinetics400/rawframes_val',
        train_list='kinetics400/kinetics400_train_list_rawframes.txt',
        val_list='kinetics400/kinetics400_val_list_rawframes.txt')
