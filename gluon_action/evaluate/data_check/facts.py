"""What is true of one video: its size, rate and content, and whether all of it can be decoded."""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.lists.folders.file_kinds import IMAGE_EXTENSIONS
from ...data.reading.media.damage import in_ranges
from ...data.reading.media.media_file import UPRIGHT, import_decoder, orientation, picture_stream
from ...data.reading.stream import FrameStream
from ...data.reading.video_reader import VideoReader
from ...errors import VideoReadError
from ...files import describe, file_sha256

#: Parts of a video at which frames are looked at.
PLACES = (0.15, 0.5, 0.85)
#: Rows and columns of a fingerprint: of each row, whether a part is brighter than the one before, by `_BRIGHTER`.
_GRID = (8, 9)
_BRIGHTER = 2.
#: Deviation of brightness, of 0..255, below which a frame is taken for one colour, and nothing is told from it.
_FLAT = 6.
#: Mean difference of brightness between frames, of 0..255, below which nothing moves.
_STILL = 0.5


def look_at(path: str, quick: bool = False, name_pattern: str | None = None) -> dict[str, Any]:
    """Read a video as training would, and return what is true of it, for JSON.

    Parameters
    ----------
    path : str
        A file or a folder of frames.
    quick : bool
        Decode three frames only, so that damage elsewhere is not found.
    name_pattern : str, optional
        Of the pictures in folders of frames, as in `VideoReader`.

    Returns
    -------
    dict
        ``error``, the reason, of a video that cannot be read. Otherwise ``frames``, ``fps`` (None of folders),
        ``seconds``, ``width``, ``height`` (as shown), ``turned`` (degrees that a reader turns it by), ``mirrored``,
        ``codec``, ``sound``, ``damaged`` (what is wrong with frames of it, or None), ``still`` (whether nothing moves)
        and ``fingerprint``, which two copies of a video share however they were encoded: 3 times 16 digits, or None of
        frames that show nothing. In any case ``bytes`` and ``sha256`` of the content, None where there is none.
    """
    facts = {'path': path, **_content(path)}
    with quiet():
        try:
            with VideoReader(path, name_pattern=name_pattern) as reader:
                frames, fps, heard = len(reader), reader.fps, reader.decoder != 'decord'
                pictures = reader.read([min(frames - 1, int(place * frames)) for place in PLACES])
                length = None if reader.ends is None else round(reader.ends - reader.begins, 3)
            facts |= {'error': None, 'frames': frames, 'fps': fps and round(fps, 3), 'seconds': length,
                      'height': pictures.shape[1], 'width': pictures.shape[2], **_of_stream(path),
                      **_of_pictures(pictures)}
            facts['damaged'] = _damage(path) if heard and not quick else None
        except VideoReadError as error:
            facts['error'] = error.cause
    return facts


def fingerprint(pictures: Sequence[np.ndarray]) -> str | None:
    """Return how brightness is spread in frames uint8 (n, H, W, 3), 16 digits a frame; None where they show nothing."""
    digits = []
    for picture in pictures:
        gray = picture.mean(axis=2)
        if min(gray.shape) < max(_GRID) or gray.std() < _FLAT:
            return None
        rows, columns = (np.linspace(0, length, parts, endpoint=False).astype(int)
                         for length, parts in zip(gray.shape, _GRID))
        sums = np.add.reduceat(np.add.reduceat(gray, rows, axis=0), columns, axis=1)
        means = sums / np.diff([*rows, gray.shape[0]])[:, None] / np.diff([*columns, gray.shape[1]])
        digits.append(np.packbits(means[:, 1:] > means[:, :-1] + _BRIGHTER).tobytes().hex())
    return ''.join(digits)


def _content(path: str) -> dict[str, Any]:
    """Bytes and SHA-256 of a file, or of the names and pictures of a folder."""
    try:
        if not os.path.isdir(path):
            return {'bytes': os.path.getsize(path), 'sha256': file_sha256(path)}
        files = describe(Path(path), sorted(name for name in os.listdir(path)
                                            if name.lower().endswith(IMAGE_EXTENSIONS)))
        content = hashlib.sha256(''.join(file['sha256'] for file in files.values()).encode()).hexdigest()
        return {'bytes': sum(file['bytes'] for file in files.values()), 'sha256': content}
    except (OSError, ValueError):  # what opens it says why
        return {'bytes': None, 'sha256': None}


def _of_stream(path: str) -> dict[str, Any]:
    """What a file says of its pictures; nothing of a folder."""
    if os.path.isdir(path):
        return {'turned': 0, 'mirrored': False, 'codec': None, 'sound': False}
    av = import_decoder('av', 'av')
    try:
        with av.open(path, metadata_errors='replace') as container:
            stream = picture_stream(container, path)
            frame = next(container.decode(stream), None)
            way = UPRIGHT if frame is None else orientation(frame)
            return {'turned': 0 if frame is None else round(frame.rotation) % 360,
                    'mirrored': way.transposed != (way.rows_reversed != way.columns_reversed),
                    'codec': stream.codec_context and stream.codec_context.name,
                    'sound': bool(container.streams.audio)}
    except av.FFmpegError:  # another decoder has read it
        return {'turned': 0, 'mirrored': False, 'codec': None, 'sound': False}


def _of_pictures(pictures: np.ndarray) -> dict[str, Any]:
    gray = pictures.mean(axis=3)
    moves = max(float(np.abs(gray[0] - other).mean()) for other in gray[1:])
    return {'still': bool(moves < _STILL), 'fingerprint': fingerprint(pictures)}


def _damage(path: str) -> str | None:
    """Decode all of a video and say which frames are damaged."""
    # Frames of a file are decoded all the same, as later ones refer to them; pictures of a folder only if wanted.
    with FrameStream(path, wanted=None if os.path.isdir(path) else lambda number: False) as frames:
        for _ in frames:
            pass
        skipped = frames.skipped
    if not skipped:
        return None
    return (f'frame{"s" * (len(skipped) > 1)} {in_ranges(item.number for item in skipped)} cannot be decoded whole '
            f'({skipped[0].cause})')


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: what is wrong is found, and told with the rest."""
    log = logging.getLogger('gluon_action')
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
