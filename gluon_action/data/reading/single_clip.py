"""One clip for a network, from any kind of input: a video, a GIF, a folder, or an array that was made before."""
from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable

import numpy as np

from ...array_files import read_npy
from ...errors import UsageError, VideoReadError
from ...input_kind import CLIPS
from ..flow.folder import read_manifest
from ..flow.methods import BOUND, check_method, compute_flow, dequantize, to_gray
from ..preprocess import Preprocess
from ..transforms.functional import center_crop
from .video_reader import VideoReader

#: Frames a second that Kinetics was sampled at for I3D, and frames of the published sample.
FPS = 25
NUM_FRAMES = 79
#: Short side that frames are resized to, over the side of the crop in their middle.
MARGIN = 256 / 224

# Grey values that a flow picture's third channel, which says nothing, may differ from its mean. GIF has 256 colours.
_FLAT = 8


def rgb_clip(path: str | os.PathLike, *, size: int = 224, num_frames: int = NUM_FRAMES) -> np.ndarray:
    """Pictures as I3D takes them.

    Parameters
    ----------
    path : path
        A video, a GIF, a folder of frames, or an array ``.npy`` of float (1, T, H, W, 3) in [-1, 1], which is taken as
        it is.
    size : int
        Side of the square in the middle of each frame, which is first resized to a short side of 256 / 224 times that.
        Frames of size x size are taken as they are.
    num_frames : int
        At most so many frames, from the middle of the video. A video is sampled at 25 frames a second; a GIF and a
        folder are taken frame by frame.

    Returns
    -------
    float32 ndarray (1, 3, T, H, W)
        In [-1, 1].

    Raises
    ------
    VideoReadError
        When it cannot be read, or an array is of another kind.
    """
    if _is_array(path):
        return _load(path, 3)
    frames = _read(path, num_frames, size)
    look = Preprocess(layout=CLIPS.layout, offsets=tuple(range(len(frames))), crop=(size, size), mean=(0.,) * 3,
                      std=(1.,) * 3, value_range=(-1., 1.))
    return np.ascontiguousarray(look.transform(frames).swapaxes(0, 1)[None])


def flow_clip(path: str | os.PathLike, *, size: int = 224, num_frames: int = NUM_FRAMES,
              compute: str | None = None) -> np.ndarray:
    """Optical flow as I3D takes it.

    Parameters
    ----------
    path : path
        A folder that ``gluon-action extract-flow`` made; an array ``.npy`` of float (1, T, H, W, 2) in [-1, 1]; flow
        shown as pictures, in the way of kinetics-i3d's GIF: x and y plus 0.5 as red and green, blue constant. Or a
        video, GIF or folder of frames to compute the flow of.
    size, num_frames
        As in `rgb_clip`. Values of flow are pixels of the size it was computed at, over 20, and resizing keeps them.
    compute : {'tvl1', 'farneback'}, optional
        Compute the flow between consecutive frames.

    Returns
    -------
    float32 ndarray (1, 2, T, H, W)
        In [-1, 1].

    Raises
    ------
    UsageError
        When `path` is no flow and nothing says how to compute it, or the other way round.
    VideoReadError
        When it cannot be read, or an array is of another kind.
    """
    stored = os.path.isdir(path) and any(name.startswith('flow') for name in os.listdir(path))
    if compute is not None:
        if stored or _is_array(path):
            raise UsageError(f'{path} is flow already; leave out --compute-flow {compute}')
        return _computed(path, size, num_frames, compute)
    if _is_array(path):
        return _load(path, 2)
    frames = _read(path, num_frames, size, modality='flow' if stored else 'rgb')
    if stored:
        # Networks know displacements over `BOUND`; flow may be stored with another.
        flow = np.clip(dequantize(frames) * (read_manifest(path).get('bound', BOUND) / BOUND), -1, 1, dtype=np.float32)
    elif _is_flow_picture(frames):
        # Blue tells what writing the picture has made of 0.5.
        flow = (frames[..., :2] - np.median(frames[..., 2]).astype(np.float32)) / 255
    else:
        raise UsageError(f'--flow {path} is a video of what happens, not of its flow; pass --compute-flow tvl1 (or the '
                         'faster farneback), or the folder that gluon-action extract-flow makes of it')
    return _channels_first(center_crop(flow, (size, size)))


