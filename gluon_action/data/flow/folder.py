"""Stored optical flow of one video: a folder of pictures or of one compressed array, and its manifest."""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from ...array_files import read_npz
from ...errors import UsageError, VideoReadError
from ...files import open_file, parse_json
from ..lists.folders.file_kinds import VIDEO_EXTENSIONS
from ..reading.decoders.frame_folder import FrameFolder
from ..reading.decoders.pyav_video import Finish

#: Says how the flow beside it was made; written last, so that a folder with it is whole.
MANIFEST = 'flow.json'
ARRAY = 'flow.npz'
#: Names of the pictures, by their format; ``%s`` is x or y.
PATTERNS = {'jpg': 'flow_%s_%05d.jpg', 'png': 'flow_%s_%05d.png'}
FORMATS = (*PATTERNS, 'npz')


class FlowFolder:
    """The flow of a video, image i between its frames i and i + 1.

    Parameters
    ----------
    path : str
        Folder with pictures for x and for y, numbered from 1 (or 0), or with an array.
    name_pattern : str, optional
        Names of the pictures, with ``%s`` for the axis and ``%05d`` for the number. By default what the folder holds:
        `ARRAY` or one of `PATTERNS`.
    decoder : {'opencv', 'pillow'}
        Who reads the pictures.
    """

    def __init__(self, path: str, name_pattern: str | None, decoder: str):
        self.name, self._path = decoder, path
        if not os.path.isdir(path):
            raise VideoReadError(path, decoder, 'is a file; flow is read from a folder for each video')
        manifest = read_manifest(path)
        self.fps = manifest.get('fps')
        self.stride = manifest.get('stride', 1)
        self._pictures, self._array = [], None
        if name_pattern is None and os.path.exists(os.path.join(path, ARRAY)):
            self.name = 'numpy'
            self._array = _load_array(path)
        else:
            self._pictures = self._open_pictures(name_pattern or _pattern_in(path), decoder)
        if manifest.get('num_flows', len(self)) != len(self):
            raise VideoReadError(path, self.name, f'{MANIFEST} says {manifest["num_flows"]} images, there are '
                                                  f'{len(self)}; delete the folder and extract this video again')
        self.begins, self.seconds = self._times(manifest)

    def __len__(self) -> int:
        return len(self._pictures[0]) if self._pictures else len(self._array)

    def read(self, numbers: list[int], finish: Finish) -> list[np.ndarray]:
        """Flow uint8 (H, W, 2) of ascending numbers, each through `finish`."""
        if self._array is not None:
            return [finish(self._array[number]) for number in numbers]
        return [finish(self._joined(number)) for number in numbers]

    def close(self) -> None:
        """Nothing is held open."""

    def _times(self, manifest: dict[str, Any]) -> tuple[float, np.ndarray | None]:
        """When the first frame is shown, and the times of all from it on where `fps` does not say them."""
        begins, told = manifest.get('begins', 0.), manifest.get('seconds')
        try:
            begins = float(begins)
            seconds = None if told is None else np.array(told, np.float64)
            is_right = 0 <= begins < float('inf') and (
                seconds is None or seconds.shape == (len(self),) and bool((np.diff(seconds) >= 0).all()))
        except (TypeError, ValueError):
            is_right = False
        if not is_right:
            raise VideoReadError(self._path, self.name, f'{MANIFEST}: begins must be a number and seconds ascending '
                                 f'numbers, one for each of its {len(self)} images; extract this video again')
        return begins, seconds

    def _open_pictures(self, name_pattern: str, decoder: str) -> list[FrameFolder]:
        if name_pattern.count('%s') != 1:
            raise UsageError(f'name_pattern {name_pattern!r} of flow must hold one %s, for the axis x or y, and one '
                             f'number such as %05d: {PATTERNS["jpg"]}')
        x, y = (FrameFolder(self._path, name_pattern.replace('%s', axis), decoder, gray=True) for axis in 'xy')
        if len(x) != len(y):
            raise VideoReadError(self._path, self.name, f'it holds {len(x)} pictures for x and {len(y)} for y')
        return [x, y]

    def _joined(self, number: int) -> np.ndarray:
        x, y = (pictures.read([number], lambda picture: picture)[0] for pictures in self._pictures)
        if x.shape != y.shape:
            raise VideoReadError(self._path, self.name, f'picture {number + 1} has another size for x than for y')
        # A JPEG may give 0 back for 1, and 0 has no opposite.
        return np.maximum(np.stack([x, y], axis=-1), 1)


def flow_name(path: str) -> str:
    """Name of the folder for the flow of a video: its path without the extension (``a/b.mp4`` -> ``a/b``).

    Folders of frames keep their names. Absolute paths lose what makes them so.
    """
    name = os.path.normpath(path).lstrip('/')
    return os.path.splitext(name)[0] if is_video_name(name) else name


def is_video_name(path: str) -> bool:
    """Whether a path ends as names of video files do."""
    return path.lower().endswith(VIDEO_EXTENSIONS)


def read_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a flow folder's `MANIFEST`; empty where there is none.

    Raises
    ------
    VideoReadError
        When it is something else.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        with open_file(path) as file:
            manifest = parse_json(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise VideoReadError(os.fspath(folder), 'json', f'{MANIFEST} cannot be read: {error}') from error
    if not isinstance(manifest, dict) or type(manifest.get('num_flows')) is not int:
        raise VideoReadError(os.fspath(folder), 'json', f'{MANIFEST} is not of this program')
    fps, stride = manifest.get('fps'), manifest.get('stride', 1)
    if not (fps is None or type(fps) in (int, float) and 0 <= fps < 1e6) or type(stride) is not int or stride < 1:
        raise VideoReadError(os.fspath(folder), 'json', f'{MANIFEST} says fps {fps!r} and stride {stride!r}; a number '
                             'from 0 and a whole number from 1 are known')
    return manifest


def _pattern_in(path: str) -> str:
    """The pattern whose pictures a folder holds; the first one when it holds none."""
    for pattern in PATTERNS.values():
        if any(os.path.exists(os.path.join(path, pattern % ('x', number))) for number in (1, 0)):
            return pattern
    try:  # numbers that begin elsewhere, or have more digits
        names = os.listdir(path)
    except OSError as error:
        raise VideoReadError(path, 'auto', f'the folder cannot be listed: {error.strerror}') from error
    for pattern in PATTERNS.values():
        before, after = pattern.split('%s_%05d')
        if any(name.startswith(before) and name.endswith(after) for name in names):
            return pattern
    return PATTERNS['jpg']


def _load_array(path: str) -> np.ndarray:
    file = os.path.join(path, ARRAY)
    try:
        array = read_npz(file, {'flow': 'uif'})['flow']
    except (OSError, ValueError) as error:
        raise VideoReadError(path, 'numpy', f'{ARRAY} cannot be read: {error}') from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 2 or not len(array):
        raise VideoReadError(path, 'numpy', f'{ARRAY} must hold flow as uint8 (T, H, W, 2), it holds '
                                            f'{array.dtype} {array.shape}')
    return np.maximum(array, 1)
