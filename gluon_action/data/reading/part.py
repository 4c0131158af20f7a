"""A part of a video, in seconds or in frames: what it is called, and which frames it means."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ...errors import VideoReadError

if TYPE_CHECKING:
    from .video_reader import VideoReader


class Bounded(Protocol):
    """What says which part of a video is meant: a sample or an entry of a list, or a `VideoPart`."""

    start: float | None
    end: float | None
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A part of a video, which whatever takes the path of a file opens as the whole.

    Attributes
    ----------
    path : str
        The file or frame folder.
    start, end : float or None
        The part in seconds from the file's start; None is its beginning or end.
    first, last : int or None
        The part in frames, counted from 1, the last one included.
    by_name : bool
        Of EPIC-KITCHENS' folders: frames are numbers in the names of pictures.
    """

    path: str
    start: float | None = None
    end: float | None = None
    first: int | None = None
    last: int | None = None
    by_name: bool = False
    num_frames = None

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path + fragment_of(self)

    @property
    def suffix(self) -> str:
        """What tells files of this part from those of others of the video: ``_t2-4.5``, ``_f51-100``."""
        if (self.first, self.last) != (None, None):
            return f'_f{self.first or 1}-{self.last or "end"}'
        return f'_t{_short(self.start or 0)}-{"end" if self.end is None else _short(self.end)}'


def whole_or_part(path: str, bounds: Bounded, by_name: bool = False) -> str | VideoPart:
    """Return the path of a video, or the part of it that a list means."""
    if not fragment_of(bounds):
        return path
    return VideoPart(path, bounds.start, bounds.end, bounds.first, bounds.last, by_name)


def fragment_of(bounds: Bounded) -> str:
    """Return what follows the name of a video in results: ``#t=start,end``, ``#f=first,last``, '' for all of it."""
    if (bounds.first, bounds.last) != (None, None):
        return '#f=' + ','.join('' if number is None else str(number) for number in (bounds.first, bounds.last))
    if bounds.start is None and bounds.end is None:
        return ''
    return '#t=' + ','.join('' if time is None else _short(time) for time in (bounds.start, bounds.end))


def frames_of(part, reader: VideoReader, is_folder: bool, by_name: bool) -> tuple[int, int]:
    """Return the first frame, from 0, and the number of frames that a part means.

    Parameters
    ----------
    part : Sample or VideoPart
    reader : VideoReader
        Of its video.
    is_folder : bool
        Whether that is a folder of pictures.
    by_name : bool
        Whether the reader knows the pictures of the part only.

    Raises
    ------
    VideoReadError
        When there are no such frames.
    """
    length = len(reader)
    if reader.modality == 'flow' and part.num_frames is not None:
        length = max(1, min(length, (part.num_frames - 1) // reader.stride))
    elif is_folder and part.num_frames is not None:
        if part.num_frames > length:
            raise VideoReadError(part.path, reader.decoder,
                                 f'the list says {part.num_frames} frames, the folder has {length}')
        length = part.num_frames
    if (part.first, part.last) != (None, None):
        if reader.modality == 'flow':
            return _numbered(part, reader)
        if is_folder and by_name:
            return 0, length  # the reader knows no other frames
        if part.start is None and part.end is None:
            return _numbered(part, reader)
    if part.start is None and part.end is None:
        return 0, length
    frames = reader.frames_between(part.start, part.end)
    last = min(frames.stop, length)
    if last <= frames.start:
        raise VideoReadError(part.path, reader.decoder, f'the part from {part.start or 0:g} s to {part.end} s '
                             f'holds no frame of its {reader.ends:.2f} s')
    return frames.start, last - frames.start


def _numbered(part, reader: VideoReader) -> tuple[int, int]:
    """First frame and number of frames of a range in a video, whose first frame has number 1, or in its flow.

    Flow from frame i to frame j has an image for each step between them.
    """
    is_flow, stride = reader.modality == 'flow', reader.stride
    num_frames = len(reader) * stride + is_flow
    first, last = part.first or 1, num_frames if part.last is None else part.last
    if last > num_frames or last < first:
        raise VideoReadError(part.path, reader.decoder, f'frames {first} to {last} were asked for, it has 1 to '
                                                        f'{num_frames}')
    start = (first - 1) // stride
    return start, max(1, min((last - first + (not is_flow)) // stride, len(reader) - start))


def _short(seconds: float) -> str:
    """Seconds without more digits than they need, and none of a part of a microsecond."""
    return f'{seconds:.6f}'.rstrip('0').rstrip('.')
