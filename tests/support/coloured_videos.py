"""Makers of videos of four plain colours, or greys, whose planes are computed by the standards' own equations."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

SIZE = (96, 64)
#: Colours of the quarters of a picture, saturated, so that another matrix or range shows.
COLOURS = ((220, 40, 60), (30, 160, 50), (40, 60, 200), (250, 250, 240))
GREYS = (0, 80, 160, 255)

#: FFmpeg's number of a matrix, and the shares of red and blue in its luma (ITU-R BT.601, BT.709, BT.2020).
MATRICES = {'BT.601': (6, 0.299, 0.114), 'BT.709': (1, 0.2126, 0.0722), 'BT.2020': (9, 0.2627, 0.0593)}
LIMITED, FULL = 1, 2


def write_colours(path: Path, matrix: str, full: bool, *, codec: str = 'libx264', bits: int = 8,
                  num_frames: int = 3, **options) -> Path:
    """Frames whose quarters have `COLOURS`, stored as the file says that they are."""
    number, red, blue = MATRICES[matrix]
    planes = [_by_quarters([_coded(colour, red, blue, full, bits)[plane] for colour in COLOURS],
                           *(side >> (plane > 0) for side in SIZE)) for plane in range(3)]
    pixels = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, SIZE[0])
    form = 'yuv420p' if bits == 8 else f'yuv420p{bits}le'
    return _write(path, pixels.astype(np.uint8 if bits == 8 else np.uint16), form, codec, number,
                  FULL if full else LIMITED, num_frames, options)


def write_greys(path: Path, full: bool, *, codec: str = 'libx264', num_frames: int = 3, **options) -> Path:
    """Frames without colour whose quarters have `GREYS`."""
    levels = [level if full else 16 + level * 219 / 255 for level in GREYS]
    pixels = _by_quarters(np.rint(levels), *SIZE).astype(np.uint8)
    return _write(path, pixels, 'gray', codec, MATRICES['BT.601'][0], FULL if full else LIMITED, num_frames, options)


def quarters_are(colours: tuple, tolerance: int = 6) -> Callable[[np.ndarray], str]:
    """A look at a frame: 'right', or what the middle of each quarter is instead."""
    def seen(frame: np.ndarray) -> str:
        height, width = frame.shape[:2]
        found = [frame[height * (1 + 2 * y) // 4 - 4:, width * (1 + 2 * x) // 4 - 4:][:8, :8].mean((0, 1))
                 for y in (0, 1) for x in (0, 1)]
        wanted = [np.broadcast_to(colour, 3) for colour in colours]
        return 'right' if abs(np.array(found) - wanted).max() <= tolerance else str(np.rint(found).astype(int).tolist())
    return seen


def _coded(colour: tuple[int, int, int], red: float, blue: float, full: bool, bits: int) -> tuple[int, ...]:
    """Luma and the differences of blue and red (ITU-T H.273, 8.3), as numbers of so many bits."""
    r, g, b = np.array(colour) / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    differences = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    top, unit = (1 << bits) - 1, 1 << (bits - 8)
    if full:
        return round(top * luma), *(round(128 * unit + top * difference) for difference in differences)
    return round(unit * (16 + 219 * luma)), *(round(unit * (128 + 224 * difference)) for difference in differences)


def _by_quarters(levels, width: int, height: int) -> np.ndarray:
    return np.array(levels).reshape(2, 2).repeat(height // 2, 0).repeat(width // 2, 1)


def _write(path: Path, pixels: np.ndarray, form: str, codec: str, matrix: int, span: int, num_frames: int,
           options: dict) -> Path:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options={'threads': '1', 'crf': '6', **options})
        stream.width, stream.height, stream.pix_fmt = *SIZE, form
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, span
        if matrix == MATRICES['BT.2020'][0]:  # as HDR10 says it: the perceptual quantizer
            stream.codec_context.color_primaries, stream.codec_context.color_trc = 9, 16
        for _ in range(num_frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=form)
            frame.colorspace, frame.color_range = matrix, span
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
