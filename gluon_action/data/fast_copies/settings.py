"""How fast copies are encoded: their size, key frames, quality and sound."""
from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass

from ...errors import UsageError
from ...files import to_json
from ..transforms.functional import short_side_size

SOUNDS = ('drop', 'copy')
ON_DAMAGE = ('accept', 'raise')


@dataclass(frozen=True)
class CopySettings:
    """All that a copy depends on beside its source.

    Parameters
    ----------
    short_side : int
        Shorter side of the frames, in pixels; smaller videos keep their size, and 0 keeps every size.
    size : (int, int), optional
        Width and height, instead of `short_side`.
    key_frames : int
        Frames from one key frame to the next: a reader decodes at most so many to get at one.
    quality : int
        Constant rate factor of H.264, 0 (exact) to 51; 6 less are about twice the bytes.
    sound : {'drop', 'copy'}
        Whether the sound comes along. That of a video whose pictures begin later than its sound always does, since
        times count from there.
    on_damage : {'accept', 'raise'}
        Take frames of which the decoder guesses parts, as training does by default, or do without such a video.

    Raises
    ------
    UsageError
    """

    short_side: int = 256
    size: tuple[int, int] | None = None
    key_frames: int = 12
    quality: int = 18
    sound: str = 'drop'
    on_damage: str = 'accept'

    def __post_init__(self):
        for name, least, most in (('short_side', 0, 8192), ('key_frames', 1, 1000), ('quality', 0, 51)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f'--{name.replace("_", "-")} must be {least}..{most}, got {value}')
        if 0 < self.short_side < 16:
            raise UsageError(f'--short-side must be 0 or at least 16 pixels, got {self.short_side}')
        if self.size and (len(self.size) != 2 or any(side % 2 or not 16 <= side <= 8192 for side in self.size)):
            raise UsageError(f'--size must be WIDTHxHEIGHT of even numbers from 16 to 8192, such as 340x256, got '
                             f'{"x".join(map(str, self.size))}')
        for name, known in (('sound', SOUNDS), ('on_damage', ON_DAMAGE)):
            if getattr(self, name) not in known:
                raise UsageError(f'--{name.replace("_", "-")} must be {" or ".join(known)}, got '
                                 f'{getattr(self, name)!r}')

    @property
    def seal(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(to_json(dataclasses.asdict(self)).encode()).hexdigest()

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the copy of a video of this size; even, as H.264 stores colours."""
        if self.size:
            return self.size
        if self.short_side and min(width, height) > self.short_side:
            height, width = short_side_size(height, width, self.short_side)
        return max(2, width + width % 2), max(2, height + height % 2)


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT``.

    Raises
    ------
    UsageError
    """
    found = re.fullmatch(r'(\d{1,5})[xX](\d{1,5})', text.strip())
    if not found:
        raise UsageError(f'--size must be WIDTHxHEIGHT, such as 340x256, got {text!r}')
    return int(found[1]), int(found[2])
