"""What is asked of every format of lists, and what it answers: entries, before paths and labels are checked."""
from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .classes.class_files import names_beside
from .tables.column_names import is_header
from .text import json_in, lines_of, read_text

_log = logging.getLogger(__name__)
#: Names of HMDB51's videos, of which some begin with a #: that of the film, what is done, and how it was filmed.
HMDB51_NAME = re.compile(r'\S+_[fhlu]_[cn]m_np\d+_(ba|fr|le|ri)_(bad|goo|med)_\d+(\.\w+)?(\s|,|;|$)')
_PLAIN_FORMATS = ('gluoncv', 'path_label', 'table', 'json', 'multi_label', 'multi_label_frames')

#: Names that lists and folders give to a part of a data set.
SPLITS = {'train': ('train', 'training'), 'val': ('val', 'valid', 'validation', 'validate', 'test', 'testing')}


@dataclass(slots=True)
class Entry:
    """One video as written in its list.

    `labels` are texts as written (numbers, counted from the list's base, or class names) or ints, which index the
    classes and are final. `places` are paths to try, in this order and with any extension, where the format leaves
    open which one exists. `first` and `last` are numbers of frames, the last one included.
    """

    path: str
    labels: tuple[str | int, ...]
    source: str
    line: int = 0
    num_frames: int | None = None
    start: float | None = None
    end: float | None = None
    places: tuple[str, ...] = ()
    first: int | None = None
    last: int | None = None


@dataclass
class ParsedList:
    """Entries of a list, the class names that came with it (or None), and the name of its format.

    `counted` is whether the classes are those that happen to occur in it, so that another list of the same data set
    may number them in another way. `files` are the files it was read from; `root` is the folder of its paths where the
    list is that folder itself.
    """

    entries: list[Entry]
    format: str = ''
    classes: list[str] | None = None
    files: list[str] = field(default_factory=list)
    root: str | None = None
    counted: bool = False


@dataclass
class Question:
    """A request to read a list: all that a format may need besides the file itself.

    `classes` are the names that the caller knows, `usual` those of the data set that he names, for lists that say
    nothing else. `encoding` is None where the file itself shows it. `format` is the one that it is read in.
    """

    setting: str
    split: str = 'train'
    multi_label: bool = False
    label_base: int | None = None
    classes: Sequence[str] | None = None
    usual: Sequence[str] | None = None
    encoding: str | None = None
    forced: bool = False
    format: str = ''

    @cached_property
    def text(self) -> str:
        """Content of the list's file."""
        return read_text(self.setting, self.encoding)

    @cached_property
    def json(self):
        """What the list says as JSON; None where it is something else."""
        return json_in(self.setting, self.text)

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """Lines of the list that are neither blank nor comments, numbered from 1."""
        return _without_comments(self.setting, lines_of(self.text))

    @cached_property
    def beside(self) -> tuple[str, list[str]] | None:
        """File and class names that lie beside a list whose format says nothing of such files; None without."""
        if self.format not in _PLAIN_FORMATS or not os.path.isfile(self.setting):
            return None
        return names_beside(self.setting, self.encoding)


def where(source: str, line: int) -> str:
    """Name a place in a list: its file and line (JSON lists: which entry)."""
    if not line:
        return source
    return f'{source} {"entry" if source.endswith(".json") else "line"} {line}'


def _without_comments(source: str, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out lines that begin with #, but for a header in the first; where all do, it is how the paths begin.

    A name as HMDB51 has them is a path also where it begins so. Excel begins CSV files with a line ``sep=;`` in some
    countries.
    """
    if lines and re.fullmatch('sep=.', lines[0][1]):
        lines = lines[1:]
    comments = [(number, text) for number, text in lines if text.startswith('#') and not HMDB51_NAME.match(text)]
    if not comments or len(comments) == len(lines):
        return lines
    kept = [line for line in lines if line not in comments]
    title = comments[0][1].lstrip('#').strip()
    if comments[0] == lines[0] and is_header(title):
        comments, kept = comments[1:], [(lines[0][0], title), *kept]
    doubtful = [(number, text) for number, text in comments if text.lstrip('#')[:1].strip()]
    if doubtful:  # a comment usually begins with a space
        number, text = doubtful[0]
        _log.warning('%s: %d lines that begin with # are taken as comments, first line %d, %r; a path that begins so '
                     'belongs in quotes', source, len(doubtful), number, text[:80])
    return kept
