"""The names of the classes of known data sets, in the order of their labels: one text file each, one name a line."""
from __future__ import annotations

from pathlib import Path


def class_names(dataset: str) -> list[str] | None:
    """Return the names of the classes of a data set in order, or None where they are not known.

    Parameters
    ----------
    dataset : str
        ``'ucf101'``, ``'hmdb51'``, ``'kinetics400'``, ``'kinetics700'`` or ``'somethingsomethingv2'``.
    """
    path = Path(__file__).with_name(f'{dataset}.txt')
    return path.read_text(encoding='utf-8').splitlines() if path.is_file() else None


def letters_of(name: str) -> str:
    """Return what tells one name of a class from another: letter case and signs do not matter."""
    return ''.join(letter for letter in name.casefold() if letter.isalnum())


class KnownClasses:
    """`classes` and `num_class` of a data set, which GluonCV's users read from its ``...Attr``."""

    DATASET = ''

    def __init__(self):
        self.classes = class_names(self.DATASET)
        self.num_class = len(self.classes)
