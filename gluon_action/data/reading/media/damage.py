"""Damaged frames: which they are, in words, and what is done about them."""
from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping

from ....errors import DamagedVideoError, UsageError, VideoReadError

_log = logging.getLogger(__name__)

#: What is done about frames of which the decoder guesses parts: take them and say so, do without the video (of a
#: stream without the frames), or stop.
ON_DAMAGE = ('accept', 'skip', 'raise')


def check_on_damage(on_damage: str) -> None:
    """Raise `UsageError` for what is none of `ON_DAMAGE`."""
    if on_damage not in ON_DAMAGE:
        raise UsageError(f'on_damage must be one of {", ".join(ON_DAMAGE)}, got {on_damage!r}')


def tell_damage(path: str, decoder: str, causes: Mapping[int, str], on_damage: str) -> None:
    """Warn of damaged frames, or refuse the video.

    Parameters
    ----------
    path, decoder : str
    causes : mapping
        Of the number of each damaged frame, what the decoder said; empty where it only marked the frame.
    on_damage : {'accept', 'skip', 'raise'}

    Raises
    ------
    VideoReadError
        With 'skip', for whoever does without videos that cannot be read.
    DamagedVideoError
        With 'raise'.
    """
    if not causes:
        return
    several = len(causes) > 1
    said = next(filter(None, causes.values()), '')
    told = (f'frame{"s" * several} {in_ranges(causes)} {"are" if several else "is"} damaged, parts of '
            f'{"them" if several else "it"} are guessed' + f' ({said})' * bool(said))
    if on_damage == 'accept':
        _log.warning('%s: %s', path, told)
    elif on_damage == 'skip':
        raise VideoReadError(path, decoder, told)
    else:
        raise DamagedVideoError(f'{path}: {told}; --on-damage accept takes them, --on-damage skip does without')


def in_ranges(numbers: Iterable[int], most: int = 5) -> str:
    """Numbers as ``3, 7 to 9``; of more ranges than `most` the first ones, and how many numbers follow."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    named = [f'{part[0]} to {part[-1]}' if len(part) > 1 else str(part[0]) for part in ranges[:most]]
    more = len(list(itertools.chain(*ranges[most:])))
    return ', '.join(named) + f' and {more} more' * bool(more)
