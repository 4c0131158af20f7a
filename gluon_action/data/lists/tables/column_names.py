"""What people call the columns of a table of videos, and the keys of JSON."""
from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

#: Names of columns, as `plain_title` writes them; the best name of each comes first.
COLUMN_NAMES = {
    'path': ('path', 'video', 'video_path', 'video_file', 'file', 'file_path', 'filepath', 'filename', 'file_name',
             'video_name', 'videoname', 'clip', 'clip_path', 'clip_name', 'frame_dir', 'frames_dir', 'frame_folder',
             'rel_path', 'relpath', 'uri'),
    'label': ('label', 'labels', 'class', 'classes', 'target', 'targets', 'category', 'activity', 'tag', 'tags'),
    'label_number': ('class_id', 'label_id', 'class_index', 'label_index', 'class_idx', 'label_idx', 'class_number',
                     'label_number', 'category_id', 'target_id'),
    'label_name': ('class_name', 'label_name', 'classname', 'labelname', 'category_name', 'action_name'),
    'num_frames': ('num_frames', 'n_frames', 'nframes', 'num_frame', 'frame_count', 'total_frames', 'frames'),
    'split': ('split', 'subset', 'partition'), 'youtube_id': ('youtube_id',),
    'participant_id': ('participant_id',), 'video_id': ('video_id',), 'action_class': ('action_class', 'action'),
    'verb_class': ('verb_class',), 'verb': ('verb',), 'noun_class': ('noun_class',), 'noun': ('noun',),
}
#: Columns that name a video where no better one does.
_IDS = ('video_id', 'clip_id', 'id', 'name')

_KNOWN = {*_IDS, *(title for titles in COLUMN_NAMES.values() for title in titles)}

#: Words that titles of bounds consist of.
_WORDS = {
    'start': ('start', 'starts', 'started', 'starting', 'begin', 'begins', 'beginning', 'onset'),
    'end': ('end', 'ends', 'ended', 'ending', 'stop', 'stops', 'finish'),
    'frames': ('frame', 'frames', 'frm', 'index', 'idx'),
    'seconds': ('seconds', 'second', 'secs', 'sec', 's', 'times', 'time', 'timestamps', 'timestamp', 'ts', 't'),
    'milliseconds': ('milliseconds', 'millisecond', 'millis', 'msecs', 'msec', 'ms'),
    'number': ('number', 'num', 'no', 'nr', 'id'),
    'other': ('clip', 'segment', 'seg', 'action', 'event', 'activity', 'annotation', 'shot', 'part', 'video',
              'temporal', 'of', 'the', 'gt'),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
_JOINED = re.compile('|'.join(sorted((word for word in _KINDS if len(word) > 2), key=len, reverse=True)))
#: Words that mean a bound when they stand alone or beside a unit: first_frame, to_sec.
_ALONE = {'t0': 'start', 'from': 'start', 'first': 'start', 't1': 'end', 'to': 'end', 'until': 'end', 'till': 'end',
          'last': 'end'}
#: Titles of columns that hold both bounds, "[1.5, 4]".
_PAIRS = ('segment', 'segments', 'interval', 'span', 'range', 'bounds', 'timestamps', 'timestamp', 'times', 'time')
#: Titles of numbers that mean a place in a video or a length of it, and nobody knows which.
_VAGUE = ('offset', 'shift', 'position', 'timestamp', 'time', 'frame', 'keyframe', 'frame_id', 'frame_index',
          'frame_idx', 'frame_number', 'frame_no', *_PAIRS)


def plain_title(title: object) -> str:
    """Return a title in small letters with an underscore between words: ``Start Time (s)`` is ``start_time_s``."""
    apart = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', str(title).strip())
    return re.sub(r'[\W_]+', '_', apart.lower()).strip('_')


@cache
def bound_of(title: str) -> tuple[str, str] | None:
    """What a plain title says about a part of a video, or None where it says nothing that is known.

    Returns
    -------
    (side, unit)
        'start', 'last' (the end, included), 'end' or 'both'; and 'seconds', 'frames' or 'milliseconds'.
    """
    words = title.split('_')
    if words[-1] in _PAIRS and len(words) <= 2 and all(
            _KINDS.get(word) not in (None, 'start', 'end', 'number') for word in words[:-1]):  # 'age_range' is none
        return 'both', _unit_of({_KINDS.get(word) for word in words} - {'other', None}) or 'seconds'
    kinds, sides = set(), []
    for word in words:
        if word in _ALONE:
            sides.append(_ALONE[word])
            continue
        parts = [word] if word in _KINDS else _parts(word)
        if parts is None:
            return None
        kinds |= {_KINDS[part] for part in parts}
        sides += [_KINDS[part] for part in parts if _KINDS[part] in ('start', 'end')]
    unit = _unit_of(kinds - {'start', 'end', 'other'})
    if len(sides) != 1 or unit is None or set(words) & set(_ALONE) and 'other' in kinds:
        return None
    return ('last' if words[0] == 'last' or words[-1] == 'last' else sides[0]), unit


def looks_like_a_bound(title: str) -> bool:
    """Whether a plain title that `bound_of` does not know may mean where a part of a video begins or ends."""
    words = title.split('_')
    return title in _VAGUE or any(
        word.startswith(('start', 'begin', 'onset', 'endp', 'endtc')) or word in _WORDS['end'] for word in words)


@cache
def usual_names(titles: tuple[str, ...]) -> Mapping[str, str]:
    """Usual name -> plain title, for those titles of a table or of an object that have one; bounds apart."""
    found = {name: alias for name, aliases in COLUMN_NAMES.items() for alias in reversed(aliases) if alias in titles}
    if not {'path', 'youtube_id', 'participant_id'} & set(found):
        path = next((title for title in _IDS if title in titles), None)
        found |= {'path': path} if path else {}
    return MappingProxyType(found)


def is_known(title: str) -> bool:
    """Whether a plain title means something to readers of lists."""
    return title in _KNOWN or title in COLUMN_NAMES or bound_of(title) is not None


def is_header(text: str) -> bool:
    """Whether a line in which nothing but spaces and the usual signs separates columns names those of a table."""
    titles = tuple(plain_title(title) for title in re.split(r'[\s,;|]+', text))
    return 'path' in usual_names(titles) and len(titles) > 1 and all(map(is_known, titles))


def _unit_of(kinds: set[str]) -> str | None:
    if 'frames' in kinds:
        return 'frames' if kinds <= {'frames', 'number'} else None
    if 'milliseconds' in kinds:
        return 'milliseconds' if kinds <= {'milliseconds', 'seconds'} else None
    return 'seconds' if kinds <= {'seconds'} else None


def _parts(word: str) -> list[str] | None:
    """The known words that a word without underscores is made of, as ``starttime``; None where it is not."""
    parts = _JOINED.findall(word)
    return parts if ''.join(parts) == word else None
