"""Makers of videos that move as told, and of stored flow that says which frame it is of."""
from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W): smooth patches that join at the borders."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    tiled = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 3)[height:2 * height, width:2 * width]
    return np.rint(128 + 45 * tiled / tiled.std()).clip(0, 255).astype(np.uint8)


def write_moving_video(path: Path, velocity: tuple[int, int] = (2, 0), num_frames: int = 8,
                       size: tuple[int, int] = (80, 64), seed: int = 0) -> Path:
    """A texture that goes (x, y) pixels a frame and comes in again on the other side; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = texture(size[1], size[0], seed)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'threads': '1', 'qp': '8', 'preset': 'ultrafast'})
        (stream.width, stream.height), stream.pix_fmt = size, 'yuv420p'
        for k in range(num_frames):
            moved = np.roll(picture, (k * velocity[1], k * velocity[0]), (0, 1))
            frame = av.VideoFrame.from_ndarray(np.repeat(moved[..., None], 3, 2), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_flow_pictures(folder: Path, num_flows: int = 10, *, size: tuple[int, int] = (40, 32),
                        pattern: str = 'flow_%s_%05d.png') -> Path:
    """Flow as other programs leave it, with no manifest: its x is 128 + number, from 1, and its y is 100."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, num_flows + 1):
        for axis, value in (('x', 128 + number), ('y', 100)):
            assert cv2.imwrite(str(folder / (pattern % (axis, number))), np.full(size[::-1], value, np.uint8))
    return folder
