"""EPIC-KITCHENS: actions in kitchens, filmed from the head (Damen et al. 2022, arXiv:2006.13256)."""
from __future__ import annotations

from ..lists.published.epic import NAME_PATTERN
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['EpicKitchens']


class EpicKitchens(VideoClsCustom):
    """`VideoClsCustom` with folders and lists for actions cut out of EPIC-KITCHENS.

    The frames of a video are in ``train/<participant>/<video>/frame_%010d.jpg``, or ``val``. The lists
    ``train_action_classes.csv`` and ``val_action_classes.csv`` have the columns ``participant_id``, ``video_id``,
    ``start_frame``, ``stop_frame`` and ``action_class``; ``class_names.json`` beside them numbers the classes. The
    lists of EPIC-KITCHENS-55 and -100 can be given as `setting`, with `list_format` 'epic:verb' or 'epic:noun'.
    """

    PRESET = Preset(
        classes=None,
        train_root='epic_kitchens/train',
        val_root='epic_kitchens/val',
        train_list='epic_kitchens/train_action_classes.csv',
        val_list='epic_kitchens/val_action_classes.csv',
        name_pattern=NAME_PATTERN)
