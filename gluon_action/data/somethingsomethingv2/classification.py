"""Something-Something V2: 174 ways to handle things, 220,847 clips (Goyal et al. 2017, arXiv:1706.04261)."""
from __future__ import annotations

from ...class_names import KnownClasses
from ..video_dataset import Preset, VideoClsCustom

__all__ = ['MIRRORED_LABELS', 'SomethingSomethingV2', 'SomethingSomethingV2Attr']

#: Class of a mirrored video, for the classes where it is another one. Pass it as `flip_label_map`.
MIRRORED_LABELS = {
    one: other for left, right in (
        ('Pulling something from left to right', 'Pulling something from right to left'),
        ('Pushing something from left to right', 'Pushing something from right to left'),
        ('Turning the camera left while filming something', 'Turning the camera right while filming something'))
    for one, other in ((left, right), (right, left))}


class SomethingSomethingV2Attr(KnownClasses):
    """The classes of Something-Something V2: `classes` in the order of their labels, `num_class`."""

    DATASET = 'somethingsomethingv2'


class SomethingSomethingV2(VideoClsCustom):
    """`VideoClsCustom` with the folder, lists and class names of Something-Something V2.

    The official ``something-something-v2-train.json`` can be given as `setting`, with the labels' file beside it.
    Mirroring turns some classes into others, so transforms that mirror are refused unless `flip_label_map` says what
    becomes of the labels; `MIRRORED_LABELS` does.
    """

    PRESET = Preset(
        classes=tuple(SomethingSomethingV2Attr().classes),
        train_root='somethingsomethingv2/20bn-something-something-v2-frames',
        val_root='somethingsomethingv2/20bn-something-something-v2-frames',
        train_list='somethingsomethingv2/train_videofolder.txt',
        val_list='somethingsomethingv2/val_videofolder.txt',
        name_pattern='%06d.jpg',
        sided=True)
