"""Lists that give a video several labels, recognised where only one was expected."""
from __future__ import annotations

import os
import re

from ....errors import AnnotationError
from ..question import Question, where

# A file's name with its ending, or in quotes; then at most a number of frames; then the labels.
_PATH = r"""(?:.*\.(?=\w*[A-Za-z])\w{2,5}|(["']).*\1)"""
_LINE = re.compile(_PATH + r'(?:\s+\d+)?\s+\d+(?P<more>(?:[,;]\d+)*)')


def refuse_several_labels(question: Question) -> None:
    """Say what to pass for a list of lines such as ``a.mp4 0,3``, which would else be torn at the commas.

    Raises
    ------
    AnnotationError
        When every line is a video and labels, and some have several.
    """
    if question.multi_label or question.forced or not os.path.isfile(question.setting) or not question.lines:
        return
    found = [(line, text, _LINE.fullmatch(text)) for line, text in question.lines]
    if all(match for _, _, match in found):
        several = next(((line, text) for line, text, match in found if match['more']), None)
        if several:
            line, text = several
            raise AnnotationError(f'{where(question.setting, line)}: gives a video several labels; pass --multi-label '
                                  f'if that is meant, in the training of the network too; got {text!r}')
