"""What is wrong with videos: the kinds of findings, how bad they are, and what is to be done about them."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...data.lists.annotations import Sample
from .listed import Part

ERROR, WARNING, NOTE = 'error', 'warning', 'note'
#: What findings are called -> how bad they are, what they are in words, and what is to be done.
KINDS = {
    'missing': (ERROR, 'videos that are not there', 'check --data-dir, or take them out of the list'),
    'unreadable': (ERROR, 'videos that cannot be read', 'get them again, or take them out'),
    'cut_short': (ERROR, 'files that end before they say', 'get them again; the download was cut off'),
    'damaged': (ERROR, 'videos with damaged frames', 'get them again; training takes the frames with parts guessed'),
    'contradiction': (ERROR, 'the same video under several labels', 'keep the right one'),
    'leak': (ERROR, 'videos of training that are in validation too', 'take them out of one of the lists: scores are '
             'too good otherwise'),
    'duplicate': (WARNING, 'videos that are there more than once', 'keep one of each'),
    'near_leak': (WARNING, 'videos of training that look like one of validation', 'look at them; if they are of one '
                  'recording, put them into one list'),
    'too_short': (WARNING, 'videos shorter than a clip', 'frames are repeated to fill it; shorten the clip, or take '
                  'them out'),
    'still': (WARNING, 'videos in which nothing moves', 'look at them'),
    'small': (WARNING, 'videos smaller than what the network sees', 'they are enlarged; lower --input-size, or get '
              'larger ones'),
    'empty_class': (WARNING, 'classes without videos', 'add videos, or take the class out of the names'),
    'only_validated': (WARNING, 'classes that are validated and never trained', 'add training videos'),
    'never_validated': (NOTE, 'classes that are trained and never validated', 'add validation videos'),
    'few': (WARNING, 'classes of fewer than 3 training videos', 'add videos'),
    'imbalance': (WARNING, 'classes of very different sizes', 'weight classes, or draw them evenly'),
    'near_duplicate': (NOTE, 'videos that look alike', 'look at them: they may be copies'),
    'rates': (NOTE, 'frame rates that differ much', 'a clip lasts longer in some videos than in others'),
    'turned': (NOTE, 'videos that were filmed on their side or mirrored', 'nothing: they are shown upright'),
    'sizes': (NOTE, 'videos upright among wide ones', 'crops see different parts of them'),
}
#: Findings whose videos `--fix-list` takes out.
DROPPED = frozenset({'missing', 'unreadable', 'cut_short', 'damaged', 'contradiction', 'leak', 'duplicate'})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    subject : str
        The video as the list writes it, or the class.
    part : str
        ``'train'`` or ``'val'``.
    where : str
        List and line.
    detail : str
        What was found.
    row : int or None
        Number of the sample in its part.
    """

    kind: str
    subject: str
    part: str
    where: str
    detail: str
    row: int | None = None

    @property
    def level(self) -> str:
        """How bad it is: ``'error'``, ``'warning'`` or ``'note'``."""
        return KINDS[self.kind][0]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {'kind': self.kind, 'level': self.level, 'subject': self.subject, 'part': self.part,
                'where': self.where, 'detail': self.detail}


def about(part: Part, row: int, kind: str, detail: str) -> Finding:
    """Return a finding about a video of a part."""
    sample = part.samples[row]
    return Finding(kind, sample.key or sample.path, part.name, sample.where, detail, row)


def labels_of(sample: Sample) -> tuple[int, ...]:
    """Return the labels of a video, one or several."""
    return sample.label if isinstance(sample.label, tuple) else (sample.label,)


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Return what a class is called: its number where nobody says."""
    return names[number] if names and number < len(names) else str(number)


def by_kind(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return findings by their kind, in the order in which they come."""
    found = defaultdict(list)
    for finding in findings:
        found[finding.kind].append(finding)
    return dict(found)
