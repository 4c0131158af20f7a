"""Parts of videos: the columns that say where they begin and end, in time or in frames, whatever their names."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from ....errors import AnnotationError
from ..text import is_integer
from .column_names import bound_of, looks_like_a_bound

#: The part of a video that a row means: where it starts and ends, and whether these are frames; None is where the
#: video does. Frames count from 0, and the end is the first that is not in it.
Part = tuple[float | None, float | None, bool]

_TIME = r'\d+(?::\d+)*(?:\.\d*)?'
_PAIR = re.compile(rf'[\[(]?\s*({_TIME})\s*(?:[,;]|\s|-)\s*({_TIME})\s*[\])]?')
_TOLERANCE = 0.01  # by which two columns for one bound may differ, in seconds or frames: they are rounded


class Bounds:
    """The columns of a table, or the keys of an object, that say which part of a video is meant.

    Parameters
    ----------
    titles : iterable of str
        All of them, as `plain_title` writes them.
    """

    def __init__(self, titles: Iterable[str]):
        titles = sorted(titles)
        self.known = {title: bound for title in titles if (bound := bound_of(title)) is not None}
        self._doubtful = [title for title in titles if title not in self.known and looks_like_a_bound(title)]
        sides = {side for side, _ in self.known.values()}
        if sides == {'start'}:  # of the part, or of the whole video?
            self._doubtful += [title for title in titles if {'duration', 'length'} & set(title.split('_'))]

    def part(self, row: Mapping[str, object], place: str, unit: str = 'seconds') -> Part:
        """The part that a row means.

        Parameters
        ----------
        row : mapping
            Plain title -> cell.
        place : str
            File and line, for messages.
        unit : {'seconds', 'frames'}
            What columns count whose titles do not say it.

        Raises
        ------
        AnnotationError
            For a cell that is no time or frame, a part that ends before it starts, two columns that contradict each
            other, and a number in a column that looks like a bound and is not known.
        """
        found: dict[tuple[str, bool], tuple[float, str]] = {}
        for title, (side, counts) in self.known.items():
            value = row.get(title)
            if _is_empty(value):
                continue
            in_frames = counts == 'frames' or unit == 'frames'
            if side == 'both':
                pair = _pair_of(value)
                if pair is None:
                    self._refuse_alone(title, value, place)
                    continue
                cells = zip(('start', 'end'), pair)
            else:
                cells = [(side, value)]
            for end, cell in cells:
                number = _number_of(cell, counts, in_frames, place) + (end == 'last' and in_frames)
                key = 'start' if end == 'start' else 'end', in_frames
                before, other = found.setdefault(key, (number, title))
                if abs(before - number) > _TOLERANCE:
                    raise AnnotationError(f'{place}: the columns {other!r} and {title!r} contradict each other '
                                          f'({before:g} and {number:g}); leave one of them out')
        for title in self._doubtful:
            if _is_number(row.get(title)):
                raise _unknown(title, row[title], place)
        in_frames = any(frames for _, frames in found)  # frames are exact, times are rounded
        start, end = (found.get((side, in_frames), (None,))[0] for side in ('start', 'end'))
        if end is not None and end <= (start or 0):
            raise AnnotationError(f'{place}: ends at {end:g}, where it starts ({start or 0:g}) or before')
        return start, end, in_frames

    def of_entry(self, row: Mapping[str, object], place: str) -> dict[str, float | int | None]:
        """The part that a row means, as attributes of `Entry`: frames count from 1, and the last is in the part."""
        start, end, in_frames = self.part(row, place)
        if in_frames:
            return {'first': (start or 0) + 1, 'last': end}
        return {'start': start, 'end': end}

    def _refuse_alone(self, title: str, value: object, place: str) -> None:
        """Refuse a single number where two are expected, unless others say which part is meant."""
        if isinstance(value, (list, dict)):
            raise AnnotationError(f'{place}: {title!r} must be the start and the end of one part, got {value!r}; write '
                                  'one row a part')
        if _is_number(value) and all(side == 'both' for side, _ in self.known.values()) and title != 'segment':
            raise _unknown(title, value, place)


@cache
def bounds_among(titles: frozenset[str]) -> Bounds:
    """Return the `Bounds` among these titles."""
    return Bounds(titles)


def seconds_of(text, place: str) -> float | None:
    """A time in seconds, or hours:minutes:seconds, as seconds; None where the column is empty."""
    if text in (None, ''):
        return None
    try:
        seconds = 0.0
        for part in str(text).split(':'):
            seconds = 60 * seconds + float(part)
    except (TypeError, ValueError):
        raise AnnotationError(f'{place}: a time in seconds is expected, got {text!r}') from None
    if not 0 <= seconds < float('inf'):
        raise AnnotationError(f'{place}: a time of 0 or more seconds is expected, got {text!r}')
    return seconds


def frame_of(value, place: str) -> int | None:
    """The number of a frame in a cell; None where that is empty."""
    if value in (None, ''):
        return None
    text = re.sub(r'\.0+$', '', str(value).strip())
    if not is_integer(text) or int(text) < 0:
        raise AnnotationError(f'{place}: the number of a frame, 0 or more, is expected, got {value!r}')
    return int(text)


def _number_of(value, counts: str, in_frames: bool, place: str) -> float:
    if in_frames:
        return frame_of(value, place)
    return seconds_of(value, place) / (1000 if counts == 'milliseconds' else 1)


def _pair_of(value) -> tuple | None:
    if isinstance(value, (list, tuple)):
        plain = len(value) == 2 and all(isinstance(item, (int, float, str)) for item in value)
        return tuple(value) if plain else None
    match = _PAIR.fullmatch(str(value).strip())
    return match.groups() if match else None


def _is_empty(value) -> bool:
    return value is None or isinstance(value, str) and not value.strip()


def _is_number(value) -> bool:
    if isinstance(value, (dict, list)):
        return bool(value)
    return not _is_empty(value) and not isinstance(value, bool) and re.fullmatch(rf'-?{_TIME}', str(value).strip()) \
        is not None


def _unknown(title: str, value, place: str) -> AnnotationError:
    return AnnotationError(
        f'{place}: the column {title!r} ({value!r}) looks like a bound of a part of the video, and its meaning is not '
        'known; name the columns start and end (seconds), start_ms and end_ms, or start_frame and end_frame (from 0, '
        'the end not included), or take it out')
