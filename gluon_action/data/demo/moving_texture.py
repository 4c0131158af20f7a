"""Videos of a texture that moves and dissolves at once: only neighbouring frames tell where it goes."""
from __future__ import annotations

import numpy as np

#: Frames after which nothing of the texture is left.
LIFETIME = 8

_DIRECTIONS = ('Down', 'Up')
#: What is added to red-minus-brightness (Cr): brightness itself is the same in either colour.
_COLORS = {'Green': -1, 'Red': 1}
CLASSES = tuple(color + direction for color in _COLORS for direction in _DIRECTIONS)

_GRAIN = 0.06  # width of the spectrum in cycles a pixel: patches of some 6 pixels


def render_two_stream(rng: np.random.Generator, label: int, num_frames: int, width: int, height: int) -> np.ndarray:
    """A tinted texture that moves by 1 to 2 pixels a frame and is another one `LIFETIME` frames later.

    The brightness of every label is the same for the same draws, but for the order of the frames: Up plays Down
    backwards. So brightness, and its optical flow, do not tell the colour; and frames that are `LIFETIME` or more
    apart share nothing, so they do not tell the direction.

    Returns
    -------
    uint8 ndarray (T, H, W, 3)
    """
    velocity = rng.uniform(1.0, 2.0), rng.uniform(-0.5, 0.5)  # y, x
    level, contrast = rng.uniform(115, 140), rng.uniform(16, 24)
    tint, other = rng.uniform(14, 24), rng.uniform(-5, 5)
    gray = _moving_texture(rng, velocity, num_frames, width, height)
    gray = level + contrast * np.clip(gray, -2.5, 2.5)
    color, direction = next((c, d) for c in _COLORS for d in _DIRECTIONS if c + d == CLASSES[label])
    if direction == 'Up':
        gray = gray[::-1]
    # ITU-R BT.601, the brightness that grey pictures are made by: 0.299 red + 0.587 green + 0.114 blue.
    red, blue = _COLORS[color] * tint, other
    offsets = np.array([1.402 * red, -0.714136 * red - 0.344136 * blue, 1.772 * blue], np.float32)
    return np.rint(np.clip(gray[..., None] + offsets, 0, 255)).astype(np.uint8)


def _moving_texture(rng: np.random.Generator, velocity: tuple[float, float], num_frames: int, width: int,
                    height: int) -> np.ndarray:
    """float32 (T, H, W) of mean 0 and deviation 1: the sum of the last `LIFETIME` sheets of noise, each moved on.

    So neighbouring frames share ``1 - 1 / LIFETIME`` of it, and frames `LIFETIME` apart nothing.
    """
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    sheets = rng.normal(size=(num_frames + LIFETIME - 1, height, width)).astype(np.float32)
    spectra = np.fft.rfft2(sheets) * np.exp(-(x * x + y * y) / (2 * _GRAIN ** 2))
    spectra[:, 0, 0] = 0  # or single frames would differ in brightness
    step = np.exp(-2j * np.pi * (velocity[0] * y + velocity[1] * x))  # one frame's way, by the shift theorem
    newest = LIFETIME - 1
    moved = sum(spectra[newest - age:newest - age + num_frames] * step ** age for age in range(LIFETIME))
    texture = np.fft.irfft2(moved, s=(height, width))
    return (texture / texture.std()).astype(np.float32)
