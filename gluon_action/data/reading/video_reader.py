"""Frames of a video file or a folder of pictures by number: exact, with a fallback, a deadline, and one exception."""
from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ...errors import UsageError, VideoReadError
from ..flow.folder import FlowFolder
from ..transforms.functional import short_side_size
from .decoders.decord_video import DecordVideo
from .decoders.frame_folder import FrameFolder, Part
from .decoders.pyav_video import PyavVideo
from .media.damage import check_on_damage
from .media.media_file import DecoderMissing, DecoderTrouble
from .sampling import frames_between

_log = logging.getLogger(__name__)

_FILE_DECODERS = {'pyav': PyavVideo, 'decord': DecordVideo}
_FOLDER_DECODERS = ('opencv', 'pillow')
DECODERS = ('auto', *_FILE_DECODERS, *_FOLDER_DECODERS)
MODALITIES = ('rgb', 'flow')

_LEAD_IN = 0.1


class VideoReader:
    """A video, or its optical flow, that is read by frame numbers.

    Parameters
    ----------
    path : str or path
        A video file, an animated GIF, or a folder of numbered pictures.
    decoder : {'auto', 'pyav', 'decord', 'opencv', 'pillow'}
        'auto' reads files with PyAV and, should that be absent or fail, with decord; folders with OpenCV, else Pillow.
        'decord' leaves to PyAV, with a warning, what it cannot read or is known to show wrongly; it must be installed.
        PyAV comes first because it is exact on every kind of file that was tried (decord is not: see `DecordVideo`)
        and decodes less to get at a few frames.
    width, height : int
        Size to resize every frame to, as ``cv2.resize`` with INTER_LINEAR does; 0 and 0 keep the native size.
    short_side : int
        Size to resize the shorter side of every frame to, instead of `width` and `height`; 0 keeps it.
    name_pattern : str, optional
        Names of the pictures in a folder: 'img_%05d.jpg' by default, and for flow what `FlowFolder` finds.
    num_threads : int
        Threads of the decoder. One, because videos are read in parallel by processes.
    part : (int or None, int or None), optional
        Of a folder of pictures take a part, as `FrameFolder` does; frame 0 is the first of it. Files are taken whole.
    on_damage : {'accept', 'skip', 'raise'}
        What `read` does about frames of a file of which parts are guessed: warn, or raise `VideoReadError` or
        `DamagedVideoError`. Only PyAV hears of damage. Frames that cannot be decoded, and pictures of a folder that
        were cut off, are errors anyway.
    tables : str, optional
        Folder in which PyAV keeps the tables of frames of long files, so that other processes and later runs need not
        read a whole file to find a part of it. This process remembers them in any case.
    modality : {'rgb', 'flow'}
        What is read: pictures, or optical flow that `gluon_action.data.flow.extraction` stored in a folder. Flow has
        two channels, x and y, and resizing keeps its values: they stay pixels of the size it was extracted at.

    Attributes
    ----------
    path : str
    fallback_cause : str or None
        Why 'auto' did not stay with its first choice.

    Raises
    ------
    VideoReadError
        When it cannot be read; also by `read`.
    DamagedVideoError
        By `read`, with `on_damage` 'raise'.
    UsageError
        When an argument is invalid.
    """

    def __init__(self, path: str | os.PathLike, *, decoder: str = 'auto', width: int = 0, height: int = 0,
                 short_side: int = 0, name_pattern: str | None = None, num_threads: int = 1, modality: str = 'rgb',
                 part: Part | None = None, on_damage: str = 'accept', tables: str | None = None):
        self.path = os.fspath(path)
        self.fallback_cause = None
        self._source = None
        self._tried: list[tuple[str, DecoderTrouble]] = []
        if decoder not in DECODERS:
            raise UsageError(f'unknown decoder {decoder!r}; there are {", ".join(DECODERS)}')
        if min(width, height) < 0 or (width > 0) != (height > 0):
            raise UsageError(f'width and height must both be given or both be 0, got {width} and {height}')
        if short_side < 0 or short_side and width:
            raise UsageError(f'short_side must be 0 or more, and 0 beside width and height, got {short_side}')
        if modality not in MODALITIES:
            raise UsageError(f'modality must be one of {", ".join(MODALITIES)}, got {modality!r}')
        check_on_damage(on_damage)
        if on_damage != 'accept' and decoder == 'decord':
            raise UsageError(f'on_damage {on_damage!r} needs PyAV, which hears of damage; decoder must be auto or pyav')
        self.modality, self._on_damage = modality, on_damage
        self._size, self._short_side = (width, height) if width else None, short_side
        self._asked = decoder
        self._choices = self._openers(decoder, name_pattern, max(1, num_threads), part, tables)
        self._open_next()

    def __len__(self) -> int:
        return len(self._source)

    @property
    def decoder(self) -> str:
        """Name of the decoder in use."""
        return self._source.name

    @property
    def fps(self) -> float | None:
        """Frames per second on average; None for folders."""
        return self._source.fps

    @property
    def seconds(self) -> np.ndarray | None:
        """When each frame is shown, float64 (n,) from the first one's; None for folders, which have no time.

        Where a file does not tell, frames follow each other at `fps`.
        """
        told = self._told('seconds')
        return told if told is not None or not self.fps else np.arange(len(self)) / self.fps

    @property
    def ticks(self) -> tuple[np.ndarray, Fraction] | None:
        """When each frame is shown, exactly: int64 (n,) from the first one's, and the seconds that each unit has.

        None where a file does not tell.
        """
        return self._told('ticks')

    @property
    def begins(self) -> float:
        """Seconds from the file's start, which may be that of its sound, to its first frame; 0 where it is unknown.

        Less than 0.1 s counts as 0: by so much encoders of sound begin early.
        """
        seconds = self._told('begins') or 0.
        return seconds if seconds >= _LEAD_IN else 0.

    @property
    def ends(self) -> float | None:
        """Seconds from the file's start until its last frame ends; None for folders."""
        shown = self.seconds
        return None if shown is None else self.begins + float(shown[-1]) + (1 / self.fps if self.fps else 0.)

    def frames_between(self, start: float | None, end: float | None) -> range:
        """Numbers of the frames of a part that is given in seconds from the file's start, as players count them.

        They are looked up in the frames' own times, so the rate need not be constant.

        Parameters
        ----------
        start, end : float or None
            As in `gluon_action.data.reading.sampling.frames_between`.

        Raises
        ------
        VideoReadError
            When the frames have no times.
        """
        shown = self.seconds
        if shown is None:
            raise VideoReadError(self.path, self.decoder, 'has no frame rate, so it cannot be cut by time')
        return frames_between(shown + self.begins, self.ends, start, end)

    @property
    def stride(self) -> int:
        """Frames of the video from one frame to the next; more than 1 only for flow that was made so."""
        return getattr(self._source, 'stride', 1)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames by number.

        Parameters
        ----------
        indices : sequence of int
            Numbers in ``0 .. len(self) - 1``, in any order, any of them more than once.

        Returns
        -------
        uint8 ndarray (n, H, W, 3)
            RGB frames in the order of `indices`; (n, H, W, 2) for flow.
        """
        indices = [int(index) for index in indices]
        numbers = sorted(set(indices))
        if not numbers:
            raise UsageError(f'{self.path}: no frame was asked for')
        if numbers[0] < 0 or numbers[-1] >= len(self):
            wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
            raise VideoReadError(self.path, self.decoder, f'frame {wrong} was asked for, it has 0 to {len(self) - 1}')
        frames = dict(zip(numbers, self._read(numbers)))
        shapes = {frame.shape for frame in frames.values()}
        if len(shapes) > 1:
            sizes = ' and '.join(sorted(f'{shape[1]}x{shape[0]}' for shape in shapes))
            raise VideoReadError(self.path, self.decoder, f'its frames differ in size ({sizes}); pass width and height')
        return np.stack([frames[index] for index in indices])

    def close(self) -> None:
        """Close the file; safe to call again."""
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _read(self, numbers: list[int]) -> list[np.ndarray]:
        """Frames of ascending numbers by the decoder in use, or by the next one that can."""
        try:
            return self._source.read(numbers, self._finish)
        except DecoderTrouble as trouble:
            length = len(self)
            self._tried.append((self.decoder, trouble))
            self._open_next()
            if len(self) != length:
                raise VideoReadError(self.path, self.decoder, f'has {len(self)} frames, and {length} by '
                                     f'{self._tried[-1][0]}, which could not read them: {trouble}') from trouble
            return self._read(numbers)

    def _told(self, what: str) -> Any:
        """What the source says of its times; None where it says nothing."""
        try:
            return getattr(self._source, what, None)
        except DecoderTrouble as trouble:
            raise VideoReadError(self.path, self.decoder, str(trouble)) from trouble

    def _openers(self, decoder: str, name_pattern: str | None, num_threads: int, part: Part | None,
                 tables: str | None) -> list[tuple[str, Callable]]:
        """(decoder, function that opens with it) in the order to try them."""
        is_folder = is_readable_folder(self.path, decoder) or self.modality == 'flow'
        decoders = _FOLDER_DECODERS if is_folder else tuple(_FILE_DECODERS)
        if decoder not in ('auto', *decoders):
            raise UsageError(f'{self.path} is a {"folder" if is_folder else "file"}, which {decoder} does not read; '
                             f'use auto, {" or ".join(decoders)}')
        names = decoders if decoder == 'auto' else ('decord', 'pyav') if decoder == 'decord' else (decoder,)
        if self.modality == 'flow':
            return [(name, lambda name=name: FlowFolder(self.path, name_pattern, name)) for name in names]
        if is_folder:
            return [(name, lambda name=name: FrameFolder(self.path, name_pattern or 'img_%05d.jpg', name, part=part))
                    for name in names]
        if self._on_damage != 'accept':
            names = ('pyav',)
        more = {'pyav': {'on_damage': self._on_damage, 'tables': tables}}
        return [(name, lambda name=name: _FILE_DECODERS[name](self.path, num_threads, **more.get(name, {})))
                for name in names]

    def _open_next(self) -> None:
        """Open with the next decoder that can."""
        self.close()
        while self._choices:
            name, open_source = self._choices.pop(0)
            try:
                source = open_source()
            except DecoderTrouble as trouble:
                if isinstance(trouble, DecoderMissing) and name == self._asked == 'decord':  # no other was meant
                    raise UsageError(f'{self.path}: cannot be read by decord, as was asked: {trouble}') from trouble
                self._tried.append((name, trouble))
                continue
            if self._tried:
                self.fallback_cause = '; '.join(f'{name}: {trouble}' for name, trouble in self._tried)
                _log.warning('%s: reading with %s, because %s', self.path, source.name, self.fallback_cause)
            self._source = source
            return
        causes = [f'{name}: {trouble}' if len(self._tried) > 1 else str(trouble) for name, trouble in self._tried]
        raise VideoReadError(self.path, ', '.join(name for name, _ in self._tried), '; '.join(causes))

    def _finish(self, frame: np.ndarray) -> np.ndarray:
        if self._short_side:
            height, width = short_side_size(*frame.shape[:2], self._short_side)
            return resize(frame, width, height)
        return frame if self._size is None else resize(frame, *self._size)


def resize(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8 (H, W, C) to (height, width, C) by OpenCV's INTER_LINEAR, or by the same formula without it."""
    if frame.shape[:2] == (height, width):
        return frame
    try:
        import cv2
    except (ImportError, OSError):
        return _resize_without_opencv(frame, width, height)
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


def _resize_without_opencv(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    for axis, size in ((0, height), (1, width)):
        length = frame.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
        before = np.minimum(place.astype(int), max(0, length - 2))
        weight = (place - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(before + 1, length - 1)
        frame = np.take(frame, before, axis) * (1 - weight) + np.take(frame, after, axis) * weight
    return np.rint(frame).astype(np.uint8)


def is_readable_folder(path: str, decoder: str) -> bool:
    """Whether `path` is a folder; raises `VideoReadError` for what needs no decoder to be refused."""
    try:
        status = os.stat(path)
    except OSError as error:
        cause = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be reached: {error.strerror}'
        raise VideoReadError(path, decoder, cause) from error
    if not os.access(path, os.R_OK):
        raise VideoReadError(path, decoder, 'may not be read by this user (permission denied)')
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise VideoReadError(path, decoder, 'is empty (0 bytes)')
    return stat.S_ISDIR(status.st_mode)