def _is_flow_picture(frames: np.ndarray) -> bool:
    """Whether blue is 0.5 everywhere, within what 256 colours or a codec make of it."""
    blue = frames[..., 2]
    return (np.abs(blue - blue.mean()) <= _FLAT).mean() > 0.99 and abs(blue.mean() - 127.5) < _FLAT


def steady_frames(length: int, fps: float | None, num_frames: int, shown: np.ndarray | None = None) -> list[int]:
    """Numbers of at most `num_frames` frames in the middle of a video, at `FPS`; of every frame where `fps` is None.

    `shown` says when each frame is shown, in seconds from the first one's; without it their rate is constant.
    """
    moments = length - 1 if fps is None else (length - 1) / fps * FPS if shown is None else float(shown[-1]) * FPS
    available = int(round(moments, 6)) + 1
    taken = min(available, num_frames)
    first = (available - taken) // 2
    if fps is None:
        return list(range(first, first + taken))
    wanted = np.arange(first, first + taken) / FPS
    places = wanted * fps if shown is None else np.interp(wanted, shown, np.arange(length))
    return [min(length - 1, math.floor(round(float(place), 6) + 0.5)) for place in places]


def _computed(path: str | os.PathLike, size: int, num_frames: int, method: str) -> np.ndarray:
    check_method(method)
    gray = [to_gray(frame) for frame in _read(path, num_frames + 1, size)]
    if len(gray) < 2:
        raise VideoReadError(os.fspath(path), 'auto', 'has one frame, and flow needs two')
    pairs = _with_bar(list(zip(gray, gray[1:])))
    flow = np.stack([np.clip(compute_flow(before, after, method), -BOUND, BOUND) / BOUND for before, after in pairs])
    return _channels_first(center_crop(flow, (size, size)))


def _with_bar(pairs: list) -> Iterable:
    if not sys.stderr.isatty():
        return pairs
    from tqdm import tqdm
    return tqdm(pairs, desc='optical flow', unit='frame', leave=False)


def _read(path: str | os.PathLike, num_frames: int, size: int, modality: str = 'rgb') -> np.ndarray:
    with VideoReader(path, modality=modality) as reader:
        whole = reader.read([0]).shape[1:3] == (size, size)
        fps = None if os.fspath(path).lower().endswith('.gif') or modality == 'flow' else reader.fps
        numbers = steady_frames(len(reader), fps, num_frames, reader.seconds if fps else None)
    with VideoReader(path, modality=modality, short_side=0 if whole else round(size * MARGIN)) as reader:
        return reader.read(numbers)


def _is_array(path: str | os.PathLike) -> bool:
    return os.fspath(path).lower().endswith('.npy')


def _load(path: str | os.PathLike, channels: int) -> np.ndarray:
    try:
        array = read_npy(path, 'fiu')
    except (OSError, ValueError) as error:
        raise VideoReadError(os.fspath(path), 'numpy', f'no array ({error})') from error
    clip = array[0] if array.ndim == 5 and len(array) == 1 else array
    if clip.ndim != 4 or clip.shape[3] != channels or not clip.size or clip.dtype.kind != 'f':
        raise VideoReadError(os.fspath(path), 'numpy', f'holds {array.dtype} {array.shape}, needed is float '
                             f'(1, T, H, W, {channels})')
    largest = np.abs(clip).max()
    if not largest <= 1.001:
        raise VideoReadError(os.fspath(path), 'numpy', f'holds values up to {largest:g}, needed are values in -1..1')
    return _channels_first(clip.astype(np.float32))


def _channels_first(clip: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(clip.transpose(3, 0, 1, 2)[None], np.float32)
