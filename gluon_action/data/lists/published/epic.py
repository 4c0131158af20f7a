"""Lists of EPIC-KITCHENS and of data sets of its shape: actions as ranges of frames in videos of participants."""
from __future__ import annotations

import glob
import os

from ....errors import AnnotationError
from ..classes.class_files import ClassNames, read_class_names
from ..question import Entry, ParsedList, Question, where
from ..tables.bounds import seconds_of
from ..tables.columns import of_split, published_bounds, records, split_row
from ..text import is_integer, read_lines

#: Names of the pictures in a video's folder; a folder may hold a part of the video's frames.
NAME_PATTERN = 'frame_%010d.jpg'
#: File beside the list that numbers its classes, in either direction.
CLASS_NAMES = 'class_names.json'

#: Columns that hold the label, by what is to be told apart, best first.
_LABELS = {'action': ('action_class', 'label'), 'verb': ('verb_class', 'verb'), 'noun': ('noun_class', 'noun')}


def parse_epic(question: Question, kind: str = 'action') -> ParsedList:
    """``participant_id,video_id,start_frame,stop_frame`` and a label; frames count from 1, and the last is included.

    The label is ``action_class``, as a name or a number, or else the one of verb and noun that the list has;
    EPIC-KITCHENS itself has both, so `kind` says which. The frames of a video are in the folder
    ``participant/video`` or ``participant/rgb_frames/video``; a row without range means all of them. Video files are
    cut by ``start_timestamp`` and ``stop_timestamp`` where the list has them.
    """
    rows = of_split(question, records(question))
    column = _label_column(question, kind, rows[0][1]) if rows else ''
    entries = [_entry(question, line, row, column) for line, row in rows]
    classes = list(question.classes) if question.classes else _names_beside(question.setting, column)
    counted = classes is None and not all(is_integer(entry.labels[0]) for entry in entries)
    if counted:
        classes = sorted({entry.labels[0] for entry in entries})
    if classes is not None:
        _check_names(entries, classes)
    return ParsedList(entries, classes=classes, counted=counted)


def is_epic(list_format: str) -> bool:
    """Whether lists of this format are read by `parse_epic`."""
    return list_format.split(':')[0] == 'epic'


def _label_column(question: Question, kind: str, row: dict) -> str:
    missing = [name for name in ('participant_id', 'video_id') if name not in row]
    if missing:
        raise AnnotationError(f'{where(question.setting, 1)}: the header names no column {" and no ".join(missing)}')
    column = next((name for name in _LABELS[kind] if name in row), None)
    if column is None and kind == 'action':
        others = [next((name for name in _LABELS[other] if name in row), None) for other in ('verb', 'noun')]
        if all(others):
            raise AnnotationError(f'{where(question.setting, 1)}: has the columns {others[0]} and {others[1]}, and no '
                                  'action_class; say what to tell apart: --list-format epic:verb or epic:noun')
        column = others[0] or others[1]
    if column is None:
        raise AnnotationError(f'{where(question.setting, 1)}: the header names no column {" or ".join(_LABELS[kind])}, '
                              'which would hold the label')
    return column


def _entry(question: Question, line: int, row: dict, column: str) -> Entry:
    place = where(question.setting, line)
    participant, video, label = (row[name].strip() for name in ('participant_id', 'video_id', column))
    for name, value in (('participant_id', participant), ('video_id', video), (f'{column}, the label', label)):
        if not value:
            raise AnnotationError(f'{place}: has no {name}')
    bounds = published_bounds(row)
    first, last = (_frame_number(bounds.get(name), place) for name in ('start_frame', 'end_frame'))
    if first is not None and last is not None and last < first:
        raise AnnotationError(f'{place}: stop_frame {last} is before start_frame {first}')
    start, end = (seconds_of(bounds.get(name), place) for name in ('start', 'end'))
    if start is not None and end is not None and end <= start:
        raise AnnotationError(f'{place}: stop_timestamp {bounds["end"]} is not after start_timestamp {bounds["start"]}')
    names = [f'{participant}/{video}', f'{participant}/rgb_frames/{video}', f'{participant}/videos/{video}', video]
    # The published files are named .MP4.
    places = tuple(variant for name in names for variant in (name, f'{name}.MP4'))
    return Entry(names[0], (label,), question.setting, line, start=start, end=end, places=places, first=first,
                 last=last)


def _frame_number(text: str | None, place: str) -> int | None:
    if text in (None, ''):
        return None
    if not is_integer(text) or int(text) < 0:
        raise AnnotationError(f'{place}: the number of a frame is expected, got {text!r}')
    return int(text)


def _names_beside(setting: str, column: str) -> list[str] | None:
    """Class names that lie beside the list, where they do."""
    folder = os.path.dirname(setting)
    if column.startswith(('verb', 'noun')):
        files = sorted(glob.glob(os.path.join(glob.escape(folder), f'*{column[:4]}_classes.csv')))
        return _read_class_table(files[0]) if files else None
    path = os.path.join(folder, CLASS_NAMES)
    return read_class_names(path) if os.path.isfile(path) else None


def _read_class_table(path: str) -> list[str]:
    """Names of ``EPIC_100_verb_classes.csv`` and the like: a header, then number and name."""
    names = {}
    for line, text in read_lines(path)[1:]:
        row = split_row(text, ',', 0, where(path, line))
        if len(row) < 2 or not is_integer(row[0]):
            raise AnnotationError(f'{where(path, line)}: expected the number and the name of a class, got {text!r}')
        names[int(row[0])] = row[1]
    if sorted(names) != list(range(len(names))):
        raise AnnotationError(f'{path}: the numbers of its {len(names)} classes do not run from 0 to {len(names) - 1}')
    return [names[number] for number in range(len(names))]


def _check_names(entries: list[Entry], classes: list[str]) -> None:
    names = ClassNames(classes)
    for entry in entries:
        if not is_integer(entry.labels[0]) and names.find(entry.labels[0]) is None:
            more = ', ...' if len(classes) > 5 else ''
            raise AnnotationError(f'{where(entry.source, entry.line)}: {entry.labels[0]!r} is not one of the '
                                  f'{len(classes)} classes ({", ".join(classes[:5])}{more}); {CLASS_NAMES} beside the '
                                  'list names them')
