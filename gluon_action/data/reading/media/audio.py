"""The sound of videos: samples of one channel, and the log mel spectrogram that VGGish takes."""
from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator

import numpy as np

from ....errors import VideoReadError
from .media_file import import_decoder, in_words

#: Samples a second.
RATE = 16000
#: Shape of the piece of a spectrogram that VGGish takes: frames of 10 ms, and mel bands.
FRAMES, BANDS = 96, 64

_WINDOW, _HOP, _TRANSFORM = 400, 160, 512  # samples: 25 ms, 10 ms, and the next power of two
_LOWEST, _HIGHEST = 125., 7500.            # Hz, edges of the bands
_FLOOR = 0.01                              # added before the logarithm


def read_audio(path: str | os.PathLike, seconds: float = float('inf')) -> np.ndarray | None:
    """Return the first sound track of a file: float32 (n,) in -1..1, one channel, `RATE` samples a second.

    Its first sample is taken for the moment of the first frame. A file without sound, and a folder of pictures, give
    None.

    Parameters
    ----------
    path : path
    seconds : float
        No more of it than these.

    Raises
    ------
    VideoReadError
        When it cannot be read.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return None
    av = import_decoder('av', 'av')
    try:
        with av.open(path, metadata_errors='replace') as container:
            if not container.streams.audio:
                return None
            parts, left = [], seconds * RATE
            for part in _resampled(av, container):
                parts.append(part)
                left -= len(part)
                if left <= 0:
                    break
    except (av.FFmpegError, OSError) as error:
        raise VideoReadError(path, 'pyav', f'its sound cannot be decoded ({in_words(error)})') from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return samples[:math.ceil(seconds * RATE)] if math.isfinite(seconds) else samples


def _resampled(av, container) -> Iterator[np.ndarray]:
    """Yield the mean of the channels, `RATE` samples a second."""
    # Channels and rate may change within a broadcast, which a resampler refuses: each stretch has its own.
    for _, frames in itertools.groupby(container.decode(audio=0), lambda frame: (
            frame.format.name, frame.layout.name, frame.sample_rate)):
        # Channels stay: FFmpeg would add two of them up at 0.7 each, and VGGish takes their mean.
        resampler = av.AudioResampler(format='fltp', rate=RATE)
        for frame in itertools.chain(frames, [None]):  # None: what the resampler still holds
            for part in resampler.resample(frame):
                yield part.to_ndarray().mean(0)


def mel_pieces(samples: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the log mel spectrogram of the 0.96 s from each moment on, as VGGish takes it.

    The magnitudes of the Fourier transform of 25 ms under a periodic Hann window, every 10 ms, are added up in 64
    triangles of equal width on the mel scale, and the logarithm is taken of each plus 0.01 (Hershey et al. 2017,
    arXiv:1609.09430, and tensorflow/models research/audioset/vggish). Behind the end there is silence.

    Parameters
    ----------
    samples : float ndarray (n,)
        As `read_audio` gives them.
    seconds : float ndarray (m,)

    Returns
    -------
    float32 ndarray (m, 96, 64)
    """
    length = (FRAMES - 1) * _HOP + _WINDOW
    starts = np.rint(np.asarray(seconds) * RATE).astype(int)
    samples = np.pad(samples, (0, max(0, int(starts.max()) + length - len(samples))))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    pieces = np.empty((len(starts), FRAMES, BANDS), np.float32)
    for piece, start in zip(pieces, starts):
        frames = np.lib.stride_tricks.sliding_window_view(samples[start:start + length], _WINDOW)[::_HOP]
        magnitudes = np.abs(np.fft.rfft(frames * window, _TRANSFORM))
        piece[...] = np.log(magnitudes @ _TRIANGLES + _FLOOR)
    return pieces


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def _triangles() -> np.ndarray:
    """Weights (257, 64) of the frequencies in each band."""
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    bins = _mel(np.linspace(0, RATE / 2, _TRANSFORM // 2 + 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


_TRIANGLES = _triangles()
